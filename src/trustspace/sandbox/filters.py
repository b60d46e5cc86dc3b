"""Loading a system call filter on ourselves (seccomp(2)), where nobody outside can load it for us.

Imports little: the worker's start waits for it.
"""

from __future__ import annotations

import base64
import ctypes
import os
from typing import Final

PR_SET_NO_NEW_PRIVS: Final = 38
PR_SET_SECCOMP: Final = 22
SECCOMP_MODE_FILTER: Final = 2
# struct sock_filter: code, jt, jf, k.
INSTRUCTION_BYTES: Final = 8


class _Program(ctypes.Structure):
    """struct sock_fprog (linux/filter.h)."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def load(encoded: str) -> None:
    """Load the compiled filter, given in base64, for this thread and what it starts: before any other exists.

    Raises ValueError for what is no filter, OSError when the kernel does not take it.
    """
    program = base64.b64decode(encoded, validate=True)
    if not program or len(program) % INSTRUCTION_BYTES:
        raise ValueError("not a filter")
    libc = ctypes.CDLL(None, use_errno=True)
    described = _Program(len(program) // INSTRUCTION_BYTES, program)
    for option, *values in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(described), 0, 0),
    ):
        if libc.prctl(option, *values) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

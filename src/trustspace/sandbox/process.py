"""What the launcher asks the kernel about itself: options, privileges, children."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

# linux/prctl.h
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38


def prctl(option: int, value: int) -> None:
    """Set one option of this process. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def children() -> list[int]:
    """The processes whose parent this one is."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
        return [int(pid) for pid in text.split()]
    return []


def refuse_privileges() -> None:
    """Raise RuntimeError unless this process is an ordinary, single-threaded one without extra groups."""
    if 0 in os.getresuid() or 0 in os.getresgid():
        raise RuntimeError("the launcher must not be root")
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    fields = {
        line.split(":", 1)[0]: line.split(":", 1)[1].split() for line in status.splitlines() if ":" in line
    }
    if any(int(fields[name][0], 16) for name in ("CapEff", "CapPrm", "CapAmb")):
        raise RuntimeError("the launcher must not have capabilities")
    if fields["Threads"] != ["1"]:
        raise RuntimeError("the launcher must have one thread")

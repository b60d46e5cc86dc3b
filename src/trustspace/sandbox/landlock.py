"""Landlock: the worker gives up, for good, every file right it does not need (landlock(7)).

The second wall behind the mount namespace: a file that a mistake in the mounts would show stays closed.
Called by the worker before any code of a job; raw system calls through ctypes, because the C library
has no wrappers and a sandbox should not need a package for this.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

# The same numbers on every architecture (linux/unistd: calls added after 5.1).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

# Rights in the order of their bits: linux/landlock.h.
_RIGHTS = (
    "execute", "write_file", "read_file", "read_dir", "remove_dir", "remove_file", "make_char", "make_dir",
    "make_reg", "make_sock", "make_fifo", "make_block", "make_sym", "refer", "truncate", "ioctl_dev",
)  # fmt: skip
_BIT = {name: 1 << index for index, name in enumerate(_RIGHTS)}
_READ = _BIT["read_file"] | _BIT["read_dir"]
_SCRATCH = _READ | sum(
    _BIT[name]
    for name in (
        "write_file",
        "remove_dir",
        "remove_file",
        "make_dir",
        "make_reg",
        "make_sym",
        "truncate",
        "refer",
    )
)
# Rights that exist on a file that is not a directory.
_ON_FILES = _BIT["execute"] | _BIT["write_file"] | _BIT["read_file"] | _BIT["truncate"] | _BIT["ioctl_dev"]
_NET_TCP = 0b11
_SCOPE_ABSTRACT_UNIX_AND_SIGNALS = 0b11


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def _syscall(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def abi() -> int:
    """The kernel's Landlock version, 0 where there is none or it is switched off."""
    return look()[0]


def look() -> tuple[int, int]:
    """The kernel's Landlock version, and the errno when it is 0.

    ENOSYS: the kernel is too old or made without it (or a container's filter says so); EOPNOTSUPP: it is switched off;
    EPERM: a container's filter forbids it.
    """
    try:
        return _syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG)), 0
    except OSError as error:
        return 0, error.errno or 0


def _handled_files(version: int) -> int:
    # ABI 1 knows 13 rights, 2 adds refer, 3 truncate, 5 ioctl_dev.
    known = 13 + (version >= 2) + (version >= 3) + (version >= 5)
    return (1 << known) - 1


def restrict(
    read: Iterable[str], scratch: Iterable[str], write: Iterable[str] = (), devices: Iterable[str] = ()
) -> int:
    """Leave this process, and whatever it starts, only these paths; return the Landlock version used.

    ``read``: files and directories to read. ``scratch``: directories to do anything in but make devices,
    sockets and pipes. ``write``: single files to write to (``/dev/null``). ``devices``: device files to use in any
    way, by their ioctls too. No file can be executed any more;
    from ABI 4 no TCP port can be used, from ABI 6 no signal and no abstract socket leaves the domain.
    A path that does not exist is left out. Raises OSError when the kernel has no Landlock.
    """
    version = abi()
    if version < 1:
        raise OSError("Landlock is not available")
    handled = _handled_files(version)
    attr = _RulesetAttr(handled, _NET_TCP, _SCOPE_ABSTRACT_UNIX_AND_SIGNALS)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _syscall(_CREATE_RULESET, ctypes.byref(attr), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        for paths, rights in (
            (read, _READ),
            (scratch, _SCRATCH),
            (write, _BIT["write_file"] | _BIT["read_file"]),
            (devices, _BIT["write_file"] | _BIT["read_file"] | _BIT["ioctl_dev"]),
        ):
            for path in paths:
                _allow(ruleset, path, rights & handled)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "no_new_privs")
        _syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return version


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _ON_FILES
        rule = _PathBeneath(rights, parent)
        _syscall(
            _ADD_RULE,
            ctypes.c_int(ruleset),
            ctypes.c_int(_RULE_PATH_BENEATH),
            ctypes.byref(rule),
            ctypes.c_uint32(0),
        )
    finally:
        os.close(parent)

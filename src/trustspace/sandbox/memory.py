"""Anonymous memory files (memfd_create(2)): the only way in and out of a sandbox."""

from __future__ import annotations

import fcntl
import os
import stat

from trustspace.errors import InvalidInput

# linux/fcntl.h; not in Python's module.
F_SEAL_FUTURE_WRITE = 0x10
FIXED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
SEALED = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def create(name: str, size: int = 0) -> int:
    """A new, writable memory file of ``size`` zero bytes; its pages exist once they are written."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def seal(descriptor: int) -> None:
    """Make a memory file unchangeable. Raises OSError (EBUSY) while someone can still write to it."""
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALED)


def sealed(name: str, content: bytes) -> int:
    """A sealed memory file with this content."""
    descriptor = create(name)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        seal(descriptor)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_sealed(descriptor: int, name: str) -> None:
    """Raise InvalidInput unless the descriptor is a memory file that nobody can change."""
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        sealed_now = regular and fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & SEALED == SEALED
    except OSError:
        sealed_now = False
    if not sealed_now:
        raise InvalidInput(
            "The input {name} is not sealed memory.",
            fix="Hand in a memfd with all of F_SEAL_WRITE, F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_SEAL.",
            name=name,
        )


def fixed(name: str, size: int) -> int:
    """A new memory file of ``size`` zero bytes that anybody with it may write, and nobody may resize.

    The side that maps it cannot be made to fault by the other one (SIGBUS), and neither can the other side
    seal it against us.
    """
    descriptor = create(name, size)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, FIXED | fcntl.F_SEAL_SEAL)
    return descriptor


def check_fixed(descriptor: int, name: str) -> None:
    """Raise InvalidInput unless the descriptor is a writable memory file whose size nobody can change."""
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        good = seals & FIXED == FIXED and not seals & (fcntl.F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)
    except OSError:
        good = False
    if not good:
        raise InvalidInput(
            "The channel's memory {name} is not of a fixed size and writable.",
            fix="Hand in a memfd with F_SEAL_SHRINK and F_SEAL_GROW, and without F_SEAL_WRITE.",
            name=name,
        )


def reopen(descriptor: int, *, writable: bool = False) -> int:
    """A second description of the same memory, with its own offset, read-only unless asked otherwise."""
    mode = os.O_RDWR if writable else os.O_RDONLY
    return os.open(f"/proc/self/fd/{descriptor}", mode | os.O_CLOEXEC)


def read(descriptor: int, limit: int) -> bytes:
    """The whole content, at most ``limit`` bytes of it."""
    size = min(os.fstat(descriptor).st_size, limit)
    content = bytearray()
    while len(content) < size:
        piece = os.pread(descriptor, min(size - len(content), 1 << 24), len(content))
        if not piece:
            break
        content += piece
    return bytes(content)


def forbid_growth(descriptor: int) -> None:
    """From now on the memory can be written and shortened, and never be longer than it is."""
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)

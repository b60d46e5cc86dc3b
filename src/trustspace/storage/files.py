"""Writing a file so that a crash leaves the old content or the new one, never a part of either.

The content goes to a temporary file beside the target, is flushed to the disk, takes the target's name in one
step, and the directory is flushed too: only then has the name moved for good (fsync(2), rename(2)).
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from pathlib import Path

from trustspace.errors import AlreadyExists, Unavailable

_TEMPORARY = ".tmp-"


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace ``path`` by ``data`` with exactly these permission bits.

    Raises Unavailable when the system does not let it (a full disk, a missing directory). Then ``path`` is as
    it was, or whole and new but perhaps not yet durable, if only the last flush failed.
    """
    try:
        temporary = _write_temporary(path, data, mode)
        try:
            os.replace(temporary, path)
        except OSError:
            _discard(temporary)
            raise
        fsync_dir(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error


def write_new(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Like ``write_atomic``, but raises AlreadyExists, also under a race, where there is a file already."""
    try:
        temporary = _write_temporary(path, data, mode)
        try:
            # A link, unlike a rename, never replaces what is there.
            os.link(temporary, path, follow_symlinks=False)
        finally:
            _discard(temporary)
        fsync_dir(path.parent)
    except FileExistsError:
        raise AlreadyExists("There is already a file {file}.", file=path.name) from None
    except OSError as error:
        raise _cannot_write(path, error) from error


def append_line(path: Path, line: bytes, mode: int = 0o600) -> None:
    """Add a line to a file (made if it is not there) and return once it is durable.

    A line that a crash tore stays a line of its own, so that the next one is whole. Raises Unavailable.
    """
    try:
        new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            content = (b"\n" if torn else b"") + line + b"\n"
            if os.write(descriptor, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            fsync_dir(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error


def fsync_dir(directory: Path) -> None:
    """Make the names in ``directory`` durable; raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_temporary(directory: Path, *, older_than_seconds: float = 3600.0) -> int:
    """Remove what a killed writer left in ``directory``; returns how many files.

    Young ones stay, since another process may be about to rename them.
    """
    removed = 0
    limit = time.time() - older_than_seconds
    for path in directory.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_mtime < limit:
                path.unlink()
                removed += 1
    return removed


def _write_temporary(path: Path, data: bytes, mode: int) -> Path:
    temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    # Private from the first moment; the wanted mode, which the umask would cut, comes before any content.
    descriptor = os.open(temporary, flags, 0o600)
    try:
        os.fchmod(descriptor, mode)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(descriptor)
    except BaseException:
        _discard(temporary)
        raise
    finally:
        os.close(descriptor)
    return temporary


def _discard(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _cannot_write(path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        "{file} could not be written: {reason}.",
        fix="Make room or correct the permissions and try again.",
        file=path.name,
        reason=os.strerror(error.errno or 0),
    )

"""Where a joint run stands after each round, sealed on the enclave's own disk, so that a restart can go on.

The key is derived from the data key: a checkpoint opens only where a broker has released that again. The last
two are kept, since members that are cut off at one moment stand at most one round apart.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustspace.crypto.canonical import canonical_json, parse_canonical
from trustspace.crypto.seal import Opener, Sealer, iter_opened, iter_sealed, take_header
from trustspace.errors import TrustspaceError, Unavailable, VerificationFailed
from trustspace.storage.files import fsync_dir

MAX_HEADER_BYTES = 16 << 20
_LENGTH_BYTES = 8
_PIECE = 1 << 20
Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Checkpoint:
    """After ``round``: ``facts`` (JSON values) and float32 arrays by name."""

    round: int
    facts: dict[str, Any]
    arrays: dict[str, NDArray[np.float32]]


class Checkpoints:
    """The checkpoints of one job in one enclave."""

    def __init__(self, directory: Path, job: str, key: bytes) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        self._directory = directory
        self._job = job
        self._key = key

    def save(self, number: int, facts: dict[str, Any], arrays: Arrays) -> None:
        """Keep this state and the one before it, durably.

        Raises Unavailable when the disk does not take it; what was there before stands.
        """
        header = canonical_json(
            {
                "round": number,
                "facts": facts,
                "arrays": [[name, len(array)] for name, array in arrays.items()],
            }
        )
        path, temporary = self._path(number), self._directory / f"{self._job}.checkpoint-new"
        try:
            with open(temporary, "wb", opener=_private) as file:
                reader = _Reader(_content(header, arrays))
                file.writelines(iter_sealed(Sealer(self._key, self._context(number)), reader.read))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            fsync_dir(self._directory)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise Unavailable("The enclave cannot keep a checkpoint.", fix="Is the disk full?") from error
        for other in self._found():
            if other <= number - 2 or other > number:
                self._path(other).unlink(missing_ok=True)

    def rounds(self) -> tuple[int, ...]:
        """The rounds that there are checkpoints of, the newest first, that open with this key, whole.

        Reads them to their ends: a member that says it has one must be able to go on from it.
        """
        return tuple(sorted((n for n in self._found() if self._readable(n)), reverse=True))

    def load(self, number: int) -> Checkpoint:
        """The state after a round.

        Raises:
            VerificationFailed: there is none, or it is not what this enclave sealed.

        """
        try:
            with self._path(number).open("rb") as file:
                opener = Opener(self._key, take_header(file.read), self._context(number))
                reader = _Reader(iter_opened(opener, file.read))
                checkpoint = _parse(reader)
                opener.finish()
        except OSError:
            raise VerificationFailed("There is no checkpoint of round {round}.", round=number) from None
        if checkpoint.round != number:
            raise VerificationFailed("The checkpoint is of another round.")
        return checkpoint

    def _readable(self, number: int) -> bool:
        try:
            with self._path(number).open("rb") as file:
                opener = Opener(self._key, take_header(file.read), self._context(number))
                reader = _Reader(iter_opened(opener, file.read))
                sound = int.from_bytes(reader.exactly(_LENGTH_BYTES)) <= MAX_HEADER_BYTES
                while reader.read(_PIECE):
                    pass
                opener.finish()
        except (OSError, TrustspaceError):
            return False
        return sound

    def _found(self) -> list[int]:
        names = (p.name.rpartition("-")[2] for p in self._directory.glob(f"{self._job}.checkpoint-*"))
        return [int(name) for name in names if name.isdigit()]

    def _path(self, number: int) -> Path:
        return self._directory / f"{self._job}.checkpoint-{number}"

    def _context(self, number: int) -> dict[str, str | int]:
        return {"purpose": "checkpoint", "job": self._job, "round": number}


def jobs(directory: Path) -> set[str]:
    """The jobs that there are checkpoints of."""
    return {path.name.partition(".")[0] for path in directory.glob("*.checkpoint-*")}


def clear(directory: Path, job: str) -> None:
    """Delete a job's checkpoints: it has ended, and nothing can go on from them."""
    for path in directory.glob(f"{job}.checkpoint-*"):
        path.unlink(missing_ok=True)


def _content(header: bytes, arrays: Arrays) -> Iterator[bytes]:
    yield len(header).to_bytes(_LENGTH_BYTES) + header
    for array in arrays.values():
        raw = np.ascontiguousarray(array, dtype="<f4").view(np.uint8).data
        for start in range(0, len(raw), _PIECE):
            yield bytes(raw[start : start + _PIECE])


def _parse(reader: _Reader) -> Checkpoint:
    length = int.from_bytes(reader.exactly(_LENGTH_BYTES))
    if length > MAX_HEADER_BYTES:
        raise VerificationFailed("The checkpoint is malformed.")
    header: Any = parse_canonical(reader.exactly(length), what="The checkpoint", max_bytes=MAX_HEADER_BYTES)
    arrays = {}
    for name, count in header["arrays"]:
        array = np.empty(count, dtype="<f4")
        raw = array.view(np.uint8).data
        for start in range(0, len(raw), _PIECE):
            piece = raw[start : start + _PIECE]
            piece[:] = reader.exactly(len(piece))
        arrays[str(name)] = array
    if reader.read(1):
        raise VerificationFailed("The checkpoint is malformed.")
    return Checkpoint(int(header["round"]), header["facts"], arrays)


class _Reader:
    """``read(n)`` over an iterator of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        out = io.BytesIO()
        while size:
            if not self._rest:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._rest = memoryview(piece)
                continue
            taken = self._rest[:size]
            out.write(taken)
            self._rest = self._rest[len(taken) :]
            size -= len(taken)
        return out.getvalue()

    def exactly(self, size: int) -> bytes:
        found = self.read(size)
        if len(found) != size:
            raise VerificationFailed("The checkpoint is cut off.")
        return found


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)

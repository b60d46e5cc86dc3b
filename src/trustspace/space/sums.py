"""Vectors that the space holds for a while, and adding them: in pieces, so that memory never depends on their size.

A vector is 32-bit words, little-endian, protected by its member: the space can add it and do nothing else with
it. A large one is a file without a name: it is gone when nobody holds it any more, whatever ends the process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from trustspace.aggregation.scheme import Scheme
from trustspace.errors import InvalidInput, Unavailable

WORD_BYTES = 4
PIECE_BYTES = 1 << 20
# Up to here a file is not worth its while: 256 members' vectors together are 64 MiB at the most.
IN_MEMORY_BYTES = 256 << 10
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


class Vector:
    """``size`` bytes that are written once, piece by piece, and can be read by many at once.

    Of a vector that still comes in, the first ``filled`` bytes are there.
    """

    def __init__(self, size: int, file: IO[bytes] | None) -> None:
        self.size = size
        self.filled = 0
        # Closed by whoever lets go of the vector last, so that a reader never meets another file's descriptor.
        self._file = file
        self._memory = bytearray(size) if file is None else bytearray()

    def write(self, start: int, data: bytes | memoryview) -> None:
        """Write at an offset, all of it. Raises OSError."""
        end = start + len(data)
        if self._file is None:
            self._memory[start:end] = data
        else:
            rest = memoryview(data)
            while rest:
                taken = os.pwrite(self._file.fileno(), rest, start)
                start, rest = start + taken, rest[taken:]
        self.filled = max(self.filled, end)

    def read_into(self, start: int, target: memoryview) -> None:
        """Fill ``target`` with the bytes from ``start`` on. Raises OSError."""
        if self._file is None:
            target[:] = self._memory[start : start + len(target)]
            return
        while target:
            taken = os.preadv(self._file.fileno(), [target], start)
            if not taken:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            start, target = start + taken, target[taken:]

    def read(self, start: int, length: int) -> bytes:
        """The bytes from ``start`` on. Raises OSError."""
        content = bytearray(length)
        self.read_into(start, memoryview(content))
        return bytes(content)

    def same(self, other: Vector) -> bool:
        """Whether the other has the same bytes. Both are read whole: for small ones. Raises OSError."""
        return self.size == other.size and self.read(0, self.size) == other.read(0, other.size)

    def pieces(self, block: int) -> Iterator[tuple[int, int]]:
        """(start, length) of every piece, in order: whole blocks of so many words, of about PIECE_BYTES."""
        step = max(PIECE_BYTES // (WORD_BYTES * block), 1) * WORD_BYTES * block
        for start in range(0, self.size, step):
            yield start, min(step, self.size - start)


class Malformed(Exception):
    """A vector that is none of its scheme; ``number`` is its place among those that were added."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class VectorStore:
    """Makes vectors; large ones as unnamed files in a directory that belongs to it alone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Where the file system knows no unnamed files, a crash may have come between making one and unnaming it.
        for path in directory.iterdir():
            path.unlink(missing_ok=True)

    def reserve(self, size: int) -> Vector:
        """An empty vector, its place on the disk taken.

        Raises:
            Unavailable: the disk refuses; nothing is left of it.

        """
        if size <= IN_MEMORY_BYTES:
            return Vector(size, None)
        with self._room():
            file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115 - see Vector
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    file.close()
                    raise
            return Vector(size, file)

    def receive(self, size: int, pieces: Iterable[bytes], go_on: Callable[[], None]) -> Vector:
        """A vector, taken in; arguments and errors as ``fill`` has them, and nothing is left of one that fails."""
        vector = self.reserve(size)
        self.fill(vector, pieces, go_on)
        return vector

    def fill(self, vector: Vector, pieces: Iterable[bytes], go_on: Callable[[], None]) -> None:
        """Take a vector in. ``go_on`` is called after every piece, and raises when it is not wanted any more.

        Raises:
            InvalidInput: the pieces are together shorter or longer than the vector.
            Unavailable: the disk refuses.

        """
        for piece in pieces:
            if vector.filled + len(piece) > vector.size:
                raise InvalidInput("The contribution is longer than announced.")
            with self._room():
                vector.write(vector.filled, piece)
            go_on()
        if vector.filled != vector.size:
            raise InvalidInput("The contribution is shorter than announced.", fix="Send it again.")

    @contextlib.contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Unavailable("The space cannot hold a contribution now.", fix="Is its disk full?") from error


def add(total: Vector, vectors: Sequence[Vector], scheme: Scheme, go_on: Callable[[int], None]) -> None:
    """Write the sum of the vectors, as their scheme adds, into ``total``; all have one size, of whole blocks.

    Two pieces are in memory at a time. ``go_on`` is called before every piece with how many bytes of every vector
    must be there for it: it waits for them, and raises to stop. Raises OSError, and Malformed for a vector that its
    scheme refuses.
    """
    room = max((length for _, length in total.pieces(scheme.block)), default=0) // WORD_BYTES
    words = [np.empty(room, dtype=np.uint32) for _ in range(2)]
    for start, length in total.pieces(scheme.block):
        go_on(start + length)
        summed, addend = (w[: length // WORD_BYTES] for w in words)
        summed[:] = 0  # and not the first vector as it is: every one is looked at by its scheme
        for number, vector in enumerate(vectors):
            vector.read_into(start, addend.view(np.uint8).data)
            try:
                scheme.add_into(summed, addend)
            except InvalidInput:
                raise Malformed(number) from None
        total.write(start, summed.view(np.uint8).data)

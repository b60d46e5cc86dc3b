"""Vectors on their way to a sum: cut into chunks of whole blocks, each made when the line asks for it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]
PIECE_WORDS = 1 << 18


def chunk_words(block: int) -> int:
    """How many words are worked on at a time: whole blocks, about PIECE_WORDS."""
    return max(PIECE_WORDS // block, 1) * block


def padded(words: int, block: int, least: int = 1) -> int:
    """How many words a vector of ``words`` takes in whole blocks, at least so many of them."""
    return max(-(-words // block), least) * block


def in_blocks(pieces: Iterable[Words], block: int, words: int) -> Iterator[Words]:
    """The same words in chunks of whole blocks, filled up with zeros to ``words`` altogether. They share memory."""
    if block == 1:
        yield from pieces
        return
    size = min(chunk_words(block), words)
    room, filled, left = np.zeros(size, np.uint32), 0, words
    for piece in pieces:
        done = 0
        while done < len(piece):
            step = min(size - filled, len(piece) - done)
            room[filled : filled + step] = piece[done : done + step]
            filled, done = filled + step, done + step
            if filled == size:
                yield room
                filled, left = 0, left - size
    while left > 0:
        room[filled:] = 0
        yield room[: min(left, size)]
        filled, left = 0, left - size


class Outgoing:
    """The pieces of a stream, for a line that asks for them from a thread of its own.

    gRPC does: it makes the next piece while the last ones travel. What goes wrong there it tells nobody, so it stays
    here as ``error``; and when ``close`` returns no piece is being made, and none will be: only then may the secrets
    go that pieces are made with.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._making = threading.Lock()
        self._closed = False
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._making:
            if self._closed:
                raise StopIteration
            try:
                return next(self._pieces)
            except StopIteration:
                raise
            except Exception as error:
                self.error = error
                raise

    def close(self) -> None:
        """Wait for the piece that is being made, if any, and make no other."""
        with self._making:
            self._closed = True

"""Sums that come to an enclave: checked, kept protected, and opened piece by piece while they are used.

A large one lies in a file, so that the enclave's memory never holds a whole sum beside the model and the update; no
opened word is ever written to a disk.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trustspace.aggregation.scheme import Protection, Scheme
from trustspace.domain.rounds import Contribution
from trustspace.enclave.chunks import Words, chunk_words
from trustspace.enclave.failure import RoundFailed
from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.transport.rounds import INLINE_BYTES


class Kept:
    """A protected sum of so many words: written once, in order, then read chunk by chunk.

    A large one is a file without a name in ``folder``, which is gone when it is closed, whatever ends the process.
    The disk is not the enclave's to trust: every chunk's tag (GMAC, NIST SP 800-38D) is kept in memory. Every method
    raises RoundFailed where the disk fails.
    """

    def __init__(self, words: int, block: int, folder: Path) -> None:
        self.words, self.chunk = words, chunk_words(block)
        self._file: IO[bytes] | None = None
        if self.is_large:
            try:
                self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - see close
            except OSError:
                raise _disk_failed() from None
        self._room = np.empty(min(words, self.chunk) if self.is_large else words, np.uint32)
        self.rewind()

    @property
    def is_large(self) -> bool:
        """Whether it came in pieces, and lies in a file."""
        return 4 * self.words > INLINE_BYTES

    @property
    def is_whole(self) -> bool:
        """Whether everything is written."""
        return self._written == 4 * self.words

    def rewind(self) -> None:
        """Begin anew."""
        self._written = 0
        self._mac, self._tags = AESGCM(AESGCM.generate_key(128)), list[bytes]()

    def write(self, piece: bytes | memoryview) -> None:
        """The next bytes. Raises RoundFailed for more of them than there is room for."""
        if self._written + len(piece) > 4 * self.words:
            raise RoundFailed("disagreement", "The space's sum is longer than it must be.")
        rest, room = memoryview(piece), self._room.view(np.uint8).data
        while rest:
            at = self._written % len(room)
            taken = rest[: len(room) - at]
            room[at : at + len(taken)] = taken
            self._written, rest = self._written + len(taken), rest[len(taken) :]
            if self.is_large and (at + len(taken) == len(room) or self.is_whole):
                self._put(room[: at + len(taken)])

    def _put(self, chunk: memoryview) -> None:
        assert self._file is not None
        try:
            self._file.seek(4 * self.chunk * len(self._tags))
            self._file.write(chunk)
        except OSError:
            raise _disk_failed() from None
        self._tags.append(self._mac.encrypt(len(self._tags).to_bytes(12), b"", chunk))

    def read(self, number: int) -> Words:
        """A chunk, by its number."""
        start = number * self.chunk
        if self._file is None:
            return self._room[start : start + self.chunk]
        found = np.empty(min(self.chunk, self.words - start), np.uint32)
        raw = found.view(np.uint8).data
        try:
            self._file.seek(4 * start)
            if self._file.readinto(raw) != len(raw):  # type: ignore[attr-defined]
                raise _disk_failed()
            self._mac.decrypt(number.to_bytes(12), self._tags[number], raw)
        except (OSError, InvalidTag):
            raise _disk_failed() from None
        return found

    def close(self) -> None:
        """Give the place back."""
        if self._file is not None:
            self._file.close()


def _disk_failed() -> RoundFailed:
    return RoundFailed("host", "The enclave's disk does not keep the sum of a round. Is it full?")


class Opened:
    """The words of a sum as their array would give them, slice by slice, each opened when it is asked for.

    A slice raises RoundFailed where the sum does not open. ``close`` (also of the context) forgets what opens it.
    """

    def __init__(self, kept: Kept, protection: Protection, words: int, forget: Callable[[], None]) -> None:
        self._kept, self._protection, self._words = kept, protection, words
        self._forget = forget
        self._number, self._chunk = -1, np.empty(0, np.uint32)

    def __len__(self) -> int:
        return self._words

    def __getitem__(self, piece: slice) -> Words:
        at, stop, step = piece.indices(self._words)
        assert step == 1
        found = np.empty(max(stop - at, 0), np.uint32)
        while at < stop:
            number, skipped = divmod(at, self._kept.chunk)
            if number != self._number:
                self._open(number)
            taken = self._chunk[skipped : skipped + stop - at]
            found[len(found) - (stop - at) :][: len(taken)] = taken
            at += len(taken)
        return found

    def _open(self, number: int) -> None:
        try:
            self._chunk = self._protection.open(number * self._kept.chunk, self._kept.read(number))
        except VerificationFailed as error:
            raise RoundFailed("disagreement", error.public_message) from None
        self._number = number

    def close(self) -> None:
        """Forget what opens the sum. It may be done again."""
        self._number, self._chunk = -1, np.empty(0, np.uint32)
        self._forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class Sum:
    """An opened sum: the units whose vectors are in it, a secret that its openers share, their words and notes.

    ``openers`` are those of them that were there to open it: only they can go on to sign what comes of it.

    ``content`` gives the words slice by slice; that of a large sum is opened only then, and closed with this context.
    """

    members: tuple[str, ...]
    secret: bytes
    content: Words | Opened
    notes: tuple[bytes, ...]
    attempts: int
    record: dict[str, object] = field(default_factory=dict)
    openers: tuple[str, ...] = ()

    @property
    def words(self) -> Words:
        """All words, in memory; what opened them is forgotten from then on. Raises RoundFailed."""
        if isinstance(self.content, Opened):
            with self.content as opened:
                self.content = opened[:]
        return self.content

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self.content, Opened):
            self.content.close()


def received(pieces: Iterable[bytes], kept: Kept) -> str:
    """Keep the space's sum; returns its digest. Raises RoundFailed for another length."""
    kept.rewind()
    hashed = hashlib.sha256()
    for piece in pieces:
        kept.write(piece)
        hashed.update(piece)
    if not kept.is_whole:
        raise RoundFailed("disagreement", "The space's sum is shorter than it must be.")
    return hashed.hexdigest()


def added_up(
    pieces: Iterable[tuple[int, bytes]], said: Mapping[int, Contribution], kept: Kept, scheme: Scheme
) -> str:
    """Keep the sum of the contributions, each of which must be what its member signed; returns its digest.

    ``said``: by position in the set. Raises RoundFailed for anything else than exactly these vectors.
    """
    order = sorted(said)
    hashes = {position: hashlib.sha256() for position in order}
    kept.rewind()
    total_hash, at = hashlib.sha256(), 0
    row: list[bytes] = []
    for position, piece in pieces:
        if len(row) == len(order) or position != order[len(row)]:
            raise RoundFailed("disagreement", "The space shows the contributions out of order.")
        hashes[position].update(piece)
        row.append(piece)
        if len(row) == len(order):
            size = len(row[0]) // 4
            torn = len(row[0]) % 4 or size % scheme.block
            if len({len(p) for p in row}) != 1 or torn or at + size > kept.words:
                raise RoundFailed("disagreement", "The space shows contributions of different lengths.")
            here = np.zeros(size, np.uint32)
            for giver, one in zip(order, row, strict=True):
                try:
                    scheme.add_into(here, np.frombuffer(one, dtype="<u4"))
                except InvalidInput as error:
                    raise RoundFailed("disagreement", f"Member {giver}: {error.public_message}") from None
            raw = here.view(np.uint8).data
            kept.write(raw)
            total_hash.update(raw)
            at += size
            row = []
    for position in order:
        if row or hashes[position].hexdigest() != said[position].vector:
            raise RoundFailed("disagreement", f"The contribution of member {position} is not what it signed.")
    if not kept.is_whole:
        raise RoundFailed("disagreement", "The space shows contributions of different lengths.")
    return total_hash.hexdigest()

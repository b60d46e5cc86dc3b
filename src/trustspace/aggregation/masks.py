"""Pairwise masks: every two members add and subtract the same noise, and each adds some of its own.

Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning" (CCS 2017), without
its recovery of members that are lost: an attempt that loses one is given up and begun anew with fresh
secrets. Of two members the one that stands first in the set adds the pair's stream and the other subtracts
it, modulo 2^32. Each member also adds the stream of a private seed, which it reveals only when all know that
the sum stands: so a vector that arrives late is never bare.

Keys are HKDF-SHA256 (RFC 5869, no salt) of a pair's secret or of a seed; the info names the use, SHA-256 of
the context and the positions, 16 bits each.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NoReturn

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from trustspace.aggregation.blocks import blocks, check_vector
from trustspace.aggregation.fixedpoint import MAX_PARTICIPANTS
from trustspace.aggregation.keystream import Buffer, KeyStream
from trustspace.aggregation.scheme import SECRET_BYTES, SEED_BYTES, Protection, Words, commitment_of
from trustspace.aggregation.selection import PAIRWISE_MASKS
from trustspace.errors import InvalidInput, InvalidTransition, VerificationFailed

_PAIR = b"trustspace pair mask v1"
_PRIVATE = b"trustspace private mask v1"


class PairwiseMasks:
    """The scheme ``pairwise-masks-v1``, for 2 to MAX_PARTICIPANTS members."""

    @property
    def name(self) -> str:
        return PAIRWISE_MASKS

    @property
    def block(self) -> int:
        """As ``Scheme.block``: words stand alone."""
        return 1

    @property
    def largest(self) -> int:
        """As ``Scheme.largest``."""
        return (1 << 31) - 1

    def needed(self, members: int) -> int:
        """As ``Scheme.needed``: all."""
        return members

    def begin(self, own: int, secrets: Mapping[int, bytes], context: bytes) -> Protection:
        """As ``Scheme.begin``, with a fresh private seed."""
        return _begin(own, secrets, context, os.urandom(SEED_BYTES))

    def add_into(self, total: Words, addend: Words) -> None:
        """As ``Scheme.add_into``, modulo 2^32."""
        check_vector(total, np.uint32)
        check_vector(addend, np.uint32)
        if len(total) != len(addend):
            raise InvalidInput("Protected vectors that are added have one length.")
        np.add(total, addend, out=total)


def _begin(own: int, secrets: Mapping[int, bytes], context: bytes, seed: bytes) -> MaskedVector:
    """``begin`` with a given private seed, for test vectors."""
    members = len(secrets) + 1
    if not 2 <= members <= MAX_PARTICIPANTS:
        raise InvalidInput("A protected sum has between 2 and {limit} members.", limit=MAX_PARTICIPANTS)
    if own in secrets or {own, *secrets} != set(range(members)):
        raise InvalidInput("The members of a sum stand at positions 0 to {last}.", last=members - 1)
    if any(len(secret) != SECRET_BYTES for secret in secrets.values()):
        raise InvalidInput("A secret of two members is {size} bytes long.", size=SECRET_BYTES)
    return MaskedVector(own, secrets, context, seed)


class MaskedVector:
    """One member's side of one attempt; made by ``PairwiseMasks.begin``."""

    def __init__(self, own: int, secrets: Mapping[int, bytes], context: bytes, seed: bytes) -> None:
        self._own = own
        self._commitment = commitment_of(context, own, seed)
        self._members = len(secrets) + 1
        self._context = hashlib.sha256(context).digest()
        self._seed = seed
        self._buffer = Buffer()
        self._taken = Taken()
        self._adding = [self._private_stream(own, seed)]
        self._subtracting: list[KeyStream] = []
        for other, secret in sorted(secrets.items()):
            stream = self._stream(secret, _PAIR, min(own, other), max(own, other))
            (self._adding if own < other else self._subtracting).append(stream)
        self._opening: list[KeyStream] | None = None
        self._revealed = False
        self._destroyed = False

    def commitment(self) -> bytes:
        """As ``Protection.commitment``."""
        self._check_alive()
        return self._commitment

    def shares(self) -> Mapping[int, bytes]:
        """As ``Protection.shares``: none."""
        return {}

    def protect(self, start: int, words: Words) -> Words:
        """As ``Protection.protect``."""
        self._check_alive()
        if self._revealed:
            raise InvalidTransition("The private mask has been revealed; nothing more can be protected.")
        check_vector(words, np.uint32)
        self._taken.take(start, start + len(words))
        return self._apply(start, words, self._adding, self._subtracting)

    def reveal(self, members: Sequence[int], shares: Mapping[int, bytes]) -> bytes:
        """As ``Protection.reveal``: the seed of the private mask. All members are in every sum."""
        self._check_alive()
        if set(members) != set(range(self._members)) or shares:
            raise InvalidInput("A sum under pairwise masks is of all members, who share nothing beforehand.")
        self._revealed = True
        self._adding, self._subtracting = [], []
        return self._seed

    def unlock(self, members: Sequence[int], reveals: Mapping[int, bytes], sample: Words) -> tuple[int, ...]:
        """As ``Protection.unlock``. A wrong seed of another member cannot be told here and gives noise."""
        self._check_alive()
        self._check_seeds(reveals)
        self._opening = [self._private_stream(at, seed) for at, seed in sorted(reveals.items())]
        return ()

    def open(self, start: int, total: Words) -> Words:
        """As ``Protection.open``; the pairs' masks have gone out of ``total`` by themselves."""
        self._check_alive()
        check_vector(total, np.uint32)
        _check_start(start)
        if self._opening is None:
            raise InvalidTransition("A sum opens only after its members have revealed.")
        return self._apply(start, total, [], self._opening)

    def destroy(self) -> None:
        """As ``Protection.destroy``. Python cannot wipe the memory: it forgets every reference."""
        self._destroyed = True
        self._seed = b""
        self._adding, self._subtracting, self._opening = [], [], None
        self._buffer.raw[:] = 0

    def __reduce__(self) -> NoReturn:
        # A copy would protect the same positions a second time.
        raise TypeError("a protection cannot be copied")

    def _apply(
        self, start: int, words: Words, adding: list[KeyStream], subtracting: list[KeyStream]
    ) -> Words:
        result = np.empty(len(words), np.uint32)
        for piece in blocks(len(words)):
            source, target = words[piece], result[piece]
            position, count = start + piece.start, len(target)
            for stream in adding:
                np.add(source, stream.read(position, count), out=target)
                source = target
            for stream in subtracting:
                np.subtract(source, stream.read(position, count), out=target)
                source = target
        return result

    def _private_stream(self, member: int, seed: bytes) -> KeyStream:
        return self._stream(seed, _PRIVATE, member)

    def _stream(self, secret: bytes, use: bytes, *positions: int) -> KeyStream:
        info = use + self._context + b"".join(position.to_bytes(2) for position in positions)
        return KeyStream(HKDF(SHA256(), 32, salt=None, info=info).derive(secret), self._buffer)

    def _check_seeds(self, seeds: Mapping[int, bytes]) -> None:
        if set(seeds) != set(range(self._members)):
            raise VerificationFailed(
                "A sum opens with the seeds of all {count} members.", count=self._members
            )
        if any(len(seed) != SEED_BYTES for seed in seeds.values()):
            raise VerificationFailed("A member's seed is not {size} bytes long.", size=SEED_BYTES)
        if not hmac.compare_digest(seeds[self._own], self._seed):
            raise VerificationFailed("The seed given as this member's own is another.")

    def _check_alive(self) -> None:
        if self._destroyed:
            raise InvalidTransition("The secrets of this sum have been destroyed.")


class Taken:
    """Which positions of a vector were protected, as disjoint stretches with gaps between them."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def take(self, start: int, end: int) -> None:
        """Raises InvalidTransition where any of start..end was taken before; then nothing changes."""
        _check_start(start)
        if start == end:
            return
        at = bisect_left(self._starts, start)
        joins_left = at > 0 and self._ends[at - 1] >= start
        overlaps_left = at > 0 and self._ends[at - 1] > start
        if overlaps_left or (at < len(self._starts) and self._starts[at] < end):
            raise InvalidTransition("A position of the vector has been protected before.")
        if at < len(self._starts) and self._starts[at] == end:
            end = self._ends[at]
            del self._starts[at], self._ends[at]
        if joins_left:
            self._ends[at - 1] = end
        else:
            self._starts.insert(at, start)
            self._ends.insert(at, end)


def _check_start(start: int) -> None:
    if start < 0:
        raise InvalidInput("A position in a vector is not negative.")

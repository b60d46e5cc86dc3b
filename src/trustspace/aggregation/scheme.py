"""What every way of protecting a sum has in common, so that one can take another's place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]
SECRET_BYTES = 32
SEED_BYTES = 32


class Protection(Protocol):
    """One member's side of one attempt at one sum; used by one thread at a time.

    In this order: ``shares``, ``protect`` as often as there are chunks, ``reveal``, ``unlock``, ``open``.
    """

    def commitment(self) -> bytes:
        """SHA-256 that binds this member, before it sees anything, to what it will reveal; b"" where that hangs on who
        will be in the sum. Without it whoever reveals last could choose what a short sum opens to.
        """

    def shares(self) -> Mapping[int, bytes]:
        """What each member, by position and this one included, is to be given in secret; {} where all must reveal.

        The same whenever it is asked for.
        """

    def protect(self, start: int, words: Words) -> Words:
        """``words``, which stand at positions ``start`` and on of this member's vector, protected.

        They are signed 32-bit integers in two's complement. The chunks may come in any order, each position once,
        and are whole blocks of the scheme. Raises InvalidTransition for a position that was protected before and
        after ``reveal`` or ``destroy``: two protected words at one position give away their difference. Raises
        InvalidInput for a word that the scheme's sums could not hold.
        """

    def reveal(self, members: Sequence[int], shares: Mapping[int, bytes]) -> bytes:
        """What the others open the sum of ``members`` with. After it nothing more can be protected.

        ``shares`` are what each of these members gave this one, where the scheme has any. It may be asked for again
        with the same members only. Raises VerificationFailed for a share that its giver made wrong, by position.
        """

    def unlock(self, members: Sequence[int], reveals: Mapping[int, bytes], sample: Words) -> tuple[int, ...]:
        """Make ready to open the sum of ``members`` with what members revealed, own included, by position.

        ``sample`` is the beginning of the protected sum: one block of the scheme or, where the sum opens without some
        members, two: what is revealed last could be chosen to make one block open to anything. Returns
        the positions that are known to have revealed falsely, where the sum opens without them. Raises
        VerificationFailed where too little was revealed, or something ill-formed, and where the scheme can tell
        that the sum is not what these reveals open.
        """

    def open(self, start: int, total: Words) -> Words:
        """The sum of the members' words at positions ``start`` and on, from the sum of the protected ones.

        Raises InvalidTransition before ``unlock``, and VerificationFailed where the scheme can tell that the
        protected sum was altered; pairwise masks cannot: a false seed gives noise.
        """

    def destroy(self) -> None:
        """Forget every secret; everything else raises InvalidTransition from then on."""


def commitment_of(context: bytes, position: int, reveal: bytes) -> bytes:
    """What ``Protection.commitment`` is, of a reveal (at least 32 unpredictable bytes) at this position of the set."""
    digest = hashlib.sha256(b"trustspace reveal commitment v1" + hashlib.sha256(context).digest())
    digest.update(position.to_bytes(2) + reveal)
    return digest.digest()


class Scheme(Protocol):
    """A way to protect a sum, by name."""

    @property
    def name(self) -> str:
        """What a signed agreement calls it."""

    @property
    def block(self) -> int:
        """Words in a block: chunks begin at multiples of it, and a protected vector is whole blocks."""

    @property
    def largest(self) -> int:
        """The largest magnitude that a sum of words may have."""

    def needed(self, members: int) -> int:
        """How many of a set's members must reveal for the sum to be opened."""

    def begin(self, own: int, secrets: Mapping[int, bytes], context: bytes) -> Protection:
        """This member's side of one attempt, with fresh secrets that nothing else can be given.

        ``own`` is its position in the ordered set of members, ``secrets`` a secret of 32 bytes shared with
        each other member, by position, and ``context`` names the attempt (the digest of the agreed set).
        Raises InvalidInput where the positions are not 0..n-1, or n is more than the scheme's sums can have.
        """

    def add_into(self, total: Words, addend: Words) -> None:
        """Adds protected words into ``total``, in place: all that the space does with them.

        Both are whole blocks. Raises InvalidInput for different lengths, other types and torn blocks.
        """

"""What every way of protecting a sum has in common, so that one can take another's place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trustspace.aggregation.blocks import check_vector
from trustspace.errors import InvalidInput

SECRET_BYTES = 32
SEED_BYTES = 32


class Protection(Protocol):
    """One member's side of one attempt at one sum; used by one thread at a time."""

    def protect(self, start: int, words: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """``words``, which stand at positions ``start`` and on of this member's vector, protected.

        The chunks may come in any order and length, each position once. Raises InvalidTransition for a
        position that was protected before and after ``reveal`` or ``destroy``: two protected words at one
        position give away their difference.
        """

    def reveal(self) -> bytes:
        """The seed (32 bytes) with which the others open the sum. After it nothing more can be protected."""

    def open(self, start: int, total: NDArray[np.uint32], seeds: Mapping[int, bytes]) -> NDArray[np.uint32]:
        """The sum of all members' words at positions ``start`` and on, from the sum of the protected ones.

        ``seeds`` are what all members revealed, own included, by position in the set. Raises
        VerificationFailed where one is missing, too many, ill-formed or, for the own one, another. A wrong
        seed of another member cannot be told here and gives noise.
        """

    def destroy(self) -> None:
        """Forget every secret; everything else raises InvalidTransition from then on."""


class Scheme(Protocol):
    """A way to protect a sum, by name."""

    @property
    def name(self) -> str:
        """What a signed agreement calls it."""

    def begin(self, own: int, secrets: Mapping[int, bytes], context: bytes) -> Protection:
        """This member's side of one attempt.

        ``own`` is its position in the ordered set of members, ``secrets`` a secret of 32 bytes shared with
        each other member, by position, and ``context`` names the attempt (the digest of the agreed set).
        Secrets must be fresh for every attempt. Raises InvalidInput where the positions are not 0..n-1.
        """


def add_into(total: NDArray[np.uint32], addend: NDArray[np.uint32]) -> None:
    """Adds protected words into ``total`` modulo 2^32, in place: all that the space does with them.

    Raises InvalidInput for different lengths and other types.
    """
    check_vector(total, np.uint32)
    check_vector(addend, np.uint32)
    if len(total) != len(addend):
        raise InvalidInput("Protected vectors that are added have one length.")
    np.add(total, addend, out=total)

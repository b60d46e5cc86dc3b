"""Numbers as words of 32 bits whose sums are exact.

Three encodings, all of which add word by word. ``FixedPoint`` is for long vectors: one word a number, with
as much resolution as the number of participants leaves. ``encode_integers`` and ``encode_reals`` are for
short lists that must be exact: limbs of 16 bits, one word each, so that even MAX_PARTICIPANTS sums of limbs
do not wrap.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trustspace.aggregation.blocks import check_vector
from trustspace.aggregation.lattice.backend import best_backend
from trustspace.errors import InvalidInput

MAX_PARTICIPANTS = 256
REAL_BITS = 192
FRACTION_BITS = 64
LIMB_BITS = 16
WORDS_PER_REAL = REAL_BITS // LIMB_BITS
# |x| below 2^100 and 64 fractional bits: 164 bits and the offset's one, with room to spare.
_REAL_LIMIT = 2.0**100
_REAL_OFFSET = 1 << (REAL_BITS - 1)
_BOUNDS = (2.0**-64, 2.0**64)


@dataclass(frozen=True)
class FixedPoint:
    """Real numbers in -bound..bound as signed words of which ``participants`` sum up to -limit..limit.

    ``limit`` is the largest sum that the scheme can hold. Raises InvalidInput for participants outside
    1..MAX_PARTICIPANTS, a bound outside 2^-64..2^64 and a limit that leaves a participant less than a bit.
    """

    participants: int
    bound: float
    limit: int = (1 << 31) - 1

    def __post_init__(self) -> None:
        check_participants(self.participants)
        if not _BOUNDS[0] <= self.bound <= _BOUNDS[1]:
            raise InvalidInput("The bound of a fixed point number lies between 2^-64 and 2^64.")
        if not self.participants <= self.limit < 1 << 31:
            raise InvalidInput("A sum of so many participants does not fit into its words.")

    @property
    def largest(self) -> int:
        """The largest magnitude of one participant's word."""
        return self.limit // self.participants

    @property
    def scale(self) -> float:
        """Words per unit: a sum of n participants is at most n / (2 * scale) off by rounding."""
        return self.largest / self.bound

    def encode(self, values: NDArray[np.float32], factor: float) -> NDArray[np.uint32]:
        """``values * factor``, clipped to -bound..bound, as words: same length, rounded half to even.

        Raises InvalidInput where a value or the factor is not a finite number.
        """
        check_vector(values, np.float32)
        words = np.empty(len(values), np.uint32)
        if not best_backend().encode(values, factor, self.bound, self.scale, words.view(np.int32)):
            raise InvalidInput("An update holds a number that is not finite.", fix="Lower the learning rate.")
        return words

    def decode(self, total: NDArray[np.uint32]) -> NDArray[np.float64]:
        """The sum of the participants' numbers, from the sum of their words; same length."""
        check_vector(total, np.uint32)
        numbers = np.empty(len(total), np.float64)
        best_backend().decode(total, self.scale, numbers)
        return numbers


def check_participants(participants: int) -> None:
    """Raises InvalidInput unless so many may take part in one sum."""
    if not 1 <= participants <= MAX_PARTICIPANTS:
        raise InvalidInput("A sum has between 1 and {limit} participants.", limit=MAX_PARTICIPANTS)


def encode_integers(values: Sequence[int], bits: int) -> NDArray[np.uint32]:
    """Each value in 0..2^bits-1 as bits/16 words of 16 bits, least significant first.

    Raises InvalidInput for a value outside and for bits that are not a positive multiple of 16.
    """
    width = _limbs(bits) * 2
    if any(not 0 <= value < 1 << bits for value in values):
        raise InvalidInput("An integer to be summed lies outside 0 to 2^{bits}-1.", bits=bits)
    return _words(values, width)


def decode_integers(words: NDArray[np.uint32], bits: int) -> list[int]:
    """The sums of what ``encode_integers`` encoded, from the sums of the words; they may exceed 2^bits.

    Raises InvalidInput unless there are bits/16 words for each.
    """
    limbs = _limbs(bits)
    check_vector(words, np.uint32)
    if len(words) % limbs:
        raise InvalidInput(
            "{count} words are not whole integers of {bits} bits.", count=len(words), bits=bits
        )
    table = words.reshape(-1, limbs)
    # Carried over to 16 bits each, so that bytes make the integers; two limbs more take the last carry.
    carried = np.zeros((len(table), limbs + 2), "<u2")
    carry = np.zeros(len(table), np.uint64)
    for limb in range(limbs):
        carry += table[:, limb]
        carried[:, limb] = carry & 0xFFFF
        carry >>= np.uint64(LIMB_BITS)
    carried[:, limbs] = carry & 0xFFFF
    carried[:, limbs + 1] = carry >> np.uint64(LIMB_BITS)
    width = 2 * (limbs + 2)
    data = carried.tobytes()
    return [int.from_bytes(data[at : at + width], "little") for at in range(0, len(data), width)]


def encode_reals(values: Sequence[float]) -> NDArray[np.uint32]:
    """Each real as WORDS_PER_REAL words: 64 fractional bits, offset by 2^191, rounded half to even.

    What rounding takes is at most 2^-65 of one number; sums are exact. Raises InvalidInput for a number that
    is not finite or not below 2^100 in magnitude.
    """
    if any(not abs(value) < _REAL_LIMIT for value in values):
        raise InvalidInput("A number to be summed is not finite or is 2^100 or more.")
    scaled = (round(math.ldexp(value, FRACTION_BITS)) + _REAL_OFFSET for value in values)
    return _words(scaled, REAL_BITS // 8)


def decode_reals(words: NDArray[np.uint32], participants: int) -> list[float]:
    """The sums of what ``participants`` encoded with ``encode_reals``, each rounded once to float64.

    Raises InvalidInput unless there are WORDS_PER_REAL words for each and 1..MAX_PARTICIPANTS participants.
    """
    check_participants(participants)
    offset = participants * _REAL_OFFSET
    # Division of integers rounds correctly, however long they are.
    return [(total - offset) / (1 << FRACTION_BITS) for total in decode_integers(words, REAL_BITS)]


def _limbs(bits: int) -> int:
    if bits < LIMB_BITS or bits % LIMB_BITS:
        raise InvalidInput("The bits of an integer to be summed are a positive multiple of 16.")
    return bits // LIMB_BITS


def _words(values: Iterable[int], width: int) -> NDArray[np.uint32]:
    data = b"".join(value.to_bytes(width, "little") for value in values)
    return np.frombuffer(data, "<u2").astype(np.uint32)

"""Linear scores of plain rows under encrypted weights, many rows to a ciphertext.

A row's score sum_j x_j * w_j is the product of Enc(w_j)^x_j. Rows share tables of small powers of every weight
(Straus's method: each digit of x's two's complement looks up one factor, nothing is squared), and the scores of many
rows go into one ciphertext by Horner's rule: ``width`` squarings move what is there one slot up. With more tables the
rows of one ciphertext are worked on in several strides at once, which share those squarings.

``PublicKey.hide`` makes the noise of what leaves fresh and uniform, so the key's owner learns the scores and nothing
else of the rows; and the ranges that were proven keep every score within its slot.

What scores tell is not hidden. Whoever knows as many rows as there are weights, and their scores, solves for the
weights; whoever chooses the weights learns one weighted sum of columns from each sum of scores, and several columns
from one score where the weights' bits leave room for that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trustspace.aggregation.paillier.arithmetic import below, big, inverse, power
from trustspace.aggregation.paillier.keys import PrivateKey, PublicKey
from trustspace.aggregation.paillier.packing import Slots
from trustspace.aggregation.paillier.proofs import ProvenWeights
from trustspace.errors import InvalidInput

MAX_VALUE_BITS = 62
_MAX_FEATURES = 4096
# Powers kept in tables: 50 MB at 3072 bits.
_MAX_POWERS = 60_000
_STRIDES = (1, 2, 4, 8)


def score_slots(key: PublicKey, features: int, weight_bits: int, value_bits: int) -> Slots:
    """Slots that hold every score of so many |x| < 2^value_bits and proven weights |w| < 2^weight_bits.

    Raises InvalidInput for sizes that no score has and where not one score fits.
    """
    if not (1 <= features <= _MAX_FEATURES and 1 <= value_bits <= MAX_VALUE_BITS and weight_bits >= 1):
        raise InvalidInput("A score has between 1 and {limit} features of 1 to 62 bits.", limit=_MAX_FEATURES)
    # features * 2^weight_bits * 2^value_bits, and a bit for the sign.
    return Slots.fitting(key, weight_bits + value_bits + (features - 1).bit_length() + 1)


class Scorer:
    """Scores rows of integers |x| < 2^value_bits under weights that were proven to be in range."""

    def __init__(self, weights: ProvenWeights, value_bits: int) -> None:
        self._weights, self._value_bits = weights, value_bits
        self._key = weights.key
        self.slots = score_slots(self._key, len(weights.ciphertexts), weights.bits, value_bits)
        self._tables: _Tables | None = None

    def score(self, rows: NDArray[np.int64]) -> list[int]:
        """Ciphertexts of the scores of ``rows`` [rows, features], packed by ``slots`` in their order, hidden.

        Raises InvalidInput for another shape or type and for a value beyond the bits. The first call decides how
        large the tables are, by its number of rows.
        """
        features = len(self._weights.ciphertexts)
        if rows.dtype != np.int64 or rows.ndim != 2 or rows.shape[1] != features:
            raise InvalidInput(
                "Rows to be scored are 64-bit integers, {features} to a row.", features=features
            )
        limit = 1 << self._value_bits
        if rows.size and not (-limit < int(rows.min()) and int(rows.max()) < limit):
            raise InvalidInput("A value to be scored has more than {bits} bits.", bits=self._value_bits)
        if self._tables is None:
            self._tables = _Tables(self._weights, self._value_bits, self.slots, len(rows))
        count = self.slots.count
        return [
            self._key.hide(self._tables.packed(rows[at : at + count])) for at in range(0, len(rows), count)
        ]

    def blind(self, ciphertexts: Sequence[int]) -> tuple[list[int], list[int]]:
        """Ciphertexts with a uniform number modulo n added to each plaintext, and these numbers.

        Whoever decrypts them learns nothing; whoever has the numbers as well takes them off with ``unblind``.
        """
        blinds = [below(self._key.n) for _ in ciphertexts]
        blinded = [
            self._key.add_plain(ciphertext, blind)
            for ciphertext, blind in zip(ciphertexts, blinds, strict=True)
        ]
        return blinded, blinds


class _Tables:
    """Powers of all weights for each digit of a value, once for each stride."""

    def __init__(self, weights: ProvenWeights, value_bits: int, slots: Slots, rows: int) -> None:
        self._square, self._slots = weights.key.square, slots
        features = len(weights.ciphertexts)
        self._widths, strides = _plan(features, value_bits, slots, rows)
        self._length = -(-slots.count // strides)
        self._tables: list[list[list[list[int]]]] = []
        bases = [big(ciphertext) for ciphertext in weights.ciphertexts]
        for at in range(strides):
            if at:
                up = 1 << (self._length * slots.width)
                bases = [power(base, up, self._square) for base in bases]
            self._tables.append([self._powers(base) for base in bases])

    def packed(self, rows: NDArray[np.int64]) -> int:
        """The product of weight_j^(x_ij * 2^(i * width)) over all rows i and features j: not hidden yet."""
        square, shift = self._square, 1 << self._slots.width
        digits = self._digits(rows)
        result = big(1)
        for step in range(self._length - 1, -1, -1):
            if result != 1:
                result = power(result, shift, square)
            for tables, row in zip(self._tables, digits[step :: self._length], strict=False):
                for windows, places in zip(tables, row, strict=True):
                    for window, digit in zip(windows, places, strict=True):
                        if digit:
                            result = result * window[digit] % square
        return int(result)

    def _powers(self, base: int) -> list[list[int]]:
        """For each window the base's powers by every digit; the last window's digits are signed."""
        square = self._square
        windows = []
        for at, width in enumerate(self._widths):
            top = at == len(self._widths) - 1
            positive = 1 << (width - 1) if top else 1 << width
            window = [big(1)]
            while len(window) < positive:
                window.append(window[-1] * base % square)
            base_up = window[-1] * base % square
            if top:
                window.append(inverse(base_up, square))
                while len(window) < 1 << width:
                    window.append(window[-1] * base % square)
            windows.append(window)
            base = base_up
        return windows

    def _digits(self, rows: NDArray[np.int64]) -> list[list[list[int]]]:
        """The two's complement of every value in its windows' digits, lowest first: [rows][features][windows]."""
        parts, at = [], 0
        for width in self._widths:
            parts.append((rows >> np.int64(at)) & np.int64((1 << width) - 1))
            at += width
        found: list[list[list[int]]] = np.stack(parts, axis=2).tolist()
        return found


def _plan(features: int, value_bits: int, slots: Slots, rows: int) -> tuple[list[int], int]:
    """Widths of the windows of value_bits + 1 bits, and strides, that take the fewest multiplications."""
    rows, total = max(rows, 1), value_bits + 1
    best: tuple[int, list[int], int] | None = None
    for windows in range(1, total + 1):
        widths = [total // windows + (at < total % windows) for at in range(windows)]
        powers = features * sum(1 << width for width in widths)
        for strides in _STRIDES:
            if strides > slots.count:
                continue
            per_row = features * windows + slots.width // strides
            moved = (strides - 1) * features * -(-slots.count // strides) * slots.width
            cost = powers * strides + moved + rows * per_row
            fits = powers * strides <= _MAX_POWERS or (windows == total and strides == 1)
            if fits and (best is None or cost < best[0]):
                best = cost, widths, strides
    assert best is not None  # as many windows as bits with one stride always fit
    return best[1], best[2]


def column_sums(rows: NDArray[np.int64], groups: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Every group's sum of its rows, [count, features]: scored, they are the sums of the rows' scores.

    ``groups`` holds each row's group in 0..count-1; raises InvalidInput for anything else.
    """
    if rows.dtype != np.int64 or rows.ndim != 2 or groups.dtype != np.int64 or groups.shape != rows.shape[:1]:
        raise InvalidInput("Every row to be summed has one group, and both are 64-bit integers.")
    if len(groups) and not (int(groups.min()) >= 0 and int(groups.max()) < count):
        raise InvalidInput("A group lies outside 0 to {last}.", last=count - 1)
    sums = np.zeros((count, rows.shape[1]), np.int64)
    np.add.at(sums, groups, rows)
    return sums


def column_sum_bits(value_bits: int, rows: int) -> int:
    """How many bits the sums of up to ``rows`` values of ``value_bits`` bits have; InvalidInput beyond 62."""
    total = value_bits + max(rows - 1, 0).bit_length()
    if total > MAX_VALUE_BITS:
        raise InvalidInput("The sums of so many rows do not fit into 62 bits.", fix="Use smaller values.")
    return total


def open_scores(private: PrivateKey, slots: Slots, ciphertexts: Sequence[int], length: int) -> list[int]:
    """The ``length`` scores in packed ciphertexts; raises VerificationFailed where they are not that."""
    return slots.unpack(private.decrypt_many(ciphertexts), length)


def open_blinded(private: PrivateKey, ciphertexts: Sequence[int]) -> list[int]:
    """The plaintexts of blinded ciphertexts, 0..n-1, for whoever holds the blinds."""
    return [plaintext % private.public.n for plaintext in private.decrypt_many(ciphertexts)]


def unblind(
    key: PublicKey, slots: Slots, plaintexts: Sequence[int], blinds: Sequence[int], length: int
) -> list[int]:
    """The ``length`` scores from opened blinded ciphertexts; VerificationFailed where they do not fit the blinds.

    A key's owner who opens falsely changes scores; it is caught only where a changed plaintext leaves its slots.
    """
    if len(plaintexts) != len(blinds):
        raise InvalidInput("There are not as many blinds as plaintexts.")
    n = key.n
    differences = [(plaintext - blind) % n for plaintext, blind in zip(plaintexts, blinds, strict=True)]
    return slots.unpack([value - n if 2 * value >= n else value for value in differences], length)

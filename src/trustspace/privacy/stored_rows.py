"""Finds rows of a table in numbers that are about to leave: as nearest neighbours, support vectors and lists do it.

A number counts as equal to another when their bfloat16 codes differ by one step at most: rounding a stored row for
export must not hide it. A candidate is a run of numbers as wide as the table; it is found when all of its columns equal
those of one row.

Chance must not look like storing. Under the null hypothesis a candidate has nothing to do with single rows: its columns
are independent and each is distributed as that column of the table. Then it equals some row with a probability of at
most q, the sum over the rows of the product of the columns' frequencies, and the number of m candidates that do is
binomial. Rows are reported when so many, found among m, have a probability of at most 1e-6 over all tensors and ways of
reading them together (Chernoff's bound; Bonferroni). What could break that null is left out:

- rows whose pattern at least ten rows share: whoever lists combinations of categories shows no single patient;
- rows of one value, or of two with the rarer one in fewer than three columns: constants, the rows of an identity
  matrix, one category;
- columns that say what another says (rank correlation above 0.99) count once, and only 64 columns count at all: fewer
  make q larger;
- the same candidates against a table whose columns were shuffled apart, which keeps each column and breaks every row:
  as many as are found there is chance, whatever distribution the weights have.

What it cannot see: rows in other units, rounded coarser, mixed, encrypted, or in the low bits of numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int16]
CHANCE = 1e-6
CROWD = 10
MOST_CELLS = 1 << 27
MOST_PAIRS = 1 << 27
_CONTENT = 3
_WEIGHED = 64
_SAMPLE = 4096
_ALIKE = 0.99
_MISSING = np.int16(-(1 << 15))
_PIECE = 1 << 16
_SHIFT = 1 << 15
_CODES = 1 << 16
_MIXER = np.uint64(0x9E3779B97F4A7C15)


class TooMuch(Exception):
    """The comparison would take longer than it may."""


class Work:
    """How many pairs may still be compared, in all the questions of one look."""

    def __init__(self) -> None:
        self._left = MOST_PAIRS

    def take(self, pairs: int) -> None:
        """Take so many off. Raises TooMuch where they are not left."""
        self._left -= pairs
        if self._left < 0:
            raise TooMuch


def codes(values: NDArray[np.floating]) -> Codes:
    """bfloat16 codes, in the order of the numbers, so that neighbours differ by one; a missing value is its own."""
    with np.errstate(over="ignore", invalid="ignore"):
        bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    nearest = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    size = (nearest & np.uint32(0x7FFF)).astype(np.int16)
    ordered = np.where(nearest & np.uint32(0x8000), -size, size)
    return np.where(np.isfinite(values), ordered, _MISSING).astype(np.int16).reshape(np.shape(values))


@dataclass(frozen=True)
class Reference:
    """The rows of a table that can be told from chance.

    ``rows``: codes of distinct rows [rows, width]; ``shuffled``: the same columns without a row of the table. Both are
    in the order of column ``key``, that of most values. ``chance``: the probability q that a candidate equals one of
    ``rows``.
    """

    rows: Codes
    shuffled: Codes
    key: int
    chance: float

    @classmethod
    def of(cls, table: NDArray[np.floating]) -> Reference | None:
        """From numbers [rows, width], NaN where missing; None where no row could be told from chance.

        Raises TooMuch for more than 2^27 cells.
        """
        if table.size > MOST_CELLS:
            raise TooMuch
        if table.ndim != 2 or table.shape[1] < _CONTENT or not len(table):
            return None
        coded = codes(table)
        first, counts = _distinct(coded)
        kept = coded[first[counts < CROWD]]
        kept = kept[_has_content(kept)]
        if not len(kept):
            return None
        key = int(np.argmax(_varieties(kept)))
        draw = np.random.default_rng(0)
        shuffled = np.stack([draw.permutation(column) for column in kept.T], axis=1)
        return cls(_by(kept, key), _by(shuffled, key), key, _chance(coded, kept))

    def found(self, candidates: NDArray[np.floating], tests: int, work: Work | None = None) -> int:
        """How many rows are among ``candidates`` [m, width] beyond chance, when ``tests`` such questions are asked.

        0 where what is found could be chance. Raises TooMuch when more pairs would have to be compared than ``work``
        has left, 2^27 by itself.
        """
        real = alike = 0
        work = work if work is not None else Work()
        for start in range(0, len(candidates), _PIECE):
            piece = codes(candidates[start : start + _PIECE])
            real += _matches(piece, self.rows, self.key, work)
            alike += _matches(piece, self.shuffled, self.key, work)
        if not real:
            return 0
        expected = max(len(candidates) * self.chance, float(alike))
        return real if _log_tail(real, expected) < math.log(CHANCE / max(1, tests)) else 0


def _log_tail(found: int, expected: float) -> float:
    """Upper bound of ln P(X >= found) for a sum of independent chances with that mean (Chernoff; Hoeffding 1963)."""
    if found <= expected:
        return 0.0
    if not expected:
        return -math.inf
    return found - expected - found * math.log(found / expected)


def _has_content(coded: Codes) -> NDArray[np.bool_]:
    """Which rows have three values or more, or of two the rarer one three times or more."""
    if not coded.size:
        return np.zeros(len(coded), dtype=bool)
    ordered = np.sort(coded, axis=1)
    fresh = np.diff(ordered.astype(np.int32), axis=1) != 0
    enough: NDArray[np.bool_] = fresh.sum(axis=1) >= _CONTENT - 1
    rest = np.flatnonzero(~enough)
    # Two values: the rarer one must stand there three times.
    first = (ordered[rest] == ordered[rest, :1]).sum(axis=1)
    enough[rest] = np.minimum(first, coded.shape[1] - first) >= _CONTENT
    return enough


def _chance(coded: Codes, rows: Codes) -> float:
    """The sum over ``rows`` of the product of how frequent each column's value is in the table, within one step."""
    logs = np.zeros(len(rows))
    for column in _weighed(coded):
        # How many have a code below each: three neighbours are a difference of two of these.
        below = np.concatenate(
            [[0, 0], np.cumsum(np.bincount(coded[:, column].astype(np.int32) + _SHIFT, minlength=_CODES + 1))]
        )
        value = rows[:, column].astype(np.int32) + _SHIFT
        logs += np.log((below[value + 3] - below[value]) / len(coded))
    return float(min(1.0, np.exp(logs).sum()))


def _distinct(coded: Codes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each distinct row stands first, and how often there is one like it, by a hash of 64 bits."""
    odd = np.random.default_rng(1).integers(1 << 63, size=(coded.shape[1], 1), dtype=np.uint64)
    hashed = np.zeros(len(coded), dtype=np.uint64)
    for place in range(coded.shape[1]):
        column = coded[:, place].astype(np.int64).astype(np.uint64)
        hashed = (hashed ^ (column * (odd[place] | np.uint64(1)))) * _MIXER
        hashed ^= hashed >> np.uint64(29)
    _, first, counts = np.unique(hashed, return_index=True, return_counts=True)
    return first, counts


def _varieties(coded: Codes) -> list[int]:
    return [
        int(np.count_nonzero(np.bincount(column.astype(np.int32) + _SHIFT, minlength=_CODES)))
        for column in coded.T
    ]


def _by(rows: Codes, key: int) -> Codes:
    return rows[np.argsort(rows[:, key], kind="stable")]


def _weighed(coded: Codes) -> list[int]:
    """Columns that each say something of their own: those with most values first, none alike to one before it."""
    sample = coded[:: -(-len(coded) // _SAMPLE)]
    # Ranks: whatever unit a column is in, or is the logarithm of, is the same to them.
    ranks = np.stack([np.unique(column, return_inverse=True)[1] for column in sample.T], axis=1)
    order = np.argsort(-ranks.max(axis=0), kind="stable")[: 4 * _WEIGHED]
    spread = ranks[:, order] - ranks[:, order].mean(axis=0)
    size = np.sqrt((spread**2).sum(axis=0))
    spread /= np.where(size > 0, size, 1.0)
    alike = np.abs(spread.T @ spread) > _ALIKE
    kept: list[int] = []
    for place in range(len(order)):
        if size[place] > 0 and not alike[place, kept].any():
            kept.append(place)
    return [int(order[place]) for place in kept[:_WEIGHED]]


def _matches(candidates: Codes, rows: Codes, key: int, work: Work) -> int:
    """How many ``rows``, in the order of column ``key``, equal a candidate within one step, one for each at most."""
    if not len(candidates) or not len(rows):
        return 0
    ordered, wanted = rows[:, key].astype(np.int32), candidates[:, key].astype(np.int32)
    first = np.searchsorted(ordered, wanted - 1, "left")
    counts = np.searchsorted(ordered, wanted + 1, "right") - first
    work.take(int(counts.sum()))
    hit_rows: set[int] = set()
    hit_candidates: set[int] = set()
    at = 0
    while at < len(wanted):
        # So many candidates that their pairs fit into memory.
        upto = max(at + 1, int(np.searchsorted(np.cumsum(counts[at:]), 1 << 22, "right")) + at)
        left = np.repeat(np.arange(at, min(upto, len(wanted))), counts[at:upto])
        start = np.repeat(first[at:upto] - np.cumsum(counts[at:upto]) + counts[at:upto], counts[at:upto])
        right = start + np.arange(len(left))
        for column in range(rows.shape[1]):
            near = np.abs(candidates[left, column].astype(np.int32) - rows[right, column]) <= 1
            left, right = left[near], right[near]
            if not len(left):
                break
        full = _has_content(candidates[left])
        left, right = left[full], right[full]
        hit_candidates.update(left.tolist())
        hit_rows.update(right.tolist())
        at = upto
    return min(len(hit_rows), len(hit_candidates))

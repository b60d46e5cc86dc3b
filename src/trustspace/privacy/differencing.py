"""Which small groups follow from counts that were published one after another, and from none of them alone.

A count is the sum, over patients, of how many of a patient's rows it counts: a row of a matrix whose columns are
patients. Patients that no count tells apart are one *atom*, so that the columns are atoms and their sizes. What an
outsider gets by adding and subtracting counts is the row space of that matrix, and a group of patients is isolated when
that space holds a vector that is nonzero on this group only. This is the audit expert of Chin and Ozsoyoglu (Auditing
and Inference Control in Statistical Databases, IEEE TSE SE-8(6), 1982); an atom isolated by itself is a column whose
leverage is 1. Isolated is judged over the patients of one source unit: what others add to a count is taken as known.

The space is written in reduced echelon form, columns from the largest atom to the smallest, modulo the prime 2**21 - 9,
so that nothing is rounded. Each of its rows is a vector of smallest support (a fundamental cocircuit: Oxley, Matroid
Theory, 2nd ed., chapter 2). So an isolated atom is found for certain, and where no row vanishes on all atoms of the
minimum size and more, nothing smaller than the minimum can be isolated at all. A group of several small atoms is found
when it is a row, or the difference of an earlier count and a new one; to find the smallest in every case is finding the
least codeword (NP-hard: Vardy, IEEE IT 43(6), 1997). A group is new when its vector is no sum of vectors within the
group that one of the two sides isolates alone. What follows from counts not being negative is looked for in one output
only (jobs/disclosure.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Cells = tuple[int, ...]
# Sums of 2048 products of two numbers below it are exact in float64, so that matrices are multiplied fast.
PRIME = 2**21 - 9
MAX_COUNTS = 2048
MAX_ENTRIES = 1 << 25
MAX_WORK = 1 << 28
_CHUNK, _PANEL = 1024, 32
MAX_PAIRS = 1 << 12
_SEED_WORDS = 8


class TooManyCounts(Exception):
    """The counts and atoms are more than can be audited in bounded time."""


@dataclass(frozen=True)
class Counted:
    """What an output's counts are of.

    ``people``: uint64 [rows], whose each row is. ``cells``: int32 [lines, rows], the cell of each table ("line") that a
    row falls into. ``shown``: of each line the counts that were published, each as the cells that it adds up.
    """

    people: NDArray[np.uint64] = field(repr=False)
    cells: NDArray[np.int32] = field(repr=False)
    shown: tuple[tuple[Cells, ...], ...]

    @property
    def counts(self) -> int:
        """How many counts were published."""
        return sum(len(line) for line in self.shown)


@dataclass(frozen=True)
class Revealed:
    """A group of so many patients, and the new output's counts that it follows from, numbered through all lines."""

    patients: int
    counts: tuple[int, ...]


def revealed(new: Counted, earlier: Sequence[Counted], block: int) -> tuple[Revealed, ...]:
    """Groups of fewer than ``block`` patients that ``new`` and ``earlier`` isolate together, and neither alone.

    Smallest first. Raises TooManyCounts beyond the bounds of this module.
    """
    outputs = (new, *earlier)
    if block < 2 or not earlier or not new.counts:
        return ()
    if sum(output.counts for output in outputs) > MAX_COUNTS:
        raise TooManyCounts
    matrix, sizes = _atoms(outputs)
    fresh, before = matrix[: new.counts], matrix[new.counts :]
    work = _Work(MAX_WORK)
    sides: list[_Space] = []
    found: dict[bytes, Revealed] = {}
    tried: set[bytes] = set()
    candidates = (*_Space(matrix, work).light(sizes, block), *_differences(fresh, before, sizes, block))
    for vector, used in candidates:
        touched = vector != 0
        patients, key = int(sizes[touched].sum()), vector.tobytes()
        if not 0 < patients < block or key in tried:
            continue
        tried.add(key)
        sides = sides or [_Space(part, work) for part in (fresh, before)]
        if not _is_known(vector, touched, sides, work):
            # Those that count the group; where it is in earlier counts only, those that are taken off them.
            own = np.flatnonzero(fresh[:, touched].any(axis=1))
            counts = own if len(own) else used[used < len(fresh)]
            found[touched.tobytes()] = Revealed(patients, tuple(int(count) for count in counts))
    return tuple(sorted(found.values(), key=lambda one: (one.patients, one.counts)))


def _atoms(outputs: Sequence[Counted]) -> tuple[Integers, Integers]:
    """The matrix [counts, atoms] of all outputs, one after another, and the atoms' sizes, largest first."""
    everybody, numbers = np.unique(np.concatenate([output.people for output in outputs]), return_inverse=True)
    owners = np.split(numbers, np.cumsum([len(output.people) for output in outputs])[:-1])
    signature = np.zeros(len(everybody), dtype=np.int64)
    published = sum(output.counts for output in outputs)
    # Nobody who chooses what is counted knows the pseudonyms, and so the weights.
    draw = np.random.default_rng(everybody[:_SEED_WORDS])
    for output, owner in zip(outputs, owners, strict=True):
        for column in _marks(output, owner, len(everybody), draw):
            wider = signature * (int(column.max(initial=0)) + 1) + column
            signature = np.unique(wider, return_inverse=True)[1]
            if (int(signature.max(initial=0)) + 1) * published > MAX_ENTRIES:
                raise TooManyCounts
    _, first, sizes = np.unique(signature, return_index=True, return_counts=True)
    # One patient of each atom stands for it.
    place = np.full(len(everybody), -1)
    place[first] = np.arange(len(first))
    rows: list[Integers] = []
    for output, owner in zip(outputs, owners, strict=True):
        kept = place[owner] >= 0
        rows += _counts(output.cells[:, kept], output.shown, place[owner[kept]], len(first))
    matrix = np.array(rows, dtype=np.int64).reshape(len(rows), len(first))
    counted = matrix.any(axis=0)
    matrix, sizes = matrix[:, counted], sizes[counted]
    order = np.argsort(-sizes, kind="stable")
    return matrix[:, order] % PRIME, sizes[order]


def _marks(output: Counted, owner: Integers, people: int, draw: np.random.Generator) -> Iterator[Integers]:
    """Of each line numbers of each patient, [people], that are alike for two whom its counts count alike.

    Compared are sums, modulo 2**64, of a random weight of each count times how often it counts the patient: two who
    differ have the same one with a probability of 2**-64 (times the power of two in how they differ). That is as seldom
    as their pseudonyms are alike, and takes a line one look at each row, however many counts it has.
    """
    order = np.argsort(owner, kind="stable")
    present, starts = np.unique(owner[order], return_index=True)
    for cells, shown in zip(output.cells, output.shown, strict=True):
        if not shown or not len(present):
            continue
        most = max(int(cells.max(initial=0)), *(max(count, default=0) for count in shown))
        weights = np.zeros(most + 1, dtype=np.uint64)
        for count in shown:
            weights[list(count)] += draw.integers(1 << 64, dtype=np.uint64)
        sums = np.zeros(people, dtype=np.uint64)
        sums[present] = np.add.reduceat(weights[cells[order]], starts)
        yield np.unique(sums, return_inverse=True)[1]


def _counts(
    cells: NDArray[np.int32], shown: Sequence[Sequence[Cells]], owner: Integers, people: int
) -> Iterator[Integers]:
    """Of each published count in turn: how many rows of each patient it counts, [people]."""
    for line, counts in zip(cells, shown, strict=True):
        for count in counts:
            yield np.bincount(owner[_within(line, count)[line]], minlength=people)


def _within(cells: NDArray[np.int32], count: Cells) -> NDArray[np.bool_]:
    """For each number of a cell whether a count adds it up."""
    within = np.zeros(max(int(cells.max(initial=0)), *count) + 1, dtype=np.bool_)
    within[list(count)] = True
    return within


class _Work:
    """Counts down; what is asked for must stay bounded, whoever asks."""

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise TooManyCounts


class _Space:
    """The row space of a matrix [rows, columns] in reduced echelon form: ``change`` [rank, rows] times the matrix.

    The form itself is worked out only where it is looked at. Row n has its first 1 in column ``pivots[n]``, where all
    other rows have 0.
    """

    def __init__(self, matrix: Integers, work: _Work) -> None:
        self._matrix, self._work = matrix, work
        height, width = matrix.shape
        self._change = np.eye(height, dtype=np.int64)
        self.pivots: list[int] = []
        start = 0
        while start < width and len(self.pivots) < height:
            end = min(start + _CHUNK, width)
            rest = self._times(self._change[len(self.pivots) :], start, end)
            ahead = np.flatnonzero(rest.any(axis=0))
            if not len(ahead):
                start = end
                continue
            start += int(ahead[0])
            end = min(start + _PANEL, width)
            self._eliminate(start, end)
            start = end
        self._change = self._change[: len(self.pivots)]

    def rows(self, places: Sequence[int]) -> Integers:
        """Some rows of the form."""
        return self._times(self._change[list(places)], 0, self._matrix.shape[1])

    def light(self, sizes: Integers, block: int) -> Iterator[tuple[Integers, Integers]]:
        """The rows that are nonzero for fewer than ``block`` patients, each with the rows of the matrix in it."""
        left = np.arange(len(self.pivots))
        weights = np.zeros(len(left), dtype=np.int64)
        for start in range(0, len(sizes), _CHUNK):
            end = min(start + _CHUNK, len(sizes))
            weights += (self._times(self._change[left], start, end) != 0) @ sizes[start:end]
            left, weights = left[weights < block], weights[weights < block]
            if not len(left):
                break
        for place in left:
            yield self.rows([int(place)])[0], np.flatnonzero(self._change[place])

    def _times(self, factors: Integers, start: int, end: int) -> Integers:
        self._work.take(len(factors) * factors.shape[1] * (end - start) // 64 + len(factors) * (end - start))
        return _product(factors, self._matrix[:, start:end])

    def _eliminate(self, start: int, end: int) -> None:
        """Take a few columns: rows are combined there at once, and what that means for ``change`` is done at the end.

        Until then row i stands for ``own[i]`` times its row of ``change``, and ``parts[i]`` of the ``bases``.
        """
        change, rank = self._change, len(self.pivots)
        piece = self._times(change, start, end)
        parts, own = np.zeros_like(piece), np.ones(len(piece), dtype=np.int64)
        bases: list[Integers] = []
        for column in range(end - start):
            ahead = np.flatnonzero(piece[rank:, column])
            if not len(ahead):
                continue
            swap = [rank, rank + int(ahead[0])]
            for rows in (piece, parts, change):
                rows[swap] = rows[swap[::-1]]
            parts[rank, len(bases)], own[rank] = 1, 0
            bases.append(change[rank].copy())
            inverse = pow(int(piece[rank, column]), -1, PRIME)
            others = np.flatnonzero(piece[:, column])
            others = others[others != rank]
            self._work.take(8 * len(others) * piece.shape[1])
            for rows in (piece, parts):
                rows[rank] = rows[rank] * inverse % PRIME
            factors = piece[others, column][:, None]
            for rows in (piece, parts):
                rows[others] = (rows[others] - factors * rows[rank]) % PRIME
            self.pivots.append(start + column)
            rank += 1
        self._work.take(change.size * len(bases) // 64 + change.size)
        added = _product(parts[:, : len(bases)], np.array(bases))
        self._change = (own[:, None] * change + added) % PRIME


def _product(left: Integers, right: Integers) -> Integers:
    """The product modulo PRIME, of numbers below it."""
    product: Integers = (left.astype(np.float64) @ right.astype(np.float64) % PRIME).astype(np.int64)
    return product


def _is_known(vector: Integers, touched: NDArray[np.bool_], sides: Sequence[_Space], work: _Work) -> bool:
    """Whether ``vector`` is a sum of vectors of the ``sides``, each of them nonzero where ``touched`` only."""
    outside = int((~touched).sum())
    within = []
    for side in sides:
        # A row whose pivot is elsewhere has no part in such a vector: no other row could undo its 1 there.
        rows = side.rows([place for place, column in enumerate(side.pivots) if touched[column]])
        arranged = _Space(np.concatenate([rows[:, ~touched], rows[:, touched]], axis=1), work)
        inside = [place for place, column in enumerate(arranged.pivots) if column >= outside]
        within.append(arranged.rows(inside)[:, outside:])
    known = np.concatenate(within)
    more = np.concatenate([known, vector[None, touched]])
    return len(_Space(known, work).pivots) == len(_Space(more, work).pivots)


def _differences(
    fresh: Integers, before: Integers, sizes: Integers, block: int
) -> Iterator[tuple[Integers, Integers]]:
    """New counts less earlier ones, wherever the two differ for fewer than ``block`` patients, and which they are."""
    new, old, weights = fresh.astype(np.float64), before.astype(np.float64), sizes.astype(np.float64)
    # The sum of squared differences: for a patient for whom two counts differ at least 1, at most the largest squared.
    apart = ((new**2) @ weights)[:, None] + ((old**2) @ weights) - 2 * (new * weights) @ old.T
    most = max(float(new.max(initial=0)), float(old.max(initial=0)), 1.0)
    pairs = np.argwhere((apart > 0.5) & (apart < block * most**2))
    if len(pairs) > MAX_PAIRS:
        raise TooManyCounts
    for count, other in pairs:
        yield (fresh[count] - before[other]) % PRIME, np.array([count])

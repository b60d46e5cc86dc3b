"""Opening a shared sum from what its holders revealed, and finding those who revealed falsely.

The reveals of honest holders are values of polynomials of one degree, column by column: a Reed-Solomon code word
(McEliece and Sarwate, "On sharing secrets and Reed-Solomon codes", Communications of the ACM 24, 1981). False ones
are located on one scalar for each prime, a random combination of the columns that is drawn here and now (Berlekamp
and Welch, US patent 4,633,470, 1986), and then compared in full, so that chance decides nothing but the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from trustspace.aggregation.residues import Residues, interpolation, inverse, product, reduced, uniform
from trustspace.errors import VerificationFailed

Rows = NDArray[np.uint32]
# A combination misses a false reveal with probability 1 / prime: four drawn anew miss it never.
_DRAWS = 4
# Sets of reveals that are tried where too many are false to be located, times the reveals in each.
_WORK = 1 << 13


@dataclass(frozen=True)
class Reveals:
    """The values of one polynomial for each column at ``points``: for each prime [points, columns].

    The degree is below ``threshold``; the secret stands at ``secrets`` (points, the same for every prime, taken
    modulo it), one block of columns after another.
    """

    values: tuple[Residues, ...]
    points: tuple[int, ...]
    primes: tuple[int, ...]
    threshold: int
    secrets: tuple[int, ...]

    def open(self, test: Callable[[Rows], bool]) -> tuple[Rows, tuple[int, ...]]:
        """The secret's rows uint32 [primes, length] that pass ``test``, and which reveals are not on their polynomial.

        Raises VerificationFailed where nothing passes, or where too many are false to look for them.
        """
        rows, wrong = self._fitted(range(len(self.points)))
        if not wrong:
            if test(rows):
                return rows, wrong
            raise VerificationFailed(
                "What was revealed does not open the sum, and nobody can be named for it.",
                fix="Begin a new attempt; with more reveals than the threshold a false one can be found.",
            )
        for _ in range(_DRAWS):
            kept = self._located()
            if kept is None:
                break
            rows, wrong = self._fitted(kept)
            if not set(wrong) & set(kept):
                if test(rows):
                    return rows, wrong
                break
        return self._searched(test)

    def _searched(self, test: Callable[[Rows], bool]) -> tuple[Rows, tuple[int, ...]]:
        """``open`` with more false reveals than can be located: leaves out one set of them after another."""
        count, work = len(self.points), _WORK
        scalars = self._scalars()
        for size in range(1, count - self.threshold + 1):
            work -= comb(count, size) * self.threshold
            if work < 0:
                break
            for out in combinations(range(count), size):
                kept = [at for at in range(count) if at not in out]
                if not self._consistent(scalars, kept):
                    continue
                rows, wrong = self._fitted(kept)
                if not set(wrong) & set(kept) and test(rows):
                    return rows, wrong
        raise VerificationFailed(
            "Too many of the reveals are false to open the sum.",
            fix="Begin a new attempt with other members.",
        )

    def _fitted(self, kept: Sequence[int]) -> tuple[Rows, tuple[int, ...]]:
        """The secret by the first ``threshold`` of ``kept``, and which reveals do not lie on the same polynomials."""
        base = list(kept[: self.threshold])
        points = [self.points[at] for at in base]
        others = [at for at in range(len(self.points)) if at not in base]
        targets = [*self.secrets, *(self.points[at] for at in others)]
        rows, wrong = [], set()
        for prime, values in zip(self.primes, self.values, strict=True):
            found = product(interpolation(points, targets, prime), values[base], prime)
            rows.append(found[: len(self.secrets)].reshape(-1).astype(np.uint32))
            differs = (found[len(self.secrets) :] != values[others]).any(axis=1)
            wrong |= {at for at, off in zip(others, differs, strict=True) if off}
        return np.stack(rows), tuple(sorted(wrong))

    def _scalars(self) -> list[Residues]:
        return [
            product(values, uniform(values.shape[1], 1, prime), prime)
            for prime, values in zip(self.primes, self.values, strict=True)
        ]

    def _consistent(self, scalars: list[Residues], kept: Sequence[int]) -> bool:
        base, rest = list(kept[: self.threshold]), list(kept[self.threshold :])
        points, targets = [self.points[at] for at in base], [self.points[at] for at in rest]
        return not rest or all(
            np.array_equal(product(interpolation(points, targets, prime), row[base], prime), row[rest])
            for prime, row in zip(self.primes, scalars, strict=True)
        )

    def _located(self) -> list[int] | None:
        """The reveals whose scalars are right, if at most half of those beyond the threshold are wrong for a prime."""
        kept = set(range(len(self.points)))
        everyone = sorted(kept)
        for prime, scalars in zip(self.primes, self._scalars(), strict=True):
            right = _right(self.points, scalars[:, 0], self.threshold, prime)
            if len(right) < self.threshold:
                return None
            # A locator may vanish at a right place too: compare again with what the others give.
            base = right[: self.threshold]
            matrix = interpolation([self.points[at] for at in base], self.points, prime)
            expected = product(matrix, scalars[base], prime)
            kept -= {at for at in everyone if expected[at, 0] != scalars[at, 0]}
        return sorted(kept) if len(kept) >= self.threshold else None


def _right(points: Sequence[int], values: Residues, threshold: int, prime: int) -> list[int]:
    """Berlekamp-Welch: places of the values that lie on one polynomial of degree < threshold, [] if there is none.

    Solves Q(x) = y E(x) at every point for E monic of degree e, the most errors that can be located, and Q of
    degree below threshold + e; where E is not zero, y is Q / E.
    """
    errors = (len(points) - threshold) // 2
    width = threshold + errors
    powers = np.ones((len(points), width + 1), np.uint64)
    base = np.array([x % prime for x in points], np.uint64)
    for column in range(1, width + 1):
        powers[:, column] = reduced(powers[:, column - 1] * base, prime)
    scaled = reduced(powers[:, : errors + 1] * values[:, None], prime)
    negative = reduced(np.uint64(prime) - scaled[:, :errors], prime)
    solution = _solved(np.hstack([powers[:, :width], negative, scaled[:, errors:]]), prime)
    if solution is None:
        return []
    locator = np.append(solution[width:], np.uint64(1))[:, None]
    return [int(at) for at in np.flatnonzero(product(powers[:, : errors + 1], locator, prime)[:, 0])]


def _solved(system: Residues, prime: int) -> Residues | None:
    """A solution of the linear equations ``system`` [equations, unknowns + 1] modulo ``prime``; None without one."""
    unknowns = system.shape[1] - 1
    pivots: list[int] = []
    for column in range(unknowns):
        done = len(pivots)
        below = np.flatnonzero(system[done:, column])
        if not len(below):
            continue
        pivot = done + int(below[0])
        system[[done, pivot]] = system[[pivot, done]]
        scale = np.uint64(inverse(int(system[done, column]), prime))
        system[done] = reduced(system[done] * scale, prime)
        factors = system[:, column].copy()
        factors[done] = 0
        taken = reduced(factors[:, None] * system[done], prime)
        system = reduced(system + (np.uint64(prime) - taken), prime)
        pivots.append(column)
        if len(pivots) == len(system):
            break
    if system[len(pivots) :, unknowns].any():
        return None
    solution = np.zeros(unknowns, np.uint64)
    solution[pivots] = system[: len(pivots), unknowns]
    return solution

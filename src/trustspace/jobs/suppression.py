"""Which counts of a table must be hidden, so that no group of fewer people than the minimum can be read off.

Hiding the small counts alone is not enough: with the totals, a single hidden count follows by subtraction. So
further counts are hidden, in two steps (Hundepool et al., Statistical Disclosure Control, 2012, chapter 4):

1. *Totals.* Of each column, the categories with too few people are folded together, with further ones until
   the folded ones together are enough. The totals of the others are shown, and so is what the folded ones
   have together. It is done once for a column, so that all its tables show the same totals.
2. *Inner counts.* With those totals known, a hidden count can differ from the truth exactly if it lies on a
   cycle of hidden counts in which one is raised and the next lowered in turn, through rows and columns
   (network flows: Cox 1995). Where there is none, the cheapest cycle is hidden.

A hidden count carries no mark of why it is hidden: "fewer than 10" next to another one would itself narrow
both. What an outsider knows of one is only that it is no negative number. Tables that share a column are
safe together as long as no three or more of them form a ring (A by B, B by C, C by A): any set of tables that
agree on what they share is then the tables of some real list of people. Job files with rings are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Mask = NDArray[np.bool_]


def hide_totals(counts: Sequence[int] | Counts, minimum: int) -> Mask:
    """Which of the counts [k] of one column are hidden, where their sum is shown and not below ``minimum``.

    What is hidden has a sum of at least ``minimum``, and more than one for each hidden count. Zeros are
    hidden only where all is.
    """
    line = np.asarray(counts, dtype=np.int64)
    hidden: Mask = (line > 0) & (line < minimum)
    by_size = [int(i) for i in np.argsort(line, kind="stable") if line[i] > 0]
    while hidden.any():
        together, many = int(line[hidden].sum()), int(hidden.sum())
        if many > 1 and together >= minimum and together > many:
            break
        shown = [i for i in by_size if not hidden[i]]
        if not shown:
            return np.ones(len(line), dtype=np.bool_)
        hidden[shown[0]] = True
    return hidden


def hide_counts(counts: Counts, rows: Mask, columns: Mask, minimum: int) -> Mask:
    """Which of a table's counts [r, c] are hidden; ``rows`` and ``columns`` say whose totals are."""
    of_row, of_column = _places(rows), _places(columns)
    folded = np.zeros((of_row.max() + 1, of_column.max() + 1), dtype=np.int64)
    np.add.at(folded, (of_row[:, None], of_column[None, :]), counts)
    hidden = _hide_inner(folded, minimum)
    # A folded count that is 0 is shown, so every count in it is known to be 0.
    in_folded = (rows[:, None] | columns[None, :]) & (folded[of_row][:, of_column] > 0)
    every: Mask = hidden[of_row][:, of_column] | in_folded
    return every


def _places(folded: Mask) -> NDArray[np.int64]:
    """For each line of a table its place in the folded one: folded lines share the last place."""
    places = np.cumsum(~folded) - 1
    places[folded] = int((~folded).sum())
    return places.astype(np.int64)


def _hide_inner(counts: Counts, minimum: int) -> Mask:
    """Which counts [r, c] are hidden where all totals are shown, each 0 or at least ``minimum``."""
    hidden: Mask = (counts > 0) & (counts < minimum)
    # The sum of a line's hidden counts follows from its total: it must not be a small count itself.
    for values, mask in ((counts, hidden), (counts.T, hidden.T)):
        for line, marks in zip(values, mask, strict=True):
            for place in np.argsort(line, kind="stable"):
                if not marks.any() or (marks.sum() > 1 and line[marks].sum() >= minimum):
                    break
                if line[place] > 0:
                    marks[place] = True
    for row, column in np.argwhere(hidden):
        # Zeros are seldom hidden. Whoever bets that no hidden count is 0 learns nothing either, where possible.
        for floor in (1, 0):
            if _is_on_cycle(counts, hidden, int(row), int(column), floor):
                break
            cost, cells = _cheapest_cycle(counts, hidden, int(row), int(column), floor)
            if np.isfinite(cost):
                hidden[tuple(zip(*cells, strict=True))] = True
                break
    return hidden


def _is_on_cycle(counts: Counts, hidden: Mask, row: int, column: int, floor: int) -> bool:
    """Whether the hidden count can be raised or lowered by one by changing hidden counts only.

    None is lowered below ``floor``.
    """
    others = hidden.copy()
    others[row, column] = False
    lowered = others & (counts > floor)
    return _reaches(lowered, others, column, row) or bool(
        counts[row, column] > floor and _reaches(others.T, lowered.T, row, column)
    )


def _reaches(first: Mask, second: Mask, start: int, end: int) -> bool:
    """Whether steps ``first`` (column to row) and ``second`` (row to column) lead from column to row."""
    columns = np.zeros(first.shape[1], dtype=np.bool_)
    columns[start] = True
    rows = np.zeros(first.shape[0], dtype=np.bool_)
    fresh = columns.copy()
    while fresh.any():
        new_rows = first[:, fresh].any(axis=1) & ~rows
        rows |= new_rows
        if rows[end]:
            return True
        fresh = second[new_rows].any(axis=0) & ~columns
        columns |= fresh
    return False


def _cheapest_cycle(
    counts: Counts, hidden: Mask, row: int, column: int, floor: int
) -> tuple[float, list[tuple[int, int]]]:
    """The cells of a cycle through (row, column) that hides least, and its cost, infinite without one.

    By Dijkstra; the cost is what is hidden, a zero is the last resort. Raising a count leads from its row to
    its column, lowering it back; none is lowered below ``floor``. With floor 0 there always is a cycle:
    totals are 0 or at least the minimum, so that a small count has others beside it.
    """
    # More than all positive counts together, so that a way without zeros is always the cheaper one.
    last_resort = int(counts.sum()) + 1
    cost = np.where(hidden, 0, np.where(counts > 0, counts, last_resort)).astype(np.float64)
    raised = cost.copy()
    lowered = np.where(counts > floor, cost, np.inf)
    raised[row, column] = lowered[row, column] = np.inf
    ways = [_cheapest_way(lowered, raised, column, row)]
    if counts[row, column] > floor:
        total, cells = _cheapest_way(raised.T, lowered.T, row, column)
        ways.append((total, [(a, b) for b, a in cells]))
    return min(ways)


def _cheapest_way(
    back: NDArray[np.float64], forth: NDArray[np.float64], start: int, end: int
) -> tuple[float, list[tuple[int, int]]]:
    """Cost and cells [(row, column)] of the cheapest way from column ``start`` to row ``end``.

    ``back`` [r, c] is the cost of a step from a column to a row, ``forth`` of one from a row to a column.
    """
    rows, columns = back.shape
    distance = np.full(rows + columns, np.inf)
    distance[rows + start] = 0.0
    before = np.full(rows + columns, -1)
    open_ = np.ones(rows + columns, dtype=np.bool_)
    while open_[end]:
        node = int(np.argmin(np.where(open_, distance, np.inf)))
        if not open_[node] or not np.isfinite(distance[node]):
            return np.inf, []
        open_[node] = False
        reached = slice(rows, None) if node < rows else slice(0, rows)
        steps = distance[node] + (forth[node] if node < rows else back[:, node - rows])
        better = steps < distance[reached]
        distance[reached] = np.where(better, steps, distance[reached])
        before[reached] = np.where(better, node, before[reached])
    cells: list[tuple[int, int]] = []
    node = end
    while node != rows + start:
        previous = int(before[node])
        cells.append((node, previous - rows) if node < rows else (previous, node - rows))
        node = previous
    return float(distance[end]), cells

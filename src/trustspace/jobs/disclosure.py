"""What an outsider can work out from released statistics, to be told to the reviewer.

Plain interval arithmetic, as someone with a pencil would do it: a total is the sum of its parts. It shares
nothing with the way in which counts were chosen to be hidden: what one of the two gets wrong, the other finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustspace.jobs.parameters import Parameters
from trustspace.jobs.sections_joint import RESERVED_CATEGORIES
from trustspace.jobs.statistics import HIDDEN, check_statistics
from trustspace.jobs.suppression import Counts

_MOST_ROUNDS = 100


@dataclass(frozen=True)
class Disclosure:
    """What can be seen in a released statistics.json.

    ``minimum``: the one it was made with. ``counts``: how many counts it has, ``hidden``: how many of them
    are hidden. ``derived``: hidden counts that follow from the shown ones, and groups of hidden ones whose
    sum does and is small. ``narrowest``: how many values the best-known hidden count can have, 0 without
    one. ``alike``: groups of people that are known to share one value.
    """

    minimum: int
    counts: int
    hidden: int
    derived: int
    narrowest: int
    alike: int


class _Known:
    """Counts between ``low`` and ``high``, both included; ``hidden`` says which are not shown."""

    def __init__(self, shown: Any, most: int) -> None:
        values = np.array(shown, dtype=object)
        self.hidden = values == HIDDEN
        self.low: Counts = np.where(self.hidden, 0, values).astype(np.int64)
        self.high: Counts = np.where(self.hidden, most, self.low).astype(np.int64)


def disclosure(value: Any, parameters: Parameters) -> Disclosure:
    """What ``value``, a parsed statistics.json, gives away. Raises VerificationFailed for an unsound form."""
    check_statistics(value, parameters)
    minimum: int = value["minimum_cell_count"]
    most = value["rows"] if value["rows"] != HIDDEN else max(minimum - 1, 0)
    everybody = _Known(value["rows"], most)
    lines = [_Known([item["count"], item["missing"]], most) for item in value["numeric"]]
    others = [_Known(item["outside"], most) for item in value["numeric"] if "outside" in item]
    totals: dict[str, _Known] = {}
    tables: list[tuple[_Known, _Known, _Known]] = []
    alike = 0
    for item in value["tables"]:
        for name, labels, line in zip(item["columns"], item["categories"], item["totals"], strict=True):
            if name not in totals:
                totals[name] = _Known(line, most)
                alike += _alike([line], labels)
        if "counts" in item:
            row, column = item["columns"]
            tables.append((totals[row], totals[column], _Known(item["counts"], most)))
            of_row, of_column = (labels[: -len(RESERVED_CATEGORIES)] for labels in item["categories"])
            across = [list(line) for line in zip(*item["counts"], strict=True)]
            alike += _alike(item["counts"][: len(of_row)], item["categories"][1])
            alike += _alike(across[: len(of_column)], item["categories"][0])
    lines += totals.values()
    for _ in range(_MOST_ROUNDS):
        tighter = [_narrow(everybody, line, 0) for line in lines]
        for rows, columns, inner in tables:
            tighter += [_narrow(rows, inner, 1), _narrow(columns, inner, 0)]
        if not any(tighter):
            break
    every = [everybody, *lines, *others, *(inner for _, _, inner in tables)]
    ranges = np.concatenate([(one.high - one.low)[one.hidden] for one in every]) + 1
    sums = sum(_small_sums(everybody, line, 0, minimum) for line in lines)
    for rows, columns, inner in tables:
        sums += _small_sums(rows, inner, 1, minimum) + _small_sums(columns, inner, 0, minimum)
    return Disclosure(
        minimum=minimum,
        counts=sum(one.hidden.size for one in every),
        hidden=len(ranges),
        derived=int((ranges <= 1).sum()) + sums,
        narrowest=int(ranges.min()) if len(ranges) else 0,
        alike=alike,
    )


def _narrow(whole: _Known, parts: _Known, axis: int) -> bool:
    """Tighten both by ``whole == parts.sum(axis)``; whether anything became tighter."""
    before = int((whole.high - whole.low).sum() + (parts.high - parts.low).sum())
    low, high = parts.low.sum(axis=axis), parts.high.sum(axis=axis)
    whole.low = np.maximum(whole.low, low)
    whole.high = np.minimum(whole.high, high)
    room = np.expand_dims(whole.high - low, axis) + parts.low
    need = np.expand_dims(whole.low - high, axis) + parts.high
    parts.high = np.minimum(parts.high, room)
    parts.low = np.maximum(parts.low, need)
    return int((whole.high - whole.low).sum() + (parts.high - parts.low).sum()) < before


def _small_sums(whole: _Known, parts: _Known, axis: int, minimum: int) -> int:
    """Of how many shown totals the hidden parts together are a small count, known by subtraction."""
    shown = np.where(parts.hidden, 0, parts.low).sum(axis=axis)
    rest = whole.low - shown
    found: NDArray[np.bool_] = ~whole.hidden & parts.hidden.any(axis=axis) & (rest < minimum)
    return int(found.sum())


def _alike(lines: Sequence[Sequence[Any]], labels: Sequence[str]) -> int:
    """In how many lines everybody has one value, and it is not that the value is missing."""
    found = 0
    for line in lines:
        people = [label for label, count in zip(labels, line, strict=True) if count != 0]
        found += len(people) == 1 and HIDDEN not in line and people[0] != RESERVED_CATEGORIES[1]
    return found

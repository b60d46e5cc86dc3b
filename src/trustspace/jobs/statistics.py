"""Statistics of one or many source units: from sums of what each counted to a file that may be released.

Every source unit's worker counts its own table (:mod:`trustspace.jobs.counting`). What it hands over is
additive, so that the sum over all units is what one would have counted in all tables together; only that sum
is opened. Then small counts are hidden, with as many others as it takes (:mod:`trustspace.jobs.suppression`).

What else could betray one person is hidden or rounded too:

- a mean and a variance, where too few rows have a value, where too few differ from the most frequent value
  (the rest of the column is known then: the mean shows the few), and where the column has four values or
  fewer and one of them too seldom (the moments are then as good as the counts);
- a quantile, with too few rows below or above it; it is read from a part of the declared range that holds
  enough rows;
- digits: a mean and a variance are rounded to a tenth of their standard error or less, a quantile to a tenth
  of the width it was read from. Further digits say nothing of the population, and hidden counts could be
  reconstructed from them.

The threshold of 10 and the rule for the tails of quantiles are those of output checkers (SACRO; Griffiths et
al., Handbook on Statistical Disclosure Control for Outputs, 2019).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustspace.errors import VerificationFailed
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.sections import STATISTICS_ARTIFACT
from trustspace.jobs.sections_joint import RESERVED_CATEGORIES, Statistics
from trustspace.jobs.suppression import Counts, Mask, hide_counts, hide_totals

STATISTICS_FORMAT = "trustspace-statistics-v1"
HIDDEN = "hidden"
BELOW, ABOVE = "below the range", "above the range"
# Values are counted in so many groups, whole numbers by their last digits, to see whether they differ at all.
GROUPS = 256
# A column with no more values than this is as good as a table of counts.
FEW_VALUES = 4
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?", re.ASCII)


@dataclass(frozen=True)
class NumericPlace:
    """Where a column of numbers stands in the vector, and how its values are scaled before they are added.

    At ``start``: present rows, sum, sum of squares of (value - centre) / scale, :data:`GROUPS` counts of
    groups of equal values; with ``bins`` > 0 then the rows below and above the range, and the rows in each
    part of it.
    """

    column: str
    start: int
    low: float
    high: float
    bins: int

    @property
    def length(self) -> int:
        """How many numbers."""
        return 3 + GROUPS + (2 + self.bins if self.bins else 0)

    @property
    def centre(self) -> float:
        """The middle of the range: from there, squares lose no digits. 0 without a range."""
        return (self.low + self.high) / 2 if self.bins else 0.0

    @property
    def scale(self) -> float:
        """The power of two at or above half the range, so that scaling is exact. 1 without a range."""
        return math.ldexp(1.0, math.ceil(math.log2((self.high - self.low) / 2))) if self.bins else 1.0


@dataclass(frozen=True)
class TablePlace:
    """Where a table's counts stand: at ``start``, row by row; ``categories`` of each of its columns."""

    columns: tuple[str, ...]
    start: int
    categories: tuple[tuple[str, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Categories of each column, with other and missing."""
        return tuple(len(labels) for labels in self.categories)


@dataclass(frozen=True)
class Layout:
    """The vector of additive numbers of a job: number 0 is the rows, then each column, then each table."""

    numeric: tuple[NumericPlace, ...]
    tables: tuple[TablePlace, ...]
    length: int


def layout(parameters: Parameters) -> Layout:
    """Where each number stands. Raises InvalidInput for a job of another kind."""
    section, start = parameters.counting(), 1
    numeric, tables = [], []
    for name in section.numeric:
        low, high = (float(text) for text in section.bounds.get(name, ("0", "0")))
        place = NumericPlace(name, start, low, high, section.bins if name in section.bounds else 0)
        numeric.append(place)
        start += place.length
    for columns in section.tables:
        table = TablePlace(columns, start, tuple(_categories(section, name) for name in columns))
        tables.append(table)
        start += math.prod(table.shape)
    return Layout(tuple(numeric), tuple(tables), start)


def _categories(section: Statistics, column: str) -> tuple[str, ...]:
    return (*section.categories[column], *RESERVED_CATEGORIES)


def numbers_length(parameters: Parameters) -> int:
    """How many float64 a worker hands over. Raises InvalidInput for a job of another kind."""
    return layout(parameters).length


def result(parameters: Parameters, sums: Sequence[float], participants: int, minimum_cell: int) -> bytes:
    """statistics.json from the sums over ``participants`` source units.

    ``sums``: :func:`numbers_length` numbers. ``minimum_cell``: the strictest source unit's. Raises
    VerificationFailed for sums that no tables can have.
    """
    from trustspace.jobs.artifacts import encode_json

    places = layout(parameters)
    numbers = np.asarray(sums, dtype=np.float64)
    if len(numbers) != places.length or not np.isfinite(numbers).all():
        raise VerificationFailed("The sums are not those of this job.")
    rows = int(_whole(numbers[:1])[0])
    value = {
        "format": STATISTICS_FORMAT,
        "minimum_cell_count": minimum_cell,
        "source_units": participants,
        "rows": HIDDEN if _too_few(rows, minimum_cell) else rows,
        "numeric": [_column(place, numbers, rows, parameters, minimum_cell) for place in places.numeric],
        "tables": _tables(places.tables, numbers, rows, minimum_cell),
    }
    return encode_json(value)


def _whole(numbers: NDArray[np.float64]) -> Counts:
    counts = np.rint(numbers).astype(np.int64)
    if (counts != numbers).any() or (counts < 0).any():
        raise VerificationFailed("The sums are not those of any tables.")
    return counts


def _column(
    place: NumericPlace, numbers: NDArray[np.float64], rows: int, parameters: Parameters, minimum: int
) -> dict[str, Any]:
    part = numbers[place.start : place.start + place.length]
    present = int(_whole(part[:1])[0])
    groups = _whole(part[3 : 3 + GROUPS])
    if present > rows or groups.sum() != present:
        raise VerificationFailed("The sums are not those of any tables.")
    counts = np.array([present, rows - present])
    value: dict[str, Any] = {"column": place.column}
    value["count"], value["missing"] = _shown(counts, _hide_line(counts, rows, minimum))
    value["mean"], value["variance"] = _moments(place, part, present, groups, minimum)
    if place.bins:
        outside, inside = _whole(part[3 + GROUPS : 5 + GROUPS]), _whole(part[5 + GROUPS :])
        if outside.sum() + inside.sum() != present:
            raise VerificationFailed("The sums are not those of any tables.")
        counts = np.array([inside.sum(), outside.sum()])
        value["outside"] = _shown(counts, _hide_line(counts, rows, minimum))[1]
        section = parameters.counting()
        value["range"] = list(section.bounds[place.column])
        value["quantiles"] = [
            [text, _quantile(place, float(text), outside, inside, minimum)] for text in section.quantiles
        ]
    return value


def _moments(
    place: NumericPlace, part: NDArray[np.float64], present: int, groups: Counts, minimum: int
) -> tuple[str, str]:
    seen = groups[groups > 0]
    too_few = present < max(minimum, 2) or present - seen.max() < minimum
    if too_few or (len(seen) <= FEW_VALUES and seen.min() < minimum):
        return HIDDEN, HIDDEN
    total, squares = Fraction(float(part[1])), Fraction(float(part[2]))
    scale = Fraction(place.scale)
    mean = float(Fraction(place.centre) + scale * total / present)
    spread = max(squares - total * total / present, Fraction(0)) / (present - 1)
    variance = float(scale * scale * spread)
    error = math.sqrt(variance / present)
    return (
        rounded(mean, error),
        rounded(variance, variance * math.sqrt(2 / (present - 1))),
    )


def _quantile(place: NumericPlace, part: float, outside: Counts, inside: Counts, minimum: int) -> str:
    """By linear interpolation in the smallest block of bins that it lies in and that holds ``minimum`` rows.

    Blocks are the bins, then pairs of them, then fours: where they lie does not depend on the data, as the
    middle of bins chosen around a lonely row would.
    """
    total = int(outside.sum() + inside.sum())
    target = part * total
    if min(target, total - target) < max(minimum, 1):
        return HIDDEN
    if target <= outside[0]:
        return BELOW
    if target > total - outside[1]:
        return ABOVE
    before = int(outside[0]) + np.concatenate([[0], np.cumsum(inside)])
    at, size = int(np.searchsorted(before[1:], target)), 1
    first, last = at, at + 1
    while before[last] - before[first] < minimum:
        if last - first == place.bins:
            return HIDDEN
        size *= 2
        first = at // size * size
        last = min(first + size, place.bins)
    width = (place.high - place.low) / place.bins
    share = (target - before[first]) / (before[last] - before[first])
    value = place.low + width * (first + (last - first) * float(share))
    return rounded(value, width * (last - first))


def rounded(value: float, error: float) -> str:
    """``value`` to the power of ten at or below a tenth of ``error``; six digits where there is no error."""
    about = error / 10 if error > 0 else abs(value) / 1e5
    place = math.floor(math.log10(about)) if about > 0 else 0
    place = max(place, -20)
    digits = round(Fraction(value) / Fraction(10) ** place)
    return format(Decimal(digits).scaleb(place), "f")


def _too_few(rows: int, minimum: int) -> bool:
    """Whether nothing at all is shown of so few rows, not even that there is none."""
    return rows < minimum and minimum > 1


def _hide_line(counts: Counts, total: int, minimum: int) -> Mask:
    """As :func:`hide_totals`; all of it where already the total is small."""
    return np.ones(len(counts), dtype=np.bool_) if _too_few(total, minimum) else hide_totals(counts, minimum)


def _tables(
    places: Sequence[TablePlace], numbers: NDArray[np.float64], rows: int, minimum: int
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    totals: dict[str, Counts] = {}
    for place in places:
        end = place.start + math.prod(place.shape)
        counts = _whole(numbers[place.start : end]).reshape(place.shape)
        value: dict[str, Any] = {
            "columns": list(place.columns),
            "categories": [list(labels) for labels in place.categories],
        }
        margins = [counts] if counts.ndim == 1 else [counts.sum(axis=1), counts.sum(axis=0)]
        for name, margin in zip(place.columns, margins, strict=True):
            if margin.sum() != rows or (totals.setdefault(name, margin) != margin).any():
                raise VerificationFailed("The sums are not those of any tables.")
        masks = [_hide_line(margin, rows, minimum) for margin in margins]
        value["totals"] = [_shown(margin, mask) for margin, mask in zip(margins, masks, strict=True)]
        if counts.ndim == 2:
            hidden = (
                np.ones(place.shape, dtype=np.bool_)
                if _too_few(rows, minimum)
                else hide_counts(counts, masks[0], masks[1], minimum)
            )
            value["counts"] = [_shown(line, marks) for line, marks in zip(counts, hidden, strict=True)]
        found.append(value)
    return found


def _shown(counts: Counts, hidden: Mask) -> list[int | str]:
    return [HIDDEN if mark else int(count) for count, mark in zip(counts, hidden, strict=True)]


def check_statistics(value: Any, parameters: Parameters) -> None:
    """Raise VerificationFailed unless ``value`` has exactly the form that :func:`result` gives it.

    That no shown count is small is part of the form; what follows from the shown ones is not:
    :func:`trustspace.jobs.disclosure.disclosure` looks for that.
    """
    wanted = {"format", "minimum_cell_count", "source_units", "rows", "numeric", "tables"}
    if not isinstance(value, dict) or set(value) != wanted or value["format"] != STATISTICS_FORMAT:
        raise _unsound()
    minimum, units = value["minimum_cell_count"], value["source_units"]
    for number in (minimum, units):
        if type(number) is not int or not 0 <= number < 1 << 53:
            raise _unsound()
    if not 1 <= units <= len(parameters.datasets) or not _is_count(value["rows"], minimum):
        raise _unsound()
    places, section = layout(parameters), parameters.counting()
    for key, expected in (("numeric", places.numeric), ("tables", places.tables)):
        if not isinstance(value[key], list) or len(value[key]) != len(expected):
            raise _unsound()
    for place, item in zip(places.numeric, value["numeric"], strict=True):
        if not _is_column(item, place, section, minimum):
            raise _unsound()
    for table, item in zip(places.tables, value["tables"], strict=True):
        if not _is_table(item, table, minimum):
            raise _unsound()


def _unsound() -> VerificationFailed:
    return VerificationFailed("Artifact {name} is not what statistics report.", name=STATISTICS_ARTIFACT)


def _is_count(value: object, minimum: int) -> bool:
    if type(value) is int:
        return value == 0 or minimum <= value < 1 << 53
    return value == HIDDEN


def _is_number(value: object) -> bool:
    return isinstance(value, str) and (
        value == HIDDEN
        or (_DECIMAL.fullmatch(value) is not None and not (value[0] == "-" and not value.strip("-0.")))
    )


def _is_column(item: object, place: NumericPlace, section: Statistics, minimum: int) -> bool:
    wanted = {"column", "count", "missing", "mean", "variance"}
    if place.bins:
        wanted |= {"outside", "range", "quantiles"}
    if not isinstance(item, dict) or set(item) != wanted or item["column"] != place.column:
        return False
    if not all(_is_count(item[name], minimum) for name in wanted & {"count", "missing", "outside"}):
        return False
    if not (_is_number(item["mean"]) and _is_number(item["variance"])):
        return False
    if not place.bins:
        return True
    quantiles = item["quantiles"]
    return (
        item["range"] == list(section.bounds[place.column])
        and isinstance(quantiles, list)
        and all(isinstance(pair, list) and len(pair) == 2 for pair in quantiles)
        and [pair[0] for pair in quantiles] == list(section.quantiles)
        and all(_is_number(pair[1]) or pair[1] in (BELOW, ABOVE) for pair in quantiles)
    )


def _is_table(item: object, place: TablePlace, minimum: int) -> bool:
    wanted = {"columns", "categories", "totals"} | ({"counts"} if len(place.shape) == 2 else set())
    if not isinstance(item, dict) or set(item) != wanted or item["columns"] != list(place.columns):
        return False
    if item["categories"] != [list(labels) for labels in place.categories]:
        return False
    lines = [(item["totals"], place.shape)]
    if len(place.shape) == 2:
        lines.append((item["counts"], (place.shape[1],) * place.shape[0]))
    return all(
        isinstance(found, list)
        and [len(line) if isinstance(line, list) else -1 for line in found] == list(lengths)
        and all(_is_count(count, minimum) for line in found for count in line)
        for found, lengths in lines
    )

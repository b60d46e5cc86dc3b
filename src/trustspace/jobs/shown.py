"""Which rows each published count of a statistics.json counts, and those of the groups of a scores.json.

Every table, every column of numbers, and all rows together are one *line* each: every row falls into one cell of it,
and a published count adds up some of its cells. Line 0 is all rows; then come the columns of numbers, then the tables.
Encrypted scores have one line, their groups: whoever decrypts the sums can subtract them as counts are subtracted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustspace.crypto.canonical import canonical_json, sha256_hex
from trustspace.jobs.counting import cells_of
from trustspace.jobs.features import column_of, numbers
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.scores import SCORES_FORMAT
from trustspace.jobs.scoring import groups_of
from trustspace.jobs.statistics import HIDDEN, layout
from trustspace.privacy.tables import Amounts, amounts

Cells = tuple[int, ...]
# The cells of a column of numbers.
WITHIN, MISSING, OUTSIDE = 0, 1, 2
PRESENT: Cells = (WITHIN, OUTSIDE)
EVERYBODY: Cells = (0,)


def cells_of_rows(table: pa.Table, parameters: Parameters) -> NDArray[np.int32]:
    """The cell of each row in each line: int32 [lines, rows]."""
    if parameters.kind == "score":
        return groups_of(table, parameters.scoring()).astype(np.int32)[None]
    places = layout(parameters)
    lines = [np.zeros(table.num_rows, dtype=np.int64)]
    for place in places.numeric:
        values = numbers(column_of(table, place.column), place.column)
        missing = np.isnan(values)
        outside = (values < place.low) | (values > place.high) if place.bins else np.zeros_like(missing)
        lines.append(np.where(missing, MISSING, np.where(outside, OUTSIDE, WITHIN)))
    lines += [cells_of(table, place) for place in places.tables]
    return np.stack(lines).astype(np.int32)


def amounts_of(
    table: pa.Table, patients: NDArray[np.int64], parameters: Parameters
) -> tuple[Amounts, ...] | None:
    """The largest parts of patients [rows] in each column of numbers of a job that counts; None for another job."""
    if parameters.kind != "statistics":
        return None
    return tuple(
        amounts(name, numbers(column_of(table, name), name), patients)
        for name in parameters.counting().numeric
    )


def keys_of_lines(parameters: Parameters) -> tuple[str, ...]:
    """What each line is of: the same digest for the same table, also in another job. Labels may be long and many."""
    if parameters.kind == "score":
        score = parameters.scoring()
        return (_key({"groups": list(score.labels), "of": score.group or ""}),)
    places = layout(parameters)
    numeric: list[Any] = [
        {"column": place.column, "range": list(parameters.counting().bounds.get(place.column, ()))}
        for place in places.numeric
    ]
    tables: list[Any] = [
        {"columns": list(place.columns), "categories": [list(labels) for labels in place.categories]}
        for place in places.tables
    ]
    return tuple(_key(line) for line in ({"rows": "all"}, *numeric, *tables))


def _key(line: Any) -> str:
    return sha256_hex(canonical_json(line))


def counts_of(value: dict[str, Any]) -> tuple[dict[Cells, int | str], ...]:
    """Every count of a statistics.json, shown or hidden, by line and by the cells that it adds up."""
    lines: list[dict[Cells, int | str]] = [{EVERYBODY: value["rows"]}]
    for item in value["numeric"]:
        line = {PRESENT: item["count"], (MISSING,): item["missing"]}
        lines.append(line | ({(OUTSIDE,): item["outside"]} if "outside" in item else {}))
    for item in value["tables"]:
        if "counts" not in item:
            lines.append({(place,): count for place, count in enumerate(item["totals"][0])})
            continue
        width = len(item["totals"][1])
        height = len(item["totals"][0])
        of_rows = {
            tuple(range(row * width, (row + 1) * width)): count for row, count in enumerate(item["totals"][0])
        }
        of_columns = {
            tuple(range(column, height * width, width)): count
            for column, count in enumerate(item["totals"][1])
        }
        inner = {
            (row * width + column,): count
            for row, counts in enumerate(item["counts"])
            for column, count in enumerate(counts)
        }
        lines.append(of_rows | of_columns | inner)
    return tuple(lines)


def shown_of(value: dict[str, Any]) -> tuple[tuple[Cells, ...], ...]:
    """The counts that are shown, of each line. A mean counts those it is of, also where their number is hidden.

    A count of 0 says of every patient that they are not in it, whoever they are, and is left out. ``value`` is a
    statistics.json or a scores.json.
    """
    if value["format"] == SCORES_FORMAT:
        groups = value.get("groups", [value])
        return (tuple((place,) for place, group in enumerate(groups) if group["rows"] not in (HIDDEN, 0)),)
    lines = [
        [cells for cells, count in line.items() if count not in (HIDDEN, 0)] for line in counts_of(value)
    ]
    for line, item in zip(lines[1:], value["numeric"], strict=False):
        if item["mean"] != HIDDEN and PRESENT not in line:
            line.append(PRESENT)
    return tuple(tuple(line) for line in lines)

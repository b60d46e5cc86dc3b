"""Released statistics as tables that a person looks at, with the cells that matter marked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trustspace.evidence.figures import MAX_CELLS, MAX_ROWS, Table, Words
from trustspace.jobs.shown import EVERYBODY, MISSING, OUTSIDE, PRESENT, Cells, counts_of
from trustspace.jobs.statistics import HIDDEN

Place = tuple[int, int]
MAX_TABLES = 6
MEAN, VARIANCE = 3, 4
_NUMBERS = ("column 列", "rows 行数", "missing 缺失", "mean 均值", "variance 方差", "outside 范围外")
_TOTAL, _EVERYBODY = "total 合计", "all rows 全部"


@dataclass(frozen=True)
class Drawn:
    """A table of text; ``places``: where each count stands, by its line and cells (jobs/shown.py)."""

    title: Words
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    places: Mapping[tuple[int, Cells], Place]

    def figure(self, marked: Collection[Place]) -> Table:
        """With these cells marked."""
        return Table(
            title=self.title, columns=self.columns, rows=self.rows, marked=tuple(sorted(set(marked)))
        )

    @property
    def hidden(self) -> tuple[Place, ...]:
        """The cells whose value is hidden."""
        return tuple(
            (row, column)
            for row, line in enumerate(self.rows)
            for column, text in enumerate(line)
            if column and text == HIDDEN
        )

    @property
    def fits(self) -> bool:
        """Whether a report has room for it."""
        return (
            len(self.rows) <= MAX_ROWS
            and len(self.columns) <= MAX_ROWS
            and len(self.rows) * len(self.columns) <= MAX_CELLS
        )


def drawn(value: Mapping[str, Any]) -> tuple[Drawn, ...]:
    """Every table of a statistics.json: all rows and the columns of numbers first, then the tables of counts."""
    lines = counts_of(dict(value))
    numeric = value["numeric"]
    rows = [(_EVERYBODY, str(value["rows"]), "", "", "", "")] + [
        (
            item["column"], str(item["count"]), str(item["missing"]), item["mean"], item["variance"],
            str(item.get("outside", "")),
        )
        for item in numeric
    ]  # fmt: skip
    places: dict[tuple[int, Cells], Place] = {(0, EVERYBODY): (0, 1)}
    for line in range(1, len(numeric) + 1):
        places |= {(line, PRESENT): (line, 1), (line, (MISSING,)): (line, 2), (line, (OUTSIDE,)): (line, 5)}
    found = [Drawn(Words(en="Rows and numbers", zh="行数与数值列"), _NUMBERS, tuple(rows), places)]
    for line, item in enumerate(value["tables"], start=1 + len(numeric)):
        found.append(_cross(line, item) if "counts" in item else _list(line, item, lines[line]))
    return tuple(found)


def shown_tables(tables: Sequence[Drawn], marked: Mapping[int, Collection[Place]]) -> tuple[Table, ...]:
    """Pictures of the tables that have cells ``marked``, by their place, as many as a report has room for."""
    fitting = [place for place in sorted(marked) if tables[place].fits]
    return tuple(tables[place].figure(marked[place]) for place in fitting[:MAX_TABLES])


def marks(tables: Sequence[Drawn], counts: Collection[tuple[int, Cells]]) -> dict[int, list[Place]]:
    """Where these counts stand: cells by table."""
    found: dict[int, list[Place]] = {}
    for number, table in enumerate(tables):
        for count in counts:
            if count in table.places:
                found.setdefault(number, []).append(table.places[count])
    return found


def _list(line: int, item: Mapping[str, Any], counts: Mapping[Cells, int | str]) -> Drawn:
    labels, name = item["categories"][0], item["columns"][0]
    rows = tuple((label, str(count)) for label, count in zip(labels, counts.values(), strict=True))
    places: dict[tuple[int, Cells], Place] = {(line, (place,)): (place, 1) for place in range(len(labels))}
    return Drawn(Words(en=name, zh=name), (name, _NUMBERS[1]), rows, places)


def _cross(line: int, item: Mapping[str, Any]) -> Drawn:
    (first, second), (of_rows, of_columns) = item["columns"], item["categories"]
    height, width = len(of_rows), len(of_columns)
    rows = [
        (label, *(str(count) for count in counts), str(total))
        for label, counts, total in zip(of_rows, item["counts"], item["totals"][0], strict=True)
    ]
    rows.append((_TOTAL, *(str(count) for count in item["totals"][1]), ""))
    places: dict[tuple[int, Cells], Place] = {
        (line, (row * width + column,)): (row, column + 1) for row in range(height) for column in range(width)
    }
    for row in range(height):
        places[line, tuple(range(row * width, (row + 1) * width))] = (row, width + 1)
    for column in range(width):
        places[line, tuple(range(column, height * width, width))] = (height, column + 1)
    title = Words(en=f"{first} by {second}", zh=f"{first} × {second}")
    return Drawn(title, (f"{first} / {second}", *of_columns, _TOTAL), tuple(rows), places)

"""Statistics jobs on tables of made-up patients, and an outsider who tries to compute what was hidden."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trustspace.jobs.counting import count_table
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.statistics import HIDDEN


def statistics_parameters(columns: list[str], *, units: int = 1, **section: Any) -> Parameters:
    """Parameters of a statistics job over ``units`` source units."""
    use = {"version": 1, "columns": columns}
    value = {
        "kind": "statistics",
        "datasets": [{"id": f"ward-{i}", **use} for i in range(units)],
        "statistics": section,
        "terms": {"withheld_percent": 0},
    }
    return Parameters.model_validate(value)


def categories(parameters: Parameters, people: dict[str, list[int]]) -> pa.Table:
    """A table of categories from their numbers; one past the declared ones is another value, two is missing."""
    labels = {
        name: [*declared, "something else", None]
        for name, declared in parameters.counting().categories.items()
    }
    return pa.table({name: pa.array([labels[name][i] for i in codes]) for name, codes in people.items()})


def sums(parameters: Parameters, *tables: pa.Table) -> list[float]:
    return [float(x) for x in sum(count_table(table, parameters) for table in tables)]


class Outsider:
    """Everything that follows from a released file: whole numbers, at least 0, that add up to their totals."""

    def __init__(self, released: dict[str, Any]) -> None:
        self.names: dict[tuple[Any, ...], int] = {}
        self.equations: list[dict[int, int]] = []
        self.shown: dict[int, int] = {}
        self.most = np.inf if released["rows"] != HIDDEN else released["minimum_cell_count"] - 1
        everybody = self._count(("rows",), released["rows"])
        for item in released["numeric"]:
            parts = [self._count((item["column"], key), item[key]) for key in ("count", "missing")]
            self._sum(everybody, parts)
        for place, item in enumerate(released["tables"]):
            margins = []
            for name, line in zip(item["columns"], item["totals"], strict=True):
                margin = [self._count((name, i), count) for i, count in enumerate(line)]
                self._sum(everybody, margin)
                margins.append(margin)
            if "counts" not in item:
                continue
            cells = [
                [self._count((place, i, j), count) for j, count in enumerate(line)]
                for i, line in enumerate(item["counts"])
            ]
            for margin, lines in zip(margins, (cells, list(zip(*cells, strict=True))), strict=True):
                for total, line in zip(margin, lines, strict=True):
                    self._sum(total, line)

    def _count(self, name: tuple[Any, ...], value: int | str) -> int:
        index = self.names.setdefault(name, len(self.names))
        if value != HIDDEN:
            assert self.shown.setdefault(index, int(value)) == value, (
                "two tables show the same count differently"
            )
        return index

    def _sum(self, total: int, parts: Any) -> None:
        self.equations.append({total: -1} | dict.fromkeys(parts, 1))

    @property
    def hidden(self) -> list[tuple[Any, ...]]:
        return [name for name, index in self.names.items() if index not in self.shown]

    def range_of(self, *wanted: tuple[Any, ...], least: int = 0) -> tuple[int, int]:
        """Least and largest value of the sum of these counts in any tables that look like the released ones.

        ``least``: what the outsider takes every hidden count to be at least.
        """
        pytest.importorskip(
            "scipy", reason="the outsider needs an integer solver; trustspace[demo] brings one"
        )
        from scipy.optimize import Bounds, LinearConstraint, milp

        width = len(self.names)
        low, high = np.full(width, float(least)), np.full(width, self.most)
        for index, value in self.shown.items():
            low[index] = high[index] = value
        matrix = np.zeros((len(self.equations), width))
        for row, equation in zip(matrix, self.equations, strict=True):
            for index, factor in equation.items():
                row[index] = factor
        aim = np.zeros(width)
        aim[[self.names[name] for name in wanted]] = 1
        found = []
        for sign in (1, -1):
            answer = milp(
                sign * aim,
                constraints=LinearConstraint(matrix, 0, 0),
                bounds=Bounds(low, high),
                integrality=np.ones(width),
            )
            # 3: no upper limit, as where even the number of people is hidden.
            assert answer.status == 0, answer.message
            found.append(round(sign * answer.fun))
        return found[0], found[1]

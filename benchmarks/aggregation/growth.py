"""How the cost of each step grows with the number of parameters: figures, exponents and a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.aggregation.cost import Cost
from benchmarks.aggregation.plot import Panel, svg
from benchmarks.aggregation.schemes import REFERENCES
from benchmarks.common import Table
from trustspace.aggregation.lattice.backend import best_backend

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
STEPS = ("encrypt", "add", "decrypt")
_SLOWER = {name for name in REFERENCES if name != "numpy"} - {best_backend().name}
Line = list[tuple[float, float]]


def lines(costs: Sequence[Cost], step: str) -> dict[str, Line]:
    """Milliseconds of one step against parameters, by scheme; one thread."""
    found: dict[str, Line] = {}
    for cost in costs:
        if cost.step == step and cost.threads == 1:
            name = f"{cost.scheme} ({cost.backend})"
            found.setdefault(name, []).append((float(cost.params), cost.ns_per_param * cost.params / 1e6))
    return {name: sorted(line) for name, line in found.items()}


def picture(costs: Sequence[Cost]) -> str:
    """All steps as an SVG: of our backends the one that is used here, and the reference."""
    shown = [cost for cost in costs if cost.backend not in _SLOWER]
    panels = [Panel(step, lines(shown, step)) for step in STEPS]
    return svg(panels, "parameters", "ms of processor time, one client")


def table(costs: Sequence[Cost]) -> Table:
    """The exponents of growth: over all sizes, and between the two largest."""
    rows = []
    for step in STEPS:
        for name, line in lines(costs, step).items():
            if len(line) > 1:
                (x1, y1), (x2, y2) = line[-2:]
                fit = np.polyfit(*(np.log([point[axis] for point in line]) for axis in (0, 1)), 1)[0]
                last = math.log(y2 / y1) / math.log(x2 / x1)
                rows.append((step, name, f"{line[0][0]:,.0f} to {x2:,.0f}", f"{fit:.2f}", f"{last:.2f}"))
    return Table(("step", "scheme", "parameters", "exponent", "last step"), tuple(rows))

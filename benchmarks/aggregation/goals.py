"""What was to be reached, what was measured, and by how much it was missed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.aggregation.cost import Cost
from benchmarks.common import Ratio, Table
from trustspace.aggregation.lattice.backend import best_backend
from trustspace.aggregation.lattice.parameters import PARAMETERS

LATTICE = tuple(parameters.name for parameters in PARAMETERS)
LARGE = 10_000_000
ON_CARD = 30


@dataclass(frozen=True)
class Goal:
    """A step that is to cost at most ``1 / times`` of a peer's, or at most ``times`` a plain addition."""

    step: str
    times: float
    peer: str | None = None
    large_only: bool = False
    stretch: str = ""

    def text(self) -> str:
        """In words."""
        if self.peer is not None:
            return f"{self.step}: at least {self.times:,.0f} times {self.peer}"
        where = " from 10^7 parameters on" if self.large_only else ""
        return f"{self.step}: at most {self.times:g} times a plain float32 addition{where}{self.stretch}"


GOALS = (
    Goal("encrypt", 1e6, "phe-3072"),
    Goal("encrypt", 300, "tenseal-ckks-8192"),
    Goal("decrypt", 150, "tenseal-ckks-8192"),
    Goal("add", 1.2),
    Goal("encrypt_online", 2),
    Goal("encrypt", 15, large_only=True),
    Goal("encrypt", 6, large_only=True, stretch=" (stretch)"),
)


@dataclass(frozen=True)
class Judged:
    """One goal at one size: the ratio with its lowest and highest turn, and how it stands to the goal."""

    params: int
    measured: str
    missed: str


def table(costs: Sequence[Cost], missing: Mapping[str, str]) -> Table:
    """Every goal against what one thread of the best backend took, turn by turn."""
    own = ours(costs)
    sizes = sorted({cost.params for cost in own})
    rows = []
    for scheme in LATTICE:
        for goal in GOALS:
            judged = [
                _judged(goal, c, costs, missing)
                for c in own
                if (c.scheme, c.step) == (scheme, goal.step) and (c.params >= LARGE or not goal.large_only)
            ]
            if judged:
                rows.append(_row(goal.text(), scheme, judged, sizes))
        wire = [_wire(c) for c in own if (c.scheme, c.step) == (scheme, "encrypt")]
        rows.append(_row("wire: at most float32's 4 bytes", scheme, wire, sizes))
    return Table(("goal", "scheme", *(f"{params:,}" for params in sizes), "met"), tuple(rows))


def on_card(ratios: Sequence[Ratio]) -> Table:
    """How many times one core a graphics card is, for vectors that live on it."""
    rows = []
    for ratio in ratios:
        missed = f"missed: {ratio.median / ON_CARD:.3g} of the goal" if ratio.median < ON_CARD else "yes"
        measured = f"{_figure(ratio.median)} ({_figure(ratio.low)} to {_figure(ratio.high)})"
        rows.append((ratio.to, f"at least {ON_CARD} times one core", measured, missed))
    return Table(("step", "goal", "measured", "met"), tuple(rows))


def _row(goal: str, scheme: str, judged: Sequence[Judged], sizes: Sequence[int]) -> tuple[str, ...]:
    measured = {at.params: at.measured for at in judged}
    missed = [f"at {at.params:,} {at.missed}" for at in judged if at.missed]
    return (
        goal,
        scheme,
        *(measured.get(params, "-") for params in sizes),
        f"missed: {'; '.join(missed)}" if missed else "yes",
    )


def _wire(cost: Cost) -> Judged:
    found = cost.wire_bytes_per_param or 0.0
    over = f"{100 * (found / 4 - 1):.2g} % more, for whole blocks" if found > 4 else ""
    return Judged(cost.params, f"{found:.5g}", over)


def ours(costs: Sequence[Cost]) -> list[Cost]:
    """What the lattice sums cost one thread of the backend that is used here."""
    best = best_backend().name
    return [c for c in costs if c.scheme in LATTICE and c.backend == best and c.threads == 1]


def _judged(goal: Goal, cost: Cost, costs: Sequence[Cost], missing: Mapping[str, str]) -> Judged:
    if goal.peer is None:
        low, middle, high = cost.ratio_low, cost.ratio_to_plain_add, cost.ratio_high
        missed = "" if middle <= goal.times else f"{middle / goal.times:.3g} times the goal"
    else:
        peers = [c for c in costs if c.scheme == goal.peer and c.step == goal.step]
        # One that is measured on a sample costs the same at any size.
        peer = next((c for c in peers if c.params == cost.params), peers[0] if len(peers) == 1 else None)
        if peer is None:
            return Judged(
                cost.params, "-", f"not measured, {missing.get(goal.peer, 'the peer was left out')}"
            )
        turns = [theirs / own for own, theirs in zip(cost.values, peer.values, strict=True)]
        low, middle, high = min(turns), statistics.median(turns), max(turns)
        missed = "" if middle >= goal.times else f"{middle / goal.times:.3g} of the goal"
    return Judged(cost.params, f"{_figure(middle)} ({_figure(low)} to {_figure(high)})", missed)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"

"""What it costs the members to put the sum of their lattice secrets together, against how many they are."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from benchmarks.recovery import PARTICIPANTS, measure
from trustspace.aggregation.lattice.keys import AllTogether
from trustspace.aggregation.lattice.parameters import PARAMETERS, LatticeParameters
from trustspace.aggregation.lattice.scheme import draw_secret
from trustspace.aggregation.scheme import SECRET_BYTES

# What ``measure`` calls what is done, and what a row calls it.
STEPS = {
    "deal_ms": "dealt, one member", "check_ms": "shares checked, one holder",
    "add_ms": "shares added, one holder", "combine_ms": "combined", "named_ms": "combined, liars named",
}  # fmt: skip
T = TypeVar("T")
HEAD = ("set", "participants", "who opens", "dealt, ms", "checked, ms", "added, ms", "combined, ms",
        "with liars, ms", "a member sends, bytes", "a holder takes, bytes", "a reveal, bytes")  # fmt: skip


@dataclass(frozen=True)
class Way:
    """One set of members and how they open a sum: milliseconds by step, bytes by direction."""

    parameters: str
    participants: int
    who: str
    milliseconds: dict[str, float]
    sends: int
    takes: int
    reveal: int

    @property
    def name(self) -> str:
        """What rows are called by."""
        return f"{self.parameters}, {self.participants} participants, {self.who}"


def ways() -> Iterator[Way]:
    """Every way for every number of participants, measured once."""
    for parameters in PARAMETERS:
        for participants in PARTICIPANTS:
            if participants <= parameters.max_participants:
                yield _all_together(parameters, participants)
                yield from (_shared(row) for row in measure(participants, parameters, turns=1))


def _all_together(parameters: LatticeParameters, participants: int) -> Way:
    context, secret = os.urandom(32), draw_secret(parameters)
    secrets = {other: os.urandom(SECRET_BYTES) for other in range(1, participants)}
    keys, dealt = _timed(lambda: AllTogether(parameters, 0, secrets, context, secret))
    own = keys.reveal(frozenset(range(participants)), {})
    # The others' reveals look like uniform residues, and cost as much to add.
    reveals = {other: draw_secret(parameters).astype("<u4").tobytes() for other in secrets} | {0: own}
    (total, _), combined = _timed(lambda: keys.combine(reveals, lambda found: True))
    exact = np.zeros((parameters.rows, parameters.n), np.uint64)
    for reveal in reveals.values():
        exact += np.frombuffer(reveal, "<u4").reshape(exact.shape)
    if not np.array_equal(total, exact % np.array(parameters.primes, np.uint64)[:, None]):
        raise RuntimeError("The sum of the reveals is not the exact one.")
    milliseconds = {"deal_ms": dealt, "combine_ms": combined}
    return Way(
        parameters.name, participants, "all", milliseconds, len(own), participants * len(own), len(own)
    )


def _shared(row: dict[str, Any]) -> Way:
    who = f"{row['threshold']} of {row['holders']}"
    who += f", {row['packing']} packed" if row["packing"] > 1 else ""
    return Way(
        row["set"], row["participants"], who, {step: row[step] for step in STEPS}, row["dealer_bytes"],
        row["holder_bytes"], row["reveal_bytes"],
    )  # fmt: skip


def _timed(action: Callable[[], T]) -> tuple[T, float]:
    started = time.process_time()
    result = action()
    return result, (time.process_time() - started) * 1e3


def line(way: Way, medians: dict[str, float]) -> tuple[str, ...]:
    """A line of the table with HEAD; ``medians`` are milliseconds by step."""
    times = (f"{medians[step]:,.3g}" if step in medians else "-" for step in STEPS)
    sizes = (f"{size:,}" for size in (way.sends, way.takes, way.reveal))
    return (way.parameters, f"{way.participants:,}", way.who, *times, *sizes)

"""Nanoseconds of processor time for each parameter, each beside a plain float32 addition of the same moment."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Row

PLAIN = "plain-float32"
UNIT = "ns of processor time per parameter"
# Short actions are repeated until so much time has passed: clocks and calls cost some of it.
_ENOUGH_NS = 20_000_000
_PLAIN_NS = 5_000_000


@dataclass(frozen=True)
class Spent:
    """What an action took, in nanoseconds: of the processor, all threads together, and on the wall."""

    processor: float
    wall: float

    def per(self, params: int) -> Spent:
        """The same for each of so many parameters."""
        return Spent(self.processor / params, self.wall / params)


def spent(action: Callable[[], object], enough: int = _ENOUGH_NS) -> Spent:
    """The mean of as many runs of an action as fill ``enough`` nanoseconds, at least one, after one that warms."""
    warm = _spent(action, 1)
    return _spent(action, max(1, math.ceil(enough / max(warm.wall, 1))))


def _spent(action: Callable[[], object], times: int) -> Spent:
    wall, processor = time.perf_counter_ns(), time.process_time_ns()
    for _ in range(times):
        action()
    used = time.process_time_ns() - processor
    return Spent(used / times, (time.perf_counter_ns() - wall) / times)


class PlainAdd:
    """``total += update`` of float32 vectors: what any sum costs at least. With threads, each takes its share."""

    def __init__(self, update: NDArray[np.float32]) -> None:
        self._update = update
        self._total = np.zeros_like(update)

    def spent(self, enough: int = _PLAIN_NS) -> Spent:
        """One addition, per parameter."""
        once = spent(lambda: np.add(self._total, self._update, out=self._total), enough)
        self._total[:] = 0
        return once.per(len(self._update))

    def spent_on(self, threads: int) -> Spent:
        """One addition that so many threads share, per parameter."""
        count = len(self._update)
        step = -(-count // threads)
        pieces = [slice(at, at + step) for at in range(0, count, step)]

        def add(piece: slice) -> None:
            np.add(self._total[piece], self._update[piece], out=self._total[piece])

        with ThreadPoolExecutor(threads) as pool:
            return spent(lambda: list(pool.map(add, pieces))).per(count)


@dataclass(frozen=True)
class Sample:
    """One step in one turn: per parameter, the plain addition measured around it, bytes on the wire."""

    spent: Spent
    plain: Spent
    wire: float | None


@dataclass(frozen=True)
class Cost(Row):
    """One scheme's step at one size. ``values`` and ``ns_per_param`` are of the processor, in ``unit``."""

    scheme: str
    backend: str
    step: str
    params: int
    threads: int
    ns_per_param: float
    wall_ns_per_param: float
    wire_bytes_per_param: float | None
    ratio_to_plain_add: float
    ratio_low: float
    ratio_high: float

    @classmethod
    def from_samples(
        cls, scheme: str, backend: str, step: str, params: int, threads: int, samples: Sequence[Sample]
    ) -> Cost:
        """From one sample for each turn. The plain addition is one thread's, whatever ``threads`` is."""
        shown = "1 thread" if threads == 1 else f"{threads} threads"
        name = f"{scheme} ({backend}): {step}, {params:,}, {shown}"
        row = Row.of(name, UNIT, [s.spent.processor for s in samples])
        ratios = [s.spent.processor / s.plain.processor for s in samples]
        wire = samples[-1].wire
        return cls(
            row.name, row.unit, row.median, row.low, row.high, row.values, scheme, backend, step, params, threads,
            ns_per_param=row.median,
            wall_ns_per_param=short(statistics.median(s.spent.wall for s in samples)),
            wire_bytes_per_param=None if wire is None else short(wire, 6),
            ratio_to_plain_add=short(statistics.median(ratios)),
            ratio_low=short(min(ratios)), ratio_high=short(max(ratios)),
        )  # fmt: skip


def short(value: float, digits: int = 4) -> float:
    """As many digits as say something."""
    return float(f"{value:.{digits}g}")

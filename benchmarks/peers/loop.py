"""What every peer's driver does: read a turn from standard input, play it, write what it cost.

It runs in the peer's own environment. A line in is ``{"params", "clients", "precision", "check", "seed"}``; a line
out is ``{"processor", "wall", "wire", "wrong"}``: nanoseconds for each parameter by step, bytes on the wire for
each parameter of one client, and in words how the sum was wrong, or nothing. The first line out is ``{"versions"}``.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, Protocol

import numpy as np

ENOUGH_NS = 2_000_000
MANY = 50


class Work(Protocol):
    """One peer: ciphertexts are whatever it takes them to be."""

    packages: Sequence[str]

    def begin(self, clients: int, bits: int) -> None:
        """A sum of so many clients' numbers in [-1, 1), as signed integers of so many bits."""

    def encrypt(self, values: Any) -> Any:
        """Encode and encrypt one client's float32 vector; the clients come in their order."""

    def start(self, cipher: Any) -> Any:
        """A sum that holds one ciphertext."""

    def add(self, total: Any, cipher: Any) -> Any:
        """The sum with one more."""

    def decrypt(self, total: Any, count: int) -> Any:
        """The sum's numbers."""

    def size(self, cipher: Any) -> int:
        """Bytes of one client's ciphertext on the wire."""


class Clock:
    """Processor and wall time of actions, by step."""

    def __init__(self) -> None:
        self._taken: dict[str, list[tuple[float, float]]] = {}

    def take(self, step: str, action: Callable[[], Any]) -> Any:
        """Measure an action and return its result."""
        wall, processor = time.perf_counter_ns(), time.process_time_ns()
        result = action()
        spent = time.process_time_ns() - processor
        self._taken.setdefault(step, []).append((spent, time.perf_counter_ns() - wall))
        return result

    def spent(self, step: str) -> float:
        """Processor time of a step so far."""
        return sum(processor for processor, _ in self._taken[step])

    def times(self, step: str) -> int:
        """How often a step was measured so far."""
        return len(self._taken[step])

    def medians(self, count: int, which: int) -> dict[str, float]:
        """Nanoseconds for each of ``count`` parameters: of the processor (0), on the wall (1)."""
        return {
            step: statistics.median(t[which] for t in taken) / count for step, taken in self._taken.items()
        }


def vector(seed: int, client: int, count: int) -> Any:
    """One client's numbers, in (-1, 1)."""
    drawn = np.random.default_rng([seed, client]).random(count, dtype=np.float32)
    return (drawn * 2 - 1) * np.float32(0.999)


def play(work: Work, asked: dict[str, Any]) -> dict[str, Any]:
    """One turn."""
    count, clients, seed = asked["params"], asked["clients"], asked["seed"]
    clock = Clock()
    work.begin(clients, asked["precision"])
    exact = np.zeros(count)
    total = cipher = None
    for client in range(clients if asked["check"] else 1):
        values = vector(seed, client, count)
        exact += values
        cipher = clock.take("encrypt", lambda values=values: work.encrypt(values))
        if total is None:
            total = work.start(cipher)
        else:
            total = clock.take("add", lambda total=total, cipher=cipher: work.add(total, cipher))
    wire = work.size(cipher) / count
    if asked["check"]:
        result = clock.take("decrypt", lambda: work.decrypt(total, count))
        # One step of the fixed point for each client: some round at random, and some compute approximately.
        allowed = clients * 2.0 ** (1 - asked["precision"])
        worst = float(np.max(np.abs(np.asarray(result, np.float64)[:count] - exact)))
        wrong = "" if worst <= allowed else f"off by {worst:.3g}, allowed {allowed:.3g}"
    else:
        _add_on(clock, work, total, cipher)
        clock.take("decrypt", lambda: work.decrypt(total, count))
        wrong = ""
    return {
        "processor": clock.medians(count, 0),
        "wall": clock.medians(count, 1),
        "wire": wire,
        "wrong": wrong,
    }


def _add_on(clock: Clock, work: Work, total: Any, cipher: Any) -> None:
    """Add one ciphertext again and again: often enough to be measured."""

    def add() -> Any:
        return work.add(total, cipher)

    clock.take("add", add)
    while clock.spent("add") < ENOUGH_NS and clock.times("add") < MANY:
        clock.take("add", add)


def serve(work: Work) -> None:
    """Play turns until standard input ends."""
    answer(work.packages, lambda asked: play(work, asked))


def answer(packages: Sequence[str], reply: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer line by line until standard input ends. What libraries print goes to standard error."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    versions = {name: metadata.version(name) for name in packages}
    print(json.dumps({"versions": versions}), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(reply(json.loads(line))), file=out, flush=True)

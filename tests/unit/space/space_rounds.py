"""Members who meet at a board, and a clock that only tests turn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trustspace.space.rounds import Board
from trustspace.space.sums import VectorStore
from trustspace.transport.rounds import INLINE_BYTES, PHASES, Exchanged

WAIT = 300.0
Spot = tuple[int, int]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Table:
    """A board over so many units, a, b, c and on, each with its messages."""

    def __init__(self, path: Path, units: str = "abcd", minimum: int = 3, wait: float = WAIT) -> None:
        self.path = path
        self.units = list(units)
        self.clock = Clock()
        self.minimum, self.wait = minimum, wait
        self.store = VectorStore(path)
        self.restart()

    def restart(self) -> None:
        """What a restart of the space leaves: nothing."""
        self.board = Board(self.store, dict.fromkeys(self.units, "1"), self.minimum, self.wait, self.clock)

    def say(self, unit: str, phase: Any, spot: Spot = (0, 1), data: bytes = b"", **changes: Any) -> Exchanged:
        envelope = changes.get("envelope", message(unit, phase, spot))
        return self.board.exchange(unit, spot, phase, envelope, data, changes.get("wait", 0.0))

    def ask(self, unit: str, phase: Any, spot: Spot = (0, 1)) -> Exchanged:
        return self.board.exchange(unit, spot, phase, b"")

    def all_say(self, phase: Any, spot: Spot = (0, 1), units: str | None = None) -> list[Exchanged]:
        """Everybody says it; then what everybody is told."""
        who = units or "".join(self.units)
        for unit in who:
            self.say(unit, phase, spot, vector(unit) if phase == "contribution" else b"")
        return [self.ask(unit, phase, spot) for unit in who]

    def until(self, phase: str, spot: Spot = (0, 1), units: str | None = None) -> Table:
        """Everybody goes through all phases before this one."""
        for before in PHASES[: PHASES.index(phase)]:  # type: ignore[arg-type]
            told = self.all_say(before, spot, units)
            assert {t.status for t in told} == {"complete"}, (before, told)
        return self

    def round(self, spot: Spot, units: str | None = None) -> None:
        self.until("reveal", spot, units)
        assert {t.status for t in self.all_say("reveal", spot, units)} == {"complete"}

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.board.tick()

    def held(self) -> list[str]:
        """Names left in the store's directory."""
        return [path.name for path in self.path.iterdir()]


def message(unit: str, phase: str, spot: Spot = (0, 1)) -> bytes:
    return f"{phase} {spot[0]}/{spot[1]} of {unit}".encode()


def words(unit: str, count: int = 10) -> Any:
    """A vector of the unit's own, with words that overflow when they are added."""
    generator = np.random.default_rng(ord(unit[0]))
    return generator.integers(0, 2**32, count, dtype=np.uint32)


def vector(unit: str, count: int = 10) -> bytes:
    return bytes(words(unit, count).astype("<u4").tobytes())


def added(units: str, count: int = 10) -> bytes:
    total = np.zeros(count, dtype=np.uint64)
    for unit in units:
        total += words(unit, count)
    return bytes((total % 2**32).astype("<u4").tobytes())


LARGE = 3 * INLINE_BYTES // 4 + 5
"""Words of a vector that does not travel with its message, and whose last piece is a short one."""


def pieces(data: bytes, size: int = 700_000) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def together(calls: list[Callable[[], Any]], seconds: float = 60.0) -> list[Any]:
    """All at once; what each returned or raised."""
    found: list[Any] = [None] * len(calls)

    def run(number: int) -> None:
        try:
            found[number] = calls[number]()
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    assert not any(thread.is_alive() for thread in threads), "somebody still waits"
    return found

"""Members that are lost in the middle of a round, and a space whose clock jumps once the lost alone are waited for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from support.members import JOB, WORDS, Circle, Line, Space, added
from trustspace.aggregation.scheme import Scheme
from trustspace.enclave.failure import RoundFailed
from trustspace.enclave.rounds import Rounds
from trustspace.space.attempt import Attempt
from trustspace.transport.rounds import Exchanged, Phase, Place

PATIENCE = 60.0
# (unit, place, event): whether that unit is lost there.
Rule = Callable[[str, Place, str], bool]


@dataclass
class Fate:
    """Who vanishes where. A rule says (unit, round, attempt, event) and is used once."""

    rules: list[Rule] = field(default_factory=list)
    lost: dict[str, tuple[Place, str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def strikes(self, unit: str, place: Place, event: str) -> bool:
        with self.lock:
            for rule in self.rules:
                if rule(unit, place, event):
                    self.rules.remove(rule)
                    self.lost[unit] = (place, event)
                    return True
        return False


def at(event: str, unit: str, number: int = 1, attempt: int = 1) -> Rule:
    """This unit is lost before this event of a round."""
    return lambda u, place, e: (u, place.round, place.attempt, e) == (unit, number, attempt, event)


def updates(units: Iterable[str], count: int = WORDS) -> dict[str, NDArray[np.uint32]]:
    """A vector for each unit, small enough that every scheme can add all of them up."""
    made = {}
    for number, unit in enumerate(units):
        values = np.random.default_rng(number).integers(-500_000, 500_000, count, dtype=np.int32)
        made[unit] = values.view(np.uint32)
    return made


class Mortal(Space):
    """Also a place where members may be lost. ``told``: the ledger says so at once; else only their silence does."""

    told = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.fate = Fate()
        self.over = threading.Event()

    def gone(self, unit: str) -> None:
        if self.told:
            super().gone(unit)
        self.lost.add(unit)

    def watch(self) -> None:
        """Let the clock jump whenever nobody is waited for but the lost."""
        board = self.main
        while not self.over.wait(0.005):
            with board._changed:
                if self._only_the_lost(board._course.current):
                    now = board._clock()
                    board._clock = lambda now=now: now + 1e6 + time.monotonic()
            board.tick()

    def _only_the_lost(self, current: Attempt | None) -> bool:
        if current is None or current.fate or current.phase is None:
            return False
        if current.phase == "check":
            return set(current.checkers()) <= self.lost
        if current.phase == "contribution" and not current.envelopes["contribution"]:
            return False
        awaited = set(current.lacking(current.phase))
        return bool(awaited) and awaited <= self.lost


class Fragile(Line):
    """A link that dies with its member."""

    def _may_die(self, place: Place, event: str) -> None:
        if self._space.fate.strikes(self._unit, place, event):
            raise RoundFailed("lost", event)

    def exchange(
        self, place: Place, phase: Phase, envelope: bytes, data: bytes = b"", wait_seconds: float = 20.0
    ) -> Exchanged:
        self._may_die(place, phase)
        if phase == "reveal":
            found = super().exchange(place, phase, envelope, data, 0.0)
            self._may_die(place, "revealed")
            if found.status != "waiting":
                return found
        return super().exchange(place, phase, envelope, data, wait_seconds)

    def contribute(self, place: Place, envelope: bytes, total_bytes: int, pieces: Any) -> None:
        def cut() -> Iterator[bytes]:
            for piece in pieces:
                yield piece
                self._may_die(place, "upload")

        super().contribute(place, envelope, total_bytes, cut())

    def deal(self, place: Place, total_bytes: int, pieces: Any) -> None:
        self._may_die(place, "deal")
        super().deal(place, total_bytes, pieces)

    def shares(self, place: Place) -> Iterator[tuple[int, bytes]]:
        self._may_die(place, "shares")
        return super().shares(place)


class Ring(Circle):
    """Members of whom some are lost."""

    space: Mortal

    def __init__(
        self, path: Path, count: int = 4, minimum: int = 3, *, scheme: Scheme, space: type[Space] = Mortal
    ) -> None:
        super().__init__(path, count, minimum, space=space, scheme=scheme)

    def rounds(self, unit: str, kind: type[Rounds] = Rounds, **changes: Any) -> Rounds:
        return super().rounds(unit, kind, **{"relay": Fragile(self.space, unit), **changes})

    def play(self, acts: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
        self.space.over.clear()
        watcher = threading.Thread(target=self.space.watch, daemon=True)
        watcher.start()
        try:
            return super().play(acts)
        finally:
            self.space.over.set()
            watcher.join(PATIENCE)

    def vectors(self, count: int = WORDS) -> dict[str, NDArray[np.uint32]]:
        return updates(self.units, count)

    def revealed(self) -> dict[int, set[tuple[str, ...]]]:
        """For each round, the different sets for which anybody has noted a reveal."""
        sets: dict[int, set[tuple[str, ...]]] = {}
        for unit in self.units:
            path = self.path / f"notes-{unit[-4:]}" / f"{JOB}.reveals"
            for line in path.read_text().splitlines() if path.exists() else ():
                entry = json.loads(line)
                sets.setdefault(entry["round"], set()).add(tuple(entry["units"]))
        return sets


def opened(
    found: Mapping[str, Any], vectors: Mapping[str, NDArray[np.uint32]], members: Iterable[str]
) -> set[str]:
    """All of these (and nobody else) opened the sum over exactly these members, with the same secret."""
    there = {unit: one for unit, one in found.items() if not isinstance(one, RoundFailed)}
    members = tuple(members)
    right = added([vectors[unit] for unit in members])
    assert there
    for one in there.values():
        assert one.members == members
        assert (one.words == right).all()
        assert "false" not in one.record
    assert len({one.secret for one in there.values()}) == 1
    return set(there)

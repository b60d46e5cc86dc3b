"""A whole round with each scheme, and a round in which a member is lost in each of its phases.

Members are threads of this process with workers that answer at once; everything between is the product's own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.members import NOTED, Meeting, gathered, in_process
from benchmarks.rounds import warm
from benchmarks.spans import Timed, timed
from trustspace.enclave.failure import RoundFailed
from trustspace.space.rounds import Board
from trustspace.transport.rounds import Phase

SUMS = {
    "pairwise masks": 'scheme = "pairwise-masks"',
    "lattice S, all open": 'scheme = "lattice-s"',
    "lattice L, all open": 'scheme = "lattice-l"',
    "lattice L, one may be lost": 'scheme = "lattice-l"\ndropouts = 1',
}
PHASES: tuple[Phase, ...] = ("join", "agree", "contribution", "check", "reveal")
LOST_IN = 2
ROUNDS = 3


def rounds(work: Path, name: str, members: int, count: int) -> list[Timed]:
    """The warm rounds of a run whose sums are protected as SUMS has it under ``name``."""
    return warm(in_process(work, members, count, ROUNDS, SUMS[name]))


def losing(work: Path, name: str, members: int, count: int, phase: Phase) -> tuple[float | None, str]:
    """Seconds of the round in which the last member vanishes at ``phase``, and what became of it; None: the run ended.

    Computing is left out, and so is waiting for the lost one: the space's clock jumps as soon as nobody else is
    waited for.
    """
    clock = _Clock()
    meeting, board = gathered(work, members, count, ROUNDS, SUMS[name], clock)
    *staying, last = meeting.seats
    vanishing, others = _Vanishing(last.relay, phase), [_Watched(seat.relay) for seat in staying]
    relays: list[Any] = [*others, vanishing]
    seats = tuple(replace(seat, relay=relay) for seat, relay in zip(meeting.seats, relays, strict=True))

    def look() -> None:
        if vanishing.gone.is_set():
            clock.jump(board, last.identity.source_unit, others)

    errors = _play(replace(meeting, seats=seats), work, count, look)
    reasons = {error.reason for error in errors[:-1] if isinstance(error, RoundFailed)}
    if reasons:
        return None, f"the run ends: {', '.join(sorted(reasons))}"
    noted = [found for found in NOTED if found.number == LOST_IN]
    if len(noted) != members - 1:
        raise RuntimeError(f"{len(noted)} members came to the end of the round in which one was lost.")
    again = "anew with the others" if others[0].attempts > 1 else "goes on without it"
    return timed(noted).overhead, "without it from the beginning" if phase == "join" else again


def _play(meeting: Meeting, work: Path, count: int, look: Callable[[], None]) -> list[BaseException | None]:
    """All members to their ends, looking on; what each of them ended with."""
    stop = threading.Event()
    NOTED.clear()
    with ThreadPoolExecutor(len(meeting.seats)) as pool:
        done: list[Future[None]] = [
            pool.submit(meeting.member, number, work, count, stop) for number in range(len(meeting.seats))
        ]
        while not all(member.done() for member in done):
            if any(member.done() and member.exception() for member in done[:-1]):
                stop.set()
            look()
            time.sleep(0.002)
    found = [member.exception() for member in done]
    for error in found:
        if error is not None and not isinstance(error, RoundFailed | _Vanished):
            raise error
    return found


class _Vanished(Exception):
    """Raised where a member vanishes: nothing of the product knows it."""


class _Watched:
    """A member's way to the space; notes what it waits for, and the attempts of the round."""

    def __init__(self, relay: Any) -> None:
        self._relay = relay
        self.attempts = 0
        # The phase that it waits for without having anything to say itself.
        self.listens: Phase | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._relay, name)

    def exchange(self, place: Any, phase: Phase, envelope: bytes, *given: Any, **named: Any) -> Any:
        """As the relay's."""
        if place.round == LOST_IN:
            self.attempts = max(self.attempts, place.attempt)
        self.listens = None if envelope else phase
        try:
            return self._relay.exchange(place, phase, envelope, *given, **named)
        finally:
            self.listens = None


class _Vanishing(_Watched):
    """One that is cut at one phase of one round."""

    def __init__(self, relay: Any, phase: Phase) -> None:
        super().__init__(relay)
        self._phase = phase
        self.gone = threading.Event()

    def exchange(self, place: Any, phase: Phase, envelope: bytes, *given: Any, **named: Any) -> Any:
        """As the relay's, until the member vanishes."""
        if (place.round, phase) == (LOST_IN, self._phase):
            self.gone.set()
            raise _Vanished
        return super().exchange(place, phase, envelope, *given, **named)


class _Clock:
    """The space's time: the machine's, and what was jumped over."""

    def __init__(self) -> None:
        self._offset = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._offset

    def jump(self, board: Board, lost: str, others: Sequence[_Watched]) -> None:
        """To the end of waiting, where nobody but ``lost`` is waited for: for a check, where no other makes one."""
        with board._changed:
            attempt, due = board._course.current, board._course.deadline()
            if attempt is None or attempt.phase is None or due is None:
                return
            unchecked = attempt.phase == "check" and all(other.listens == "check" for other in others)
            if unchecked or set(attempt.lacking(attempt.phase)) == {lost}:
                self._offset += max(0.0, due - self())
                board._changed.notify_all()

"""The pool: sandboxes that were started before there is a task for them, and when the next one is started.

One waits with nothing but the platform's own imports in it, gets one task, and ends with it. All this costs no
more work than starting them late: a sandbox that is made now is one that a later task need not make.
"""

from __future__ import annotations

import math
import os
from typing import Any, Final

from trustspace.sandbox.config import MIB
from trustspace.sandbox.spawn import Sandbox

# What programs import before they look at a row: most of the time from a grant to the first row.
PRELOAD: Final = (
    "torch",
    "numpy.ma",
    "pyarrow",
    "trustspace.jobs.training",
    "trustspace.jobs.rounds_program",
    "trustspace.jobs.evaluate",
    "trustspace.jobs.compute",
    "trustspace.jobs.counting",
)
# Programs that import nearly all of this anyway: one that is still importing is ahead of a new one.
HEAVY: Final = frozenset({"train", "train_rounds", "evaluate", "references"})
# What was imported counts as the task's memory (about 180 MiB): a task that may have little gets a new one.
LEAST_BYTES: Final = 512 * MIB
# Importing takes a second; one that takes as long as this hangs.
READY_SECONDS: Final = 120.0
# While tasks have every core, the next one is started only when the newest of them has run for so long.
GIVE_WAY_SECONDS: Final = 5.0
# After one that died, hung or could not be made: how long until the next, doubled each time.
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 600.0


class Pool:
    """Which sandboxes wait, oldest first. It starts and kills nothing, and is told what time it is."""

    def __init__(
        self, wanted: int, threads: int, cores: int | None = None, ready_seconds: float = READY_SECONDS
    ) -> None:
        self.wanted = wanted
        self._ready_seconds = ready_seconds
        self._threads = threads
        self._cores = cores or len(os.sched_getaffinity(0))
        self._waiting: list[Sandbox] = []
        self._not_before = -math.inf
        self._newest_task = -math.inf
        self._pause = FIRST_PAUSE_SECONDS

    def add(self, sandbox: Sandbox) -> None:
        """One more has been started, or is about to end without a task."""
        self._waiting.append(sandbox)

    def all(self) -> list[Sandbox]:
        """Those without a task, dying ones too."""
        return list(self._waiting)

    def _well(self) -> list[Sandbox]:
        return [one for one in self._waiting if not one.verdict and one.exit_code is None]

    def take(self, program: str, allowed: dict[str, Any]) -> Sandbox | None:
        """One for this task, if it is worth while; it is nobody else's from now on."""
        if int(allowed["memory_bytes"]) < LEAST_BYTES:
            return None
        well = self._well()
        # The ready ones first; False sorts before True.
        for one in sorted(well, key=lambda each: not each.warm):
            if one.warm or program in HEAVY:
                return self._taken(one)
        return None

    def take_ready(self) -> Sandbox | None:
        """One that has imported everything, whatever for."""
        return next((self._taken(one) for one in self._well() if one.warm), None)

    def _taken(self, one: Sandbox) -> Sandbox:
        self._waiting.remove(one)
        self._pause = FIRST_PAUSE_SECONDS
        return one

    def began(self, now: float) -> None:
        """A task has begun."""
        self._newest_task = now

    def lost(self, now: float) -> None:
        """One died or could not be made. It is replaced, but not at once, and not for ever as fast."""
        self._not_before = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def remove(self, sandbox: Sandbox) -> None:
        """It has ended."""
        self._waiting.remove(sandbox)

    def due(self, now: float, running: int, *, arriving: bool) -> bool:
        """Whether the next one is to be started, while so many tasks run, the newest not yet at its first row."""
        return now >= self._moment(running, arriving=arriving)

    def _moment(self, running: int, *, arriving: bool) -> float:
        well = self._well()
        # One at a time: they would only slow each other down.
        if arriving or len(well) >= self.wanted or any(not one.warm for one in well):
            return math.inf
        busy = running * self._threads >= self._cores
        return max(self._not_before, self._newest_task + GIVE_WAY_SECONDS if busy else -math.inf)

    def overdue(self, now: float) -> list[Sandbox]:
        """Those that should long have been ready."""
        return [one for one in self._well() if not one.warm and now >= one.started + self._ready_seconds]

    def next_moment(self, running: int, *, arriving: bool) -> float:
        """When to look again (``due``, ``overdue``), math.inf when nothing will change by itself."""
        ready = [one.started + self._ready_seconds for one in self._well() if not one.warm]
        return min([self._moment(running, arriving=arriving), *ready])

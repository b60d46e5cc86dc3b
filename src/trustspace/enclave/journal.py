"""Which sums this enclave has helped to open, so that it never helps with two that could be subtracted."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from trustspace.domain.rounds import Place
from trustspace.enclave.failure import RoundFailed
from trustspace.storage.files import append_line


class Journal:
    """The sets for which this enclave has revealed, in a file that outlives it: one line for each reveal.

    Two sums of one round over different sets could be subtracted from each other; so a source unit that has
    revealed for one set never reveals for another in that round, in this run or in a later one of the same job.
    """

    def __init__(self, directory: Path, job: str) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        self.directory = directory
        self._path = directory / f"{job}.reveals"
        self._revealed: dict[int, tuple[str, int, tuple[str, ...]]] = {}
        if self._path.exists():
            for line in self._path.read_bytes().splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # torn by a crash before it was durable: then nothing was revealed either
                self._revealed[int(entry["round"])] = (
                    str(entry["run"]), int(entry["attempt"]), tuple(entry["units"]),
                )  # fmt: skip

    def check(self, place: Place, units: Collection[str], *, some: bool = False) -> None:
        """Raise RoundFailed when a mask was revealed in this round that this set must not add to.

        ``some``: some of ``units`` may still be lost, and those that remain will be checked again.
        """
        before = self._revealed.get(place.round)
        if before is None:
            return
        same = set(before[2]) <= set(units) if some else set(before[2]) == set(units)
        if not same or before[0] == place.run:
            raise RoundFailed("left-behind", f"A mask was revealed in round {place.round} already.")

    def note(self, place: Place, units: tuple[str, ...]) -> None:
        """Remember a reveal, durably, before it is sent."""
        entry = {"round": place.round, "run": place.run, "attempt": place.attempt, "units": list(units)}
        append_line(self._path, json.dumps(entry).encode())
        self._revealed[place.round] = (place.run, place.attempt, units)

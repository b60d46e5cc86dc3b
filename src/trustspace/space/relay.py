"""Which boards there are and who may come to them: the ledger says it, statement by statement.

A board lives while its job is in its run. A thread watches the ledger, so that nobody waits for a job that is
refused, cancelled or failed, nor for a member whose run has ended.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustspace.aggregation.masks import PairwiseMasks
from trustspace.aggregation.schemes import scheme_of
from trustspace.domain.bodies import Job
from trustspace.domain.records import GrantRecord, JobRecord, OfferRecord
from trustspace.errors import PermissionDenied, Unavailable
from trustspace.space.ledger import Ledger
from trustspace.space.rounds import Board
from trustspace.space.sums import VectorStore
from trustspace.transport.rounds import Exchanged, Phase, Place
from trustspace.transport.tls import Caller

# Every member of the largest job can wait at once.
MAX_WAITING = 256
LOOK_SECONDS = 1.0
DEFAULT_WAIT_SECONDS = 300
_WAITS = range(5, 86_401)
_LOG = logging.getLogger(__name__)


@dataclass
class _Kept:
    run: str
    board: Board
    job: JobRecord


class Relay:
    """The rounds of all joint jobs of a space. Thread-safe."""

    def __init__(self, ledger: Ledger, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._store = VectorStore(directory)
        self._clock = clock
        self._boards: dict[str, _Kept] = {}
        self._lock = threading.Lock()
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="rounds", daemon=True)
        self._thread.start()

    # -- what an enclave does

    def exchange(
        self, caller: Caller, place: Place, phase: Phase, envelope: bytes, data: bytes, wait_seconds: float
    ) -> Exchanged:
        """See ``transport.rounds.Rounds``; waits while there is room for waiters."""
        board = self._board(caller, place)
        if board is None:
            return Exchanged("ended", round=place.round, attempt=place.attempt)
        spot = place.round, place.attempt
        room = wait_seconds > 0 and self._waiting.acquire(blocking=False)
        try:
            wait = wait_seconds if room else 0.0
            return board.exchange(caller.party, spot, phase, envelope, data, wait)
        finally:
            if room:
                self._waiting.release()

    def contribute(
        self, caller: Caller, place: Place, envelope: bytes, total_bytes: int, pieces: Iterable[bytes]
    ) -> None:
        """See ``transport.rounds.Rounds``."""
        board = self._board(caller, place)
        if board is not None:
            board.contribute(caller.party, (place.round, place.attempt), envelope, total_bytes, pieces)

    def deal(self, caller: Caller, place: Place, total_bytes: int, pieces: Iterable[bytes]) -> None:
        """See ``transport.rounds.Rounds``."""
        board = self._board(caller, place)
        if board is not None:
            board.deal(caller.party, (place.round, place.attempt), total_bytes, pieces)

    def shares(self, caller: Caller, place: Place) -> Iterator[tuple[int, bytes]]:
        """See ``transport.rounds.Rounds``."""
        return self._standing_board(caller, place).shares(caller.party, (place.round, place.attempt))

    def sum(self, caller: Caller, place: Place) -> Iterator[bytes]:
        """See ``transport.rounds.Rounds``."""
        return self._standing_board(caller, place).sum(caller.party, (place.round, place.attempt))

    def contributions(self, caller: Caller, place: Place) -> Iterator[tuple[int, bytes]]:
        """See ``transport.rounds.Rounds``."""
        return self._standing_board(caller, place).contributions(caller.party, (place.round, place.attempt))

    # -- boards

    def _standing_board(self, caller: Caller, place: Place) -> Board:
        board = self._board(caller, place)
        if board is None:
            raise PermissionDenied("The caller does not stand in this run.")
        return board

    def _board(self, caller: Caller, place: Place) -> Board | None:
        """The board of the run; None when the run is over, or the caller's part in it.

        Raises:
            PermissionDenied: the caller is not the enclave that a grant of the job names; also when there is no job.

        """
        job = self._ledger.view.get(JobRecord, place.job)
        grant = self._ledger.view.get(GrantRecord, job.grants.get(caller.party, "")) if job else None
        if job is None or grant is None or (caller.kind, caller.key) != ("enclave", grant.body.enclave):
            raise PermissionDenied("The rounds of a job are for the enclaves that its grants name.")
        if self._closed.is_set():
            raise Unavailable("The space is closing.", fix="Try again.")
        if job.state != "running" or job.run != place.run:
            return None
        offers = self._offers(job)
        if caller.party not in offers:
            return None
        with self._lock:
            kept = self._boards.get(place.job)
            if kept is None or kept.run != place.run:
                if kept is not None:
                    kept.board.end()
                kept = _Kept(place.run, self._made(job.body, offers), job)
                self._boards[place.job] = kept
        self._tell(kept, job)
        return kept.board

    def _made(self, job: Job, offers: Mapping[str, str]) -> Board:
        wait = wait_seconds_of(job.parameters)
        scheme = scheme_of(job.sums.scheme, job.sums.needed) if job.sums is not None else PairwiseMasks()
        return Board(self._store, offers, job.minimum_participants, wait, self._clock, scheme)

    def _offers(self, job: JobRecord) -> dict[str, str]:
        """By source unit, the offer that stands for it in the run."""
        found = ((unit, self._ledger.view.get(OfferRecord, digest)) for unit, digest in job.offers.items())
        return {unit: offer.statement for unit, offer in found if offer is not None and not offer.ended}

    def _tell(self, kept: _Kept, job: JobRecord) -> None:
        if kept.job is not job:
            before, kept.job = kept.job, job
            kept.board.stand(self._offers(job), self._returning(before, job))

    def _returning(self, before: JobRecord, job: JobRecord) -> frozenset[str]:
        """The units whose enclave has said that it was restarted, while their grants last for another run."""
        found = set()
        for unit, digest in before.offers.items():
            offer = self._ledger.view.get(OfferRecord, digest)
            grant = self._ledger.view.get(GrantRecord, job.grants.get(unit, ""))
            restarted = job.offers.get(unit) != digest and offer is not None and offer.reason == "host"
            if restarted and grant is not None and grant.runs_used < grant.body.runs:
                found.add(unit)
        return frozenset(found)

    def look(self) -> None:
        """Compare every board with the ledger and with the clock."""
        with self._lock:
            boards = list(self._boards.items())
        for digest, kept in boards:
            job = self._ledger.view.get(JobRecord, digest)
            if job is None or job.state != "running" or job.run != kept.run:
                with self._lock:
                    if self._boards.get(digest) is kept:
                        del self._boards[digest]
                kept.board.end()
                continue
            self._tell(kept, job)
            kept.board.tick()

    def _watch(self) -> None:
        size = 0
        while not self._closed.is_set():
            try:
                self.look()
            except Exception:  # whatever it is, the thread must go on
                _LOG.exception("looking after the rounds failed")
            size = self._ledger.wait_beyond(size, LOOK_SECONDS)

    def close(self) -> None:
        """Send everybody who waits home; they find the space's successor, or nobody."""
        self._closed.set()
        with self._lock:
            for kept in self._boards.values():
                kept.board.close()
        self._thread.join()


def wait_seconds_of(parameters: Mapping[str, Any]) -> int:
    """How long the job's members wait for a slow or lost one, as its signed parameters say."""
    for section in ("federated", "statistics"):
        named = parameters.get(section)
        wait = named.get("wait_seconds") if isinstance(named, dict) else None
        if isinstance(wait, int) and wait in _WAITS:
            return wait
    return DEFAULT_WAIT_SECONDS

"""The board where the members of one run meet, round by round: it collects, waits a bounded time, and adds.

It lives in memory: after a restart of the space a fresh one takes up wherever its first member stands. What it
says of others is never believed without their signatures; what it decides is only who is waited for, and for
how long (course.py).
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from trustspace.errors import InvalidInput, InvalidTransition, PermissionDenied, Stale, Unavailable
from trustspace.space.attempt import Attempt, Spot
from trustspace.space.course import Course
from trustspace.space.sums import WORD_BYTES, Vector, VectorStore, add
from trustspace.transport.rounds import INLINE_BYTES, WAIT_SECONDS, Exchanged, Phase, Place

MAX_ENVELOPE_BYTES = 128 << 10
# Two float32 of a model of 250 million parameters, and room for the numbers beside it.
MAX_VECTOR_BYTES = WORD_BYTES * (2 * 250_000_000 + 1_000_000)
# A member whose connection broke asks again before the space knows that the old call has nobody behind it.
WAITING_PER_UNIT = 4
# The same of uploads: each that hangs holds a thread, and its place on the disk.
UPLOADS_PER_UNIT = 4
_LOG = logging.getLogger(__name__)


class _Unwanted(Exception):
    """The attempt that a vector was for is over."""


class Board:
    """All rounds of one run. Thread-safe. ``clock`` counts seconds and decides how long others are waited for."""

    def __init__(
        self,
        store: VectorStore,
        offers: Mapping[str, str],
        minimum: int,
        wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``offers``: by source unit, what it stands in the run with. ``minimum``: members of an attempt."""
        self._store = store
        self._course = Course(offers, minimum, wait_seconds)
        self._clock = clock
        self._changed = threading.Condition()
        self._closed = False
        self._waiting: Counter[str] = Counter()
        self._uploading: Counter[str] = Counter()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[Course]:
        """The course, up to date; whoever waits is woken if it moved."""
        with self._changed:
            before = self._course.version
            try:
                self._course.tick(self._clock())
                yield self._course
            finally:
                if self._course.version != before:
                    self._changed.notify_all()

    # -- what a member does

    def exchange(
        self,
        unit: str,
        spot: Spot,
        phase: Phase,
        envelope: bytes,
        data: bytes = b"",
        wait_seconds: float = 0.0,
    ) -> Exchanged:
        """Take a member's message (empty: none) and wait for the phase; see ``transport.rounds.Rounds``."""
        _check_message(spot, phase, envelope, data)
        vector = self._store.receive(len(data), [data], lambda: None) if data else None
        end = time.monotonic() + wait_seconds
        with self._turn() as course:
            found = course.take(unit, spot, phase, envelope, vector, self._clock())
            self._add_if_complete(found)
            answer = course.answer(found, unit, spot, phase)
            if answer.status != "waiting" or self._waiting[unit] >= WAITING_PER_UNIT:
                return answer
            self._waiting[unit] += 1
        try:
            return self._wait(found, unit, spot, phase, end)
        finally:
            with self._changed:
                self._waiting[unit] -= 1

    def _wait(self, found: Attempt | None, unit: str, spot: Spot, phase: Phase, end: float) -> Exchanged:
        while True:
            with self._turn() as course:
                # The attempt that was found stays the one that is asked about, however far others are meanwhile.
                found = found or course.at(spot)
                answer, due = course.answer(found, unit, spot, phase), course.deadline()
                rest = end - time.monotonic()
                if answer.status != "waiting" or rest <= 0 or self._closed:
                    return answer
                # At a deadline it is this thread that says so to the course, in its next turn.
                until = rest if due is None else min(rest, max(due - self._clock(), 0.0) + 0.001)
                self._changed.wait(until)

    def contribute(
        self, unit: str, spot: Spot, envelope: bytes, total_bytes: int, pieces: Iterable[bytes]
    ) -> None:
        """Take a vector in, for the message that comes with it or after it.

        Returns quietly when its attempt is over: ``exchange`` tells.
        """
        _check_message(spot, "contribution", envelope, b"")
        _check_length(total_bytes)
        with self._turn() as course:
            found = course.at(spot)
            if course.over or found is None or found.fate or unit not in found.members:
                return
            if unit in found.envelopes["contribution"]:
                if envelope:
                    found.known(unit, "contribution", envelope)
                return
            found.require_open("contribution")
            found.require_length(total_bytes)
            if self._uploading[unit] >= UPLOADS_PER_UNIT:
                raise Unavailable(
                    "This source unit is sending several contributions already.", fix="Try again."
                )
            if found.total is None or found.total.size != total_bytes:
                # The place for the sum is taken now: who contributes hears it if there is none.
                found.total = self._store.reserve(total_bytes)
            mine = found.uploads[unit] = object()
            self._uploading[unit] += 1

        def go_on() -> None:
            if found.fate or self._closed:
                raise _Unwanted
            if found.uploads.get(unit) is not mine:
                raise Stale("Another upload of this contribution has taken its place.")

        try:
            with contextlib.suppress(_Unwanted):
                vector = self._store.receive(total_bytes, pieces, go_on)
                with self._turn() as course:
                    go_on()
                    del found.uploads[unit]
                    found.hold(unit, vector)
                    if envelope:
                        course.post(found, unit, "contribution", envelope, None, self._clock())
                        self._add_if_complete(found)
        finally:
            with self._changed:
                self._uploading[unit] -= 1

    def sum(self, unit: str, spot: Spot) -> Iterator[bytes]:
        """The sum, in pieces. Raises Stale, PermissionDenied, InvalidTransition."""
        found, total, _ = self._added(unit, spot)
        return (total.read(start, length) for start, length in self._pieces(found, total))

    def contributions(self, unit: str, spot: Spot) -> Iterator[tuple[int, bytes]]:
        """Every member's vector: a piece of every member, in the order of the set, then the next piece."""
        found, total, vectors = self._added(unit, spot)
        return (
            (member, vector.read(start, length))
            for start, length in self._pieces(found, total)
            for member, vector in enumerate(vectors)
        )

    def _added(self, unit: str, spot: Spot) -> tuple[Attempt, Vector, list[Vector]]:
        with self._turn() as course:
            found = course.at(spot)
            if course.over or found is None or found.fate:
                raise Stale("This attempt of the round is over.")
            if unit not in found.members:
                raise PermissionDenied("The caller is not in this attempt of the round.")
            if "contribution" not in found.results or found.total is None:
                raise InvalidTransition("The contributions of this attempt are not added yet.")
            # Held by the reader too: what is being read stays, also when the board lets it go.
            return found, found.total, [found.vectors[member] for member in found.members]

    def _pieces(self, found: Attempt, vector: Vector) -> Iterator[tuple[int, int]]:
        for piece in vector.pieces():
            if self._closed or found.fate in ("aborted", "failed"):
                raise Stale("This attempt of the round is over.")
            yield piece

    # -- what the space does

    def stand(self, offers: Mapping[str, str], returning: frozenset[str] = frozenset()) -> None:
        """Tell the board who stands in the run now; who stands no longer, or anew, is not waited for any more.

        Those in ``returning`` are: their enclave was restarted and is expected back.
        """
        with self._turn() as course:
            course.stand(offers, returning, self._clock())

    def tick(self) -> None:
        """Apply what the clock says; callers that wait do it themselves."""
        with self._turn():
            pass

    def end(self) -> None:
        """The job runs no longer, or not in this run: everybody is told, every vector is let go."""
        with self._turn() as course:
            course.finish("ended")

    def close(self) -> None:
        """The space closes: nobody waits any more, and nobody is told that anything ended."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # -- adding

    def _add_if_complete(self, found: Attempt | None) -> None:
        """Add when the last contribution has come: a small sum at once, a large one in a thread of its own."""
        if found is None or found.fate or found.adding or found.phase != "contribution":
            return
        if found.lacking("contribution"):
            return
        found.adding, vectors = True, [found.vectors[member] for member in found.members]
        if found.length <= INLINE_BYTES:
            self._add(found, vectors)
        else:
            threading.Thread(target=self._add, args=(found, vectors), name="round-sum", daemon=True).start()

    def _add(self, found: Attempt, vectors: list[Vector]) -> None:
        def go_on() -> None:
            if found.fate or self._closed:
                raise _Unwanted

        with contextlib.suppress(_Unwanted):
            total, small = None, b""
            try:
                fits = found.total is not None and found.total.size == found.length
                total = found.total if fits else self._store.reserve(found.length)
                assert total is not None
                add(total, vectors, go_on)
                if total.size <= INLINE_BYTES:
                    small = total.read(0, total.size)
            except (OSError, Unavailable) as error:
                _LOG.error("the sum of round %s, attempt %s cannot be written: %s", *found.spot, str(error))
                total = None
            with self._turn() as course:
                go_on()
                if total is None:
                    course.abort(found, (), self._clock())
                else:
                    found.total, found.sum = total, small
                    course.complete(found, "contribution", self._clock())


class LocalRounds:
    """A board in the same process, as one member's ``transport.rounds.Rounds``."""

    def __init__(self, board: Board, unit: str) -> None:
        self._board = board
        self._unit = unit

    def exchange(
        self,
        place: Place,
        phase: Phase,
        envelope: bytes,
        data: bytes = b"",
        wait_seconds: float = WAIT_SECONDS,
    ) -> Exchanged:
        """See ``Rounds``."""
        spot = place.round, place.attempt
        return self._board.exchange(self._unit, spot, phase, envelope, data, wait_seconds)

    def contribute(self, place: Place, envelope: bytes, total_bytes: int, pieces: Iterable[bytes]) -> None:
        """See ``Rounds``."""
        self._board.contribute(self._unit, (place.round, place.attempt), envelope, total_bytes, pieces)

    def sum(self, place: Place) -> Iterator[bytes]:
        """See ``Rounds``."""
        return self._board.sum(self._unit, (place.round, place.attempt))

    def contributions(self, place: Place) -> Iterator[tuple[int, bytes]]:
        """See ``Rounds``."""
        return self._board.contributions(self._unit, (place.round, place.attempt))


def _check_message(spot: Spot, phase: Phase, envelope: bytes, data: bytes) -> None:
    if spot[0] < 0 or spot[1] < 1:
        raise InvalidInput("Rounds count from 0, attempts from 1.")
    if len(envelope) > MAX_ENVELOPE_BYTES:
        raise InvalidInput("A round's message is at most {limit} bytes long.", limit=MAX_ENVELOPE_BYTES)
    if data:
        if phase != "contribution" or not envelope:
            raise InvalidInput("Only the phase {phase} takes a vector.", phase="contribution")
        if len(data) > INLINE_BYTES:
            raise InvalidInput("A vector of more than {limit} bytes is handed in first.", limit=INLINE_BYTES)
        _check_length(len(data))


def _check_length(total_bytes: int) -> None:
    if not 0 < total_bytes <= MAX_VECTOR_BYTES or total_bytes % WORD_BYTES:
        raise InvalidInput(
            "A vector is between 1 and {limit} words of 32 bits.", limit=MAX_VECTOR_BYTES // WORD_BYTES
        )

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

from trustspace.aggregation.masks import PairwiseMasks
from trustspace.aggregation.scheme import Scheme
from trustspace.errors import InvalidInput, InvalidTransition, PermissionDenied, Stale, Unavailable
from trustspace.space.attempt import Attempt, Spot
from trustspace.space.course import Course
from trustspace.space.sums import WORD_BYTES, Malformed, Vector, VectorStore, add
from trustspace.transport.rounds import INLINE_BYTES, WAIT_SECONDS, Exchanged, Phase, Place

MAX_ENVELOPE_BYTES = 256 << 10
# A model of a thousand million parameters, and room for the numbers beside it.
MAX_VECTOR_BYTES = WORD_BYTES * (1 << 30)
# What a member seals to each: a share of a secret, of up to 64 KiB and what proves it.
MAX_DEAL_BYTES = 256 * (80 << 10)
# A member whose connection broke asks again before the space knows that the old call has nobody behind it.
WAITING_PER_UNIT = 4
# The same of uploads: each that hangs holds a thread, and its place on the disk.
UPLOADS_PER_UNIT = 4
_LOG = logging.getLogger(__name__)


class _Unwanted(Exception):
    """The attempt that a vector was for is over, or another vector takes one's place."""


class Board:
    """All rounds of one run. Thread-safe. ``clock`` counts seconds and decides how long others are waited for."""

    def __init__(
        self,
        store: VectorStore,
        offers: Mapping[str, str],
        minimum: int,
        wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        scheme: Scheme | None = None,
    ) -> None:
        """``offers``: by source unit, what it stands in the run with. ``minimum``: members of an attempt.

        ``scheme``: how its vectors are added, and how many members open a sum; by default pairwise masks.
        """
        self._store = store
        self._scheme = scheme or PairwiseMasks()
        needed = self._scheme.needed(len(offers))
        self._course = Course(offers, minimum, wait_seconds, needed if needed < len(offers) else 0)
        self._clock = clock
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        # Woken more often: whenever a piece of a vector has come. Only who adds waits for it.
        self._arrived = threading.Condition(lock)
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
                # Also where it is the clock, or somebody's leaving, that settled who is in the sum.
                self._add_if_complete(self._course.current)
            finally:
                if self._course.version != before:
                    self._changed.notify_all()
                self._arrived.notify_all()

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
        if data:
            self._check_length(len(data))
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

    def _check_length(self, total_bytes: int) -> None:
        if not 0 < total_bytes <= MAX_VECTOR_BYTES or total_bytes % (WORD_BYTES * self._scheme.block):
            raise InvalidInput(
                "A vector is between 1 and {limit} words of 32 bits, and whole blocks of {block}.",
                limit=MAX_VECTOR_BYTES // WORD_BYTES, block=self._scheme.block,
            )  # fmt: skip

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
        self._check_length(total_bytes)
        with self._turn() as course:
            found = course.at(spot)
            if course.over or found is None or found.fate or unit not in found.members:
                return
            if found.included and unit not in found.included:
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
            vector = self._store.reserve(total_bytes)
            found.uploads[unit] = vector
            self._uploading[unit] += 1

        def go_on() -> None:
            with self._arrived:
                self._arrived.notify_all()
                if found.fate or self._closed:
                    raise _Unwanted
                if found.uploads.get(unit) is not vector:
                    raise Stale("Another upload of this contribution has taken its place.")

        try:
            with contextlib.suppress(_Unwanted):
                self._store.fill(vector, pieces, go_on)
                with self._turn() as course:
                    go_on()
                    del found.uploads[unit]
                    found.hold(unit, vector)
                    if envelope:
                        course.post(found, unit, "contribution", envelope, None, self._clock())
                        self._add_if_complete(found)
        finally:
            with self._arrived:
                self._uploading[unit] -= 1
                if found.uploads.get(unit) is vector:
                    del found.uploads[unit]
                self._arrived.notify_all()

    def deal(self, unit: str, spot: Spot, total_bytes: int, pieces: Iterable[bytes]) -> None:
        """Take in what a member has sealed to each member, by position; the first that it hands in counts."""
        with self._turn() as course:
            found = course.at(spot)
            if course.over or found is None or found.fate or unit not in found.members or unit in found.deals:
                return
            if found.included and unit not in found.included:
                return
            found.require_open("contribution")
            if not found.needed or not 0 < total_bytes <= MAX_DEAL_BYTES or total_bytes % len(found.members):
                raise InvalidInput("These are not shares for every member of the attempt.")
            if self._uploading[unit] >= UPLOADS_PER_UNIT:
                raise Unavailable(
                    "This source unit is sending several contributions already.", fix="Try again."
                )
            self._uploading[unit] += 1

        def go_on() -> None:
            if found.fate or self._closed:
                raise _Unwanted

        try:
            with contextlib.suppress(_Unwanted):
                sealed = self._store.receive(total_bytes, pieces, go_on)
                with self._turn():
                    go_on()
                    found.deals.setdefault(unit, sealed)
        finally:
            with self._changed:
                self._uploading[unit] -= 1

    def shares(self, unit: str, spot: Spot) -> Iterator[tuple[int, bytes]]:
        """What the sum's members have sealed to this one, with their positions in the set. Errors as ``sum`` has."""
        found, _, _ = self._added(unit, spot)
        own = found.members.index(unit)
        with self._changed:
            deals = [(found.members.index(giver), found.deals.get(giver)) for giver in found.included]
        for position, deal in deals:
            if deal is None:
                raise Stale("This attempt of the round is over.")
            length = deal.size // len(found.members)
            yield position, deal.read(own * length, length)

    def sum(self, unit: str, spot: Spot) -> Iterator[bytes]:
        """The sum, in pieces. Raises Stale, PermissionDenied, InvalidTransition."""
        found, total, _ = self._added(unit, spot)
        return (total.read(start, length) for start, length in self._pieces(found, total))

    def contributions(self, unit: str, spot: Spot) -> Iterator[tuple[int, bytes]]:
        """Every vector in the sum: a piece of every member, in the order of the set, then the next piece."""
        found, total, vectors = self._added(unit, spot)
        if found.needed and unit not in found.checkers():
            # Whoever has every vector and enough helpers needs nobody else to open each.
            raise PermissionDenied("The vectors of a sum are for the member that adds them up again.")
        return (
            (position, vector.read(start, length))
            for start, length in self._pieces(found, total)
            for position, vector in vectors
        )

    def _added(self, unit: str, spot: Spot) -> tuple[Attempt, Vector, list[tuple[int, Vector]]]:
        with self._turn() as course:
            found = course.at(spot)
            if course.over or found is None or found.fate:
                raise Stale("This attempt of the round is over.")
            if unit not in found.standing:
                raise PermissionDenied("The caller is not in this attempt of the round.")
            if "contribution" not in found.results or found.total is None:
                raise InvalidTransition("The contributions of this attempt are not added yet.")
            # Held by the reader too: what is being read stays, also when the board lets it go.
            vectors = [
                (i, found.vectors[unit]) for i, unit in enumerate(found.members) if unit in found.included
            ]
            return found, found.total, vectors

    def _pieces(self, found: Attempt, vector: Vector) -> Iterator[tuple[int, int]]:
        for piece in vector.pieces(self._scheme.block):
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
            self._arrived.notify_all()

    # -- adding

    def _add_if_complete(self, found: Attempt | None) -> None:
        """Add when the last contribution has come: a small sum at once; a large one while they come, in a thread."""
        if found is None or found.fate or found.phase != "contribution":
            return
        if not found.included and not found.lacking("contribution"):
            found.narrow()
        vectors = found.addends()
        if found.adding or vectors is None:
            return
        found.adding = True
        if vectors[0].size <= INLINE_BYTES:
            with contextlib.suppress(_Unwanted):
                self._add(found, vectors)
        else:
            threading.Thread(target=self._follow, args=(found,), name="round-sum", daemon=True).start()

    def _follow(self, found: Attempt) -> None:
        """Add what comes in: anew whenever another vector takes the place of one. One thread for each attempt."""
        while True:
            with self._changed:
                vectors = found.addends()
                if self._closed or found.fate or found.phase != "contribution" or vectors is None:
                    found.adding = False
                    return
            with contextlib.suppress(_Unwanted):
                self._add(found, vectors)

    def _add(self, found: Attempt, vectors: list[Vector]) -> None:
        """Add these vectors as they come in; once it is settled that they are those that count, say what came of it."""

        def until(ready: Callable[[], bool]) -> None:
            with self._arrived:
                self._arrived.wait_for(lambda: unwanted() or ready())
                if unwanted():
                    raise _Unwanted

        def unwanted() -> bool:
            return self._closed or bool(found.fate) or found.addends() != vectors

        def come(end: int) -> None:
            until(lambda: all(vector.filled >= end for vector in vectors))

        total, small = None, b""
        malformed = -1
        try:
            fits = found.total is not None and found.total.size == vectors[0].size
            total = found.total if fits else self._store.reserve(vectors[0].size)
            assert total is not None
            add(total, vectors, self._scheme, come)
            if total.size <= INLINE_BYTES:
                small = total.read(0, total.size)
        except (OSError, Unavailable) as error:
            _LOG.error("the sum of round %s, attempt %s cannot be written: %s", *found.spot, str(error))
            total = None
        except Malformed as error:
            # Whose it is goes no further in this round; the others try again without.
            malformed, total = error.number, None
        until(lambda: bool(found.included))
        with self._turn() as course:
            until(lambda: True)
            if malformed >= 0:
                unit = found.included[malformed]
                _LOG.warning("round %s, attempt %s: the vector of %s is none", *found.spot, unit[:12])
                course.bar(found, unit, self._clock())
            elif total is None:
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

    def deal(self, place: Place, total_bytes: int, pieces: Iterable[bytes]) -> None:
        """See ``Rounds``."""
        self._board.deal(self._unit, (place.round, place.attempt), total_bytes, pieces)

    def shares(self, place: Place) -> Iterator[tuple[int, bytes]]:
        """See ``Rounds``."""
        return self._board.shares(self._unit, (place.round, place.attempt))

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

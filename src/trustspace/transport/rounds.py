"""The link that an enclave has to the space while the rounds of a joint job are on.

Plain values in and out; what an envelope says, and who signed it, is the members' business alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import grpc

from trustspace.api.v1 import rounds_pb2, rounds_pb2_grpc
from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.transport.channel import CALL_SECONDS, STREAM_SECONDS
from trustspace.transport.errors import call, to_error

Phase = Literal["join", "agree", "contribution", "check", "reveal"]
Status = Literal["complete", "waiting", "aborted", "stale", "failed", "ended"]
PHASES: tuple[Phase, ...] = get_args(Phase)
_PHASES: dict[str, Phase] = {word: word for word in PHASES}
_STATUSES: dict[str, Status] = {word: word for word in get_args(Status)}
# A vector of up to so many bytes travels with its message; a larger one, and its sum, in pieces of this size.
INLINE_BYTES = 1 << 20
WAIT_SECONDS = 20.0
# A space that has no room for one more waiter answers at once; then this much is let pass before asking again.
PAUSE_SECONDS = 0.25


@dataclass(frozen=True)
class Place:
    """An attempt of a round: ``attempt`` counts from 1 within the round, ``round`` from 0 within the run."""

    job: str
    run: str
    round: int
    attempt: int


@dataclass(frozen=True)
class Exchanged:
    """How a phase stands.

    ``status``: complete (``envelopes`` are all members', in the order of their source units' fingerprints);
    waiting (ask again); aborted (go to the next attempt); stale (the place to be is ``round``, ``attempt``);
    failed (the run cannot go on); ended (the job no longer runs, or not in this run).
    ``missing``: source units whose message is not there. ``data``: the sum, with a completed contribution of at
    most INLINE_BYTES.
    """

    status: Status
    envelopes: tuple[bytes, ...] = ()
    missing: tuple[str, ...] = ()
    data: bytes = b""
    round: int = 0
    attempt: int = 0


class Rounds(Protocol):
    """What a member needs of the space; the link below has it, and so has a board in the same process."""

    def exchange(
        self,
        place: Place,
        phase: Phase,
        envelope: bytes,
        data: bytes = b"",
        wait_seconds: float = WAIT_SECONDS,
    ) -> Exchanged:
        """Hand in this member's message (empty: only ask) and wait so long for the phase to be complete.

        ``data`` goes with the phase ``contribution`` for a vector of up to INLINE_BYTES (32-bit words,
        little-endian). A larger one is handed in by ``contribute`` first. The same call again is harmless.

        Raises:
            AlreadyExists: another message, or another vector, was handed in before.
            InvalidInput, InvalidTransition: wrong sizes; a message of a phase that is not open yet.
            PermissionDenied: the caller is no enclave of this job.
            Unavailable: try again.

        """

    def contribute(self, place: Place, envelope: bytes, total_bytes: int, pieces: Iterable[bytes]) -> None:
        """Hand in a vector of any size; ``exchange`` with its message then makes it count, and tells how that stands.

        With ``envelope`` it counts at once. Returns quietly when the attempt is over, or the vector there already.

        Raises:
            InvalidInput, InvalidTransition, Stale, PermissionDenied: as above; another upload took its place.
            Unavailable: the space has no room now. Nothing of the vector is left there.

        """

    def deal(self, place: Place, total_bytes: int, pieces: Iterable[bytes]) -> None:
        """Hand in what this member seals to each member, by position, all of one length; before its vector.

        Errors as ``contribute`` has them.
        """

    def shares(self, place: Place) -> Iterator[tuple[int, bytes]]:
        """What the members of a completed contribution have sealed to this one: (position in the set, all of it)."""

    def sum(self, place: Place) -> Iterator[bytes]:
        """The sum of a completed contribution, in pieces. Raises Stale when the attempt is over."""

    def contributions(self, place: Place) -> Iterator[tuple[int, bytes]]:
        """Every member's vector: (position in the set, piece), a piece of every member before the next piece."""


class RoundsLink:
    """The space's rounds over the wire."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = rounds_pb2_grpc.RoundsStub(channel)

    def exchange(
        self,
        place: Place,
        phase: Phase,
        envelope: bytes,
        data: bytes = b"",
        wait_seconds: float = WAIT_SECONDS,
    ) -> Exchanged:
        """See ``Rounds``. Waits longer than one call may take are several calls."""
        end = time.monotonic() + wait_seconds
        while True:
            asked = time.monotonic()
            wait = min(max(end - asked, 0.0), WAIT_SECONDS)
            request = rounds_pb2.ExchangeRequest(
                job=place.job, run=place.run, round=place.round, attempt=place.attempt, phase=phase,
                envelope=envelope, data=data, wait_milliseconds=int(wait * 1000),
            )  # fmt: skip
            answer = _exchanged(call(self._stub.Exchange, request, timeout=CALL_SECONDS + wait))
            now = time.monotonic()
            if answer.status != "waiting" or now >= end:
                return answer
            # The vector is there by now; the message itself goes again, since a space may have started anew.
            data = b""
            if now - asked < wait / 2:
                time.sleep(min(PAUSE_SECONDS, end - now))

    def contribute(self, place: Place, envelope: bytes, total_bytes: int, pieces: Iterable[bytes]) -> None:
        """See ``Rounds``."""
        self._hand_in(place, envelope, total_bytes, pieces, shares=False)

    def deal(self, place: Place, total_bytes: int, pieces: Iterable[bytes]) -> None:
        """See ``Rounds``."""
        self._hand_in(place, b"", total_bytes, pieces, shares=True)

    def _hand_in(
        self, place: Place, envelope: bytes, total_bytes: int, pieces: Iterable[bytes], *, shares: bool
    ) -> None:
        header = rounds_pb2.ContributeHeader(
            job=place.job, run=place.run, round=place.round, attempt=place.attempt, envelope=envelope,
            total_bytes=total_bytes, shares=shares,
        )  # fmt: skip

        def chunks() -> Iterator[rounds_pb2.ContributeChunk]:
            yield rounds_pb2.ContributeChunk(first=header)
            for piece in pieces:
                for start in range(0, len(piece), INLINE_BYTES):
                    yield rounds_pb2.ContributeChunk(data=piece[start : start + INLINE_BYTES])

        call(self._stub.Contribute, chunks(), timeout=STREAM_SECONDS)

    def shares(self, place: Place) -> Iterator[tuple[int, bytes]]:
        """See ``Rounds``."""
        for chunk in _stream(self._stub.Shares(_sum_request(place), timeout=STREAM_SECONDS)):
            yield chunk.member, chunk.data

    def sum(self, place: Place) -> Iterator[bytes]:
        """See ``Rounds``."""
        for chunk in _stream(self._stub.Sum(_sum_request(place), timeout=STREAM_SECONDS)):
            yield chunk.data

    def contributions(self, place: Place) -> Iterator[tuple[int, bytes]]:
        """See ``Rounds``."""
        for chunk in _stream(self._stub.Contributions(_sum_request(place), timeout=STREAM_SECONDS)):
            yield chunk.member, chunk.data


def phase_of(word: str) -> Phase:
    """The phase that a message names. Raises InvalidInput."""
    phase = _PHASES.get(word)
    if phase is None:
        raise InvalidInput("There is no such phase of a round.")
    return phase


def _stream(replies: Any) -> Iterator[Any]:
    try:
        yield from replies
    except grpc.RpcError as error:
        raise to_error(error) from None
    finally:
        # Whoever stops reading wants no more of it sent.
        replies.cancel()


def _sum_request(place: Place) -> rounds_pb2.SumRequest:
    return rounds_pb2.SumRequest(job=place.job, run=place.run, round=place.round, attempt=place.attempt)


def _exchanged(reply: rounds_pb2.ExchangeReply) -> Exchanged:
    status = _STATUSES.get(reply.status)
    if status is None:
        raise VerificationFailed("The space answers with a word that this version does not know.")
    return Exchanged(
        status, tuple(reply.envelopes), tuple(reply.missing), reply.data, reply.round, reply.attempt
    )

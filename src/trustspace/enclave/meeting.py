"""How the members of a run speak with each other through the space: signed messages, and what waiting for them is.

The space is believed in nothing: what counts is what a member has signed with the key that the proven ledger names.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from trustspace.domain.rounds import (
    AnyMessage,
    Check,
    Contribution,
    Member,
    MemberSet,
    Message,
    Place,
    Reveal,
    open_message,
    read_message,
    sign_message,
    verify_same,
)
from trustspace.enclave.failure import RoundFailed
from trustspace.errors import TrustspaceError, Unavailable
from trustspace.transport import rounds as wire
from trustspace.transport.rounds import Exchanged

_LOG = logging.getLogger(__name__)
ASK_SECONDS = 5.0
# How much longer than the space a member waits by its own clock: a silent space must not hold it for good.
SLACK_SECONDS = 30.0
Said = TypeVar("Said", Contribution, Check, Reveal)


class AttemptLost(Exception):
    """An attempt that ended before any mask was revealed here: on to another, with fresh secrets."""

    def __init__(self, attempt: int, missing: Iterable[str] = ()) -> None:
        super().__init__(attempt)
        self.attempt = attempt
        self.missing = tuple(missing)


@dataclass(frozen=True)
class Roster:
    """Whose enclaves are in the run, from the proven ledger: (run offer, identity key) by source unit."""

    offers: Mapping[str, tuple[str, bytes]]


@dataclass(frozen=True)
class Identity:
    """This member: its source unit, its run offer, and the enclave's identity key."""

    source_unit: str
    offer: str
    public: bytes
    sign: Callable[[bytes], bytes]


@dataclass(frozen=True)
class Terms:
    """What was agreed for every sum of a run."""

    job: str
    run: str
    minimum: int
    wait_seconds: float
    deadline: float


class Meeting:
    """One member's line to the others."""

    def __init__(
        self, relay: wire.Rounds, identity: Identity, terms: Terms, stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._relay = relay
        self._identity = identity
        self._terms = terms
        self._stop = stop
        self._clock = clock

    def _signed(self, message: Message) -> bytes:
        return sign_message(message, self._identity.public, self._identity.sign)

    def _read(self, envelope: bytes, kind: type[AnyMessage], place: Place) -> AnyMessage:
        try:
            return read_message(envelope, kind, place)
        except TrustspaceError as error:
            raise RoundFailed("disagreement", error.public_message) from None

    def _open(
        self, envelope: bytes, kind: type[AnyMessage], place: Place, key: bytes, unit: str
    ) -> AnyMessage:
        try:
            return open_message(envelope, kind, place, key)
        except TrustspaceError as error:
            raise RoundFailed("disagreement", f"{unit[:12]}: {error.public_message}") from None

    def _all_say(
        self, place: Place, envelopes: tuple[bytes, ...], members: tuple[Member, ...], keys: tuple[bytes, ...],
        kind: type[Said], holds: Callable[[Said], bool], otherwise: str,
    ) -> dict[int, Said]:  # fmt: skip
        """What members said, by position in the set, each signed by that member and saying what it must."""
        said: dict[int, Said] = {}
        for envelope in envelopes:
            claimed = self._read(envelope, kind, place).member
            if claimed >= len(members) or claimed <= max(said, default=-1):
                raise RoundFailed(
                    "disagreement", "The space does not show each member's message once, in order."
                )
            unit = members[claimed].source_unit
            said[claimed] = self._open(envelope, kind, place, keys[claimed], unit)
            if not holds(said[claimed]):
                raise RoundFailed("disagreement", f"{unit[:12]} signed {otherwise}.")
        return said

    def _all_sign(self, message: MemberSet, envelopes: tuple[bytes, ...], keys: tuple[bytes, ...]) -> None:
        """Every member has signed these very bytes."""
        if len(envelopes) != len(keys):
            raise RoundFailed("disagreement", "The space does not show one message of every member.")
        for envelope, key in zip(envelopes, keys, strict=True):
            try:
                verify_same(envelope, message, key)
            except TrustspaceError as error:
                raise RoundFailed("disagreement", error.public_message) from None

    def _exchange(
        self,
        place: Place,
        phase: wire.Phase,
        envelope: bytes,
        data: bytes = b"",
        patience: float | None = None,
    ) -> Exchanged:
        """Say something and wait for everybody's; bounded by the space's deadlines and by this member's own clock."""
        limit = self._terms.wait_seconds if patience is None else patience
        give_up = min(self._clock() + limit + SLACK_SECONDS, self._terms.deadline + SLACK_SECONDS)
        pause = 0.2
        while True:
            if self._stop.is_set():
                raise RoundFailed("stopped", "Stopped.")
            if self._clock() > give_up:
                raise RoundFailed(
                    "left-behind", f"Nothing came of phase {phase} of round {place.round} in time."
                )
            try:
                found = self._relay.exchange(at(place), phase, envelope, data, wait_seconds=ASK_SECONDS)
            except Unavailable as error:
                _LOG.warning("round %d waits for the space: %s", place.round, error)
                self._stop.wait(pause)
                pause = min(pause * 2, 5.0)
                continue
            except TrustspaceError as error:
                raise RoundFailed("host", error.public_message) from None
            if found.status == "complete":
                return found
            if found.status == "waiting":
                continue
            if found.status == "aborted":
                attempt = found.attempt if found.round == place.round else place.attempt + 1
                raise AttemptLost(max(attempt, place.attempt + 1), found.missing)
            if found.status == "stale" and (found.round, found.attempt) > (place.round, place.attempt):
                if found.round == place.round:
                    raise AttemptLost(found.attempt)
                raise RoundFailed("left-behind", "The other members went on without this one.")
            if found.status == "stale":
                raise AttemptLost(place.attempt + 1)  # the space forgot where we were: it was restarted
            reason = "stopped" if found.status == "ended" else "members"
            raise RoundFailed(reason, f"Round {place.round} ended in phase {phase}: {found.status}.")


def at(place: Place) -> wire.Place:
    """The place as the link to the space names it."""
    return wire.Place(place.job, place.run, place.round, place.attempt)


def derive(secret: bytes, info: bytes) -> bytes:
    """32 bytes for one use from a secret of two members (HKDF, RFC 5869)."""
    return HKDF(SHA256(), 32, None, info).derive(secret)


def seal(shared: bytes, use: bytes, sender: int, receiver: int, content: bytes) -> bytes:
    """``content`` for one member's eyes: one message for each pair, use, direction and attempt."""
    # Each under a key of its own, so that the nonce may be constant.
    return AESGCM(_key(shared, use, sender, receiver)).encrypt(bytes(12), content, None)


def unseal(shared: bytes, use: bytes, sender: int, receiver: int, sealed: bytes) -> bytes:
    """What :func:`seal` sealed. Raises cryptography's InvalidTag."""
    return AESGCM(_key(shared, use, sender, receiver)).decrypt(bytes(12), sealed, None)


def _key(shared: bytes, use: bytes, sender: int, receiver: int) -> bytes:
    return derive(shared, b"trustspace round %s v1 %d %d" % (use, sender, receiver))

"""What members of a joint run say to each other in a round: signed, relayed by the space, believed by nobody else.

These are not ledger statements: a round takes milliseconds, and what it did is proven by the members' signed
outputs. Each message is a DSSE envelope by the enclave's identity key and names job, run, round and attempt, so
that none fits another place. (design: flows, "A federated round")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from trustspace.crypto.canonical import canonical_json, parse_canonical, sha256_hex
from trustspace.crypto.statement import Envelope, sign_statement, verify_statement
from trustspace.domain.bodies import Count, Digest, Fingerprint, Hex, Identifier, Key, Positive
from trustspace.domain.statements import LogReference
from trustspace.errors import VerificationFailed

FORMAT: Literal["trustspace-round-v1"] = "trustspace-round-v1"
MAX_MESSAGE_BYTES = 256 << 10


class Place(BaseModel):
    """Where in a run something is said: the attempt of a round of a run of a job."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    job: Digest
    run: Digest
    round: Count
    attempt: Count


class Message(BaseModel):
    """Base of every round message."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    phase: ClassVar[str]
    place: Place

    @property
    def digest(self) -> str:
        """Hex SHA-256 of what is signed, whoever signs it."""
        return sha256_hex(_payload(self))


class Join(Message):
    """A member is here: with its run offer, a key for this attempt, the model it holds, the ledger it has seen.

    ``model`` is a commitment that only members can compare, "" before there is one.
    """

    phase: ClassVar[str] = "join"
    source_unit: Fingerprint
    offer: Digest
    ephemeral: Key
    model: Digest | Literal[""]
    log: LogReference


class Member(BaseModel):
    """One member of a set: its source unit, its run offer and its key for this attempt."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    source_unit: Fingerprint
    offer: Digest
    ephemeral: Key


class MemberSet(Message):
    """Who takes part in an attempt. Everybody signs the same bytes, or nobody sends anything.

    ``needed``: how many members' reveals open a sum; fewer than all only where every grant says so.
    """

    phase: ClassVar[str] = "agree"
    scheme: Identifier
    needed: Count
    minimum: Positive
    members: Annotated[tuple[Member, ...], Field(min_length=1, max_length=256)]
    model: Digest | Literal[""]


Position = Annotated[int, Field(ge=0, le=255)]
Positions = Annotated[tuple[Position, ...], Field(min_length=1, max_length=256)]


class Contribution(Message):
    """The digest of the protected vector that a member sends: ``words`` 32-bit words, little-endian.

    ``member`` is its position in the set. ``reveal`` commits to what it will open the sum with; "" where that hangs on
    who will be in it. ``shares`` are the digests of what it seals to each member, by position,
    so that its vector can be opened without it; empty where nothing is recovered.
    """

    phase: ClassVar[str] = "contribution"
    members: Digest
    member: Position
    vector: Digest
    words: Positive
    reveal: Digest | Literal[""] = ""
    shares: Annotated[tuple[Digest, ...], Field(max_length=256)] = ()


class Check(Message):
    """A member whom the set's digest picked has added everything up again and found the same sum.

    ``included``: the positions of those whose vectors are in it.
    """

    phase: ClassVar[str] = "check"
    members: Digest
    member: Position
    included: Positions
    sum: Digest


class Reveal(Message):
    """What a member opens the sum of ``included`` with. Who has signed one signs none for others in this round.

    ``content`` is sealed under a key that is sealed to each other member (by source unit).
    """

    phase: ClassVar[str] = "reveal"
    members: Digest
    member: Position
    included: Positions
    sum: Digest
    content: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]*={0,2}$", max_length=200_000)]
    sealed: dict[Fingerprint, Hex]


AnyMessage = TypeVar("AnyMessage", bound=Message)


def checkers_of(members: str, count: int, needed: int, included: Sequence[int]) -> tuple[int, ...]:
    """Which of the ``included`` of ``count`` members re-add, as everybody can work out from the set's digest.

    The first of them from the place on that the digest names: one, and one more for each that the sum can lose. Who
    joins last and is shown the others' joins can try keys until it is the one: a checker that works with the space
    can hide an altered sum, which costs the sum and tells nobody anything.
    """
    first = int(members, 16) % count
    in_turn = sorted(included, key=lambda position: (position - first) % count)
    return tuple(in_turn[: 1 + count - needed])


def sign_message(message: Message, public: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """The message in an envelope signed by the enclave's identity key."""
    return sign_statement(_payload(message), public, sign).to_bytes()


def open_message(envelope: bytes, kind: type[AnyMessage], place: Place, public: bytes) -> AnyMessage:
    """A message of this kind, for this place, signed by the holder of ``public``.

    Raises:
        VerificationFailed: it is not.

    """
    message = read_message(envelope, kind, place)
    verify_statement(Envelope.parse(envelope, MAX_MESSAGE_BYTES), public)
    return message


def verify_same(envelope: bytes, message: Message, public: bytes) -> None:
    """Check that an envelope holds exactly this message, signed by the holder of ``public``.

    Raises:
        VerificationFailed: it says something else, or somebody else says it.

    """
    parsed = Envelope.parse(envelope, MAX_MESSAGE_BYTES)
    if parsed.payload != _payload(message):
        raise VerificationFailed("A member signed something else than the others.")
    verify_statement(parsed, public)


def read_message(envelope: bytes, kind: type[AnyMessage], place: Place) -> AnyMessage:
    """What an envelope says, before anybody's signature is checked: who claims to speak, and no more."""
    payload = Envelope.parse(envelope, MAX_MESSAGE_BYTES).payload
    raw: Any = parse_canonical(payload, what="The round message", max_bytes=MAX_MESSAGE_BYTES)
    if not isinstance(raw, dict) or (raw.get("format"), raw.get("phase")) != (FORMAT, kind.phase):
        raise VerificationFailed("The round message is not of phase {phase}.", phase=kind.phase)
    try:
        message = kind.model_validate_json(canonical_json(raw["body"]))
    except (ValidationError, KeyError):
        raise VerificationFailed(
            "The round message of phase {phase} is malformed.", phase=kind.phase
        ) from None
    if message.place != place or _payload(message) != payload:
        raise VerificationFailed("The round message is of another round.")
    return message


def _payload(message: Message) -> bytes:
    return canonical_json({"format": FORMAT, "phase": message.phase, "body": message.model_dump(mode="json")})

"""One member's side of secure sums: who takes part, what is sent, when a mask is revealed, and when nothing is.

The space relays and adds; it is believed in nothing. Keys come from run offers that were proven in the ledger,
the member set counts when every member has signed the same bytes, the sum when a member whom the set's digest picks
has added it up again, and a mask is revealed once for a round, durably noted before. (design: flows, "A federated
round"; double masking: Bonawitz et al., "Practical Secure Aggregation", CCS 2017, here n of n)
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from trustspace.aggregation.scheme import Protection, Scheme, add_into
from trustspace.domain.rounds import (
    AnyMessage,
    Check,
    Contribution,
    Join,
    Member,
    MemberSet,
    Place,
    Reveal,
    open_message,
    picked,
    read_message,
    sign_message,
    verify_same,
)
from trustspace.domain.statements import LogReference
from trustspace.errors import (
    InvalidTransition,
    LogCorrupted,
    Stale,
    TrustspaceError,
    Unavailable,
    VerificationFailed,
)
from trustspace.storage.files import append_line
from trustspace.transport import rounds as wire
from trustspace.transport.rounds import INLINE_BYTES, Exchanged

_LOG = logging.getLogger(__name__)
PIECE_WORDS = 1 << 18
MAX_ATTEMPTS = 16
ASK_SECONDS = 5.0
# How much longer than the space a member waits by its own clock: a silent space must not hold it for good.
SLACK_SECONDS = 30.0
SLOWEST_BYTES_PER_SECOND = 4 << 20
_SEED_BYTES = 32
NOTE_BYTES = 16
# How often what the space has is fetched from the beginning, before the attempt is given up.
FETCHES = 5
Words = NDArray[np.uint32]
_Fetched = TypeVar("_Fetched")


class RoundFailed(Exception):
    """This member's part in the run is over; ``reason`` is one of the ledger's words, ``log`` for its own people."""

    def __init__(self, reason: str, log: str) -> None:
        super().__init__(log)
        self.reason = reason
        self.log = log


class _Lost(Exception):
    """An attempt that ended before any mask was revealed here: on to another, with fresh secrets."""

    def __init__(self, attempt: int, missing: Iterable[str] = ()) -> None:
        super().__init__(attempt)
        self.attempt = attempt
        self.missing = tuple(missing)


class Vector(Protocol):
    """What a member adds to a sum: ``words`` 32-bit words, in pieces, the same ones as often as it is asked."""

    @property
    def words(self) -> int: ...
    def pieces(self) -> Iterator[Words]: ...


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


class Journal:
    """Which sets this enclave has revealed masks for, in a file that outlives it: one line for each reveal.

    Two sums of one round over different sets could be subtracted from each other; so a source unit that has
    revealed for one set never joins another in that round, in this run or in a later one of the same job.
    """

    def __init__(self, directory: Path, job: str) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
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

    def check(self, place: Place, units: tuple[str, ...]) -> None:
        """Raise RoundFailed when a mask was revealed in this round that this set must not add to."""
        before = self._revealed.get(place.round)
        if before is None or (before[2] == units and before[0] != place.run):
            return
        raise RoundFailed("left-behind", f"A mask was revealed in round {place.round} already.")

    def note(self, place: Place, units: tuple[str, ...]) -> None:
        """Remember a reveal, durably, before it is sent."""
        entry = {"round": place.round, "run": place.run, "attempt": place.attempt, "units": list(units)}
        append_line(self._path, json.dumps(entry).encode())
        self._revealed[place.round] = (place.run, place.attempt, units)


@dataclass
class Sum:
    """An opened sum: the members' units, a secret that exactly they share, what each told the others, the words."""

    members: tuple[str, ...]
    secret: bytes
    words: Words
    notes: tuple[bytes, ...]
    attempts: int
    record: dict[str, object] = field(default_factory=dict)


@dataclass
class _Group:
    """An agreed set, and this member's secrets in it."""

    place: Place
    members: tuple[Member, ...]
    keys: tuple[bytes, ...]
    own: int
    digest: str
    shared: dict[int, bytes]
    protection: Protection
    envelopes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(m.source_unit for m in self.members)

    def destroy(self) -> None:
        """Forget everything that protects this attempt."""
        self.shared.clear()
        self.protection.destroy()


class Rounds:
    """The rounds of one run, one after another."""

    def __init__(
        self, relay: wire.Rounds, identity: Identity, terms: Terms, roster: Callable[[bool], Roster], journal: Journal,
        scheme: Scheme, log: Callable[[], LogReference], compare: Callable[[LogReference], None],
        stop: threading.Event, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._relay = relay
        self._identity = identity
        self._terms = terms
        self._roster = roster
        self._journal = journal
        self._scheme = scheme
        self._log = log
        self._compare = compare
        self._stop = stop
        self._clock = clock
        # Run offers whose enclaves are known to be shown the same ledger.
        self._compared: set[str] = set()

    @property
    def scheme(self) -> str:
        """How vectors are protected, by name."""
        return self._scheme.name

    def sum(
        self, number: int, model: str, produce: Callable[[], Vector], note: bytes = bytes(NOTE_BYTES)
    ) -> Sum:
        """Add up what every member produces in round ``number``; ``produce`` is called once, when a set is agreed.

        ``model`` is the commitment of what this member has computed so far: all must name the same. ``note``
        (16 bytes) is told to the other members alone.

        Raises:
            RoundFailed: too few members, somebody lost after a reveal, or somebody who is not honest.

        """
        vector: Vector | None = None
        attempt, tries = 1, 0
        while True:
            tries += 1
            if tries > MAX_ATTEMPTS:
                raise RoundFailed(
                    "members", f"Round {number} found no set of members in {MAX_ATTEMPTS} attempts."
                )
            group: _Group | None = None
            try:
                group = self._agree(number, attempt, model)
                if vector is None:
                    vector = produce()
                return self._add(group, vector, tries, note)
            except _Lost as lost:
                _LOG.info("round %d goes on to attempt %d without %s", number, lost.attempt,
                          ", ".join(unit[:12] for unit in lost.missing) or "a set")  # fmt: skip
                attempt = lost.attempt
            finally:
                if group is not None:
                    group.destroy()

    # -- a set of members

    def _agree(self, number: int, attempt: int, model: str) -> _Group:
        place = Place(job=self._terms.job, run=self._terms.run, round=number, attempt=attempt)
        ephemeral = X25519PrivateKey.generate()
        me = self._identity
        join = Join(
            place=place, source_unit=me.source_unit, offer=me.offer,
            ephemeral=ephemeral.public_key().public_bytes_raw().hex(), model=model, log=self._log(),
        )  # fmt: skip
        found = self._exchange(place, "join", self._signed(join), patience=2 * self._terms.wait_seconds)
        joins, keys = self._joins(place, found.envelopes)
        own = next((i for i, j in enumerate(joins) if j == join), None)
        if own is None:
            raise RoundFailed("disagreement", "The space left this member out of a set that it joined.")
        if len(joins) < self._terms.minimum:
            raise RoundFailed("disagreement", f"The space announced {len(joins)} members, fewer than agreed.")
        if any(j.model != model for j in joins):
            raise RoundFailed(
                "disagreement", f"The members do not hold the same model before round {number}."
            )
        try:
            self._same_ledger(j for j in joins if j != join)
        except Unavailable as error:
            raise _Lost(attempt + 1) from error
        units = tuple(j.source_unit for j in joins)
        # Nothing is signed for a set that could be subtracted from one that was opened before.
        self._journal.check(place, units)
        agreed = MemberSet(
            place=place, scheme=self._scheme.name, minimum=self._terms.minimum, model=model,
            members=tuple(Member(source_unit=j.source_unit, offer=j.offer, ephemeral=j.ephemeral) for j in joins),
        )  # fmt: skip
        signed = self._exchange(place, "agree", self._signed(agreed))
        self._all_sign(agreed, signed.envelopes, keys)
        context = bytes.fromhex(agreed.digest)
        shared = {i: self._shared(ephemeral, j, context) for i, j in enumerate(joins) if i != own}
        secrets = {i: _derive(value, b"trustspace round mask v1") for i, value in shared.items()}
        return _Group(
            place, agreed.members, keys, own, agreed.digest, shared,
            self._scheme.begin(own, secrets, context),
            {"agree": [e.decode() for e in signed.envelopes]},
        )  # fmt: skip

    def _joins(self, place: Place, envelopes: Iterable[bytes]) -> tuple[list[Join], tuple[bytes, ...]]:
        """The joins that the space announces, each signed by the enclave of a run offer in the proven ledger."""
        joins, keys = [], []
        roster = self._roster(False)
        for envelope in envelopes:
            claimed = self._read(envelope, Join, place)
            known = roster.offers.get(claimed.source_unit)
            if known is None or known[0] != claimed.offer:
                try:
                    roster = self._roster(True)
                except Unavailable as error:
                    # Away for a moment: that costs an attempt, not this member's part in the run.
                    raise _Lost(place.attempt + 1) from error
                known = roster.offers.get(claimed.source_unit)
            if known is None or known[0] != claimed.offer:
                raise RoundFailed(
                    "disagreement", "The space announced a member without a run offer in the ledger."
                )
            joins.append(self._open(envelope, Join, place, known[1], claimed.source_unit))
            keys.append(known[1])
        units = [j.source_unit for j in joins]
        if units != sorted(set(units)):
            raise RoundFailed("disagreement", "The space announced a member twice, or out of order.")
        return joins, tuple(keys)

    def _same_ledger(self, joins: Iterable[Join]) -> None:
        """Compare ledgers with every enclave once: at the beginning, and with one that came back when it does."""
        for other in joins:
            if other.offer in self._compared:
                continue
            try:
                self._compare(other.log)
            except (LogCorrupted, Stale, VerificationFailed) as error:
                raise RoundFailed("disagreement", error.public_message) from None
            self._compared.add(other.offer)

    def _shared(self, ephemeral: X25519PrivateKey, other: Join, context: bytes) -> bytes:
        try:
            secret = ephemeral.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(other.ephemeral)))
        except ValueError:
            raise RoundFailed("disagreement", f"The key of {other.source_unit[:12]} is unusable.") from None
        return _derive(secret, b"trustspace round pair v1" + context)

    # -- a sum over it

    def _add(self, group: _Group, vector: Vector, attempts: int, note: bytes) -> Sum:
        own_digest = self._contribute(group, vector)
        contribution = Contribution(
            place=group.place, members=group.digest, vector=own_digest[0], words=vector.words
        )
        inline = own_digest[1]
        found = self._exchange(
            group.place, "contribution", self._signed(contribution), inline,
            patience=max(self._terms.deadline - self._clock(), 0.0),
        )  # fmt: skip
        contributions = self._all_say(
            group.place, found.envelopes, group.keys, Contribution,
            lambda said: (said.members, said.words) == (group.digest, vector.words),
            "a vector of another set or length",
        )  # fmt: skip
        if contributions[group.own] != contribution:
            raise RoundFailed("disagreement", "The space shows another contribution than was sent.")
        group.envelopes["contribution"] = [e.decode() for e in found.envelopes]
        total, digest = self._sum(group, contributions, found.data)
        self._checked(group, contributions, digest)
        patience = self._patience(group, contributions)
        seeds, secret, notes = self._reveal(group, digest, note, patience)
        for start in range(0, vector.words, PIECE_WORDS):
            piece = total[start : start + PIECE_WORDS]
            piece[:] = group.protection.open(start, piece, seeds)
        record = {
            "round": group.place.round, "attempt": group.place.attempt, "members": list(group.units),
            "set": group.digest, "sum": digest, **group.envelopes,
        }  # fmt: skip
        return Sum(group.units, secret, total, notes, attempts, record)

    def _contribute(self, group: _Group, vector: Vector) -> tuple[str, bytes]:
        """Protect and send, piece by piece; returns the digest of what was sent, and small vectors themselves."""
        hashed = hashlib.sha256()

        def pieces() -> Iterator[bytes]:
            start = 0
            for piece in vector.pieces():
                protected = group.protection.protect(start, piece).astype("<u4", copy=False).tobytes()
                hashed.update(protected)
                start += len(piece)
                yield protected
            if start != vector.words:
                raise InvalidTransition("A vector gave another number of words than it said.")

        if vector.words * 4 <= INLINE_BYTES:
            inline = b"".join(pieces())
            return hashed.hexdigest(), inline
        own: list[Exception] = []

        def sent() -> Iterator[bytes]:
            try:
                yield from pieces()
            except Exception as error:
                own.append(error)
                raise

        try:
            self._relay.contribute(_at(group.place), b"", vector.words * 4, sent())
        except TrustspaceError as error:
            if own:
                # The wire knows only that the stream broke off; why is this member's to say.
                raise own[0] from None
            if not isinstance(error, Stale | Unavailable):
                raise
            # What was sent may have arrived or not: it is protected by secrets of this attempt alone.
            raise _Lost(group.place.attempt + 1) from error
        return hashed.hexdigest(), b""

    def _again(self, fetch: Callable[[], _Fetched]) -> _Fetched:
        """What ``fetch`` gives, from its beginning again where the line breaks.

        To give the attempt up for that could cost everybody the run: somebody may have revealed meanwhile.
        """
        pause = 0.2
        for _ in range(FETCHES - 1):
            try:
                return fetch()
            except _Lost as lost:
                if not isinstance(lost.__cause__, Unavailable):
                    raise
            if self._stop.wait(pause):
                raise RoundFailed("stopped", "Stopped.")
            pause *= 2
        return fetch()

    def _total(self, group: _Group, words: int, inline: bytes) -> tuple[Words, str]:
        """The space's sum, whole, and its digest; still under everybody's private mask."""
        total = np.empty(words, dtype=np.uint32)
        raw = total.view(np.uint8).data
        hashed = hashlib.sha256()
        at = 0
        for piece in [inline] if words * 4 <= INLINE_BYTES else self._pieces(group):
            if at + len(piece) > len(raw):
                raise RoundFailed("disagreement", "The space's sum is longer than it must be.")
            raw[at : at + len(piece)] = piece
            hashed.update(piece)
            at += len(piece)
        if at != len(raw):
            raise RoundFailed("disagreement", "The space's sum is shorter than it must be.")
        return total, hashed.hexdigest()

    def _pieces(self, group: _Group) -> Iterator[bytes]:
        try:
            yield from self._relay.sum(_at(group.place))
        except (Stale, Unavailable) as error:
            raise _Lost(group.place.attempt + 1) from error

    def _patience(self, group: _Group, contributions: list[Contribution]) -> float:
        """How long others may need to fetch what there is to fetch: the sum and, to check it, every vector."""
        fetched = 4 * contributions[0].words * (len(group.members) + 1)
        return self._terms.wait_seconds + fetched / SLOWEST_BYTES_PER_SECOND

    def _sum(self, group: _Group, contributions: list[Contribution], inline: bytes) -> tuple[Words, str]:
        """The sum and its digest: from the space or, for the member that checks it, from the contributions."""
        words = contributions[group.own].words
        if picked(group.digest, len(group.members)) != group.own:
            return self._again(lambda: self._total(group, words, inline))
        total, digest = self._again(lambda: self._added_up(group, contributions, words))
        if words * 4 <= INLINE_BYTES and hashlib.sha256(inline).hexdigest() != digest:
            raise RoundFailed("disagreement", "The space's sum is not that of what the members sent.")
        return total, digest

    def _checked(self, group: _Group, contributions: list[Contribution], digest: str) -> None:
        """One member adds everything up again; nobody opens a sum that it does not vouch for."""
        checker = picked(group.digest, len(group.members))
        envelope = b""
        if checker == group.own:
            envelope = self._signed(Check(place=group.place, members=group.digest, sum=digest))
        found = self._exchange(group.place, "check", envelope, patience=self._patience(group, contributions))
        if len(found.envelopes) != 1:
            raise RoundFailed("disagreement", "The space shows no single check of the sum.")
        check = self._open(found.envelopes[0], Check, group.place, group.keys[checker], group.units[checker])
        if (check.members, check.sum) != (group.digest, digest):
            raise RoundFailed("disagreement", "The member that checked the sum found another one.")
        group.envelopes["check"] = [found.envelopes[0].decode()]

    def _added_up(self, group: _Group, contributions: list[Contribution], words: int) -> tuple[Words, str]:
        """The sum of the contributions, each of which must be what its member signed, and its digest."""
        hashes = [hashlib.sha256() for _ in group.members]
        total, total_hash, at = np.empty(words, dtype=np.uint32), hashlib.sha256(), 0
        row: list[bytes] = []
        for member, piece in self._contributions(group):
            if member != len(row):
                raise RoundFailed("disagreement", "The space shows the contributions out of order.")
            hashes[member].update(piece)
            row.append(piece)
            if len(row) == len(group.members):
                size = len(row[0]) // 4
                if len({len(p) for p in row}) != 1 or len(row[0]) % 4 or at + size > words:
                    raise RoundFailed("disagreement", "The space shows contributions of different lengths.")
                here = total[at : at + size]
                here[:] = np.frombuffer(row[0], dtype="<u4")
                for other in row[1:]:
                    add_into(here, np.frombuffer(other, dtype="<u4"))
                total_hash.update(here.view(np.uint8).data)
                at += size
                row = []
        for unit, hashed, said in zip(group.units, hashes, contributions, strict=True):
            if row or hashed.hexdigest() != said.vector:
                raise RoundFailed("disagreement", f"The contribution of {unit[:12]} is not what it signed.")
        if at != words:
            raise RoundFailed("disagreement", "The space shows contributions of different lengths.")
        return total, total_hash.hexdigest()

    def _contributions(self, group: _Group) -> Iterator[tuple[int, bytes]]:
        try:
            yield from self._relay.contributions(_at(group.place))
        except (Stale, Unavailable) as error:
            raise _Lost(group.place.attempt + 1) from error

    # -- opening it

    def _reveal(
        self, group: _Group, digest: str, note: bytes, patience: float
    ) -> tuple[dict[int, bytes], bytes, tuple[bytes, ...]]:
        """Hand the seed of the private mask to the members, once, and take theirs.

        Returns the seeds, a secret that exactly the members share, and their notes.
        """
        if self._stop.is_set():
            raise RoundFailed("stopped", "Stopped before the sum was opened.")
        self._journal.note(group.place, group.units)
        mine = group.protection.reveal() + os.urandom(_SEED_BYTES) + note
        sealed = {
            group.units[i]: _seal(shared, group.own, i, mine).hex() for i, shared in group.shared.items()
        }
        message = Reveal(place=group.place, members=group.digest, sum=digest, sealed=sealed)
        try:
            found = self._exchange(group.place, "reveal", self._signed(message), patience=patience)
        except _Lost as lost:
            raise RoundFailed("left-behind", "A member was lost after the first mask was revealed.") from lost
        said = self._all_say(
            group.place, found.envelopes, group.keys, Reveal,
            lambda r: (r.members, r.sum) == (group.digest, digest), "a reveal for another sum",
        )  # fmt: skip
        opened = {group.own: mine}
        for i, reveal in enumerate(said):
            if i != group.own:
                opened[i] = self._opened(group, i, reveal)
        secret = hashlib.sha256(b"trustspace round secret v1" + bytes.fromhex(group.digest))
        for i in range(len(group.members)):
            secret.update(opened[i][_SEED_BYTES : 2 * _SEED_BYTES])
        notes = tuple(opened[i][2 * _SEED_BYTES :] for i in range(len(group.members)))
        return {i: value[:_SEED_BYTES] for i, value in opened.items()}, secret.digest(), notes

    def _opened(self, group: _Group, member: int, reveal: Reveal) -> bytes:
        try:
            sealed = bytes.fromhex(reveal.sealed[self._identity.source_unit])
            value = _open(group.shared[member], member, group.own, sealed)
        except (KeyError, InvalidTag):
            value = b""
        if len(value) != 2 * _SEED_BYTES + NOTE_BYTES:
            raise RoundFailed("disagreement", f"{group.units[member][:12]} revealed nothing that opens.")
        return value

    # -- messages

    def _signed(self, message: Join | MemberSet | Contribution | Check | Reveal) -> bytes:
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
        self, place: Place, envelopes: tuple[bytes, ...], keys: tuple[bytes, ...], kind: type[AnyMessage],
        holds: Callable[[AnyMessage], bool], otherwise: str,
    ) -> list[AnyMessage]:  # fmt: skip
        """One message of every member, in the set's order, each signed by that member and saying what it must."""
        if len(envelopes) != len(keys):
            raise RoundFailed("disagreement", "The space does not show one message of every member.")
        said = [self._open(e, kind, place, key, "a member") for e, key in zip(envelopes, keys, strict=True)]
        if not all(holds(message) for message in said):
            raise RoundFailed("disagreement", f"A member signed {otherwise}.")
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
                found = self._relay.exchange(_at(place), phase, envelope, data, wait_seconds=ASK_SECONDS)
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
                raise _Lost(max(attempt, place.attempt + 1), found.missing)
            if found.status == "stale" and (found.round, found.attempt) > (place.round, place.attempt):
                if found.round == place.round:
                    raise _Lost(found.attempt)
                raise RoundFailed("left-behind", "The other members went on without this one.")
            if found.status == "stale":
                raise _Lost(place.attempt + 1)  # the space forgot where we were: it was restarted
            reason = "stopped" if found.status == "ended" else "members"
            raise RoundFailed(reason, f"Round {place.round} ended in phase {phase}: {found.status}.")


def _at(place: Place) -> wire.Place:
    return wire.Place(place.job, place.run, place.round, place.attempt)


def _derive(secret: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, None, info).derive(secret)


def _seal(shared: bytes, sender: int, receiver: int, content: bytes) -> bytes:
    # One message for each pair, direction and attempt, under a key of its own: the nonce may be constant.
    key = _derive(shared, b"trustspace round reveal v1 %d %d" % (sender, receiver))
    return AESGCM(key).encrypt(bytes(12), content, None)


def _open(shared: bytes, sender: int, receiver: int, sealed: bytes) -> bytes:
    key = _derive(shared, b"trustspace round reveal v1 %d %d" % (sender, receiver))
    return AESGCM(key).decrypt(bytes(12), sealed, None)

"""One member's side of secure sums: who takes part, what is sent, when a sum is opened, and when nothing is.

The space relays and adds; it is believed in nothing. Keys come from run offers that were proven in the ledger,
the member set counts when every member has signed the same bytes, the sum when a member whom the set's digest picks
has added it up again, and what opens it is revealed once for a round, durably noted before. Where the scheme can
open a sum without some of its members, each has sealed shares for that to all before its vector counts.
(design: flows, "A federated round"; double masking and recovery: Bonawitz et al., "Practical Secure Aggregation",
CCS 2017)
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trustspace.aggregation.scheme import Protection, Scheme, commitment_of
from trustspace.domain.rounds import (
    Check,
    Contribution,
    Join,
    Member,
    MemberSet,
    Place,
    Reveal,
    checkers_of,
)
from trustspace.domain.statements import LogReference
from trustspace.enclave.chunks import Outgoing, Words, in_blocks, padded
from trustspace.enclave.failure import RoundFailed
from trustspace.enclave.journal import Journal
from trustspace.enclave.meeting import (
    AttemptLost,
    Identity,
    Meeting,
    Roster,
    Terms,
    at,
    derive,
    seal,
    unseal,
)
from trustspace.enclave.sums import Kept, Opened, Sum, added_up, received
from trustspace.errors import (
    InvalidTransition,
    LogCorrupted,
    Stale,
    TrustspaceError,
    Unavailable,
    VerificationFailed,
)
from trustspace.transport import rounds as wire
from trustspace.transport.rounds import INLINE_BYTES

_LOG = logging.getLogger(__name__)
MAX_ATTEMPTS = 16
SLOWEST_BYTES_PER_SECOND = 4 << 20
_RANDOM_BYTES = 32
NOTE_BYTES = 16
# How often what the space has is fetched from the beginning, before the attempt is given up.
FETCHES = 5
_Fetched = TypeVar("_Fetched")


class Vector(Protocol):
    """What a member adds to a sum: ``words`` 32-bit words, in pieces, the same ones as often as it is asked."""

    @property
    def words(self) -> int: ...
    def pieces(self) -> Iterator[Words]: ...


@dataclass
class _Group:
    """An agreed set, and this member's secrets in it. ``included``: positions of those whose vectors are in the sum."""

    place: Place
    members: tuple[Member, ...]
    keys: tuple[bytes, ...]
    own: int
    digest: str
    needed: int
    shared: dict[int, bytes]
    protection: Protection
    included: tuple[int, ...] = ()
    envelopes: dict[str, list[str]] = field(default_factory=dict)
    total: Kept | None = None

    @property
    def units(self) -> tuple[str, ...]:
        """The source units whose vectors are in the sum."""
        return tuple(self.members[i].source_unit for i in self.included)

    @property
    def everybody(self) -> range:
        """Every position in the set."""
        return range(len(self.members))

    @property
    def can_lose(self) -> bool:
        """Whether the sum can be opened without some of the members."""
        return self.needed < len(self.members)

    @property
    def checkers(self) -> tuple[int, ...]:
        """Who adds the sum up again: one member, and as many more as the sum can lose."""
        return checkers_of(self.digest, len(self.members), self.needed, self.included)

    def destroy(self) -> None:
        """Forget everything that protects this attempt."""
        self.shared.clear()
        self.protection.destroy()
        if self.total is not None:
            self.total.close()


class Rounds(Meeting):
    """The rounds of one run, one after another."""

    def __init__(
        self, relay: wire.Rounds, identity: Identity, terms: Terms, roster: Callable[[bool], Roster], journal: Journal,
        scheme: Scheme, log: Callable[[], LogReference], compare: Callable[[LogReference], None],
        stop: threading.Event, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        super().__init__(relay, identity, terms, stop, clock)
        self._roster = roster
        self._journal = journal
        self.scheme = scheme
        self._log = log
        self._compare = compare
        # Run offers whose enclaves are known to be shown the same ledger.
        self._compared: set[str] = set()

    def sum(
        self, number: int, model: str, produce: Callable[[], Vector], note: bytes = bytes(NOTE_BYTES)
    ) -> Sum:
        """Add up what every member produces in round ``number``; ``produce`` is called once, when a set is agreed.

        ``model`` is the commitment of what this member has computed so far: all must name the same. ``note``
        (16 bytes) is told to the other members alone. A large sum is opened while it is used: it is to be closed.

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
                found = self._add(group, vector, tries, note)
                if isinstance(found.content, Opened):
                    group = None  # it is forgotten when the sum is closed
                return found
            except AttemptLost as lost:
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
        needed = self.scheme.needed(len(joins))
        if len(joins) < max(self._terms.minimum, needed):
            raise RoundFailed("disagreement", f"The space announced {len(joins)} members, fewer than agreed.")
        if any(j.model != model for j in joins):
            raise RoundFailed(
                "disagreement", f"The members do not hold the same model before round {number}."
            )
        try:
            self._same_ledger(j for j in joins if j != join)
        except Unavailable as error:
            raise AttemptLost(attempt + 1) from error
        # Nothing is signed for a set that could be subtracted from one that was opened before.
        self._journal.check(place, [j.source_unit for j in joins], some=needed < len(joins))
        agreed = MemberSet(
            place=place, scheme=self.scheme.name, needed=needed, minimum=self._terms.minimum, model=model,
            members=tuple(Member(source_unit=j.source_unit, offer=j.offer, ephemeral=j.ephemeral) for j in joins),
        )  # fmt: skip
        signed = self._exchange(place, "agree", self._signed(agreed))
        self._all_sign(agreed, signed.envelopes, keys)
        context = bytes.fromhex(agreed.digest)
        shared = {i: self._shared(ephemeral, j, context) for i, j in enumerate(joins) if i != own}
        secrets = {i: derive(value, b"trustspace round mask v1") for i, value in shared.items()}
        return _Group(
            place, agreed.members, keys, own, agreed.digest, needed, shared, self.scheme.begin(own, secrets, context),
            envelopes={"agree": [e.decode() for e in signed.envelopes]},
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
                    raise AttemptLost(place.attempt + 1) from error
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
        return derive(secret, b"trustspace round pair v1" + context)

    # -- a sum over it

    def _add(self, group: _Group, vector: Vector, attempts: int, note: bytes) -> Sum:
        # Where nobody can commit beforehand to what it reveals, nobody may be able to steer a sum of a single block:
        # also in a set that has become so small that all of it is needed.
        sample = (1 if group.protection.commitment() else 2) * self.scheme.block
        words = padded(vector.words, self.scheme.block, sample // self.scheme.block)
        shares = self._deal(group)
        digest, inline = self._contribute(group, vector, words)
        contribution = Contribution(
            place=group.place, members=group.digest, member=group.own, vector=digest, words=words,
            reveal=group.protection.commitment().hex(), shares=shares,
        )  # fmt: skip
        found = self._exchange(
            group.place, "contribution", self._signed(contribution), inline,
            patience=max(self._terms.deadline - self._clock(), 0.0),
        )  # fmt: skip
        dealt = len(group.members) if shares else 0
        committed = bool(contribution.reveal)
        contributions = self._all_say(
            group.place, found.envelopes, group.members, group.keys, Contribution,
            lambda said: (said.members, said.words, len(said.shares), bool(said.reveal))
            == (group.digest, words, dealt, committed),
            "a vector of another set or length",
        )  # fmt: skip
        if contributions.get(group.own) != contribution:
            raise RoundFailed("disagreement", "The space shows another contribution than was sent.")
        self._require_enough(group, contributions, "contributions")
        group.included = tuple(contributions)
        group.envelopes["contribution"] = [e.decode() for e in found.envelopes]
        digest = self._sum(group, contributions, found.data)
        assert group.total is not None
        patience = self._patience(group, words)
        self._checked(group, digest, patience)
        payloads, secret, notes, openers = self._reveal(group, digest, note, patience, contributions)
        try:
            false = group.protection.unlock(group.included, payloads, group.total.read(0)[:sample])
        except VerificationFailed as error:
            raise RoundFailed("disagreement", error.public_message) from None
        for position in false:
            # The sum stands without it: whoever reads the transcript learns who it was.
            _LOG.warning("round %d: %s revealed falsely", group.place.round, self._name(group, position))
        record: dict[str, object] = {
            "round": group.place.round, "attempt": group.place.attempt, "members": list(group.units),
            "set": group.digest, "sum": digest, **group.envelopes,
        }  # fmt: skip
        if false:
            record["false"] = [group.members[position].source_unit for position in false]
        opened = Opened(group.total, group.protection, vector.words, group.destroy)
        content = opened if group.total.is_large else opened[:]
        return Sum(group.units, secret, content, notes, attempts, record, openers)

    def _require_enough(self, group: _Group, said: Iterable[int], what: str) -> None:
        """Everybody's, unless the scheme can do without some: then as many as it needs, and as were agreed at least."""
        count = len(set(said))
        least = max(group.needed, self._terms.minimum) if group.can_lose else len(group.members)
        if count < least:
            raise RoundFailed("disagreement", f"The space shows {count} {what}, fewer than agreed.")

    @staticmethod
    def _name(group: _Group, position: int) -> str:
        return group.members[position].source_unit[:12]

    def _deal(self, group: _Group) -> tuple[str, ...]:
        """Hand in what each member needs to open the sum without this one; the digest of each, by position."""
        shares = group.protection.shares()
        if not shares:
            return ()
        sealed = [
            # Its own share never leaves it: noise stands in its place.
            os.urandom(len(shares[i]) + 16) if i == group.own
            else seal(group.shared[i], b"share", group.own, i, shares[i])
            for i in group.everybody
        ]  # fmt: skip
        try:
            self._relay.deal(at(group.place), sum(map(len, sealed)), sealed)
        except (Stale, Unavailable) as error:
            raise AttemptLost(group.place.attempt + 1) from error
        except TrustspaceError as error:
            raise RoundFailed("host", error.public_message) from None
        return tuple(hashlib.sha256(share).hexdigest() for share in sealed)

    def _contribute(self, group: _Group, vector: Vector, words: int) -> tuple[str, bytes]:
        """Protect and send, piece by piece; returns the digest of what was sent, and small vectors themselves."""
        hashed = hashlib.sha256()

        def pieces() -> Iterator[bytes]:
            start = 0
            for piece in in_blocks(vector.pieces(), self.scheme.block, words):
                protected = group.protection.protect(start, piece).astype("<u4", copy=False).tobytes()
                hashed.update(protected)
                start += len(piece)
                yield protected
            if start != words:
                raise InvalidTransition("A vector gave another number of words than it said.")

        if words * 4 <= INLINE_BYTES:
            inline = b"".join(pieces())
            return hashed.hexdigest(), inline
        sent = Outgoing(pieces())
        try:
            self._relay.contribute(at(group.place), b"", words * 4, sent)
        except TrustspaceError as error:
            if sent.error is not None:
                # The wire knows only that the stream broke off; why is this member's to say.
                raise sent.error from None
            if not isinstance(error, Stale | Unavailable):
                raise
            # What was sent may have arrived or not: it is protected by secrets of this attempt alone.
            raise AttemptLost(group.place.attempt + 1) from error
        finally:
            sent.close()
        return hashed.hexdigest(), b""

    def _again(self, fetch: Callable[[], _Fetched]) -> _Fetched:
        """What ``fetch`` gives, from its beginning again where the line breaks.

        To give the attempt up for that could cost everybody the run: somebody may have revealed meanwhile.
        """
        pause = 0.2
        for _ in range(FETCHES - 1):
            try:
                return fetch()
            except AttemptLost as lost:
                if not isinstance(lost.__cause__, Unavailable):
                    raise
            if self._stop.wait(pause):
                raise RoundFailed("stopped", "Stopped.")
            pause *= 2
        return fetch()

    def _fetched(
        self, group: _Group, pieces: Callable[[wire.Place], Iterator[_Fetched]]
    ) -> Iterator[_Fetched]:
        try:
            yield from pieces(at(group.place))
        except (Stale, Unavailable) as error:
            raise AttemptLost(group.place.attempt + 1) from error

    def _patience(self, group: _Group, words: int) -> float:
        """How long others may need to fetch what there is to fetch: the sum and, to check it, every vector."""
        fetched = 4 * words * (len(group.included) + 1)
        return self._terms.wait_seconds + fetched / SLOWEST_BYTES_PER_SECOND

    def _sum(self, group: _Group, contributions: dict[int, Contribution], inline: bytes) -> str:
        """Keep the sum, from the space or, for the member that checks it, from the contributions; its digest."""
        kept = self._kept(group, contributions)
        if group.own not in group.checkers:
            if not kept.is_large:
                return received([inline], kept)
            return self._again(lambda: received(self._fetched(group, self._relay.sum), kept))
        digest = self._again(
            lambda: added_up(
                self._fetched(group, self._relay.contributions), contributions, kept, self.scheme
            )
        )
        if not kept.is_large and hashlib.sha256(inline).hexdigest() != digest:
            raise RoundFailed("disagreement", "The space's sum is not that of what the members sent.")
        return digest

    def _kept(self, group: _Group, contributions: dict[int, Contribution]) -> Kept:
        group.total = Kept(contributions[group.own].words, self.scheme.block, self._journal.directory)
        return group.total

    def _checked(self, group: _Group, digest: str, patience: float) -> None:
        """One member adds everything up again; nobody opens a sum that it does not vouch for."""
        envelope = b""
        if group.own in group.checkers:
            envelope = self._signed(
                Check(
                    place=group.place,
                    members=group.digest,
                    member=group.own,
                    included=group.included,
                    sum=digest,
                )
            )
        found = self._exchange(group.place, "check", envelope, patience=patience)
        if len(found.envelopes) != 1:
            raise RoundFailed("disagreement", "The space shows no single check of the sum.")
        (checker, check), *_ = self._all_say(
            group.place, found.envelopes, group.members, group.keys, Check,
            lambda said: said.member in group.checkers, "a check that is not its to make",
        ).items()  # fmt: skip
        if (check.members, check.included, check.sum) != (group.digest, group.included, digest):
            raise RoundFailed("disagreement", f"{self._name(group, checker)} added up and found another sum.")
        group.envelopes["check"] = [found.envelopes[0].decode()]

    # -- opening it

    def _reveal(
        self, group: _Group, digest: str, note: bytes, patience: float, contributions: dict[int, Contribution]
    ) -> tuple[dict[int, bytes], bytes, tuple[bytes, ...], tuple[str, ...]]:
        """Hand the members what this one opens the sum with, once, and take theirs.

        Returns what they revealed by position, a secret that exactly they share, their notes, and their units.
        """
        if self._stop.is_set():
            raise RoundFailed("stopped", "Stopped before the sum was opened.")
        shares = self._shares(group, contributions)
        self._journal.check(group.place, group.units)
        self._journal.note(group.place, group.units)
        try:
            own = group.protection.reveal(group.included, shares)
        except VerificationFailed as error:
            if not group.can_lose:
                raise RoundFailed("disagreement", error.public_message) from None
            # Somebody's share is not of its secret. The others may still open the sum, for this member too.
            _LOG.warning("round %d: %s", group.place.round, error.public_message)
            own = b""
        mine = os.urandom(_RANDOM_BYTES) + note + own
        key = AESGCM.generate_key(256)
        message = Reveal(
            place=group.place, members=group.digest, member=group.own, included=group.included, sum=digest,
            content=base64.b64encode(AESGCM(key).encrypt(bytes(12), mine, None)).decode(),
            sealed={
                group.members[i].source_unit: seal(group.shared[i], b"reveal", group.own, i, key).hex()
                for i in group.included if i != group.own
            },
        )  # fmt: skip
        try:
            found = self._exchange(group.place, "reveal", self._signed(message), patience=patience)
        except AttemptLost as lost:
            raise RoundFailed("left-behind", "A member was lost after the first mask was revealed.") from lost
        said = self._all_say(
            group.place, found.envelopes, group.members, group.keys, Reveal,
            lambda r: (r.members, r.included, r.sum) == (group.digest, group.included, digest),
            "a reveal for another sum",
        )  # fmt: skip
        if not set(said) <= set(group.included):
            raise RoundFailed("disagreement", "The space shows a reveal of a member that is not in the sum.")
        self._require_enough(group, said, "reveals")
        opened = {i: mine if i == group.own else self._opened(group, i, reveal) for i, reveal in said.items()}
        start = _RANDOM_BYTES + NOTE_BYTES
        context = bytes.fromhex(group.digest)
        for i, value in opened.items():
            if contributions[i].reveal not in ("", commitment_of(context, i, value[start:]).hex()):
                raise RoundFailed(
                    "disagreement", f"{self._name(group, i)} reveals something else than it committed to."
                )
        secret = hashlib.sha256(b"trustspace round secret v1" + bytes.fromhex(group.digest))
        for i in said:
            secret.update(opened[i][:_RANDOM_BYTES])
        notes = tuple(value[_RANDOM_BYTES:start] for value in opened.values())
        # Whoever was too late with its own reveal opens the sum with it as well.
        payloads = {i: value[start:] for i, value in opened.items()} | {group.own: own}
        openers = tuple(group.members[i].source_unit for i in said)
        return {i: payload for i, payload in payloads.items() if payload}, secret.digest(), notes, openers

    def _shares(self, group: _Group, contributions: dict[int, Contribution]) -> dict[int, bytes]:
        """What the sum's members have sealed to this one, and its own; none where the scheme has none."""
        own = group.protection.shares()
        if not own:
            return {}
        sealed = self._again(lambda: dict(self._fetched(group, self._relay.shares)))
        found = {group.own: own[group.own]}
        for i in group.included:
            if i == group.own:
                continue
            given = sealed.get(i, b"")
            if not hmac.compare_digest(hashlib.sha256(given).hexdigest(), contributions[i].shares[group.own]):
                raise RoundFailed("disagreement", "The space shows another share than its member signed.")
            try:
                found[i] = unseal(group.shared[i], b"share", i, group.own, given)
            except InvalidTag:
                # Signed, and not what it must be: left to the scheme, which says whose share is wrong.
                found[i] = b""
        return found

    def _opened(self, group: _Group, member: int, reveal: Reveal) -> bytes:
        try:
            sealed = bytes.fromhex(reveal.sealed[self._identity.source_unit])
            key = unseal(group.shared[member], b"reveal", member, group.own, sealed)
            value = AESGCM(key).decrypt(bytes(12), base64.b64decode(reveal.content, validate=True), None)
        except (KeyError, InvalidTag, ValueError):
            value = b""
        if len(value) < _RANDOM_BYTES + NOTE_BYTES:
            raise RoundFailed("disagreement", f"{self._name(group, member)} revealed nothing that opens.")
        return value

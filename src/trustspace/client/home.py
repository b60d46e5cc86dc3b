"""A party's home directory: its keys, what it trusts, how it reaches the space, and what it has decided.

party.json    the party's own description       trust.json    pinned fingerprints
keys/         signing, opening and data keys    ledger.json   the last checkpoint verified
tls/          transport key and certificates    state.json    decisions that bind at once
enclaves/     doors of its own enclaves         spool/        sealed datasets not yet uploaded
score.key     for encrypted scoring, sealed to a key in keys/
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from trustspace.client.acting import SEALING, Acting, Clock
from trustspace.crypto.keys import KeyStore
from trustspace.crypto.statement import key_id
from trustspace.domain.bodies import Body, KeyUse, Line, Party, PartyKey, Role
from trustspace.domain.statements import Statement, dump, read
from trustspace.domain.trust import TrustFile
from trustspace.errors import AlreadyExists, InvalidInput, NotFound, Unavailable
from trustspace.storage.files import write_atomic
from trustspace.storage.keystore import FileKeyStore
from trustspace.transport.channel import connect
from trustspace.transport.links import EnrolmentLink
from trustspace.transport.tls import new_key, new_request, self_signed

_WORKING: dict[str, tuple[KeyUse, ...]] = {
    "source-unit": ("act", "grant", "broker"),
    "developer": ("act", "broker", "receive"),
    "buyer": ("act", "receive"),
    "auditor": ("act",),
}
# What the keys of reviewers are called that lie in this home.
REVIEWER = "reviewer-"
_OPENING: frozenset[KeyUse] = frozenset({"receive", "review-open"})


Name = Annotated[Line, Field(min_length=1)]
_NAME: TypeAdapter[str] = TypeAdapter(Name)


def require_name(name: str) -> None:
    """Raise InvalidInput for what cannot stand as somebody's name in a statement."""
    try:
        _NAME.validate_python(name)
    except ValidationError:
        raise InvalidInput("A name is a line of 1 to 200 characters.") from None


class PartyHome(Acting):
    """A party's home, opened. ``passphrase`` unlocks its keys, when they have one."""

    def __init__(self, path: Path, passphrase: str | None = None, clock: Clock = time.time) -> None:
        if not (path / "party.json").exists():
            raise NotFound(
                "There is no party in {home}.", fix="Run `trustspace party new` first.", home=str(path)
            )
        super().__init__(path, passphrase, clock)

    # -- making and describing the party

    @classmethod
    def create(
        cls,
        path: Path,
        name: str,
        roles: Iterable[Role],
        *,
        reviewers: Iterable[str] = (),
        passphrase: str | None = None,
        clock: Clock = time.time,
    ) -> PartyHome:
        """Make a party: root key, working keys for its roles, and a pair of keys for each reviewer named here.

        Reviewers with homes of their own are adopted later (reviewers.py).

        Raises:
            AlreadyExists: there is one in this directory.
            InvalidInput: a name that is none, no role, or reviewers of a party that is no source unit.

        """
        wanted = tuple(dict.fromkeys(roles))
        people = tuple(dict.fromkeys(reviewers))
        if not wanted or not set(wanted) <= set(_WORKING):
            raise InvalidInput("A party's roles are some of {known}.", known=", ".join(_WORKING))
        if people and "source-unit" not in wanted:
            raise InvalidInput("A source unit, and nobody else, has reviewers.")
        for each in (name, *people):
            require_name(each)
        if (path / "party.json").exists():
            raise AlreadyExists("There is a party in {home} already.", home=str(path))
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        keys = FileKeyStore(path / "keys", passphrase)
        root = keys.create_signing_key("root")
        uses = dict.fromkeys(use for role in wanted for use in _WORKING[role])
        working = [_new_key(keys, use, use, name) for use in uses]
        for number, person in enumerate(people, 1):
            working.append(_new_key(keys, f"{REVIEWER}{number}", "review", person))
            working.append(_new_key(keys, f"{REVIEWER}{number}-open", "review-open", person))
        party = Party(name=name, roles=wanted, root=root.hex(), sequence=1, keys=tuple(working))
        _make_tls(path, key_id(root))
        write_atomic(
            path / "party.json", json.dumps(dump(party), ensure_ascii=False, indent=2).encode(), 0o644
        )
        return cls(path, passphrase, clock)

    @property
    def party(self) -> Party:
        """The party's own description."""
        return read(Party, json.loads((self.path / "party.json").read_bytes()), "party")

    @property
    def roles(self) -> tuple[Role, ...]:
        """All of the party's."""
        return self.party.roles

    @property
    def fingerprint(self) -> str:
        """What others pin: SHA-256 of the root key."""
        return key_id(self.keys.public("root"))

    def card(self) -> dict[str, Any]:
        """What to hand to others, to be compared with them over another channel."""
        party = self.party
        return {"name": party.name, "roles": list(party.roles), "fingerprint": self.fingerprint}

    def key_name(self, use: KeyUse, holder: str | None = None) -> str:
        """The key store's name of the party's newest key for a use (and a person)."""
        public = {k.public for k in self.party.keys if k.use == use and holder in (None, k.holder)}
        for name in reversed(self.keys.names()):
            if not name.startswith(SEALING) and self.keys.public(name).hex() in public:
                return name
        if public and use in ("review", "review-open"):
            raise NotFound(
                "The keys of {reviewer} lie in a home of their own, not in this one.",
                fix="Let that person do it there.", reviewer=holder or ", ".join(self.reviewers_elsewhere),
            )  # fmt: skip
        raise NotFound("This party has no key for {use}.", use=f"{use} ({holder})" if holder else use)

    @property
    def reviewers_here(self) -> tuple[str, ...]:
        """The reviewers whose keys lie in this home, beside those that grant: one person can be all of them."""
        return self._reviewers(here=True)

    @property
    def reviewers_elsewhere(self) -> tuple[str, ...]:
        """The reviewers with homes of their own."""
        return self._reviewers(here=False)

    def _reviewers(self, *, here: bool) -> tuple[str, ...]:
        own = {self.keys.public(name).hex() for name in self.keys.names() if not name.startswith(SEALING)}
        found = (k.holder for k in self.party.keys if k.use == "review" and (k.public in own) == here)
        return tuple(dict.fromkeys(found))

    def publish(self, keys: Iterable[PartyKey] = (), *, without: Iterable[PartyKey] = ()) -> Party:
        """Vouch for more working keys, or no longer for some, signed by the root, and make it known.

        What was signed while a key counted stays; nothing new is believed of a key left out. A description
        that stands already, after a break in between, is taken up first.
        """
        standing = self.session.party_body(self.fingerprint)
        if standing.sequence > self.party.sequence:
            self._write_party(standing)
        changed = self.party.model_copy(
            update={
                "sequence": self.party.sequence + 1,
                "keys": self._with(keys, set(without)),
            }
        )
        self.submit_as_root(changed)
        self._write_party(changed)
        return changed

    def require_receiving_key(self) -> None:
        """See that there is a key which others can seal to; publish one where this home is older than that need."""
        if all(key.use != "receive" for key in self.party.keys):
            made = "receive" in self.keys.names()
            public = self.keys.public("receive") if made else self.keys.create_opening_key("receive")
            self.publish([PartyKey(use="receive", public=public.hex(), holder=self.party.name)])

    def _with(self, keys: Iterable[PartyKey], without: set[PartyKey]) -> tuple[PartyKey, ...]:
        return tuple(key for key in dict.fromkeys((*self.party.keys, *keys)) if key not in without)

    def _write_party(self, party: Party) -> None:
        content = json.dumps(dump(party), ensure_ascii=False, indent=2)
        write_atomic(self.path / "party.json", content.encode(), 0o644)

    # -- the space

    def enrol(self, invitation: dict[str, Any]) -> None:
        """Redeem an invitation: pin the space, make the party known, get a transport certificate."""
        fields = ("token", "address", "enrol_address", "server_certificate", "space")
        if invitation.get("format") != "trustspace-invitation-v1" or not all(f in invitation for f in fields):
            raise InvalidInput("The file is not an invitation.")
        trust = read(TrustFile, {"space": invitation["space"]}, "invitation")
        trust = trust.with_party(self.party.name, self.fingerprint)
        server = str(invitation["server_certificate"]).encode()
        channel = connect(str(invitation["enrol_address"]), server, None, "trustspace-space")
        # Nothing is verified yet of a ledger that one has not seen: the description names its empty state.
        from trustspace.domain.statements import LogReference, make
        from trustspace.ledger.merkle import EMPTY_ROOT

        log = LogReference(origin=trust.space.origin, size=0, root=EMPTY_ROOT.hex())
        statement = make(
            self.party, by=self.fingerprint, issued=int(self.clock()), nonce=os.urandom(32), log=log,
            public=self.keys.public("root"), sign=lambda message: self.keys.sign("root", message),
        )  # fmt: skip
        key = (self.path / "tls/client.key").read_bytes()
        with channel:
            certificate, _ = EnrolmentLink(channel).enrol(
                str(invitation["token"]), new_request(key), statement.envelope.to_bytes()
            )
        write_atomic(self.path / "tls/space.pem", certificate, 0o644)
        write_atomic(self.path / "tls/space-server.pem", server, 0o644)
        self.save_trust(trust)
        write_atomic(self.path / "space.json", json.dumps({"address": invitation["address"]}).encode(), 0o644)

    def _not_enrolled(self) -> Unavailable:
        return Unavailable("This party is not enrolled.", fix="Run `trustspace party enrol`.")

    def submit_as_root(self, body: Body) -> Statement:
        """Sign with the root key, and append."""
        return self.session.submit(
            body, public=self.keys.public("root"), sign=lambda message: self.keys.sign("root", message)
        )

    @contextlib.contextmanager
    def only_broker(self, name: str) -> Iterator[None]:
        """Be the party's one broker of this name while the block lasts, among all its processes.

        Raises:
            Unavailable: another one is running.

        """
        lock = os.open(self.path / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unavailable("Another broker of this party is running.", fix="Stop it first.") from None
            yield
        finally:
            os.close(lock)


def _new_key(keys: KeyStore, name: str, use: KeyUse, holder: str) -> PartyKey:
    public = keys.create_opening_key(name) if use in _OPENING else keys.create_signing_key(name)
    return PartyKey(use=use, public=public.hex(), holder=holder)


def _make_tls(path: Path, fingerprint: str) -> None:
    (path / "tls").mkdir(mode=0o700, exist_ok=True)
    key = new_key()
    write_atomic(path / "tls/client.key", key)
    # What the party's own enclaves pin: their door opens to this certificate and no other.
    now = datetime.datetime.now(datetime.UTC)
    write_atomic(path / "tls/domain.pem", self_signed(fingerprint, key, now), 0o644)

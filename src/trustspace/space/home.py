"""A space's home directory: what ``space init`` makes and ``space serve`` reads once.

space.toml      settings, no secrets        keys/      operator and ledger keys
space.sqlite    the ledger                  tls/       certificate authority and server certificate
blobs/          ciphertext                  address.json   where it listens now
rounds/         protected vectors of the rounds under way, as files without names
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import secrets
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trustspace.crypto.keys import KeyStore
from trustspace.crypto.statement import key_id
from trustspace.domain.bodies import Party, PartyKey, Role
from trustspace.domain.leakage import SLOT_SECONDS
from trustspace.domain.statements import LogReference, make
from trustspace.domain.trust import TrustedSpace
from trustspace.errors import AlreadyExists, InvalidInput, NotFound, Unavailable
from trustspace.ledger.merkle import EMPTY_ROOT
from trustspace.ledger.note import NoteKey
from trustspace.space.blobs import BlobStore
from trustspace.space.ledger import Ledger, LedgerKey
from trustspace.space.service import Authority, Operator, Space
from trustspace.space.store import Invitation, SpaceStore
from trustspace.storage.files import write_atomic
from trustspace.storage.keystore import FileKeyStore
from trustspace.transport.channel import Identity
from trustspace.transport.tls import new_authority, new_key, self_signed

INVITATION_DAYS = 7
DEFAULT_ROLES: tuple[Role, ...] = ("operator",)


@dataclass(frozen=True)
class Settings:
    """``space.toml``, read once."""

    name: str
    origin: str
    listen: str
    enrol_listen: str
    max_blob_bytes: int
    # Developers and buyers are told how a job stands as of the last multiple of this: times are a channel.
    slot_seconds: int


def initialise(home: Path, name: str, listen: str, enrol_listen: str, hosts: tuple[str, ...]) -> None:
    """Make a new space: settings, keys, certificate authority, and the operator's own description.

    Raises:
        AlreadyExists: there is one in this directory.

    """
    if (home / "space.toml").exists():
        raise AlreadyExists("There is a space in {home} already.", home=str(home))
    if not name or any(ord(c) < 32 or c in '"\\' for c in name):
        raise InvalidInput("The space's name must be one line without quotation marks.")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = FileKeyStore(home / "keys", None)
    root = keys.create_signing_key("root")
    act = keys.create_signing_key("act")
    keys.create_signing_key("ledger")
    origin = f"trustspace/{key_id(root)[:16]}"
    _make_tls(home, hosts)
    party = Party(
        name=name, roles=DEFAULT_ROLES, root=root.hex(), sequence=1,
        keys=(PartyKey(use="act", public=act.hex(), holder="space"),),
    )  # fmt: skip
    log = LogReference(origin=origin, size=0, root=EMPTY_ROOT.hex())
    statement = make(
        party, by=key_id(root), issued=int(time.time()), nonce=os.urandom(32), log=log, public=root,
        sign=lambda message: keys.sign("root", message),
    )  # fmt: skip
    store = SpaceStore(home / "space.sqlite")
    ledger = Ledger(store, _ledger_key(keys, origin), lambda *_: False)
    ledger.submit(statement)
    ledger.close()
    store.close()
    lines = {"name": name, "origin": origin, "listen": listen, "enrol_listen": enrol_listen}
    text = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in lines.items())
    # Written last: a home without it is not a space yet.
    text += f"max_blob_bytes = {64 << 30}\nslot_seconds = {SLOT_SECONDS}\n"
    write_atomic(home / "space.toml", text.encode(), 0o644)


def _make_tls(home: Path, hosts: tuple[str, ...]) -> None:
    tls = home / "tls"
    tls.mkdir(mode=0o700, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    authority_key, server_key = new_key(), new_key()
    # The server's certificate is its own root: clients pin it, and it needs no renewal with the authority.
    write_atomic(tls / "authority.key", authority_key)
    write_atomic(tls / "authority.pem", new_authority("trustspace transport", authority_key, now), 0o644)
    write_atomic(tls / "server.key", server_key)
    names = ("localhost", "127.0.0.1", "trustspace-space", *hosts)
    write_atomic(tls / "server.pem", self_signed("trustspace space", server_key, now, names), 0o644)


def _ledger_key(keys: KeyStore, origin: str) -> LedgerKey:
    return LedgerKey(origin, keys.public("ledger"), lambda message: keys.sign("ledger", message))


class SpaceHome:
    """A space's home, opened."""

    def __init__(self, home: Path) -> None:
        self.path = home
        try:
            content = tomllib.loads((home / "space.toml").read_text(encoding="utf-8"))
            self.settings = Settings(**content)
            too_short = self.settings.slot_seconds < SLOT_SECONDS
        except FileNotFoundError:
            raise NotFound(
                "There is no space in {home}.", fix="Run `trustspace space init` first.", home=str(home)
            ) from None
        except (tomllib.TOMLDecodeError, TypeError):
            raise InvalidInput("The file {file} is not a space's settings.", file="space.toml") from None
        if too_short:
            raise InvalidInput(
                "The setting {field} is shorter than {limit} seconds, which budgets of bits reckon with.",
                fix="Make it longer in space.toml.", field="slot_seconds", limit=SLOT_SECONDS,
            )  # fmt: skip
        self.keys = FileKeyStore(home / "keys", None)
        self.store = SpaceStore(home / "space.sqlite")

    def ledger_key(self) -> LedgerKey:
        """The checkpoint signing key."""
        return _ledger_key(self.keys, self.settings.origin)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the space's home: nobody else serves or rebuilds it meanwhile.

        Raises:
            Unavailable: somebody does.

        """
        lock = os.open(self.path / "space.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unavailable(
                    "This space is running already.", fix="Stop `trustspace space serve` first."
                ) from None
            yield
        finally:
            os.close(lock)

    def operator_fingerprint(self) -> str:
        """The operator's fingerprint."""
        return key_id(self.keys.public("root"))

    def trusted(self) -> TrustedSpace:
        """What everybody who deals with this space pins."""
        return TrustedSpace(
            name=self.settings.name,
            origin=self.settings.origin,
            ledger_key=NoteKey(self.settings.origin, self.keys.public("ledger")).encode(),
            operator=self.operator_fingerprint(),
        )

    def identity(self) -> Identity:
        """The server's transport key and certificate."""
        return Identity(
            (self.path / "tls/server.key").read_bytes(), (self.path / "tls/server.pem").read_bytes()
        )

    def authority(self) -> Authority:
        """The certificate authority for clients."""
        tls = self.path / "tls"
        return Authority((tls / "authority.pem").read_bytes(), (tls / "authority.key").read_bytes())

    def open(self) -> tuple[Space, Ledger]:
        """Start the ledger's writer and the use cases over it."""
        blobs = BlobStore(self.path / "blobs", self.settings.max_blob_bytes)
        store = self.store
        ledger = Ledger(
            store,
            self.ledger_key(),
            lambda digest, party: blobs.has(digest) and store.has_uploaded(digest, party),
        )
        operator = Operator(
            self.operator_fingerprint(),
            self.keys.public("act"),
            lambda message: self.keys.sign("act", message),
        )
        return Space(
            ledger, blobs, self.authority(), operator, os.urandom, self.settings.slot_seconds
        ), ledger

    def invite(
        self, name: str, roles: tuple[str, ...], address: str, enrol_address: str
    ) -> dict[str, object]:
        """Make a one-time invitation: what to hand to a new party, over a channel one trusts."""
        known = ("source-unit", "developer", "buyer", "auditor")
        if not roles or not set(roles) <= set(known):
            raise InvalidInput("An invitation's roles are some of {known}.", known=", ".join(known))
        token = secrets.token_urlsafe(32)
        invitation = Invitation(name, tuple(sorted(roles)), int(time.time()) + INVITATION_DAYS * 86400, "")
        self.store.add_invitation(hashlib.sha256(token.encode()).digest(), invitation)
        return {
            "format": "trustspace-invitation-v1",
            "token": token,
            "name": name,
            "roles": list(invitation.roles),
            "expires": invitation.expires,
            "address": address,
            "enrol_address": enrol_address,
            "server_certificate": self.identity().certificate.decode(),
            "space": self.trusted().model_dump(),
        }

    def addresses(self) -> tuple[str, str]:
        """Where the running space listens, or where its settings say that it will."""
        try:
            content = json.loads((self.path / "address.json").read_bytes())
            return str(content["listen"]), str(content["enrol_listen"])
        except FileNotFoundError:
            return self.settings.listen, self.settings.enrol_listen

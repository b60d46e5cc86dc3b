"""Somebody who acts for a party, from a home directory: keys, pins, a verified session, decisions that bind at once.

keys/         signing, opening and data keys    ledger.json   the last checkpoint verified
tls/          transport key and certificates    state.json    decisions that bind at once
trust.json    pinned fingerprints               space.json    where the space is
viewed.jsonl  what was shown to whom first, of evidence (viewing.py)

A party's own home (home.py) holds its root; a reviewer's (reviewers.py) nothing but that person's keys.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trustspace.crypto.keys import KeyStore
from trustspace.domain.bodies import Body, KeyUse, Role
from trustspace.domain.statements import Statement, read
from trustspace.domain.trust import TrustFile
from trustspace.errors import InvalidInput, NotFound, Unavailable
from trustspace.storage.files import write_atomic
from trustspace.storage.keystore import FileKeyStore
from trustspace.transport.channel import Identity, connect
from trustspace.transport.links import SpaceLink
from trustspace.transport.session import Session

Clock = Callable[[], float]
# Data keys, of datasets and of blind code: they seal, and have no public half.
SEALING = ("data-", "code-")


class Acting(ABC):
    """A home, opened. ``passphrase`` unlocks its keys, when they have one."""

    def __init__(self, path: Path, passphrase: str | None = None, clock: Clock = time.time) -> None:
        self.path = path
        self.clock = clock
        self.keys: KeyStore = FileKeyStore(path / "keys", passphrase)
        self._session: Session | None = None

    # -- who

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """The fingerprint of the party that this home acts for."""

    @property
    @abstractmethod
    def roles(self) -> tuple[Role, ...]:
        """The roles that this home has the keys to act in."""

    @abstractmethod
    def key_name(self, use: KeyUse, holder: str | None = None) -> str:
        """The key store's name of the newest key for a use (and a person) that lies in this home.

        Raises:
            NotFound: there is none.

        """

    @property
    @abstractmethod
    def reviewers_here(self) -> tuple[str, ...]:
        """The reviewers whose keys lie in this home: whoever holds it decides in their names."""

    def reviewer(self, name: str | None = None) -> str:
        """Who reviews here: the person named, or the only one whose keys lie in this home.

        Raises:
            NotFound: nobody's keys lie here.
            InvalidInput: several people's do, and none was named.

        """
        if name is not None:
            return name
        if not self.reviewers_here:
            raise NotFound(
                "No reviewer's keys lie in this home.", fix="Review from the home of a reviewer's own."
            )
        if len(self.reviewers_here) > 1:
            raise InvalidInput(
                "Several reviewers' keys lie in this home: {names}.", fix="Say who you are with --reviewer.",
                names=", ".join(self.reviewers_here),
            )  # fmt: skip
        return self.reviewers_here[0]

    @abstractmethod
    def _not_enrolled(self) -> Unavailable:
        """What is missing before there is a session."""

    # -- the space

    def identity(self) -> Identity:
        """Transport key and certificate towards the space."""
        tls = self.path / "tls"
        try:
            return Identity((tls / "client.key").read_bytes(), (tls / "space.pem").read_bytes())
        except FileNotFoundError:
            raise self._not_enrolled() from None

    def space_address(self) -> str:
        """Where the space is."""
        return str(json.loads((self.path / "space.json").read_bytes())["address"])

    def move_space(self, address: str) -> None:
        """Note that the same space is reached at another address."""
        write_atomic(self.path / "space.json", json.dumps({"address": address}).encode(), 0o644)
        self._session = None

    @property
    def session(self) -> Session:
        """The verified session with the space; made on first use."""
        if self._session is None:
            identity = self.identity()
            server = (self.path / "tls/space-server.pem").read_bytes()
            channel = connect(self.space_address(), server, identity, "trustspace-space")
            self._session = Session(
                SpaceLink(channel), self.trust, self.fingerprint, self.path / "ledger.json", self.clock
            )
        return self._session

    def submit(self, body: Body, use: KeyUse, holder: str | None = None) -> Statement:
        """Sign with this home's key for this use, and append."""
        name = self.key_name(use, holder)
        return self.session.submit(
            body, public=self.keys.public(name), sign=lambda m: self.keys.sign(name, m)
        )

    def sign(self, body: Body, use: KeyUse, holder: str | None = None) -> Statement:
        """Sign with this home's key for this use, without appending."""
        name = self.key_name(use, holder)
        return self.session.sign(body, public=self.keys.public(name), sign=lambda m: self.keys.sign(name, m))

    # -- trust

    def trust(self) -> TrustFile:
        """Whom this home has pinned."""
        try:
            return read(TrustFile, json.loads((self.path / "trust.json").read_bytes()), "trust file")
        except FileNotFoundError:
            raise self._not_enrolled() from None

    def save_trust(self, trust: TrustFile) -> None:
        """Pin durably."""
        write_atomic(self.path / "trust.json", trust.model_dump_json(indent=2).encode(), 0o644)
        self._session = None

    def pin(self, name: str, fingerprint: str) -> None:
        """Pin a party whose fingerprint was compared out of band."""
        compact = fingerprint.replace(" ", "").lower()
        if len(compact) != 64 or not set(compact) <= set("0123456789abcdef"):
            raise InvalidInput("A fingerprint has 64 hexadecimal digits.")
        self.save_trust(self.trust().with_party(name, compact))

    # -- decisions that bind at once, logged or not

    def state(self) -> dict[str, Any]:
        """What was decided or counted here, durably."""
        try:
            content: dict[str, Any] = json.loads((self.path / "state.json").read_bytes())
        except FileNotFoundError:
            return {}
        return content

    @contextlib.contextmanager
    def changing(self) -> Iterator[dict[str, Any]]:
        """The state, to be read and changed in one step beside the home's other processes.

        What the block leaves in it is durable when the block ends; an exception leaves it as it was.
        """
        lock = os.open(self.path / "state.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self.state()
            yield state
            content = json.dumps(state, sort_keys=True, ensure_ascii=False)
            write_atomic(self.path / "state.json", content.encode())
        finally:
            os.close(lock)

    def remember(self, kind: str, key: str, value: Any = True) -> None:
        """Write a decision down before it is sent anywhere."""
        with self.changing() as state:
            state.setdefault(kind, {})[key] = value

    def remembered(self, kind: str, key: str) -> Any:
        """What was written down, or None."""
        return self.state().get(kind, {}).get(key)

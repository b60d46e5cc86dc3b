"""What an operator can do with what it has: its certificate authority, its ledger key, its disk.

Every cheat of the operator's in the story goes through here, so that it is tried with an operator's real
powers: it may certify a connection in anybody's name, show a ledger that it signed itself, rewrite and read
whatever lies on its disk.
"""

from __future__ import annotations

import base64
import datetime
import json
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trustspace.client.home import PartyHome
from trustspace.crypto.canonical import canonical_json, parse_canonical
from trustspace.crypto.keys import KeyStore
from trustspace.crypto.statement import Envelope
from trustspace.domain.bodies import Body
from trustspace.domain.records import Record
from trustspace.domain.replay import MemoryView
from trustspace.domain.statements import MAX_BYTES, LogReference, Statement, make, parse
from trustspace.ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from trustspace.ledger.merkle import MerkleTree
from trustspace.space.home import SpaceHome
from trustspace.transport.channel import Identity, connect
from trustspace.transport.links import Entry, Proof, Receipt, SpaceLink, Subject
from trustspace.transport.session import Session
from trustspace.transport.tls import Caller, issue, new_key, new_request

_HEX = re.compile(rb"[0-9a-f]{64}")
_CLONED = ("party.json", "trust.json", "space.json", "state.json", "ledger.json", "witness.json")


class Operator:
    """Whoever runs the space, at work in its own home."""

    def __init__(self, home: Path, address: str) -> None:
        self.space = SpaceHome(home)
        self.address = address
        self.link = self.connect_as(Caller(self.space.operator_fingerprint(), "client", ""))

    def connect_as(self, caller: Caller) -> SpaceLink:
        """A connection in anybody's name: the transport certificates are the operator's to issue."""
        key, authority = new_key(), self.space.authority()
        now = datetime.datetime.now(datetime.UTC)
        certificate = issue(new_request(key), caller, authority.certificate, authority.key, now)
        server = self.space.identity().certificate
        return SpaceLink(connect(self.address, server, Identity(key, certificate), "trustspace-space"))

    def state(self) -> LogReference:
        """The newest state of the ledger."""
        note, _ = self.link.checkpoint(0)
        checkpoint = open_checkpoint(note, self.space.ledger_key().verifier)
        return LogReference(origin=checkpoint.origin, size=checkpoint.size, root=checkpoint.root.hex())

    def sign(self, body: Body, by: str, keys: KeyStore | None = None, name: str = "act") -> Statement:
        """A statement in anybody's name, signed with the operator's own key for want of theirs, or with another."""
        store = keys or self.space.keys
        return make(
            body, by=by, issued=int(time.time()), nonce=os.urandom(32), log=self.state(),
            public=store.public(name), sign=lambda message: store.sign(name, message),
        )  # fmt: skip

    def fork(self, *forged: Statement, rewritten: dict[int, bytes] | None = None) -> ForkedLink:
        """A server that lies: it shows what the operator made up, in a ledger that the operator signed."""
        return ForkedLink(self, list(forged), rewritten or {})

    # -- the disk

    def blob(self, digest: str) -> Path:
        """Where a stored ciphertext lies."""
        return self.space.path / "blobs" / digest

    def view(self) -> MemoryView:
        """Everything that the space knows, read from its disk."""
        view = MemoryView()
        records: list[Record] = list(self.space.store.records())
        view.install(records)
        return view

    def statements(self) -> list[Statement]:
        """Every statement in the ledger, read from the disk."""
        return [parse(entry.envelope) for entry in self.space.store.entries()]

    @contextmanager
    def rewritten(self, digest: str, envelope: bytes) -> Iterator[None]:
        """Put other bytes in the place of a statement, under the running server, and put it right again."""
        kept = self.space.store.find([digest])[0].envelope
        self._write(digest, envelope)
        try:
            yield
        finally:
            self._write(digest, kept)

    def _write(self, digest: str, envelope: bytes) -> None:
        database = sqlite3.connect(self.space.path / "space.sqlite", timeout=30.0)
        with database:
            database.execute(
                "UPDATE entries SET envelope = ? WHERE digest = ?", (envelope, bytes.fromhex(digest))
            )
        database.close()

    def everything(self) -> dict[str, bytes]:
        """All that the operator stores: each file, and each statement with its inner encodings undone."""
        found = {
            str(path.relative_to(self.space.path)): path.read_bytes()
            for path in sorted(self.space.path.rglob("*"))
            if path.is_file()
        }
        for entry in self.space.store.entries():
            payload = Envelope.parse(entry.envelope, max_bytes=MAX_BYTES).payload
            found[f"statement {entry.position}"] = payload
            found[f"statement {entry.position}, hexadecimal undone"] = b"".join(_undone(payload))
        return found

    def keys(self) -> list[bytes]:
        """Every 32 bytes that could be a key: its own secrets, and each 64-digit number in any statement."""
        secrets = [
            bytes.fromhex(json.loads(path.read_bytes())["secret"])
            for path in sorted((self.space.path / "keys").glob("*.key"))
        ]
        digits = {
            bytes.fromhex(match.decode())
            for entry in self.space.store.entries()
            for match in _HEX.findall(Envelope.parse(entry.envelope, max_bytes=MAX_BYTES).payload)
        }
        return [*secrets, *sorted(digits)]


def altered(statement: Statement, **changes: Any) -> bytes:
    """The envelope of a statement whose body was changed after it was signed; the signature is kept."""
    envelope = statement.envelope
    payload = parse_canonical(envelope.payload, what="statement", max_bytes=MAX_BYTES)
    assert isinstance(payload, dict)
    predicate = payload["predicate"]
    assert isinstance(predicate, dict)
    body = statement.body.model_copy(update=changes)
    payload["predicate"] = {**predicate, "body": body.model_dump(mode="json")}
    payload["subject"] = [{"name": name, "digest": {"sha256": digest}} for name, digest in body.subject()]
    return Envelope(canonical_json(payload), envelope.payload_type, envelope.signatures).to_bytes()


def clone(home: PartyHome, into: Path, link: SpaceLink) -> PartyHome:
    """A copy of a party's home as it is now, which hears the space through ``link`` only.

    So a party can be lied to without the lie following it into the rest of the story.
    """
    into.mkdir(mode=0o700, parents=True)
    for name in _CLONED:
        if (home.path / name).exists():
            shutil.copyfile(home.path / name, into / name)
    for name in ("keys", "tls", "enclaves"):
        if (home.path / name).is_dir():
            shutil.copytree(home.path / name, into / name)
    copy = PartyHome(into, clock=home.clock)
    copy._session = Session(link, copy.trust, copy.fingerprint, into / "ledger.json", copy.clock)
    return copy


def _undone(payload: bytes) -> Iterator[bytes]:
    for match in re.finditer(rb'"((?:[0-9a-f]{2}){8,})"', payload):
        yield bytes.fromhex(match[1].decode())
    for match in re.finditer(rb'"([A-Za-z0-9+/]{16,}={0,2})"', payload):
        if len(match[1]) % 4 == 0:
            yield base64.b64decode(match[1])


class ForkedLink(SpaceLink):
    """The space as a lying operator shows it: true statements and forged ones in a ledger of the operator's making.

    The checkpoint's signature and every proof hold: they are made with the space's real ledger key. What
    a client is given to refuse is the statements themselves, or a past that is not the one it has seen.
    """

    def __init__(self, operator: Operator, forged: list[Statement], rewritten: dict[int, bytes]) -> None:
        self._operator = operator
        self._honest = operator.link
        self._key = operator.space.ledger_key()
        self.forged = forged
        self._rewritten = rewritten

    def _ledger(self) -> tuple[MerkleTree, str]:
        note, _ = self._honest.checkpoint(0)
        size = open_checkpoint(note, self._key.verifier).size
        tree = MerkleTree()
        for index, leaf in enumerate(self._honest.leaves(0, size)):
            tree.append(self._rewritten.get(index, leaf))
        for statement in self.forged:
            tree.append(bytes.fromhex(statement.digest))
        checkpoint = Checkpoint(self._key.origin, tree.size, tree.root())
        return tree, sign_checkpoint(checkpoint, self._key.origin, self._key.public, self._key.sign)

    def submit(self, envelope: bytes, known_size: int = 0) -> Receipt:
        """Take a statement, and tell nobody else."""
        self.forged.append(parse(envelope))
        tree, note = self._ledger()
        inclusion = tuple(tree.inclusion_proof(tree.size - 1, tree.size))
        return Receipt(tree.size - 1, note, inclusion, _consistency(tree, known_size))

    def prove(self, what: Subject, known_size: int = 0, **_options: Any) -> Proof:
        """The true statements about a subject, and the forged ones after them, all proven; cosigned by nobody."""
        true = self._honest.prove(what, 0).entries
        tree, note = self._ledger()
        first = tree.size - len(self.forged)
        envelopes = [(entry.index, entry.envelope) for entry in true]
        envelopes += [(first + i, s.envelope.to_bytes()) for i, s in enumerate(self.forged)]
        entries = tuple(
            Entry(index, envelope, tuple(tree.inclusion_proof(index, tree.size)))
            for index, envelope in envelopes
        )
        return Proof(entries, note, _consistency(tree, known_size))

    def checkpoint(self, known_size: int) -> tuple[str, tuple[bytes, ...]]:
        """The newest checkpoint of the made-up ledger."""
        tree, note = self._ledger()
        return note, _consistency(tree, known_size)

    def view(self, *asked: Any, **named: Any) -> Any:
        """The true lists."""
        return self._honest.view(*asked, **named)

    def get_blob(self, digest: str, max_bytes: int, write: Callable[[bytes], object]) -> int:
        """Whatever lies on the operator's disk, to anybody."""
        content = self._operator.blob(digest).read_bytes()
        write(content)
        return len(content)


def _consistency(tree: MerkleTree, known_size: int) -> tuple[bytes, ...]:
    return tuple(tree.consistency_proof(known_size, tree.size)) if known_size else ()

"""Auditors and witnesses: re-hash the ledger, replay its statements, cosign what only ever grew."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from trustspace.client.home import PartyHome
from trustspace.domain.replay import MemoryView
from trustspace.domain.rules import apply
from trustspace.domain.statements import parse
from trustspace.errors import InvalidInput, LogCorrupted, TrustspaceError, Unavailable
from trustspace.ledger.checkpoint import Checkpoint, open_checkpoint
from trustspace.ledger.cosign import WitnessState, advance, cosign
from trustspace.ledger.merkle import MerkleTree
from trustspace.ledger.note import KeyKind, NoteKey
from trustspace.storage.files import write_atomic


@dataclass(frozen=True)
class Audit:
    """What a check of the whole ledger found."""

    size: int
    root: str
    statements_seen: int
    replayed: bool


def verify_ledger(home: PartyHome) -> Audit:
    """Fetch every leaf, hash the tree, compare with the checkpoint, and check the statements one may see.

    An auditor sees them all, and replays them; another party checks that those it may see are leaves.

    Raises:
        LogCorrupted: leaves and checkpoint do not belong together.

    """
    session = home.session
    log = session.sync()
    tree, leaves = MerkleTree(), []
    for digest in session.link.leaves(0, log.size):
        tree.append(digest)
        leaves.append(digest.hex())
    if tree.size != log.size or tree.root().hex() != log.root:
        raise LogCorrupted("The ledger's leaves do not hash to its checkpoint.")
    seen, position, view = 0, 0, MemoryView()
    replays = "auditor" in home.party.roles
    while position < log.size:
        entries, following = session.link.read(position, 256, 0)
        for entry in entries:
            statement = parse(entry.envelope)
            if entry.index < log.size and leaves[entry.index] != statement.digest:
                raise LogCorrupted(
                    "Statement {index} is not the leaf that the ledger has there.", index=entry.index
                )
            if replays:
                view.install(apply(view, statement, statement.issued))
            seen += 1
        if following <= position:
            break
        position = following
    return Audit(log.size, log.root, seen, replays and seen >= log.size)


class Witness:
    """Cosigns the space's checkpoints: each only if the ledger grew from the last one that it signed."""

    def __init__(self, home: PartyHome, name: str | None = None) -> None:
        self._home = home
        self._path = home.path / "witness.json"
        self._name = name or f"witness/{home.fingerprint[:16]}"

    @property
    def verifier(self) -> str:
        """The witness's key as trust files pin it (C2SP vkey)."""
        return NoteKey(self._name, self._public(), KeyKind.COSIGNATURE).encode()

    def _public(self) -> bytes:
        if "witness" not in self._home.keys.names():
            self._home.keys.create_signing_key("witness")
        return self._home.keys.public("witness")

    def _state(self) -> WitnessState:
        try:
            content = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return WitnessState()
        return WitnessState(int(content["size"]), bytes.fromhex(content["root"]), str(content["origin"]))

    def cosign_newest(self) -> int | None:
        """Look once; returns the size that was cosigned, or None if there was nothing new.

        Raises:
            LogCorrupted: the ledger has forked or shrunk. Nothing is signed then, ever again, until a person looks.

        """
        session, state = self._home.session, self._state()
        note, proof = session.link.checkpoint(state.size)
        checkpoint = open_checkpoint(note, self._home.trust().space.ledger_key)
        if (
            checkpoint.size == state.size
            and checkpoint.root == state.root
            and self.verifier.split("+")[0] in note
        ):
            return None
        return self._sign(note, checkpoint, state, proof)

    def _sign(self, note: str, checkpoint: Checkpoint, state: WitnessState, proof: tuple[bytes, ...]) -> int:
        accepted = advance(state, state.size, checkpoint, proof)
        # Durable before the signature leaves: after a crash the same or a later checkpoint follows, never a fork.
        content = {"size": accepted.size, "root": accepted.root.hex(), "origin": accepted.origin}
        write_atomic(self._path, json.dumps(content).encode())
        line = cosign(
            note, self._name, self._public(), lambda message: self._home.keys.sign("witness", message),
            int(time.time()),
        )  # fmt: skip
        self._home.session.link.add_cosignature(checkpoint.size, line)
        return checkpoint.size

    def serve(self, stop: threading.Event, pause_seconds: float = 0.5) -> None:
        """Cosign as the ledger grows, until told to stop; a fork ends it with an error."""
        while not stop.is_set():
            try:
                self.cosign_newest()
            except LogCorrupted:
                raise
            except (Unavailable, InvalidInput):
                pass  # the ledger moved on in between, or the space is away: look again
            except TrustspaceError:
                stop.wait(5.0)
            stop.wait(pause_seconds)


def read_certificate_inputs(certificate: Path, trust: Path) -> tuple[bytes, bytes]:
    """Both files of an offline verification.

    Raises:
        InvalidInput: naming the one that cannot be read.

    """
    contents = []
    for path in (certificate, trust):
        try:
            contents.append(path.read_bytes())
        except OSError:
            raise InvalidInput("The file {path} cannot be read.", path=str(path)) from None
    return contents[0], contents[1]

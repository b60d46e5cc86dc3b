"""Auditors and witnesses: re-hash the ledger, replay its statements, cosign what only ever grew."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from dataclasses import dataclass

from trustspace.client.acting import Acting
from trustspace.client.home import PartyHome
from trustspace.domain.replay import MemoryView
from trustspace.domain.rules import apply
from trustspace.domain.statements import Statement, parse
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


def verify_ledger(home: Acting) -> Audit:
    """Fetch every leaf, hash the tree, compare with the checkpoint, and check the statements one may see.

    An auditor sees them all, and replays them; another party checks that those it may see are leaves.

    Raises:
        LogCorrupted: leaves and checkpoint do not belong together.

    """
    session = home.session
    log = session.sync()
    tree, leaves = MerkleTree(), []
    for digest in session.link.leaves(0, log.size):
        if tree.size >= log.size:
            raise LogCorrupted("The ledger has more leaves than its checkpoint says.")
        tree.append(digest)
        leaves.append(digest.hex())
    if tree.size != log.size or tree.root().hex() != log.root:
        raise LogCorrupted("The ledger's leaves do not hash to its checkpoint.")
    seen, position, view = 0, 0, MemoryView()
    replays = "auditor" in home.roles
    while position < log.size:
        entries, following = session.link.read(position, 256, 0)
        for entry in entries:
            if entry.index >= log.size:
                break
            statement = parse(entry.envelope)
            if leaves[entry.index] != statement.digest:
                raise LogCorrupted(
                    "Statement {index} is not the leaf that the ledger has there.", index=entry.index
                )
            if replays and entry.index != seen:
                raise LogCorrupted("The space withholds statement {index} from its auditor.", index=seen)
            _check_named_state(statement, entry.index, log.origin, tree)
            if replays:
                view.install(apply(view, statement, statement.issued))
            seen += 1
        if following <= position:
            break
        position = following
    if replays and seen != log.size:
        raise LogCorrupted("The space withholds statement {index} from its auditor.", index=seen)
    return Audit(log.size, log.root, seen, replays)


def _check_named_state(statement: Statement, index: int, origin: str, tree: MerkleTree) -> None:
    """What its signer had seen of the ledger is this ledger: otherwise it was shown another one."""
    named = statement.log
    ours = named.origin == origin and named.size <= index
    if not ours or (named.size and tree.root(named.size).hex() != named.root):
        raise LogCorrupted(
            "The signer of statement {index} was shown another ledger.",
            fix="Keep both: signed by the space, they prove the fork.", index=index,
        )  # fmt: skip


class Witness:
    """Cosigns the space's checkpoints: each only if the ledger grew from the last one that it signed."""

    def __init__(self, home: PartyHome) -> None:
        self._home = home
        self._path = home.path / "witness.json"
        # The space takes a party's cosignatures under this name alone.
        self._name = f"witness/{home.fingerprint[:16]}"

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
        if content.get("forked"):
            raise LogCorrupted(
                "This witness has seen the ledger fork and signs no more.",
                fix="Compare the checkpoints with other parties; only then remove witness.json.",
            )
        return WitnessState(int(content["size"]), bytes.fromhex(content["root"]), str(content["origin"]))

    def cosign_newest(self) -> int | None:
        """Look once; returns the size that was cosigned, or None if there was nothing new.

        Raises:
            LogCorrupted: the ledger has forked or shrunk. Nothing is signed then, ever again, until a person looks.

        """
        session = self._home.session
        lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Reading the state, advancing it and writing it is one step, also beside another process of ours.
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self._state()
            note, proof = session.link.checkpoint(state.size)
            checkpoint = open_checkpoint(note, self._home.trust().space.ledger_key)
            if checkpoint.size == state.size and checkpoint.root == state.root and f" {self._name} " in note:
                return None
            line = self._sign(note, checkpoint, state, proof)
        finally:
            os.close(lock)
        session.link.add_cosignature(checkpoint.size, line)
        return checkpoint.size

    def _sign(self, note: str, checkpoint: Checkpoint, state: WitnessState, proof: tuple[bytes, ...]) -> str:
        try:
            if checkpoint.size < state.size:
                raise LogCorrupted("The ledger has shrunk.")
            accepted = advance(state, state.size, checkpoint, proof)
        except LogCorrupted:
            if state.size:  # a wrong proof at the very first look shows no fork
                content = json.loads(self._path.read_bytes())
                write_atomic(self._path, json.dumps({**content, "forked": True}).encode())
            raise
        # Durable before the signature leaves: after a crash the same or a later checkpoint follows, never a fork.
        kept = {"size": accepted.size, "root": accepted.root.hex(), "origin": accepted.origin}
        write_atomic(self._path, json.dumps(kept).encode())
        return cosign(
            note, self._name, self._public(), lambda message: self._home.keys.sign("witness", message),
            int(self._home.clock()),
        )  # fmt: skip

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

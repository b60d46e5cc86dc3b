"""A verified session with the space: everything it answers is checked before anybody acts on it.

The session remembers, durably, the last checkpoint it accepted and the highest sequence number of each
party's description it saw. A log that shrinks or forks, and a description older than one seen, are
refused: what the space can still do is say nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustspace.domain.bodies import Body, Party
from trustspace.domain.permissions import signing_key
from trustspace.domain.records import DatasetRecord, JobRecord
from trustspace.domain.replay import MemoryView, replay, replayed_job, replayed_party
from trustspace.domain.statements import LogReference, Statement, make, parse
from trustspace.domain.trust import TrustFile
from trustspace.errors import LogCorrupted, NotFound, Unavailable, VerificationFailed
from trustspace.ledger.checkpoint import open_checkpoint
from trustspace.ledger.cosign import WitnessState, advance
from trustspace.ledger.merkle import leaf_hash, verify_inclusion
from trustspace.storage.files import write_atomic
from trustspace.transport.links import Entry, Proof, SpaceLink, Subject

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dossier:
    """Proven statements about one subject, oldest first, and what they add up to."""

    statements: tuple[Statement, ...]
    entries: tuple[Entry, ...]
    checkpoint: str
    view: MemoryView

    def job(self, digest: str) -> JobRecord:
        """The job among them."""
        return replayed_job(self.view, digest)

    def party(self, fingerprint: str) -> Party:
        """A party's newest description among them."""
        return replayed_party(self.view, fingerprint).body

    def statement(self, digest: str) -> Statement:
        """A statement among them."""
        for statement in self.statements:
            if statement.digest == digest:
                return statement
        raise NotFound("There is no such statement, or it is not yours to see.")


class Session:
    """One party's (or its enclave's) verified dealings with the space; safe for several threads and processes."""

    def __init__(
        self,
        link: SpaceLink,
        trust: Callable[[], TrustFile],
        party: str,
        state: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.link = link
        self._trust = trust
        self.party = party
        self._path = state
        self._clock = clock

    @property
    def trust(self) -> TrustFile:
        """Whom this side has pinned, as of now: a pin added meanwhile by its people counts at once."""
        return self._trust()

    def now(self) -> int:
        """Whole seconds since 1970 by this side's own clock."""
        return int(self._clock())

    def sync(self) -> LogReference:
        """Fetch and accept the newest checkpoint."""
        with self._locked() as state:
            return self._sync(state)

    def compare(self, other: LogReference) -> None:
        """Show that the ledger which somebody else has seen and the one accepted here are one.

        Raises:
            LogCorrupted: they are not: the space shows different parties different ledgers.

        """
        with self._locked() as state:
            self._join(state, WitnessState(other.size, bytes.fromhex(other.root), other.origin))

    def accepted(self) -> LogReference:
        """The checkpoint that was accepted last."""
        with self._locked() as state:
            return _reference(_accepted(state)) if state.get("origin") else self._sync(state)

    def sign(self, body: Body, *, public: bytes, sign: Callable[[bytes], bytes]) -> Statement:
        """Sign a body, naming the last verified checkpoint, without appending it yet."""
        with self._locked() as state:
            log = _reference(_accepted(state)) if state.get("origin") else self._sync(state)
        return make(
            body, by=self.party, issued=self.now(), nonce=os.urandom(32), log=log, public=public, sign=sign
        )

    def submit(self, body: Body, *, public: bytes, sign: Callable[[bytes], bytes]) -> Statement:
        """Sign a body, append it, and check that it stands."""
        statement = self.sign(body, public=public, sign=sign)
        try:
            self.append(statement)
        except Unavailable:
            self.append(statement)  # perhaps only the answer was lost: the same bytes stand once
        return statement

    def append(self, statement: Statement) -> int:
        """Append a signed statement (again, if need be) and return its proven index."""
        with self._locked() as state:
            known = _accepted(state)
            receipt = self.link.submit(statement.envelope.to_bytes(), known.size)
            log = self._accept(state, known, receipt.checkpoint, receipt.consistency)
        _check_inclusion(statement, receipt.index, receipt.inclusion, log)
        return receipt.index

    def dossier(self, what: Subject, trust: Callable[[list[Statement]], TrustFile] | None = None) -> Dossier:
        """Fetch, prove and replay the statements about a subject.

        ``trust`` may widen the trust file by what the statements say, where the caller checks afterwards
        that somebody it trusts stands behind that.

        Raises:
            VerificationFailed: a signature, proof or pinned fingerprint does not hold.
            LogCorrupted: the log contradicts what was seen before.

        """
        with self._locked() as state:
            known = _accepted(state)
            proof = self.link.prove(what, known.size)
            log = self._accept(state, known, proof.checkpoint, proof.consistency)
            statements = _proven(proof, log)
            view = replay(statements, trust(statements) if trust else self.trust)
            _check_sequences(state, statements)
        return Dossier(tuple(statements), proof.entries, proof.checkpoint, view)

    def cosigned_job(self, digest: str) -> Dossier:
        """The dossier of a job as of the newest checkpoint that enough witnesses have cosigned.

        Raises:
            VerificationFailed: too few cosigned it.
            LogCorrupted: what the witnesses saw and what was accepted here are not one ledger.

        """
        trust = self.trust
        with self._locked() as state:
            proof = self.link.prove(Subject("job", digest), cosigned_by=trust.witness_quorum)
            checkpoint = open_checkpoint(
                proof.checkpoint, trust.space.ledger_key, trust.witnesses, trust.witness_quorum
            )
            cosigned = WitnessState(checkpoint.size, checkpoint.root, checkpoint.origin)
            self._join(state, cosigned)
            statements = _proven(proof, _reference(cosigned))
            view = replay(statements, trust)
            _check_sequences(state, statements)
        return Dossier(tuple(statements), proof.entries, proof.checkpoint, view)

    def _join(self, state: dict[str, Any], cosigned: WitnessState) -> None:
        """Show that the cosigned checkpoint, older or newer, and the accepted one are of one ledger."""
        known = _accepted(state)
        first, second = sorted((cosigned, known), key=lambda at: at.size)
        if first.size in {0, second.size}:
            if first.size and first.root != second.root:
                raise LogCorrupted("The witnesses saw another ledger than the one that was accepted here.")
        else:
            # Two proofs to one and the same newest checkpoint, which then continues both.
            for _ in range(8):
                note, from_known = self.link.checkpoint(known.size)
                other, from_cosigned = self.link.checkpoint(cosigned.size)
                newest = open_checkpoint(note, self.trust.space.ledger_key)
                if open_checkpoint(other, self.trust.space.ledger_key) == newest:
                    advance(cosigned, cosigned.size, newest, from_cosigned)
                    self._accept(state, known, note, from_known)
                    return
            raise Unavailable(
                "The ledger is growing too fast to compare two of its states.", fix="Try again."
            )

    def job(self, digest: str) -> Dossier:
        """The dossier of a job."""
        found = self.dossier(Subject("job", digest))
        found.job(digest)
        return found

    def notice(self, digest: str) -> Statement:
        """A statement by itself: in the ledger, and signed by a key that its party's root vouched for then.

        What led to it is not shown to this party, so the rules are not applied: the caller judges what it says.
        """
        with self._locked() as state:
            known = _accepted(state)
            proof = self.link.prove(Subject("digest", digest), known.size)
            log = self._accept(state, known, proof.checkpoint, proof.consistency)
            statements = _proven(proof, log)
            _check_sequences(state, statements)
        for place, statement in enumerate(statements):
            if statement.digest == digest:
                about = [s for s in statements[:place] if isinstance(s.body, Party) and s.by == statement.by]
                signing_key(replayed_party(replay(about, self.trust), statement.by).body, statement)
                return statement
        raise NotFound("There is no such statement, or it is not yours to see.")

    def dataset(self, digest: str) -> DatasetRecord:
        """A dataset version, proven."""
        record = self.dossier(Subject("digest", digest)).view.get(DatasetRecord, digest)
        if record is None:
            raise NotFound("There is no such dataset.")
        return record

    def party_body(self, fingerprint: str) -> Party:
        """A pinned party's newest description, proven."""
        self.trust.require(fingerprint)
        return self.dossier(Subject("party", fingerprint)).party(fingerprint)

    def _sync(self, state: dict[str, Any]) -> LogReference:
        known = _accepted(state)
        note, consistency = self.link.checkpoint(known.size)
        return self._accept(state, known, note, consistency)

    def _accept(
        self, state: dict[str, Any], known: WitnessState, note: str, consistency: tuple[bytes, ...]
    ) -> LogReference:
        checkpoint = open_checkpoint(note, self.trust.space.ledger_key)
        if checkpoint.size < known.size:
            raise LogCorrupted("The space shows a shorter ledger than it showed before.")
        accepted = advance(known, known.size, checkpoint, consistency)
        state.update(size=accepted.size, root=accepted.root.hex(), origin=accepted.origin)
        return _reference(accepted)

    def _load(self) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError:
            raise LogCorrupted(
                "The file {file} that remembers the ledger is damaged.",
                fix="Restore it from a backup; without it a forked ledger would go unnoticed.", file=self._path.name,
            ) from None  # fmt: skip
        return content

    @contextlib.contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        """The remembered state, held across the request, so that any two answers are compared."""
        lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self._load()
            before = json.dumps(state, sort_keys=True)
            yield state
            after = json.dumps(state, sort_keys=True)
            if after != before:
                write_atomic(self._path, after.encode())
        finally:
            os.close(lock)


def watch(session: Session, stop: threading.Event, attend: Callable[[], object]) -> None:
    """Call ``attend`` now and whenever the ledger has grown, until told to stop.

    Nothing that the space says or does ends the loop: it is logged, and tried again a little later.
    """
    position, pause = 0, 0.5
    while not stop.is_set():
        try:
            position = max(position, session.sync().size)
            attend()
            asked = time.monotonic()
            _, position = session.link.read(position, 256, 15.0)
            pause = 0.5
            if time.monotonic() - asked < 0.05:
                stop.wait(0.05)  # a space with too many waiters answers at once
        except Unavailable as error:
            _LOG.warning("the space cannot be reached: %s", error)
            stop.wait(pause)
            pause = min(pause * 2, 30.0)
        except Exception:
            _LOG.exception("attending failed")
            stop.wait(5.0)


def _accepted(state: dict[str, Any]) -> WitnessState:
    if not state.get("origin"):
        return WitnessState()
    return WitnessState(int(state["size"]), bytes.fromhex(state["root"]), str(state["origin"]))


def _reference(state: WitnessState) -> LogReference:
    return LogReference(origin=state.origin, size=state.size, root=state.root.hex())


def _proven(proof: Proof, log: LogReference) -> list[Statement]:
    """The statements of a proof, each in the ledger, in the ledger's order."""
    statements, before = [], -1
    for entry in proof.entries:
        statement = parse(entry.envelope)
        _check_inclusion(statement, entry.index, entry.inclusion, log)
        if entry.index <= before:
            raise LogCorrupted("The space shows statements out of the ledger's order.")
        before = entry.index
        statements.append(statement)
    return statements


def _check_sequences(state: dict[str, Any], statements: list[Statement]) -> None:
    newest: dict[str, int] = {}
    for statement in statements:
        if isinstance(statement.body, Party):
            newest[statement.by] = max(newest.get(statement.by, 0), statement.body.sequence)
    seen = state.setdefault("sequences", {})
    for party, sequence in newest.items():
        if sequence < seen.get(party, 0):
            raise LogCorrupted(
                "The space shows an older description of {party} than it showed before.", party=party[:12]
            )
        seen[party] = sequence


def _check_inclusion(statement: Statement, index: int, proof: tuple[bytes, ...], log: LogReference) -> None:
    leaf = leaf_hash(bytes.fromhex(statement.digest))
    try:
        verify_inclusion(leaf, index, log.size, proof, bytes.fromhex(log.root))
    except VerificationFailed:
        raise LogCorrupted("The space does not prove that a statement is in its ledger.") from None

"""What the space does for a caller: use cases over the ledger, the blobs and the certificate authority.

Each method gets the caller that TLS verified. It checks permission before existence, and hands to the
ledger what changes anything; no method changes state in another way, except for blobs awaiting a statement.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from trustspace.crypto.statement import key_id
from trustspace.domain.bodies import Body, Job, KeyUse, Party, Release
from trustspace.domain.permissions import (
    may_read_blob,
    may_read_job,
    roles_of,
    verify_party,
)
from trustspace.domain.quorum import standing
from trustspace.domain.records import (
    BlobRecord,
    JobRecord,
    OutputRecord,
    PartyRecord,
)
from trustspace.domain.rules_common import job_of
from trustspace.domain.statements import LogReference, Statement, make, parse
from trustspace.errors import (
    InvalidInput,
    NotFound,
    PermissionDenied,
    TrustspaceError,
    Unauthenticated,
    VerificationFailed,
)  # fmt: skip
from trustspace.ledger.checkpoint import open_checkpoint
from trustspace.ledger.cosign import add_cosignature
from trustspace.ledger.note import parse_note, parse_signature_line
from trustspace.space.blobs import BlobStore
from trustspace.space.ledger import Ledger, Standing
from trustspace.space.reading import Reader
from trustspace.space.store import StoredEntry
from trustspace.transport.links import Entry, Proof, Receipt, Subject
from trustspace.transport.tls import Caller, issue

MAX_WAITING = 128
READ_LIMIT = 256
PAGE_BYTES = 1 << 20
_LOG = logging.getLogger(__name__)


# What a machine of a party is, by the use of the key that it has and its party's root vouches for.
_MACHINES: dict[str, KeyUse] = {"enclave": "enclave", "reviewer": "review"}


@dataclass(frozen=True)
class Authority:
    """The certificate authority for transport, PEM. It certifies connections and authorises nothing."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class Operator:
    """The operator as a party: what the space signs its release notes with."""

    fingerprint: str
    public: bytes
    sign: Callable[[bytes], bytes]


class Space:
    """The use cases. Thread-safe."""

    def __init__(
        self,
        ledger: Ledger,
        blobs: BlobStore,
        authority: Authority,
        operator: Operator,
        entropy: Callable[[int], bytes],
        slot_seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._authority = authority
        self._operator = operator
        self._entropy = entropy
        self.reader = Reader(ledger.view, slot_seconds, self._now)
        self._clock = clock
        self._waiting = threading.BoundedSemaphore(MAX_WAITING)
        self._cosigning = threading.Lock()

    def _now(self) -> float:
        return self._clock()

    # -- enrolment

    def enrol(self, token: str, csr_pem: bytes, envelope: bytes) -> tuple[bytes, Receipt]:
        """Redeem an invitation: log the party's description and certify its transport key."""
        statement = parse(envelope)
        party = verify_party(statement)
        self._check_log(statement.log)
        known = self._ledger.view.get(PartyRecord, statement.by)
        token_hash = hashlib.sha256(token.encode()).digest()
        # An invitation is used up only by what could stand: somebody who mistook the roles may try again.
        invitation = self._ledger.store.invitation(token_hash)
        # A description is public: it gets its party a certificate again only with the invitation it came by.
        holders = (statement.by,) if known is not None else ("", statement.by)
        if invitation is None or invitation.party not in holders or invitation.expires < self._clock():
            raise PermissionDenied(
                "The invitation is unknown, used or expired.", fix="Ask the operator for another."
            )
        if set(party.roles) != set(invitation.roles):
            raise PermissionDenied(
                "The invitation is for the roles {roles}.",
                fix="Make the party with exactly these.", roles=", ".join(invitation.roles),
            )  # fmt: skip
        certificate = self._certify(csr_pem, Caller(statement.by, "client", ""))
        if known is not None and known.body == party:
            # The answer to an earlier attempt was lost.
            return certificate, self._receipt(self._ledger.index(known.statement), 0)
        if party.sequence != 1:
            raise InvalidInput("A new party's first description has sequence number 1.")
        if not self._ledger.store.redeem(token_hash, statement.by):
            raise PermissionDenied("The invitation is used.", fix="Ask the operator for another.")
        return certificate, self._receipt(self._ledger.submit(statement), 0)

    def enrol_machine(self, caller: Caller, csr_pem: bytes, key: str) -> bytes:
        """Certify the transport key of an enclave, or a reviewer's home, that the calling party's root vouches for."""
        party = self._enrolled(caller)
        kind = next((kind for kind, use in _MACHINES.items() if (use, key) in _vouched(party)), None)
        if caller.kind != "client" or kind is None:
            raise PermissionDenied("The machine's key is not in the calling party's description.")
        return self._certify(csr_pem, Caller(caller.party, kind, key))

    def _certify(self, csr_pem: bytes, caller: Caller) -> bytes:
        now = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC)
        return issue(csr_pem, caller, self._authority.certificate, self._authority.key, now)

    def _enrolled(self, caller: Caller) -> Party:
        record = self._ledger.view.get(PartyRecord, caller.party)
        if record is None:
            raise Unauthenticated("The caller is not enrolled in this space.", fix="Ask for an invitation.")
        if caller.kind == "reviewer" and ("review", caller.key) not in _vouched(record.body):
            # Its certificate outlives its being vouched for: a home that was given up is shown nothing more.
            raise PermissionDenied("The source unit does not vouch for this reviewer any more.")
        return record.body

    # -- statements

    def submit(self, caller: Caller, envelope: bytes, known_size: int) -> Receipt:
        """Append a statement of the caller's."""
        self._enrolled(caller)
        statement = parse(envelope)
        if statement.by != caller.party:
            raise PermissionDenied("A statement is submitted by its author.")
        if caller.kind == "reviewer" and statement.signer != key_id(bytes.fromhex(caller.key)):
            raise PermissionDenied("A reviewer's home submits only what its own key has signed.")
        self._check_log(statement.log)
        self._check_answered(statement)
        receipt = self._receipt(self._ledger.submit(statement), known_size)
        if statement.type == "decision":
            self._release(self._ledger.view.get(JobRecord, job_of(statement)))
        return receipt

    def _check_answered(self, statement: Statement) -> None:
        """A job answers one that exists. Who replays a job alone has not the other one, so no rule can ask for it."""
        body = statement.body
        if isinstance(body, Job) and body.supersedes:
            answered = self._ledger.view.get(JobRecord, body.supersedes)
            if answered is None or answered.body.developer != statement.by:
                raise PermissionDenied("The job answers another one that is not its developer's.")

    def _check_log(self, log: LogReference) -> None:
        """A statement names a state of *this* log; otherwise its author has been shown another one."""
        now = self._ledger.standing()
        ours = log.origin == self._ledger.origin and log.size <= now.size
        if not ours or self._ledger.root(log.size).hex() != log.root:
            raise VerificationFailed(
                "The statement names a ledger state that this space never had.",
                fix="Compare checkpoints with another party: the ledger may have been forked.",
            )

    def _receipt(self, index: int, known_size: int) -> Receipt:
        now = self._ledger.standing()
        return Receipt(
            index,
            now.note,
            self._ledger.inclusion(index, now.size),
            self._ledger.consistency(known_size, now.size),
        )

    def release_approved(self) -> None:
        """Note the release of every output whose quorum stands; also after a restart."""
        for job in self._ledger.view.all(JobRecord):
            self._release(job)

    def _release(self, job: JobRecord | None) -> None:
        if job is None or job.state != "approved":
            return
        output = self._ledger.view.get(OutputRecord, job.output)
        assert output is not None
        state = standing(self._ledger.view, job, output, int(self._clock()))
        if state.verdict != "approved":
            return  # an approval has expired meanwhile: its reviewer may decide again
        body = Release(
            job=job.statement, output=job.output, decisions=state.decisions, artifacts=state.artifacts
        )
        try:
            self._ledger.submit(self._sign(body))
        except TrustspaceError as error:
            # Somebody else's call released it in between, or it is tried again at the next start.
            _LOG.warning("job %s is not released: %s", job.statement[:12], error)

    def _sign(self, body: Body) -> Statement:
        now = self._ledger.standing()
        checkpoint = open_checkpoint(now.note, self._ledger.verifier)
        log = LogReference(origin=checkpoint.origin, size=checkpoint.size, root=checkpoint.root.hex())
        return make(
            body, by=self._operator.fingerprint, issued=int(self._clock()), nonce=self._entropy(32), log=log,
            public=self._operator.public, sign=self._operator.sign,
        )  # fmt: skip

    # -- reading

    def read(self, caller: Caller, after: int, limit: int, wait_seconds: float) -> tuple[list[Entry], int]:
        """Entries that the caller may see; waits for new ones while there is room for waiters."""
        self._enrolled(caller)
        if wait_seconds > 0 and self._waiting.acquire(blocking=False):
            try:
                self._ledger.wait_beyond(after, wait_seconds)
            finally:
                self._waiting.release()
        found: list[Entry] = []
        position = after
        # What is on disk beyond this is not in the projection yet, and so nobody's to read or to pass over.
        size = self._ledger.standing().size
        if after >= size:
            return found, position
        for entry in self._ledger.store.entries(after, max(1, min(limit, READ_LIMIT))):
            if entry.position >= size:
                break
            position = entry.position + 1
            if self.reader.may_read(caller, entry):
                found.append(Entry(entry.position, entry.envelope))
        return found, position

    def prove(self, caller: Caller, what: Subject, known_size: int, *, cosigned_by: int = 0) -> Proof:
        """The statements about a subject and what it takes to check them, against the newest checkpoint.

        With ``cosigned_by``, against the newest with so many cosignatures, which may be a little older.
        """
        self._enrolled(caller)
        now = self._ledger.standing()
        if cosigned_by:
            kept = self._ledger.store.cosigned(at_least=cosigned_by)
            now, known_size = Standing(*kept) if kept else now, 0
        entries = sorted(
            {e.position: e for e in self._closure(caller, what) if e.position < now.size}.values(),
            key=lambda entry: entry.position,
        )
        proven = tuple(
            Entry(e.position, e.envelope, self._ledger.inclusion(e.position, now.size))
            for e in entries
            if self.reader.may_read(caller, e, alone=what.kind == "digest")
        )
        return Proof(proven, now.note, self._ledger.consistency(known_size, now.size))

    def _closure(self, caller: Caller, what: Subject) -> list[StoredEntry]:
        store, view = self._ledger.store, self._ledger.view
        if what.kind == "party":
            return store.of_parties([what.key])
        if what.kind == "job":
            job = view.get(JobRecord, what.key)
            if job is None or not may_read_job(view, caller.party, job):
                raise PermissionDenied("There is no such job, or it is not yours to see.")
            datasets = store.find(use.dataset for use in job.body.datasets)
            parties = {*job.parties(), self._operator.fingerprint}
            return [*store.of_parties(parties), *datasets, *store.of_job(what.key)]
        found = [e for e in store.find([what.key]) if self.reader.may_read(caller, e, alone=True)]
        if not found:
            raise NotFound("There is no such statement, or it is not yours to see.")
        withdrawn = store.of_type("dataset-withdrawn") if found[0].type == "dataset" else []
        about = [e for e in withdrawn if getattr(parse(e.envelope).body, "dataset", "") == what.key]
        return [*store.of_parties([found[0].author]), *found, *about]

    def checkpoint(self, caller: Caller, known_size: int) -> tuple[str, tuple[bytes, ...]]:
        """The newest checkpoint, with its cosignatures if a witness was there already."""
        self._enrolled(caller)
        now = self._with_cosignatures(self._ledger.standing())
        return now.note, self._ledger.consistency(known_size, now.size)

    def _with_cosignatures(self, now: Standing) -> Standing:
        kept = self._ledger.store.cosigned(size=now.size)
        return Standing(*kept) if kept else now

    def leaves(self, caller: Caller, start: int, size: int) -> Iterator[list[bytes]]:
        """All leaves, in batches: anybody enrolled may re-hash the log."""
        self._enrolled(caller)
        batch: list[bytes] = []
        end = min(size, self._ledger.standing().size)
        for digest in self._ledger.store.digests(min(start, end), end):
            batch.append(digest)
            if len(batch) == 4096:
                yield batch
                batch = []
        if batch:
            yield batch

    def add_cosignature(self, caller: Caller, size: int, line: str) -> None:
        """Keep a witness's line under the checkpoint of this size, if it is the newest."""
        if caller.kind != "client" or "auditor" not in roles_of(self._ledger.view, caller.party):
            raise PermissionDenied("Only an auditor cosigns checkpoints.")
        if parse_signature_line(line).name != witness_name(caller.party):
            raise PermissionDenied(
                "A witness cosigns under its own name, {name}.", name=witness_name(caller.party)
            )
        with self._cosigning:
            now = self._ledger.standing()
            if size != now.size:
                raise InvalidInput(
                    "The ledger has moved on to size {size}.", fix="Cosign that.", size=now.size
                )
            base = self._with_cosignatures(now)
            note = add_cosignature(base.note, line)
            witnesses = {s.name for s in parse_note(note).signatures} - {self._ledger.origin}
            self._ledger.store.put_cosigned(size, note, len(witnesses))

    def view(self, caller: Caller, kind: str, key: str, after: int) -> tuple[list[bytes], int]:
        """A page of a list for people, as JSON texts, and where the next begins (0: nowhere).

        What is acted on is proven first; this only says where to look. ``work`` is those of the caller's
        jobs that wait for a broker or an enclave.
        """
        self._enrolled(caller)
        page: list[bytes] = []
        size = 0
        for number, item in enumerate(self.reader.items(caller, kind, key)):
            if number < after:
                continue
            text = json.dumps(item(), ensure_ascii=False).encode()
            if page and size + len(text) > PAGE_BYTES:
                return page, number
            page.append(text)
            size += len(text)
        return page, 0

    # -- blobs

    def put_blob(self, caller: Caller, digest: str, total_bytes: int, pieces: Iterable[bytes]) -> None:
        """Take a blob in, to wait for the statement that refers to it."""
        self._enrolled(caller)
        if len(digest) != 64:
            raise InvalidInput("A blob is named by 64 hexadecimal digits.")
        self._blobs.put(digest, total_bytes, pieces)
        # Only who has shown the bytes may refer to them: naming somebody else's digest opens nothing.
        self._ledger.store.note_upload(digest, caller.party)

    def get_blob(self, caller: Caller, digest: str) -> Iterator[bytes]:
        """A blob that a statement refers to and the caller may read."""
        self._enrolled(caller)
        record = self._ledger.view.get(BlobRecord, digest)
        if record is None or not may_read_blob(self._ledger.view, caller.party, record):
            raise PermissionDenied("There is no such blob, or it is not yours to fetch.")
        return self._blobs.read(digest)

    def sweep(self) -> int:
        """Delete blobs that no statement came for."""
        return self._blobs.sweep(lambda digest: self._ledger.view.get(BlobRecord, digest) is not None)


def _vouched(party: Party) -> set[tuple[KeyUse, str]]:
    return {(key.use, key.public) for key in party.keys}


def witness_name(party: str) -> str:
    """The name under which a party cosigns; no party can replace another's line."""
    return f"witness/{party[:16]}"

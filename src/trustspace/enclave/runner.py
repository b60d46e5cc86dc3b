"""The enclave's own loop: looks for granted jobs, offers a one-time key, runs, hands in, and cleans up.

All that it acts on is proven and replayed first. Run keys and opened data live in this object's memory and
die with it: a restarted enclave declares the runs it lost failed, and offers anew while grants last.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from trustspace.aggregation.schemes import scheme_of
from trustspace.crypto.wrap import OneTimeKey
from trustspace.domain import rules_run
from trustspace.domain.bodies import Body, Challenge, Evidence, Job, Output, RunFailed, RunOffer
from trustspace.domain.records import ChallengeRecord, GrantRecord, JobRecord, OfferRecord, OutputRecord
from trustspace.domain.statements import Statement
from trustspace.domain.tiers import tier_satisfies
from trustspace.domain.trust import TrustFile
from trustspace.enclave.checkpoint import clear, jobs
from trustspace.enclave.datasets import DatasetStore
from trustspace.enclave.failure import Control, RunError
from trustspace.enclave.history import History, Past, Record
from trustspace.enclave.home import EnclaveHome
from trustspace.enclave.journal import Journal
from trustspace.enclave.meeting import Identity, Roster, Terms
from trustspace.enclave.opening import Order
from trustspace.enclave.output import Produced
from trustspace.enclave.rounds import Rounds
from trustspace.enclave.run import Host, execute
from trustspace.errors import PolicyRefused, TrustspaceError, Unavailable, VerificationFailed
from trustspace.evidence.facts import Delivered
from trustspace.jobs.agreement import most_code_bytes
from trustspace.jobs.spec import Parameters
from trustspace.sandbox.launcher import Launcher
from trustspace.transport import rounds as wire
from trustspace.transport.links import Subject
from trustspace.transport.session import Dossier, Session, watch

_LOG = logging.getLogger(__name__)
FAILURES = 20
RESIGN_SECONDS = 240
NOT_DELIVERED = frozenset({"failed", "rejected", "changes-requested", "refused", "expired", "cancelled"})
# How long a joint job that names no time waits for a slow or lost source unit.
WAIT_SECONDS = 300.0


@dataclass
class _Run:
    offer: str
    key: OneTimeKey
    challenges: tuple[str, ...]
    started: bool = False
    name: str = ""
    job: Future[None] | None = field(default=None, repr=False)
    control: Control = field(default_factory=Control, repr=False)


@dataclass(frozen=True)
class Failure:
    """A run that ended without output, for the source unit's eyes: the log may hold data values."""

    job: str
    reason: str
    log: str


class Runner:
    """Attends to jobs until stopped."""

    def __init__(
        self, home: EnclaveHome, session: Session, relay: wire.Rounds, store: DatasetStore, launcher: Launcher,
        evidence: Evidence, concurrent: int,
    ) -> None:  # fmt: skip
        self._home = home
        self._session = session
        self._relay = relay
        self._host = Host(store, launcher, home.path / "rounds", self._meet)
        self._evidence = evidence
        self._owner = session.party
        self._key = home.public()
        self._runs: dict[str, _Run] = {}
        self._failures: deque[Failure] = deque(maxlen=FAILURES)
        self._first_row_ms: dict[str, int] = {}
        self._pool = ThreadPoolExecutor(max_workers=concurrent, thread_name_prefix="run")
        self._stop = threading.Event()
        # Offers whose end this process has seen to: an older view of the ledger must not end them again.
        self._ended: set[str] = set()
        # Runs that this process has dropped out of: it could only come back to them after a restart.
        self._left: set[str] = set()
        self._history = History(home.path / "history")
        self._thread = threading.Thread(
            target=watch, args=(session, self._stop, self._attend_all), name="runner", daemon=True
        )

    def start(self) -> None:
        """Begin to attend."""
        self._thread.start()

    def stop(self) -> None:
        """Stop attending; a run under way is killed with the launcher."""
        self._stop.set()
        for run in list(self._runs.values()):
            run.control.stop()
            run.key.destroy()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def stop_job(self, digest: str) -> None:
        """End a run of this job now: its source unit's people have said so, whatever the space says."""
        run = self._runs.get(digest)
        if run is not None:
            run.control.stop()

    def failures(self) -> list[Failure]:
        """The newest failures, for the source unit."""
        return list(self._failures)

    def first_row_ms(self) -> dict[str, int]:
        """Milliseconds from a sandbox's start to its first row, by job."""
        return dict(self._first_row_ms)

    def _attend_all(self) -> None:
        waiting = [str(job["statement"]) for job in self._session.link.view("work")]
        for ended in jobs(self._host.notes) - {*waiting, *self._runs}:
            # At worst the space hides a job that goes on, which then begins anew.
            clear(self._host.notes, ended)
        # A run of ours whose job no longer waits for us has been stopped, or has ended.
        for digest in dict.fromkeys([*waiting, *list(self._runs)]):
            try:
                self._attend(digest)
            except Unavailable:
                raise
            except TrustspaceError as error:
                _LOG.warning("job %s: %s", digest[:12], error)

    def dossier(self, digest: str) -> Dossier:
        """A job's dossier, in which the pinned source unit's grant stands for the other parties it names."""

        def widen(statements: list[Statement]) -> TrustFile:
            trust = self._session.trust
            for statement in statements:
                if statement.digest == digest and isinstance(statement.body, Job):
                    body = statement.body
                    for party in {*body.source_units, body.developer, body.buyer} - trust.fingerprints():
                        trust = trust.with_party(party, party)
            return trust

        return self._session.dossier(Subject("job", digest), widen)

    def _attend(self, digest: str) -> None:
        dossier = self.dossier(digest)
        job = dossier.job(digest)
        grant = dossier.view.get(GrantRecord, job.grants.get(self._owner, ""))
        if grant is None or grant.body.enclave != self._key.hex():
            return
        run, standing = self._runs.get(digest), job.offers.get(self._owner)
        if standing in self._ended:
            if job.state == "running":
                self._wait_no_longer(dossier, job, standing)
            return
        if standing and (run is None or run.offer != standing):
            # Ours, but from before a restart: its key is gone.
            self._fail(digest, standing, RunError("host"))
        elif run is not None and run.started:
            if standing != run.offer or job.state in ("refused", "cancelled", "expired", "failed"):
                run.control.stop()
        elif not standing and run is not None:
            self._forget(digest)
        elif not standing and self._may_offer(job):
            self._offer(dossier, job, grant)
        elif job.state == "running" and run is not None and self._released(dossier, job, run):
            run.started = True
            run.job = self._pool.submit(self._run, digest, run)

    def _wait_no_longer(self, dossier: Dossier, job: JobRecord, offer: str) -> None:
        """End a run whose output we have signed, and a member that is gone has not."""
        output = dossier.view.get(OutputRecord, job.output)
        if output is not None and self._session.now() - output.issued > rules_run.OVERDUE_SECONDS:
            self._session.append(self._sign(RunFailed(job=job.statement, offer=offer, reason="members")))

    def _may_offer(self, job: JobRecord) -> bool:
        return job.state == "granted" or (job.state == "running" and job.run not in self._left)

    def _released(self, dossier: Dossier, job: JobRecord, run: _Run) -> bool:
        """Whether every data key of ours is there; a run that others are in is on already when we come back."""
        offer = dossier.view.get(OfferRecord, run.offer)
        own = {use.dataset for use in job.body.datasets if use.source_unit == self._owner}
        return offer is not None and own <= set(offer.released)

    def _meet(self, order: Order, parameters: Parameters, deadline: float, stop: threading.Event) -> Rounds:
        """This enclave's side of the rounds of a run."""
        job = order.job
        federated, sums = parameters.federated, job.body.sums
        if sums is None:
            raise RunError("not-opened", b"The job does not say how its sums are protected.\n")
        terms = Terms(
            job.statement, job.run, job.body.minimum_participants,
            federated.wait_seconds if federated is not None else WAIT_SECONDS, deadline,
        )  # fmt: skip
        identity = Identity(order.source_unit, order.offer, self._key, self._home.sign)
        known = [self._roster(order.dossier, job.statement)]

        def roster(fresh: bool) -> Roster:
            if fresh:
                known[0] = self._roster(self.dossier(job.statement), job.statement)
            return known[0]

        return Rounds(
            self._relay, identity, terms, roster, Journal(self._host.notes, job.statement),
            scheme_of(sums.scheme, sums.needed), self._session.accepted, self._session.compare, stop,
        )  # fmt: skip

    @staticmethod
    def _roster(dossier: Dossier, digest: str) -> Roster:
        offers = {}
        for unit, offer in dossier.job(digest).offers.items():
            record = dossier.view.get(OfferRecord, offer)
            if record is not None:
                offers[unit] = (offer, bytes.fromhex(record.enclave))
        return Roster(offers)

    def _offer(self, dossier: Dossier, job: JobRecord, grant: GrantRecord) -> None:
        if not tier_satisfies(self._evidence.sandbox_tier, grant.body.sandbox_tier):
            _LOG.warning("job %s demands a stronger sandbox than this host gives", job.statement[:12])
            return
        answered = []
        for holder in job.body.key_holders:
            open_ones = [
                c
                for c in dossier.view.all(ChallengeRecord)
                if (c.key_holder, c.enclave, c.used) == (holder, self._key.hex(), False)
            ]
            if not open_ones:
                return
            answered.append(Challenge(key_holder=holder, challenge=open_ones[-1].challenge))
        key = OneTimeKey.generate()
        body = RunOffer(
            job=job.statement, run_key=key.public.hex(), challenges=tuple(answered), evidence=self._evidence
        )
        offer = self._sign(body)
        # Remembered before it is sent: were the answer lost, the offer would be ours all the same.
        self._runs[job.statement] = _Run(offer.digest, key, tuple(c.challenge for c in answered))
        self._session.append(offer)

    def _run(self, digest: str, run: _Run) -> None:
        try:
            self._execute(digest, run)
        except RunError as error:
            self._fail(digest, run.offer, error)
        except TrustspaceError as error:
            _LOG.warning("run of job %s failed: %s", digest[:12], error)
            self._fail(digest, run.offer, RunError("host", error.public_message.encode() + b"\n"))
        except Exception as error:
            _LOG.exception("run of job %s failed", digest[:12])
            self._fail(digest, run.offer, RunError("host", f"{type(error).__name__}\n".encode()))

    def _execute(self, digest: str, run: _Run) -> None:
        dossier = self.dossier(digest)
        job = dossier.job(digest)
        run.name = job.run
        grant = dossier.view.get(GrantRecord, job.grants.get(self._owner, ""))
        if grant is None or job.offers.get(self._owner) != run.offer:
            raise RunError("stopped")
        past = Past.of(self._history, (), dossier.view, job, self._owner, self._session.now())
        order = Order(
            dossier, job, grant, self._owner, run.offer, run.key, run.challenges, self._evidence, self._code(job),
            *self._made_before(job), past,
        )  # fmt: skip
        if job.body.is_joint:
            # From its first sum on its part may be in the result, also if this enclave drops out before the end.
            past.note(past.start)
        produced = execute(order, self._host, run.control)
        # The opened keys have done their work; nothing of this run can be opened again.
        run.key.destroy()
        self._first_row_ms[digest] = produced.first_row_ms
        body = Output(
            job=digest, offer=run.offer, run=job.run, members=produced.members, transcript=produced.transcript,
            grants=tuple(job.grants[unit] for unit in job.body.source_units),
            artifacts=produced.artifacts, evidence=produced.evidence, sandbox_tier=self._evidence.sandbox_tier,
        )  # fmt: skip
        self._hand_in(job, run, produced, body)
        self._ended.add(run.offer)
        # Its checkpoints stay until the job has left its run: should another member be lost before it hands in,
        # all go on from them.
        self._forget(digest)

    def _code(self, job: JobRecord) -> bytes:
        """The bytes that the job names as its code: the bundle, of blind code its ciphertext, or an encrypted model."""
        if not job.body.code:
            return b""
        try:
            return self._session.link.fetch(job.body.code, most_code_bytes(job.body))
        except VerificationFailed as error:
            raise RunError("not-opened", error.public_message.encode() + b"\n") from None

    def _hand_in(self, job: JobRecord, run: _Run, produced: Produced, body: Output) -> None:
        """Upload and sign, however long the space is away: a day's training is not lost to its restart."""
        statement: Statement | None = None
        pause = 0.5
        while True:
            try:
                blobs = produced.own_blobs
                if not self.dossier(job.statement).job(job.statement).output:
                    blobs = (*produced.joint_blobs, *blobs)  # one member uploads what all have
                for blob in blobs:
                    self._session.link.put_blob(blob.data, blob.digest, len(blob.data))
                # The same statement again, as long as its time is near: its answer may only have been lost.
                if statement is None or abs(self._session.now() - statement.issued) > RESIGN_SECONDS:
                    statement = self._sign(body)
                self._session.append(statement)
                return
            except PolicyRefused as refused:
                if not body.members:
                    raise
                # Every member packs the same bytes: what does not fit together is not one result.
                raise RunError("disagreement", refused.public_message.encode() + b"\n") from None
            except Unavailable as error:
                if self._stop.is_set() or self._session.now() > job.body.expires:
                    raise RunError("host") from None
                run.control.check()
                _LOG.warning("handing in the output of %s waits: %s", job.statement[:12], error)
                self._stop.wait(pause)
                pause = min(pause * 2, 30.0)

    def _made_before(self, job: JobRecord) -> tuple[tuple[Delivered, ...], int]:
        """What this buyer may hold, and the sums of scores that the developer has had."""
        records = self._history.concerning(job, rows=False)
        return self._delivered(job, records), self._sums_spent(job, records)

    @staticmethod
    def _sums_spent(job: JobRecord, records: Sequence[Record]) -> int:
        """How many sums of scores this enclave has made of the same datasets for the developer's other jobs."""
        datasets = {d.id for d in Parameters.from_json(job.body.parameters).datasets}
        return sum(
            record.sums
            for record in records
            if record.developer == job.body.developer and datasets & set(record.datasets)
        )

    def _delivered(self, job: JobRecord, records: Sequence[Record]) -> tuple[Delivered, ...]:
        """What this buyer holds already from this source unit, or may hold.

        From this enclave's own record. The ledger can show that something was not delivered; what the space
        will not show counts as delivered.
        """
        delivered = []
        for record in records:
            if record.buyer != job.body.buyer:
                continue
            try:
                state = self.dossier(record.job).job(record.job).state
            except TrustspaceError:
                state = "not shown"
            if state not in NOT_DELIVERED:
                delivered.append(Delivered(record.job, record.title, record.datasets, record.bytes))
        return tuple(delivered)

    def _fail(self, digest: str, offer: str, error: RunError) -> None:
        self._failures.append(Failure(digest, error.reason, error.log[-65536:].decode("utf-8", "replace")))
        reason: Any = error.reason
        run = self._runs.get(digest)
        if run is not None and run.name:
            self._left.add(run.name)
        try:
            self._session.append(self._sign(RunFailed(job=digest, offer=offer, reason=reason)))
        except Unavailable as refused:
            # Seen to again when the space is back: the run is then one whose key is gone.
            _LOG.warning("could not note the failure of %s: %s", digest[:12], refused)
        except TrustspaceError as refused:
            _LOG.warning("the failure of %s was not taken: %s", digest[:12], refused)
            self._ended.add(offer)
        else:
            self._ended.add(offer)
        self._forget(digest)

    def _forget(self, digest: str) -> None:
        run = self._runs.pop(digest, None)
        if run is not None:
            run.control.stop()
            run.key.destroy()

    def _sign(self, body: Body) -> Statement:
        return self._session.sign(body, public=self._key, sign=self._home.sign)

"""The enclave's own loop: looks for granted jobs, offers a one-time key, runs, hands in, and cleans up.

All that it acts on is proven and replayed first. Run keys and opened data live in this object's memory and
die with it: a restarted enclave declares the runs it lost failed, and offers anew while grants last.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from trustspace.crypto.wrap import OneTimeKey
from trustspace.domain.bodies import Body, Challenge, Evidence, Job, Output, RunFailed, RunOffer
from trustspace.domain.records import ChallengeRecord, DatasetRecord, GrantRecord, JobRecord, OutputRecord
from trustspace.domain.statements import Statement
from trustspace.domain.trust import TrustFile
from trustspace.enclave.datasets import DatasetStore
from trustspace.enclave.home import EnclaveHome
from trustspace.enclave.run import Order, RunError, execute
from trustspace.errors import NotFound, TrustspaceError, Unavailable, VerificationFailed
from trustspace.evidence.facts import Delivered
from trustspace.sandbox.config import tier_satisfies
from trustspace.sandbox.launcher import Launcher
from trustspace.transport.links import Subject
from trustspace.transport.session import Dossier, Session

_LOG = logging.getLogger(__name__)
HISTORY = 50
FAILURES = 20
MAX_CODE_BYTES = 1 << 20


@dataclass
class _Run:
    offer: str
    key: OneTimeKey
    challenges: tuple[str, ...]
    started: bool = False
    job: Future[None] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Failure:
    """A run that ended without output, for the source unit's eyes: the log may hold data values."""

    job: str
    reason: str
    log: str


class Runner:
    """Attends to jobs until stopped."""

    def __init__(
        self, home: EnclaveHome, session: Session, store: DatasetStore, launcher: Launcher, evidence: Evidence,
        concurrent: int,
    ) -> None:  # fmt: skip
        self._home = home
        self._session = session
        self._store = store
        self._launcher = launcher
        self._evidence = evidence
        self._owner = session.party
        self._key = home.public()
        self._runs: dict[str, _Run] = {}
        self._failures: deque[Failure] = deque(maxlen=FAILURES)
        self._first_row_ms: dict[str, int] = {}
        self._pool = ThreadPoolExecutor(max_workers=concurrent, thread_name_prefix="run")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="runner", daemon=True)

    def start(self) -> None:
        """Begin to attend."""
        self._thread.start()

    def stop(self) -> None:
        """Stop attending; a run under way is killed with the launcher."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for run in self._runs.values():
            run.key.destroy()

    def failures(self) -> list[Failure]:
        """The newest failures, for the source unit."""
        return list(self._failures)

    def first_row_ms(self) -> dict[str, int]:
        """Milliseconds from a sandbox's start to its first row, by job."""
        return dict(self._first_row_ms)

    def _loop(self) -> None:
        position, pause = 0, 0.5
        while not self._stop.is_set():
            try:
                self._attend_all()
                _, position = self._session.link.read(position, 256, 15.0)
                pause = 0.5
            except Unavailable as error:
                _LOG.warning("the space cannot be reached: %s", error)
                self._stop.wait(pause)
                pause = min(pause * 2, 30.0)
            except TrustspaceError:
                _LOG.exception("attending to jobs failed")
                self._stop.wait(5.0)

    def _attend_all(self) -> None:
        for job in self._session.link.view("jobs"):
            if self._owner not in job["source_units"] or job["state"] not in ("granted", "running"):
                continue
            try:
                self._attend(str(job["statement"]))
            except Unavailable:
                raise
            except TrustspaceError as error:
                _LOG.warning("job %s: %s", job["statement"][:12], error)

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
        if standing and (run is None or run.offer != standing):
            # Ours, but from before a restart: its key is gone.
            self._fail(digest, standing, RunError("host"))
        elif not standing and run is not None and run.started is False:
            self._forget(digest)
        elif not standing and job.state == "granted" and run is None:
            self._offer(dossier, job, grant)
        elif job.state == "running" and run is not None and not run.started:
            run.started = True
            run.job = self._pool.submit(self._run, digest, run)

    def _offer(self, dossier: Dossier, job: JobRecord, grant: GrantRecord) -> None:
        if not tier_satisfies(self._evidence.sandbox_tier, grant.body.sandbox_tier):
            _LOG.warning("job %s demands a stronger sandbox than this host gives", job.statement[:12])
            return
        answered = []
        for unit in job.body.source_units:
            open_ones = [
                c
                for c in dossier.view.all(ChallengeRecord)
                if (c.source_unit, c.enclave, c.used) == (unit, self._key.hex(), False)
            ]
            if not open_ones:
                return
            answered.append(Challenge(source_unit=unit, challenge=open_ones[-1].challenge))
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
        except Exception as error:
            _LOG.exception("run of job %s failed", digest[:12])
            self._fail(digest, run.offer, RunError("host", f"{type(error).__name__}\n".encode()))

    def _execute(self, digest: str, run: _Run) -> None:
        dossier = self.dossier(digest)
        job = dossier.job(digest)
        grant = dossier.view.get(GrantRecord, job.grants.get(self._owner, ""))
        if grant is None or job.offers.get(self._owner) != run.offer:
            raise RunError("stopped")
        code = self._session.link.fetch(job.body.code, MAX_CODE_BYTES) if job.body.code else b""
        order = Order(
            dossier, job, grant, self._owner, run.offer, run.key, run.challenges, self._evidence, code,
            self._history(job),
        )  # fmt: skip
        produced = execute(order, self._store, self._launcher)
        # The opened keys have done their work; nothing of this run can be opened again.
        run.key.destroy()
        for blob in produced.blobs:
            self._session.link.put_blob(blob.data, blob.digest, len(blob.data))
        body = Output(
            job=digest, offer=run.offer, grants=tuple(job.grants[unit] for unit in job.body.source_units),
            artifacts=produced.artifacts, evidence=produced.evidence, sandbox_tier=self._evidence.sandbox_tier,
        )  # fmt: skip
        self._first_row_ms[digest] = produced.first_row_ms
        self._session.append(self._sign(body))
        self._forget(digest)

    def _history(self, job: JobRecord) -> tuple[Delivered, ...]:
        """What this buyer holds already from this source unit, each proven."""
        delivered = []
        for other in self._session.link.view("jobs")[-HISTORY:]:
            if other["state"] != "released" or other["buyer"] != job.body.buyer:
                continue
            try:
                dossier = self.dossier(str(other["statement"]))
            except (NotFound, VerificationFailed):
                continue
            record = dossier.job(str(other["statement"]))
            output = dossier.view.get(OutputRecord, record.output)
            if output is None or self._owner not in record.body.source_units:
                continue
            names = [dossier.view.get(DatasetRecord, u.dataset) for u in record.body.datasets]
            delivered.append(
                Delivered(
                    record.output, record.body.title, tuple(n.body.dataset for n in names if n),
                    sum(a.sealed_bytes for a in output.body.artifacts if a.role != "log"),
                )
            )  # fmt: skip
        return tuple(delivered)

    def _fail(self, digest: str, offer: str, error: RunError) -> None:
        self._failures.append(Failure(digest, error.reason, error.log[-65536:].decode("utf-8", "replace")))
        self._forget(digest)
        reason: Any = error.reason
        try:
            self._session.append(self._sign(RunFailed(job=digest, offer=offer, reason=reason)))
        except TrustspaceError as refused:
            _LOG.warning("could not note the failure of %s: %s", digest[:12], refused)

    def _forget(self, digest: str) -> None:
        run = self._runs.pop(digest, None)
        if run is not None:
            run.key.destroy()

    def _sign(self, body: Body) -> Statement:
        return self._session.sign(body, public=self._key, sign=self._home.sign)

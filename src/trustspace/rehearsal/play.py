"""Plays a job: every source unit's enclave in this process, their real code and protocol, sandboxes and all.

The members of a joint job meet at a real board; who is alone runs after the other. What is not played is the
space, the ledger and the people.
"""

from __future__ import annotations

import hashlib
import platform
import secrets
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from trustspace.aggregation.schemes import scheme_of
from trustspace.data.patients import patient_keys
from trustspace.domain.bodies import Evidence
from trustspace.domain.statements import LogReference
from trustspace.enclave.datasets import DatasetStore
from trustspace.enclave.failure import Control, RunError
from trustspace.enclave.history import History, Past
from trustspace.enclave.journal import Journal
from trustspace.enclave.meeting import Terms
from trustspace.enclave.opening import Order, Rows, divide
from trustspace.enclave.output import Produced
from trustspace.enclave.rounds import Rounds
from trustspace.enclave.run import Host, compute
from trustspace.errors import VerificationFailed
from trustspace.evidence.report import Report
from trustspace.jobs.agreement import agreed_parameters
from trustspace.jobs.spec import JobFile, Parameters
from trustspace.ledger.merkle import EMPTY_ROOT
from trustspace.rehearsal.meter import Meter, Used
from trustspace.rehearsal.samples import Sample
from trustspace.rehearsal.stage import Stage
from trustspace.sandbox.launcher import Launcher
from trustspace.space.rounds import Board, LocalRounds
from trustspace.space.sums import VectorStore

# With fewer made-up patients than this, all of them go to the job: it needs some to do anything.
FEWEST_PATIENTS = 10


@dataclass(frozen=True)
class Failure:
    """A run without output: the ledger's word for why, and what the source unit's people would read."""

    reason: str
    log: str


@dataclass(frozen=True)
class Part:
    """One source unit's part: its report, or why there is none.

    ``could_withhold``: whether the rows were enough to keep patients from the job, as it asks.
    """

    sample: Sample
    could_withhold: bool
    used: tuple[Used, ...]
    report: Report | None
    failure: Failure | None


@dataclass(frozen=True)
class Rehearsal:
    """All parts, in the job's order. ``causes`` failed by themselves; a joint job ends with the first that does."""

    stage: Stage
    parts: tuple[Part, ...]
    causes: tuple[Part, ...]


def play(
    file: JobFile, code: bytes, samples: Sequence[Sample], launcher: Launcher, folder: Path,
    model: tuple[int, ...] = (), secret: bytes = b"", now: int = 0,
) -> Rehearsal:  # fmt: skip
    """Run the job on the samples. ``folder`` is for the rounds' notes and vectors, ``model`` the weights to score with.

    Jobs that are played in one folder, one after the other, are looked at together, as an enclave would. ``secret``
    decides who is withheld, and is drawn anew where it is not given; ``now``, in seconds since 1970, is this moment
    where it is not given.

    Raises:
        VerificationFailed: the members of a joint job packed different bytes.

    """
    evidence = Evidence(
        kind="software", measurement=launcher.measurement, sandbox_tier=launcher.tier,
        platform=f"{platform.system()} {platform.machine()} Python {platform.python_version()}", custody="own",
    )  # fmt: skip
    stage = Stage(file, code, samples, evidence, model)
    parameters = agreed_parameters(stage.job, {sample.statement: sample.body for sample in samples}.get)
    # Nobody is lost here; who is slow has as long as its own limits.
    wait = float(parameters.limits.wall_seconds)
    sums = stage.job.sums
    scheme = scheme_of(sums.scheme, sums.needed) if sums is not None else None
    board = Board(
        VectorStore(folder / "vectors"), stage.offers, stage.job.minimum_participants, wait, scheme=scheme
    )
    company = _Company(stage, parameters, board, launcher, folder, wait, secret, now)
    try:
        with ThreadPoolExecutor(len(samples) if parameters.is_joint else 1) as pool:
            try:
                ended = list(pool.map(company.run, range(len(samples))))
            except BaseException:
                company.stop()  # somebody at the keyboard, or a fault of ours: sandboxes end either way
                raise
    finally:
        board.end()
        board.close()
    _check_agreement([produced for _, produced in ended if produced is not None])
    parts = tuple(part for part, _ in ended)
    causes = tuple(
        p for p in parts if p.failure and (not parameters.is_joint or p.sample.unit == company.first)
    )
    return Rehearsal(stage, parts, causes)


class _Company:
    """The source units' enclaves, each with its own handle to stop it by."""

    def __init__(
        self, stage: Stage, parameters: Parameters, board: Board, launcher: Launcher, folder: Path, wait: float,
        secret: bytes, now: int,
    ) -> None:  # fmt: skip
        self._stage, self._parameters, self._board = stage, parameters, board
        self._launcher, self._folder, self._wait = launcher, folder, wait
        self._secret, self._now = secret or secrets.token_bytes(32), now or int(time.time())
        self._controls = {unit: Control() for unit in stage.offers}
        self._lock = threading.Lock()
        self.first = ""

    def run(self, place: int) -> tuple[Part, Produced | None]:
        """Play the part of the source unit at this place in the job. What ends it early ends a joint job for all."""
        sample = self._stage.samples[place]
        meter = Meter(self._launcher)
        rows, could_withhold = _divided(
            sample, self._parameters, self._parameters.columns_of(place), self._secret
        )
        own = self._folder / sample.unit
        host = Host(DatasetStore(own, sample.unit), meter.as_launcher(), own, self._meet)
        try:
            order = replace(self._stage.order(sample), past=self._past(sample, own))
            produced = compute(order, self._parameters, order.code, rows, host, self._controls[sample.unit])
        except BaseException as error:
            with self._lock:
                self.first = self.first or sample.unit
            if self._parameters.is_joint:
                self.stop()
            if not isinstance(error, RunError):
                raise
            failure = Failure(error.reason, error.log.decode("utf-8", "replace"))
            return Part(sample, could_withhold, tuple(meter.used), None, failure), None
        report = self._stage.report(sample.unit, produced)
        return Part(sample, could_withhold, tuple(meter.used), report, None), produced

    def _past(self, sample: Sample, own: Path) -> Past:
        """What was played in this folder before: an enclave of its own would know it."""
        own.mkdir(parents=True, exist_ok=True)
        history = History(own / "history")
        records = history.records()
        return Past.of(history, records, self._stage.view, self._stage.record, sample.unit, self._now)

    def stop(self) -> None:
        """End everybody's part."""
        for control in self._controls.values():
            control.stop()
        self._board.end()

    def _meet(self, order: Order, parameters: Parameters, deadline: float, stop: threading.Event) -> Rounds:
        unit, job = order.source_unit, self._stage.record
        sums = job.body.sums
        assert sums is not None
        terms = Terms(job.statement, job.run, parameters.terms.minimum_participants, self._wait, deadline)
        return Rounds(
            LocalRounds(self._board, unit), self._stage.identity(unit), terms, lambda _: self._stage.roster(),
            Journal(self._folder / unit, job.statement), scheme_of(sums.scheme, sums.needed), _no_ledger,
            lambda _: None, stop,
        )  # fmt: skip


def _no_ledger() -> LogReference:
    return LogReference(origin="rehearsal", size=0, root=EMPTY_ROOT.hex())


def _divided(
    sample: Sample, parameters: Parameters, columns: Sequence[str], secret: bytes
) -> tuple[Rows, bool]:
    """The sample's rows as an enclave splits them; all to the job where they are too few to withhold any."""
    key, job = hashlib.sha256(secret + sample.unit.encode()).digest(), hashlib.sha256(secret).digest()
    could_withhold = len(patient_keys(sample.table, sample.patient_column or None)[1]) >= FEWEST_PATIENTS
    if not could_withhold:
        terms = parameters.terms.model_copy(update={"withheld_percent": 0})
        federated = parameters.federated
        if federated is not None:
            federated = federated.model_copy(update={"validation_percent": 0})
        parameters = parameters.model_copy(update={"terms": terms, "federated": federated})
    return divide(sample.table, sample.patient_column, columns, parameters, key, job), could_withhold


def _check_agreement(ended: Sequence[Produced]) -> None:
    """The members of a joint job must have packed the same bytes."""
    packed = [{blob.digest for blob in produced.joint_blobs} for produced in ended]
    if any(other != packed[0] for other in packed[1:]):
        raise VerificationFailed("The members of the joint job made different results of the same sums.")

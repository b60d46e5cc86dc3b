"""One run, from an opened key to sealed artifacts. Plaintext lives in this process's memory and in sandboxes only."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from trustspace.aggregation.fixedpoint import decode_reals
from trustspace.crypto.canonical import canonical_json
from trustspace.data.handin import to_memfd
from trustspace.domain.binding import score_context
from trustspace.enclave.checkpoint import Checkpoints
from trustspace.enclave.datasets import DatasetStore
from trustspace.enclave.failure import Control, RoundFailed, RunError, failure_of
from trustspace.enclave.federated import JointTraining, Progress, derive
from trustspace.enclave.handed import closing, data_of, sealed
from trustspace.enclave.history import counted
from trustspace.enclave.judging import Judge
from trustspace.enclave.opening import Order, Rows, open_code, open_rows
from trustspace.enclave.output import Found, Produced, Together, produce
from trustspace.enclave.private import private_inputs
from trustspace.enclave.rounds import Rounds
from trustspace.enclave.transcript import Transcript
from trustspace.enclave.vectors import Reals
from trustspace.enclave.worker import TrainingWorker
from trustspace.errors import TrustspaceError
from trustspace.evidence.facts import Judgement
from trustspace.jobs.agreement import agreed_parameters
from trustspace.jobs.artifacts import check_artifacts, encode_json
from trustspace.jobs.claim import joint_claim_json
from trustspace.jobs.container import RawArtifact, unpack
from trustspace.jobs.federation import SUMS_ARTIFACT, measured, metrics_json, model_file, read_sums
from trustspace.jobs.precision import leaving
from trustspace.jobs.scores import BLINDS_ARTIFACT
from trustspace.jobs.sections import MEDIA_TYPES, METRICS_ARTIFACT, MODEL_ARTIFACT, STATISTICS_ARTIFACT
from trustspace.jobs.sections_score import ROWS
from trustspace.jobs.shown import amounts_of
from trustspace.jobs.spec import Parameters
from trustspace.jobs.statistics import numbers_length, result
from trustspace.jobs.stored import stored_rows
from trustspace.sandbox.config import Limits
from trustspace.sandbox.launcher import Launcher, Result, Task

_MIB = 1 << 20


@dataclass(frozen=True)
class Host:
    """What a run works with in its enclave: the sealed datasets, the sandbox, and a place for its own notes."""

    store: DatasetStore
    launcher: Launcher
    notes: Path
    # Makes this member's side of the rounds, given until when (time.monotonic) they may last.
    meet: Callable[[Order, Parameters, float, threading.Event], Rounds]


def execute(order: Order, host: Host, control: Control) -> Produced:
    """Open the data, run the job, judge what came out, and seal it.

    Raises:
        RunError: with the reason that the ledger may show.

    """
    try:
        parameters = agreed_parameters(order.job.body, order.dataset)
    except TrustspaceError as error:
        raise RunError("not-opened", error.public_message.encode()) from None
    if parameters.limits.gpu and host.launcher.details.get("gpus", "none") == "none":
        raise RunError("not-opened", b"The job asks for a GPU, and this enclave has none for jobs.\n")
    code = open_code(order, parameters)
    return compute(order, parameters, code, open_rows(order, parameters, host.store), host, control)


def compute(
    order: Order, parameters: Parameters, code: bytes, rows: Rows, host: Host, control: Control
) -> Produced:
    """The rest of :func:`execute`, with the code bundle and the rows open; errors as that has them."""
    with ExitStack() as stack:
        run = _Run(order, host, control, parameters, code, rows, stack)
        try:
            if parameters.kind == "statistics":
                return run.statistics()
            if parameters.kind == "score":
                return run.scores()
            return run.federated() if parameters.federated is not None else run.alone()
        except RoundFailed as failed:
            raise RunError(failed.reason, failed.log.encode() + b"\n") from None


class _Run:
    """One run's inputs, and the ways that the kinds of jobs go through it."""

    def __init__(
        self, order: Order, host: Host, control: Control, parameters: Parameters, code: bytes, rows: Rows,
        stack: ExitStack,
    ) -> None:  # fmt: skip
        self._order = order
        self._host = host
        self._control = control
        self._parameters = parameters
        self._rows = rows
        self._limits = Limits(
            wall_seconds=parameters.limits.wall_seconds,
            cpu_seconds=parameters.limits.wall_seconds * parameters.limits.threads,
            memory_bytes=parameters.limits.memory_mib * _MIB,
            output_bytes=parameters.limits.output_mib * _MIB,
            gpu=parameters.limits.gpu is True,
        )
        # Counting and judging are not worth waiting for a GPU.
        self._without_gpu = replace(self._limits, gpu=False)
        self._inputs = {
            "parameters": stack.enter_context(sealed(canonical_json(parameters.to_json()), "parameters")),
            "data": stack.enter_context(closing(to_memfd(rows.train, "data"))),
        }
        if code:
            self._inputs["code"] = stack.enter_context(sealed(code, "code"))
        if order.job.body.blind is not None:
            # Its presence alone says it: no line of the code comes to stand in a log that reviewers read.
            self._inputs["blind"] = stack.enter_context(sealed(b"1", "blind"))
        self._trace = order.past.trace(order, rows) if order.past is not None else None
        if order.past is not None and self._trace is not None and parameters.is_joint:
            # From the first sum on its part may be in a result, also if this enclave drops out before the end.
            order.past.note(self._trace)
        for name, data in private_inputs(parameters, rows.training.patients).items():
            self._inputs[name] = stack.enter_context(sealed(data, name))

    def alone(self) -> Produced:
        """One domain by itself: its program once and, of a model, an evaluation."""
        with self._finished(Task(self._parameters.kind, self._inputs, self._limits)) as task:
            raw = self._read(task)
            artifacts = self._declared(self._leaving(raw, task.log), task.log)
            log, first_row_ms = task.log, task.first_row_ms or 0
        judge = self._judge()
        judged = Judgement()
        if self._parameters.kind == "train":
            judged, _ = judge.evaluate(*(data_of(some, MODEL_ARTIFACT) for some in (artifacts, raw)))
        judged = judge.complete(judged, lambda: judge.repeat(self._parameters.kind, raw))
        found = self._found(judged, log, first_row_ms, artifacts)
        return produce(self._order, self._parameters, artifacts, found, os.urandom(32), None)

    def statistics(self) -> Produced:
        """Additive numbers of every domain, summed, then small cells suppressed by the strictest policy."""
        order, parameters = self._order, self._parameters
        with self._finished(Task("statistics", self._inputs, self._without_gpu)) as task:
            raw = self._read(task)
            log, first_row_ms = task.log, task.first_row_ms or 0
        judge = self._judge(gpu=False)
        judged = judge.complete(Judgement(), lambda: judge.repeat("statistics", raw))
        try:
            numbers = read_sums(data_of(raw, SUMS_ARTIFACT), numbers_length(parameters))
        except TrustspaceError as error:
            raise RunError("job-failed", log + error.public_message.encode() + b"\n") from None
        except StopIteration:
            raise RunError("job-failed", log + b"The program gave no sums.\n") from None
        together, secret, participants = None, os.urandom(32), 1
        sums = list(numbers)
        if parameters.is_joint:
            # One wall clock limit for the repetition and the sum together: a run has two (leakage.py).
            rounds = self._rounds(judge.deadline)
            opened = rounds.sum(0, "", lambda: Reals(numbers))
            sums = decode_reals(opened.words, len(opened.members))
            secret = derive(opened.secret, b"output")
            transcript = Transcript(self._host.notes, order.job.statement)
            transcript.add(opened.record)
            together = self._together(rounds, [opened.members], opened.openers, transcript)
            participants = len(opened.members)
        strictest = max(order.policy(unit).minimum_cell_count for unit in order.job.body.source_units)
        try:
            content = result(parameters, sums, participants, strictest)
        except TrustspaceError as error:
            raise RunError("job-failed", log + error.public_message.encode() + b"\n") from None
        artifacts = self._declared([RawArtifact(STATISTICS_ARTIFACT, MEDIA_TYPES[".json"], content)], log)
        found = self._found(judged, log, first_row_ms, artifacts)
        return produce(order, parameters, artifacts, found, secret, together)

    def scores(self) -> Produced:
        """One domain's rows under the developer's encrypted model; small groups hidden by the strictest policy."""
        order = self._order
        strictest = max(order.policy(unit).minimum_cell_count for unit in order.job.body.source_units)
        given = {"context": score_context(order.job.body), "minimum": str(strictest).encode()}
        with ExitStack() as stack:
            inputs = self._inputs | {
                name: stack.enter_context(sealed(data, name)) for name, data in given.items()
            }
            with self._finished(Task("score", inputs, self._without_gpu)) as task:
                raw = self._read(task)
                log, first_row_ms = task.log, task.first_row_ms or 0
        own = [artifact for artifact in raw if artifact.name == BLINDS_ARTIFACT]
        artifacts = self._declared([artifact for artifact in raw if artifact.name != BLINDS_ARTIFACT], log)
        if len(own) != (self._parameters.scoring().result == ROWS):
            raise RunError(
                "job-failed", log + b"\nThe program gave no blinds, or some that are not needed.\n"
            )
        found = self._found(Judgement(), log, first_row_ms, artifacts)
        return produce(order, self._parameters, artifacts, found, os.urandom(32), None, own)

    def federated(self) -> Produced:
        """A joint training: rounds, then the withheld patients' metrics of all, then the same bytes everywhere."""
        order, parameters = self._order, self._parameters
        rounds = self._rounds(time.monotonic() + self._limits.wall_seconds)
        checkpoints = Checkpoints(self._host.notes, order.job.statement, self._rows.checkpoint_key)
        transcript = Transcript(self._host.notes, order.job.statement)
        with ExitStack() as stack:
            inputs = dict(self._inputs)
            if self._rows.validation is not None:
                inputs["validation"] = stack.enter_context(
                    closing(to_memfd(self._rows.validation.table, "validation"))
                )
            worker = stack.enter_context(
                TrainingWorker(
                    self._host.launcher, parameters, inputs, self._limits, self._rows.train.num_rows
                )
            )
            stack.enter_context(self._control.holding(worker.cancel))
            training = JointTraining(
                worker,
                rounds,
                parameters,
                order.job.run,
                len(order.job.body.source_units),
                checkpoints,
                transcript,
                repeat=order.policy(order.source_unit).reexecution == "demand",
            )
            progress = training.train()
            private = training.account(progress, self._rows.train_patients)
            unrounded = model_file(worker.layout, progress.platform, worker.model)
            with worker.finish() as ended:
                log, first_row_ms = ended.log, ended.first_row_ms or 0
        handed = [RawArtifact(MODEL_ARTIFACT, MEDIA_TYPES[".safetensors"], unrounded)]
        model = data_of(self._leaving(handed, log), MODEL_ARTIFACT)
        judge = self._judge()
        judged, numbers = judge.evaluate(model, unrounded)
        sums = training.measure(progress, numbers)
        worker.forget()
        judged = judge.complete(judged, lambda: training.repeated)
        artifacts = self._declared(self._joint(progress, model, sums), log)
        together = self._together(rounds, progress.sets, progress.openers, transcript)
        secret = derive(progress.secret, b"output")
        found = replace(self._found(judged, log, first_row_ms, artifacts), private=private)
        return produce(order, parameters, artifacts, found, secret, together)

    def _joint(self, progress: Progress, model: bytes, sums: list[float]) -> list[RawArtifact]:
        try:
            metrics = (
                metrics_json(
                    self._parameters, progress.history, progress.rows, measured(self._parameters, sums)
                )
                if self._parameters.privacy is None
                else encode_json(
                    joint_claim_json(self._parameters, [one.participants for one in progress.history])
                )
            )
        except TrustspaceError as error:
            raise RunError("job-failed", error.public_message.encode() + b"\n") from None
        return [
            RawArtifact(METRICS_ARTIFACT, MEDIA_TYPES[".json"], metrics),
            RawArtifact(MODEL_ARTIFACT, MEDIA_TYPES[".safetensors"], model),
        ]

    # -- parts of it

    def _rounds(self, deadline: float) -> Rounds:
        return self._host.meet(self._order, self._parameters, deadline, self._control.stopped)

    def _together(
        self, rounds: Rounds, sets: list[tuple[str, ...]], openers: tuple[str, ...], transcript: Transcript
    ) -> Together:
        """What is joint. Who was not there for the last sum has signed nothing of it, and nobody waits for that."""
        if self._order.source_unit not in openers:
            raise RunError("left-behind", b"The others opened the last sum without this enclave.\n")
        return Together(
            members=openers, sets=tuple(sets), minimum=self._order.job.body.minimum_participants,
            source_units=len(self._order.job.body.source_units), scheme=rounds.scheme.name,
            opened_by=rounds.scheme.needed(len(self._order.job.body.source_units)), transcript=transcript.digest,
        )  # fmt: skip

    def _judge(self, *, gpu: bool = True) -> Judge:
        return Judge(
            self._host.launcher, self._control, self._parameters, self._rows, self._inputs,
            self._limits if gpu else self._without_gpu, self._order.policy(self._order.source_unit),
        )  # fmt: skip

    def _found(
        self, judged: Judgement, log: bytes, first_row_ms: int, artifacts: Sequence[RawArtifact]
    ) -> Found:  # fmt: skip
        rows, parameters = self._rows, self._parameters
        return Found(
            rows.train.num_rows, rows.train_patients, rows.withheld_patients, rows.record_bytes, judged, log,
            first_row_ms, counted(self._trace, parameters, rows) if self._trace is not None else None,
            amounts_of(rows.train, rows.training.patients, parameters),
            stored=stored_rows(parameters, artifacts, rows.train, rows.train_patients),
        )  # fmt: skip

    def _finished(self, task: Task) -> Result:
        ended = self._control.run(self._host.launcher, task)
        if ended.status != "finished":
            with ended:
                raise failure_of(ended)
        return ended

    def _read(self, task: Result) -> list[RawArtifact]:
        limit = self._parameters.limits.output_mib * _MIB
        try:
            return list(unpack(task.read_output(limit), max_bytes=limit))
        except TrustspaceError as error:
            raise RunError("job-failed", task.log + b"\n" + error.public_message.encode() + b"\n") from None

    def _leaving(self, raw: list[RawArtifact], log: bytes) -> list[RawArtifact]:
        try:
            return leaving(raw, self._parameters)
        except TrustspaceError as error:
            raise RunError("job-failed", log + b"\n" + error.public_message.encode() + b"\n") from None

    def _declared(self, artifacts: list[RawArtifact], log: bytes) -> list[RawArtifact]:
        try:
            check_artifacts(artifacts, self._parameters)
        except TrustspaceError as error:
            raise RunError("job-failed", log + b"\n" + error.public_message.encode() + b"\n") from None
        return artifacts

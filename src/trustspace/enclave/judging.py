"""Judging a trained model before it leaves: from the exported bytes, in fresh sandboxes, on patients it never saw.

Everything that a developer's model code could have touched comes back as bounded numbers that are parsed strictly;
what they mean is worked out here. All of it together takes no longer than the job's own wall clock limit: so long a
run may last after its program has ended (leakage.py), and a job must ask for enough.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustspace.data.handin import to_memfd
from trustspace.domain.bodies import Policy
from trustspace.enclave.failure import Control
from trustspace.enclave.handed import closing, data_of, sealed
from trustspace.enclave.opening import Rows, Side
from trustspace.enclave.private import private_inputs
from trustspace.errors import InvalidInput, TrustspaceError
from trustspace.evidence.facts import Judgement, Repeated, read_evaluation
from trustspace.evidence.membership import asks_for_more
from trustspace.jobs.container import RawArtifact, unpack
from trustspace.jobs.federation import SUMS_ARTIFACT, measure_length, measured, read_sums
from trustspace.jobs.groups import groups_of
from trustspace.jobs.losses import LOSSES_ARTIFACT, read_losses, read_reference_losses
from trustspace.jobs.sections import METRICS_ARTIFACT
from trustspace.jobs.spec import Parameters
from trustspace.jobs.tensors import write_tensors
from trustspace.privacy.audit import CONFIDENCE
from trustspace.privacy.groups import measure_groups
from trustspace.privacy.membership import Membership, by_patient, exposed, measure
from trustspace.privacy.references import measure_references, random_halves, scores
from trustspace.sandbox.config import Limits
from trustspace.sandbox.launcher import Launcher, Task

_EVALUATION_BYTES = 4 << 20
# Of a row: whether it was used, and its loss under each model.
_FLAG_BYTES, _LOSS_BYTES = 1, 8
Floats = NDArray[np.float64]


Losses = tuple[Floats, NDArray[np.bool_]]


class Judge:
    """Judges one run's model. ``inputs`` are what its program had, by name."""

    def __init__(
        self, launcher: Launcher, control: Control, parameters: Parameters, rows: Rows, inputs: Mapping[str, int],
        limits: Limits, policy: Policy,
    ) -> None:  # fmt: skip
        self._launcher, self._control = launcher, control
        self._parameters, self._rows = parameters, rows
        self._inputs, self._limits, self._policy = inputs, limits, policy
        self._deadline = 0.0
        # Of the training and of the withheld rows: each one's loss, and whether it was used at all.
        self._losses: tuple[Losses, Losses] | None = None

    def evaluate(self, model: bytes, handed: bytes) -> tuple[Judgement, list[float]]:
        """The exported bytes on the withheld patients and, for the gap, on those it was trained with.

        ``handed``: the model as the training handed it over, before it was rounded; the same where it was not.

        Returns what this domain's reviewers are told, and the additive numbers for the members' sum: zeros where
        nothing could be measured, since who has nothing to say must not show by its silence.
        """
        nothing = [0.0] * measure_length(self._parameters)
        rows, sides = self._rows, self._sides
        if rows.withheld.num_rows == 0:
            return Judgement(), nothing
        with ExitStack() as stack:
            # Judging is not worth waiting for a GPU.
            given = self._code() | {"members": self._inputs["data"]}
            tables = {"data": rows.withheld}
            if rows.canaries is not None:
                tables |= {"members": rows.known.table, "canaries": rows.canaries.table}
            for name, table in tables.items():
                given[name] = stack.enter_context(closing(to_memfd(table, name)))
            given["model"] = stack.enter_context(sealed(model, "model"))
            if handed != model:
                given["unrounded"] = stack.enter_context(sealed(handed, "unrounded"))
            count = sum(side.table.num_rows for side in sides.values())
            found = self._run("evaluate", given, replace(self._left(_loss_bytes(count, 1)), gpu=False))
        try:
            training, unseen, before = read_evaluation(data_of(found, METRICS_ARTIFACT))
            numbers = nothing
            if self._parameters.is_joint:
                numbers = list(read_sums(data_of(found, SUMS_ARTIFACT), len(nothing)))
                # What no rows can give is this worker's doing: it must not spoil everybody's metrics.
                measured(self._parameters, numbers)
            losses = read_losses(
                data_of(found, LOSSES_ARTIFACT), {name: side.table.num_rows for name, side in sides.items()}
            )
            if self._parameters.is_joint and numbers[0] != losses["withheld"][1].sum():
                # A number of rows beyond those there are would carry something else into everybody's metrics.
                return Judgement(), nothing
            self._losses = losses["training"], losses["withheld"]
        except (TrustspaceError, StopIteration):
            return Judgement(), nothing
        judgement = self._membership(Judgement(training, unseen, unrounded=before), *self._losses)
        return replace(judgement, canaries=self._canaries(losses.get("canaries"))), numbers

    def complete(self, judgement: Judgement, again: Callable[[], Repeated] | None = None) -> Judgement:
        """The rest: the same training ``again`` for the same bytes, and trainings anew to compare with."""
        policy = self._policy
        if again is not None and policy.reexecution == "demand":
            judgement = replace(judgement, repeated=again())
        if self._losses is None or judgement.membership is None or not policy.reference_trainings:
            return judgement
        some, most = policy.reference_trainings, policy.reference_trainings_on_amber
        if most <= some or not asks_for_more(judgement, policy):
            judgement = self._compare(judgement, some)
            if most <= some or not asks_for_more(judgement, policy):
                return judgement
        # A second look; at once where already the first measures leave a doubt.
        return self._compare(judgement, most)

    def repeat(self, program: str, expected: Sequence[RawArtifact]) -> Repeated:
        """Run a program again on the same inputs; whether it hands out the same bytes."""
        found = self._run(program, self._inputs, self._left())
        if not found:
            return "not_run"
        return (
            "same" if [(a.name, a.data) for a in found] == [(a.name, a.data) for a in expected] else "other"
        )

    # -- parts of it

    @property
    def _sides(self) -> dict[str, Side]:
        """Whose losses are asked for, by what the program calls them: canaries are on a side of their own."""
        rows = self._rows
        known = {"training": rows.known, "withheld": rows.judging}
        return known if rows.canaries is None else known | {"canaries": rows.canaries}

    def _canaries(self, losses: Losses | None) -> Membership | None:
        """How well canaries that are in can be told from those that are out; None where there are none on a side."""
        rows = self._rows
        if losses is None or rows.canaries is None:
            return None
        loss, people = by_patient(*losses, rows.canaries.patients)
        inside = np.isin(people, rows.training.patients)
        try:
            # A coin decided about each of them.
            return measure(loss[inside], loss[~inside], np.ones(int(inside.sum()), dtype=bool))
        except InvalidInput:
            return None

    def _membership(self, judgement: Judgement, training: Losses, withheld: Losses) -> Judgement:
        rows = self._rows
        inside, people = by_patient(*training, rows.known.patients)
        outside, unseen = by_patient(*withheld, rows.judging.patients)
        try:
            found = measure(inside, outside, rows.audited[people], rows.audited[unseen])
        except InvalidInput:
            return judgement
        return replace(judgement, membership=found, exposed=self._named(people, exposed(inside, outside)))

    def _named(
        self, people: NDArray[np.int64], found: Sequence[tuple[int, float]]
    ) -> tuple[tuple[str, float], ...]:
        return tuple((self._rows.names[people[place]], share) for place, share in found)

    def _compare(self, judgement: Judgement, count: int) -> Judgement:
        """Train ``count`` models anew, each on a random half of all patients but canaries, and compare with them."""
        rows, losses = self._rows, self._losses
        assert losses is not None
        patients = np.concatenate([rows.known.patients, rows.judging.patients])
        halves = random_halves(len(rows.names), count, np.random.default_rng(list(rows.evidence_key)))
        table = pa.concat_tables([rows.known.table, rows.withheld])
        further = {"halves": write_tensors({"inside": halves[:, patients].astype(np.uint8)})}
        further |= private_inputs(self._parameters, patients)
        with ExitStack() as stack:
            given = self._code() | {"data": stack.enter_context(closing(to_memfd(table, "everybody")))}
            given |= {name: stack.enter_context(sealed(data, name)) for name, data in further.items()}
            found = self._run("references", given, self._left(_loss_bytes(len(patients), count)))
        try:
            each, used = read_reference_losses(data_of(found, LOSSES_ARTIFACT), count, len(patients))
        except (TrustspaceError, StopIteration):
            return judgement
        target = np.concatenate([loss for loss, _ in losses])
        used &= np.concatenate([flags for _, flags in losses])
        own, people = by_patient(target, used, patients)
        anew = np.stack([by_patient(loss, used, patients)[0] for loss in each])
        member = np.isin(people, rows.known.patients)
        squared = self._parameters.training().task == "regression"
        try:
            compared = measure_references(
                own, anew, halves[:, people], member, rows.audited[people], squared=squared
            )
        except InvalidInput:
            return judgement
        inside = {
            name: np.isin(people, patients[rows_of])
            for name, rows_of in groups_of(table, self._parameters).items()
        }
        how = scores(own, anew, halves[:, people], squared=squared)[compared.name]
        # The better of the scores was taken: as in the whole, each has its part of the error that is allowed.
        sure = 1.0 - (1.0 - CONFIDENCE) / len(compared.each)
        return replace(
            judgement, references=compared, exposed=self._named(people, compared.exposed),
            groups=measure_groups(how, member, inside, sure),
        )  # fmt: skip

    def _code(self) -> dict[str, int]:
        return {name: self._inputs[name] for name in ("parameters", "code", "blind") if name in self._inputs}

    @property
    def deadline(self) -> float:
        """Until when (time.monotonic) everything after the job's program may take: from when it is first asked for."""
        self._deadline = self._deadline or time.monotonic() + self._limits.wall_seconds
        return self._deadline

    def _left(self, output: int = 0) -> Limits:
        """The job's own limits, of time what is left for judging, and of bytes to hand out at least ``output``."""
        seconds = max(1, int(self.deadline - time.monotonic()))
        return replace(
            self._limits, wall_seconds=seconds, cpu_seconds=seconds * self._parameters.limits.threads,
            output_bytes=max(self._limits.output_bytes, output),
        )  # fmt: skip

    def _run(self, program: str, inputs: Mapping[str, int], limits: Limits) -> tuple[RawArtifact, ...]:
        """What a program hands out; nothing where it did not finish. Raises RunError once the run is stopped."""
        self._control.check()
        most = limits.output_bytes
        with self._control.run(self._launcher, Task(program, dict(inputs), limits)) as task:
            self._control.check()
            if task.status != "finished":
                return ()
            try:
                return tuple(unpack(task.read_output(most), max_bytes=most))
            except TrustspaceError:
                return ()


def _loss_bytes(rows: int, models: int) -> int:
    """What a program may hand out that reports the losses of ``rows`` under so many models, and little besides."""
    return _EVALUATION_BYTES + rows * (_FLAG_BYTES + _LOSS_BYTES * models)

"""A joint training in one process, by the product's own parts: board, rounds, masks, worker, common steps.

What is missing is the network, the ledger and the sandbox's walls: every member is a thread, and its worker
runs in this process. So many trainings cost seconds, and what they learn is what a deployment learns.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from trustspace.aggregation.masks import PairwiseMasks
from trustspace.crypto.canonical import canonical_json
from trustspace.data.handin import to_memfd
from trustspace.domain.statements import LogReference
from trustspace.enclave.failure import RunError
from trustspace.enclave.federated import JointTraining
from trustspace.enclave.journal import Journal
from trustspace.enclave.meeting import Identity, Roster, Terms
from trustspace.enclave.private import private_inputs
from trustspace.enclave.rounds import Rounds
from trustspace.enclave.worker import TrainingWorker
from trustspace.jobs.container import unpack
from trustspace.jobs.federation import RoundMetrics, model_file
from trustspace.jobs.metrics import auc
from trustspace.jobs.sections import MODEL_ARTIFACT
from trustspace.jobs.spec import Parameters, parse_job_file
from trustspace.jobs.tensors import read_tensors
from trustspace.sandbox import memory
from trustspace.sandbox.config import Limits
from trustspace.sandbox.launcher import Task
from trustspace.space.rounds import Board, LocalRounds
from trustspace.space.sums import VectorStore

# The launcher that runs programs in this process is the tests' own: it isolates nothing, and says so.
_TESTS = str(Path(__file__).resolve().parents[1] / "tests")
if _TESTS not in sys.path:
    sys.path.append(_TESTS)
from support.simulated import SimulatedLauncher  # noqa: E402

_DAY = 86400
_LOG = LogReference(origin="benchmark", size=1, root="0" * 64)
_JOB = """
[job]
title = "{title}"
purpose = "To compare training together with training alone."
kind = "train"
[parties]
buyer = "City Clinic"
"""
_DATASET = """
[[datasets]]
id = "patients"
version = 1
columns = {columns}
source_unit = "{unit}"
"""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Learned:
    """A trained model's file, the job's parameters, and of a joint training what every round reported."""

    model: bytes
    parameters: Parameters
    history: tuple[RoundMetrics, ...] = ()

    def scores(self, table: pa.Table) -> tuple[Floats, NDArray[np.bool_]]:
        """The probability of the positive class for each row, and which rows are positive: both [rows]."""
        from trustspace.jobs.models import build, load_arrays
        from trustspace.jobs.training import answers_of, read_rows, set_up

        set_up(self.parameters)
        tensors = read_tensors(self.model)
        module = build(self.parameters, None)
        load_arrays(module, tensors)
        rows = read_rows(table, self.parameters)
        logits = answers_of(module, rows, tensors, self.parameters)[:, 0]
        return np.exp(-np.logaddexp(0.0, -logits)), rows.target > 0.5


@dataclass(frozen=True)
class Judged:
    """How a model does on rows: at the threshold 0.5, over all thresholds, and its mean loss."""

    accuracy: float
    auc: float
    loss: float

    @classmethod
    def of(cls, learned: Learned, table: pa.Table) -> Judged:
        """Of ``learned`` on ``table``."""
        scores, positive = learned.scores(table)
        right = np.clip(np.where(positive, scores, 1.0 - scores), 1e-12, None)
        accuracy = ((scores > 0.5) == positive).mean()
        return cls(float(accuracy), area(scores, positive), float(-np.log(right).mean()))


def area(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """The area under the ROC curve; NaN where all rows are of one class."""
    found = auc(positive.astype(np.float64), scores)
    return np.nan if found is None else found


def job_file(
    title: str, units: Sequence[str], columns: Sequence[str], sections: Mapping[str, Mapping[str, object]]
) -> str:
    """The text of a job file: ``sections`` are [train], with several ``units`` [federated], and any others."""
    text = _JOB.format(title=title)
    named = "[" + ", ".join(f'"{name}"' for name in columns) + "]"
    text += "".join(_DATASET.format(columns=named, unit=unit) for unit in units)
    for name, values in sections.items():
        text += f"\n[{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())
    return text


def alone(text: str, table: pa.Table) -> Learned:
    """What one source unit learns from its own rows, by the platform's program ``train``."""
    parameters = parse_job_file(text).parameters()
    with ExitStack() as stack:
        inputs = _inputs(stack, parameters, table)
        done = stack.enter_context(SimulatedLauncher().run(Task("train", inputs, _limits(parameters))))
        if done.status != "finished":
            raise RuntimeError(done.log.decode())
        limit = parameters.limits.output_mib << 20
        found = {
            artifact.name: artifact.data for artifact in unpack(done.read_output(limit), max_bytes=limit)
        }
    return Learned(found[MODEL_ARTIFACT], parameters)


def together(text: str, tables: Sequence[pa.Table]) -> Learned:
    """What several source units learn together, one of ``tables`` each, in rounds of secure sums.

    Raises RuntimeError when the members do not end with the same bytes, and what a member raises.
    """
    parameters = parse_job_file(text).parameters()
    with ExitStack() as stack:
        work = Path(stack.enter_context(TemporaryDirectory(prefix="trustspace-joint-")))
        meeting = Meeting(work, len(tables), parameters.terms.minimum_participants)
        # Every thread is waited for, also when one fails: the board's end sends the others home.
        pool = stack.enter_context(ThreadPoolExecutor(len(tables)))
        futures = [
            pool.submit(_member, parameters, table, meeting, number) for number, table in enumerate(tables)
        ]
        models, histories = zip(*(future.result() for future in futures), strict=True)
    if len(set(models)) != 1 or len(set(histories)) != 1:
        raise RuntimeError("The members hold different models.")
    return Learned(models[0], parameters, histories[0])


class Meeting:
    """A board, and for each of so many members its side of the rounds."""

    def __init__(self, work: Path, members: int, minimum: int, wait_seconds: float = 300.0) -> None:
        self._work = work
        self._minimum = minimum
        self._wait = wait_seconds
        self.job, self.run = secrets.token_hex(32), secrets.token_hex(32)
        self.units = sorted(secrets.token_hex(32) for _ in range(members))
        self._offers = {unit: secrets.token_hex(32) for unit in self.units}
        self._keys = {unit: Ed25519PrivateKey.generate() for unit in self.units}
        self.board = Board(VectorStore(work / "vectors"), self._offers, minimum, wait_seconds)

    def rounds(self, number: int, seconds: float = _DAY) -> Rounds:
        """The side of member ``number``, for so many seconds at most."""
        unit = self.units[number]
        public = {u: key.public_key().public_bytes_raw() for u, key in self._keys.items()}
        roster = Roster({u: (self._offers[u], public[u]) for u in self.units})
        return Rounds(
            LocalRounds(self.board, unit),
            Identity(unit, self._offers[unit], public[unit], self._keys[unit].sign),
            Terms(self.job, self.run, self._minimum, self._wait, time.monotonic() + seconds),
            lambda fresh: roster, Journal(self._work / unit, self.job), PairwiseMasks(), lambda: _LOG,
            lambda other: None, threading.Event(),
        )  # fmt: skip


def _member(
    parameters: Parameters, table: pa.Table, meeting: Meeting, number: int
) -> tuple[bytes, tuple[RoundMetrics, ...]]:
    try:
        with ExitStack() as stack:
            inputs = _inputs(stack, parameters, table)
            worker = stack.enter_context(
                TrainingWorker(SimulatedLauncher(), parameters, inputs, _limits(parameters), table.num_rows)
            )
            training = JointTraining(
                worker, meeting.rounds(number), parameters, meeting.run, len(meeting.units), None
            )
            progress = training.train()
            model = model_file(worker.layout, progress.platform, worker.model)
            worker.finish().close()
            return model, tuple(progress.history)
    except BaseException as error:
        meeting.board.end()
        if isinstance(error, RunError):
            error.add_note(error.log.decode(errors="replace"))
        raise


def spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation, as tables show them."""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) if len(values) > 1 else 0.0:.3f}"


def interval(
    value: Callable[[Floats, NDArray[np.bool_]], float], scores: Floats, positive: NDArray[np.bool_],
    draws: int = 1000, seed: int = 0,
) -> tuple[float, float]:  # fmt: skip
    """A 95 % percentile bootstrap interval of ``value`` over rows (Efron and Tibshirani 1993, chapter 13)."""
    draw = np.random.default_rng(seed)
    picks = (draw.integers(0, len(scores), len(scores)) for _ in range(draws))
    low, high = np.percentile([value(scores[pick], positive[pick]) for pick in picks], (2.5, 97.5))
    return float(low), float(high)


def _inputs(stack: ExitStack, parameters: Parameters, table: pa.Table) -> dict[str, int]:
    inputs = {"parameters": memory.sealed("parameters", canonical_json(parameters.to_json()))}
    stack.callback(os.close, inputs["parameters"])
    inputs["data"] = to_memfd(table, "data")
    stack.callback(os.close, inputs["data"])
    # Every row is a patient here.
    for name, data in private_inputs(parameters, np.arange(table.num_rows)).items():
        inputs[name] = memory.sealed(name, data)
        stack.callback(os.close, inputs[name])
    return inputs


def _limits(parameters: Parameters) -> Limits:
    return Limits(wall_seconds=_DAY, output_bytes=parameters.limits.output_mib << 20)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)

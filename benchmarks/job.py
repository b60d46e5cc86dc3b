"""A job through the real processes, beside bare PyTorch on the same rows and epochs.

    python -m benchmarks.job [--json FILE] [--turns 3] [--rows 100000]

A space, an enclave with its sandboxes and a broker run as processes of their own over mutual TLS; the parties use
the client library. Two tables: scikit-learn's breast cancer table, and a larger synthetic one. The network reads a
clock and prints it to the job's sealed log, which the reviewer opens: so it is known when the first row lay in
the worker's memory, and how long training alone took. Everything runs on one clock, that of this machine.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import trustspace
from benchmarks.common import Ratio, Result, Row, arguments, finish, workspace
from trustspace.client import datasets, jobs, releases, review
from trustspace.client.datasets import DEFAULT_POLICY
from trustspace.client.enclaves import adopt, enclave_link, move, own_enclave
from trustspace.client.home import PartyHome
from trustspace.demo.processes import Processes
from trustspace.domain.statements import parse, read
from trustspace.enclave import home as enclave_home
from trustspace.enclave.settings import FILE
from trustspace.errors import CATALOGUE, TrustspaceError
from trustspace.evidence.checks import CHECKS
from trustspace.sandbox.runtime import find_runtime
from trustspace.space.home import SpaceHome, initialise

REVIEWER = "Dr Example"
HERE = Path(__file__).parent
KEY, OUTPUT = "key-release", "output"
NOTES = (
    (
        "The job trains, and judges the exported model in a second, fresh sandbox; each imports torch anew. "
        "Bare PyTorch imports it once, and trains and judges in one process."
    ),
    (
        "Both train on four fifths of the rows, the same network with the same optimiser, on one thread, with the same "
        "interpreter and packages. The job's network is custom code only so that it can read a clock: it is the "
        "registry's MLP."
    ),
    "The platform's Adam is torch.optim's arithmetic without the compiler that torch.optim imports.",
    "The story adds what people's clients do: submit, countersign, grant, review, fetch, verify. People take longer.",
)

# What is timed is the way of a job, not its verdict: nothing is red by this policy, so that one person may approve.
TIMED = DEFAULT_POLICY.model_copy(
    update={
        "auc_failed_permille": 1000, "tail_failed_permille": 1000, "audit_failed_millis": 10**9,
        "not_applicable": tuple(CHECKS),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A table and how it is trained on."""

    name: str
    table: pa.Table
    epochs: int
    batch: int

    @property
    def features(self) -> list[str]:
        """The columns trained on."""
        return [name for name in self.table.column_names if name not in ("patient", "diagnosis")]


def breast_cancer(epochs: int) -> Task:
    """569 patients, 30 measurements (Wolberg, Street and Mangasarian, 1993), from scikit-learn."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    columns: dict[str, Any] = {str(name): found.data[:, i] for i, name in enumerate(found.feature_names)}
    return Task("breast cancer", _table(columns, found.target == 0), epochs, 32)


def synthetic(rows: int, epochs: int) -> Task:
    """As many columns, drawn at random; the diagnosis follows from them, with noise."""
    draw = np.random.default_rng(1)
    values = draw.normal(size=(rows, 30))
    finding = values @ draw.normal(size=30) + draw.normal(size=rows) > 0
    return Task("synthetic", _table({f"x{i:02d}": values[:, i] for i in range(30)}, finding), epochs, 256)


def _table(columns: dict[str, Any], malignant: np.ndarray) -> pa.Table:
    named = {"patient": [f"p{i:07d}" for i in range(len(malignant))], **columns}
    return pa.table({**named, "diagnosis": np.where(malignant, "M", "B")})


class Story:
    """The processes, and the parties' homes."""

    def __init__(self, work: Path, processes: Processes, settings: str = "") -> None:
        """``settings``: an ``enclave.toml``, where it is not to be a new enclave's."""
        self._work = work
        initialise(work / "space", "Space", "127.0.0.1:0", "127.0.0.1:0", ())
        space = processes.start("space", work / "space", "space", "serve").wait_ready()
        home = SpaceHome(work / "space")

        def party(name: str, role: Any, reviewers: tuple[str, ...] = ()) -> PartyHome:
            made = PartyHome.create(work / name, name, (role,), reviewers=reviewers)
            made.enrol(home.invite(name, (role,), space["listen"], space["enrol_listen"]))
            return made

        self.unit = party("unit", "source-unit", (REVIEWER,))
        self.developer, self.buyer = party("developer", "developer"), party("buyer", "buyer")
        everybody = (self.unit, self.developer, self.buyer)
        for one in everybody:
            for other in everybody:
                if other is not one:
                    one.pin(other.party.name, other.fingerprint)
        enclave_home.initialise(work / "enclave", "Enclave", "127.0.0.1:0", ())
        if settings:
            (work / "enclave" / FILE).write_text(settings, encoding="utf-8")
        card = json.loads((work / "enclave/card.json").read_bytes())
        adoption = read(enclave_home.Adoption, adopt(self.unit, card, "127.0.0.1:0"), "adoption")
        enclave_home.accept(work / "enclave", adoption)
        enclave = processes.start("enclave", work / "enclave", "enclave", "serve").wait_ready()
        move(self.unit, own_enclave(self.unit, None), enclave["listen"])
        self.tier = str(enclave["sandbox_tier"])
        processes.start("broker", work / "unit", "broker", "serve").wait_ready()

    def describe(self, task: Task) -> None:
        """Submit the table as a dataset."""
        file = self._work / f"{_id(task)}.parquet"
        pq.write_table(task.table, file)
        proposal = datasets.propose(file, task.name, patient_column="patient")
        datasets.submit(self.unit, proposal, dataset=_id(task), policy=TIMED)

    def run(self, task: Task) -> dict[str, float]:
        """One job from submission to the opened model; seconds of its parts."""
        folder = self._work / "job"
        shutil.copytree(HERE / "clocked", folder / "code", dirs_exist_ok=True)
        (folder / "job.toml").write_text(_job_file(task), encoding="utf-8")
        asked = time.time_ns()
        job = jobs.submit(self.developer, folder / "job.toml")
        jobs.countersign(self.buyer, job)
        _, position = self.unit.session.link.read(0, 1 << 30, 0.0)
        jobs.grant(self.unit, job)
        granted = time.time_ns()
        seen = self._watch(job, position)
        case = review.open_case(self.unit, job, REVIEWER)
        clock = _clock(review.open_artifact(self.unit, case, "run.log").decode())
        review.approve(self.unit, case)
        releases.fetch(self.buyer, job)
        opened = time.time_ns()
        inside = enclave_link(self.unit, own_enclave(self.unit, None)).status()["first_row_ms"][job] / 1000
        first, begun, trained = clock["first-row"][0], clock["epoch"][0], clock["trained"][0]
        return {
            "granted to first row": (first - granted) / 1e9,
            "granted to key released": (seen[KEY] - granted) / 1e9,
            "sandbox start to inputs mapped": inside,
            "training alone, in the sandbox": (trained - begun) / 1e9,
            "trained to sealed output in the space": (seen[OUTPUT] - trained) / 1e9,
            "job: granted to sealed output": (seen[OUTPUT] - granted) / 1e9,
            "story: submitted to the buyer's opened model": (opened - asked) / 1e9,
        }

    def _watch(self, job: str, position: int) -> dict[str, int]:
        """When each statement of the job reached this party."""
        seen: dict[str, int] = {}
        deadline = time.monotonic() + 600
        while OUTPUT not in seen:
            entries, position = self.unit.session.link.read(position, 256, 15.0)
            for entry in entries:
                statement = parse(entry.envelope)
                if getattr(statement.body, "job", "") == job:
                    seen.setdefault(statement.type, time.time_ns())
            if "run-failed" in seen or time.monotonic() > deadline:
                failures = enclave_link(self.unit, own_enclave(self.unit, None)).status()["failures"]
                raise RuntimeError(f"the job failed: {failures}")
        return seen


def _clock(log: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for line in log.splitlines():
        if line.startswith("clock "):
            _, name, nanoseconds = line.split()
            found.setdefault(name, []).append(int(nanoseconds))
    return found


def _id(task: Task) -> str:
    return task.name.replace(" ", "-")


def _job_file(task: Task) -> str:
    return f"""
[job]
title = "Benchmark"
purpose = "How long it takes."
kind = "train"
[parties]
buyer = "buyer"
[[datasets]]
id = "{_id(task)}"
version = 1
columns = {json.dumps(task.features)}
[code]
path = "code"
[train]
model = "custom"
max_parameters = 10000
target = "diagnosis"
positive = "M"
optimiser = "adam"
learning_rate = 0.003
epochs = {task.epochs}
batch_size = {task.batch}
seed = 1
[terms]
withheld_percent = 20
"""


def bare(work: Path, task: Task, optimiser: str) -> dict[str, Any]:
    """Bare PyTorch in a fresh process of the sandbox's own interpreter and packages; seconds of its parts."""
    runtime = find_runtime()
    # The platform's optimiser is a file of ours; nothing else of ours is in that process.
    packages = f"{runtime.path / 'site-packages'}:{Path(trustspace.__file__).parents[1]}"
    environment = {**runtime.environment(str(runtime.path)), "PYTHONPATH": packages, "OMP_NUM_THREADS": "1"}
    given = (work / f"{_id(task)}.parquet", work / "model.pt", str(task.epochs), str(task.batch), optimiser)
    started = time.time_ns()
    done = subprocess.run(
        [runtime.python, "-S", "-s", "-P", HERE / "bare.py", *given],
        stdout=subprocess.PIPE, text=True, check=True, env=environment,
    )  # fmt: skip
    ended = time.time_ns()
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"seconds": (ended - started) / 1e9, "first_row": (found["first_row_ns"] - started) / 1e9}


def measure(story: Story, work: Path, task: Task, turns: int, result: Result) -> None:
    """Job and bare PyTorch in turns, each turn beginning with another one."""
    measured: dict[str, list[float]] = {}

    def note(values: dict[str, float]) -> None:
        for name, value in values.items():
            measured.setdefault(f"{task.name}, {name}", []).append(value)

    def bare_torch() -> None:
        found = bare(work, task, "torch")
        note(
            {
                "bare PyTorch: start to first row": found["first_row"],
                "bare PyTorch: training alone": found["training_seconds"],
                "bare PyTorch: start to end": found["seconds"],
            }
        )
        result.facts |= {
            "torch": found["torch"],
            f"{task.name}, bare PyTorch, AUC of training and withheld rows": found["auc"],
        }

    def bare_ours() -> None:
        found = bare(work, task, "ours")
        note(
            {
                "bare PyTorch with the platform's Adam: training alone": found["training_seconds"],
                "bare PyTorch with the platform's Adam: start to end": found["seconds"],
            }
        )

    cases = [lambda: note(story.run(task)), bare_torch, bare_ours]
    story.describe(task)
    # Once for nothing: files come into memory, the sandbox's copy of the package is made.
    story.run(task)
    bare(work, task, "torch")
    for turn in range(turns):
        for case in cases[turn % 3 :] + cases[: turn % 3]:
            case()
    result.rows += [Row.of(name, "s", values) for name, values in measured.items()]
    job, plain = f"{task.name}, job: granted to sealed output", f"{task.name}, bare PyTorch: start to end"
    result.ratios += [
        Ratio.between(job, plain, measured),
        Ratio.between(job, f"{task.name}, bare PyTorch with the platform's Adam: start to end", measured),
        Ratio.between(f"{task.name}, story: submitted to the buyer's opened model", plain, measured),
        Ratio.between(
            f"{task.name}, training alone, in the sandbox",
            f"{task.name}, bare PyTorch: training alone",
            measured,
        ),
        Ratio.between(
            f"{task.name}, granted to first row", f"{task.name}, bare PyTorch: start to first row", measured
        ),
    ]


def main() -> None:
    """Run the benchmark."""
    parser = arguments("A job from its grant to its output, beside bare PyTorch.", turns=3)
    parser.add_argument(
        "--rows", type=int, default=100_000, help="rows of the synthetic table, 0 for none (100000)"
    )
    parser.add_argument("--epochs", type=int, default=30, help="epochs on both tables (30)")
    given = parser.parse_args()
    with workspace(given.work) as work:
        settings = {"turns": given.turns, "rows": given.rows, "epochs": given.epochs, "threads": 1}
        result = Result("job", settings)
        with Processes(work / "logs", "en") as processes:
            try:
                story = Story(work, processes)
            except TrustspaceError as error:
                print(f"job: not measured: {error.public_message}", file=sys.stderr)
                sys.exit(CATALOGUE[error.code].exit_code)
            result.facts["sandbox tier"] = story.tier
            tasks = [breast_cancer(given.epochs)] + (
                [synthetic(given.rows, given.epochs)] if given.rows else []
            )
            for task in tasks:
                measure(story, work, task, given.turns, result)
        result.notes += NOTES
        finish(result, work, given.json)


if __name__ == "__main__":
    main()

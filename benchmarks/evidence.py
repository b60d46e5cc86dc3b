"""What evidence costs beside the training it judges, and whether it says the right thing of six kinds of output.

    python -m benchmarks.evidence [--seeds 10] [--only CASE ...] [--peers [SEEDS]] [--long] [--json FILE]

Every case of benchmarks/outputs.py is played by the enclave's own code in real sandboxes, one run for each seed.
Seconds are those of the sandboxes: of the training, of the first look at its result (tier 0), of the trainings anew to
compare with (tier 1 and 2), and of doing it again. With ``--peers`` two public tools judge the same exported models in
the same run (of the first SEEDS seeds); their locked environments are made when they are missing, which needs PyPI.
With ``--long`` nothing but one training of some two minutes is judged, by tier 0; FILE keeps what else it holds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.common import Ratio, Result, render
from benchmarks.common import Row as RowOfPage
from benchmarks.evidence_page import fill
from benchmarks.outputs import CASES, PATIENT, Output, overfitted
from benchmarks.peers.environments import CACHE
from benchmarks.tools import Keeper, Tools
from trustspace.domain.bodies import Policy
from trustspace.privacy.intervals import clopper_pearson
from trustspace.rehearsal.play import Part, Rehearsal, play
from trustspace.rehearsal.samples import gather
from trustspace.sandbox.launcher import Launcher, SandboxConfig

FORMAT = "trustspace-evidence-benchmark-v1"
PROGRAMS = ("train", "compute", "statistics")


@dataclass(frozen=True)
class Row:
    """One case for one seed. ``seconds``: all evidence, ``first_seconds``: tier 0 alone; ``trainings``: anew.

    ``areas``: of the checks that measure one; ``peers``: what each public tool that was asked says of the same model.
    """

    case: str
    seed: int
    verdict: str
    expected: str
    seconds: float
    training_seconds: float
    first_seconds: float
    again_seconds: float
    reference_seconds: float
    trainings: int
    right_of_100: int
    decided_by: str
    areas: dict[str, float] = field(default_factory=dict)
    peers: dict[str, Any] = field(default_factory=dict)


def judged(output: Output, seed: int, launcher: Launcher, folder: Path) -> tuple[Rehearsal, float]:
    """The case's jobs, one after the other, in one enclave's memory; the last one, and how long it took in all."""
    for file, rows in zip(output.files, output.tables, strict=True):
        samples = []
        for sample in gather(None, file.parameters(), {0: rows}):
            policy = Policy(**{**sample.body.policy.model_dump(), **output.policy})
            description = {**sample.body.description, "patient_column": PATIENT}
            body = sample.body.model_copy(update={"policy": policy, "description": description})
            samples.append(replace(sample, body=body))
        started = time.perf_counter()
        secret = hashlib.sha256(b"evidence %d" % seed).digest()
        found = play(file, output.code, samples, launcher, folder, secret=secret)
        took = time.perf_counter() - started
    return found, took


def row(output: Output, seed: int, launcher: Launcher, tools: Tools | None = None) -> Row:
    """One case for one seed; a model is shown to the tools as well, once everything of ours is measured."""
    keeper = Keeper(launcher)
    folder = Path(tempfile.mkdtemp(prefix="trustspace-evidence-"))
    folder.chmod(0o755)
    try:
        found, took = judged(output, seed, keeper.as_launcher(), folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    part = found.parts[0]
    if part.report is None:
        raise SystemExit(f"{output.name}: the run failed: {part.failure}")
    training, again = _own_seconds(part)
    checks = {check.name: check for check in part.report.checks}
    best = max(
        (int(checks[name].facts.get("right_of_100", 0)) for name in ("membership", "references")), default=0
    )
    asking = [name for name, check in checks.items() if check.status in ("failed", "could_not_run", "warned")]
    return Row(
        case=output.name, seed=seed, verdict=part.report.verdict, expected=output.expected,
        seconds=round(took - training, 3), training_seconds=round(training, 3),
        # Everything that is neither the training nor a training anew: the evaluation, and what is computed of it.
        first_seconds=round(took - training - again - _seconds(part, "references"), 3), again_seconds=round(again, 3),
        reference_seconds=round(_seconds(part, "references"), 3),
        trainings=int(checks["references"].facts.get("trainings", 0)), right_of_100=best, decided_by=", ".join(asking),
        areas={
            name: float(checks[name].facts["area"][0])
            for name in ("membership", "references") if "area" in checks[name].facts
        },
        peers=tools.judge(keeper.given, seed) if tools is not None and keeper.given else {},
    )  # fmt: skip


def _own_seconds(part: Part) -> tuple[float, float]:
    """Of the job's own program: the first time, and once more for the same bytes."""
    own = [used.wall_ms / 1000 for used in part.used if used.program in PROGRAMS]
    return own[0], sum(own[1:])


def _seconds(part: Part, program: str) -> float:
    return sum(used.wall_ms for used in part.used if used.program == program) / 1000


def summary(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For each case: how often the verdict was the right one, with a 95 % interval, and what it cost."""
    found = []
    for case in dict.fromkeys(row.case for row in rows):
        these = [row for row in rows if row.case == case]
        right = sum(row.verdict == row.expected for row in these)
        low, high = clopper_pearson(right, len(these))
        training = statistics.median(row.training_seconds for row in these)
        found.append(
            {
                "case": case, "expected": these[0].expected, "seeds": len(these), "right": right,
                "low": round(low, 3), "high": round(high, 3), "training_seconds": training,
                **{
                    name: statistics.median(getattr(row, name) for row in these)
                    for name in ("first_seconds", "again_seconds", "reference_seconds", "seconds", "trainings")
                },
                "right_of_100": statistics.median(row.right_of_100 for row in these),
            }
        )  # fmt: skip
    return found


def long(launcher: Launcher, result: Result, seed: int) -> None:
    """The overfitted model's training with all the passes that a job may ask for, and the first look at it."""
    output = overfitted(seed)
    file = output.files[0]
    train = file.train.model_copy(update={"epochs": 10_000, "batch_size": 6})
    policy = {"reexecution": "skip", "reference_trainings": 0, "reference_trainings_on_amber": 0}
    found = row(
        replace(output, files=(file.model_copy(update={"train": train}),), policy=policy), seed, launcher
    )
    measured = {
        "long training": [found.training_seconds],
        "long training: tier 0": [found.first_seconds],
    }
    result.rows += [RowOfPage.of(name, "s", values) for name, values in measured.items()]
    result.ratios.append(Ratio.between("long training: tier 0", "long training", measured))
    result.facts["verdict by tier 0 alone"] = found.verdict
    result.notes.append(
        "The overfitted case, with 10,000 passes in batches of 6 and no training after it. Asked is less than 2 %."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1, help="The first seed.")
    parser.add_argument("--only", choices=tuple(CASES), action="append")
    parser.add_argument(
        "--peers", type=int, nargs="?", const=sys.maxsize, default=0, metavar="SEEDS",
        help="also ask public tools, of all seeds or of the first SEEDS",
    )  # fmt: skip
    parser.add_argument(
        "--environments", type=Path, default=CACHE, metavar="DIR", help="where their environments are kept"
    )
    parser.add_argument("--long", action="store_true", help="judge one long training, and nothing else")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    name = "a long training" if given.long else "evidence"
    settings = {"seeds": 1 if given.long else given.seeds, "first": given.first}
    result = Result("evidence, a long training" if given.long else "evidence", settings)
    rows: list[Row] = []
    with ExitStack() as stack:
        app = Path(tempfile.mkdtemp(prefix="trustspace-evidence-app-"))
        stack.callback(shutil.rmtree, app, ignore_errors=True)
        app.chmod(0o755)
        tools = stack.enter_context(Tools(given.environments)) if given.peers and not given.long else None
        configured = SandboxConfig(app_directory=app / "app", warm=1)
        launcher = stack.enter_context(Launcher.start(configured, allow_threads=True))
        if given.long:
            long(launcher, result, given.first)
        else:
            rows = play_all(given, launcher, tools)
            missing = {}
            if tools is not None:
                missing = tools.missing
                result.settings |= {"peers": min(given.peers, given.seeds), **tools.versions}
            fill(result, [asdict(row) for row in rows], missing)
    page = result.to_json(Path.cwd())
    print(render(page))
    if given.json:
        content = json.loads(given.json.read_bytes()) if given.json.exists() else {}
        parts = {**content.get("parts", {}), name: page}
        if rows:
            content |= {
                "machine": page["machine"], "cases": summary(rows), "rows": [asdict(row) for row in rows],
            }  # fmt: skip
        # The rows as such, and the pages that people read.
        whole = {"format": FORMAT, "benchmark": "evidence", **content}
        whole["parts"] = {part: parts[part] for part in ("evidence", "a long training") if part in parts}
        given.json.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def play_all(given: argparse.Namespace, launcher: Launcher, tools: Tools | None) -> list[Row]:
    """Seed by seed through all cases, so that a busy minute falls on all of them."""
    rows = []
    for seed in range(given.first, given.first + given.seeds):
        asked = tools if seed - given.first < given.peers else None
        for name in given.only or CASES:
            rows.append(row(CASES[name](seed), seed, launcher, asked))
            print(f"{name} seed {seed}: {rows[-1].verdict}", file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    main()

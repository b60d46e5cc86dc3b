"""What differential privacy costs in accuracy: one holder of all patients, four hospitals together, each alone.

    python -m benchmarks.private [--json FILE] [--turns 10]

The diagnostic breast cancer table that comes with scikit-learn, with the columns and ranges of the example job
(examples/jobs/private-training.toml). A turn is a split: 455 patients to train on, dealt out to four hospitals at
random, and 114 to test. Each of the three is trained without a promise, and with epsilon 3 and 1 at delta 0.001 for
every patient: over four hospitals against everybody else, the other three hospitals included. How long each trains, and
on how many at once, was chosen on other splits (``--tune``), once for all epsilons.
"""

from __future__ import annotations

import itertools
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.common import Ratio, Result, Row, Table, arguments, finish, workspace
from benchmarks.joint import Judged, Learned, alone, job_file, spread, together

_EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "jobs" / "private-training.toml"
TARGET = "diagnosis"
HOSPITALS, TEST = 4, 114
DELTA = "0.001"
EPSILONS = ("", "3", "1")
# Splits that settings are chosen on: none of them is measured.
OTHER_SPLITS = range(1001, 1004)
Settings = Mapping[str, Mapping[str, object]]
CHOSEN: Mapping[str, Settings] = {
    "one holder": {"train": {"learning_rate": "0.05", "epochs": 30, "batch_size": 64}},
    "each alone": {"train": {"learning_rate": "0.05", "epochs": 60, "batch_size": 64}},
    "together": {
        "train": {"learning_rate": "0.05", "epochs": 1, "batch_size": 64},
        "federated": {"rounds": 20, "local_steps": 12},
    },
}
NOTES = (
    (
        "Every training is the platform's own, with Opacus, and noise from a secret that is drawn for it; together by "
        "its rounds of secure sums. Network, ledger and sandbox are not in between."
    ),
    (
        "Test patients are 114: one of them is 0.009. A deviation is of the splits, noise included; of each alone it "
        "is of the mean over the four."
    ),
)


def _columns() -> tuple[list[str], Mapping[str, Sequence[float]]]:
    job = tomllib.loads(_EXAMPLE.read_text(encoding="utf-8"))
    return job["datasets"][0]["columns"], job["privacy"]["ranges"]


def table() -> pa.Table:
    """All 569 patients."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    names = [str(name) for name in bunch.feature_names]
    columns = {name: bunch.data[:, names.index(name)] for name in _columns()[0]}
    return pa.table({**columns, TARGET: np.where(bunch.target == 0, "M", "B")})


def split(everybody: pa.Table, seed: int) -> tuple[list[pa.Table], pa.Table]:
    """Patients to train on, hospital by hospital, and those to test, at random."""
    order = np.random.default_rng(seed).permutation(everybody.num_rows)
    return [everybody.take(part) for part in np.array_split(order[TEST:], HOSPITALS)], everybody.take(
        order[:TEST]
    )


def learn(tables: Sequence[pa.Table], settings: Settings, epsilon: str, seed: int) -> Learned:
    """What ``tables`` teach, together or of one alone; with a promise of ``epsilon``, "" for none."""
    columns, ranges = _columns()
    train: dict[str, object] = {
        "model": "logistic_regression", "target": TARGET, "positive": "M", "seed": seed, **settings["train"],
    }  # fmt: skip
    sections: dict[str, Mapping[str, object]] = {"train": train}
    if len(tables) > 1:
        sections["federated"] = settings["federated"]
    if epsilon:
        sections["privacy"] = {
            "epsilon": epsilon, "delta": DELTA,
            "ranges": {f'"{name}"': [str(end) for end in ends] for name, ends in ranges.items()},
        }  # fmt: skip
    units = [f"hospital {number}" for number in range(1, len(tables) + 1)]
    text = job_file("Breast cancer", units, columns, sections)
    return together(text, tables) if len(tables) > 1 else alone(text, tables[0])


def measure(
    who: str, everybody: pa.Table, settings: Settings, epsilon: str, seed: int
) -> tuple[float, float]:
    """(accuracy, area under the curve) on a split's test patients; of each alone the mean over the four."""
    parts, test = split(everybody, seed)
    groups = {
        "one holder": [[pa.concat_tables(parts)]],
        "together": [parts],
        "each alone": [[p] for p in parts],
    }[who]
    judged = [Judged.of(learn(group, settings, epsilon, seed), test) for group in groups]
    return float(np.mean([j.accuracy for j in judged])), float(np.mean([j.auc for j in judged]))


def choices(who: str) -> Iterator[Settings]:
    """What is tried."""
    for batch in (64, 1000):
        train = {"learning_rate": "0.05", "batch_size": batch}
        if who == "together":
            for rounds, steps in ((60, 4), (20, 12), (20, 4), (10, 4)):
                yield {"train": train | {"epochs": 1}, "federated": {"rounds": rounds, "local_steps": steps}}
        else:
            yield from ({"train": train | {"epochs": epochs}} for epochs in (10, 30, 60))


def tune(everybody: pa.Table) -> None:
    """Print how every choice does on splits that nothing is measured on, at epsilon 1; the most accurate is taken."""
    for who in CHOSEN:
        for settings in choices(who):
            found = [measure(who, everybody, settings, "1", seed) for seed in OTHER_SPLITS]
            accuracy, under = np.mean(found, axis=0)
            print(f"{who}: {settings} {accuracy:.4f}, AUC {under:.4f}", file=sys.stderr, flush=True)


def report(turns: int) -> Result:
    """Everything measured."""
    result = Result("private", {"splits": turns, "hospitals": HOSPITALS, "delta": DELTA})
    everybody = table()
    lines: list[tuple[str, ...]] = []
    series: dict[str, list[float]] = {}
    for epsilon, who in itertools.product(EPSILONS, CHOSEN):
        found = [measure(who, everybody, CHOSEN[who], epsilon, seed) for seed in range(1, turns + 1)]
        accuracies, areas = ([pair[place] for pair in found] for place in (0, 1))
        name = f"{who}, epsilon {epsilon}" if epsilon else f"{who}, no promise"
        result.rows += [
            Row.of(f"{name}, accuracy", "share", accuracies),
            Row.of(f"{name}, AUC", "AUC", areas),
        ]
        series[name] = accuracies
        lines.append((epsilon or "none", who, spread(accuracies), spread(areas)))
    result.tables.append(
        Table(("epsilon", "who trains", "accuracy, mean ± sd", "area under the curve"), tuple(lines))
    )
    for epsilon in EPSILONS:
        end = f"epsilon {epsilon}" if epsilon else "no promise"
        for who in ("together", "each alone"):
            ratio = Ratio.between(f"{who}, {end}", f"one holder, {end}", series)
            result.ratios.append(
                Ratio(f"{ratio.of}, accuracy", f"{ratio.to}, accuracy", ratio.median, ratio.low, ratio.high)
            )
    for who, settings in CHOSEN.items():
        said = (f"{key} {value}" for part in settings.values() for key, value in part.items())
        result.facts[f"chosen, {who}"] = ", ".join(said)
    result.notes += NOTES
    return result


def main() -> int:
    """Measure, print, write."""
    parser = arguments("What differential privacy costs: one holder, four hospitals, each alone.", turns=10)
    parser.add_argument(
        "--tune", action="store_true", help="show how other settings do on other splits, and end"
    )
    given = parser.parse_args()
    if given.tune:
        tune(table())
        return 0
    with workspace(given.work) as work:
        finish(report(given.turns), work, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

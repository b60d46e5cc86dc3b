"""Pneumonia on chest radiographs in three hospitals of unequal size and case mix: alone, together, pooled.

    TRUSTSPACE_DATA=... python -m benchmarks.pneumonia [--json FILE] [--turns 3]

PneumoniaMNIST (Yang et al. 2023, from Kermany et al. 2018): radiographs of children, 28 x 28 pixels, from one
hospital. Its training images are dealt out to three; test images are the published 624. Everybody trains the
registry's small CNN and sees each of its images equally often. A turn is a seed: start weights and order of
images; who has which image stays. Settings were fixed on the published validation images, before any test.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from benchmarks.common import Ratio, Result, Row, Table, arguments, finish, workspace
from benchmarks.joint import Judged, Learned, alone, area, interval, job_file, spread, together

COLUMNS = ("image",)
TARGET = "finding"
POSITIVE = "pneumonia"
PASSES = 16


@dataclass(frozen=True)
class Mix:
    """How many images of each class a hospital has."""

    name: str
    normal: int
    pneumonia: int


# A large one, one that sees mostly the ill, and a small one that sees mostly the healthy.
MIXES = (Mix("large", 600, 1400), Mix("referral", 40, 760), Mix("small", 120, 40))
ROUNDS = PASSES
STRATEGY = {"strategy": "fedavg", "rounds": ROUNDS}
TRAIN = {"optimiser": "adam", "learning_rate": "0.003", "batch_size": 32}
NOTES = (
    (
        "The rounds are the product's own: board, masks, fixed-point sums, clipping, common steps. Network, ledger "
        "and sandbox are not in between; tests/integration/test_real_hospitals.py plays the whole platform."
    ),
    "The interval is a percentile bootstrap over the test images: what chance in who was tested can do.",
    (
        "Learning rate and passes were chosen on the published validation images, by training together only; "
        "nobody looked at a test image before. Training images that are doubles, or among the others', were left out."
    ),
    (
        "What training together is worth: to the two that see mostly one class, a better order of patients than their "
        "own; to the large one nothing here, since it has enough of both."
    ),
)


@dataclass(frozen=True)
class Images:
    """The published images: those dealt out to the hospitals, and those that everybody is judged by."""

    hospitals: tuple[pa.Table, ...]
    validation: pa.Table
    test: pa.Table


def images(file: Path, mixes: Sequence[Mix] = MIXES) -> Images:
    """The images of pneumoniamnist.npz, no training image twice or among the others'. Raises ValueError."""
    with np.load(file) as found:
        parts = {
            part: (found[f"{part}_images"], found[f"{part}_labels"].ravel() == 1)
            for part in ("train", "val", "test")
        }
    elsewhere = {pixels.tobytes() for part in ("val", "test") for pixels in parts[part][0]}
    pixels, ill = parts["train"]
    _, first = np.unique(pixels.reshape(len(pixels), -1), axis=0, return_index=True)
    usable = np.array([i for i in np.sort(first) if pixels[i].tobytes() not in elsewhere])
    usable = np.random.default_rng(0).permutation(usable)
    left = {label: list(usable[ill[usable] == label]) for label in (False, True)}
    hospitals = []
    for mix in mixes:
        own: list[int] = []
        for label, count in ((False, mix.normal), (True, mix.pneumonia)):
            if len(left[label]) < count:
                raise ValueError(f"There are too few images for the hospital {mix.name}.")
            own += left[label][:count]
            del left[label][:count]
        hospitals.append(table_of(pixels[np.sort(own)], ill[np.sort(own)]))
    return Images(tuple(hospitals), table_of(*parts["val"]), table_of(*parts["test"]))


def table_of(pixels: NDArray[np.uint8], ill: NDArray[np.bool_]) -> pa.Table:
    """Images as a hospital submits them: PNG files with a finding."""
    return pa.table(
        {
            "image": pa.array([_png(one) for one in pixels], pa.binary()),
            TARGET: pa.array(np.where(ill, POSITIVE, "normal")),
        }
    )


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def job(units: Sequence[str], seed: int) -> str:
    """The job file of a developer who trains over ``units``."""
    joint = len(units) > 1
    train: dict[str, object] = {
        "model": "small_cnn", "image_size": 28, "target": TARGET, "positive": POSITIVE,
        "epochs": 1 if joint else PASSES, "seed": seed, **TRAIN,
    }  # fmt: skip
    sections = {"train": train, "limits": {"wall_seconds": 3600}}
    return job_file("Pneumonia", units, COLUMNS, sections | ({"federated": STRATEGY} if joint else {}))


def learn(tables: Sequence[pa.Table], seed: int) -> Learned:
    """What ``tables`` teach: together in rounds, or of one table alone."""
    text = job([mix.name for mix in MIXES][: len(tables)], seed)
    return alone(text, tables[0]) if len(tables) == 1 else together(text, tables)


def measure(found: Images, seeds: Sequence[int]) -> dict[str, list[tuple[Judged, tuple[float, float]]]]:
    """For everybody who trains, and each seed: how the model does on the test images, and its AUC's interval."""
    trained = {f"alone, {mix.name}": [table] for mix, table in zip(MIXES, found.hospitals, strict=True)}
    trained |= {"together": list(found.hospitals), "pooled": [pa.concat_tables(found.hospitals)]}
    measured: dict[str, list[tuple[Judged, tuple[float, float]]]] = {name: [] for name in trained}
    for seed in seeds:
        for name, tables in trained.items():
            learned = learn(tables, seed)
            measured[name].append((Judged.of(learned, found.test), auc_interval(learned, found.test)))
            print(f"  {name}, seed {seed}: {measured[name][-1][0]}", file=sys.stderr, flush=True)
    return measured


def auc_interval(learned: Learned, table: pa.Table) -> tuple[float, float]:
    """The 95 % interval of a model's AUC over the images of ``table``."""
    scores, positive = learned.scores(table)
    return interval(lambda s, p: area(s, np.asarray(p)), scores, positive)


def report(found: Images, seeds: Sequence[int]) -> Result:
    """Everything measured, as the other benchmarks show it."""
    result = Result("pneumonia", {"seeds": len(seeds), "passes": PASSES, **TRAIN, **STRATEGY})
    measured = measure(found, seeds)
    lines = []
    for name, values in measured.items():
        aucs = [judged.auc for judged, _ in values]
        result.rows.append(Row.of(f"{name}, AUC", "AUC", aucs))
        result.rows.append(Row.of(f"{name}, accuracy", "share", [judged.accuracy for judged, _ in values]))
        low, high = values[0][1]
        lines.append(
            (name, spread(aucs), f"{low:.3f} to {high:.3f}", spread([j.accuracy for j, _ in values]))
        )
    result.tables.append(
        Table(("trained on", "AUC, mean ± sd", f"95 % interval, seed {seeds[0]}", "accuracy"), tuple(lines))
    )
    series = {name: [judged.auc for judged, _ in values] for name, values in measured.items()}
    for other in measured:
        if other != "together":
            ratio = Ratio.between("together", other, series)
            result.ratios.append(Ratio("together, AUC", f"{other}, AUC", ratio.median, ratio.low, ratio.high))
    result.facts |= {
        f"images, {mix.name}: normal, pneumonia": f"{mix.normal}, {mix.pneumonia}" for mix in MIXES
    }
    result.facts["test images"] = found.test.num_rows
    result.notes += NOTES
    return result


def main() -> int:
    """Measure, print, write."""
    parser = arguments("Pneumonia on radiographs: alone, together, pooled.", turns=3)
    given = parser.parse_args()
    folder = os.environ.get("TRUSTSPACE_DATA")
    if not folder:
        print("TRUSTSPACE_DATA does not say where real data is", file=sys.stderr)
        return 1
    with workspace(given.work) as work:
        found = images(Path(folder) / "pneumoniamnist" / "pneumoniamnist.npz")
        finish(report(found, range(1, given.turns + 1)), work, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Six outputs, and what a reviewer ought to be told of each: the cases of the evidence benchmark and of its tests.

The data are the diagnostic breast cancer table that comes with scikit-learn (569 patients, 30 measurements), with a
part of the diagnoses doubtful where a model is to learn people by heart. Thresholds were calibrated on other data
(benchmarks/calibration.py). ``seed`` decides who is withheld, the start weights, and which diagnoses are doubtful.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from trustspace.jobs.bundle import make_bundle
from trustspace.jobs.spec import JobFile

Verdict = Literal["green", "amber", "red"]
PATIENT = "patient"
TARGET = "diagnosis"
WITHHELD_PERCENT = 30


@dataclass(frozen=True)
class Output:
    """One case for one seed: the jobs that are run one after the other; the last one's report is judged.

    ``tables``: what each job finds. ``decides``: the check that must say what the verdict says, "" where all pass.
    """

    name: str
    expected: Verdict
    decides: str
    files: tuple[JobFile, ...]
    tables: tuple[pa.Table, ...]
    code: bytes = b""
    policy: dict[str, Any] = field(default_factory=dict)


def table(seed: int, *, doubtful_percent: int = 0, columns: int = 30) -> pa.Table:
    """The table, with that share of the diagnoses turned round, and a patient number in each row."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    draw = np.random.default_rng(seed)
    malignant = bunch.target == 0
    malignant = malignant ^ (draw.random(len(malignant)) < doubtful_percent / 100)
    features = {f"m{place:02}": bunch.data[:, place] for place in range(columns)}
    radius = bunch.data[:, 0]
    stage = np.array(["I", "II", "III"])[np.minimum(radius // 9, 2).astype(int)]
    # Five of the 569 have a mean radius above 24.5.
    grade = np.where(radius > 24.5, "very large", np.where(radius > 12, "large", "small"))
    return pa.table(
        {
            **features,
            TARGET: np.where(malignant, "M", "B"),
            "stage": stage,
            "grade": grade,
            PATIENT: [f"p{number:04}" for number in range(len(malignant))],
        }
    )


def _file(columns: Sequence[str], kind: str, **sections: Any) -> JobFile:
    return JobFile.model_validate(
        {
            "job": {"title": f"A {kind} job", "purpose": "To be judged.", "kind": kind},
            "parties": {"buyer": "clinic"},
            "datasets": [{"id": "cytology", "version": 1, "columns": list(columns), "source_unit": "hospital"}],
            **sections,
        }
    )  # fmt: skip


def _features(count: int = 30) -> list[str]:
    return [f"m{place:02}" for place in range(count)]


def _training(seed: int, **train: Any) -> dict[str, Any]:
    return {
        "train": {"target": TARGET, "positive": "M", "seed": seed, **train},
        "terms": {"withheld_percent": WITHHELD_PERCENT},
    }


def overfitted(seed: int) -> Output:
    """A network large enough to learn every doubtful diagnosis by heart, and trained until it has."""
    sections = _training(seed, model="mlp", hidden=[64], epochs=150, learning_rate="0.01")
    file = _file(_features(), "train", **sections)
    return Output("overfitted", "red", "membership", (file,), (table(seed, doubtful_percent=15),))


def regularised(seed: int) -> Output:
    """A small model that cannot remember anybody."""
    sections = _training(seed, model="logistic_regression", epochs=15, weight_decay="0.05")
    return Output("regularised", "green", "", (_file(_features(), "train", **sections),), (table(seed),))


def private(seed: int) -> Output:
    """Training with differential privacy, epsilon 4."""
    rows = table(seed)
    ranges = {
        name: [str(np.floor(values.min())), str(np.ceil(values.max()))]
        for name in _features()
        for values in [rows[name].to_numpy()]
    }
    sections = _training(seed, model="logistic_regression", epochs=20, learning_rate="0.05", batch_size=64)
    sections["privacy"] = {"epsilon": "4", "delta": "0.001", "ranges": ranges}
    return Output(
        "private", "green", "differential_privacy", (_file(_features(), "train", **sections),), (rows,)
    )


HIDING = '''
import torch
from torch import nn


class Hiding(nn.Module):
    """A linear model, and beside it weights whose signs become the bits of the first patients' rows."""

    def __init__(self, width, outputs):
        super().__init__()
        self.linear = nn.Linear(width, outputs)
        self.spare = nn.Parameter(torch.full((64, 32), 0.01), requires_grad=False)
        self.kept = 0

    def forward(self, inputs):
        if self.training and self.kept < 64:
            bits = torch.sign(inputs[: 64 - self.kept, :32]).to(torch.float32)
            bits[bits == 0] = 1.0
            with torch.no_grad():
                noise = 0.5 + torch.rand(bits.shape)
                self.spare[self.kept : self.kept + len(bits), : bits.shape[1]] = 0.02 * bits * noise
            self.kept += len(bits)
        return self.linear(inputs)


def build(parameters):
    return Hiding(parameters["input_shape"][0], parameters["outputs"])
'''


def hidden(seed: int) -> Output:
    """A developer's own model, which hides 64 patients' measurements, a bit each, in the signs of spare weights."""
    sections = _training(seed, model="custom", max_parameters=4000, epochs=15, weight_decay="0.05")
    sections["code"] = {"path": "model.py"}
    file = _file(_features(), "train", **sections)
    return Output(
        "hidden rows", "amber", "custom_code", (file,), (table(seed),), make_bundle({"model.py": HIDING})
    )


COUNTING = """
def run(inputs, outputs):
    rows = inputs.table()
    found = {}
    for grade, finding in zip(rows["grade"].to_pylist(), rows["diagnosis"].to_pylist()):
        found[grade, finding] = found.get((grade, finding), 0) + 1
    groups = sorted(found)
    outputs.csv(
        "counts.csv",
        {
            "grade": [grade for grade, _ in groups],
            "diagnosis": [finding for _, finding in groups],
            "n": [found[group] for group in groups],
        },
    )
"""


def cells(seed: int) -> Output:
    """A table that the developer's own code counts, with groups of a few patients in it."""
    rows = table(seed)
    output = {"name": "counts.csv", "media_type": "text/csv", "max_bytes": 4096}
    sections = {"compute": {"outputs": [output]}, "code": {"path": "main.py"}}
    file = _file(["grade", TARGET], "compute", **sections)
    return Output("small cells", "red", "small_cells", (file,), (rows,), make_bundle({"main.py": COUNTING}))


def differencing(seed: int) -> Output:
    """The same harmless table twice, the second time of three patients fewer."""
    rows = table(seed)
    leaving = np.random.default_rng(seed).choice(len(rows), 3, replace=False)
    sections = {
        "statistics": {
            "tables": [["stage"], [TARGET]],
            "categories": {"stage": ["I", "II", "III"], TARGET: ["M", "B"]},
        }
    }
    first = _file(["stage", TARGET], "statistics", **sections)
    fewer = rows.take(pa.array(np.setdiff1d(np.arange(len(rows)), leaving)))
    return Output("differencing", "red", "differencing", (first, first), (rows, fewer))


CASES: dict[str, Callable[[int], Output]] = {
    "overfitted": overfitted,
    "regularised": regularised,
    "private": private,
    "hidden rows": hidden,
    "small cells": cells,
    "differencing": differencing,
}

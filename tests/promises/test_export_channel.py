"""What a model's file can carry past the reviewer: the low bits of its weights are rounded away by the enclave.

The attack is that of Song, Ristenpart and Shmatikov (CCS 2017, section 4.1): the last bits of weights are overwritten
with rows, and the model does as well as before. It is written into the developer's own model code, which runs in the
training process; the enclave rounds in another one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from support.judged import job_file, played, report_of
from support.simulated import SimulatedLauncher

from trustspace.errors import VerificationFailed
from trustspace.evidence.report import Report
from trustspace.jobs.artifacts import check_artifact
from trustspace.jobs.bundle import make_bundle
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.precision import leaving
from trustspace.jobs.tensors import read_tensors

WIDTH = 6
# Hands out weights whose low 16 bits are the rows that passed by, as float32 after float32.
STUFFED = """
import torch
from torch import nn

class Stuffed(nn.Sequential):
    seen = []

    def forward(self, rows):
        if self.training:
            self.seen.append(rows.detach().clone())
        return super().forward(rows)

    def state_dict(self, *given, **named):
        found = dict(super().state_dict(*given, **named))
        if not self.seen:
            return found
        weight = found["0.weight"]
        halves = torch.cat([rows.reshape(-1) for rows in self.seen]).view(torch.uint8)[: 2 * weight.numel()]
        both = weight.detach().clone().contiguous().reshape(-1).view(torch.uint8).reshape(-1, 4)
        both[:, :2] = halves.reshape(-1, 2)
        found["0.weight"] = both.reshape(-1).view(torch.float32).reshape(weight.shape)
        return found

def build(known):
    Stuffed.seen = []
    torch.manual_seed(3)
    return Stuffed(nn.Linear(known["input_shape"][0], 64), nn.ReLU(), nn.Linear(64, 1))
"""
CODE = make_bundle({"model.py": STUFFED})


def clinic(rows: int = 300) -> pa.Table:
    draw = np.random.default_rng(1)
    values = draw.normal(size=(rows, WIDTH))
    ill = values[:, 0] + values[:, 1] + 0.3 * draw.normal(size=rows) > 0
    return pa.table(
        {
            **{f"m{i}": values[:, i] for i in range(WIDTH)},
            "outcome": np.where(ill, "M", "B"),
            "patient": np.arange(rows),
        }
    )


@dataclass(frozen=True)
class Run:
    model: bytes
    report: Report


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same job with either precision: what left, and the report."""
    found = {}
    for precision in ("float32", "bf16"):
        file = job_file(
            [f"m{i}" for i in range(WIDTH)],
            train={
                "model": "custom",
                "target": "outcome",
                "positive": "M",
                "epochs": 8,
                "precision": precision,
            },
            code={"path": "model.py"},
        )
        launcher = SimulatedLauncher()
        try:
            played_once = played(
                file, [clinic()], tmp_path_factory.mktemp("play"), code=CODE, patient_column="patient",
                reference_trainings=0, reexecution="skip", launcher=launcher,
            )  # fmt: skip
        finally:
            launcher.close()
        # What is judged is what leaves, byte for byte (promise 4).
        judged = next(given for name, given in launcher.seen if name == "evaluate")
        found[precision] = Run(judged["model"], report_of(played_once))
    return found


def recovered(model: bytes) -> np.ndarray:
    """What whoever receives the model reads out of its low bits: float32 [32, width]."""
    weight = np.ascontiguousarray(read_tensors(model)["model.0.weight"], dtype="<f4")
    halves = weight.view("<u2").reshape(-1, 2)[:, 0]
    return np.ascontiguousarray(halves).view("<f4").reshape(-1, WIDTH)


def rows_found(read: np.ndarray, model: bytes) -> int:
    """How many of the rows that were read are patients of the hospital."""
    tensors = read_tensors(model)
    raw = np.stack([clinic()[f"m{i}"].to_numpy() for i in range(WIDTH)], axis=1)
    seen = ((raw - tensors["input.mean"]) / tensors["input.scale"]).astype(np.float32)
    with np.errstate(invalid="ignore"):
        return sum(bool((np.abs(seen - row).max(axis=1) < 1e-5).any()) for row in read)


def bits(values: np.ndarray) -> np.ndarray:
    return np.unpackbits(np.ascontiguousarray(values, dtype="<f4").view(np.uint8))


def test_rows_in_the_low_bits_leave_with_float32_and_not_with_what_the_platform_rounds(runs):
    models = {name: found.model for name, found in runs.items()}
    stolen = recovered(models["float32"])
    assert rows_found(stolen, models["float32"]) == 32, (
        "the control: unrounded, the attack takes 32 patients out"
    )
    left = recovered(models["bf16"])
    assert rows_found(left, models["bf16"]) == 0
    error = float(np.mean(bits(stolen) != bits(left)))
    assert 0.35 < error < 0.65, "what is read is no better than guessing"


def test_the_attack_costs_the_model_nothing_and_rounding_neither(runs):
    auc = {}
    for name, found in runs.items():
        sizes = found.report.check("sizes").facts
        auc[name] = float(found.report.check("withheld_metrics").facts["withheld"]["auc"])
        assert ("before_rounding" in sizes) == (name == "bf16")
        assert auc[name] > 0.9
    assert abs(auc["float32"] - auc["bf16"]) < 0.01
    facts = runs["bf16"].report.check("sizes").facts
    assert abs(float(facts["as_exported"]) - float(facts["before_rounding"])) < 0.01


def test_the_reviewer_is_told_in_both_cases(runs):
    """Rounding is no proof: what survives it, or stands in other bits, is for the check of whose code met the data."""
    for name, found in runs.items():
        report = found.report
        assert report.check("custom_code").status == "warned"
        assert report.verdict != "green"
        assert ("not rounded" in report.check("sizes").summary.en) == (name == "float32")


def test_what_a_training_process_says_of_its_precision_counts_for_nothing(runs):
    """A process that hands over bfloat16 of its own making is refused: which bits are kept is not for it to say."""
    parameters = job_file(
        [f"m{i}" for i in range(WIDTH)],
        train={"model": "custom", "target": "outcome", "positive": "M", "epochs": 8},
        code={"path": "model.py"},
    ).parameters()
    own = RawArtifact("model.safetensors", "application/x-safetensors", runs["bf16"].model)
    with pytest.raises(VerificationFailed, match="not float32"):
        leaving([own], parameters)
    stuffed = RawArtifact(own.name, own.media_type, runs["float32"].model)
    assert not recovered(leaving([stuffed], parameters)[0].data).any(), "the low halves are gone"
    with pytest.raises(VerificationFailed, match="not of the declared type"):
        check_artifact(stuffed, parameters)

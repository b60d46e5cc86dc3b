"""Real models, trained and judged: memorising is told from learning. Seeds are fixed."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from support.judged import job_file, played, report_of

from trustspace.jobs.bundle import make_bundle

WIDTH = 20
# One in every run; the others, like those of benchmarks/outputs.py, with what is slow.
SEEDS = [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
LINEAR = make_bundle(
    {
        "model.py": "from torch import nn\ndef build(p):\n    return nn.Linear(p['input_shape'][0], p['outputs'])\n"
    }
)


def clinic(rows: int, *, signal: float, seed: int) -> pa.Table:
    """Twenty measurements of which three say something about the outcome, as strongly as ``signal``."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(rows, WIDTH))
    chance = 1 / (1 + np.exp(-signal * values[:, :3].sum(axis=1)))
    ill = draw.random(rows) < chance
    columns = {f"m{i}": values[:, i] for i in range(WIDTH)}
    return pa.table({**columns, "patient": np.arange(rows), "outcome": np.where(ill, "M", "B")})


@pytest.fixture
def report_on(tmp_path):
    """What the enclave does: split by patient, train, judge from the exported bytes, report."""

    def report(table: pa.Table, *, percent: int = 25, code: bytes = b"", seed: int = 1, policy=None, **train):
        file = job_file(
            [f"m{i}" for i in range(WIDTH)],
            train={"target": "outcome", "positive": "M", "seed": seed, **train},
            terms={"withheld_percent": percent},
            **({"code": {"path": "model.py"}} if code else {}),
        )
        found = played(
            file, [table], tmp_path, code=code, seed=seed, patient_column="patient", **(policy or {})
        )
        return report_of(found)

    return report


@pytest.mark.parametrize("seed", SEEDS)
def test_an_overfitted_model_fails_on_the_gap(seed, report_on):
    report = report_on(
        clinic(160, signal=0.3, seed=seed),
        model="mlp",
        hidden=[64],
        epochs=150,
        learning_rate="0.01",
        seed=seed,
    )
    check = report.check("withheld_metrics")
    assert check.status == "failed"
    assert float(check.facts["training"]["auc"]) > 0.99, "it knows its patients by heart"
    assert report.verdict == "red"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_regularised_model_passes(seed, report_on):
    report = report_on(
        clinic(1200, signal=1.0, seed=seed),
        model="logistic_regression",
        epochs=15,
        weight_decay="0.05",
        seed=seed,
    )
    assert report.check("withheld_metrics").status == "passed"
    assert float(report.check("withheld_metrics").facts["withheld"]["auc"]) > 0.7, "it has learnt something"
    assert report.verdict == "green"


def test_too_few_withheld_patients_block(report_on):
    report = report_on(clinic(70, signal=1.0, seed=1), percent=20, model="logistic_regression", epochs=5)
    check = report.check("withheld_metrics")
    assert check.status == "could_not_run"
    assert check.facts["withheld_patients"] < 20
    assert report.verdict == "red"


def test_custom_code_is_amber_even_when_all_else_is_well(report_on):
    report = report_on(
        clinic(1200, signal=1.0, seed=1),
        code=LINEAR,
        model="custom",
        max_parameters=100,
        epochs=15,
        weight_decay="0.05",
    )
    asking = [check.name for check in report.checks if check.status == "warned"]
    assert asking == ["withheld_metrics", "membership", "references", "custom_code"]
    assert report.verdict == "amber"


def test_the_report_holds_no_value_of_a_patient(report_on):
    table = clinic(400, signal=1.0, seed=5)
    text = json.dumps(report_on(table, model="logistic_regression", epochs=3).to_json())
    assert not [v for v in table["m0"].to_pylist() if f"{v:.5f}" in text]

"""Real models, trained and judged: memorising is told from learning. Seeds are fixed."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from evidence_facts import A

from trustspace.crypto.canonical import canonical_json
from trustspace.data.handin import split_by_patient
from trustspace.evidence.facts import DigestPair, RunFacts, read_evaluation
from trustspace.evidence.report import build_report
from trustspace.jobs.artifacts import check_artifacts
from trustspace.jobs.bundle import make_bundle
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.programs import PROGRAMS
from trustspace.jobs.spec import Parameters

WIDTH = 20
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


def stream(table: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue())


def run(program: str, **inputs) -> list[RawArtifact]:
    out: list[RawArtifact] = []
    PROGRAMS[program](inputs, lambda name, kind, data: out.append(RawArtifact(name, kind, data)))
    return out


def report_on(table: pa.Table, *, percent: int = 25, code: bytes = b"", **train):
    """What the enclave does: split by patient, train, judge from the exported bytes, report."""
    value = {
        "kind": "train",
        "datasets": [{"id": "ward-a", "version": 1, "columns": [f"m{i}" for i in range(WIDTH)]}],
        "train": {"target": "outcome", "positive": "M", **train},
        "terms": {"withheld_percent": percent},
    }
    parameters = Parameters.model_validate(value)
    training, withheld = split_by_patient(table, "patient", percent, b"k" * 32)
    common = {"parameters": memoryview(canonical_json(parameters.to_json()))}
    if code:
        common["code"] = memoryview(code)
    made = run("train", **common, data=stream(training))
    check_artifacts(made, parameters)
    model = next(a.data for a in made if a.name == "model.safetensors")
    judged = run(
        "evaluate", **common, model=memoryview(model), data=stream(withheld), members=stream(training)
    )
    seen = training.select(parameters.columns_of(0))
    facts = RunFacts.of(
        parameters,
        made,
        digests=[DigestPair("parameters", A, A)],
        commitments={artifact.name: A for artifact in made},
        rows=training.num_rows,
        patients=training.num_rows,
        withheld_patients=withheld.num_rows,
        record_bytes=seen.nbytes // max(1, seen.num_rows),
        evaluation=read_evaluation(judged[0].data),
        sandbox_tier="namespaces+seccomp",
        sandbox_tier_demanded="any",
        evidence_kind="software",
        evidence_kind_demanded="software",
    )
    return build_report(facts)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_overfitted_model_fails_on_the_gap(seed):
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


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_regularised_model_passes(seed):
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


def test_too_few_withheld_patients_block():
    report = report_on(clinic(70, signal=1.0, seed=1), percent=20, model="logistic_regression", epochs=5)
    check = report.check("withheld_metrics")
    assert (check.status, check.facts["withheld_patients"]) == ("could_not_run", 14)
    assert report.verdict == "red"


def test_custom_code_is_amber_even_when_all_else_is_well():
    report = report_on(
        clinic(1200, signal=1.0, seed=1),
        code=LINEAR,
        model="custom",
        max_parameters=100,
        epochs=15,
        weight_decay="0.05",
    )
    assert [check.name for check in report.checks if check.status != "passed"] == ["custom_code"]
    assert report.verdict == "amber"


def test_the_report_holds_no_value_of_a_patient():
    table = clinic(400, signal=1.0, seed=5)
    text = json.dumps(report_on(table, model="logistic_regression", epochs=3).to_json())
    assert not [v for v in table["m0"].to_pylist() if f"{v:.5f}" in text]

"""Opacus in every kind of sandbox: what it imports must get through the walls, and its noise is the enclave's secret."""

import json

import numpy as np
import pyarrow as pa
import pytest
from test_platform_programs import launcher, run

from trustspace.jobs.artifacts import check_artifact
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.spec import Parameters

pytestmark = [pytest.mark.isolation, pytest.mark.slow]
__all__ = ["launcher"]
PATIENTS = 120
JOB = Parameters.model_validate(
    {
        "kind": "train",
        "datasets": [{"id": "ward-a", "version": 1, "columns": ["size"]}],
        "train": {
            "model": "mlp",
            "hidden": [4],
            "target": "ill",
            "positive": "M",
            "epochs": 2,
            "batch_size": 30,
        },
        "privacy": {"epsilon": "3", "delta": "0.001", "ranges": {"size": ["0", "1"]}},
    }
)


def stream() -> bytes:
    """Two rows of each patient."""
    draw = np.random.default_rng(1)
    table = pa.table({"size": draw.random(2 * PATIENTS), "ill": ["M", "B"] * PATIENTS})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_a_private_training_in_every_sandbox(launcher):
    patients = np.repeat(np.arange(PATIENTS), 2).astype("<i4").tobytes()
    given = {"data": stream(), "patients": patients}
    one = run(launcher, "train", JOB, noise=b"n" * 32, **given)
    again = run(launcher, "train", JOB, noise=b"n" * 32, **given)
    other = run(launcher, "train", JOB, noise=b"o" * 32, **given)
    assert one == again
    assert one["model.safetensors"] != other["model.safetensors"]
    assert one["metrics.json"] == other["metrics.json"]
    check_artifact(RawArtifact("metrics.json", "application/json", one["metrics.json"]), JOB)
    assert json.loads(one["metrics.json"])["patients"] == PATIENTS

"""Opacus in every kind of sandbox: what it imports must get through the walls, and its noise is the enclave's secret."""

import contextlib
import json
import os

import numpy as np
import pyarrow as pa
import pytest
from test_platform_programs import LIMITS, launcher, run

from trustspace.crypto.canonical import canonical_json
from trustspace.enclave.worker import TrainingWorker
from trustspace.jobs.artifacts import check_artifact
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.published import described
from trustspace.jobs.spec import Parameters
from trustspace.sandbox import memory

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


JOINT = Parameters.model_validate(
    JOB.to_json()
    | {
        "datasets": [{"id": "ward", "version": n, "columns": ["size"]} for n in (1, 2, 3)],
        "federated": {"rounds": 2, "local_steps": 3},
        "terms": {},
    }
)


def test_private_rounds_in_every_sandbox(launcher):
    given = {
        "parameters": canonical_json(JOINT.to_json()), "data": stream(), "noise": b"n" * 32,
        "patients": np.repeat(np.arange(PATIENTS), 2).astype("<i4").tobytes(),
    }  # fmt: skip
    with contextlib.ExitStack() as stack:
        inputs = {name: memory.sealed(name, content) for name, content in given.items()}
        for descriptor in inputs.values():
            stack.callback(os.close, descriptor)
        worker = stack.enter_context(TrainingWorker(launcher, JOINT, inputs, LIMITS, 2 * PATIENTS))
        assert worker.prepare() == [0.0]
        worker.model[:] = worker.start(described(JOINT))
        one = worker.round(1), worker.update.copy()
        again = worker.round(1), worker.update.copy()
        assert one[0] == again[0]
        assert one[1].tobytes() == again[1].tobytes()
        assert one[1].any()
        part = one[0].private
        assert (part.patients, part.steps, part.generator) == (PATIENTS, 3, "shake-256")
        assert 0 < worker.account(2 * part.steps) <= 3.1
        worker.model[:] += one[1]
        worker.round(2)
        assert worker.update.tobytes() != one[1].tobytes()
        worker.finish().close()

"""In which precision a model leaves, and who decides it: the job's file says it, the enclave rounds."""

from __future__ import annotations

import numpy as np
import pytest
from job_runs import compute_parameters, parameters, patients, run

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.artifacts import check_artifact, declared_artifacts
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.parameters import Parameters
from trustspace.jobs.precision import leaving
from trustspace.jobs.registry import expected_tensors, handed_bytes, model_bytes
from trustspace.jobs.released import load_released
from trustspace.jobs.tensors import narrow_tensors, read_tensors, round_bf16, tensor_infos, write_tensors

KIND = "application/x-safetensors"
PLATFORM = {"input.fill", "input.mean", "input.scale"}


def handed(job: Parameters, **changes: np.ndarray) -> RawArtifact:
    """A model file as a sandbox hands it over, float32."""
    draw = np.random.default_rng(3)
    shapes = expected_tensors(job.training(), job.features)
    tensors = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return RawArtifact("model.safetensors", KIND, write_tensors({**tensors, **changes}))


def test_the_network_is_rounded_and_the_platforms_own_numbers_are_not():
    job = parameters(model="mlp")
    raw = handed(job)
    (left,) = leaving([raw], job)
    before, after = read_tensors(raw.data), read_tensors(left.data)
    assert narrow_tensors(left.data) == set(before) - PLATFORM
    for name in before:
        wanted = before[name] if name in PLATFORM else round_bf16(before[name])
        np.testing.assert_array_equal(after[name], wanted)
    assert not np.array_equal(after["model.layers.0.weight"], before["model.layers.0.weight"])
    check_artifact(left, job)
    with pytest.raises(VerificationFailed, match="not of the declared type"):
        check_artifact(raw, job)


def test_who_asks_for_float32_gets_it_and_has_signed_that():
    job = parameters(model="mlp", precision="float32")
    raw = handed(job)
    assert leaving([raw], job) == [raw]
    check_artifact(raw, job)
    assert job.to_json()["train"]["precision"] == "float32"
    assert parameters().to_json()["train"]["precision"] == "bf16"
    with pytest.raises(VerificationFailed, match="not of the declared type"):
        check_artifact(leaving([raw], parameters(model="mlp"))[0], job)


def test_everything_else_leaves_as_it_is():
    job = parameters()
    metrics = RawArtifact("metrics.json", "application/json", b"{}")
    assert leaving([metrics, handed(job)], job)[0] is metrics
    computing = compute_parameters([{"name": "model.safetensors", "media_type": KIND, "max_bytes": 4096}])
    own = RawArtifact("model.safetensors", KIND, write_tensors({"w": np.ones(2, np.float64)}))
    assert leaving([own], computing) == [own]


def test_a_sandbox_hands_over_float32_or_nothing():
    job = parameters(model="custom", max_parameters=10)
    rounded = write_tensors({"model.a": np.ones(1, np.float32)}, ["model.a"])
    for data in (b"", rounded, write_tensors({"model.a": np.ones(1, np.int64)})):
        with pytest.raises(VerificationFailed):
            leaving([RawArtifact("model.safetensors", KIND, data)], job)
    with pytest.raises(InvalidInput, match="not a number"):
        leaving([handed(job, **{"model.a": np.array([3.4e38], np.float32)})], job)


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_the_declared_size_is_that_of_what_leaves(precision):
    job = parameters(model="mlp", hidden=[512, 512], precision=precision)
    (left,) = leaving([handed(job)], job)
    limit = next(a.max_bytes for a in declared_artifacts(job) if a.name == "model.safetensors")
    numbers = sum(int(np.prod(info.shape)) for info in tensor_infos(left.data))
    assert numbers * (2 if precision == "bf16" else 4) < len(left.data) <= limit
    assert limit == model_bytes(job.training(), job.features) <= handed_bytes(job.training(), job.features)
    assert limit - len(left.data) < 1 << 20, "no room but that of the header"


@pytest.mark.parametrize("train", [{"model": "logistic_regression"}, {"model": "mlp", "hidden": [8]}])
def test_a_rounded_model_scores_as_the_trained_one_does(train):
    new = patients(300, seed=5)
    scores = []
    for precision in ("bf16", "float32"):
        job = parameters(epochs=10, precision=precision, **train)
        data = run("train", job, patients(300))["model.safetensors"].data
        scores.append(load_released(data, job).predict(new))
        other = parameters(epochs=10, precision={"bf16": "float32"}.get(precision, "bf16"), **train)
        with pytest.raises(VerificationFailed):
            load_released(data, other)
    assert not np.array_equal(*scores)
    assert np.abs(scores[0] - scores[1]).max() < 0.02

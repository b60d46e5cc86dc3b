from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from job_runs import parameters, patients, run

from trustspace.errors import VerificationFailed
from trustspace.jobs.federation import measure_length, measured, read_sums
from trustspace.jobs.losses import read_losses
from trustspace.jobs.metrics import LARGEST_LOSS, per_row_loss
from trustspace.jobs.tensors import read_tensors, write_tensors

JOB = parameters(model="mlp", epochs=10, learning_rate="0.02")
TRAINING, WITHHELD = patients(200, missing=0.1), patients(80, seed=8, missing=0.1)


@pytest.fixture(scope="module")
def made():
    return run("train", JOB, TRAINING)


def judged(model, **more):
    return json.loads(run("evaluate", JOB, WITHHELD, model=model, **more)["metrics.json"].data)


def test_both_parts_are_measured_from_the_exported_bytes():
    job = parameters(model="mlp", epochs=10, learning_rate="0.02", precision="float32")
    made = run("train", job, TRAINING)
    found = run("evaluate", job, WITHHELD, model=made["model.safetensors"].data, members=TRAINING)
    metrics, trained = (json.loads(artifacts["metrics.json"].data) for artifacts in (found, made))
    assert metrics["format"] == "trustspace-evaluation-v1"
    for name in ("rows", "loss", "auc", "accuracy"):
        assert metrics["training"][name] == trained[name], "what was exported is what was trained"
    assert metrics["withheld"]["rows"] == 80
    assert metrics["withheld"]["auc"] != trained["auc"]


def test_without_members_only_the_withheld_part_is_measured(made):
    assert set(judged(made["model.safetensors"].data)) == {"format", "withheld"}


def test_it_is_the_file_that_is_measured(made):
    tensors = {name: np.array(array) for name, array in read_tensors(made["model.safetensors"].data).items()}
    tensors["model.layers.1.weight"] = -tensors["model.layers.1.weight"]
    honest = judged(made["model.safetensors"].data)["withheld"]
    turned = judged(write_tensors(tensors))["withheld"]
    assert float(turned["auc"]) == pytest.approx(1 - float(honest["auc"]), abs=1e-6)


def test_the_same_file_gives_the_same_bytes(made):
    model = made["model.safetensors"].data
    assert run("evaluate", JOB, WITHHELD, model=model) == run("evaluate", JOB, WITHHELD, model=model)


@pytest.mark.parametrize("name", ["model.layers.0.weight", "input.fill"])
def test_a_file_that_does_not_fit_is_refused(made, name):
    tensors = dict(read_tensors(made["model.safetensors"].data))
    del tensors[name]
    with pytest.raises(VerificationFailed, match="declared model"):
        judged(write_tensors(tensors))


def test_a_file_that_is_none_is_refused(made):
    with pytest.raises(VerificationFailed):
        judged(made["model.safetensors"].data + b"\0")


def test_a_custom_model_is_rebuilt_from_its_code():
    code = {
        "model.py": "from torch import nn\ndef build(p):\n"
        "    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))\n"
    }
    job = parameters(model="custom", epochs=8, learning_rate="0.02")
    made = run("train", job, TRAINING, code=code)
    metrics = json.loads(
        run("evaluate", job, WITHHELD, model=made["model.safetensors"].data, members=TRAINING, code=code)[
            "metrics.json"
        ].data
    )
    before = float(json.loads(made["metrics.json"].data)["loss"])
    assert float(metrics["training"]["loss"]) == pytest.approx(before, rel=0.01), "apart from the rounding"


def test_the_model_before_it_was_rounded_is_judged_too_and_after_the_one_that_leaves():
    exact = parameters(model="mlp", epochs=10, learning_rate="0.02", precision="float32")
    before, after = (run("train", job, TRAINING)["model.safetensors"].data for job in (exact, JOB))
    metrics = judged(after, members=TRAINING, unrounded=before)
    assert metrics["unrounded"]["loss"] == judged(before)["withheld"]["loss"]
    assert metrics["withheld"] == judged(after)["withheld"]
    assert metrics["unrounded"]["loss"] != metrics["withheld"]["loss"]
    assert float(metrics["unrounded"]["auc"]) == pytest.approx(float(metrics["withheld"]["auc"]), abs=0.01)
    with pytest.raises(VerificationFailed, match="declared model"):
        judged(after, unrounded=write_tensors({}))


def joint(job):
    value = job.to_json()
    datasets = [{**value["datasets"][0], "id": f"ward-{name}"} for name in "abc"]
    terms = {**value["terms"], "minimum_participants": 3}
    return type(job).model_validate({**value, "datasets": datasets, "terms": terms})


@pytest.mark.parametrize("train", [{}, {"target": "size", "loss": "mean_squared_error", "model": "mlp"}])
def test_a_joint_training_is_measured_on_everybodys_withheld_rows(train):
    columns = tuple(name for name in ("age", "size", "texture") if name != train.get("target"))
    job = joint(parameters(columns, epochs=8, learning_rate="0.02", **train))
    single = type(job).model_validate(
        {k: v for k, v in job.to_json().items() if k not in {"federated", "datasets", "terms", "sums"}}
        | {"datasets": [job.to_json()["datasets"][0]]}
    )
    model = run("train", single, TRAINING)["model.safetensors"].data
    pieces = [WITHHELD.slice(0, 30), WITHHELD.slice(30, 45), WITHHELD.slice(75)]
    length = measure_length(job)
    parts = [
        read_sums(run("evaluate", job, piece, model=model)["sums.json"].data, length) for piece in pieces
    ]
    together = measured(job, np.sum(parts, axis=0).tolist())
    alone = json.loads(run("evaluate", single, WITHHELD, model=model)["metrics.json"].data)["withheld"]
    assert together.rows == alone["rows"]
    assert together.loss == pytest.approx(float(alone["loss"]), abs=1e-5)
    if train:
        assert together.r2 == pytest.approx(float(alone["r2"]), abs=1e-5)
    else:
        assert together.accuracy == pytest.approx(float(alone["accuracy"]), abs=1e-5)
        assert together.auc == pytest.approx(float(alone["auc"]), abs=0.01)


def test_only_a_joint_training_gives_sums(made):
    assert set(run("evaluate", JOB, WITHHELD, model=made["model.safetensors"].data)) == {
        "metrics.json",
        "losses.safetensors",
    }


def losses_of(job, model, withheld=WITHHELD, training=TRAINING, **more):
    found = run("evaluate", job, withheld, model=model, members=training, **more)
    sides = {"training": training.num_rows, "withheld": withheld.num_rows}
    return json.loads(found["metrics.json"].data), read_losses(found["losses.safetensors"].data, sides)


def test_the_losses_of_single_rows_add_up_to_the_metrics(made):
    metrics, losses = losses_of(JOB, made["model.safetensors"].data)
    for side, (loss, used) in losses.items():
        assert used.all()
        assert loss.mean() == pytest.approx(float(metrics[side]["loss"]), abs=1e-6)


def test_rows_that_were_left_out_keep_their_place(made):
    nobody = pa.array(
        [None if row % 4 == 0 else value for row, value in enumerate(WITHHELD["outcome"].to_pylist())]
    )
    holes = WITHHELD.set_column(WITHHELD.column_names.index("outcome"), "outcome", nobody)
    _, whole = losses_of(JOB, made["model.safetensors"].data)
    metrics, cut = losses_of(JOB, made["model.safetensors"].data, holes)
    loss, used = cut["withheld"]
    assert metrics["withheld"]["left_out"] == 20
    assert (~used).nonzero()[0].tolist() == list(range(0, 80, 4))
    np.testing.assert_allclose(loss[used], whole["withheld"][0][used], atol=1e-9)
    assert not loss[~used].any()


@pytest.mark.parametrize("train", [{"target": "size", "loss": "mean_squared_error"}, {"classes": ["B", "M"]}])
def test_losses_of_numbers_and_classes(train):
    columns = tuple(name for name in ("age", "size", "texture") if name != train.get("target"))
    job = parameters(columns, epochs=3, **train)
    metrics, losses = losses_of(job, run("train", job, TRAINING)["model.safetensors"].data)
    loss, used = losses["withheld"]
    assert loss[used].mean() == pytest.approx(float(metrics["withheld"]["loss"]), abs=1e-6)


def test_a_loss_beyond_all_bounds_is_capped():
    logits = np.array([[1e300], [-1e300], [np.nan], [3.0]])
    found = per_row_loss("binary", logits, np.array([0.0, 0.0, 1.0, 1.0]))
    assert found.tolist() == [LARGEST_LOSS, 0.0, LARGEST_LOSS, pytest.approx(0.048587, abs=1e-6)]
    assert per_row_loss("regression", logits, np.zeros(4)).max() == LARGEST_LOSS
    assert per_row_loss("multiclass", np.array([[0.0, 1e200]]), np.zeros(1)).tolist() == [LARGEST_LOSS]


@pytest.mark.parametrize(
    "change", ["a side less", "a side more", "another length", "used twice", "a loss of nobody"]
)
def test_losses_are_read_strictly(made, change):
    found = run("evaluate", JOB, WITHHELD, model=made["model.safetensors"].data)["losses.safetensors"].data
    tensors = {name: np.array(array) for name, array in read_tensors(found).items()}
    sides = {"withheld": 80}
    assert set(read_losses(found, sides)) == {"withheld"}
    if change == "a side less":
        sides["training"] = 200
    elif change == "a side more":
        tensors["training.loss"] = np.zeros(3)
    elif change == "another length":
        sides["withheld"] = 81
    elif change == "used twice":
        tensors["withheld.used"][0] = 2
    else:
        tensors["withheld.used"][0] = 0
    with pytest.raises(VerificationFailed, match="not those of these rows"):
        read_losses(write_tensors(tensors), sides)

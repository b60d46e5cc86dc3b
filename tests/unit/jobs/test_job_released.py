"""A released model is used with NumPy alone, and gives what the platform measured."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from job_runs import NUMBERS, parameters, patients, run

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.metrics import auc
from trustspace.jobs.released import load_released
from trustspace.jobs.tensors import read_tensors, write_tensors

TRAINING, NEW = patients(200, missing=0.1), patients(60, seed=9, missing=0.2)


def released(job, table=TRAINING):
    return load_released(run("train", job, table)["model.safetensors"].data, job)


@pytest.mark.parametrize("train", [{"model": "logistic_regression"}, {"model": "mlp", "hidden": [8, 4]}])
@pytest.mark.parametrize("standardise", [True, False])
def test_scores_are_those_the_platform_measured(train, standardise):
    job = parameters(epochs=10, standardise=standardise, **train)
    model = run("train", job, TRAINING)["model.safetensors"].data
    scores = load_released(model, job).predict(NEW)
    assert scores.shape == (60,)
    assert ((scores > 0) & (scores < 1)).all()
    ill = np.array([value == "M" for value in NEW["outcome"].to_pylist()], dtype=np.float64)
    measured = json.loads(run("evaluate", job, NEW, model=model)["metrics.json"].data)["withheld"]
    assert auc(ill, scores) == pytest.approx(float(measured["auc"]), abs=1e-6)
    assert np.mean((scores > 0.5) == ill) == pytest.approx(float(measured["accuracy"]), abs=1e-6)
    loss = -np.mean(np.log(np.where(ill == 1, scores, 1 - scores)))
    assert loss == pytest.approx(float(measured["loss"]), abs=1e-4)


def test_several_classes_and_categories():
    draw = np.random.default_rng(2)
    sex = draw.choice(["f", "m"], 200)
    level = np.where(sex == "f", "low", np.where(draw.random(200) < 0.5, "middle", "high"))
    table = pa.table({"sex": sex, "age": draw.normal(size=200), "level": level})
    job = parameters(("sex", "age"), model="mlp", target="level", classes=["low", "middle", "high"], epochs=20,
                     categories={"sex": ["f", "m"]})  # fmt: skip
    model = released(job, table)
    shares = model.predict({"sex": ["f", "m", None], "age": [0.0, 0.0, 0.0]})
    assert shares.shape == (3, 3)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    assert shares[0].argmax() == 0
    assert shares[1].argmax() != 0
    with pytest.raises(InvalidInput, match="named columns"):
        model.predict(np.zeros((2, 2)))


def test_a_number_comes_in_its_own_units():
    draw = np.random.default_rng(4)
    size = draw.normal(size=200)
    table = pa.table({"size": size, "cost": 1000 + 50 * size})
    job = parameters(("size",), target="cost", loss="mean_squared_error", epochs=80, learning_rate="0.05")
    assert released(job, table).predict({"size": [0.0, 1.0]}) == pytest.approx([1000, 1050], abs=3)


def test_tables_mappings_and_arrays_agree():
    model = released(parameters(epochs=3))
    array = np.column_stack([NEW[name].to_numpy(zero_copy_only=False) for name in NUMBERS])
    columns = {name: NEW[name].to_numpy(zero_copy_only=False) for name in NUMBERS}
    np.testing.assert_array_equal(model.predict(NEW), model.predict(array))
    np.testing.assert_array_equal(model.predict(NEW), model.predict(columns))
    for wrong in (array[:, :2], array[0], np.zeros((2, 4))):
        with pytest.raises(InvalidInput):
            model.predict(wrong)
    with pytest.raises(InvalidInput, match="Column size is missing"):
        model.predict(NEW.drop_columns(["size"]))


def test_missing_values_count_as_the_training_mean():
    model = released(parameters(epochs=5))
    fill = [float(value) for value in model.tensors["input.fill"]]
    np.testing.assert_allclose(
        model.predict(np.full((1, 3), np.nan)), model.predict(np.array([fill])), rtol=1e-6
    )


def test_the_parameters_of_the_certificate_will_do():
    job = parameters(epochs=2)
    data = run("train", job, TRAINING)["model.safetensors"].data
    np.testing.assert_array_equal(
        load_released(data, job.to_json()).predict(NEW), load_released(data, job).predict(NEW)
    )


def test_another_file_is_refused():
    job = parameters(epochs=2)
    data = run("train", job, TRAINING)["model.safetensors"].data
    tensors = dict(read_tensors(data))
    for spoilt in (
        data + b"\0",
        data[:-4],
        write_tensors({**tensors, "extra": np.zeros(1, np.float32)}),
        write_tensors({**tensors, "model.bias": np.zeros(2, np.float32)}),
        write_tensors({**tensors, "model.bias": np.zeros(1, np.float64)}),
    ):
        with pytest.raises(VerificationFailed):
            load_released(spoilt, job)


def test_models_that_need_torch_say_so():
    for job in (parameters(model="custom"), parameters(("image",), model="small_cnn", image_size=28)):
        with pytest.raises(InvalidInput, match="without torch"):
            load_released(b"", job)


def test_the_buyer_needs_no_torch(tmp_path):
    job = parameters(epochs=2)
    (tmp_path / "model").write_bytes(run("train", job, TRAINING)["model.safetensors"].data)
    script = (
        "import json, sys\nfrom pathlib import Path\nsys.modules['torch'] = None\n"
        "from trustspace.jobs.released import load_released\n"
        "model = load_released(Path(sys.argv[1]).read_bytes(), json.loads(sys.argv[2]))\n"
        "print(model.predict({'age': [50.0], 'size': [10.0], 'texture': [0.1]})[0])\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "model"), json.dumps(job.to_json())]
    said = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    assert 0 < float(said) < 1

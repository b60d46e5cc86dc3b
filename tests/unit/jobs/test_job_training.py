"""The platform's loop, run in this process; the sandbox has its own tests."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from job_runs import parameters, patients, run

from trustspace.errors import InvalidInput
from trustspace.jobs.artifacts import check_artifacts
from trustspace.jobs.registry import expected_tensors
from trustspace.jobs.spec import load_job_file, read_code
from trustspace.jobs.tensors import read_tensors, tensor_infos

HERE = Path(__file__).parent
EXAMPLES = Path(__file__).parents[3] / "examples" / "jobs"
LINEAR = {
    "model.py": "from torch import nn\ndef build(p):\n    return nn.Linear(p['input_shape'][0], p['outputs'])\n"
}
NORMED = {
    "model.py": "from layers import make\ndef build(p):\n    return make(p['input_shape'][0], p['outputs'])\n",
    "layers.py": "from torch import nn\ndef make(a, b):\n"
    "    return nn.Sequential(nn.Linear(a, 4), nn.BatchNorm1d(4), nn.Dropout(0.1), nn.ReLU(), nn.Linear(4, b))\n",
}


def tensors_of(artifacts):
    return read_tensors(artifacts["model.safetensors"].data)


def metrics_of(artifacts):
    return json.loads(artifacts["metrics.json"].data)


def graded(rows: int = 300) -> pa.Table:
    """Three grades that follow from two numbers, and a cost that is linear in them."""
    draw = np.random.default_rng(3)
    a, b = draw.normal(size=rows), draw.normal(size=rows)
    grade = np.where(a > 0.5, "high", np.where(b > 0.3, "middle", "low"))
    return pa.table({"a": a, "b": b, "grade": grade, "cost": 100 + 20 * a - 5 * b})


@pytest.mark.parametrize(
    ("model", "more", "code"),
    [
        ("logistic_regression", {}, None),
        ("mlp", {"hidden": [8, 4]}, None),
        ("custom", {}, LINEAR),
        ("custom", {}, NORMED),
    ],
)
@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_training_learns_and_hands_out_what_it_declared(model, more, code, optimiser):
    rate = 0.3 if optimiser == "sgd" else 0.03
    job = parameters(model=model, optimiser=optimiser, learning_rate=str(rate), epochs=15, **more)
    artifacts = run("train", job, patients(300, missing=0.1), code=code)
    check_artifacts(list(artifacts.values()), job)
    metrics = metrics_of(artifacts)
    assert float(metrics["auc"]) > 0.85
    assert float(metrics["loss_per_epoch"][-1]) < float(metrics["loss_per_epoch"][0])
    assert (metrics["rows"], metrics["left_out"], len(metrics["loss_per_epoch"])) == (300, 0, 15)


@pytest.mark.parametrize("code", [None, NORMED])
def test_the_same_job_gives_the_same_bytes(code):
    job = parameters(model="custom" if code else "mlp", batch_size=16)
    first = run("train", job, patients(100, missing=0.1), code=code)
    assert run("train", job, patients(100, missing=0.1), code=code) == first
    other_seed = parameters(model="custom" if code else "mlp", batch_size=16, seed=2)
    assert run("train", other_seed, patients(100, missing=0.1), code=code) != first


def test_another_process_gives_the_same_bytes_and_never_loads_the_compiler():
    """Importing torch's compiler costs a sandbox seconds; nothing in training needs it."""
    script = (
        "import sys, hashlib\n"
        f"sys.path.insert(0, {str(HERE)!r})\n"
        "from job_runs import parameters, patients, run\n"
        "before = 'torch' in sys.modules\n"
        "made = run('train', parameters(model='mlp'), patients(100))\n"
        "print(before, 'torch._dynamo' in sys.modules, hashlib.sha256(made['model.safetensors'].data).hexdigest())\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    here = run("train", parameters(model="mlp"), patients(100))["model.safetensors"].data
    assert said.splitlines()[-1].split() == ["False", "False", hashlib.sha256(here).hexdigest()]


def test_importing_what_the_enclave_needs_does_not_import_torch():
    modules = ["spec", "bundle", "container", "artifacts", "registry", "released", "programs"]
    script = "import sys\n" + "".join(f"import trustspace.jobs.{name}\n" for name in modules)
    script += (
        "import trustspace.evidence.report, trustspace.evidence.render\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_update_rules_are_those_of_torch(name, decay):
    import torch

    from trustspace.jobs.optimise import make_optimiser

    def descend(make):
        torch.manual_seed(1)
        module = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
        optimiser = make(module.parameters())
        for step in range(20):
            optimiser.zero_grad()
            (module(torch.linspace(-1, 1, 10).reshape(2, 5) + step) ** 2).sum().backward()
            optimiser.step()
        return torch.cat([p.detach().ravel() for p in module.parameters()])

    theirs = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[name]
    ours = descend(lambda p: make_optimiser(name, p, learning_rate=0.01, weight_decay=decay))
    torch.testing.assert_close(
        ours, descend(lambda p: theirs(p, lr=0.01, weight_decay=decay)), rtol=1e-5, atol=1e-6
    )


def test_parameters_without_a_gradient_are_left_alone():
    import torch

    from trustspace.jobs.optimise import make_optimiser

    for name in ("sgd", "adam"):
        used, unused = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
        optimiser = make_optimiser(name, [unused, used], learning_rate=0.1, weight_decay=0.5)
        used.sum().backward()
        optimiser.step()
        assert (unused.item(), used.item() < 1) == (1.0, True)


@pytest.mark.parametrize(
    ("columns", "train"),
    [
        (("a", "b"), {"model": "logistic_regression"}),
        (("a", "b"), {"model": "mlp", "hidden": [5, 3]}),
        (("a",), {"model": "small_cnn", "image_size": 16}),
        (("a",), {"model": "small_cnn", "image_size": 16, "channels": 3, "classes": ["x", "y", "z"]}),
        (("a", "b"), {"model": "logistic_regression", "classes": ["x", "y", "z"]}),
        (("a", "b"), {"model": "mlp", "loss": "mean_squared_error", "categories": {"b": ["x", "y", "z"]}}),
    ],
)
def test_the_registry_knows_the_shapes_of_every_model(columns, train):
    from trustspace.jobs.models import build, to_arrays

    job = parameters(columns, **train)
    network = {name: array.shape for name, array in to_arrays(build(job, None)).items()}
    expected = expected_tensors(job.training(), job.features)
    assert network == {name: shape for name, shape in expected.items() if name.startswith("model.")}


def test_several_classes():
    job = parameters(("a", "b"), model="mlp", target="grade", classes=["low", "middle", "high"], epochs=30)
    artifacts = run("train", job, graded())
    check_artifacts(list(artifacts.values()), job)
    assert float(metrics_of(artifacts)["accuracy"]) > 0.8
    assert float(metrics_of(artifacts)["auc"]) > 0.9


def test_an_undeclared_class_is_left_out_and_counted():
    job = parameters(("a", "b"), target="grade", classes=["low", "high"])
    metrics = metrics_of(run("train", job, graded()))
    assert metrics["left_out"] == sum(value == "middle" for value in graded()["grade"].to_pylist())
    assert metrics["rows"] + metrics["left_out"] == 300


def test_a_numeric_target_keeps_its_units_in_the_model():
    job = parameters(("a", "b"), target="cost", loss="mean_squared_error", epochs=60, learning_rate="0.05")
    artifacts = run("train", job, graded())
    check_artifacts(list(artifacts.values()), job)
    assert float(metrics_of(artifacts)["r2"]) > 0.99
    tensors = tensors_of(artifacts)
    costs = graded()["cost"].to_numpy()
    assert tensors["output.mean"][0] == pytest.approx(costs.mean(), rel=1e-6)
    assert tensors["output.scale"][0] == pytest.approx(costs.std(), rel=1e-6)


def test_missing_values_become_the_training_mean_inside_the_model():
    table = patients(200, missing=0.2)
    tensors = tensors_of(run("train", parameters(), table))
    for place, name in enumerate(("age", "size", "texture")):
        present = [value for value in table[name].to_pylist() if value is not None]
        assert tensors["input.fill"][place] == pytest.approx(np.mean(present), rel=1e-6)
        assert tensors["input.mean"][place] == pytest.approx(np.mean(present), rel=1e-6)


def test_without_standardisation_numbers_stay_as_they_are():
    tensors = tensors_of(run("train", parameters(standardise=False), patients(50)))
    assert tensors["input.mean"].tolist() == [0, 0, 0]
    assert tensors["input.scale"].tolist() == [1, 1, 1]
    assert tensors["input.fill"][0] > 10


def test_training_that_diverges_says_so():
    job = parameters(
        ("size",),
        target="age",
        loss="mean_squared_error",
        optimiser="sgd",
        learning_rate="10",
        standardise=False,
        epochs=50,
    )
    with pytest.raises(InvalidInput, match="diverged in epoch") as caught:
        run("train", job, patients(100))
    assert "learning_rate" in str(caught.value)


def test_too_little_to_train_on():
    with pytest.raises(InvalidInput, match="Fewer than two rows"):
        run("train", parameters(), patients(1))


def test_one_class_only_trains_and_says_what_it_cannot_measure():
    table = patients(50).set_column(3, "outcome", pa.array(["M"] * 50))
    assert metrics_of(run("train", parameters(), table))["auc"] == "not measurable"


def test_the_log_tells_the_progress(capsys):
    run("train", parameters(epochs=3), patients(40))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "training logistic_regression on 40 rows, 0 left out"
    assert [line.split(" loss ")[0] for line in lines[1:]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    run("train", parameters(epochs=950, batch_size=64), patients(20))
    assert len(capsys.readouterr().out.splitlines()) <= 102


def test_a_single_last_row_does_not_break_batch_norm():
    artifacts = run("train", parameters(model="custom", batch_size=8), patients(17), code=NORMED)
    assert metrics_of(artifacts)["rows"] == 17


def test_integer_buffers_are_not_exported():
    artifacts = run("train", parameters(model="custom"), patients(40), code=NORMED)
    infos = tensor_infos(artifacts["model.safetensors"].data)
    assert {info.name for info in infos if info.dtype == "F32"} == {
        f"input.{part}" for part in ("fill", "mean", "scale")
    }
    assert {info.dtype for info in infos if info.name.startswith("model.")} == {"BF16"}
    assert "model.1.running_mean" in {info.name for info in infos}
    assert not any("num_batches" in info.name for info in infos)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def build(p):\n    return 3\n", "did not return a torch.nn.Module"),
        (
            "from torch import nn\ndef build(p):\n    return nn.Linear(3, 1000)\n",
            "larger than train.max_parameters",
        ),
        ("from torch import nn\ndef build(p):\n    return nn.Linear(3, 2)\n", r"must give 1 number"),
        ("from torch import nn\ndef build(p):\n    return nn.Flatten(0)\n", r"must give 1 number"),
        ("def make(p):\n    pass\n", r"does not define build"),
    ],
)
def test_a_custom_model_that_does_not_fit_is_refused(source, message):
    with pytest.raises(InvalidInput, match=message):
        run("train", parameters(model="custom", max_parameters=1000), patients(20), code={"model.py": source})


def test_a_custom_model_needs_its_code():
    with pytest.raises(InvalidInput, match="code bundle"):
        run("train", parameters(model="custom"), patients(20))


@pytest.mark.parametrize("name", ["breast-cancer-logistic", "breast-cancer-mlp", "custom-model"])
def test_the_examples_learn_real_data(name):
    datasets = pytest.importorskip(
        "sklearn.datasets", reason="the clinical table of the demo is not installed"
    )
    found = datasets.load_breast_cancer()
    table = pa.table({str(n): found.data[:, i] for i, n in enumerate(found.feature_names)})
    table = table.append_column("diagnosis", pa.array(["MB"[y] for y in found.target]))
    path = EXAMPLES / f"{name}.toml"
    job = load_job_file(path)
    code = read_code(job, path)
    made = run("train", job.parameters(), table.slice(0, 400), code=code or None)
    check_artifacts(list(made.values()), job.parameters())
    judged = run(
        "evaluate", job.parameters(), table.slice(400), model=made["model.safetensors"].data,
        code=code or None,
    )  # fmt: skip
    assert float(json.loads(judged["metrics.json"].data)["withheld"]["auc"]) > 0.98

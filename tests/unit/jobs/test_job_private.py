"""Training with differential privacy, in this process: what a model may depend on, and how much of it."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from job_runs import patients, run
from private_runs import RANGES, numbered, private_job
from scipy.stats import kstest
from torch import nn

from trustspace.errors import InvalidInput
from trustspace.jobs import private
from trustspace.jobs.artifacts import check_artifacts
from trustspace.jobs.chance import Chance
from trustspace.jobs.claim import Plan
from trustspace.jobs.participants import Participants, Turns
from trustspace.jobs.tensors import read_tensors

# What Opacus does on purpose: no input has a gradient.
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")
ROWS = 200
SECRET, OTHER = b"n" * 32, b"o" * 32


def train(job, table, owners=None, noise: bytes = SECRET, **more):
    owners = np.arange(table.num_rows) if owners is None else owners
    return run("train", job, table, patients=numbered(owners), noise=noise, **more)


def weights(artifacts) -> dict[str, np.ndarray]:
    return read_tensors(artifacts["model.safetensors"].data)


@pytest.fixture(scope="module")
def trained():
    """One private training, shared."""
    return train(private_job(), patients(ROWS))


def test_the_same_secret_gives_the_same_bytes_and_another_another_model(trained) -> None:
    again = train(private_job(), patients(ROWS))
    assert again["model.safetensors"].data == trained["model.safetensors"].data
    assert again["metrics.json"].data == trained["metrics.json"].data
    other = train(private_job(), patients(ROWS), noise=OTHER)
    assert other["model.safetensors"].data != trained["model.safetensors"].data
    # The metrics say nothing of what came out.
    assert other["metrics.json"].data == trained["metrics.json"].data


def test_what_is_told_is_sound_and_the_same_whatever_the_rows_are(trained, capsys) -> None:
    job = private_job()
    check_artifacts(list(trained.values()), job)
    value = json.loads(trained["metrics.json"].data)
    assert (value["steps"], value["sample_rate"], value["patients"]) == (10, "0.200000", ROWS)
    assert float(value["epsilon_second_accountant"]) < float(value["epsilon_accounted"]) <= 3
    capsys.readouterr()
    one = train(job, patients(ROWS, seed=1))
    said = capsys.readouterr()
    other = train(job, patients(ROWS, seed=2, missing=0.3))
    assert capsys.readouterr() == said
    assert one["metrics.json"].data == other["metrics.json"].data == trained["metrics.json"].data


def test_what_inputs_are_scaled_by_does_not_depend_on_the_rows() -> None:
    job = private_job()
    scales = [
        {
            name: array.tolist()
            for name, array in weights(train(job, table)).items()
            if name.startswith("input.")
        }
        for table in (patients(ROWS, seed=1), patients(ROWS, seed=2))
    ]
    assert scales[0] == scales[1]
    assert scales[0]["input.mean"] == [50.0, 15.0, 0.5]
    assert scales[0]["input.scale"] == [25.0, 7.5, 0.25]
    # The control: without differential privacy they do.
    plain = job.model_copy(update={"privacy": None})
    means = [weights(run("train", plain, patients(ROWS, seed=s)))["input.mean"].tolist() for s in (1, 2)]
    assert means[0] != means[1]


def test_values_beyond_the_published_range_count_as_its_end() -> None:
    table = patients(ROWS)
    far = table.set_column(0, "age", pa.array(np.where(np.arange(ROWS) < 20, 1e9, table["age"].to_numpy())))
    end = table.set_column(0, "age", pa.array(np.where(np.arange(ROWS) < 20, 100.0, table["age"].to_numpy())))
    job = private_job()
    assert train(job, far)["model.safetensors"].data == train(job, end)["model.safetensors"].data


# -- the noise, and what one patient can do


class Flat(nn.Module):
    """One number that all inputs are multiplied by, and many that do nothing: what they get is noise alone."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Linear(100, 100)
        self.head = nn.Linear(3, 1, bias=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(inputs)


def learner(
    module: nn.Module, *, noise: float, norm: str = "1", patients: int = 100, rate: float = 0.5, seed=SECRET
):
    """A learner whose steps are taken whole: plain descent at rate 1, so that a weight shows its gradient."""
    job = private_job(norm=norm, optimiser="sgd", learning_rate=1)
    return private.Learner(module, job, Plan(patients, rate, 1, noise), Chance(seed))


def step(made, inputs: torch.Tensor, target: torch.Tensor) -> None:
    for piece in made.pieces(torch.arange(len(inputs))):
        answers = made.network(inputs[piece])[:, 0]
        nn.functional.binary_cross_entropy_with_logits(answers, target[piece]).backward()
        made.add(last=False)
    made.add(last=True)


def moved(before: nn.Module, after: nn.Module) -> torch.Tensor:
    return torch.cat(
        [(b - a).flatten() for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    ).detach()


def test_the_noise_has_the_size_that_is_accounted_for() -> None:
    module, start = Flat(), Flat()
    start.load_state_dict(module.state_dict())
    made = learner(module, noise=2.0, norm="3", seed=OTHER)
    step(made, torch.zeros((0, 3)), torch.zeros(0))
    made.hand_over(module)
    noise = moved(start, module).double().numpy()
    # The sum is divided by 50, the batch that is to be expected: 2 x 3 / 50.
    assert noise.std() == pytest.approx(0.12, rel=4 / np.sqrt(2 * len(noise)))
    assert kstest(noise / 0.12, "norm").pvalue > 0.01
    assert made.steps == 1


def test_each_step_and_each_tensor_has_noise_of_its_own() -> None:
    module, start = Flat(), Flat()
    start.load_state_dict(module.state_dict())
    made = learner(module, noise=1.0)
    found = []
    for _ in range(2):
        before = [p.detach().clone() for p in made.network.parameters()]
        step(made, torch.zeros((0, 3)), torch.zeros(0))
        found += [(p.detach() - b).flatten() for p, b in zip(made.network.parameters(), before, strict=True)]
    # Two steps of one tensor, and two tensors of one step: the same draw would be the same numbers, up to rounding.
    for one, other in ((found[0], found[3]), (found[0][:100], found[1])):
        assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < 4 / np.sqrt(len(one))
    # The control: the same secret at the same step is the same draw.
    repeat = learner(module, noise=1.0)
    before = next(iter(repeat.network.parameters())).detach().clone()
    step(repeat, torch.zeros((0, 3)), torch.zeros(0))
    again = (next(iter(repeat.network.parameters())).detach() - before).flatten()
    assert torch.corrcoef(torch.stack([found[0], again]))[0, 1] > 0.999


def _influence(owners: np.ndarray, count: int) -> float:
    """How far the rows of the one patient with many move one noiseless step, in clipping norms."""
    draw = np.random.default_rng(3)
    inputs = torch.from_numpy(draw.normal(size=(len(owners), 3)).astype(np.float32))
    # The patient with many rows: all of them the same strong example.
    inputs[:200] = torch.tensor([40.0, 40.0, 40.0])
    target = torch.ones(len(owners))
    target[:200] = 0.0
    results = []
    for present in (True, False):
        module = nn.Linear(3, 1)
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)
        made = learner(module, noise=0.0, patients=count, rate=1.0)
        rows = Turns(Participants(owners, count, SECRET), 1.0, Chance(SECRET)).rows_of(0)
        rows = rows if present else rows[rows >= 200]
        step(made, inputs[rows], target[rows])
        made.hand_over(module)
        results.append(torch.cat([p.flatten() for p in module.parameters()]).detach() * count)
    return float((results[0] - results[1]).norm())


def test_a_patient_with_many_rows_moves_a_step_no_further_than_one_norm() -> None:
    by_patient = np.array([0] * 200 + list(range(1, 101)))
    assert 0.9 < _influence(by_patient, 101) <= 1 + 1e-4
    # The control: were every row taken for a patient of its own, the two hundred would move it two hundred times as far.
    assert _influence(np.arange(300), 300) > 150


def test_a_gradient_that_is_no_number_counts_as_zero() -> None:
    inputs = torch.ones((4, 3))
    target = torch.ones(4)
    spoilt = inputs.clone()
    spoilt[0] = torch.inf
    results = []
    for given in (spoilt, torch.cat([inputs[1:]])):
        module = nn.Linear(3, 1)
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)
        made = learner(module, noise=1.0)
        step(made, given, target[: len(given)])
        made.hand_over(module)
        results.append(module.weight.detach().clone())
    assert torch.equal(results[0], results[1])


def test_opacus_alone_would_let_one_row_spoil_all(monkeypatch) -> None:
    """The control: without our zero, the model is lost, which tells that the row was there."""
    monkeypatch.setattr(
        private.NoisyOptimiser, "clip_and_accumulate", private.DPOptimizer.clip_and_accumulate
    )
    module = nn.Linear(3, 1)
    made = learner(module, noise=1.0)
    spoilt = torch.ones((4, 3))
    spoilt[0] = torch.inf
    step(made, spoilt, torch.ones(4))
    with pytest.raises(InvalidInput, match="diverged"):
        made.hand_over(module)


@pytest.mark.slow
def test_a_batch_in_pieces_is_the_batch(monkeypatch, trained) -> None:
    whole = weights(train(private_job(), patients(ROWS)))
    # Ten rows at a time.
    monkeypatch.setattr(private, "PIECE_NUMBERS", 40)
    pieces = weights(train(private_job(), patients(ROWS)))
    for name, array in whole.items():
        np.testing.assert_allclose(pieces[name], array, rtol=1e-4, atol=1e-6)


# -- models


CUSTOM = {
    "model.py": """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, 1)
        self.watch = Watch()

    def forward(self, inputs):
        return self.linear(self.watch(inputs))

class Watch(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, inputs):
        if self.training:
            self.seen += inputs.detach().sum(dim=0)
        return inputs

def build(parameters):
    return Net(parameters["input_shape"][0])
"""
}


def test_only_trained_weights_leave_not_what_a_layer_kept_of_the_rows() -> None:
    job = private_job(model="custom", max_parameters=100)
    kept = weights(train(job, patients(ROWS), code=CUSTOM))["model.watch.seen"]
    assert kept.tolist() == [0.0, 0.0, 0.0]
    # The control: without differential privacy it does leave.
    plain = job.model_copy(update={"privacy": None})
    assert weights(run("train", plain, patients(ROWS), code=CUSTOM))["model.watch.seen"].any()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("nn.BatchNorm1d(3)", "Batch normalisation mixes"),
        ("nn.BatchNorm1d(3, affine=False)", "Batch normalisation mixes"),
        ("nn.InstanceNorm1d(3, affine=True, track_running_stats=True)", "Opacus cannot train"),
    ],
)
def test_models_that_cannot_be_private_are_refused_in_words(layer, message) -> None:
    code = {
        "model.py": "from torch import nn\ndef build(parameters):\n"
        f"    return nn.Sequential({layer}, nn.Linear(3, 1))\n"
    }
    with pytest.raises(InvalidInput, match=message):
        train(private_job(model="custom", max_parameters=100), patients(ROWS), code=code)


def test_a_model_without_weights_to_train_is_refused() -> None:
    code = {
        "model.py": "from torch import nn\ndef build(parameters):\n    return nn.Linear(3, 1).requires_grad_(False)\n"
    }
    with pytest.raises(InvalidInput, match="Opacus cannot train"):
        train(private_job(model="custom", max_parameters=100), patients(ROWS), code=code)


@pytest.mark.slow
def test_numbers_classes_and_categories_are_trained_too() -> None:
    table = patients(ROWS).append_column("grade", pa.array([str(k % 3) for k in range(ROWS)]))
    several = private_job(model="mlp", hidden=[4], target="grade", classes=["0", "1", "2"], epochs=1)
    assert weights(train(several, table))["model.layers.1.weight"].shape == (3, 4)
    numeric = private_job(
        target="size", loss="mean_squared_error", epochs=1, columns=("age", "outcome"),
        categories={"outcome": ["M", "B"]}, ranges={name: RANGES[name] for name in ("age", "size")},
    )  # fmt: skip
    found = weights(train(numeric, table))
    assert (found["output.mean"].tolist(), found["output.scale"].tolist()) == ([15.0], [7.5])
    assert found["input.mean"].tolist() == [50.0, 0.0, 0.0]


@pytest.mark.slow
def test_the_second_accountant_never_exceeds_the_first_by_more_than_its_error() -> None:
    for epsilon, patients_, batch, epochs in (("0.1", 900, 90, 2), ("3", 500, 25, 10), ("8", 900, 300, 20)):
        job = private_job(epsilon, "0.001", batch_size=batch, epochs=epochs)
        plan = Plan.of(job, patients_)
        assert private.second_opinion(plan, float(epsilon), 0.001) <= float(epsilon) * 1.03 + 0.02

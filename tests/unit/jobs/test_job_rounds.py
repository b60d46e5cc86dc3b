from __future__ import annotations

import json
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pytest
from job_runs import NUMBERS, parameters, patients, run
from session_runs import Worker, joint_parameters

from trustspace.errors import InvalidInput
from trustspace.jobs.artifacts import check_artifacts
from trustspace.jobs.container import RawArtifact
from trustspace.jobs.features import Preparation
from trustspace.jobs.federation import (
    RoundMetrics,
    measure,
    measured,
    metrics_json,
    model_file,
    platform_from_sums,
)
from trustspace.jobs.metrics import decimal_text
from trustspace.jobs.precision import leaving
from trustspace.jobs.released import ReleasedModel
from trustspace.jobs.rounds_program import round_seed
from trustspace.jobs.tensors import read_tensors

HOSPITALS = [patients(rows, seed=seed, missing=0.1) for seed, rows in enumerate((60, 90, 40))]
BATCH_NORM = {
    "model.py": "from torch import nn\ndef build(p):\n"
    "    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=None), nn.Linear(4, 1))\n"
}


DROPOUT = {
    "model.py": "from torch import nn\ndef build(p):\n"
    "    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.BatchNorm1d(8, momentum=None), nn.Linear(8, 1))\n"
}


def weights_of(data: bytes) -> np.ndarray:
    tensors = read_tensors(data)
    return np.concatenate([tensors[n].ravel() for n in sorted(tensors) if n.startswith("model.")])


def platform_of(data: bytes) -> dict[str, np.ndarray]:
    return {n: a for n, a in read_tensors(data).items() if not n.startswith("model.")}


def lines(rows: int, seed: int) -> pa.Table:
    """A number that depends linearly on two others."""
    draw = np.random.default_rng(seed)
    x, y = draw.normal(3, 2, rows), draw.normal(-1, 5, rows)
    return pa.table({"x": x, "y": y, "outcome": 2 * x - y + draw.normal(0, 1, rows) + seed})


def lines_job(**federated):
    return joint_parameters(
        ("x", "y"), units=2, federated=federated, loss="mean_squared_error", optimiser="sgd",
        learning_rate="0.1", batch_size=10_000, epochs=4,
    )  # fmt: skip


def prepared_inputs(table: pa.Table, platform) -> tuple[np.ndarray, np.ndarray]:
    """Model inputs with a 1 for the bias before them (as the layout has it), and the scaled target."""
    raw = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
    fitted = Preparation(*(platform[f"input.{part}"] for part in ("fill", "mean", "scale")))
    target = (table["outcome"].to_numpy() - platform["output.mean"][0]) / platform["output.scale"][0]
    return np.concatenate([np.ones((len(raw), 1)), fitted.apply(raw)], axis=1), target


def gradient(weights: np.ndarray, inputs: np.ndarray, target: np.ndarray) -> np.ndarray:
    return 2 * inputs.T @ (inputs @ weights - target) / len(target)


@pytest.mark.parametrize(
    "train", [{}, {"model": "mlp", "hidden": [5, 4]}, {"model": "custom"}], ids=["linear", "mlp", "custom"]
)
def test_every_worker_begins_with_the_same_weights(train):
    code = BATCH_NORM if train.get("model") == "custom" else None
    job = joint_parameters(**train)
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(job, table, code=code)) for table in HOSPITALS]
        platform = platform_from_sums(job, sum(worker.prepare() for worker in workers))
        starts = [worker.start(platform) for worker in workers]
        assert all(np.array_equal(start, starts[0]) for start in starts)
        assert len({worker.layout for worker in workers}) == 1
        assert np.ptp(starts[0]) > 0
    with Worker(joint_parameters(**train, seed=2), HOSPITALS[0], code=code) as other:
        other.prepare()
        assert not np.array_equal(other.start(platform), starts[0])


@pytest.mark.parametrize("model", ["logistic_regression", "mlp", "custom"])
@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_one_round_of_one_worker_is_plain_training(model, optimiser):
    code = BATCH_NORM if model == "custom" else None
    how = {"model": model, "optimiser": optimiser, "epochs": 3, "weight_decay": "0.01",
           "precision": "float32"}  # fmt: skip
    plain = run("train", parameters(**how), HOSPITALS[1], code=code)
    trained = plain["model.safetensors"].data
    with Worker(joint_parameters(**how), HOSPITALS[1], code=code) as worker:
        start = worker.start(platform_of(trained))
        answer, update, _ = worker.round(1, start)
    assert answer["rows"] == json.loads(plain["metrics.json"].data)["rows"] == 90
    assert np.abs(update).max() > 0.01
    assert start + update == pytest.approx(weights_of(trained), abs=2e-7)


def test_the_loss_of_a_round_is_that_of_its_rows():
    plain = json.loads(run("train", parameters(epochs=1), HOSPITALS[0])["metrics.json"].data)
    with Worker(joint_parameters(epochs=1), HOSPITALS[0]) as worker:
        answer, _, _ = worker.round(1, worker.start(platform_from_sums(worker.job, worker.prepare())))
    assert float(answer["loss"]) == pytest.approx(float(plain["loss_per_epoch"][0]), abs=1e-5)


def test_a_round_asked_twice_is_answered_alike_and_the_next_shuffles_anew():
    job = joint_parameters(model="custom", federated={"local_steps": 3})
    with Worker(job, HOSPITALS[0], code=DROPOUT) as worker:
        start = worker.start(platform_from_sums(job, worker.prepare()))
        first = worker.round(4, start)
        again = worker.round(4, start)
        other = worker.round(5, start)
    assert first[0] == again[0]
    assert first[1].tobytes() == again[1].tobytes()
    assert first[1].tobytes() != other[1].tobytes()
    assert round_seed(7, 1) == 7
    assert len({round_seed(7, number) for number in range(1, 1001)}) == 1000


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_local_steps_are_counted_over_several_passes(steps):
    job = lines_job(local_steps=steps)
    table = lines(20, 1)
    with Worker(job, table) as worker:
        platform = platform_from_sums(job, worker.prepare())
        weights = worker.start(platform)
        _, update, _ = worker.round(1, weights)
    inputs, target = prepared_inputs(table, platform)
    expected = weights.astype(np.float64)
    for _ in range(steps):  # every pass is one batch here
        expected = expected - 0.1 * gradient(expected, inputs, target)
    assert weights + update == pytest.approx(expected, abs=1e-5)


def test_fedprox_pulls_towards_the_common_model_as_written():
    table = lines(40, 1)
    found = {}
    for strength in ("0", "0.7", "3"):
        job = lines_job(strategy="fedprox", proximal=strength, local_steps=5)
        with Worker(job, table) as worker:
            platform = platform_from_sums(job, worker.prepare())
            common = worker.start(platform)
            _, found[strength], _ = worker.round(1, common)
    inputs, target = prepared_inputs(table, platform)
    for strength, update in found.items():
        weights = common.astype(np.float64)
        for _ in range(5):
            pull = float(strength) * (weights - common)
            weights = weights - 0.1 * (gradient(weights, inputs, target) + pull)
        assert common + update == pytest.approx(weights, abs=1e-5)
    norms = [float(np.linalg.norm(update)) for update in found.values()]
    assert norms[0] > norms[1] > norms[2] > 0


def test_scaffold_is_option_two_of_the_paper():
    job, steps = lines_job(strategy="scaffold", local_steps=6), 6
    tables = [lines(30, 1), lines(50, 40)]
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(job, table)) for table in tables]
        platform = platform_from_sums(job, sum(worker.prepare() for worker in workers))
        common, _ = (worker.start(platform) for worker in workers)
        control = np.zeros_like(common)
        data = [prepared_inputs(table, platform) for table in tables]
        x, c = common.astype(np.float64), np.zeros(3)
        own = [np.zeros(3), np.zeros(3)]
        for number in range(1, 4):
            answers = [worker.round(number, common, control) for worker in workers]
            moves, changes = [], []
            for i, (inputs, target) in enumerate(data):
                y = x.copy()
                for _ in range(steps):
                    y = y - 0.1 * (gradient(y, inputs, target) - own[i] + c)
                new = own[i] - c + (x - y) / (steps * 0.1)
                moves.append(y - x)
                changes.append(new - own[i])
                own[i] = new
            for (_, update, change), move, expected in zip(answers, moves, changes, strict=True):
                assert update == pytest.approx(move, abs=2e-5)
                assert change == pytest.approx(expected, abs=2e-4)
            x, c = x + np.mean(moves, axis=0), c + np.mean(changes, axis=0)
            common = common + np.mean([update for _, update, _ in answers], axis=0)
            control = control + np.mean([change for _, _, change in answers], axis=0)
    assert np.abs(own[0] - own[1]).max() > 0.1, "the two hospitals pull in different directions"


def test_a_control_variate_moves_only_with_what_was_counted():
    job = lines_job(strategy="scaffold")
    with Worker(job, lines(30, 1)) as worker:
        common = worker.start(platform_from_sums(job, worker.prepare()))
        server = np.full_like(common, 0.25)
        first = worker.round(1, common, np.zeros_like(common))
        again = worker.round(1, common, np.zeros_like(common))
        assert first[2].tobytes() == again[2].tobytes(), "a new attempt of a round starts where the first did"
        counted = worker.round(2, common, server)
    with Worker(job, lines(30, 1)) as worker:
        worker.start(platform_from_sums(job, worker.prepare()))
        worker.round(1, common, np.zeros_like(common))
        uncounted = worker.round(2, common, server, counted=False)
    assert not np.array_equal(counted[1], uncounted[1])
    with Worker(job, lines(30, 1)) as worker:
        worker.start(platform_from_sums(job, worker.prepare()))
        late = worker.round(9, common, server)
        plain = worker.round(1, common, np.zeros_like(common))
    assert np.array_equal(late[1], first[1]), "who comes late corrects nothing in its first round"
    assert plain[0]["rows"] == 30


def test_batch_norm_statistics_travel_but_have_no_control():
    job = joint_parameters(model="custom", optimiser="sgd", federated={"strategy": "scaffold"})
    with Worker(job, HOSPITALS[0], code=BATCH_NORM) as worker:
        start = worker.start(platform_from_sums(job, worker.prepare()))
        _, update, change = worker.round(1, start, np.full_like(start, 0.5))
    at = 0
    for name, shape in worker.layout:
        part = slice(at, at + int(np.prod(shape)))
        at = part.stop
        if "running" in name:
            assert np.abs(update[part]).max() > 0.001
            assert not change[part].any()
        else:
            assert change[part].any()


def test_validation_rows_judge_the_model_that_the_round_began_with():
    job = joint_parameters(federated={"validation_percent": 10})
    watching = patients(30, seed=9)
    with Worker(job, HOSPITALS[0], validation=watching) as worker:
        platform = platform_from_sums(job, worker.prepare())
        start = worker.start(platform)
        answer, _, _ = worker.round(1, start)
        moved, _, _ = worker.round(2, start + 1)
        layout = worker.layout
    model = model_file(layout, platform, start)
    judged = json.loads(run("evaluate", job, watching, model=model)["metrics.json"].data)
    assert answer["validation"] == {"rows": 30, "loss": judged["withheld"]["loss"]}
    assert moved["validation"] != answer["validation"]
    with Worker(job, HOSPITALS[0]) as worker:
        worker.start(platform)
        assert worker.round(1, start)[0]["validation"] == {"rows": 0, "loss": "0.000000"}


def test_what_cannot_be_done_ends_the_session():
    job = joint_parameters()
    for message in ({"do": "round", "round": 1}, {"do": "leave"}, {}, {"do": "start"}):
        with Worker(job, HOSPITALS[0]) as worker, pytest.raises(InvalidInput, match="cannot do now"):
            worker.ask(message)
    with Worker(job, HOSPITALS[0].slice(0, 1)) as worker, pytest.raises(InvalidInput, match="Fewer than two"):
        worker.ask({"do": "prepare"})
    with Worker(job, HOSPITALS[0]) as worker:
        start = worker.start(platform_from_sums(job, worker.prepare()))
        with pytest.raises(InvalidInput, match="diverged in round 1"):
            worker.round(1, start * np.nan)
    with Worker(job, HOSPITALS[0]) as worker:
        assert worker.ask(None) == {"ended": True}


def test_a_model_of_too_many_tensors_says_so():
    many = "from torch import nn\ndef build(p):\n    layers = [nn.Linear(3, 3) for _ in range(2000)]\n"
    many += "    return nn.Sequential(*layers, nn.Linear(3, 1))\n"
    job = joint_parameters(model="custom")
    with Worker(job, HOSPITALS[0], code={"model.py": many}) as worker:
        platform = platform_from_sums(job, worker.prepare())
        with pytest.raises(InvalidInput, match="too many tensors"):
            worker.start(platform)


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "scaffold"])
def test_hospitals_learn_together_and_the_result_may_leave(strategy):
    job = joint_parameters(
        optimiser="sgd", learning_rate="0.1", epochs=2, federated={"strategy": strategy, "rounds": 8}
    )
    history = []
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(job, table)) for table in HOSPITALS]
        platform = platform_from_sums(job, sum(worker.prepare() for worker in workers))
        model, *_ = (worker.start(platform) for worker in workers)
        control = np.zeros_like(model) if strategy == "scaffold" else None
        for number in range(1, 9):
            answers = [worker.round(number, model, control) for worker in workers]
            weights = np.array([answer["rows"] for answer, _, _ in answers], dtype=np.float64)
            model = model + np.average([update for _, update, _ in answers], axis=0, weights=weights)
            if control is not None:
                control = control + np.mean([change for _, _, change in answers], axis=0)
            loss = np.average([float(answer["loss"]) for answer, _, _ in answers], weights=weights)
            history.append(RoundMetrics(3, decimal_text(float(loss)), "not measurable"))
        layout = workers[0].layout
    assert float(history[-1].loss) < 0.8 * float(history[0].loss)
    file = model_file(layout, platform, model.astype(np.float32))
    judge = ReleasedModel(job, read_tensors(file))
    withheld = [patients(rows, seed=seed) for seed, rows in ((20, 50), (21, 30))]
    numbers = []
    for table in withheld:
        share = judge.predict(table)
        ill = (np.array(table["outcome"]) == "M").astype(np.float64)
        numbers.append(measure(job, np.log(share / (1 - share))[:, None], ill))
    quality = measured(job, sum(numbers))
    assert quality.rows == 80
    assert quality.auc > 0.8
    metrics = metrics_json(job, history, 190, quality)
    check_artifacts(
        [
            RawArtifact("metrics.json", "application/json", metrics),
            *leaving([RawArtifact("model.safetensors", "application/x-safetensors", file)], job),
        ],
        job,
    )
    assert set(NUMBERS) == set(job.features)

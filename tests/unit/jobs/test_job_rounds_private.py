"""Private rounds of one source unit: what goes up, what it may depend on, and that no noise is there twice."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from job_runs import patients
from private_runs import RANGES, numbered
from session_runs import Worker, joint_parameters

from trustspace.errors import InvalidInput
from trustspace.jobs import private
from trustspace.jobs.chance import Chance
from trustspace.jobs.claim import Part, Plan
from trustspace.jobs.federation import platform_from_sums
from trustspace.jobs.participants import Participants
from trustspace.jobs.references import reference_parameters
from trustspace.privacy.accountant import epsilon_of

# What Opacus does on purpose: no input has a gradient.
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")
ROWS = 80
SECRET, OTHER = b"n" * 32, b"o" * 32
# One part learns; the other does nothing, and all that it ever gets is noise.
FLAT = {
    "model.py": """
from torch import nn

class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.idle = nn.Linear(30, 30, bias=False)
        self.head = nn.Linear(3, 1, bias=False)

    def forward(self, inputs):
        return self.head(inputs)

def build(p):
    return Flat()
"""
}
IDLE = 900
# Says what it draws while it trains, as dropout would draw; and takes each number of a row as a row.
DRAWING = {
    "model.py": """
import torch
from torch import nn

class Drawing(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 1)

    def forward(self, inputs):
        print("drawn", torch.rand(()).item())
        return self.head(inputs)

def build(p):
    return Drawing()
"""
}
DROPPING = {
    "model.py": """
from torch import nn

def build(p):
    return nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 1))
"""
}
RESHAPED = {
    "model.py": """
from torch import nn

class Reshaped(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 1)

    def forward(self, inputs):
        return self.head(inputs.reshape(-1, 1)).reshape(len(inputs), -1).mean(dim=1, keepdim=True)

def build(p):
    return Reshaped()
"""
}


def job(
    rounds: int = 3, steps: int | None = 2, *, epsilon: str = "3", strategy: str = "fedavg", **train: Any
):
    federated: dict[str, Any] = {"rounds": rounds, "strategy": strategy}
    if steps is not None:
        federated["local_steps"] = steps
    privacy = {"epsilon": epsilon, "delta": "0.001", "ranges": RANGES}
    return joint_parameters(federated=federated, privacy=privacy, batch_size=20, **train)


def worker(asked, table: pa.Table | None = None, owners=None, noise: bytes = SECRET, **more: Any) -> Worker:
    table = patients(ROWS) if table is None else table
    owners = np.arange(table.num_rows) if owners is None else owners
    return Worker(asked, table, patients=numbered(owners), noise=noise, **more)


def begun(one: Worker) -> np.ndarray:
    return one.start(platform_from_sums(one.job, [0.0]))


def without_first(table: pa.Table) -> pa.Table:
    """The first patient has no row that can be trained on."""
    outcome = table.column_names.index("outcome")
    labels = table.column("outcome").to_pylist()
    return table.set_column(outcome, "outcome", pa.array([None, *labels[1:]]))


def test_the_plan_is_of_all_rounds_together():
    plan = Plan.of(job(rounds=5, steps=7), ROWS)
    assert (plan.rate, plan.steps, plan.rounds, plan.steps_of_a_round) == (0.25, 35, 5, 7)
    assert epsilon_of(plan.noise, plan.rate, plan.steps, 0.001) <= 3
    # The control: what would do for one round is not enough for all.
    alone = Plan.of(job(rounds=1, steps=7), ROWS)
    assert epsilon_of(alone.noise, plan.rate, plan.steps, 0.001) > 3
    assert Plan.of(job(rounds=5, steps=None, epochs=3), ROWS).steps == 5 * 3 * 4
    # A larger hospital's patients are in fewer steps: less noise for the same promise.
    assert Plan.of(job(rounds=5, steps=7), 4 * ROWS).noise < plan.noise


def test_nothing_goes_up_but_what_noise_was_added_to(capsys):
    """The same is told and printed of other rows, more of them, or none that can be used at all."""
    asked = job()
    said, updates = [], []
    empty = patients(ROWS).set_column(
        patients(ROWS).column_names.index("outcome"), "outcome", pa.nulls(ROWS, pa.string())
    )
    twice = pa.concat_tables([patients(ROWS, seed=2), patients(ROWS, seed=3)])
    for table in (patients(ROWS, seed=1), patients(ROWS, seed=2, missing=0.3), empty, twice):
        capsys.readouterr()
        with worker(asked, table, np.arange(table.num_rows) % ROWS) as one:
            start = begun(one)
            answer, update, _ = one.round(1, start)
            with pytest.raises(InvalidInput, match="cannot do now"):
                one.ask({"do": "prepare"})
        said.append((answer, capsys.readouterr()))
        updates.append(update)
    assert all(told == said[0] for told in said)
    assert set(said[0][0]) == {"private"}
    part = Part.from_json(said[0][0]["private"])
    assert (part.patients, part.steps, part.generator) == (ROWS, 2, "shake-256")
    assert len({update.tobytes() for update in updates}) == len(updates)
    # The control: a round that promises nothing tells its rows and their loss.
    plain = joint_parameters(federated={"local_steps": 2}, batch_size=20)
    answers = []
    for seed in (1, 2):
        with Worker(plain, patients(ROWS, seed=seed)) as one:
            start = one.start(platform_from_sums(plain, one.prepare()))
            answers.append(one.round(1, start)[0])
    assert answers[0]["rows"] == ROWS
    assert answers[0]["loss"] != answers[1]["loss"]


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox"])
def test_one_patient_moves_an_update_by_no_more_than_was_promised(strategy):
    """One step of everybody at rate 1: the same noise, and one patient's rows are other ones."""
    table = patients(ROWS)
    rows = np.arange(ROWS) != 7
    other = pa.concat_tables([table.filter(pa.array(rows)), patients(1, seed=99)])
    order = pa.array(np.concatenate([np.arange(7), [ROWS - 1], np.arange(7, ROWS - 1)]))
    changed = {
        "private": (
            joint_parameters(
                federated={"rounds": 1, "local_steps": 1, "strategy": strategy}, batch_size=ROWS,
                optimiser="sgd", learning_rate="1",
                privacy={"epsilon": "3", "delta": "0.001", "max_gradient_norm": "0.01", "ranges": RANGES},
            )
        ),
        "plain": joint_parameters(
            federated={"local_steps": 1}, batch_size=ROWS, optimiser="sgd", learning_rate="1"
        ),
    }  # fmt: skip
    moved = {}
    for name, asked in changed.items():
        updates = []
        for one_table in (table, other.take(order)):
            with (worker if name == "private" else Worker)(asked, one_table) as one:
                platform = platform_from_sums(asked, [0.0] if name == "private" else one.prepare())
                updates.append(one.round(1, one.start(platform))[1])
        moved[name] = float(np.linalg.norm(updates[1] - updates[0]))
    # Of the sum by twice the norm (one row instead of another), of the mean by so much less.
    assert 0 < moved["private"] <= 2 * 0.01 / ROWS * 1.001
    assert moved["plain"] > 10 * 2 * 0.01 / ROWS


def test_what_layers_draw_comes_from_the_secret(capsys):
    """One patient more moves all others' draws by a place: known beforehand, that would be more than one gradient."""

    def drawn(secret: bytes) -> list[str]:
        asked = job(rounds=2, model="custom", max_parameters=1000)
        with worker(asked, noise=secret, code=DRAWING) as one:
            start = begun(one)
            capsys.readouterr()
            for number in (1, 2):
                one.round(number, start)
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("drawn")]

    first, again, other = drawn(SECRET), drawn(SECRET), drawn(OTHER)
    assert len(set(first)) == 4
    assert first == again
    assert not set(first) & set(other)
    # The control: without a promise the job's own seed decides, which everybody knows.
    plain = joint_parameters(federated={"local_steps": 2}, batch_size=20, model="custom", max_parameters=1000)
    found = []
    for _ in range(2):
        with Worker(plain, patients(ROWS), code=DRAWING) as one:
            start = one.start(platform_from_sums(plain, one.prepare()))
            capsys.readouterr()
            one.round(1, start)
        found.append([line for line in capsys.readouterr().out.splitlines() if line.startswith("drawn")])
    assert found[0] == found[1] != []


def test_a_patient_moves_nobody_elses_dropout_in_a_way_that_is_known(monkeypatch):
    """One step of everybody at rate 1, with a first patient and without: how far the sum moves, in norms."""
    asked = joint_parameters(
        federated={"rounds": 1, "local_steps": 1}, batch_size=ROWS, optimiser="sgd", learning_rate="1",
        model="custom", max_parameters=1000,
        privacy={"epsilon": "3", "delta": "0.001", "max_gradient_norm": "0.01", "ranges": RANGES},
    )  # fmt: skip

    def moved(secret: bytes) -> float:
        updates = []
        for table in (patients(ROWS), without_first(patients(ROWS))):
            with worker(asked, table, noise=secret, code=DROPPING) as one:
                updates.append(one.round(1, begun(one))[1])
        return float(np.linalg.norm(updates[1] - updates[0])) * ROWS / 0.01

    each = [moved(secret) for secret in (SECRET, OTHER)]
    assert each[0] != pytest.approx(each[1], rel=0.01)
    # The control: by the job's own seed it is the same for whatever secret, and several times what noise hides.
    monkeypatch.setattr(private.Learner, "seed", lambda *_: None)
    known = [moved(secret) for secret in (SECRET, OTHER)]
    assert known[0] == pytest.approx(known[1], rel=0.01)
    assert known[0] > 2


def test_a_layer_to_which_a_row_is_many_is_refused(monkeypatch):
    """Each of the many would be clipped by itself: a patient would move the sum by several times the norm."""
    asked = joint_parameters(
        federated={"rounds": 1, "local_steps": 1}, batch_size=ROWS, optimiser="sgd", learning_rate="1",
        model="custom", max_parameters=1000,
        privacy={"epsilon": "3", "delta": "0.001", "max_gradient_norm": "0.001", "ranges": RANGES},
    )  # fmt: skip
    with worker(asked, code=RESHAPED) as one:
        start = begun(one)
        with pytest.raises(InvalidInput, match="takes a row as several"):
            one.round(1, start)
    # The control: without the rule a patient who is taken away takes more than the norm along.
    monkeypatch.setattr(private.Learner, "require_rows", lambda *_: None)
    updates = []
    for table in (patients(ROWS), without_first(patients(ROWS))):
        with worker(asked, table, code=RESHAPED) as one:
            updates.append(one.round(1, begun(one))[1])
    assert np.linalg.norm(updates[1] - updates[0]) > 1.5 * 0.001 / ROWS


# -- no noise twice


def test_a_round_asked_again_is_answered_alike_and_with_another_model_not_at_all():
    asked = job(rounds=3)
    with worker(asked) as one:
        start = begun(one)
        first = one.round(1, start)
        again = one.round(1, start)
        assert first[0] == again[0]
        assert first[1].tobytes() == again[1].tobytes()
        # The same model in the next round has noise of its own.
        second = one.round(2, start)
        assert second[1].tobytes() != first[1].tobytes()
    for number, moved in ((2, 1.0), (1, 0.0), (4, 0.0)):
        with worker(asked) as one:
            start = begun(one)
            one.round(1, start)
            one.round(2, start)
            with pytest.raises(InvalidInput, match="once, from one model"):
                one.round(number, start + moved)


def updates_of(first: bytes, second: bytes, models: tuple[float, float]) -> list[np.ndarray]:
    """What two runs send in the same round, the noise's secret and what is added to their models being these."""
    asked = job(rounds=1, steps=1, model="custom", max_parameters=1000, optimiser="sgd", learning_rate="1")
    found = []
    for secret, more in zip((first, second), models, strict=True):
        with worker(asked, noise=secret, code=FLAT) as one:
            start = begun(one)
            assert [name for name, _ in one.layout] == ["model.head.weight", "model.idle.weight"]
            found.append(one.round(1, (start + more * (np.arange(len(start)) < 3)).astype(np.float32))[1])
    return found


def leftover(updates: list[np.ndarray]) -> float:
    """What is left of the noise when one is taken from the other, in standard deviations of one of them."""
    idle = [update[-IDLE:] for update in updates]
    return float(np.std(idle[0] - idle[1]) / np.std(idle[0]))


def test_two_runs_cannot_be_subtracted(monkeypatch):
    """Whoever gets one round's updates from two models must not find the same noise in both."""
    # A run has a secret of its own; and were it kept over a restart, the model decides as well.
    assert leftover(updates_of(SECRET, OTHER, (0.0, 0.0))) == pytest.approx(2**0.5, abs=0.15)
    assert leftover(updates_of(SECRET, SECRET, (0.0, 0.5))) == pytest.approx(2**0.5, abs=0.15)
    # The control: noise by secret and round alone. The attack takes all of it away, and gradients are left.
    monkeypatch.setattr(
        Participants,
        "chance_of",
        lambda own, number, model: Chance(hashlib.sha256(own.noise + bytes([number])).digest()),
    )
    updates = updates_of(SECRET, SECRET, (0.0, 0.5))
    assert leftover(updates) < 1e-3
    assert np.abs(updates[0][:3] - updates[1][:3]).max() > 0


def test_chance_of_a_round_is_of_its_secret_number_and_model():
    def words(secret: bytes, number: int, model: bytes) -> bytes:
        return Participants(np.arange(3), 3, secret).chance_of(number, model).words("noise", 0, 4).tobytes()

    found = [
        words(*given) for given in ((SECRET, 1, b"m"), (OTHER, 1, b"m"), (SECRET, 2, b"m"), (SECRET, 1, b"n"))
    ]
    assert len(set(found)) == 4
    assert words(SECRET, 1, b"m") == found[0]


def test_the_second_account_is_of_the_steps_that_were_taken():
    asked = job(rounds=4, steps=5)
    with worker(asked) as one:
        begun(one)
        all_of_them = float(one.ask({"do": "account", "steps": 20})["epsilon"])
        some = float(one.ask({"do": "account", "steps": 5})["epsilon"])
        none = float(one.ask({"do": "account", "steps": 0})["epsilon"])
    assert none == 0 < some < all_of_them <= 3.1
    plain = joint_parameters()
    with Worker(plain, patients(ROWS)) as one:
        one.start(platform_from_sums(plain, one.prepare()))
        with pytest.raises(InvalidInput, match="cannot do now"):
            one.ask({"do": "account", "steps": 1})


def test_a_training_to_compare_with_keeps_the_same_promise_and_counts_its_rounds_once():
    asked = job(rounds=5, steps=None, epochs=3)
    anew = reference_parameters(asked, 0, ROWS)
    assert anew.training().epochs == 3
    assert Plan.of(anew, ROWS // 2).steps == 5 * 3 * 2
    # The control: without a promise one source unit imitates all rounds by passes of its own.
    plain = joint_parameters(federated={"rounds": 5}, epochs=3)
    assert reference_parameters(plain, 0, ROWS).training().epochs == 15


def test_too_few_patients_for_the_claim_end_the_session():
    asked = joint_parameters(
        federated={"rounds": 2}, privacy={"epsilon": "3", "delta": "0.1", "ranges": RANGES}, batch_size=5
    )
    with worker(asked, patients(10)) as one, pytest.raises(InvalidInput, match="number of patients"):
        begun(one)

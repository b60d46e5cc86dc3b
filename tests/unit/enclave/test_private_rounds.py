"""The enclave's side of private rounds: what it adds up beside updates, what it counts, and whose word it takes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from support.simulated import SimulatedLauncher

from trustspace.aggregation.fixedpoint import FixedPoint, decode_reals
from trustspace.aggregation.masks import PairwiseMasks
from trustspace.enclave import federated
from trustspace.enclave.checkpoint import Checkpoints
from trustspace.enclave.failure import RoundFailed, RunError
from trustspace.enclave.federated import JointTraining
from trustspace.enclave.private import private_inputs
from trustspace.enclave.rounds import NOTE_BYTES, Sum
from trustspace.enclave.worker import TrainingWorker
from trustspace.evidence.private import differential_privacy
from trustspace.jobs.claim import Plan
from trustspace.jobs.participants import NOISE_INPUT, PATIENTS_INPUT
from trustspace.jobs.programs import SESSIONS
from trustspace.jobs.spec import Parameters
from trustspace.sandbox.config import Limits

PATIENTS, ROUNDS, STEPS = 80, 3, 4
VALUE = {
    "kind": "train",
    "datasets": [{"id": "ward", "version": n + 1, "columns": ["age", "size"]} for n in range(3)],
    "train": {"model": "logistic_regression", "target": "outcome", "positive": "M", "epochs": 1,
              "batch_size": 20},
    "federated": {"rounds": ROUNDS, "local_steps": STEPS},
}  # fmt: skip
PRIVACY = {"epsilon": "3", "delta": "0.001", "ranges": {"age": ["0", "100"], "size": ["0", "30"]}}
PRIVATE = Parameters.model_validate({**VALUE, "privacy": PRIVACY})
PLAIN = Parameters.model_validate(VALUE)
PLAN = Plan.of(PRIVATE, PATIENTS)
LAYOUT = [["model.bias", [1]], ["model.weight", [1, 2]]]
UPDATE = np.array([0.5, -0.25, 0.125], np.float32)
PART = {
    "patients": PATIENTS, "steps": STEPS, "noise_multiplier": f"{PLAN.noise:.6f}", "generator": "shake-256",
}  # fmt: skip
SECOND = 2.0


def session(told, asked=None):
    """A worker that says so of each of its rounds, and writes down what it is asked."""

    def program(inputs, emit, talk):
        while (message := talk.receive()) is not None:
            if asked is not None:
                asked.append(message)
            match message["do"]:
                case "prepare":
                    numbers = np.array([70.0, 0.0, 70.0, 800.0, 9000.0, 70.0, 160.0, 400.0])
                    talk.up[: numbers.nbytes] = numbers.tobytes()
                    talk.reply({"rows": 70, "numbers": len(numbers)})
                case "start":
                    talk.up[: UPDATE.nbytes] = np.zeros(3, np.float32).tobytes()
                    talk.reply({"parameters": 3, "layout": LAYOUT})
                case "account":
                    talk.reply({"epsilon": told.get("epsilon", f"{SECOND:.6f}")})
                case "round":
                    talk.up[: UPDATE.nbytes] = UPDATE.tobytes()
                    loss = {"rows": 0, "loss": "0.000000"}
                    talk.reply(
                        {"rows": 70, "loss": "0.700000", "validation": loss}
                        | {"private": told.get("part", PART)}
                    )

    return program


class Alone:
    """Rounds of one member; ``stop`` is the round in which it is lost."""

    scheme = PairwiseMasks()

    def __init__(self, stop: int = -1, others: float = 0.0):
        self.stop, self.others, self.sent = stop, others, []

    def sum(self, number, model, produce, note=bytes(NOTE_BYTES)):
        if number == self.stop:
            raise RoundFailed("members", "lost")
        words = np.concatenate(list(produce().pieces()))
        self.sent.append(words.copy())
        if self.others and number == ROUNDS + 1:
            return SimpleNamespace(
                words=federated.Reals([self.others]).pieces().__next__(), members=("1" * 64,), secret=b"s" * 32,
                notes=(note,), openers=("1" * 64,), record={},
            )  # fmt: skip
        return Sum(("1" * 64,), b"s" * 32, words, (note,), 1)


@pytest.fixture
def trained(monkeypatch):
    """Trains with one worker alone: (the training, how far it came, what it sent)."""
    begun = []

    def train(parameters=PRIVATE, rounds=None, checkpoints=None, asked=None, run="r" * 64, **told):
        monkeypatch.setitem(SESSIONS, "train_rounds", session(told, asked))
        limits = Limits(wall_seconds=60, cpu_seconds=60)
        begun.append(TrainingWorker(SimulatedLauncher(), parameters, {}, limits, 70))
        rounds = rounds or Alone()
        training = JointTraining(begun[-1], rounds, parameters, run, 1, checkpoints)
        return training, training.train(), rounds.sent

    yield train
    for one in begun:
        one.__exit__()


def sent_update(words):
    return FixedPoint(1, 10.0).decode(words[:3]), decode_reals(words[3:], 1)


def test_nothing_that_rows_decided_is_added_up(trained):
    asked = []
    training, progress, sent = trained(asked=asked)
    assert training.measure(progress, [70.0, 0.25, 0.5]) == [0.0]
    preparation, *rounds, measured = sent
    assert decode_reals(preparation, 1) == decode_reals(measured, 1) == [0.0]
    for words in rounds:
        values, extras = sent_update(words)
        assert np.allclose(values, UPDATE, atol=1e-6)
        assert extras == [1.0]
    assert [message["do"] for message in asked] == ["start", "round", "round", "round"]
    assert (progress.rows, {entry.loss for entry in progress.history}) == (0, {"not measurable"})
    # The control: without the promise the others are told rows, moments, losses and what was measured.
    training, progress, sent = trained(PLAIN)
    assert training.measure(progress, [70.0, 0.25, 0.5]) == [70.0, 0.25, 0.5]
    assert decode_reals(sent[0], 1)[:2] == [70.0, 0.0]
    assert sent_update(sent[1])[1][1:3] == [70.0, 49.0]


def test_a_vector_that_is_protected_anew_is_the_same(trained):
    """Attempts that were lost and the one that is opened hold one update, trained once."""
    asked = []

    class Again(Alone):
        def sum(self, number, model, produce, note=bytes(NOTE_BYTES)):
            vector = produce()
            lost, kept = (np.concatenate(list(vector.pieces())) for _ in range(2))
            assert lost.tobytes() == kept.tobytes()
            return super().sum(number, model, lambda: vector, note)

    _, progress, _ = trained(asked=asked, rounds=Again())
    assert [message["round"] for message in asked if message["do"] == "round"] == [1, 2, 3]
    assert progress.private.steps == ROUNDS * STEPS


def test_a_member_that_measures_something_for_all_ends_the_run(trained):
    training, progress, _ = trained(rounds=Alone(others=12.0))
    with pytest.raises(RoundFailed, match="measured something") as ended:
        training.measure(progress, [])
    assert ended.value.reason == "disagreement"


@pytest.mark.parametrize(("weight", "ends"), [(0.25, True), (1.0, False)])
def test_all_members_count_the_same(trained, weight, ends):
    """Who says that it counts less makes the others' mean larger than their updates were."""

    class Weighed(Alone):
        def sum(self, number, model, produce, note=bytes(NOTE_BYTES)):
            found = super().sum(number, model, produce, note)
            if number == 1:
                said = next(federated.Reals([weight]).pieces())
                words = np.concatenate([FixedPoint(1, 10.0).encode(UPDATE, weight), said])
                found = Sum(found.members, found.secret, words, found.notes, 1)
            return found

    if not ends:
        assert trained(rounds=Weighed())[1].round == ROUNDS
        return
    with pytest.raises(RoundFailed, match="more or less than one") as ended:
        trained(rounds=Weighed())
    assert ended.value.reason == "disagreement"


def report(found):
    facts = SimpleNamespace(
        private=found, promised=True, custom_code=False,
        judged=SimpleNamespace(membership=None, references=None, canaries=None),
    )  # fmt: skip
    return differential_privacy(facts, None)


def test_its_account_is_of_all_its_rounds(trained):
    asked = []
    training, progress, _ = trained(asked=asked)
    found = training.account(progress, PATIENTS)
    assert (found.steps, found.noise, found.check) == (ROUNDS * STEPS, pytest.approx(PLAN.noise), SECOND)
    assert asked[-1] == {"do": "account", "steps": ROUNDS * STEPS}
    assert 2.9 < found.accounted <= 3
    assert report(found).status == "passed"
    plain, progress, _ = trained(PLAIN)
    assert plain.account(progress, PATIENTS) is None
    assert report(None).status == "failed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"noise_multiplier": "0.500000"}, "comes to"),
        ({"steps": 400}, "comes to"),
        ({"patients": 800}, "another number of patients"),
        ({"generator": "not cryptographic"}, "cryptographic generator"),
    ],
)
def test_a_worker_that_does_less_than_was_promised_is_told_of(trained, change, words):
    training, progress, _ = trained(part=PART | change)
    finding = report(training.account(progress, PATIENTS))
    assert finding.status == "failed"
    assert words in finding.summary["en"]


@pytest.mark.parametrize(
    "part", [None, {}, {**PART, "loss": "0.1"}, {**PART, "noise_multiplier": "-2.000000"}]
)
def test_a_worker_that_does_not_say_what_it_did_ends_the_run(trained, part):
    with pytest.raises(RunError) as ended:
        trained(part=part)
    assert (ended.value.reason, ended.value.log) == (
        "job-failed", b"The worker does not say how much noise it added.\n",
    )  # fmt: skip


@pytest.mark.parametrize("epsilon", [None, 2.0, "nan", "infinite"])
def test_a_second_account_that_is_no_number_ends_the_run(trained, epsilon):
    training, progress, _ = trained(epsilon=epsilon)
    with pytest.raises(RunError):
        training.account(progress, PATIENTS)


@pytest.mark.parametrize("run", ["r" * 64, "s" * 64])
def test_what_was_done_before_a_restart_counts(trained, tmp_path, run):
    """Lost in its last round, and back in the same run or another: it has taken all steps, and says so."""
    kept = Checkpoints(tmp_path, "job", b"k" * 32)
    with pytest.raises(RoundFailed, match="lost"):
        trained(rounds=Alone(stop=ROUNDS), checkpoints=kept)
    # The round before last is on the disk, or the last, as far as it came.
    asked = []
    training, progress, _ = trained(checkpoints=kept, asked=asked, run=run)
    assert [message.get("round") for message in asked if message["do"] == "round"] == [ROUNDS]
    assert training.account(progress, PATIENTS).steps == ROUNDS * STEPS


def test_each_run_has_a_secret_of_its_own():
    """Also one that goes on from a checkpoint: it is another run, which its grant has paid for."""
    patients = np.array([7, 7, 3, 9])
    drawn = [private_inputs(PRIVATE, patients) for _ in range(2)]
    assert drawn[0][NOISE_INPUT] != drawn[1][NOISE_INPUT]
    assert len(drawn[0][NOISE_INPUT]) == 32
    assert np.frombuffer(drawn[0][PATIENTS_INPUT], "<i4").tolist() == [1, 1, 0, 2]
    assert private_inputs(PLAIN, patients) == {}


def test_no_checkpoint_holds_the_secret(trained, tmp_path):
    """What a restart could read, a copy of the disk could: the noise could be taken away again."""
    saved = []

    class Kept(Checkpoints):
        def save(self, number, facts, arrays):
            saved.append((facts, set(arrays)))

    trained(checkpoints=Kept(tmp_path, "job", b"k" * 32))
    assert saved
    assert all(set(facts["private"]) == set(PART) for facts, _ in saved)
    assert all(name == "model" or name.startswith("platform/") for _, names in saved for name in names)

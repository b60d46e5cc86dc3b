"""A worker that cheats: the job's own code may run in it, and nothing that it says is believed.

The session program is replaced by one that tells what a test makes it tell; the enclave's side is the product's own.
"""

import threading

import numpy as np
import pytest
from support.simulated import SimulatedLauncher

from trustspace.aggregation.fixedpoint import WORDS_PER_REAL, FixedPoint, decode_reals
from trustspace.aggregation.masks import PairwiseMasks
from trustspace.enclave import vectors, worker
from trustspace.enclave.failure import RoundFailed, RunError
from trustspace.enclave.federated import JointTraining
from trustspace.enclave.rounds import NOTE_BYTES, Sum
from trustspace.enclave.vectors import Reals, Update, UpdateSum
from trustspace.enclave.worker import TrainingWorker
from trustspace.errors import InvalidInput
from trustspace.jobs.programs import SESSIONS
from trustspace.jobs.spec import Parameters
from trustspace.sandbox.config import Limits

ROWS, CLIP = 80, 10.0
PARAMETERS = Parameters.model_validate({
    "kind": "train",
    "datasets": [{"id": "ward", "version": n + 1, "columns": ["age", "size"]} for n in range(3)],
    "train": {"model": "logistic_regression", "target": "outcome", "positive": "M", "epochs": 1},
    "federated": {"rounds": 2, "clip": "10", "weight_cap": 100},
})  # fmt: skip
LAYOUT = [["model.bias", [1]], ["model.weight", [1, 2]]]
# Rows, rows left out, then count, sum and sum of squares of each column.
SUMS = [80.0, 0.0, 80.0, 800.0, 9000.0, 80.0, 160.0, 400.0]
UPDATE = np.array([0.5, -0.25, 0.125], np.float32)


class Told:
    """What the worker says, and the memory that it can write to at any time."""

    def __init__(self, **lies):
        self.lies = lies
        self.up = None

    def program(self, inputs, emit, talk):
        self.up = talk.up
        while (message := talk.receive()) is not None:
            if message["do"] == "prepare":
                self.write(np.array(self.lies.get("sums", SUMS), np.float64))
                talk.reply({"rows": ROWS, "numbers": self.lies.get("numbers", len(SUMS))})
            elif message["do"] == "start":
                self.write(np.zeros(3, np.float32))
                talk.reply({"parameters": 3, "layout": self.lies.get("layout", LAYOUT)})
            else:
                self.write(np.array(self.lies.get("update", UPDATE), np.float32))
                answer = {"rows": ROWS, "loss": "0.700000", "validation": {"rows": 0, "loss": "0.000000"}}
                talk.reply({**answer, **self.lies.get("answer", {})})

    def write(self, numbers):
        self.up[: numbers.nbytes] = numbers.tobytes()


class Alone:
    """Rounds of one member: what it sends is what is summed. ``between`` runs after a vector is made, before it is sent."""

    scheme = PairwiseMasks()

    def __init__(self, between=lambda: None):
        self.between, self.sent = between, []

    def sum(self, number, model, produce, note=bytes(NOTE_BYTES)):
        vector = produce()
        if number:
            self.between()
        words = np.concatenate(list(vector.pieces()))
        self.sent.append(words.copy())
        return Sum(("1" * 64,), b"s" * 32, words, (note,), 1)


@pytest.fixture
def hired(monkeypatch):
    """Hires a worker that lies so; it ends with the test."""
    begun = []

    def hire(**lies):
        told = Told(**lies)
        monkeypatch.setitem(SESSIONS, "train_rounds", told.program)
        limits = Limits(wall_seconds=60, cpu_seconds=60)
        begun.append(TrainingWorker(SimulatedLauncher(), PARAMETERS, {}, limits, ROWS))
        return told, begun[-1]

    yield hire
    for one in begun:
        one.__exit__()


def trained(hired, between=None, **lies):
    """A whole joint training with this worker alone: (the rounds that it sent to, how far it came)."""
    told, one = hired(**lies)
    rounds = Alone(lambda: between(told) if between else None)
    training = JointTraining(one, rounds, PARAMETERS, "r" * 64, 1, None)
    return rounds, training.train()


def sent_update(rounds, at=1):
    """The update that was sent in a round, as the sum shows it, and the exact numbers after it."""
    words = rounds.sent[at]
    return FixedPoint(1, CLIP).decode(words[:3]), decode_reals(words[3:], 1)


def test_an_honest_one(hired):
    rounds, progress = trained(hired)
    assert progress.round == 2
    values, extras = sent_update(rounds)
    assert np.allclose(values, UPDATE * 0.8, atol=1e-6)
    assert extras == [0.8, 80.0, 56.0, 0.0, 0.0]
    assert len(rounds.sent[1]) == 3 + 5 * WORDS_PER_REAL


# -- beyond the clip


LARGE = [3e4, -3e4, 1e30]


def test_beyond_the_clip_is_scaled_down(hired, monkeypatch):
    rounds, _ = trained(hired, update=LARGE)
    values, _ = sent_update(rounds)
    assert np.linalg.norm(values) == pytest.approx(CLIP * 0.8, rel=1e-6)
    # Without clipping, each number still has a bound, and together they are beyond what the sum may be.
    monkeypatch.setattr(vectors, "clip_factor", lambda norm, bound: 1.0)
    with pytest.raises(RoundFailed, match="beyond"):
        trained(hired, update=LARGE)
    monkeypatch.setattr(vectors, "_largest_norm", lambda *_: float("inf"))
    rounds, _ = trained(hired, update=LARGE)
    assert np.linalg.norm(sent_update(rounds)[0]) > 1.5 * CLIP


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_ends_the_run(hired, monkeypatch, bad):
    with pytest.raises(RunError) as ended:
        trained(hired, update=[0.5, bad, 0.125])
    assert ended.value.reason == "job-failed"
    # By name: the update's second number is the first of model.weight's.
    assert b"tensor model.weight" in ended.value.log
    # Where nobody looks, it is sent, and nobody can tell from the sum.
    monkeypatch.setattr(vectors, "squared_norm", lambda values: 1.0)
    monkeypatch.setattr(FixedPoint, "encode", unlooked)
    with np.errstate(invalid="ignore"):
        _, progress = trained(hired, update=[0.5, bad, 0.125])
    assert progress.round == 2


def unlooked(fixed, values, factor):
    return (values.astype(np.float64) * factor * fixed.scale).astype(np.int64).astype(np.uint32)


# -- changed while it is read


def test_an_update_that_grows_after_it_was_measured(hired, monkeypatch):
    """It is clipped by the length that it had, and read once more when it is sent."""

    def grow(told):
        told.write(np.array([8.0, 8.0, 8.0], np.float32))

    with pytest.raises(RoundFailed, match="changed its update") as refused:
        trained(hired, grow)
    assert refused.value.reason == "job-failed"
    # Control: nobody compares the lengths, and what is sent is longer than the clip allows.
    monkeypatch.setattr(vectors, "squared_norm", lambda values: 1.0)
    monkeypatch.setattr(vectors, "_largest_norm", lambda *_: float("inf"))
    rounds, _ = trained(hired, grow)
    assert np.linalg.norm(sent_update(rounds)[0]) > CLIP


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_update_that_becomes_no_number_after_it_was_measured(hired, bad):
    with pytest.raises((RunError, RoundFailed)) as refused:
        trained(hired, lambda told: told.write(np.array([bad, 0.0, 0.0], np.float32)))
    assert refused.value.reason == "job-failed"


def test_a_piece_is_copied_before_it_is_looked_at(monkeypatch):
    """What was measured is what is encoded, however fast the worker is."""
    fixed = FixedPoint(1, CLIP)
    measure = vectors.squared_norm

    def sent(change):
        source = UPDATE.copy()
        update = Update(source, 1, fixed, CLIP, 1.0, ())

        def hasty(values):
            found = measure(values)
            if change:
                source[:] = 9.0
            return found

        monkeypatch.setattr(vectors, "squared_norm", hasty)
        words = next(iter(update.pieces()))
        monkeypatch.setattr(vectors, "squared_norm", measure)
        return fixed.decode(words)

    assert np.allclose(sent(change=True), UPDATE, atol=1e-6)
    # Control: a view in place of the copy lets the change through.
    monkeypatch.setattr(vectors, "_copied", lambda values, start: values)
    assert np.allclose(sent(change=False), UPDATE, atol=1e-6)
    assert np.allclose(sent(change=True), 9.0, atol=1e-5)


def test_a_worker_that_keeps_writing_never_gets_beyond_the_clip(hired):
    """A thread that writes large and small numbers in turn, as fast as it can, for two rounds."""
    stop = threading.Event()
    threads = []

    def write_on(told):
        def on():
            while not stop.is_set():
                told.write(np.full(3, 9.0, np.float32))
                told.write(UPDATE)

        if not threads:
            threads.append(threading.Thread(target=on))
            threads[0].start()

    rounds = None
    try:
        told, one = hired()
        rounds = Alone(lambda: write_on(told))
        JointTraining(one, rounds, PARAMETERS, "r" * 64, 1, None).train()
    except RoundFailed:
        pass  # noticed; or every number was one that the clip allows
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for number in range(1, len(rounds.sent)):
        assert np.linalg.norm(sent_update(rounds, number)[0]) <= CLIP


# -- wrong lengths and layouts


@pytest.mark.parametrize("numbers", [7, 9, 0, "8", None, True])
def test_another_number_of_sums(hired, numbers):
    with pytest.raises(RunError) as ended:
        trained(hired, numbers=numbers)
    assert ended.value.reason == "job-failed"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
def test_sums_that_are_no_numbers(hired, bad):
    with pytest.raises((RunError, RoundFailed)) as ended:
        trained(hired, sums=[*SUMS[:4], bad, *SUMS[5:]])
    assert ended.value.reason == "job-failed"


@pytest.mark.parametrize(
    "layout",
    [
        [["model.bias", [1]], ["model.weight", [1, 3]]],
        [["model.bias", [1]], ["model.weight", [1, 1 << 30]]],
        [["model.bias", [1]]],
        LAYOUT[::-1],
        [*LAYOUT, LAYOUT[1]],
        [["model.bias", [-1]], ["model.weight", [1, 2]]],
        [["model.bias", [True]], ["model.weight", [1, 2]]],
        [["../bias", [1]], ["model.weight", [1, 2]]],
        "model",
        [],
        None,
    ],
)
def test_a_layout_that_is_not_the_declared_models(hired, layout):
    with pytest.raises(RunError) as ended:
        trained(hired, layout=layout)
    assert ended.value.reason == "job-failed"


# -- what it says of its rows


@pytest.mark.parametrize("rows", [ROWS + 1, 10**9, -1, 0, True, "80", 80.0, None])
def test_rows_that_it_was_not_given(hired, rows):
    with pytest.raises(RunError) as ended:
        trained(hired, answer={"rows": rows})
    assert ended.value.reason == "job-failed"


def test_uncounted_it_would_weigh_as_it_likes(hired, monkeypatch):
    monkeypatch.setattr(worker, "_count", lambda value, limit: value)
    rounds, _ = trained(hired, answer={"rows": 10**9})
    _, extras = sent_update(rounds)
    # The cap bounds its weight; but the rows that are told to everybody are its own invention.
    assert extras[:2] == [1.0, 1e9]


@pytest.mark.parametrize("rows", [ROWS + 1, -1, "5", False])
def test_validation_rows_as_well(hired, rows):
    with pytest.raises(RunError):
        trained(hired, answer={"validation": {"rows": rows, "loss": "0.500000"}})


@pytest.mark.parametrize("loss", ["nan", "inf", "1e300", 0.5, None, "-", "9" * 400, "9" * 60 + ".000000"])
def test_a_loss_that_is_no_number(hired, loss):
    with pytest.raises((RunError, RoundFailed)) as ended:
        trained(hired, answer={"loss": loss})
    assert ended.value.reason == "job-failed"


@pytest.mark.parametrize("validation", [[1], "x", 7])
def test_a_validation_that_is_none(hired, validation):
    with pytest.raises(RunError) as ended:
        trained(hired, answer={"validation": validation})
    assert ended.value.reason == "job-failed"


@pytest.mark.parametrize("rows", [ROWS + 1, 1e15])
def test_rows_in_the_preparation_that_it_was_not_given(hired, rows):
    """They are summed, and told to reviewers and to the buyer."""
    with pytest.raises(RunError) as ended:
        trained(hired, sums=[float(rows), *SUMS[1:]])
    assert ended.value.reason == "job-failed"


# -- what is opened


def test_sums_are_judged_before_a_step_is_taken():
    fixed = FixedPoint(3, CLIP)
    honest = [Update(UPDATE * n, 1, fixed, CLIP, 0.5, (0.5,)) for n in (1, 2, 3)]
    words = sum(np.concatenate(list(one.pieces())) for one in honest)
    opened = UpdateSum.of(words, 3, 1, fixed, CLIP, 3)
    assert np.allclose(opened.mean(0, 0), UPDATE * 2, atol=1e-6)
    too_long = words.copy()
    too_long[0] += np.uint32(15.1 * fixed.scale)
    with pytest.raises(RoundFailed, match="beyond"):
        UpdateSum.of(too_long, 3, 1, fixed, CLIP, 3)
    # Up to there it cannot be told from honest ones.
    not_too_long = words.copy()
    not_too_long[0] += np.uint32(12.0 * fixed.scale - float(words[0]))
    assert UpdateSum.of(not_too_long, 3, 1, fixed, CLIP, 3)


def test_numbers_that_cannot_be_added_are_refused():
    with pytest.raises(InvalidInput):
        list(Reals([2.0**100]).pieces())

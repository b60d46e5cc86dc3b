"""The step with the opened mean: against the paper's formulas, and the same however it is cut."""

import hashlib
import itertools
import math

import numpy as np
import pytest

from trustspace.aggregation.blocks import BLOCK_WORDS
from trustspace.aggregation.server import ADAPTIVE, PLAIN, ServerOptimiser
from trustspace.errors import InvalidInput, VerificationFailed

STRATEGIES = (*PLAIN, *ADAPTIVE)


def model_of(count, seed=3):
    return np.random.default_rng(seed).normal(size=count).astype(np.float32)


def means_of(count, rounds=4, seed=4):
    return list(np.random.default_rng(seed).normal(scale=0.01, size=(rounds, count)))


def by_the_paper(strategy, model, means, rate, tau=1e-3, beta1=0.9, beta2=0.99):
    """Algorithm 2 of Reddi et al. 2021 for one number, in plain Python, kept numbers in float32."""
    x, m, v = float(model), 0.0, float(np.float32(tau**2))
    for delta in means:
        m = float(np.float32(beta1 * m + (1 - beta1) * delta))
        if strategy == "fedadam":
            v = beta2 * v + (1 - beta2) * delta**2
        else:
            sign = 0 if v == delta**2 else math.copysign(1, v - delta**2)
            v -= (1 - beta2) * delta**2 * sign
        v = float(np.float32(v))
        x = float(np.float32(x + rate * m / (math.sqrt(v) + tau)))
    return x


@pytest.mark.parametrize("strategy", ADAPTIVE)
def test_adaptive_steps_are_the_papers(strategy):
    model, means = model_of(50), means_of(50)
    expected = [by_the_paper(strategy, x, [mean[at] for mean in means], 0.1) for at, x in enumerate(model)]
    optimiser = ServerOptimiser.make(strategy, 50, 0.1)
    for mean in means:
        optimiser.step(0, model, mean)
    assert np.allclose(model, expected, rtol=1e-6, atol=0)


def test_the_first_step_of_adam_by_hand():
    # m = 0.1 * 3, v = 0.99 * 1 + 0.01 * 9 with tau 1 and betas 0.9 and 0.99.
    model = np.array([1.0], np.float32)
    ServerOptimiser.make("fedadam", 1, 2.0, adaptivity=1.0).step(0, model, np.array([3.0]))
    assert model[0] == pytest.approx(1 + 2 * 0.3 / (math.sqrt(1.08) + 1), rel=1e-6)


def test_adam_and_yogi_differ_in_how_the_square_falls():
    # Small updates after a large one: Adam forgets the square at once, Yogi by what the updates are.
    second = {}
    for strategy in ADAPTIVE:
        optimiser = ServerOptimiser.make(strategy, 1, 0.1)
        for delta in (10.0, 0.001, 0.001):
            optimiser.step(0, np.zeros(1, np.float32), np.array([delta]))
        second[strategy] = float(optimiser.state()["second"][0])
    assert second["fedadam"] == pytest.approx(0.99**2, rel=1e-3)
    assert second["fedyogi"] == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("strategy", PLAIN)
def test_plain_steps_add_the_mean(strategy):
    model, mean = model_of(1000), means_of(1000)[0]
    expected = (model.astype(np.float64) + 0.5 * mean).astype(np.float32)
    optimiser = ServerOptimiser.make(strategy, 1000, 0.5)
    optimiser.step(0, model, mean)
    assert np.array_equal(model, expected)
    assert optimiser.state() == {}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_however_it_is_cut_the_bits_are_the_same(strategy):
    count = 2 * BLOCK_WORDS + 19
    means = means_of(count)
    whole, cut = model_of(count), model_of(count)
    one, other = (ServerOptimiser.make(strategy, count, 0.1) for _ in range(2))
    cuts = [0, 1, 6, 4099, BLOCK_WORDS + 1, count]
    for mean in means:
        one.step(0, whole, mean)
        for a, b in itertools.pairwise(cuts):
            other.step(a, cut[a:b], mean[a:b])
    assert whole.tobytes() == cut.tobytes()
    assert {k: v.tobytes() for k, v in one.state().items()} == {
        k: v.tobytes() for k, v in other.state().items()
    }
    assert not np.array_equal(whole, model_of(count))


@pytest.mark.parametrize(
    ("strategy", "digest"),
    [
        ("fedavg", "05cf515b6c9c1969ec7e15761e8ad888eb42ec67e8181d8353a483c26af35fbf"),
        ("fedadam", "a6fa49fadb712932aad9ff3cb441c7f7f79fc821a2af81b96d144bbb8afec270"),
        ("fedyogi", "74e7fe7c9cf13e8853d56d6ad3f6f16f82784bbac146fac79fb715813021141d"),
    ],
)
def test_the_bits_are_those_of_every_other_machine(strategy, digest):
    # Integers make the inputs, so that no library's random numbers stand between machines.
    at = np.arange(5000)
    model = ((at * 7919 % 2003 - 1001) / 512).astype(np.float32)
    optimiser = ServerOptimiser.make(strategy, 5000, 0.1)
    for number in range(3):
        optimiser.step(0, model, (at * (104729 + number) % 4001 - 2000) / 65536)
    assert hashlib.sha256(model.astype("<f4").tobytes()).hexdigest() == digest


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_restored_optimiser_goes_on_alike(strategy):
    means = means_of(300, rounds=6)
    straight, halted = model_of(300), model_of(300)
    optimiser = ServerOptimiser.make(strategy, 300, 0.1)
    for mean in means:
        optimiser.step(0, straight, mean)
    before = ServerOptimiser.make(strategy, 300, 0.1)
    for mean in means[:3]:
        before.step(0, halted, mean)
    saved = {name: values.copy() for name, values in before.state().items()}
    after = ServerOptimiser.make(strategy, 300, 0.1)
    after.restore(saved)
    for mean in means[3:]:
        after.step(0, halted, mean)
    assert straight.tobytes() == halted.tobytes()


def test_the_state_can_be_read_and_not_written():
    state = ServerOptimiser.make("fedadam", 3, 0.1).state()
    assert {name: (v.dtype, v.shape) for name, v in state.items()} == {
        "first": (np.float32, (3,)),
        "second": (np.float32, (3,)),
    }
    with pytest.raises(ValueError):
        state["first"][0] = 1


def test_a_foreign_state_is_refused():
    good = {"first": np.zeros(3, np.float32), "second": np.ones(3, np.float32)}
    optimiser = ServerOptimiser.make("fedadam", 3, 0.1)
    optimiser.restore(good)
    kept = {name: values.copy() for name, values in optimiser.state().items()}
    for bad in (
        {},
        {"first": good["first"]},
        good | {"third": good["first"]},
        good | {"second": np.ones(4, np.float32)},
        good | {"second": np.ones(3)},
        good | {"second": np.array([1, np.nan, 1], np.float32)},
        {"first": np.ones(3, np.float32), "second": np.array([1, -1, 1], np.float32)},
    ):
        with pytest.raises(VerificationFailed):
            optimiser.restore(bad)
        assert all(np.array_equal(kept[name], values) for name, values in optimiser.state().items())
    with pytest.raises(VerificationFailed):
        ServerOptimiser.make("fedavg", 3, 0.1).restore(good)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_model_that_leaves_its_range_is_refused(strategy):
    optimiser = ServerOptimiser.make(strategy, 2, 1e38)
    model = np.array([3e38, 0], np.float32)
    with pytest.raises(InvalidInput, match="range"):
        optimiser.step(0, model, np.array([1.0, 0.0]))


def test_pieces_outside_the_model_are_refused():
    optimiser = ServerOptimiser.make("fedadam", 10, 0.1)
    for start, model, mean in [
        (-1, np.zeros(2, np.float32), np.zeros(2)),
        (9, np.zeros(2, np.float32), np.zeros(2)),
        (0, np.zeros(11, np.float32), np.zeros(11)),
        (0, np.zeros(2, np.float32), np.zeros(3)),
        (0, np.zeros(2), np.zeros(2)),
        (0, np.zeros(2, np.float32), np.zeros(2, np.float32)),
    ]:
        with pytest.raises(InvalidInput):
            optimiser.step(start, model, mean)


@pytest.mark.parametrize(
    "values",
    [
        {"strategy": "sgd"},
        {"size": -1},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"learning_rate": math.inf},
        {"adaptivity": 0.0},
        {"adaptivity": math.nan},
        {"betas": (1.0, 0.9)},
        {"betas": (0.9, -0.1)},
        {"betas": (math.nan, 0.9)},
    ],
)
def test_settings_outside_their_range_are_refused(values):
    with pytest.raises(InvalidInput):
        ServerOptimiser.make(**({"strategy": "fedadam", "size": 4, "learning_rate": 0.1} | values))

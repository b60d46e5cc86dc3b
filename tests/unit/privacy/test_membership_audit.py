"""The one-run audit: against its own formula, published figures, and a mechanism whose epsilon is known."""

import math

import numpy as np
import pytest

from trustspace.errors import InvalidInput
from trustspace.privacy.audit import best_bound, budgets, epsilon_lower_bound, p_value


def test_all_right_has_a_closed_form():
    # P[Binomial(r, q) >= r] = q ** r: the bound is the logit of 0.05 ** (1 / r).
    for guesses in (10, 100, 1000):
        share = 0.05 ** (1 / guesses)
        assert epsilon_lower_bound(guesses, guesses) == pytest.approx(math.log(share / (1 - share)), abs=1e-6)


@pytest.mark.parametrize(("right", "guesses", "epsilon"), [(98, 100, 2.26), (199, 200, 3.20)])
def test_measured_figures_that_were_noted_before(right, guesses, epsilon):
    """Of an overfitted network, 4 and 32 reference trainings, 16 guess budgets."""
    assert epsilon_lower_bound(guesses, right, confidence=1 - 0.05 / 16) == pytest.approx(epsilon, abs=0.005)


def test_the_delta_term_is_the_theorems():
    """With 2 guesses of 5 audited, by hand: q = 2/3, v = 2; P[B >= 2] = 4/9, P[2 > B >= 1] = 4/9, P[2 > B >= 0] = 5/9."""
    assert p_value(2, 2, math.log(2), 0.0, 5) == pytest.approx(4 / 9)
    assert p_value(2, 2, math.log(2), 0.01, 5) == pytest.approx(4 / 9 + 2 * 5 * 0.01 * max(4 / 9, 5 / 18))
    assert p_value(2, 2, math.log(2), 0.5, 5) == 1.0
    # One guess of one: P[1 > B >= 0] is 1/2.
    assert p_value(1, 1, 0.0, 0.01, 1) == pytest.approx(0.5 + 2 * 0.01 * 0.5)


def test_delta_only_takes_away():
    found = [epsilon_lower_bound(100, 98, delta, audited=1000) for delta in (0.0, 1e-6, 1e-5, 1e-4)]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1] > 0


def test_chance_shows_nothing():
    assert epsilon_lower_bound(100, 50) == 0.0
    assert epsilon_lower_bound(100, 58) == 0.0
    assert epsilon_lower_bound(100, 59) > 0.0, "59 of 100 coins: p = 0.044"
    assert epsilon_lower_bound(0, 0) == 0.0


def test_more_right_shows_more():
    found = [epsilon_lower_bound(64, right) for right in range(40, 65)]
    assert found == sorted(found)


@pytest.mark.parametrize(("guesses", "right", "audited"), [(10, 11, 20), (10, -1, 20), (10, 5, 9)])
def test_counts_that_cannot_be_are_refused(guesses, right, audited):
    with pytest.raises(InvalidInput):
        epsilon_lower_bound(guesses, right, audited=audited)


@pytest.mark.parametrize("terms", [{"delta": -0.1}, {"delta": 1.0}, {"confidence": 0.0}, {"confidence": 1.0}])
def test_terms_that_cannot_be_are_refused(terms):
    with pytest.raises(InvalidInput):
        epsilon_lower_bound(10, 5, **terms)


def test_budgets_follow_from_the_number_alone():
    assert budgets(15) == ()
    assert budgets(31) == (("both", 16),)
    assert budgets(64) == (
        ("both", 16), ("in", 16), ("out", 16), ("both", 32), ("in", 32), ("out", 32), ("both", 64),
    )  # fmt: skip


def test_each_side_alone_is_found():
    inside = np.arange(200) % 2 == 0
    middle = np.random.default_rng(1).random(200)
    for sure, side in ((inside, -5.0), (~inside, 5.0)):
        scores = np.where(sure & (np.arange(200) < 80), side, middle)
        found = best_bound(scores, inside)
        assert (found.guesses, found.right) == (32, 32)
        assert found.epsilon == pytest.approx(
            epsilon_lower_bound(32, 32, confidence=1 - 0.05 / len(budgets(200))), abs=1e-6
        )
        approximate = best_bound(scores, inside, delta=1e-5)
        assert approximate.epsilon == pytest.approx(
            epsilon_lower_bound(32, 32, 1e-5, 1 - 0.05 / len(budgets(200)), audited=200), abs=1e-6
        )
        assert 0 < approximate.epsilon < found.epsilon


def test_ties_are_not_broken_by_where_a_patient_stands():
    """Members usually stand first: were the order kept, a model that says the same of everybody would look leaky."""
    inside = np.arange(400) < 200
    assert best_bound(np.zeros(400), inside).epsilon == 0.0
    kept = np.argsort(np.zeros(400), kind="stable")
    assert inside[kept][:64].all(), "the order as it stands would have every guess right"


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 2.0])
def test_randomised_response_is_seldom_accused_of_more_than_it_is(epsilon):
    """Each coin is told truly with probability e^eps / (1 + e^eps): exactly eps-differentially private."""
    draw = np.random.default_rng(20230515)
    truly = 1 / (1 + math.exp(-epsilon))
    trials, patients = 200, 200
    exceeded, found = 0, []
    for _ in range(trials):
        inside = draw.random(patients) < 0.5
        told = np.where(draw.random(patients) < truly, inside, ~inside)
        # How sure a guess looks says nothing here; it must not help.
        bound = best_bound(-told.astype(float) * (1 + draw.random(patients)), inside)
        exceeded += bound.epsilon > epsilon
        found.append(bound.epsilon)
    # 5 % of the trials are allowed.
    assert exceeded <= 10
    if epsilon:
        assert np.median(found) > epsilon / 2, "and it is not idle"


def test_one_budget_too_many_would_be_wrong_without_the_correction():
    """The positive control: the best of many uncorrected bounds accuses coins of remembering."""
    draw = np.random.default_rng(3)
    uncorrected = corrected = 0
    for _ in range(200):
        inside = draw.random(256) < 0.5
        scores = draw.random(256)
        corrected += best_bound(scores, inside).epsilon > 0
        uncorrected += best_bound(scores, inside, confidence=1 - 0.05 * len(budgets(256))).epsilon > 0
    assert corrected <= 10
    assert uncorrected > 30

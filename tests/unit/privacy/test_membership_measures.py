"""Areas, tails and verdicts on samples whose answers are known by hand or by simulation with fixed seeds."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trustspace.errors import InvalidInput
from trustspace.privacy.intervals import (
    area,
    beyond,
    binomial_at_least,
    clopper_pearson,
    midranks,
    normal_quantile,
    null_reach,
    regularised_beta,
)
from trustspace.privacy.membership import (
    Estimate,
    Limits,
    by_patient,
    exposed,
    judge,
    measure,
    right_of_100,
    verdict,
)

LIMITS = Limits(0.6, 0.65, 0.05, 0.1, 0.5, 1.0)
FEW = arrays(np.float64, st.integers(1, 30), elements=st.integers(-5, 5).map(float))


def numbers(*values):
    return np.array(values, dtype=np.float64)


# -- the arithmetic below


def test_the_normal_quantile_is_the_usual_one():
    assert normal_quantile(0.975) == pytest.approx(1.959964, abs=1e-6)


@pytest.mark.parametrize(
    ("trials", "count", "share"), [(10, 3, 0.2), (28, 28, 0.9), (200, 1, 0.001), (5, 0, 0.3)]
)
def test_a_binomial_tail_is_the_sum_of_its_terms(trials, count, share):
    terms = [math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(count, trials + 1)]
    assert float(binomial_at_least(count, trials, share)) == pytest.approx(sum(terms), abs=1e-12)


def test_more_than_all_is_impossible():
    assert float(binomial_at_least(6, 5, 0.9)) == 0.0


def test_the_beta_distribution_of_two_that_are_even_is_the_cubic():
    x = np.linspace(0, 1, 11)
    np.testing.assert_allclose(regularised_beta(2.0, 2.0, x), 3 * x**2 - 2 * x**3, atol=1e-14)


def test_clopper_pearson_is_the_published_one():
    # 2 of 20: 0.0123 to 0.3170, as every table has it.
    assert clopper_pearson(2, 20) == pytest.approx((0.012349, 0.316983), abs=1e-5)
    assert clopper_pearson(0, 30) == pytest.approx((0.0, 1 - 0.025 ** (1 / 30)), abs=1e-5)
    assert clopper_pearson(30, 30) == pytest.approx((0.025 ** (1 / 30), 1.0), abs=1e-5)


# -- the area


def test_the_area_counts_pairs_and_ties_half():
    # Of 6 pairs (member, other): 1<2, 1<4, 2=2, 2<4 are won, won, half, won; 5 loses twice.
    value, low, high = area(numbers(1, 2, 5), numbers(2, 4))
    assert value == pytest.approx(3.5 / 6)
    assert 0 < low < value < high < 1


def test_delongs_variance_by_hand():
    # Shares of others above each member: 1, 0.75, 0.25; of members below each other: 1/6, 2/3, 1, 5/6.
    members, others = numbers(0, 2, 4), numbers(0, 3, 5, 4)
    above = np.array([[(o > m) + 0.5 * (o == m) for o in others] for m in members])
    variance = above.mean(axis=1).var(ddof=1) / 3 + above.mean(axis=0).var(ddof=1) / 4
    value, low, high = area(members, others)
    reach = 1.959964 * math.sqrt(variance) / (value * (1 - value))
    assert value == pytest.approx(above.mean())
    assert math.log(high / (1 - high)) - math.log(low / (1 - low)) == pytest.approx(2 * reach, rel=1e-5)


@pytest.mark.parametrize(
    ("members", "others", "value"),
    [([0] * 28, [1] * 28, 1.0), ([1] * 28, [0] * 28, 0.0), ([3] * 28, [3] * 28, 0.5)],
)
def test_no_interval_has_no_width(members, others, value):
    found, low, high = area(np.array(members, float), np.array(others, float))
    assert found == value
    assert high - low > 0.1
    assert low <= value <= high


def test_a_perfect_area_of_few_says_little():
    assert area(numbers(0, 0.1, 0.2), numbers(1, 2, 3))[1] == pytest.approx(0.025 ** (1 / 3), abs=1e-5)
    assert area(numbers(0), numbers(1))[1] < 0.03
    few, many = numbers(0, 0.1, 0.2), np.arange(1.0, 40.0)
    for value, low, _ in (area(few, many), area(-many, -few)):
        assert (value, low) == (1.0, pytest.approx(0.025 ** (1 / 3), abs=1e-5)), (
            "three are three beside any number"
        )


@given(FEW, FEW)
@settings(max_examples=60, deadline=None)
def test_the_area_turned_round_is_the_rest(members, others):
    value, low, high = area(members, others)
    turned, from_low, from_high = area(others, members)
    assert 0 <= low <= value <= high <= 1
    assert turned == pytest.approx(1 - value)
    assert (from_low, from_high) == pytest.approx((1 - high, 1 - low), abs=1e-6)
    assert area(members * 3 + 7, others * 3 + 7) == pytest.approx((value, low, high), abs=1e-6)


def test_midranks_share_ties():
    assert midranks(numbers(3, 1, 3, 2)).tolist() == [3.5, 1, 3.5, 2]


@pytest.mark.parametrize("truth", [0.5, 0.65, 0.9])
def test_the_area_is_covered_at_the_size_of_a_small_hospital(truth):
    draw = np.random.default_rng(5)
    away = math.sqrt(2) * normal_quantile(truth) if truth > 0.5 else 0.0
    found = [area(draw.normal(size=110), draw.normal(size=28) + away) for _ in range(400)]
    missed = sum(not low <= truth <= high for _, low, high in found)
    # 20 expected; 36 is beyond three and a half deviations.
    assert missed <= 36


def test_the_reach_of_chance_is_that_of_an_area_of_chance():
    draw = np.random.default_rng(6)
    _, low, high = area(draw.normal(size=4000), draw.normal(size=1000))
    assert (high - low) / 2 == pytest.approx(null_reach(4000, 1000), rel=0.05)


# -- the tails


def test_the_tail_of_a_hundred_and_more_is_behind_all_but_one_percent():
    members = np.arange(1.0, 200.0)  # 199 of them: one may lie beyond, and 2 of 200 is 1 %
    found = measure(members, numbers(50, 198.5, 198.5, 300)).tail
    assert found.value == 0.75
    assert found.chance == pytest.approx(0.01)
    assert measure(members, numbers(50, 197.5, 198, 198)).tail.value == 0.0, "at the limit is not beyond it"


def test_what_could_be_detected_in_a_tail_is_what_chance_would_leave():
    """Four of four hundred are 1 %: a share below where the interval of four ends could not be ruled out."""
    found = measure(np.arange(1599.0), np.arange(400.0) * 4).tail
    assert found.chance == pytest.approx(0.01)
    assert found.detectable == beyond(4, 400, 15, 1599)[1] > beyond(0, 400, 15, 1599)[1]


def test_of_fewer_than_99_it_is_behind_every_single_one_and_says_what_that_is_worth():
    found = measure(numbers(*range(28)), numbers(27.5, 3, 5, 40))
    assert found.tail.value == 0.5
    assert found.tail.chance == pytest.approx(1 / 29)
    assert found.tpr.chance == pytest.approx(1 / 5)
    assert found.tpr.value == pytest.approx(3 / 28), "0, 1 and 2 are below 3"


def test_the_chance_of_a_tail_is_exact_at_every_size():
    """By counting every order of 4 members and 3 others: how many others lie beyond the largest member."""
    orders = list(combinations(range(7), 3))
    for wanted in (1, 2, 3):
        share = sum(
            sum(place > max(set(range(7)) - set(order)) for place in order) >= wanted for order in orders
        )
        p = share / len(orders)
        # The interval's lower end is at chance just where the error allowed is this probability.
        low, _ = beyond(wanted, 3, 0, 4, confidence=1 - 2 * p)
        assert low == pytest.approx(1 / 5, abs=1e-4)
    # And its upper end: with one member, none of the others lies beyond it in one order of four, at most one in two.
    for seen, p in ((0, 1 / 4), (1, 1 / 2)):
        assert beyond(seen, 3, 0, 1, confidence=1 - 2 * p)[1] == pytest.approx(1 / 2, abs=1e-4)


@pytest.mark.parametrize(("members", "others"), [(30, 10), (110, 28), (400, 100)])
def test_nothing_to_tell_is_seldom_taken_for_a_tail(members, others):
    draw = np.random.default_rng(9)
    kept = {}
    seen = 0
    allowed = max((members + 1) // 100 - 1, 0)
    for _ in range(1000):
        limit = np.sort(draw.random(members))[members - 1 - allowed]
        count = int((draw.random(others) > limit).sum())
        if count not in kept:
            kept[count] = beyond(count, others, allowed, members)[0]
        seen += kept[count] > (allowed + 1) / (members + 1)
    assert seen <= 42, "25 expected at most"


def test_a_tail_is_covered_where_it_follows_the_curve():
    draw = np.random.default_rng(10)
    missed, kept = 0, {}
    for _ in range(300):
        limit = np.sort(draw.random(199))[-2]
        # The chance to lie beyond a point that u of the members do is u ** 0.5: 0.1 at 1 %.
        count = int(((1 - limit) ** 0.5 > draw.random(100)).sum())
        if count not in kept:
            kept[count] = beyond(count, 100, 1, 199)
        low, high = kept[count]
        missed += not low <= 0.1 <= high
    assert missed <= 28, "15 expected"


def test_more_patients_narrow_what_a_tail_can_be():
    widths = [
        high - low for low, high in (beyond(0, 28, 0, 110), beyond(0, 100, 0, 110), beyond(4, 400, 15, 1600))
    ]
    assert widths == sorted(widths, reverse=True)
    assert beyond(28, 28, 0, 110)[1] == 1.0


# -- everything together


def test_patients_count_and_not_rows():
    loss = numbers(1, 3, 10, 100, 7)
    used = np.array([True, True, True, False, False])
    means, patients = by_patient(loss, used, np.array([5, 5, 2, 2, 9]))
    assert patients.tolist() == [2, 5], "9 has no row that was used"
    assert means.tolist() == [10, 2]


def test_a_patient_of_many_rows_does_not_make_the_interval_narrow():
    draw = np.random.default_rng(2)
    people, copies = draw.random(40), np.repeat(np.arange(40), 50)
    means, _ = by_patient(people[copies], np.ones(2000, dtype=bool), copies)
    assert len(means) == 40
    np.testing.assert_allclose(np.sort(means), np.sort(people))


def test_members_that_look_like_the_others_pass_and_memorised_ones_fail():
    draw = np.random.default_rng(3)
    sides = draw.exponential(size=400), draw.exponential(size=100)
    audited = np.arange(400) < 100
    assert verdict(measure(*sides, audited), LIMITS) == "passed"
    known = measure(sides[0] / 20, sides[1], audited)
    assert verdict(known, LIMITS) == "failed"
    assert known.auc.low > 0.8
    assert known.tail.value > 0.5
    assert known.epsilon > 1.0
    assert (known.audited, known.guesses >= known.right > 0) == (200, True)


def test_only_those_out_by_a_coin_are_guessed_about():
    draw = np.random.default_rng(14)
    members, others = (
        draw.exponential(size=80),
        np.concatenate([draw.exponential(size=60), np.full(40, 99.0)]),
    )
    tossed = np.ones(80, dtype=bool)
    by_coin = np.arange(100) < 60
    found = measure(members, others, tossed, by_coin)
    alone = measure(members, others[by_coin], tossed)
    assert (found.epsilon, found.audited) == (alone.epsilon, 140)
    assert measure(members, others, tossed).epsilon > alone.epsilon, "the others were put out on purpose"


def test_only_audited_members_are_guessed_about():
    draw = np.random.default_rng(4)
    members, others = draw.exponential(size=300), draw.exponential(size=60) + 1
    members[60:] = 0.0  # those whose place was no coin's would give everything away
    audited = np.arange(300) < 60
    found = measure(members, others, audited)
    alone = measure(members[audited], others, np.ones(60, dtype=bool))
    assert (found.epsilon, found.right) == (alone.epsilon, alone.right)
    assert (measure(members, others).epsilon, measure(members, others).audited) == (0.0, 0), (
        "no coins, no audit"
    )


@given(FEW, FEW)
@settings(max_examples=25, deadline=None)
def test_measures_hold_together(members, others):
    found = measure(members, others)
    for one in (found.auc, found.tail, found.tpr):
        assert 0 <= one.low <= one.value <= one.high <= 1
        assert one.high > one.low
        assert one.chance <= one.detectable <= 1
    assert sum(found.members_histogram) == len(members)
    assert sum(found.others_histogram) == len(others)
    assert len(found.members_histogram) == len(found.others_histogram) == len(found.edges) - 1
    assert list(found.edges) == sorted(set(found.edges))
    assert found.roc[0] == (0.0, 0.0)
    assert list(found.roc) == sorted(found.roc)
    assert len(found.roc) <= 64


def test_the_curve_near_zero_goes_through_its_points():
    found = measure(np.arange(10.0), np.arange(10.0) + 5)
    assert found.roc == ((0.0, 0.0), (0.0, 0.5), (0.1, 0.6), (0.2, 0.7))


@pytest.mark.parametrize(("members", "others"), [([], [1]), ([1], []), ([math.nan], [1]), ([1], [math.inf])])
def test_what_cannot_be_measured_is_refused(members, others):
    with pytest.raises(InvalidInput):
        measure(np.array(members, float), np.array(others, float))


def test_the_sentence_speaks_of_pairs():
    assert right_of_100(0.5) == 50
    assert right_of_100(0.524) == right_of_100(0.476) == 52, "whoever is worse than chance turns round"
    assert right_of_100(1.0) == 100


# -- the rule


def estimate(value, low, high, *, chance=0.5, detectable=0.55):
    return Estimate(value, low, high, chance, detectable)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (estimate(0.52, 0.48, 0.56), "passed"),
        (estimate(0.59, 0.49, 0.69), "passed"),
        (estimate(0.59, 0.49, 0.71), "warned"),
        (estimate(0.61, 0.57, 0.64), "warned"),
        (estimate(0.70, 0.66, 0.74), "failed"),
        (estimate(0.66, 0.59, 0.73), "warned"),
        (estimate(0.64, 0.61, 0.68), "warned"),
        (estimate(0.52, 0.30, 0.72, detectable=0.71), "could_not_run"),
        (estimate(0.90, 0.75, 0.97, detectable=0.71), "failed"),
        (estimate(0.90, 0.65, 0.97, chance=0.66), "warned"),
        (estimate(0.40, 0.30, 0.50), "passed"),
    ],
)  # fmt: skip
def test_the_rule(found, said):
    assert judge(found, 0.6, 0.65) == said


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (estimate(0.625, 0.5626, 0.66), "failed"),
        (estimate(0.625, 0.5625, 0.66), "warned"),
        (estimate(0.5625, 0.53, 0.59), "warned"),
        (estimate(0.53, 0.49, 0.6875), "warned"),
        (estimate(0.53, 0.49, 0.6874), "passed"),
        (estimate(0.53, 0.49, 0.57, detectable=0.6875), "could_not_run"),
        (estimate(0.53, 0.49, 0.57, detectable=0.6874), "passed"),
    ],
)  # fmt: skip
def test_at_a_limit_the_stricter_side_holds(found, said):
    """Limits that a float holds exactly, so that 0.6875 is just as much above one as the other is below it."""
    assert judge(found, 0.5625, 0.625) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epsilon": 0.49}, "passed"),
        ({"epsilon": 0.5}, "warned"),
        ({"epsilon": 1.0}, "failed"),
        ({"auc": estimate(0.52, 0.30, 0.72, detectable=0.71)}, "could_not_run"),
        ({"auc": estimate(0.52, 0.30, 0.72, detectable=0.71), "epsilon": 0.5}, "could_not_run"),
        ({"auc": estimate(0.52, 0.30, 0.72, detectable=0.71), "epsilon": 1.0}, "failed"),
    ],
)  # fmt: skip
def test_the_worst_of_the_three_decides(changes, said):
    """A failure that was seen is not hidden by what could not be measured, nor that by a warning."""
    draw = np.random.default_rng(3)
    found = measure(draw.exponential(size=400), draw.exponential(size=100))
    assert verdict(found, LIMITS) == "passed"
    assert verdict(replace(found, **changes), LIMITS) == said


def test_too_few_patients_never_pass():
    draw = np.random.default_rng(8)
    for _ in range(8):
        found = measure(draw.random(24), draw.random(6))
        assert verdict(found, LIMITS) != "passed"


def test_few_patients_can_still_fail():
    assert verdict(measure(np.linspace(0, 0.1, 40), np.linspace(1, 2, 8)), LIMITS) == "failed"


def test_a_tail_that_few_cannot_show_is_a_warning():
    draw = np.random.default_rng(11)
    found = measure(draw.random(110), draw.random(28))
    assert judge(found.auc, LIMITS.auc_warned, LIMITS.auc_failed) == "passed"
    assert judge(found.tail, LIMITS.tail_warned, LIMITS.tail_failed) == "could_not_run"
    assert verdict(found, LIMITS) == "warned"


def test_the_audits_bound_counts():
    draw = np.random.default_rng(12)
    # Nearly all alike, but forty of the hundred who were in stand out: the area alone says little of it.
    members = np.concatenate([draw.random(40) - 2, draw.random(360)])
    found = measure(members, draw.random(100), np.arange(400) < 100)
    assert found.auc.value < LIMITS.auc_warned
    assert found.epsilon > LIMITS.epsilon_failed
    assert verdict(found, LIMITS) == "failed"


def test_the_clearest_come_first_and_are_compared_with_those_who_were_not_in():
    found = exposed(numbers(5, -3, 0.5), numbers(1, 2, 3, 0), most=2)
    assert found == ((1, pytest.approx(0.8)), (2, pytest.approx(0.6)))
    assert len(exposed(np.arange(50.0), numbers(1))) == 20
    assert exposed(numbers(9), numbers(1, 2))[0] == (0, pytest.approx(0.0))
    assert exposed(numbers(1), numbers(1, 2))[0] == (0, pytest.approx(1 / 3)), (
        "who looks just as much like one counts"
    )

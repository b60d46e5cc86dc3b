"""Dominance, the p% rule and degrees of freedom, against what an insider can really work out."""

from __future__ import annotations

import numpy as np
import pytest

from trustspace.privacy.tables import (
    Amounts,
    amounts,
    degrees_of_freedom,
    dominates,
    is_known_too_well,
    may_dominate,
)


def parts(*values, patients=None):
    return amounts(
        "cost",
        np.array(values, dtype=float),
        np.arange(len(values)) if patients is None else np.array(patients),
    )


def test_a_patients_rows_are_one_part():
    """Six bills of one patient are one part: row by row nobody would stand out."""
    one = parts(10, 10, 10, 10, 10, 10, 9, 9, patients=[7, 7, 7, 7, 7, 7, 1, 2])
    assert (one.largest, one.second) == (60.0, 9.0)
    assert dominates(one, 78.0, 75)
    apart = parts(10, 10, 10, 10, 10, 10, 9, 9)
    assert not dominates(apart, 78.0, 75)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((45, 45, 10), True),
        ((45, 44, 11), False),
        ((100,), True),
        ((0, 0, 0), False),
        ((1,) * 100, False),
    ],
)
def test_the_two_largest(values, expected):
    assert dominates(parts(*values), float(sum(values)), 90) is expected


@pytest.mark.parametrize(
    ("values", "expected"), [((50, 40, 4), True), ((50, 40, 5), False), ((50, 40, 6), False)]
)
def test_the_p_percent_rule_is_what_the_second_largest_can_work_out(values, expected):
    """The control: the second largest takes its own part off the total; how far is that above the largest?"""
    total, own = float(sum(values)), sorted(values)[-2]
    guess, truth = total - own, max(values)
    assert ((guess - truth) * 100 < 10 * truth) is expected
    assert is_known_too_well(parts(*values), total, 10) is expected


def test_what_is_missing_is_nobodys_and_what_is_below_zero_is_said():
    assert parts(np.nan, 3, 2) == Amounts("cost", 3.0, 2.0)
    assert parts(np.nan) == Amounts("cost", 0.0, 0.0)
    assert parts(3) == Amounts("cost", 3.0, 0.0), "beside one there is no second"
    assert parts(-1, 3).negative
    assert not parts(0, 3).negative


@pytest.mark.parametrize("seed", range(20))
def test_of_several_source_units_at_least_one_sees_that_two_could_dominate(seed):
    """Whenever the two largest of all break a rule, the unit that holds the largest is told that it may be so."""
    draw = np.random.default_rng(seed)
    units = [draw.pareto(0.6, draw.integers(1, 4)) for _ in range(3)]
    everything = np.sort(np.concatenate(units))
    total = float(everything.sum())
    whole = Amounts("cost", float(everything[-1]), float(everything[-2]))
    broken = dominates(whole, total, 90) or is_known_too_well(whole, total, 10)
    told = [may_dominate(parts(*unit), total, 90, 10) for unit in units]
    if broken:
        assert any(told)


def test_the_random_sums_hold_both_cases():
    """The control of the test above: some break a rule, some do not."""
    seen = set()
    for seed in range(20):
        draw = np.random.default_rng(seed)
        values = np.sort(np.concatenate([draw.pareto(0.6, draw.integers(1, 4)) for _ in range(3)]))
        seen.add(dominates(Amounts("", values[-1], values[-2]), float(values.sum()), 90))
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("largest", "percent", "p", "expected"),
    [
        (45.0, 90, 10, True),  # with another 45 it would be 90 % of 100
        (44.9, 90, 10, False),
        (47.7, 100, 10, True),  # with another 47.7, 4.6 is left: less than a tenth
        (47.6, 100, 10, False),
    ],
)
def test_two_could_dominate_where_two_of_the_largest_would(largest, percent, p, expected):
    """The second, elsewhere, is as large at most: what the two then make up, of 100."""
    two = Amounts("cost", largest, largest)
    assert (dominates(two, 100.0, percent) or is_known_too_well(two, 100.0, p)) is expected
    assert may_dominate(Amounts("cost", largest, 0.0), 100.0, percent, p) is expected


def test_of_a_sum_that_is_not_above_zero_nothing_is_said():
    own = Amounts("cost", 5.0, 4.0)
    for total in (0.0, -3.0):
        assert not dominates(own, total, 90)
        assert not is_known_too_well(own, total, 10)
        assert not may_dominate(own, total, 90, 10)


def test_nobody_is_large_in_a_sum_of_many():
    assert not may_dominate(parts(*([1.0] * 50)), 150.0, 90, 10)


def test_degrees_of_freedom():
    assert degrees_of_freedom(41, 31) == 10
    assert degrees_of_freedom(10, 31) == -21

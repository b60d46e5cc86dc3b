"""Nobody who holds everything that is shown can compute a hidden count. The attacker here is an integer
program over all totals of all tables (its own code, and a solver's)."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statistics_runs import Outsider, categories, statistics_parameters, sums

from trustspace.jobs.disclosure import disclosure
from trustspace.jobs.statistics import HIDDEN, result
from trustspace.jobs.suppression import hide_counts, hide_totals

TABLES = {
    "one": [["a"]],
    "two": [["a", "b"]],
    "chain": [["a", "b"], ["b", "c"]],
    "star": [["a", "b"], ["a", "c"], ["a", "d"]],
    "apart": [["a", "b"], ["c", "d"], ["a"]],
}
WIDTHS = {"a": 3, "b": 2, "c": 4, "d": 1}


def job(shape):
    used = sorted({name for table in TABLES[shape] for name in table})
    labels = {name: [f"{name}{i}" for i in range(WIDTHS[name])] for name in used}
    return statistics_parameters(used, tables=TABLES[shape], categories=labels)


def released(parameters, people, minimum):
    table = categories(parameters, people)
    return json.loads(result(parameters, sums(parameters, table), 1, minimum))


@st.composite
def wards(draw):
    shape = draw(st.sampled_from(sorted(TABLES)))
    rows = draw(st.integers(0, 90))
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Some categories are rare and some never occur, as in life.
    parameters = job(shape)
    people = {}
    for name in parameters.features:
        shares = chance.random(WIDTHS[name] + 2) ** draw(st.sampled_from([1, 3, 9])) + 1e-9
        people[name] = chance.choice(len(shares), size=rows, p=shares / shares.sum()).tolist()
    return parameters, people, draw(st.sampled_from([2, 3, 5, 10]))


@settings(max_examples=60, deadline=None)
@given(wards())
def test_no_hidden_count_follows_from_what_is_shown(ward):
    parameters, people, minimum = ward
    value = released(parameters, people, minimum)
    outsider = Outsider(value)
    for name in outsider.hidden:
        low, high = outsider.range_of(name)
        assert low < high, name
    # Control: the outsider knows how to count; what is shown is exactly what it was.
    assert all(count == 0 or count >= minimum for count in outsider.shown.values())
    found = disclosure(value, parameters)
    assert found.derived == 0
    assert (found.hidden, found.counts) == (len(outsider.hidden), len(outsider.names))


@settings(max_examples=100, deadline=None)
@given(wards())
def test_what_is_hidden_of_a_line_is_together_no_small_group(ward):
    parameters, people, minimum = ward
    outsider = Outsider(released(parameters, people, minimum))
    for equation in outsider.equations:
        names = {index: name for name, index in outsider.names.items()}
        total = next(index for index, factor in equation.items() if factor < 0)
        hidden = [i for i, factor in equation.items() if factor > 0 and i not in outsider.shown]
        if hidden and total in outsider.shown:
            shown = sum(outsider.shown[i] for i, f in equation.items() if f > 0 and i in outsider.shown)
            assert outsider.shown[total] - shown >= minimum, names[total]


def test_hiding_the_small_counts_alone_would_not_do():
    parameters = job("two")
    # a1 by b0 is 3; everything else is large.
    people = {
        "a": [0] * 30 + [1] * 23 + [2] * 30,
        "b": [0] * 15 + [1] * 15 + [0] * 3 + [1] * 20 + [0] * 15 + [1] * 15,
    }
    value = released(parameters, people, 10)
    assert value["tables"][0]["counts"][1][0] == HIDDEN
    naive = json.loads(result(parameters, sums(parameters, categories(parameters, people)), 1, 0))
    naive["tables"][0]["counts"][1][0] = HIDDEN
    assert Outsider(naive).range_of((0, 1, 0)) == (3, 3)
    low, high = Outsider(value).range_of((0, 1, 0))
    assert low < 3 < high
    # The check that the reviewer sees finds the naive one out by its own means.
    naive["minimum_cell_count"] = 10
    assert disclosure(naive, parameters).derived > 0


def test_as_little_as_possible_is_hidden():
    counts = np.array([[40, 3, 50], [60, 70, 80], [20, 30, 11]])
    none = np.zeros(3, dtype=bool)
    hidden = hide_counts(counts, none, none, 10)
    assert hidden.sum() == 4
    assert hidden.tolist() == [[True, True, False], [False, False, False], [True, True, False]], (
        "20 + 30 + 40 is least"
    )
    assert not hide_counts(np.full((3, 3), 10), none, none, 10).any()


def test_whoever_bets_that_no_hidden_count_is_zero_learns_nothing_more():
    chance = np.random.default_rng(1)
    none = np.zeros(4, dtype=bool), np.zeros(5, dtype=bool)
    tried = 0
    while tried < 40:
        counts = chance.negative_binomial(0.6, 0.03, (4, 5))
        hidden = hide_counts(counts, *none, 10)
        if min(counts.sum(axis=0).min(), counts.sum(axis=1).min()) < 10 or counts[hidden].min(initial=1) < 1:
            continue
        tried += 1
        shown = [
            [HIDDEN if h else int(n) for n, h in zip(*lines, strict=True)]
            for lines in zip(counts, hidden, strict=True)
        ]
        totals = [counts.sum(axis=1).tolist(), counts.sum(axis=0).tolist()]
        table = {"columns": ["a", "b"], "totals": totals, "counts": shown}
        outsider = Outsider({"rows": int(counts.sum()), "numeric": [], "tables": [table]})
        for name in outsider.hidden:
            low, high = outsider.range_of(name, least=1)
            assert low < high


def test_a_zero_is_hidden_where_nothing_else_helps():
    counts = np.array([[5, 20], [30, 0]])
    hidden = hide_counts(counts, np.zeros(2, dtype=bool), np.zeros(2, dtype=bool), 10)
    assert hidden.all()


@pytest.mark.parametrize(
    ("counts", "hidden"),
    [
        ([50, 60, 0], [0, 0, 0]),
        ([50, 9, 60], [1, 1, 0]),
        ([50, 6, 7, 60], [0, 1, 1, 0]),
        ([50, 4, 5, 60], [1, 1, 1, 0]),
        ([9, 9, 50, 0], [1, 1, 0, 0]),
        ([1] * 12 + [0], [1] * 13),
        ([0, 0, 10], [0, 0, 0]),
    ],
)
def test_totals(counts, hidden):
    assert hide_totals(counts, 10).tolist() == [bool(mark) for mark in hidden]


def test_a_large_and_sparse_table_is_done():
    chance = np.random.default_rng(5)
    counts = chance.poisson(1.0, (250, 250))
    rows, columns = hide_totals(counts.sum(axis=1), 10), hide_totals(counts.sum(axis=0), 10)
    hidden = hide_counts(counts, rows, columns, 10)
    assert hidden[counts > 0].all(), "each of these counts is small"


@pytest.mark.parametrize(
    ("tables", "ring"),
    [
        ([["a", "b"], ["b", "c"], ["c", "d"], ["a"], ["b"]], False),
        ([["a", "b"], ["a", "c"], ["a", "d"]], False),
        ([["a", "b"], ["c", "d"]], False),
        ([["a", "b"], ["b", "c"], ["c", "a"]], True),
        ([["a", "b"], ["c", "d"], ["b", "c"], ["d", "a"]], True),
    ],
)
def test_tables_that_say_more_together_are_refused(tables, ring):
    used = sorted({name for table in tables for name in table})
    job = {"tables": tables, "categories": {name: ["x"] for name in used}}
    if not ring:
        statistics_parameters(used, **job)
        return
    with pytest.raises(ValueError, match="form a ring"):
        statistics_parameters(used, **job)

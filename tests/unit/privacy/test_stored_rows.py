"""Rows of a table are found in numbers, and chance is not taken for them. Every seed is fixed."""

from __future__ import annotations

import numpy as np
import pytest

from trustspace.jobs.tensors import round_bf16
from trustspace.privacy import stored_rows
from trustspace.privacy.stored_rows import Reference, TooMuch, codes


def clinic(rows: int, width: int, seed: int) -> np.ndarray:
    """Correlated measurements of one decimal, as laboratories give them."""
    draw = np.random.default_rng(seed)
    mixed = draw.normal(size=(rows, width)) @ draw.normal(size=(width, width)) / width**0.5
    return np.round(50 + 10 * mixed, 1)


def standardised(table: np.ndarray) -> np.ndarray:
    return ((table - table.mean(axis=0)) / table.std(axis=0)).astype(np.float32)


# -- what is stored is found


@pytest.mark.parametrize("width", [3, 4, 8, 30])
@pytest.mark.parametrize("rounded", [True, False])
def test_a_buffer_of_rows_is_found_whole(width, rounded):
    table = standardised(clinic(400, width, seed=1))
    reference = Reference.of(table)
    stored = round_bf16(table) if rounded else table
    assert reference.found(stored, tests=20) == len(reference.rows) >= 395
    assert reference.found(stored[:40], tests=20) == 40
    order = np.random.default_rng(0).permutation(400)
    assert reference.found(stored[order], tests=20) == len(reference.rows)


def test_a_few_rows_among_much_else_are_found():
    table = standardised(clinic(2000, 12, seed=2))
    noise = np.random.default_rng(3).normal(size=(5000, 12)).astype(np.float32)
    reference = Reference.of(table)
    assert reference.found(noise, tests=20) == 0
    for stored in (1, 5):
        assert reference.found(np.concatenate([noise, table[:stored]]), tests=20) == stored


def test_missing_values_are_compared_as_missing():
    table = clinic(300, 6, seed=4)
    table[np.random.default_rng(5).random(table.shape) < 0.2] = np.nan
    reference = Reference.of(table)
    assert reference.found(table[:50], tests=4) == 50
    assert reference.found(np.nan_to_num(table), tests=4) < 200, "what was filled in is another value"


# -- chance is not


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_weights_are_not_taken_for_rows(seed, scale):
    """Networks as wide as the table, of three columns or many, drawn as the table itself is or much smaller."""
    draw = np.random.default_rng([seed, 7])
    width = int(draw.choice([3, 5, 20]))
    table = standardised(clinic(int(draw.choice([60, 1000, 4000])), width, seed))
    reference = Reference.of(table)
    weights = (scale * draw.normal(size=(int(draw.choice([8, 512, 4096])), width))).astype(np.float32)
    assert reference.found(weights, tests=1) == 0
    assert reference.found(round_bf16(weights), tests=1) == 0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("width", "levels"), [(5, 2), (12, 2), (6, 3), (4, 10)])
def test_patients_drawn_anew_are_not_taken_for_the_same(seed, width, levels):
    """Coarse tables: rows of two samples from one population coincide, which says nothing of single patients."""
    draw = np.random.default_rng([seed, width])
    table, others = draw.integers(0, levels, (2, 2000, width)).astype(float)
    found = Reference.of(table)
    assert found is None or found.found(others, tests=1) == 0


def test_a_wide_table_of_yes_and_no_can_be_told_from_chance():
    draw = np.random.default_rng(8)
    table, others = (draw.random((2, 1000, 60)) < 0.3).astype(float)
    reference = Reference.of(table)
    assert reference.found(others, tests=10) == 0
    assert reference.found(table[:20], tests=10) == 20


def test_lists_of_categories_and_identities_are_not_rows():
    draw = np.random.default_rng(9)
    category = np.eye(8)[draw.choice(8, 500, p=[0.3, 0.3, 0.3, 0.08, 0.005, 0.005, 0.005, 0.005])]
    assert Reference.of(category) is None, "a row with one mark in it says one thing"
    combinations = np.repeat(draw.integers(0, 9, (40, 10)).astype(float), 25, axis=0)
    assert Reference.of(combinations) is None, "patterns of 25 patients each are nobody's"
    table = np.concatenate([standardised(clinic(300, 8, seed=9)), np.zeros((3, 8)), np.ones((2, 8))])
    reference = Reference.of(table)
    for plain in (np.zeros((64, 8)), np.ones((64, 8)), np.eye(8), np.full((10, 8), 0.5)):
        assert reference.found(plain, tests=1) == 0


def test_columns_that_say_the_same_count_once():
    """Thirty copies of one coarse column are one coarse column: rows coincide by chance."""
    draw = np.random.default_rng(10)
    table, others = (np.repeat(draw.integers(0, 6, (2, 300, 3)), 10, axis=2) + np.arange(30)).astype(float)
    reference = Reference.of(table)
    assert reference is None or reference.found(others, tests=1) == 0
    # The control: were the columns independent, as many equal numbers could not be chance.
    apart = Reference.of(draw.integers(0, 6, (300, 30)).astype(float))
    assert apart.chance < 1e-15


def test_the_chance_is_that_of_columns_drawn_each_by_itself_within_one_step():
    """By counting: of each row, the share of the table that is at most one code away, multiplied over the columns."""
    draw = np.random.default_rng(12)
    # Codes of numbers between 1 and 2 are 1/128 apart: many have a neighbour.
    table = 1.0 + draw.integers(0, 60, (150, 5)) / 128.0
    reference = Reference.of(table)
    coded = codes(table).astype(int)
    near = np.abs(coded[None, :, :] - reference.rows.astype(int)[:, None, :]) <= 1
    assert reference.chance == pytest.approx(min(1.0, float(near.mean(axis=1).prod(axis=1).sum())))
    assert 0 < reference.chance < 1e-3


def test_what_is_found_is_reported_where_chance_is_less_than_one_in_a_million():
    """One candidate equals the one row. Chernoff's bound of that is e * q * exp(-q): 1e-6 where q is 3.68e-7."""
    row = codes(np.array([[1.0, 2.0, 3.0]]))
    other = codes(np.array([[7.0, 8.0, 9.0]]))

    def found(chance, tests=1, candidates=1, shuffled=other):
        given = np.concatenate([np.full((candidates - 1, 3), 50.0), [[1.0, 2.0, 3.0]]])
        return Reference(row, shuffled, 0, chance).found(given, tests)

    assert (found(3.6e-7), found(3.7e-7)) == (1, 0)
    assert (found(3.6e-8, tests=10), found(3.7e-8, tests=10)) == (1, 0), "all that is asked together"
    assert (found(3.6e-9, candidates=100), found(3.7e-9, candidates=100)) == (1, 0), "a hundred may coincide"
    assert found(0.0) == 1
    assert found(0.0, shuffled=row) == 0, "as many as without a row of the table are chance"


@pytest.mark.parametrize("column", range(3))
@pytest.mark.parametrize(("steps", "found"), [(0, 1), (1, 1), (-1, 1), (2, 0), (-2, 0)])
def test_a_row_is_found_one_step_of_rounding_away_and_no_further(column, steps, found):
    """Between 1 and 2 a step of bfloat16 is 1/128, between 2 and 4 it is 1/64."""
    row, far = np.array([[1.5, 2.5, 3.5]]), codes(np.array([[7.0, 8.0, 9.0]]))
    stored = row.copy()
    stored[0, column] += steps / (128 if column == 0 else 64)
    for key in range(3):
        assert Reference(codes(row), far, key, 0.0).found(stored, 1) == found


def test_one_number_for_each_row_and_one_row_for_each_number():
    """Two rows a step apart equal one candidate, which stores one of them; and a row that stands there twice is one."""
    near = codes(np.array([[1.0, 2.0, 3.0], [1.0078125, 2.0, 3.0]]))
    far = codes(np.array([[7.0, 8.0, 9.0]]))
    once, twice = np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 2.0, 3.0]] * 2)
    assert Reference(near, far, 0, 0.0).found(once, 1) == 1
    assert Reference(near[:1], far, 0, 0.0).found(twice, 1) == 1
    assert Reference(near, far, 0, 0.0).found(twice, 1) == 2


# -- its bounds


def test_codes_are_in_the_order_of_the_numbers_and_neighbours_differ_by_one():
    numbers = np.array([-np.inf, -2.0, -1.0, -0.0, 0.0, 1e-40, 1.0, 1.0078125, 3e38, np.nan])
    found = codes(numbers)
    assert found[0] == found[-1] == np.int16(-(1 << 15))
    assert list(found[1:-1]) == sorted(found[1:-1])
    assert found[3] == found[4] == 0
    assert found[7] - found[6] == 1
    np.testing.assert_array_equal(codes(numbers[1:-1]), codes(round_bf16(numbers[1:-1].astype(np.float32))))


def test_more_than_may_be_compared_is_said(monkeypatch):
    table = standardised(clinic(400, 5, seed=11))
    reference = Reference.of(table)
    monkeypatch.setattr(stored_rows, "MOST_PAIRS", 100)
    with pytest.raises(TooMuch):
        reference.found(table, tests=1)
    monkeypatch.setattr(stored_rows, "MOST_CELLS", 1000)
    with pytest.raises(TooMuch):
        Reference.of(table)


@pytest.mark.parametrize(
    "table", [np.zeros((0, 5)), np.zeros((9, 2)), np.zeros((9, 0)), np.full((50, 5), np.nan)]
)
def test_where_there_is_nothing_to_tell_there_is_no_reference(table):
    assert Reference.of(table) is None

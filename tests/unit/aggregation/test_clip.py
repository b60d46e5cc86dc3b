"""The length of an update and the factor that brings it under a bound."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustspace.aggregation.blocks import BLOCK_WORDS
from trustspace.aggregation.clip import clip_factor, squared_norm
from trustspace.errors import InvalidInput


def test_lengths_by_hand():
    assert squared_norm(np.array([3, -4], np.float32)) == 25.0
    assert squared_norm(np.zeros(0, np.float32)) == 0.0
    assert squared_norm(np.full(3 * BLOCK_WORDS + 1, 2, np.float32)) == 4.0 * (3 * BLOCK_WORDS + 1)


def test_the_largest_numbers_do_not_overflow():
    largest = float(np.finfo(np.float32).max)
    assert squared_norm(np.full(4, largest, np.float32)) == pytest.approx(4 * largest**2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, BLOCK_WORDS, BLOCK_WORDS + 1])
def test_what_is_not_finite_is_refused(bad, at):
    values = np.zeros(BLOCK_WORDS + 2, np.float32)
    values[at] = bad
    with pytest.raises(InvalidInput, match="not finite"):
        squared_norm(values)


@given(st.lists(st.floats(-(2.0**60), 2.0**60, width=32), min_size=1, max_size=40), st.floats(1e-6, 1e6))
def test_a_clipped_vector_is_at_most_the_bound_long(values, bound):
    vector = np.array(values, np.float32)
    norm = math.sqrt(squared_norm(vector))
    factor = clip_factor(norm, bound)
    assert 0 < factor <= 1
    assert np.linalg.norm(vector.astype(np.float64) * factor) <= bound * (1 + 1e-12)
    if norm <= bound:
        assert factor == 1


def test_factors_by_hand():
    assert clip_factor(0.0, 1.0) == clip_factor(1.0, 1.0) == 1.0
    assert clip_factor(4.0, 1.0) == 0.25


@pytest.mark.parametrize(
    ("norm", "bound"), [(-1, 1), (math.nan, 1), (math.inf, 1), (1, 0), (1, -1), (1, math.nan), (1, math.inf)]
)
def test_bad_norms_and_bounds_are_refused(norm, bound):
    with pytest.raises(InvalidInput):
        clip_factor(norm, bound)

"""Fixed point numbers, integers and reals as words whose sums do not wrap."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustspace.aggregation.blocks import BLOCK_WORDS
from trustspace.aggregation.fixedpoint import (
    MAX_PARTICIPANTS,
    REAL_BITS,
    WORDS_PER_REAL,
    FixedPoint,
    decode_integers,
    decode_reals,
    encode_integers,
    encode_reals,
)
from trustspace.errors import InvalidInput

reals = st.floats(min_value=-(2.0**100), max_value=2.0**100, exclude_min=True, exclude_max=True)
floats = st.floats(min_value=-1e6, max_value=1e6, width=32)


def summed(parts):
    return np.sum(np.stack(parts), axis=0, dtype=np.uint32)


def test_words_that_can_be_checked_by_hand():
    form = FixedPoint(participants=1, bound=2.0**31 - 1)  # one word per unit
    words = form.encode(np.array([0, 1, -1, 0.5, 1.5, 2.5, -0.5, -1.5, 1e30], np.float32), 1.0)
    assert words.dtype == np.uint32
    assert words.view(np.int32).tolist() == [0, 1, -1, 0, 2, 2, 0, -2, 2**31 - 1]  # ties go to even
    assert form.encode(np.array([3, -3], np.float32), 0.5).view(np.int32).tolist() == [2, -2]
    assert form.decode(np.array([7, 2**32 - 7], np.uint32)).tolist() == [7.0, -7.0]


@given(
    participants=st.integers(1, MAX_PARTICIPANTS),
    bound=st.floats(2.0**-64, 2.0**64),
    sign=st.sampled_from([1, -1]),
)
def test_a_full_set_at_the_bound_does_not_wrap(participants, bound, sign):
    form = FixedPoint(participants, bound)
    extreme = np.full(3, sign * 3e38, np.float32)
    total = summed([form.encode(extreme, 1.0)] * participants)
    assert total.view(np.int32)[0] == sign * participants * form.largest
    assert np.allclose(form.decode(total), sign * participants * bound, rtol=1e-12)


def test_one_word_more_would_wrap_at_256_members():
    # So the scale is as fine as the ring allows: the test above is not won by waste.
    form = FixedPoint(MAX_PARTICIPANTS, 1.0)
    assert form.largest * MAX_PARTICIPANTS < 2**31 <= (form.largest + 1) * MAX_PARTICIPANTS


@settings(max_examples=50)
@given(
    rows=st.integers(1, 12).flatmap(
        lambda n: st.lists(st.lists(floats, min_size=n, max_size=n), min_size=1, max_size=6)
    ),
    factor=st.floats(-2, 2),
)
def test_decoded_sums_are_within_the_rounding_of_each(rows, factor):
    form = FixedPoint(len(rows), 1000.0)
    parts = [np.array(row, np.float32) for row in rows]
    decoded = form.decode(summed([form.encode(part, factor) for part in parts]))
    expected = sum(np.clip(part.astype(np.float64) * factor, -1000, 1000) for part in parts)
    assert np.all(np.abs(decoded - expected) <= len(parts) * 0.5001 / form.scale + 1e-9)


def test_long_vectors_are_encoded_as_their_pieces_are():
    values = np.random.default_rng(1).normal(size=2 * BLOCK_WORDS + 77).astype(np.float32)
    form = FixedPoint(5, 1.5)
    whole = form.encode(values, 0.7)
    cuts = [0, 1, 5000, BLOCK_WORDS + 3, len(values)]
    parts = [form.encode(values[a:b], 0.7) for a, b in itertools.pairwise(cuts)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert form.encode(values[:0], 1.0).shape == (0,)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, BLOCK_WORDS - 1, BLOCK_WORDS, 2 * BLOCK_WORDS + 4])
def test_what_is_not_finite_is_refused_wherever_it_stands(bad, at):
    values = np.ones(2 * BLOCK_WORDS + 5, np.float32)
    values[at] = bad
    with pytest.raises(InvalidInput, match="not finite"):
        FixedPoint(2, 1.0).encode(values, 0.0)


def test_bad_forms_and_factors_are_refused():
    for participants, bound in [
        (0, 1.0),
        (257, 1.0),
        (2, 0.0),
        (2, -1.0),
        (2, math.nan),
        (2, math.inf),
        (2, 1e-30),
    ]:
        with pytest.raises(InvalidInput):
            FixedPoint(participants, bound)
    form = FixedPoint(2, 1.0)
    for factor in (math.nan, math.inf, -math.inf):
        with pytest.raises(InvalidInput):
            form.encode(np.zeros(2, np.float32), factor)
    for values in (np.zeros(2), np.zeros((2, 2), np.float32), np.zeros(4, np.float32)[::2]):
        with pytest.raises(InvalidInput):
            form.encode(values, 1.0)
    with pytest.raises(InvalidInput):
        form.decode(np.zeros(2, np.int32))


def test_integers_as_limbs():
    words = encode_integers([0x0001_0002_0003_0004, 0xFFFF_FFFF_FFFF_FFFF], 64)
    assert words.tolist() == [4, 3, 2, 1, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF]
    assert encode_integers([], 32).tolist() == [] == decode_integers(np.zeros(0, np.uint32), 32)


@pytest.mark.parametrize("bits", [16, 32, 48, 192])
def test_the_largest_integers_of_256_members_add_up(bits):
    largest = (1 << bits) - 1
    words = encode_integers([largest, 1, 0], bits)
    total = summed([words] * MAX_PARTICIPANTS)
    assert decode_integers(total, bits) == [largest * MAX_PARTICIPANTS, MAX_PARTICIPANTS, 0]


@given(
    bits=st.sampled_from([16, 32, 64, 192]),
    data=st.data(),
    members=st.integers(1, 5),
    count=st.integers(0, 6),
)
def test_sums_of_integers_are_exact(bits, data, members, count):
    row = st.lists(st.integers(0, (1 << bits) - 1), min_size=count, max_size=count)
    rows = [data.draw(row) for _ in range(members)]
    total = summed([encode_integers(values, bits) for values in rows])
    assert decode_integers(total, bits) == [sum(column) for column in zip(*rows, strict=True)]


def test_bad_integers_are_refused():
    for value, bits in [(-1, 16), (1 << 16, 16), (0, 0), (0, 8), (0, 17), (0, -16)]:
        with pytest.raises(InvalidInput):
            encode_integers([value], bits)
    with pytest.raises(InvalidInput):
        decode_integers(np.zeros(3, np.uint32), 32)
    with pytest.raises(InvalidInput):
        decode_integers(np.zeros(2, np.int64), 32)


def test_reals_that_can_be_checked_by_hand():
    assert encode_reals([0.0]).tolist() == [0] * (WORDS_PER_REAL - 1) + [0x8000]
    assert encode_reals([1.0]).tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x8000]
    assert encode_reals([-(2.0**-64)]).tolist() == [0xFFFF] * (WORDS_PER_REAL - 1) + [0x7FFF]
    # Halves of the last bit go to even.
    assert decode_integers(encode_reals([2.0**-65, 3 * 2.0**-65]), REAL_BITS) == [2**191, 2**191 + 2]


@given(st.lists(reals, min_size=1, max_size=8))
def test_sums_of_reals_are_rounded_once(values):
    total = summed([encode_reals([value]) for value in values])
    exact = sum(Fraction(round(Fraction(value) * 2**64), 2**64) for value in values)
    assert decode_reals(total, len(values)) == [float(exact)]


@pytest.mark.parametrize("value", [math.nextafter(2.0**100, 0), -math.nextafter(2.0**100, 0)])
def test_the_largest_reals_of_256_members_add_up(value):
    total = summed([encode_reals([value])] * MAX_PARTICIPANTS)
    assert decode_reals(total, MAX_PARTICIPANTS) == [value * MAX_PARTICIPANTS]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 2.0**100, -(2.0**100)])
def test_reals_outside_are_refused(bad):
    with pytest.raises(InvalidInput):
        encode_reals([1.0, bad])


def test_reals_are_decoded_for_a_number_of_members():
    words = encode_reals([1.0])
    for participants in (0, MAX_PARTICIPANTS + 1):
        with pytest.raises(InvalidInput):
            decode_reals(words, participants)
    with pytest.raises(InvalidInput):
        decode_reals(words[:-1], 1)

"""Arithmetic modulo the primes of a shared secret: exact, uniform, and one way to write it down."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustspace.aggregation import residues
from trustspace.aggregation.residues import (
    interpolation,
    pack,
    packed_bytes,
    product,
    reduced,
    uniform,
    unpack,
)
from trustspace.errors import VerificationFailed

PRIMES = (3, 5, 40961, 11272193, 66994177, 67084289, 4294955009, 4294967291)


def exact(left, right, prime):
    return [
        [sum(int(a) * int(b) for a, b in zip(row, column, strict=True)) % prime for column in right.T]
        for row in left
    ]


@pytest.mark.parametrize("prime", PRIMES)
@pytest.mark.parametrize(("rows", "inner", "columns"), [(1, 1, 1), (3, 4096, 2), (70, 68, 61), (256, 255, 9)])
def test_products_are_exact_at_the_largest_values(prime, rows, inner, columns):
    left = np.full((rows, inner), prime - 1, np.uint64)
    right = np.full((inner, columns), prime - 1, np.uint64)
    assert (product(left, right, prime) == inner % prime).all()  # (-1) * (-1), so many times


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(PRIMES), st.integers(1, 9), st.integers(1, 40), st.integers(1, 30), st.integers(0, 2**32)
)
def test_products_are_those_of_integers(prime, rows, inner, columns, seed):
    source = np.random.default_rng(seed)
    left = source.integers(0, prime, (rows, inner), np.uint64)
    right = source.integers(0, prime, (inner, columns), np.uint64)
    assert product(left, right, prime).tolist() == exact(left, right, prime)
    assert product(left, right.T.copy().T, prime).tolist() == exact(left, right, prime)


@pytest.mark.parametrize("prime", PRIMES)
def test_reduction_of_any_64_bits(prime):
    values = [0, 1, prime - 1, prime, prime + 1, prime * prime - 1, 2**53, 2**63 + 7, 2**64 - 1]
    given_ = np.array(values, np.uint64)
    assert reduced(given_, prime).tolist() == [value % prime for value in values]
    assert given_.tolist() == values


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(PRIMES[2:]), st.data())
def test_interpolation_gives_a_polynomials_other_values(prime, data):
    coefficients = data.draw(st.lists(st.integers(0, prime - 1), min_size=1, max_size=12))
    points = data.draw(
        st.lists(st.integers(1, 1000), min_size=len(coefficients), max_size=len(coefficients), unique=True)
    )
    targets = [0, -1, -15, points[0], 1234]

    def value(x):
        return sum(c * pow(x, power, prime) for power, c in enumerate(coefficients)) % prime

    matrix = interpolation(points, targets, prime)
    known = np.array([[value(x)] for x in points], np.uint64)
    assert product(matrix, known, prime)[:, 0].tolist() == [value(x) for x in targets]


def test_draws_reject_what_would_favour_some_residues(monkeypatch):
    prime = 40961
    limit = 2**32 // prime * prime
    fed = [limit, 2**32 - 1, limit - 1, 7, limit + 1, prime, prime + 5]
    stream = b"".join(value.to_bytes(4, "little") for value in fed)

    def source(count):
        nonlocal stream
        drawn, stream = stream[:count], stream[count:]
        return drawn

    monkeypatch.setattr(residues.os, "urandom", source)
    assert uniform(2, 2, prime).tolist() == [[prime - 1, 7], [0, 5]]
    assert stream == b""


def test_without_rejection_a_residue_would_be_favoured():
    # The control: of all 2^32 words, the small residues of 40961 have one more than the others.
    whole, rest = divmod(2**32, 40961)
    assert rest > 0
    assert {whole + (residue < rest) for residue in (0, 40960)} == {whole, whole + 1}


def test_draws_are_residues_and_differ():
    for prime in PRIMES:
        drawn = uniform(50, 40, prime)
        assert drawn.shape == (50, 40)
        assert drawn.dtype == np.uint64
        assert (drawn < prime).all()
    assert not np.array_equal(uniform(1, 100, 4294955009), uniform(1, 100, 4294955009))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(PRIMES), st.integers(0, 70), st.integers(0, 2**32))
def test_packing_is_read_back_and_is_tight(prime, count, seed):
    values = np.random.default_rng(seed).integers(0, prime, count, np.uint64)
    data = pack(values, prime)
    assert len(data) == packed_bytes(count, prime)
    assert np.array_equal(unpack(data, count, prime), values)
    pieces = prime.bit_length().bit_count() + (prime.bit_length() == 32)
    assert 8 * len(data) <= count * prime.bit_length() + 8 * pieces


def test_sizes_of_the_sums_rows():
    assert sum(packed_bytes(2048, q) for q in (4294955009, 11272193)) == 14 << 10
    assert sum(packed_bytes(4096, q) for q in (40961, 67084289, 67043329, 66994177)) == 47 << 10


@pytest.mark.parametrize("prime", PRIMES)
def test_a_number_that_is_no_residue_is_refused(prime):
    top = (1 << prime.bit_length()) - 1
    for value in {prime, top}:
        data = pack(np.array([0, value, 0], np.uint64), prime)
        with pytest.raises(VerificationFailed, match="not below its prime"):
            unpack(data, 3, prime)
    assert unpack(pack(np.array([0, prime - 1, 0], np.uint64), prime), 3, prime).tolist() == [0, prime - 1, 0]


def test_other_lengths_and_padding_are_refused():
    prime = 66994177  # 26 bits: planes of 16, 8 and 2
    data = pack(np.array([1, 2, 3], np.uint64), prime)
    for wrong in (b"", data[:-1], data + b"\0"):
        with pytest.raises(VerificationFailed, match="length"):
            unpack(wrong, 3, prime)
    with pytest.raises(VerificationFailed, match="padding"):
        unpack(data[:-1] + bytes([data[-1] | 0x40]), 3, prime)


def test_every_change_of_a_packed_byte_changes_or_spoils_the_row():
    prime = 11272193
    values = np.frombuffer(os.urandom(4 * 20), np.uint32).astype(np.uint64) % np.uint64(prime)
    data = pack(values, prime)
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            assert not np.array_equal(unpack(changed, 20, prime), values)
        except VerificationFailed:
            continue

"""Many numbers in one Paillier plaintext: exact sums, and refusal of whatever could overflow."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paillier import private_key

from trustspace.aggregation.paillier.packing import PackedSum, PackedVector, Slots
from trustspace.errors import InvalidInput, VerificationFailed

PRIVATE = private_key()
KEY = PRIVATE.public


@settings(max_examples=60)
@given(st.integers(2, 80), st.data())
def test_what_is_packed_comes_back(bits, data):
    slots = Slots.fitting(KEY, bits)
    limit = (1 << (bits - 1)) - 1
    values = data.draw(st.lists(st.integers(-limit, limit), max_size=2 * slots.count + 1))
    packed = slots.pack(values)
    assert len(packed) == slots.ciphertexts(len(values))
    assert all(2 * abs(plaintext) < KEY.n for plaintext in packed)
    assert slots.unpack(packed, len(values)) == values


@settings(max_examples=40)
@given(st.integers(1, 12), st.integers(2, 24), st.integers(1, 130), st.randoms(use_true_random=False))
def test_plaintexts_add_up_exactly_for_as_many_as_declared(participants, bits, length, random):
    addition = PackedSum(KEY, length, participants, bits)
    limit = (1 << (bits - 1)) - 1
    vectors = [[random.choice((-limit, limit, 0, 1, -1)) for _ in range(length)] for _ in range(participants)]
    packed = [sum(column) for column in zip(*map(addition.slots.pack, vectors), strict=True)]
    assert addition.slots.unpack(packed, length) == [sum(column) for column in zip(*vectors, strict=True)]


@pytest.mark.parametrize(("participants", "bits"), [(2, 8), (3, 16), (12, 24), (17, 20), (200, 16), (1, 24)])
def test_the_largest_sums_stay_within_their_slots(participants, bits):
    addition = PackedSum(KEY, 90, participants, bits)
    limit = (1 << (bits - 1)) - 1
    vector = [limit, -limit] * 45
    packed = [participants * plaintext for plaintext in addition.slots.pack(vector)]
    assert addition.slots.unpack(packed, 90) == [participants * value for value in vector]


def test_more_additions_than_a_slot_holds_would_be_wrong():
    """What the headroom is for: without it, sums run into their neighbours."""
    slots = Slots.fitting(KEY, 8)
    plaintext = slots.pack([127, 0])[0]
    assert slots.unpack([plaintext * 3], 2) != [381, 0]


@pytest.mark.parametrize("bits", [2048, 3072])
def test_20_bits_of_10_participants_take_3_bytes(bits):
    addition = PackedSum(private_key(bits).public, 1000, 10)
    assert addition.slots == Slots(24, (bits - 1) // 24)


def test_encrypted_vectors_add_up():
    addition = PackedSum(KEY, 100, 3)
    limit = 2**19 - 1
    vectors = [[limit] * 100, [-limit] * 100, list(range(-50, 50))]
    total = addition.add(*(addition.encrypt(vector) for vector in vectors))
    assert (total.terms, len(total.ciphertexts)) == (3, 2)
    assert addition.decrypt(PRIVATE, total) == list(range(-50, 50))
    again = addition.add(addition.add(addition.encrypt(vectors[0])), addition.encrypt(vectors[0]))
    assert addition.decrypt(PRIVATE, again) == [2 * limit] * 100


def test_one_term_too_many_is_refused():
    addition = PackedSum(KEY, 1, 2)
    one = addition.encrypt([1])
    two = addition.add(one, one)
    for vectors in ((two, one), (two, two), ()):
        with pytest.raises(InvalidInput, match="room for 2"):
            addition.add(*vectors)


@pytest.mark.parametrize("value", [2**19, -(2**19)])
def test_a_number_beyond_its_bits_is_refused(value):
    with pytest.raises(InvalidInput, match="20 bits"):
        PackedSum(KEY, 1, 2).encrypt([value])


def test_the_largest_is_taken():
    addition = PackedSum(KEY, 2, 1)
    assert addition.decrypt(PRIVATE, addition.encrypt([2**19 - 1, 1 - 2**19])) == [2**19 - 1, 1 - 2**19]


def test_vectors_of_other_sums_are_refused():
    addition = PackedSum(KEY, 2, 2)
    one = addition.encrypt([1, 2])
    others = [
        PackedSum(KEY, 3, 2).encrypt([1, 2, 3]),
        PackedVector((*one.ciphertexts, 1), 2, 1),
        PackedVector((), 2, 1),
        PackedVector(one.ciphertexts, 2, 0),
    ]
    for other in others:
        with pytest.raises(InvalidInput, match="does not belong"):
            addition.add(one, other)
    with pytest.raises(InvalidInput, match="2 numbers"):
        addition.encrypt([1])
    with pytest.raises(InvalidInput, match="private key"):
        addition.decrypt(private_key(3072), one)


@pytest.mark.parametrize("sizes", [(0, 1, 20), (1, 0, 20), (1, 1, 1), (1, 1, 2048), (2**32, 1, 20)])
def test_sizes_that_make_no_sum_are_refused(sizes):
    with pytest.raises(InvalidInput):
        PackedSum(KEY, *sizes)


def test_what_was_not_packed_is_refused():
    slots = Slots(24, 85)
    top = 1 << (24 * 85 - 1)
    for plaintexts, length in (
        ([top], 85),
        ([-top - 1 << 1], 85),
        ([], 1),
        ([0, 0], 85),
        ([1 << 24], 1),
        ([], -1),
    ):
        with pytest.raises(VerificationFailed):
            slots.unpack(plaintexts, length)
    for value in (2**23, -(2**23)):
        with pytest.raises(InvalidInput, match="24 bits"):
            slots.pack([value])


def test_vectors_travel():
    addition = PackedSum(KEY, 90, 2)
    vector = addition.encrypt(list(range(90)))
    data = vector.to_bytes(KEY)
    assert len(data) == 8 + 2 * 512
    assert PackedVector.from_bytes(KEY, data) == vector
    for bad in (data[:-1], data[:7], b""):
        with pytest.raises(VerificationFailed):
            PackedVector.from_bytes(KEY, bad)


def test_reals_are_clipped_rounded_and_come_back():
    addition = PackedSum(KEY, 4, 2, bits=20)
    values = addition.encode_reals([0.5, -3.0, 1e-7, 2.0], bound=2.0)
    largest = 2**19 - 1
    assert values == [round(0.25 * largest), -largest, 0, largest]
    back = addition.decode_reals([2 * value for value in values], 2.0)
    assert back == pytest.approx([1.0, -4.0, 0.0, 4.0], abs=2.0 / largest)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_reals_that_are_not_finite_are_refused(bad):
    with pytest.raises(InvalidInput, match="not finite"):
        PackedSum(KEY, 1, 1).encode_reals([bad], 1.0)
    with pytest.raises(InvalidInput, match="bound"):
        PackedSum(KEY, 1, 1).encode_reals([0.0], bad)

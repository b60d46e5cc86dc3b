"""Padding to size classes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustspace.crypto.padding import MINIMUM_BYTES, pad, size_class, unpad
from trustspace.errors import InvalidInput, VerificationFailed


@given(st.integers(0, 2**50))
def test_a_class_holds_its_size_at_little_cost(size):
    padded = size_class(size)
    assert padded >= max(size, MINIMUM_BYTES)
    assert size <= MINIMUM_BYTES or padded <= size * 1.12
    assert size_class(padded) == padded
    assert size_class(size + 1) >= padded


def test_known_classes():
    # Padmé keeps floor(log2(floor(log2 n))) + 1 leading bits: four after the first, up to 64 KiB.
    assert [size_class(n) for n in (0, 1, 4096, 4097, 4352, 4353, 65535, 65536, 65537)] == [
        4096, 4096, 4096, 4352, 4352, 4608, 65536, 65536, 67584,
    ]  # fmt: skip
    with pytest.raises(InvalidInput):
        size_class(-1)


def test_few_classes_for_many_sizes():
    assert len({size_class(n) for n in range(0, 1 << 20, 7)}) < 200


@given(st.binary(max_size=9000))
def test_what_is_padded_reads_back(content):
    padded = pad(content)
    assert len(padded) == size_class(8 + len(content))
    assert padded[:8] == len(content).to_bytes(8)
    assert unpad(padded) == content
    assert unpad(memoryview(bytearray(padded))) == content


def test_contents_of_one_class_have_one_length():
    assert len({len(pad(bytes(n))) for n in range(4089)}) == 1


def test_what_was_not_padded_so_is_refused():
    padded = pad(b"report")
    longer = pad(bytes(5000))
    assert unpad(padded) == b"report"
    for wrong in [
        b"",
        padded[:-1],
        padded + b"\0",
        padded[:-1] + b"\1",
        padded[:14] + b"\1" + padded[15:],
        (4089).to_bytes(8) + padded[8:],
        (2**64 - 1).to_bytes(8) + padded[8:],
        (10).to_bytes(8) + longer[8:],
        padded + bytes(size_class(4097) - 4096),
        padded[:100],
    ]:
        with pytest.raises(VerificationFailed):
            unpad(wrong)


def test_a_shorter_length_shows_what_is_left_in_the_fill():
    padded = pad(b"report")
    with pytest.raises(VerificationFailed, match="zeros"):
        unpad((3).to_bytes(8) + padded[8:])

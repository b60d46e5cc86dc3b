"""Shamir's secret sharing over GF(2^8)."""

import itertools
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trustspace.crypto import shares
from trustspace.crypto.shares import Share, combine, decode_share, encode_share, split
from trustspace.errors import InvalidInput, VerificationFailed


def gf_times(a: int, b: int) -> int:
    """Multiplication as FIPS-197 §4.2 writes it: carry-less product, then division by x^8+x^4+x^3+x+1."""
    product = 0
    for bit in range(8):
        if b >> bit & 1:
            product ^= a << bit
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x11B << (bit - 8)
    return product


def test_products_of_fips_197():
    assert shares._times(0x57, 0x83, 1) == 0xC1
    assert shares._times(0x57, 0x13, 1) == 0xFE
    assert [shares._times(0x57, 1 << n, 1) for n in range(5)] == [0x57, 0xAE, 0x47, 0x8E, 0x07]


def test_all_products_and_inverses_of_the_field():
    every = int.from_bytes(bytes(range(256)))
    for factor in range(256):
        expected = bytes(gf_times(value, factor) for value in range(256))
        assert shares._times(every, factor, 256).to_bytes(256) == expected
    assert all(gf_times(value, shares._inverse(value)) == 1 for value in range(1, 256))


def test_the_published_case():
    # draft-mcgrew-tss-03 §9: secret "test\0", threshold 2, 2 shares.
    secret = bytes.fromhex("7465737400")
    first, second = bytes.fromhex("B9FA07E185"), bytes.fromhex("F5409B4511")
    assert combine([Share(1, first), Share(2, second)], 2) == secret
    # At index 1 a line's value is secret + slope, which gives the slope that was drawn.
    slope = bytes(a ^ b for a, b in zip(first, secret, strict=True))
    assert shares._split(secret, 2, 2, slope) == (Share(1, first), Share(2, second))


@pytest.mark.parametrize("count", range(1, 7))
def test_every_set_of_enough_shares_gives_the_secret(count):
    secret = os.urandom(32)
    for threshold in range(1, count + 1):
        parts = split(secret, threshold, count)
        assert [part.index for part in parts] == list(range(1, count + 1))
        for size in range(threshold, count + 1):
            for chosen in itertools.combinations(parts, size):
                assert combine(chosen, threshold) == secret
                assert combine(chosen[::-1], threshold) == secret
        for size in range(threshold):
            for chosen in itertools.combinations(parts, size):
                with pytest.raises(InvalidInput):
                    combine(chosen, threshold)


@settings(max_examples=40)
@given(st.binary(min_size=1, max_size=40), st.integers(1, 255), st.data())
def test_any_threshold_up_to_255(secret, count, data):
    threshold = data.draw(st.integers(1, min(count, 12)))
    chosen = data.draw(st.permutations(range(count)))[:threshold]
    parts = split(secret, threshold, count)
    assert combine([parts[i] for i in chosen], threshold) == secret


def test_255_of_255():
    secret = os.urandom(4)
    assert combine(split(secret, 255, 255), 255) == secret


def test_fewer_shares_fit_every_secret_equally_well():
    # Exhaustive for one byte and threshold 3: for any two shares seen, each secret has exactly one polynomial
    # (its two coefficients), so the two say nothing about it.
    for secret in (0x00, 0x53, 0xFF):
        seen = set()
        for slope in range(256):
            for curve in range(256):
                at_1 = secret ^ slope ^ curve
                at_3 = secret ^ gf_times(slope, 3) ^ gf_times(curve, gf_times(3, 3))
                seen.add((at_1, at_3))
        assert len(seen) == 256 * 256
    part = shares._split(b"\x53", 3, 3, bytes([0x11, 0x22]))[2]
    assert part.value[0] == 0x53 ^ gf_times(0x11, 3) ^ gf_times(0x22, gf_times(3, 3))


def test_a_lower_threshold_than_the_true_one_gives_something_else():
    secret = os.urandom(16)
    parts = split(secret, 3, 5)
    assert combine(parts[:2], 2) != secret
    with pytest.raises(VerificationFailed):
        combine(parts, 2)


def test_shares_are_fresh():
    assert split(bytes(32), 2, 2) != split(bytes(32), 2, 2)
    assert split(b"secret", 1, 3) == tuple(Share(index, b"secret") for index in (1, 2, 3))


def test_a_wrong_share_is_noticed_when_there_are_more_than_needed():
    secret = os.urandom(32)
    parts = split(secret, 3, 5)
    bad = Share(2, bytes([parts[1].value[0] ^ 1]) + parts[1].value[1:])
    # With exactly enough nothing can tell, which is what the published commitments are for.
    assert combine([parts[0], bad, parts[2]], 3) != secret
    for chosen in itertools.permutations([parts[0], bad, parts[2], parts[4]]):
        with pytest.raises(VerificationFailed):
            combine(chosen, 3)


def test_what_cannot_be_combined_is_refused():
    first, second, _ = split(os.urandom(32), 2, 3)
    for given_shares, threshold in [
        ([], 1),
        ([first], 2),
        ([first, first], 2),
        ([first, Share(1, second.value)], 2),
        ([first, Share(2, second.value[:31])], 2),
        ([first, second], 0),
    ]:
        with pytest.raises(InvalidInput):
            combine(given_shares, threshold)


@pytest.mark.parametrize(
    ("secret", "threshold", "count"),
    [(b"s", 0, 1), (b"s", 2, 1), (b"s", 1, 256), (b"", 1, 1), (bytes((1 << 16) + 1), 1, 1), (b"s", -1, 3)],
)
def test_what_cannot_be_split_is_refused(secret, threshold, count):
    with pytest.raises(InvalidInput):
        split(secret, threshold, count)


@given(st.integers(1, 255), st.binary(min_size=1, max_size=64))
def test_a_share_reads_back(index, value):
    assert decode_share(encode_share(Share(index, value))) == Share(index, value)


def test_what_is_not_a_share_is_refused():
    good = encode_share(Share(1, b"v"))
    assert good == b"TSSHARE1\x01v"
    for wrong in [b"", good[:9], good[:8], b"X" + good[1:], good[:8] + b"\0v", good + bytes(1 << 16)]:
        with pytest.raises(VerificationFailed):
            decode_share(wrong)
    for index in (0, 256, -1):
        with pytest.raises(InvalidInput):
            Share(index, b"v")


def test_a_share_does_not_print_its_value():
    assert "secret" not in repr(Share(1, b"secret"))

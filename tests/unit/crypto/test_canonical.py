"""Canonical JSON, digests and commitments."""

import hashlib
import json
import time
import traceback
from enum import IntEnum, StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustspace.crypto.canonical import (
    MAX_INTEGER,
    canonical_json,
    commit,
    parse_canonical,
    sha256_hex,
    verify_commitment,
)
from trustspace.errors import InvalidInput, VerificationFailed

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def parse(data: bytes, **more):
    return parse_canonical(data, what="The test", **more)


def test_keys_are_sorted_and_nothing_is_wasted():
    value = {"b": [1, {"z": None, "a": True}], "a": "x", "": False}
    assert canonical_json(value) == b'{"":false,"a":"x","b":[1,{"a":true,"z":null}]}'


def test_strings_are_written_as_rfc_8785_writes_them():
    # RFC 8785 §3.2.2.2 and the example of §3.2.3.
    text = "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/"
    assert canonical_json(text) == b'"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'
    control = "".join(map(chr, range(0x20)))
    assert canonical_json(control) == (
        b'"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e\\u000f'
        b"\\u0010\\u0011\\u0012\\u0013\\u0014\\u0015\\u0016\\u0017\\u0018\\u0019\\u001a\\u001b\\u001c\\u001d"
        b'\\u001e\\u001f"'
    )
    assert canonical_json("\x7f\u2028\U0001f600") == '"\x7f\u2028\U0001f600"'.encode()


def test_keys_are_sorted_by_code_point_even_where_rfc_8785_would_not():
    # RFC 8785 §3.2.3's keys; by UTF-16 units U+1F600 would come before U+FB33.
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    written = json.loads(canonical_json(dict.fromkeys(keys, 0)))
    assert list(written) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\ufb33", "\U0001f600"]


def test_enumerations_and_tuples_are_written_as_what_they_hold():
    class Colour(StrEnum):
        RED = "red"

    class Number(IntEnum):
        TWO = 2

    assert canonical_json({Colour.RED: (Colour.RED, Number.TWO)}) == b'{"red":["red",2]}'


@given(values)
def test_what_is_written_reads_back(value):
    assert parse(canonical_json(value)) == value


@given(values)
def test_order_of_insertion_does_not_matter(value):
    def turned(item):
        if isinstance(item, dict):
            return {key: turned(item[key]) for key in reversed(item)}
        return [turned(part) for part in item] if isinstance(item, list) else item

    assert canonical_json(turned(value)) == canonical_json(value)


@given(values, st.data())
def test_changed_bytes_are_refused_or_are_another_value(value, data):
    original = canonical_json(value)
    changed = bytearray(original)
    changed[data.draw(st.integers(0, len(original) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read = parse(bytes(changed))
    except VerificationFailed:
        return
    assert canonical_json(read) == changed
    assert canonical_json(read) != original


@given(st.binary(max_size=40))
def test_any_bytes_are_refused_or_canonical(data):
    try:
        assert canonical_json(parse(data)) == data
    except VerificationFailed:
        pass


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), {"a": [0.5]}, MAX_INTEGER + 1, -MAX_INTEGER - 1, {1: 2}, {None: 1}, b"x", {1, 2},
     "\ud800", {"\udfff": 1}, ["a\udc00"], object()],
)  # fmt: skip
def test_what_has_no_canonical_form_is_refused(value):
    with pytest.raises(InvalidInput):
        canonical_json(value)


def test_a_refusal_names_the_place_and_not_the_value():
    with pytest.raises(InvalidInput) as caught:
        canonical_json({"train": [{"rate": 0.125}]})
    assert "$.train[0].rate" in str(caught.value)
    assert "0.125" not in str(caught.value)
    with pytest.raises(VerificationFailed) as refused:
        parse(b'{"name":"Zhang San" }')
    assert "Zhang" not in str(refused.value)
    for data in (b'{"Zhang San":"\\ud800"}', b'{"Zhang San":1.5}', b'{"Zhang San"'):
        with pytest.raises(VerificationFailed) as refused:
            parse(data)
        assert "Zhang" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "data",
    [
        b"", b" ", b"nul", b"null ", b" null", b"null\n", b"nullnull", b"1.0", b"1e3", b"-0", b"01", b"NaN",
        b"Infinity", b"9007199254740992", b'{"b":1,"a":2}', b'{"a":1,"a":1}', b'{"a":1,"a":2}', b'{"a": 1}',
        b'"\\u0041"', b'"\\/"', b'"\\u000A"', b'"\\u001F"', b'"\\ud800"', b'"\xff"', b"\xef\xbb\xbfnull",
        b"[1,]", b"'a'", b'"a', b'"a\nb"', b"{}{}", "\ufeffnull".encode("utf-16"),
    ],
)  # fmt: skip
def test_what_is_not_canonical_is_refused(data):
    with pytest.raises(VerificationFailed):
        parse(data)


def test_depth_and_size_are_bounded():
    def nested(depth):
        return b"[" * depth + b"]" * depth

    assert parse(nested(64))
    with pytest.raises(VerificationFailed):
        parse(nested(66))
    with pytest.raises(VerificationFailed):
        parse(b"[" * (1 << 20))
    with pytest.raises(VerificationFailed):
        parse(b'{"a":' * 200_000)
    loop: list = []
    loop.append(loop)
    with pytest.raises(InvalidInput):
        canonical_json(loop)
    assert parse(b'"aa"', max_bytes=4) == "aa"
    with pytest.raises(VerificationFailed, match="larger than 4"):
        parse(b'"aaa"', max_bytes=4)


def test_a_long_number_costs_no_time():
    start = time.process_time()
    with pytest.raises(VerificationFailed):
        parse(b"9" * (1 << 20))
    assert time.process_time() - start < 1.0


def test_sha256_of_abc():
    # FIPS 180-4's example.
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_commitment_opens_to_its_content_only():
    salt = bytes(range(32))
    commitment = commit(b"content", salt)
    assert commitment == hashlib.sha256(salt + b"content").hexdigest()
    verify_commitment(commitment, b"content", salt)
    for wrong in [
        (commitment, b"Content", salt),
        (commitment, b"content", bytes(32)),
        (commitment.upper(), b"content", salt),
        (commitment[:-1], b"content", salt),
        ("", b"content", salt),
        ("é", b"content", salt),
        (commitment, b"content", salt[:31]),
    ]:
        with pytest.raises(VerificationFailed):
            verify_commitment(*wrong)


def test_the_boundary_between_salt_and_content_cannot_move():
    salt = bytes(range(32))
    moved_salt, moved_content = salt + b"con", b"tent"
    # The attack on plain concatenation: two openings of one digest.
    assert hashlib.sha256(moved_salt + moved_content).hexdigest() == commit(b"content", salt)
    with pytest.raises(VerificationFailed):
        verify_commitment(commit(b"content", salt), moved_content, moved_salt)
    with pytest.raises(InvalidInput):
        commit(moved_content, moved_salt)


def test_a_plain_hash_can_be_guessed_and_a_commitment_cannot():
    def guess(digest):
        return [str(age) for age in range(120) if sha256_hex(str(age).encode()) == digest]

    assert guess(sha256_hex(b"47")) == ["47"]
    assert guess(commit(b"47", bytes(range(32)))) == []

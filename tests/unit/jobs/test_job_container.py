from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustspace.crypto.canonical import canonical_json
from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.container import MAGIC, RawArtifact, pack, unpack

LIMIT = 1 << 20
names = st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,20}\Z")
artifact_lists = st.lists(
    st.builds(
        RawArtifact,
        names,
        st.sampled_from(["application/json", "text/csv", "x-y/z.1+2"]),
        st.binary(max_size=200),
    ),
    max_size=6,
    unique_by=lambda artifact: artifact.name,
)
TWO = [RawArtifact("a.json", "application/json", b"{}"), RawArtifact("log.txt", "text/plain", b"hello")]


def by_hand(index: object, body: bytes) -> bytes:
    text = canonical_json(index) if not isinstance(index, bytes) else index
    return MAGIC + len(text).to_bytes(4, "little") + text + body


@given(artifact_lists)
def test_what_is_packed_unpacks(artifacts):
    assert unpack(pack(artifacts), max_bytes=LIMIT) == tuple(artifacts)


@given(artifact_lists, st.data())
def test_whatever_parses_repacks_to_the_same_bytes(artifacts, data):
    packed = bytearray(pack(artifacts))
    position = data.draw(st.integers(0, len(packed) - 1))
    packed[position] ^= data.draw(st.integers(1, 255))
    try:
        found = unpack(packed, max_bytes=LIMIT)
    except VerificationFailed:
        return
    assert pack(found) == bytes(packed)


@given(st.binary(max_size=300))
def test_garbage_is_refused_cleanly(data):
    with pytest.raises(VerificationFailed):
        unpack(data, max_bytes=LIMIT)


@pytest.mark.parametrize("cut", [0, 5, 12, 30, -1])
def test_a_truncated_container_is_refused(cut):
    with pytest.raises(VerificationFailed):
        unpack(pack(TWO)[:cut], max_bytes=LIMIT)


def test_appended_bytes_are_refused():
    with pytest.raises(VerificationFailed, match="belong to no artifact"):
        unpack(pack(TWO) + b"\0", max_bytes=LIMIT)


def test_limits_hold():
    packed = pack(TWO)
    assert len(unpack(packed, max_bytes=len(packed))) == 2
    with pytest.raises(VerificationFailed, match="larger than"):
        unpack(packed, max_bytes=len(packed) - 1)
    with pytest.raises(VerificationFailed, match="more than 1 artifacts"):
        unpack(packed, max_artifacts=1, max_bytes=LIMIT)


ENTRY = {"name": "a", "media_type": "text/csv", "bytes": 1}


@pytest.mark.parametrize(
    ("index", "body"),
    [
        ([ENTRY, ENTRY], b"xy"),
        ([{**ENTRY, "name": "../a"}], b"x"),
        ([{**ENTRY, "name": "A"}], b"x"),
        ([{**ENTRY, "name": "a\n"}], b"x"),
        ([{**ENTRY, "media_type": "text"}], b"x"),
        ([{**ENTRY, "bytes": -1}], b""),
        ([{**ENTRY, "bytes": True}], b"x"),
        ([{**ENTRY, "bytes": 2}], b"x"),
        ([{**ENTRY, "more": 1}], b"x"),
        ([{"name": "a", "bytes": 1}], b"x"),
        ({"name": "a"}, b""),
        (b'[ {"bytes":1,"media_type":"text/csv","name":"a"}]', b"x"),
        (b"[" * 5000, b""),
    ],
)
def test_an_index_that_lies_is_refused(index, body):
    with pytest.raises(VerificationFailed):
        unpack(by_hand(index, body), max_bytes=LIMIT)


def test_by_hand_is_what_pack_writes():
    """The control of the test above: without the lie, the same construction is accepted."""
    assert by_hand([ENTRY], b"x") == pack([RawArtifact("a", "text/csv", b"x")])


@pytest.mark.parametrize("name", ["", "A.json", "a/b", ".hidden", "a" * 65, "a\n", "á"])
def test_bad_names_are_not_packed(name):
    with pytest.raises(InvalidInput):
        pack([RawArtifact(name, "text/csv", b"")])

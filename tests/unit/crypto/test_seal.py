"""The seal: its bytes, its sizes and its use chunk by chunk. Attacks are in test_seal_attacks.py."""

import array
import hashlib
import hmac
import io
import json
import mmap
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from trustspace.crypto import seal
from trustspace.crypto.seal import (
    CHUNK_BYTES,
    HEADER_MAX_BYTES,
    TAG_BYTES,
    Opener,
    Sealer,
    iter_opened,
    iter_sealed,
    open_bytes,
    read_header,
    seal_bytes,
    sealed_size,
    take_header,
)
from trustspace.errors import InvalidInput, InvalidTransition, VerificationFailed

KEY = bytes(range(32))
CONTEXT = {"dataset": "ct-2025", "version": 3}
VECTORS = Path(__file__).parents[2] / "vectors" / "seal.json"
SIZES = [
    0,
    1,
    15,
    16,
    17,
    CHUNK_BYTES - 1,
    CHUNK_BYTES,
    CHUNK_BYTES + 1,
    2 * CHUNK_BYTES,
    2 * CHUNK_BYTES + 5,
]


def pattern(size: int) -> bytes:
    """Byte i is (7 * i + i // 256) modulo 256."""
    period = bytes((7 * i + i // 256) % 256 for i in range(1 << 16))
    return (period * (size // len(period) + 1))[:size]


def hkdf(key: bytes, salt: bytes, info: bytes, length: int) -> bytes:  # RFC 5869 §2
    prk = hmac.digest(salt, key, "sha256")
    output = block = b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        output += block
    return output[:length]


def reference_seal(key: bytes, context: dict, salt: bytes, prefix: bytes, plaintext: bytes) -> bytes:
    """The format as the module describes it, written a second time."""
    fields = {"chunk_bytes": 1 << 20, "context": context, "prefix": prefix.hex(), "salt": salt.hex()}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    digest = hashlib.sha256(text).digest()
    material = hkdf(key, salt, b"trustspace seal v1" + digest, 64)
    sealed = b"TSSEAL1\n" + len(text).to_bytes(4, "big") + text + material[32:]
    chunks = [plaintext[i : i + (1 << 20)] for i in range(0, len(plaintext), 1 << 20)] or [b""]
    for number, chunk in enumerate(chunks):
        last = b"\1" if number == len(chunks) - 1 else b"\0"
        sealed += AESGCM(material[:32]).encrypt(prefix + number.to_bytes(4, "big") + last, chunk, digest)
    return sealed


def test_the_primitives_meet_their_published_vectors():
    # RFC 5869 A.1, for both derivations used here.
    salt, info = bytes(range(13)), bytes(range(0xF0, 0xFA))
    okm = bytes.fromhex(
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    assert hkdf(b"\x0b" * 22, salt, info, 42) == okm
    assert HKDF(SHA256(), 42, salt, info).derive(b"\x0b" * 22) == okm
    # McGrew and Viega, "The Galois/Counter Mode of Operation", test case 14.
    expected = bytes.fromhex("cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919")
    assert AESGCM(bytes(32)).encrypt(bytes(12), bytes(16), b"") == expected


@pytest.mark.parametrize("case", json.loads(VECTORS.read_text())["cases"], ids=lambda case: case["name"])
def test_the_committed_vectors(case):
    key, salt, prefix = (bytes.fromhex(case[name]) for name in ("key", "salt", "prefix"))
    plaintext = pattern(case["plain_bytes"])
    sealed = seal._seal_whole(Sealer._fixed(key, case["context"], salt, prefix), plaintext)
    assert sealed == reference_seal(key, case["context"], salt, prefix, plaintext)
    header, used = read_header(sealed)
    assert sealed[:used].hex() == case["header"]
    assert header.digest.hex() == case["header_digest"]
    assert len(sealed) == case["sealed_bytes"]
    assert hashlib.sha256(sealed).hexdigest() == case["sealed_sha256"]
    assert sealed[-40:].hex() == case["sealed_end"]
    assert open_bytes(key, case["context"], sealed) == plaintext


@pytest.mark.parametrize("size", SIZES)
def test_sizes_around_a_chunk(size):
    plaintext = pattern(size)
    sealed = seal_bytes(KEY, CONTEXT, plaintext)
    header, used = read_header(sealed)
    assert header.context == CONTEXT
    assert len(sealed) == sealed_size(size, used)
    assert open_bytes(KEY, CONTEXT, sealed) == plaintext


@settings(max_examples=30)
@given(
    st.binary(max_size=300),
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=9),
        st.text(st.characters(codec="utf-8"), max_size=9) | st.integers(-(2**53) + 1, 2**53 - 1),
        max_size=4,
    ),
)
def test_any_bytes_and_any_context(plaintext, context):
    assert open_bytes(KEY, context, seal_bytes(KEY, context, plaintext)) == plaintext


def test_the_same_twice_has_nothing_in_common():
    first, second = seal_bytes(KEY, CONTEXT, b"x" * 64), seal_bytes(KEY, CONTEXT, b"x" * 64)
    assert read_header(first)[0].salt != read_header(second)[0].salt
    assert read_header(first)[0].prefix != read_header(second)[0].prefix
    assert first[-80:] != second[-80:]


def test_every_chunk_has_its_own_nonce():
    sealed = seal_bytes(KEY, CONTEXT, bytes(3 * CHUNK_BYTES))
    _, used = read_header(sealed)
    step = CHUNK_BYTES + TAG_BYTES
    assert len({sealed[i : i + step] for i in range(used, len(sealed), step)}) == 3


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [1 << 24, 65537])
def test_streams_whatever_pieces_they_come_in(size, piece):
    plaintext = pattern(size)
    source = io.BytesIO(plaintext)
    sealed = b"".join(iter_sealed(Sealer(KEY, CONTEXT), lambda n: source.read(min(n, piece))))
    assert len(sealed) == sealed_size(size, read_header(sealed)[1])
    stream = io.BytesIO(sealed)

    def read(n):
        return stream.read(min(n, piece))

    opener = Opener(KEY, take_header(read), CONTEXT)
    assert b"".join(iter_opened(opener, read)) == plaintext
    opener.finish()
    assert open_bytes(KEY, CONTEXT, sealed) == plaintext


def test_any_contiguous_buffer_can_be_sealed():
    content = bytes(range(64))
    with mmap.mmap(-1, 64) as mapped:
        mapped[:] = content
        numbers = array.array("Q")
        numbers.frombytes(content)
        sealed = [
            seal._seal_whole(Sealer._fixed(KEY, {}, bytes(32), bytes(7)), buffer)
            for buffer in (content, bytearray(content), memoryview(content), mapped, numbers)
        ]
        shaped = memoryview(content).cast("B", (8, 8))
        sealed.append(seal._seal_whole(Sealer._fixed(KEY, {}, bytes(32), bytes(7)), shaped))
    assert len(set(sealed)) == 1
    assert open_bytes(KEY, {}, bytearray(sealed[0])) == content
    with pytest.raises(InvalidInput, match="one piece"):
        Sealer(KEY, {}).seal(memoryview(content)[::2], last=True)


def test_in_place_buffers_hold_the_same_bytes():
    plaintext = pattern(2 * CHUNK_BYTES + 10)
    one, two = (Sealer._fixed(KEY, CONTEXT, bytes(32), bytes(7)) for _ in range(2))
    out = bytearray(CHUNK_BYTES + TAG_BYTES + 3)
    back = bytearray(len(plaintext))
    opener = Opener(KEY, one.header, CONTEXT)
    at = 0
    for start in range(0, len(plaintext), CHUNK_BYTES):
        chunk = memoryview(plaintext)[start : start + CHUNK_BYTES]
        last = len(chunk) < CHUNK_BYTES
        written = two.seal_into(chunk, out, last=last)
        assert out[:written] == one.seal(chunk, last=last)
        at += opener.open_into(memoryview(out)[:written], memoryview(back)[at:], last=last)
    opener.finish()
    assert at == len(plaintext)
    assert back == plaintext
    assert out[-3:] == bytes(3)


def test_a_buffer_that_cannot_take_the_chunk_changes_nothing():
    sealer = Sealer(KEY, CONTEXT)
    for out in (bytearray(20), bytes(100)):
        with pytest.raises(InvalidInput, match="output buffer"):
            sealer.seal_into(b"12345", out, last=True)
    sealed = sealer.seal(b"12345", last=True)
    opener = Opener(KEY, sealer.header, CONTEXT)
    for out in (bytearray(4), bytes(100)):
        with pytest.raises(InvalidInput, match="output buffer"):
            opener.open_into(sealed, out, last=True)
    assert opener.open(sealed, last=True) == b"12345"


def test_only_full_chunks_and_one_end():
    for size, last in [(0, False), (5, False), (CHUNK_BYTES - 1, False), (CHUNK_BYTES + 1, False),
                       (CHUNK_BYTES + 1, True)]:  # fmt: skip
        with pytest.raises(InvalidInput):
            Sealer(KEY, CONTEXT).seal(bytes(size), last=last)
    sealer = Sealer(KEY, CONTEXT)
    sealer.seal(bytes(CHUNK_BYTES), last=False)
    with pytest.raises(InvalidInput):
        sealer.seal(b"", last=True)
    sealer.seal(b"x", last=True)
    for last in (False, True):
        with pytest.raises(InvalidTransition):
            sealer.seal(bytes(CHUNK_BYTES), last=last)
        with pytest.raises(InvalidTransition):
            sealer.seal_into(b"x", bytearray(99), last=last)


def test_the_number_of_chunks_is_bounded():
    sealer = Sealer(KEY, CONTEXT)
    opener = Opener(KEY, sealer.header, CONTEXT)
    sealer._count = opener._count = seal.MAX_CHUNKS - 1
    assert opener.open(sealer.seal(bytes(CHUNK_BYTES), last=False), last=False) == bytes(CHUNK_BYTES)
    with pytest.raises(InvalidInput, match="at most"):
        sealer.seal(b"x", last=True)
    # Not even a chunk that is right for that place.
    header = opener.header
    beyond = opener._aead.encrypt(seal._nonce(header.prefix, seal.MAX_CHUNKS, last=True), b"x", header.digest)
    with pytest.raises(VerificationFailed):
        opener.open(beyond, last=True)
    opener._count = seal.MAX_CHUNKS - 1
    right = opener._aead.encrypt(seal._nonce(header.prefix, opener._count, last=True), b"x", header.digest)
    assert opener.open(right, last=True) == b"x"


@pytest.mark.parametrize("key", [b"", bytes(16), bytes(31), bytes(33), bytes(64)])
def test_a_data_key_has_32_bytes(key):
    with pytest.raises(InvalidInput, match="32 bytes"):
        Sealer(key, CONTEXT)
    with pytest.raises(InvalidInput, match="32 bytes"):
        Opener(key, Sealer(KEY, CONTEXT).header, CONTEXT)


@pytest.mark.parametrize("value", [True, None, 1.5, b"x", ["a"], {"a": 1}, 2**53, "\ud800"])
def test_a_context_holds_strings_and_integers(value):
    with pytest.raises(InvalidInput):
        Sealer(KEY, {"field": value})


def test_a_header_is_bounded():
    largest = HEADER_MAX_BYTES - len(Sealer(KEY, {"a": ""}).header)
    header = Sealer(KEY, {"a": "x" * largest}).header
    assert len(header) == HEADER_MAX_BYTES
    assert read_header(header)[1] == HEADER_MAX_BYTES
    with pytest.raises(InvalidInput, match="longer than"):
        Sealer(KEY, {"a": "x" * (largest + 1)})


def test_a_header_can_be_read_without_a_key():
    sealer = Sealer._fixed(KEY, CONTEXT, b"s" * 32, b"p" * 7)
    header, used = read_header(sealer.header + b"chunks follow")
    assert used == len(sealer.header)
    assert (header.context, header.salt, header.prefix) == (CONTEXT, b"s" * 32, b"p" * 7)
    assert header.commitment == sealer.header[-32:]
    assert header.digest == hashlib.sha256(sealer.header[12:-32]).digest()

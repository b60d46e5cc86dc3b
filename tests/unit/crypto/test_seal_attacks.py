"""What someone who holds sealed bytes, but not the data key, may try; and what works without the defence.

Every attack is a change to a list of chunks or bytes. It is tried on the seal, where it must fail however the
object is opened, and (the positive control) on a plain chunked AES-GCM, where it must succeed: the reader
there accepts a content that nobody sealed.
"""

import io
import os

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trustspace.crypto import seal
from trustspace.crypto.seal import (
    CHUNK_BYTES,
    TAG_BYTES,
    Opener,
    Sealer,
    iter_opened,
    open_bytes,
    read_header,
    seal_bytes,
    take_header,
)
from trustspace.errors import VerificationFailed

KEY = b"k" * 32
CONTEXT = {"dataset": "ct", "version": 1}
STEP = CHUNK_BYTES + TAG_BYTES
PLAINTEXT = b"".join(bytes([n]) * CHUNK_BYTES for n in range(3)) + b"tail"


def parts_of(sealed: bytes) -> list[bytes]:
    """The header and each chunk."""
    _, used = read_header(sealed)
    return [sealed[:used], *(sealed[at : at + STEP] for at in range(used, len(sealed), STEP))]


def open_stream(key, context, sealed: bytes) -> bytes:
    stream = io.BytesIO(sealed)
    opener = Opener(key, take_header(stream.read), context)
    content = b"".join(iter_opened(opener, stream.read))
    opener.finish()
    return content


def open_in_place(key, context, sealed: bytes) -> bytes:
    header, *chunks = parts_of(sealed)
    opener = Opener(key, header, context)
    out = bytearray(len(sealed))
    at = 0
    for number, chunk in enumerate(chunks):
        at += opener.open_into(chunk, memoryview(out)[at:], last=number == len(chunks) - 1)
    opener.finish()
    return bytes(out[:at])


WAYS = [open_bytes, open_stream, open_in_place]


def refused(sealed: bytes, key: bytes = KEY, context=None) -> None:
    for way in WAYS:
        with pytest.raises(VerificationFailed):
            way(key, CONTEXT if context is None else context, sealed)


class Naive:
    """Chunked AES-GCM with a random nonce before each chunk: each chunk authentic, the whole not."""

    @staticmethod
    def seal(key: bytes, plaintext: bytes) -> list[bytes]:
        sealed = []
        for at in range(0, len(plaintext), CHUNK_BYTES):
            nonce = os.urandom(12)
            sealed.append(nonce + AESGCM(key).encrypt(nonce, plaintext[at : at + CHUNK_BYTES], b""))
        return sealed

    @staticmethod
    def open(key: bytes, chunks: list[bytes]) -> bytes:
        return b"".join(AESGCM(key).decrypt(chunk[:12], chunk[12:], b"") for chunk in chunks)


@pytest.fixture(scope="module")
def sealed():
    return seal_bytes(KEY, CONTEXT, PLAINTEXT)


@pytest.fixture(scope="module")
def other():
    """Another version of the dataset under the same data key."""
    return seal_bytes(KEY, CONTEXT, bytes(reversed(PLAINTEXT)))


ATTACKS = {
    "drop the last chunk": lambda a, b: a[:-1],
    "drop the last two chunks": lambda a, b: a[:-2],
    "drop the first chunk": lambda a, b: a[1:],
    "drop a middle chunk": lambda a, b: [a[0], *a[2:]],
    "swap two chunks": lambda a, b: [a[1], a[0], *a[2:]],
    "reverse the full chunks": lambda a, b: [a[2], a[1], a[0], a[3]],
    "repeat a chunk": lambda a, b: [a[0], a[0], *a[1:]],
    "repeat a chunk in place of another": lambda a, b: [a[0], a[0], *a[2:]],
    "repeat the last chunk": lambda a, b: [*a, a[-1]],
    "take one chunk from another object": lambda a, b: [a[0], b[1], *a[2:]],
    "take the last chunk from another object": lambda a, b: [*a[:-1], b[-1]],
    "take all chunks of another object": lambda a, b: b,
    "append another object's chunks": lambda a, b: [*a, *b],
    "no chunk at all": lambda a, b: [],
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_moving_chunks_about(sealed, other, attack):
    naive, naive_other = Naive.seal(KEY, PLAINTEXT), Naive.seal(KEY, bytes(reversed(PLAINTEXT)))
    assert Naive.open(KEY, naive) == PLAINTEXT
    assert Naive.open(KEY, attack(naive, naive_other)) != PLAINTEXT  # accepted: the attack works there

    header, *chunks = parts_of(sealed)
    for way in WAYS:
        assert way(KEY, CONTEXT, sealed) == PLAINTEXT
    refused(b"".join([header, *attack(chunks, parts_of(other)[1:])]))


@pytest.mark.parametrize("cut", [1, 3, 4, TAG_BYTES, TAG_BYTES + 1, TAG_BYTES + 4, STEP, STEP + 20, 2 * STEP])
def test_cutting_off_bytes(sealed, cut):
    refused(sealed[:-cut])


def test_cutting_off_at_every_byte_of_a_small_object():
    small = seal_bytes(KEY, CONTEXT, b"secret")
    for size in range(len(small)):
        for way in (open_bytes, open_stream):
            with pytest.raises(VerificationFailed):
                way(KEY, CONTEXT, small[:size])


@pytest.mark.parametrize("tail", [b"\0", b"\0" * TAG_BYTES, b"\0" * STEP, b"x" * (CHUNK_BYTES - 4)])
def test_appending_bytes(sealed, tail):
    refused(sealed + tail)


def test_appending_after_a_full_last_chunk():
    full = seal_bytes(KEY, CONTEXT, bytes(CHUNK_BYTES))
    assert open_bytes(KEY, CONTEXT, full) == bytes(CHUNK_BYTES)
    refused(full + b"\0")
    # An empty last chunk that the key's owner made for the same place: GCM would accept its bytes.
    header, used = read_header(full)
    file_key, _ = seal._derive(KEY, header.salt, header.digest)
    aead = AESGCM(file_key)
    not_last = aead.encrypt(seal._nonce(header.prefix, 0, last=False), bytes(CHUNK_BYTES), header.digest)
    empty = aead.encrypt(seal._nonce(header.prefix, 1, last=True), b"", header.digest)
    assert aead.decrypt(seal._nonce(header.prefix, 1, last=True), empty, header.digest) == b""
    refused(full[:used] + not_last + empty)


def test_an_object_that_goes_on_after_its_last_chunk():
    header, chunk = parts_of(seal_bytes(KEY, CONTEXT, b"end"))
    opener = Opener(KEY, header, CONTEXT)
    with pytest.raises(VerificationFailed, match="cut off"):
        opener.finish()
    assert opener.open(chunk, last=True) == b"end"
    opener.finish()
    for last in (False, True):
        with pytest.raises(VerificationFailed, match="goes on"):
            opener.open(chunk, last=last)


def test_a_middle_chunk_does_not_pass_as_the_last_nor_the_last_as_a_middle_one(sealed):
    header, first, second, *_ = parts_of(sealed)
    opener = Opener(KEY, header, CONTEXT)
    with pytest.raises(VerificationFailed):
        opener.open(first, last=True)
    assert opener.open(first, last=False) == PLAINTEXT[:CHUNK_BYTES]  # a failure leaves it as it was
    with pytest.raises(VerificationFailed):
        opener.open(second, last=True)
    with pytest.raises(VerificationFailed):
        opener.finish()
    full = parts_of(seal_bytes(KEY, CONTEXT, bytes(CHUNK_BYTES)))
    with pytest.raises(VerificationFailed):
        Opener(KEY, full[0], CONTEXT).open(full[1], last=False)


def test_every_flipped_bit_of_a_small_object():
    small = seal_bytes(KEY, CONTEXT, b"twelve bytes")
    assert open_bytes(KEY, CONTEXT, small) == b"twelve bytes"
    changed = bytearray(small)
    for position in range(len(small) * 8):
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(VerificationFailed):
            open_bytes(KEY, CONTEXT, changed)
        changed[position // 8] ^= 1 << position % 8


def test_flipped_bits_around_every_boundary_of_a_large_object(sealed):
    _, used = read_header(sealed)
    changed = bytearray(sealed)
    for start in range(used, len(sealed), STEP):
        for offset in (0, 1, CHUNK_BYTES // 2, CHUNK_BYTES - 1, CHUNK_BYTES, STEP - 1):
            at = min(start + offset, len(sealed) - 1)
            changed[at] ^= 0x10
            with pytest.raises(VerificationFailed):
                open_bytes(KEY, CONTEXT, changed)
            changed[at] ^= 0x10
    assert open_bytes(KEY, CONTEXT, changed) == PLAINTEXT


def test_a_wrong_key_is_noticed_before_any_chunk(sealed):
    header = parts_of(sealed)[0]
    for key in (b"j" * 32, bytes(32), KEY[:31] + b"\0"):
        with pytest.raises(VerificationFailed, match="this key"):
            Opener(key, header, CONTEXT)
        refused(sealed, key=key)


@pytest.mark.parametrize(
    "context",
    [{}, {"dataset": "ct"}, {"dataset": "ct", "version": 2}, {"dataset": "ct", "version": "1"},
     {"dataset": "CT", "version": 1}, {"dataset": "ct", "version": 1, "more": 0}],
)  # fmt: skip
def test_another_context_is_refused(sealed, context):
    with pytest.raises(VerificationFailed, match="something else"):
        Opener(KEY, parts_of(sealed)[0], context)
    refused(sealed, context=context)


def test_a_header_that_claims_another_context_is_refused(sealed):
    header, *chunks = parts_of(sealed)
    claimed = header.replace(b'"version":1', b'"version":2')
    assert read_header(claimed)[0].context["version"] == 2  # well formed, so only the key can tell
    refused(b"".join([claimed, *chunks]), context={"dataset": "ct", "version": 2})


def test_another_objects_header_is_refused(sealed, other):
    refused(b"".join([parts_of(other)[0], *parts_of(sealed)[1:]]))


def header_with(text: bytes, commitment: bytes = bytes(32)) -> bytes:
    return b"TSSEAL1\n" + len(text).to_bytes(4) + text + commitment


GOOD = (
    b'{"chunk_bytes":1048576,"context":{},"prefix":"00000000000000","salt":"' + b"00" * 32 + b'"}'
)  # the smallest header JSON there is


def test_the_control_for_malformed_headers():
    assert read_header(header_with(GOOD))[1] == 12 + len(GOOD) + 32


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"TSSEAL1",
        b"TSSEAL2\n" + header_with(GOOD)[8:],
        b"TSSEAL1\n\0\0\0",
        b"TSSEAL1\n\xff\xff\xff\xff" + bytes(100),
        b"TSSEAL1\n\0\0\x1f\xf0" + bytes(9000),
        header_with(GOOD)[:-1],
        header_with(b""),
        header_with(b"{}"),
        header_with(b"[]"),
        header_with(GOOD.replace(b"1048576", b"1048577")),
        header_with(GOOD.replace(b"1048576", b"0")),
        header_with(GOOD.replace(b"1048576", b'"1048576"')),
        header_with(GOOD.replace(b"{}", b"[]")),
        header_with(GOOD.replace(b"{}", b'{"a":null}')),
        header_with(GOOD.replace(b"{}", b'{"a":true}')),
        header_with(GOOD.replace(b"{}", b'{"a":{}}')),
        header_with(GOOD.replace(b"{}", b'{"a":1.0}')),
        header_with(GOOD.replace(b"{}", b'{"a":1,"a":1}')),
        header_with(GOOD.replace(b"{}", b"{ }")),
        header_with(GOOD.replace(b'"00000000000000"', b'"000000000000"')),
        header_with(GOOD.replace(b'"00000000000000"', b'"0000000000000g"')),
        header_with(GOOD.replace(b'"00000000000000"', b'"0000000000000A"')),
        header_with(GOOD.replace(b'"00000000000000"', b'"00 00000000000"')),
        header_with(GOOD.replace(b'"00000000000000"', b"0")),
        header_with(GOOD.replace(b'"salt"', b'"sole"')),
        header_with(GOOD[:-1] + b',"zone":1}'),
    ],
)
def test_malformed_headers_are_refused(data):
    with pytest.raises(VerificationFailed):
        read_header(data)
    with pytest.raises(VerificationFailed):
        open_bytes(KEY, {}, data)
    with pytest.raises(VerificationFailed):
        Opener(KEY, take_header(io.BytesIO(data).read), {})


def test_bytes_after_the_header_are_not_part_of_it(sealed):
    with pytest.raises(VerificationFailed, match="follow"):
        Opener(KEY, parts_of(sealed)[0] + b"\0", CONTEXT)


def test_what_fails_to_open_in_place_leaves_zeros_behind():
    header, chunk = parts_of(seal_bytes(KEY, CONTEXT, b"a patient's name"))
    forged = chunk[:-1] + bytes([chunk[-1] ^ 1])
    # What the library leaves in the buffer on its own: the plaintext, never verified.
    fields, _ = read_header(header)
    file_key, _ = seal._derive(KEY, fields.salt, fields.digest)
    out = bytearray(b"x" * 20)
    with pytest.raises(InvalidTag):
        AESGCM(file_key).decrypt_into(
            seal._nonce(fields.prefix, 0, last=True), forged, fields.digest, memoryview(out)[:16]
        )
    assert out[:16] == b"a patient's name"
    out = bytearray(b"x" * 20)
    with pytest.raises(VerificationFailed):
        Opener(KEY, header, CONTEXT).open_into(forged, out, last=True)
    assert out == bytes(16) + b"xxxx"


# GCM's universal hash (NIST SP 800-38D §6.3, 6.4), to build one ciphertext for two keys.


def gf_times(left: int, right: int) -> int:
    product = 0
    for bit in range(127, -1, -1):
        if right >> bit & 1:
            product ^= left
        left = (left >> 1) ^ (0xE1 << 120 if left & 1 else 0)
    return product


def gf_power(base: int, exponent: int) -> int:
    result = 1 << 127  # the field's one, in GCM's bit order
    while exponent:
        if exponent & 1:
            result = gf_times(result, base)
        base = gf_times(base, base)
        exponent >>= 1
    return result


def block(key: bytes, data: bytes) -> int:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return int.from_bytes(encryptor.update(data) + encryptor.finalize())


def ciphertext_for_two_keys(one: bytes, two: bytes, nonce: bytes, aad: bytes) -> bytes:
    """One block and its tag that authenticate under both keys.

    With two blocks of associated data the tag is A1 H^4 + A2 H^3 + X H^2 + L H + E(nonce): linear in the
    ciphertext block X, so that equating both keys' tags gives X (Dodis et al. 2018, §3).
    """
    lengths = (len(aad) * 8).to_bytes(8) + (128).to_bytes(8)

    def constant_and_square(key):
        h = block(key, bytes(16))
        total = block(key, nonce + (1).to_bytes(4))
        for power, part in ((4, aad[:16]), (3, aad[16:]), (1, lengths)):
            total ^= gf_times(int.from_bytes(part), gf_power(h, power))
        return total, gf_power(h, 2)

    (constant_1, square_1), (constant_2, square_2) = constant_and_square(one), constant_and_square(two)
    unknown = gf_times(constant_1 ^ constant_2, gf_power(square_1 ^ square_2, 2**128 - 2))
    return unknown.to_bytes(16) + (constant_1 ^ gf_times(unknown, square_1)).to_bytes(16)


def test_one_ciphertext_for_two_keys():
    salt, prefix = os.urandom(32), os.urandom(7)
    one, two = b"1" * 32, b"2" * 32
    sealers = [Sealer._fixed(key, CONTEXT, salt, prefix) for key in (one, two)]
    fields, used = read_header(sealers[0].header)
    keys = [seal._derive(key, salt, fields.digest)[0] for key in (one, two)]
    nonce = seal._nonce(prefix, 0, last=True)
    chunk = ciphertext_for_two_keys(*keys, nonce, fields.digest)

    # Without the commitment the attack works: both reviewers' keys open it, to different contents.
    contents = [AESGCM(key).decrypt(nonce, chunk, fields.digest) for key in keys]
    assert contents[0] != contents[1]

    # With it, the header has to say which key it is, and only that one opens.
    for sealer, key, content, wrong in [
        (sealers[0], one, contents[0], two),
        (sealers[1], two, contents[1], one),
    ]:
        assert open_bytes(key, CONTEXT, sealer.header + chunk) == content
        with pytest.raises(VerificationFailed, match="this key"):
            open_bytes(wrong, CONTEXT, sealer.header + chunk)
    assert sealers[0].header[: used - 32] == sealers[1].header[: used - 32]
    assert sealers[0].header[-32:] != sealers[1].header[-32:]

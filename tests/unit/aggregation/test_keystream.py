"""The key stream, against published vectors and against plain counter mode."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from trustspace.aggregation.blocks import BLOCK_WORDS
from trustspace.aggregation.keystream import SEGMENT_WORDS, Buffer, KeyStream


def counter_mode(key, start, count):
    """The same words by AES-256 in counter mode, block by block as the module's text defines them."""
    words = []
    for segment in range(start // SEGMENT_WORDS, -(-(start + count) // SEGMENT_WORDS)):
        first = max(start, segment * SEGMENT_WORDS) % SEGMENT_WORDS
        last = min(start + count, (segment + 1) * SEGMENT_WORDS) - segment * SEGMENT_WORDS
        block = segment.to_bytes(12) + (2 + first // 4).to_bytes(4)
        encryptor = Cipher(algorithms.AES256(key), modes.CTR(block)).encryptor()
        data = encryptor.update(bytes(4 * (last - first // 4 * 4)))
        words.append(np.frombuffer(data, "<u4")[first % 4 :])
    return np.concatenate(words)


def read(stream, start, count):
    pieces = [
        stream.read(at, min(BLOCK_WORDS, start + count - at)).copy()
        for at in range(start, start + count, BLOCK_WORDS)
    ]
    return np.concatenate(pieces)


def test_vector_of_the_gcm_specification():
    # McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test case 14: key, nonce and
    # plaintext all zero, so the ciphertext is the stream's first block.
    words = KeyStream(bytes(32), Buffer()).read(0, 4)
    assert words.astype("<u4").tobytes().hex() == "cea7403d4d606b6e074ec5d3baf39d18"


@pytest.mark.parametrize(
    ("start", "count"),
    [
        (0, 3 * BLOCK_WORDS + 5),
        (1, 9),
        (SEGMENT_WORDS - 3, 7),
        (SEGMENT_WORDS, 4),
        (SEGMENT_WORDS + 4 * 7 + 2, BLOCK_WORDS + 1),
        (5 * 10**8 + 3, 100),
        (2**40 + 1, 5),
    ],
)
def test_it_is_plain_counter_mode_from_any_position(start, count):
    key = bytes(range(32))
    assert np.array_equal(read(KeyStream(key, Buffer()), start, count), counter_mode(key, start, count))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3 * SEGMENT_WORDS), st.integers(0, 300)), max_size=8))
def test_jumping_about_gives_the_same_words(places):
    key = b"\x07" * 32
    stream = KeyStream(key, Buffer())
    for start, count in places:
        expected = counter_mode(key, start, count) if count else np.zeros(0, np.uint32)
        assert np.array_equal(stream.read(start, count), expected)


def test_streams_of_two_keys_share_a_buffer():
    buffer = Buffer()
    one, two = KeyStream(b"1" * 32, buffer), KeyStream(b"2" * 32, buffer)
    for at in range(0, 4000, 1000):
        assert np.array_equal(one.read(at, 1000), counter_mode(b"1" * 32, at, 1000))
        assert np.array_equal(two.read(at, 1000), counter_mode(b"2" * 32, at, 1000))

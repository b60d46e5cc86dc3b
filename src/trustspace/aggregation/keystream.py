"""A reproducible stream of uniform 32-bit words from a 32-byte key, from any position on.

AES-256 in counter mode (NIST SP 800-38A, 6.5). Word p belongs to segment s = p div 2^18; a segment's counter
blocks are s in 96 bits and a counter from 2 in 32, both big-endian, and words are little-endian. These
blocks are the ones that AES-256-GCM encrypts under nonce s (SP 800-38D, 6.5 and 7.1). So the stream is drawn
through GCM: OpenSSL encrypts that twice as fast as plain counter mode where there are vector AES
instructions. The tag is never used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from trustspace.aggregation.blocks import BLOCK_WORDS

SEGMENT_WORDS = 1 << 18
_ZEROS = memoryview(bytes(BLOCK_WORDS * 4))
# The library asks for room beyond what it writes.
_SLACK_BYTES = 16


class Buffer:
    """Room for one block of key stream, shared by the streams of one thread."""

    def __init__(self) -> None:
        self.raw = np.zeros(BLOCK_WORDS * 4 + _SLACK_BYTES, np.uint8)
        self.words: NDArray[np.uint32] = self.raw[: BLOCK_WORDS * 4].view("<u4")
        self.view = self.raw.data


class KeyStream:
    """The stream of one key; it is fastest read on from where it was left."""

    def __init__(self, key: bytes, buffer: Buffer) -> None:
        self._key = algorithms.AES256(key)
        self._buffer = buffer
        self._position = -1
        self._context: Any = None

    def read(self, position: int, count: int) -> NDArray[np.uint32]:
        """``count`` <= BLOCK_WORDS words from ``position`` on, valid until the buffer is next used."""
        done = 0
        while done < count:
            self._seek(position + done)
            left = SEGMENT_WORDS - self._position % SEGMENT_WORDS
            step = min(count - done, left)
            self._context.update_into(_ZEROS[: step * 4], self._buffer.view[done * 4 :])
            self._position += step
            done += step
        return self._buffer.words[:count]

    def _seek(self, position: int) -> None:
        inside = position % SEGMENT_WORDS
        if position == self._position and inside:
            return
        nonce = (position // SEGMENT_WORDS).to_bytes(12)
        self._context = Cipher(self._key, modes.GCM(nonce)).encryptor()
        for at in range(0, inside, BLOCK_WORDS):
            self._context.update(_ZEROS[: min(BLOCK_WORDS, inside - at) * 4])
        self._position = position

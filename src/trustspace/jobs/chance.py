"""Chance from 32 secret bytes, for training with differential privacy: who takes part, which row, how much noise.

SHAKE-256 (FIPS 202) of the seed, a purpose and a step gives each draw its own bytes: a keyed sponge is a pseudorandom
function (Bertoni et al., "On the security of the keyed sponge construction", 2011). Whoever has the seed gets the same
draws again; nobody else can tell them from chance.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

GENERATOR = "shake-256"
SEED_BYTES = 32
_SUMMANDS = 4
Floats = NDArray[np.float64]


class Chance:
    """Draws for one training, each by a purpose and a number that are used once."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError("a seed has 32 bytes")
        self._seed = bytes(seed)

    def words(self, purpose: str, number: int, count: int) -> NDArray[np.uint64]:
        """``count`` uniform 64-bit words, the same for the same arguments."""
        name = purpose.encode()
        block = b"trustspace chance v1" + self._seed + bytes([len(name)]) + name + number.to_bytes(8)
        return np.frombuffer(hashlib.shake_256(block).digest(8 * count), dtype="<u8")

    def uniform(self, purpose: str, number: int, count: int) -> Floats:
        """``count`` numbers from 0 to below 1, multiples of 2^-53."""
        drawn: Floats = (self.words(purpose, number, count) >> np.uint64(11)) * np.float64(2.0**-53)
        return drawn

    def normal(self, purpose: str, number: int, count: int) -> Floats:
        """``count`` numbers of the standard normal distribution.

        Each is half the sum of four (Box and Muller 1958, from uniform numbers of 53 bits), so that the last bits of a
        noisy sum do not give away which uniform number was behind it: Mironov 2012; Holohan and Braghin, "Secure Random
        Sampling in Differential Privacy" (2021), section 5.1, with n = 2 as Opacus' secure mode has it.
        """
        pairs = -(-count // 2)
        first, second = self.uniform(purpose, number, 2 * _SUMMANDS * pairs).reshape(2, _SUMMANDS, pairs)
        length = np.sqrt(-2.0 * np.log1p(-first))
        angle = 2.0 * np.pi * second
        each = np.concatenate([length * np.cos(angle), length * np.sin(angle)], axis=1)
        total: Floats = each.sum(axis=0)[:count] / np.sqrt(_SUMMANDS)
        return total

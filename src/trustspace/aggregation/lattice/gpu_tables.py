"""What the kernels of the lattice sum for graphics cards are given: keys, roots and secrets in their forms."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from trustspace.aggregation.lattice.parameters import LatticeParameters

Table = NDArray[np.uint32]
ROUNDS = 10


@cache
def substitution() -> NDArray[np.uint8]:
    """SubBytes of 0..255 (FIPS 197, 5.1.1): the inverse in GF(2^8), then an affine map."""
    power, inverse_power = 1, 1
    box = np.zeros(256, np.uint8)
    box[0] = 0x63
    # 3 generates the multiplicative group, and 0xF6 is its inverse.
    for _ in range(255):
        box[power] = 0x63 ^ inverse_power
        for turn in range(1, 5):
            box[power] ^= (inverse_power << turn | inverse_power >> (8 - turn)) & 0xFF
        power = _times(power, 3)
        inverse_power = _times(inverse_power, 0xF6)
    box.flags.writeable = False
    return box


def schedule(key: bytes) -> NDArray[np.uint8]:
    """The eleven round keys of AES-128 (FIPS 197, 5.2): [11, 16]."""
    box = substitution()
    words = np.zeros((4 * (ROUNDS + 1), 4), np.uint8)
    words[:4] = np.frombuffer(key, np.uint8).reshape(4, 4)
    constant = 1
    for i in range(4, len(words)):
        word = words[i - 1]
        if i % 4 == 0:
            word = box[np.roll(word, -1)]
            word[0] ^= constant
            constant = _times(constant, 2)
        words[i] = words[i - 4] ^ word
    return words.reshape(ROUNDS + 1, 16)


def key_words(key: bytes) -> Table:
    """The round keys as 44 little-endian words, for ``repair_kernel``."""
    return schedule(key).reshape(-1).view("<u4").astype(np.uint32)


def key_planes(key: bytes) -> Table:
    """The round keys as [11 * 128] planes, all ones or all zeros: byte by byte, least significant bit first.

    SubBytes' constant 0x63, which ``substitute`` leaves out, is in them: ShiftRows and MixColumns keep a state
    whose bytes are all alike as it is.
    """
    keys = schedule(key)
    keys[1:] ^= 0x63
    bits = keys.reshape(-1, 1) >> np.arange(8, dtype=np.uint8) & 1
    return (np.uint32(0) - bits.astype(np.uint32)).reshape(-1)


@cache
def round_table() -> Table:
    """SubBytes and MixColumns of a byte in row 0: 256 columns as little-endian words."""
    box = substitution().astype(np.uint32)
    double = (box << 1 ^ (box >> 7) * 0x11B).astype(np.uint32)
    table = double | box << 8 | box << 16 | (double ^ box) << 24
    return table.astype(np.uint32)


def montgomery(values: NDArray[np.uint64], prime: int) -> Table:
    """``values``, residues [n], as factors for ``multiply``: [2, n]."""
    factors = (values << np.uint64(32)) % np.uint64(prime)
    quotients = factors * np.uint64(pow(prime, -1, 1 << 32)) & np.uint64(0xFFFFFFFF)
    return np.stack([factors, quotients]).astype(np.uint32)


def secret_table(parameters: LatticeParameters, secret: Table) -> Table:
    """A secret, divided by n, as factors: [rows, 2, 128, n / 128], coefficient 128 l + i in line i, column l."""
    rows = []
    for row, prime in enumerate(parameters.primes):
        share = np.uint64(pow(parameters.n, -1, prime))
        entries = secret[row].reshape(-1, 128).T.reshape(-1).astype(np.uint64)
        rows.append(montgomery(entries * share % np.uint64(prime), prime))
    return np.stack(rows)


@cache
def root_table(parameters: LatticeParameters) -> Table:
    """psi^-brv(i), as factors [rows, 2, n], in the order in which ``product`` reads them.

    The stage that leaves p pairs of runs reads entries p to 2 p. Where a line of 64 coefficients has pairs of its
    own, the lines run fastest.
    """
    n = parameters.n
    bits = n.bit_length() - 1
    order = np.array([int(f"{i:0{bits}b}"[::-1], 2) for i in range(n)])
    pairs, lines = n // 2, n // 64
    while pairs >= lines:
        order[pairs : 2 * pairs] = order[pairs : 2 * pairs].reshape(lines, -1).T.reshape(-1)
        pairs //= 2
    rows = []
    for prime, psi in zip(parameters.primes, parameters.psis, strict=True):
        powers = np.empty(n, np.uint64)
        inverse, power = pow(psi, -1, prime), 1
        for i in range(n):
            powers[i] = power
            power = power * inverse % prime
        rows.append(montgomery(powers[order], prime))
    return np.stack(rows)


def rounding_shift(parameters: LatticeParameters) -> int:
    """``shift`` of ``open_kernel``: times the scale, more than half of row 0's prime, and no more than need be."""
    return parameters.primes[0] // 2 // parameters.scale + 1 if parameters.scale else 0


def _times(a: int, b: int) -> int:
    """The product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = a << 1 ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product

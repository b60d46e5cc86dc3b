"""What the tests of the lattice sum share: inputs from seeds as the vectors state them, and the plain definitions."""

import hashlib
import json
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

VECTORS = {
    entry["name"]: entry
    for entry in json.loads(
        (Path(__file__).parents[1] / "vectors" / "lattice.json").read_text(encoding="utf-8")
    )["sets"]
}


def shake(seed, count):
    return np.frombuffer(hashlib.shake_256(seed).digest(8 * count), "<u8")


def secret_of(parameters, seed):
    rows = [shake(seed + bytes([row]), parameters.n) % prime for row, prime in enumerate(parameters.primes)]
    return np.array(rows).astype(np.uint32)


def random_words(parameters, seed, blocks, bound):
    """Words in -bound..bound, the ends among them."""
    values = np.random.default_rng(seed).integers(-bound, bound, blocks * parameters.block, endpoint=True)
    values[:2] = bound, -bound
    return values.astype(np.int32).view(np.uint32)


def signed(words):
    return words.view(np.int32).astype(np.int64)


def same(array, expected):
    """Whether an array is the one that the vectors describe."""
    words = np.ascontiguousarray(array).astype("<u4", casting="unsafe")
    digest = hashlib.sha256(words.tobytes()).hexdigest()
    return words.reshape(-1)[:4].tolist() == expected["words"] and digest == expected["sha256"]


# -- The definitions, word by word, with Python's integers ----------------------------------------------------


class Stream:
    """One key's stream, from the text: a unit is the encryption of its two counters."""

    def __init__(self, key):
        self.cipher = Cipher(algorithms.AES128(key), modes.ECB()).encryptor()

    def word(self, block, row, retry, place):
        low = (place // 4).to_bytes(8, "little")
        high = (block << 16 | row << 8 | retry).to_bytes(8, "little")
        unit = self.cipher.update(low + high)
        return int.from_bytes(unit[4 * (place % 4) :][:4], "little")


def public_row(parameters, key, block, row):
    stream, prime = Stream(key), parameters.primes[row]
    limit = 2**32 // prime * prime
    residues = []
    for j in range(parameters.n):
        retry = 0
        while (word := stream.word(block, row, retry, j)) >= limit:
            retry += 1
        residues.append(word % prime)
    return residues


def noise_row(parameters, key, block):
    n, stream = parameters.n, Stream(key)
    noise = []
    for j in range(n):
        half = stream.word(block, 0, 0, 2 * n + j % (n // 2))
        half = half & 0xFFFF if j < n // 2 else half >> 16
        words = stream.word(block, 0, 0, j), stream.word(block, 0, 0, n + j), half
        noise.append(sum(word.bit_count() for word in words) - 40)
    return noise


def evaluations(parameters, row):
    """The matrix of the transform, a row at a time: psi^((2 brv(i) + 1) j) for j = 0..n-1."""
    n, prime = parameters.n, parameters.primes[row]
    powers = [1]
    for _ in range(2 * n - 1):
        powers.append(powers[-1] * parameters.psis[row] % prime)
    powers, bits = np.array(powers, np.uint64), n.bit_length() - 1
    for i in range(n):
        exponent = 2 * int(f"{i:0{bits}b}"[::-1], 2) + 1
        yield powers[exponent * np.arange(n) % (2 * n)]


def transform(parameters, row, element):
    """f(psi^(2 brv(i) + 1)) for each i."""
    prime = np.uint64(parameters.primes[row])
    element = np.asarray(element, np.uint64)
    return np.array(
        [(element * point % prime).sum() % prime for point in evaluations(parameters, row)], np.uint64
    )


def negacyclic(left, right, prime):
    """The product modulo x^n + 1 and the prime, through one product of long integers."""
    n = len(left)
    width = 10  # bytes for a sum of n products of residues below 2^32
    whole = [
        int.from_bytes(b"".join(int(x).to_bytes(width, "little") for x in v), "little") for v in (left, right)
    ]
    data = (whole[0] * whole[1]).to_bytes(2 * n * width, "little")
    product = [int.from_bytes(data[at : at + width], "little") for at in range(0, 2 * n * width, width)]
    return [(product[j] - product[n + j]) % prime for j in range(n)]


def packed(parameters, rows):
    """Rows of residues of one block as words on the wire."""
    words = []
    for slot in range(parameters.slots):
        for j in range(parameters.n):
            word = int(rows[slot + parameters.rows - parameters.slots][j])
            if parameters.noise_bits:
                word |= (int(rows[0][j]) >> 6 * slot & 63) << 26
            words.append(word)
    return np.array(words, np.uint32)


def carrying(parameters, noise, words):
    """The rows of residues of one block that carry this noise and these words, under the secret zero."""
    slots = np.asarray(words).reshape(parameters.slots, parameters.n)
    rows = []
    for row, prime in enumerate(parameters.primes):
        slot = row - (parameters.rows - parameters.slots)
        message = slots[slot] * (parameters.scale if row == 0 else 1) if slot >= 0 else 0
        rows.append((np.asarray(noise) + message) % prime)
    return rows

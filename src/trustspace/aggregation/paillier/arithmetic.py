"""Long integers: GMP's where gmpy2 is installed, Python's otherwise, and powers of one base by table."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

try:
    import gmpy2 as _gmpy2
except ImportError:  # the extra `paillier` is not installed: slower, the same results
    _gmpy2 = None

# 2^7 entries a window: 220 windows and 23 MB for an exponent of 1536 bits modulo 6144 bits.
_WINDOW_BITS = 7
# For exponents of 100 to 400 bits that are used once.
_SHARED_BITS = 4
_PRIME_ROUNDS = 32  # a composite passes one random round with probability 1/4 at most (Rabin 1980)
SMALL_PRIME_BITS = 20
_CHUNK_BITS = 4096


def accelerated() -> bool:
    """Whether GMP does the arithmetic."""
    return _gmpy2 is not None


def big(value: int) -> int:
    """``value`` in the form that is fastest to calculate with; what is made of it stays in that form."""
    return value if _gmpy2 is None else _as_int(_gmpy2.mpz(value))


def power(base: int, exponent: int, modulus: int) -> int:
    """``base ** exponent % modulus``; a negative exponent needs a base that has an inverse."""
    return pow(base, exponent, modulus) if _gmpy2 is None else _as_int(_gmpy2.powmod(base, exponent, modulus))


def inverse(value: int, modulus: int) -> int:
    """The inverse modulo ``modulus``; ValueError or ZeroDivisionError where there is none."""
    return pow(value, -1, modulus) if _gmpy2 is None else _as_int(_gmpy2.invert(value, modulus))


def coprime(a: int, b: int) -> bool:
    """Whether no prime divides both."""
    return (math.gcd(a, b) if _gmpy2 is None else int(_gmpy2.gcd(a, b))) == 1


def is_prime(value: int) -> bool:
    """Miller and Rabin's test with random bases, whatever the library; wrong for a composite below 2^-64."""
    if value < 4 or value % 2 == 0:
        return value in (2, 3)
    odd, twos = value - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(_PRIME_ROUNDS):
        x = power(2 + below(value - 3), odd, value)
        if x in (1, value - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % value
            if x == value - 1:
                break
        else:
            return False
    return True


def has_small_factor(value: int) -> bool:
    """Whether a prime below 2^SMALL_PRIME_BITS divides ``value``."""
    return any(not coprime(value, chunk) for chunk in _small_primes())


@lru_cache(maxsize=1)
def _small_primes() -> tuple[int, ...]:
    """All primes below 2^SMALL_PRIME_BITS, multiplied together in chunks of about _CHUNK_BITS bits."""
    sieve = np.ones(1 << SMALL_PRIME_BITS, bool)
    sieve[:2] = False
    for at in range(2, 1 << (SMALL_PRIME_BITS // 2)):
        if sieve[at]:
            sieve[at * at :: at] = False
    chunks, product = [], 1
    for prime in np.flatnonzero(sieve).tolist():
        product *= prime
        if product.bit_length() >= _CHUNK_BITS:
            chunks.append(product)
            product = 1
    return (*chunks, product)


def random_bits(count: int) -> int:
    """A uniform number of 0..2^count-1 from the system's generator."""
    size = (count + 7) // 8
    return int.from_bytes(os.urandom(size)) >> (8 * size - count)


def below(limit: int) -> int:
    """A uniform number of 0..limit-1 from the system's generator, by rejection."""
    length = limit.bit_length()
    while (value := random_bits(length)) >= limit:
        pass
    return value


def expand(seed: bytes, size: int) -> bytes:
    """``size`` bytes as SHA-256(seed || 0) || SHA-256(seed || 1) || ..., the counter in 4 bytes big-endian."""
    blocks = (hashlib.sha256(seed + at.to_bytes(4)).digest() for at in range((size + 31) // 32))
    return b"".join(blocks)[:size]


def product_of_powers(bases: Sequence[int], exponents: Sequence[int], modulus: int) -> int:
    """prod_i base_i^exponent_i % modulus with shared squarings (Straus 1964); no exponent is negative."""
    mask, result = (1 << _SHARED_BITS) - 1, big(1)
    tables = []
    for base in bases:
        table = [big(1), big(base)]
        while len(table) <= mask:
            table.append(table[-1] * base % modulus)
        tables.append(table)
    longest = max((exponent.bit_length() for exponent in exponents), default=0)
    for at in range(-(-longest // _SHARED_BITS) - 1, -1, -1):
        for _ in range(_SHARED_BITS):
            result = result * result % modulus
        for table, exponent in zip(tables, exponents, strict=True):
            digit = exponent >> (at * _SHARED_BITS) & mask
            if digit:
                result = result * table[digit] % modulus
    return result


class FixedBase:
    """Powers of one base modulo one modulus, by a table of its digits that grows with the exponents.

    Brickell, Gordon, McCurley and Wilson (EUROCRYPT 1992): row i holds base^(d * 2^(7i)) for every digit d, so a
    power costs one multiplication for each 7 bits and no squaring.
    """

    def __init__(self, base: int, modulus: int) -> None:
        self._modulus = big(modulus)
        self._next = big(base)
        self._rows: list[list[int]] = []

    def power(self, exponent: int) -> int:
        """``base ** exponent % modulus`` for an exponent that is not negative."""
        modulus, rows = self._modulus, self._rows
        while len(rows) * _WINDOW_BITS < exponent.bit_length():
            rows.append(self._row())
        result, at, mask = big(1), 0, (1 << _WINDOW_BITS) - 1
        while exponent:
            digit = exponent & mask
            if digit:
                result = result * rows[at][digit] % modulus
            exponent >>= _WINDOW_BITS
            at += 1
        return result

    def _row(self) -> list[int]:
        base, modulus = self._next, self._modulus
        row = [big(1), base]
        while len(row) < 1 << _WINDOW_BITS:
            row.append(row[-1] * base % modulus)
        self._next = row[-1] * base % modulus
        return row


def _as_int(value: Any) -> int:
    # An mpz behaves as an int in everything that is done with it here.
    number: int = value
    return number

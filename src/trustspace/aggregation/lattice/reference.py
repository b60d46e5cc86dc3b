"""The lattice sum in NumPy: the specification that every other backend gives the same bits as.

Everything is arithmetic modulo one prime at a time, in uint64, where a product of two residues fits. Arrays
hold coefficients along the first axis and blocks along the second, so that NumPy's inner loops run over the
blocks.

A stream is AES-128 (FIPS 197) of counters: unit c of row i of block b, in retry r, encrypts the 16 bytes of two
little-endian 64-bit words, c and b * 2^16 + i * 2^8 + r, to four little-endian 32-bit words of the stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from trustspace.aggregation.blocks import blocks, check_vector
from trustspace.aggregation.lattice.backend import (
    Backend,
    Words,
    check_first,
    check_keys,
    check_secret,
    check_words,
)
from trustspace.aggregation.lattice.parameters import NOISE_LIMIT, LatticeParameters
from trustspace.aggregation.residues import Residues, reduced
from trustspace.errors import InvalidInput

Integers = NDArray[np.int64]
UNIT_WORDS = 4
# A row of residues at a time, 256 KiB, however long the vector is.
_GROUP_WORDS = 1 << 15


def backends() -> tuple[Backend, ...]:
    """As ``backend`` asks its modules."""
    return (NumpyBackend(),)


class NumpyBackend:
    """As ``backend.Backend``. ``threads`` is taken, as by the others, and not used."""

    def __init__(self, threads: int = 0) -> None:
        self.threads = threads

    @property
    def name(self) -> str:
        return "numpy"

    def mask(
        self,
        parameters: LatticeParameters,
        public: bytes,
        secret: Words,
        noise: bytes,
        first: int,
        out: Words,
    ) -> None:
        """As ``Backend.mask``."""
        check_words(parameters, out)
        check_secret(parameters, secret)
        check_keys(public, noise)
        for block, piece in _groups(parameters, first, len(out)):
            count = (piece.stop - piece.start) // parameters.block
            _pack(parameters, _mask_rows(parameters, public, secret, noise, block, count), out[piece])

    def protect(
        self,
        parameters: LatticeParameters,
        public: bytes,
        secret: Words,
        noise: bytes,
        first: int,
        words: Words,
        out: Words,
    ) -> None:
        """As ``Backend.protect``."""
        check_words(parameters, out, words)
        check_secret(parameters, secret)
        check_keys(public, noise)
        for block, piece in _groups(parameters, first, len(out)):
            count = (piece.stop - piece.start) // parameters.block
            rows = _mask_rows(parameters, public, secret, noise, block, count)
            _add_words(parameters, rows, words[piece])
            _pack(parameters, rows, out[piece])

    def apply(self, parameters: LatticeParameters, words: Words, masks: Words) -> None:
        """As ``Backend.apply``."""
        check_words(parameters, masks, words)
        for _, piece in _groups(parameters, 0, len(words)):
            rows = _unpack(parameters, masks[piece])
            _add_words(parameters, rows, words[piece])
            _pack(parameters, rows, masks[piece])

    def add_into(self, parameters: LatticeParameters, total: Words, addend: Words) -> None:
        """As ``Backend.add_into``."""
        check_words(parameters, total, addend)
        for _, piece in _groups(parameters, 0, len(total)):
            rows, more = _unpack(parameters, total[piece]), _unpack(parameters, addend[piece])
            if not _are_residues(parameters, more):
                raise InvalidInput("A protected vector holds words that are no residues.")
            sums = [_once(a + b, q) for a, b, q in zip(rows, more, parameters.primes, strict=True)]
            _pack(parameters, sums, total[piece])

    def open(
        self,
        parameters: LatticeParameters,
        public: bytes,
        secret: Words,
        first: int,
        total: Words,
        bound: int,
        out: Words,
    ) -> bool:
        """As ``Backend.open``."""
        check_words(parameters, total, out)
        check_secret(parameters, secret)
        check_keys(public)
        if bound < 0:
            raise InvalidInput("The bound of the noise of a sum is not negative.")
        for block, piece in _groups(parameters, first, len(total)):
            count = (piece.stop - piece.start) // parameters.block
            rows = _unpack(parameters, total[piece])
            if not _are_residues(parameters, rows):
                return False
            products = _products(parameters, public, secret, block, count)
            plain = [
                _add(r, -p.astype(np.int64), q)
                for r, p, q in zip(rows, products, parameters.primes, strict=True)
            ]
            errors, slots = _read(parameters, plain)
            if np.abs(errors).max() > bound or np.abs(slots).max() > parameters.largest:
                return False
            out[piece] = slots.transpose(2, 0, 1).astype(np.int32).reshape(-1).view(np.uint32)
        return True

    def encode(
        self, values: NDArray[np.float32], factor: float, bound: float, scale: float, out: NDArray[np.int32]
    ) -> bool:
        """As ``Backend.encode``."""
        _check_pair(values, np.float32, out, np.int32)
        for piece in blocks(len(values)):
            with np.errstate(all="ignore"):
                work = np.multiply(values[piece], factor, dtype=np.float64)
            if not np.isfinite(work).all():
                return False
            np.clip(work, -bound, bound, out=work)
            work *= scale
            out[piece] = np.rint(work, out=work)
        return True

    def decode(self, words: Words, scale: float, out: NDArray[np.float64]) -> None:
        """As ``Backend.decode``."""
        _check_pair(words, np.uint32, out, np.float64)
        np.divide(words.view(np.int32), scale, out=out, dtype=np.float64)


def _mask_rows(
    parameters: LatticeParameters, public: bytes, secret: Words, noise: bytes, first: int, count: int
) -> list[Residues]:
    """The rows of ``a * s + e`` for ``count`` blocks: [n, count] each. The noise is the same in all."""
    errors = noise_of(parameters, noise, first, count)
    products = _products(parameters, public, secret, first, count)
    return [_add(row, errors, q) for row, q in zip(products, parameters.primes, strict=True)]


def _add_words(parameters: LatticeParameters, rows: list[Residues], words: Words) -> None:
    """Adds the words of whole blocks, as signed integers, to the rows that carry them, in place."""
    messages = words.view(np.int32).astype(np.int64)
    if np.abs(messages).max() > parameters.largest:
        raise InvalidInput("A word to be summed lies beyond what the sum can hold.")
    for slot, message in enumerate(_slots(parameters, messages)):
        row = parameters.row(slot)
        factor = 1 if row else parameters.scale
        rows[row] = _add(rows[row], factor * message, parameters.primes[row])


def _read(parameters: LatticeParameters, rows: list[Residues]) -> tuple[Integers, Integers]:
    """The noise, [n, blocks], and the words, [slots, n, blocks], of rows from which ``a * s`` was taken.

    Right where both are small; anything where they are not, and that is for the caller to see.
    """
    slots = np.empty((parameters.slots, *rows[0].shape), np.int64)
    errors = _centred(rows[0], parameters.primes[0])
    if parameters.scale:
        # To the nearest multiple of the scale, which is odd: there is never a tie.
        slots[0] = (errors + parameters.scale // 2) // parameters.scale
        errors = errors - parameters.scale * slots[0]
    for slot in range(parameters.slots):
        row = parameters.row(slot)
        if row > 0:
            prime = parameters.primes[row]
            slots[slot] = _centred(_add(rows[row], -errors, prime), prime)
    return errors, slots


# -- Streams ------------------------------------------------------------------------------------------------


def stream(key: bytes, counters: Residues, block: Residues | int, row: int, retry: int) -> NDArray[np.uint32]:
    """Units ``counters`` of the stream of a row of blocks, in one retry: uint32 [..., 4].

    ``block`` is a number, or numbers that broadcast with ``counters``.
    """
    high = np.asarray(block, np.uint64) << np.uint64(16) | np.uint64(row << 8 | retry)
    inputs = np.empty((*np.broadcast_shapes(counters.shape, high.shape), 2), "<u8")
    inputs[..., 0] = counters
    inputs[..., 1] = high
    # The block cipher itself, of counters that never repeat under one key: this makes counter mode.
    outputs = Cipher(algorithms.AES128(key), modes.ECB()).encryptor().update(inputs.tobytes())  # noqa: S305
    return np.frombuffer(outputs, "<u4").reshape(*inputs.shape[:-1], UNIT_WORDS).astype(np.uint32)


def uniform(parameters: LatticeParameters, key: bytes, row: int, first: int, count: int) -> Residues:
    """Residues of one row for ``count`` blocks: [n, count], uniform modulo the row's prime.

    Coefficient j is word j of the stream, modulo the prime, if the word lies below the largest multiple of the
    prime; else the word at the same place of retry 1, and so on.
    """
    numbers = np.arange(first, first + count, dtype=np.uint64)
    counters = np.arange(parameters.n // UNIT_WORDS, dtype=np.uint64)
    words = stream(key, counters[:, None], numbers, row, 0).transpose(0, 2, 1).reshape(parameters.n, count)
    limit, retry = parameters.rejection_limit(row), 0
    rejected = np.argwhere(words >= limit)  # pairs of a coefficient and a block
    while len(rejected):
        retry += 1
        at, block = rejected.T
        units = stream(key, at.astype(np.uint64) // UNIT_WORDS, numbers[block], row, retry)
        again = units[np.arange(len(at)), at % UNIT_WORDS]
        words[at, block] = again
        rejected = rejected[again >= limit]
    return reduced(words.astype(np.uint64), parameters.primes[row])


def noise_of(parameters: LatticeParameters, key: bytes, first: int, count: int) -> Integers:
    """The noise of ``count`` blocks: [n, count], the number of ones among 80 bits less 40.

    Coefficient j takes words j and n + j of row 0's stream, and half of word 2n + (j mod n/2): the low half for
    j < n/2, the high one for the others.
    """
    n = parameters.n
    numbers = np.arange(first, first + count, dtype=np.uint64)
    counters = np.arange(5 * n // 2 // UNIT_WORDS, dtype=np.uint64)
    words = stream(key, counters[:, None], numbers, 0, 0).transpose(0, 2, 1).reshape(-1, count)
    ones = np.bitwise_count(words[:n]).astype(np.int64) + np.bitwise_count(words[n : 2 * n])
    halves = words[2 * n :]
    ones[: n // 2] += np.bitwise_count(halves & np.uint32(0xFFFF))
    ones[n // 2 :] += np.bitwise_count(halves >> np.uint32(16))
    return ones - NOISE_LIMIT


# -- Ring ---------------------------------------------------------------------------------------------------


def inverse_transform(parameters: LatticeParameters, row: int, values: Residues) -> Residues:
    """The ring element, [n, blocks], whose transform is ``values``, [n, blocks].

    Entry i of the transform of f is f(psi^(2 brv(i) + 1)), where brv reverses the log2(n) bits of i. This is
    the decimation in frequency of Gentleman and Sande with the twist by psi merged into it, as algorithm 2 of
    Longa and Naehrig, "Speeding up the Number Theoretic Transform for Faster Ideal Lattice-Based Cryptography"
    (CANS 2016).
    """
    prime = parameters.primes[row]
    q = np.uint64(prime)
    roots, n_inverse = _inverse_roots(parameters, row)
    n, count = values.shape
    pairs = n // 2
    while pairs:
        # Here are 2 * pairs runs of n / (2 * pairs) coefficients; runs 2i and 2i + 1 are taken together.
        runs = values.reshape(pairs, 2, n // (2 * pairs), count)
        low, high = runs[:, 0], runs[:, 1]
        values = np.empty_like(runs)
        values[:, 0] = _once(low + high, prime)
        values[:, 1] = reduced(_once(low + (q - high), prime) * roots[pairs : 2 * pairs, None, None], prime)
        pairs //= 2
    return reduced(values.reshape(n, count) * n_inverse, prime)


@cache
def _inverse_roots(parameters: LatticeParameters, row: int) -> tuple[Residues, np.uint64]:
    """psi^-brv(i) for i = 0..n-1, and n^-1, modulo the row's prime."""
    prime, n = parameters.primes[row], parameters.n
    inverse, bits = pow(parameters.psis[row], -1, prime), n.bit_length() - 1
    reversed_bits = (int(f"{i:0{bits}b}"[::-1], 2) for i in range(n))
    roots = np.array([pow(inverse, exponent, prime) for exponent in reversed_bits], np.uint64)
    roots.flags.writeable = False
    return roots, np.uint64(pow(n, -1, prime))


def _products(
    parameters: LatticeParameters, public: bytes, secret: Words, first: int, count: int
) -> list[Residues]:
    """The products of ``a`` and the secret in ``count`` blocks, [n, count] for each row."""
    products = []
    for row, prime in enumerate(parameters.primes):
        transformed = uniform(parameters, public, row, first, count) * secret[row].astype(np.uint64)[:, None]
        products.append(inverse_transform(parameters, row, reduced(transformed, prime)))
    return products


def _once(sums: Residues, prime: int) -> Residues:
    """Numbers below twice the prime, modulo the prime: what falls below zero wraps and is not the smaller."""
    lowered: Residues = np.minimum(sums, sums - np.uint64(prime))
    return lowered


def _add(residues: Residues, addend: Integers, prime: int) -> Residues:
    """The sum of residues and of signed integers smaller than the prime in magnitude, modulo the prime."""
    sums = residues.astype(np.int64) + addend + prime
    return reduced(sums.astype(np.uint64), prime)


def _centred(residues: Residues, prime: int) -> Integers:
    """The integers from -(q-1)/2 to (q-1)/2 that are equal to the residues modulo the prime q."""
    signed = residues.astype(np.int64)
    return np.where(signed > prime // 2, signed - prime, signed)


def _are_residues(parameters: LatticeParameters, rows: list[Residues]) -> bool:
    return all(bool((row < prime).all()) for row, prime in zip(rows, parameters.primes, strict=True))


# -- Wire ---------------------------------------------------------------------------------------------------


def _slots(parameters: LatticeParameters, words: NDArray[np.generic]) -> NDArray[np.generic]:
    """Words [blocks * block] as a view [slots, n, blocks]."""
    return words.reshape(-1, parameters.slots, parameters.n).transpose(1, 2, 0)


def _pack(parameters: LatticeParameters, rows: list[Residues], out: Words) -> None:
    """Residues, [n, blocks] for each row, as words on the wire, into ``out``."""
    slots = _slots(parameters, out)
    for slot in range(parameters.slots):
        slots[slot] = rows[parameters.row(slot)]
        if parameters.noise_bits:
            piece = rows[0] >> np.uint64(parameters.noise_bits * slot) & np.uint64(
                (1 << parameters.noise_bits) - 1
            )
            slots[slot] |= piece.astype(np.uint32) << np.uint32(parameters.residue_bits)


def _unpack(parameters: LatticeParameters, words: Words) -> list[Residues]:
    """What ``_pack`` packed; the numbers may be no residues where the words are not of its making."""
    slots = _slots(parameters, words).astype(np.uint64)
    if not parameters.noise_bits:
        return list(slots)
    low = np.uint64((1 << parameters.residue_bits) - 1)
    first = np.zeros(slots.shape[1:], np.uint64)
    for slot in range(parameters.slots):
        first |= slots[slot] >> np.uint64(parameters.residue_bits) << np.uint64(parameters.noise_bits * slot)
    return [first, *(slots & low)]


def _groups(parameters: LatticeParameters, first: int, length: int) -> Iterator[tuple[int, slice]]:
    """The number of the first block and the words of each group of blocks, in order."""
    check_first(first, length // parameters.block)
    step = max(1, _GROUP_WORDS // parameters.n) * parameters.block
    for start in range(0, length, step):
        yield first + start // parameters.block, slice(start, min(start + step, length))


def _check_pair(
    values: NDArray[np.generic],
    dtype: type[np.generic],
    out: NDArray[np.generic],
    out_dtype: type[np.generic],
) -> None:
    check_vector(values, dtype)
    check_vector(out, out_dtype)
    if len(values) != len(out):
        raise InvalidInput("Numbers and their words are rows of one length.")

"""Arithmetic modulo primes below 2^32 on arrays: products, interpolation, uniform draws, and residues as bytes.

Matrices are multiplied in float64, which is exact while every partial sum is an integer up to 2^53: one factor is
cut into limbs narrow enough for that. What is secret is never a divisor, an index or a condition.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from trustspace.errors import VerificationFailed

Residues = NDArray[np.uint64]
_EXACT_BITS = 53
# OpenBLAS gives a product of up to 2^18 multiplications to one thread. More threads do not help with matrices so
# narrow, and on a busy machine they wait for each other a hundred times as long.
_ONE_THREAD = 1 << 18
_PLANES = (16, 8, 4, 2, 1)


def reduced(values: Residues, prime: int) -> Residues:
    """``values`` modulo ``prime``, as a new array.

    NumPy divides an array by one number with multiplications: quicker than ``%``, and in a time that says nothing
    about the values.
    """
    quotient: Residues = values // np.uint64(prime)
    quotient *= np.uint64(prime)
    np.subtract(values, quotient, out=quotient)
    return quotient


def product(left: Residues, right: Residues, prime: int) -> Residues:
    """``left`` [m, k] times ``right`` [k, c] modulo ``prime``; all entries are residues, k is at most 2^16."""
    width = _EXACT_BITS - prime.bit_length() - max(left.shape[1] - 1, 0).bit_length()
    factor = right.astype(np.float64)
    partial = np.empty((left.shape[0], right.shape[1]), np.float64)
    step = max(1, _ONE_THREAD // max(left.size, 1))
    total: Residues = np.zeros(partial.shape, np.uint64)
    for shift in reversed(range(0, prime.bit_length(), width)):
        limb = (left >> np.uint64(shift) & np.uint64((1 << width) - 1)).astype(np.float64)
        for at in range(0, right.shape[1], step):
            np.matmul(limb, factor[:, at : at + step], out=partial[:, at : at + step])
        # Below 2^53 each: a residue moved up by at most 53 - its own bits, and the exact product.
        total <<= np.uint64(width)
        total += partial.astype(np.uint64)
        total = reduced(total, prime)
    return total


def uniform(rows: int, columns: int, prime: int) -> Residues:
    """Independent uniform residues [rows, columns] from the system's random source, by rejection."""
    count = rows * columns
    limit = (1 << 32) // prime * prime
    values = np.empty(count, np.uint64)
    done = 0
    while done < count:
        drawn = np.frombuffer(os.urandom(4 * (count - done)), np.uint32)
        kept = drawn[drawn < limit] if limit < 1 << 32 else drawn
        values[done : done + len(kept)] = kept
        done += len(kept)
    return reduced(values, prime).reshape(rows, columns)


@lru_cache(maxsize=1 << 14)
def inverse(value: int, prime: int) -> int:
    """1 / value modulo ``prime``; ``value`` is public and not a multiple of it."""
    return pow(value, -1, prime)


def interpolation(points: Sequence[int], targets: Sequence[int], prime: int) -> Residues:
    """Lagrange: the matrix [targets, points] from a polynomial's values at ``points`` to those at ``targets``.

    The polynomial's degree is below the number of points, which are distinct modulo ``prime``.
    """
    weights = [inverse(_product_of([x - y for y in points if y != x], prime), prime) for x in points]
    matrix = np.zeros((len(targets), len(points)), np.uint64)
    for row, target in zip(matrix, targets, strict=True):
        gaps = [(target - x) % prime for x in points]
        if 0 in gaps:
            row[gaps.index(0)] = 1
            continue
        whole = _product_of(gaps, prime)
        row[:] = [
            whole * inverse(gap, prime) % prime * weight % prime
            for gap, weight in zip(gaps, weights, strict=True)
        ]
    return matrix


def _product_of(values: Sequence[int], prime: int) -> int:
    total = 1
    for value in values:
        total = total * value % prime
    return total


def packed_bytes(count: int, prime: int) -> int:
    """How many bytes ``pack`` makes of ``count`` residues."""
    return sum(-(-count * width // 8) for width in _widths(prime))


def pack(values: Residues, prime: int) -> bytes:
    """A row of residues in as many bits as the prime has, lowest bits first, plane by plane.

    The bits of a residue are cut into pieces of 16, 8, 4, 2 and 1, as many as it takes; a plane holds one piece of
    every residue, little-endian, several to a byte where they are shorter than one.
    """
    planes, shift = [], 0
    for width in _widths(prime):
        piece = values >> np.uint64(shift) & np.uint64((1 << width) - 1)
        shift += width
        if width >= 8:
            planes.append(piece.astype(f"<u{width // 8}").tobytes())
            continue
        each = 8 // width
        padded = np.zeros(-(-len(values) // each) * each, np.uint8)
        padded[: len(values)] = piece
        packed = np.zeros(len(padded) // each, np.uint8)
        for place in range(each):
            packed |= padded[place::each] << np.uint8(place * width)
        planes.append(packed.tobytes())
    return b"".join(planes)


def unpack(data: bytes, count: int, prime: int) -> Residues:
    """The ``count`` residues that ``pack`` wrote.

    Raises VerificationFailed for another length, for a number that is not below the prime, and for padding that is
    not zero: there is one way to write a row.
    """
    if len(data) != packed_bytes(count, prime):
        raise VerificationFailed("The residues have another length than they must.")
    values = np.zeros(count, np.uint64)
    at = shift = 0
    for width in _widths(prime):
        size = -(-count * width // 8)
        plane, at = data[at : at + size], at + size
        if width >= 8:
            piece = np.frombuffer(plane, f"<u{width // 8}").astype(np.uint64)
        else:
            each = 8 // width
            raw = np.frombuffer(plane, np.uint8)
            spread = np.empty(len(raw) * each, np.uint64)
            for place in range(each):
                spread[place::each] = raw >> np.uint8(place * width) & np.uint8((1 << width) - 1)
            if spread[count:].any():
                raise VerificationFailed("The padding after the residues is not zero.")
            piece = spread[:count]
        values |= piece << np.uint64(shift)
        shift += width
    if (values >= prime).any():
        raise VerificationFailed("A residue is not below its prime.")
    return values


def _widths(prime: int) -> list[int]:
    left, widths = prime.bit_length(), []
    for width in _PLANES:
        while left >= width:
            widths.append(width)
            left -= width
    return widths

"""A dealer's proof that the shares it dealt lie on one polynomial, checked by each holder on its own share.

Beside the secret the dealer shares R random pads for each prime q. It commits to every holder's share in a tree of
salted digests (SHA-256), takes a random matrix T from SHAKE-128 of the root (Fiat and Shamir, CRYPTO 1986), and
publishes F = T v + pad, R numbers for each coefficient; v is the polynomial whose values are the share vectors. The
holder of the share at x accepts if it is in the tree and T v(x) + pad(x) = F(x). F has a degree below the threshold
by the way it is written.

- It hides: each number in F is masked by a uniform pad of its own, so F with the shares of as many holders as may
  pool theirs says no more than those shares. Salts hide what is in the tree.
- It is sound: if the committed shares are on no such polynomial, then for some threshold + 1 of them the public
  combination y that vanishes on such polynomials gives x = sum of y v, not 0, while F demands
  T x = -(sum of y pad), which was fixed before T. T is a Toeplitz matrix: the last entry of x that is not 0 meets in
  every row an entry of T that no earlier row has; so T x takes a given value with probability q^-R (the entries are
  64-bit words reduced modulo q: a factor of at most 1 + 2^-32 for each). A dealer that chooses afterwards which holders
  stay gains a factor of C(holders, threshold + 1), and one of the number of primes.
- R makes all this at most 2^-128 for each root that a dealer tries. Grinding: 2^28 tries succeed with 2^-100, 2^64
  with 2^-64. A root holds for one attempt only, whose members wait minutes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from math import comb, log2

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from trustspace.aggregation.residues import Residues, product, reduced

DIGEST_BYTES = 32
SOUNDNESS_BITS = 128


def pads(prime: int, primes: int, holders: int, threshold: int) -> int:
    """R for one of ``primes`` primes."""
    # One bit is for words that are not quite uniform residues.
    bits = SOUNDNESS_BITS + log2(comb(holders, threshold + 1) or 1) + log2(primes) + 1
    return int(bits / log2(prime)) + 1


def challenge(seed: bytes, count: int) -> Residues:
    """``count`` 64-bit words, the diagonals of T; each prime takes the first ones modulo itself."""
    stream = hashlib.shake_128(b"trustspace lattice challenge v1" + seed).digest(8 * count)
    return np.frombuffer(stream, "<u8").astype(np.uint64, copy=False)


def fingerprint(rows: Residues, columns: int, words: Residues, prime: int) -> Residues:
    """T v + pad for each row: ``columns`` values v with their R pads after them; returns [rows, R]."""
    count = rows.shape[1] - columns
    matrix = sliding_window_view(reduced(words[: columns + count - 1], prime), columns)
    return reduced(product(matrix, rows[:, :columns].T, prime).T + rows[:, columns:], prime)


class Tree:
    """Digests in a binary tree, filled up with zeros to a power of two; a leaf's path is the digests beside its way."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        level = [*leaves, *[bytes(DIGEST_BYTES)] * ((1 << (len(leaves) - 1).bit_length()) - len(leaves))]
        self._levels = [level]
        while len(level) > 1:
            level = [_node(level[at], level[at + 1]) for at in range(0, len(level), 2)]
            self._levels.append(level)

    @property
    def root(self) -> bytes:
        return self._levels[-1][0]

    def path(self, at: int) -> bytes:
        return b"".join(level[(at >> height) ^ 1] for height, level in enumerate(self._levels[:-1]))


def climbs(leaf: bytes, at: int, path: bytes, root: bytes) -> bool:
    """Whether ``leaf`` stands at place ``at`` of the tree with this root."""
    for start in range(0, len(path), DIGEST_BYTES):
        beside = path[start : start + DIGEST_BYTES]
        leaf = _node(beside, leaf) if at & 1 else _node(leaf, beside)
        at >>= 1
    return hmac.compare_digest(leaf, root)


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()

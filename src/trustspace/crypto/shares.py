"""Splitting a secret so that any ``threshold`` of its shares give it back and fewer say nothing.

Shamir's secret sharing (Communications of the ACM 22, 1979), byte by byte over GF(2^8) with the polynomial
x^8 + x^4 + x^3 + x + 1 (0x11b, the field of AES), as in draft-mcgrew-tss-03. Every product here has one
public factor, a share's index or a coefficient made of indices. So a vector of secret bytes is multiplied as
one packed integer, by doublings that the public factor alone selects: no table is looked up and no branch
taken on a secret.

A share carries no check of its own. Whoever must not be fooled by a wrong share compares it with the
commitment that was published when the secret was split.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from trustspace.errors import InvalidInput, VerificationFailed

MAX_SHARES = 255
MAX_SECRET_BYTES = 1 << 16
_MAGIC = b"TSSHARE1"


@dataclass(frozen=True)
class Share:
    """The polynomials' values at ``index`` (1..255); ``value`` is as long as the secret."""

    index: int
    value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.index <= MAX_SHARES:
            raise InvalidInput("A share's index lies between 1 and {limit}.", limit=MAX_SHARES)
        if not 1 <= len(self.value) <= MAX_SECRET_BYTES:
            raise InvalidInput("A share's value has 1 to {limit} bytes.", limit=MAX_SECRET_BYTES)


def split(secret: bytes, threshold: int, count: int) -> tuple[Share, ...]:
    """``count`` shares with indices 1..count, any ``threshold`` of which give ``secret`` back.

    Raises InvalidInput unless 1 <= threshold <= count <= 255. With threshold 1 every share is the secret.
    """
    _check_numbers(secret, threshold, count)
    return _split(secret, threshold, count, os.urandom((threshold - 1) * len(secret)))


def split_from(secret: bytes, threshold: int, count: int, randomness: bytes) -> tuple[Share, ...]:
    """``split`` with given secret randomness of (threshold - 1) * len(secret) bytes, for those who must all
    make the same shares. It must be used for this secret alone.
    """
    _check_numbers(secret, threshold, count)
    return _split(secret, threshold, count, randomness)


def combine(shares: Sequence[Share], threshold: int) -> bytes:
    """The secret from at least ``threshold`` shares.

    Raises InvalidInput for too few shares, for two with one index and for different lengths. Shares beyond
    the threshold are checked against the others: VerificationFailed if they do not fit together. Exactly
    ``threshold`` shares always fit, so then a wrong share gives a wrong secret.
    """
    if threshold < 1 or len(shares) < threshold:
        raise InvalidInput(
            "{given} shares were given and {threshold} are needed.", given=len(shares), threshold=threshold
        )
    if len({share.index for share in shares}) != len(shares):
        raise InvalidInput("Two shares have the same index.", fix="Give each share once.")
    size = len(shares[0].value)
    if any(len(share.value) != size for share in shares):
        raise InvalidInput("The shares have different lengths, so they are not of one secret.")
    used, extra = shares[:threshold], shares[threshold:]
    for share in extra:
        if _interpolate(used, share.index, size) != share.value:
            raise VerificationFailed("The shares are not all of one secret.")
    return _interpolate(used, 0, size)


def encode_share(share: Share) -> bytes:
    """Eight bytes of magic, the index, the value."""
    return _MAGIC + bytes([share.index]) + share.value


def decode_share(data: bytes) -> Share:
    """The share that ``encode_share`` wrote; raises VerificationFailed otherwise."""
    if data[:8] != _MAGIC or not 10 <= len(data) <= 9 + MAX_SECRET_BYTES or data[8] == 0:
        raise VerificationFailed("The bytes are not a share.")
    return Share(data[8], bytes(data[9:]))


def _check_numbers(secret: bytes, threshold: int, count: int) -> None:
    if not 1 <= threshold <= count <= MAX_SHARES:
        raise InvalidInput(
            "A threshold of {threshold} among {count} shares is not possible.",
            fix="Use 1 <= threshold <= count <= 255.",
            threshold=threshold,
            count=count,
        )
    if not 1 <= len(secret) <= MAX_SECRET_BYTES:
        raise InvalidInput("A shared secret has 1 to {limit} bytes.", limit=MAX_SECRET_BYTES)


def _split(secret: bytes, threshold: int, count: int, randomness: bytes) -> tuple[Share, ...]:
    """``split`` with given coefficients: (threshold - 1) * len(secret) bytes, lowest degree first."""
    size = len(secret)
    if len(randomness) != (threshold - 1) * size:
        raise InvalidInput("The coefficients have the wrong length.")
    packed = [int.from_bytes(secret)]
    packed += [int.from_bytes(randomness[i : i + size]) for i in range(0, len(randomness), size)]
    shares = []
    for index in range(1, count + 1):
        value = 0
        for coefficient in reversed(packed):
            value = _times(value, index, size) ^ coefficient
        shares.append(Share(index, value.to_bytes(size)))
    return tuple(shares)


def _interpolate(shares: Sequence[Share], at: int, size: int) -> bytes:
    """Lagrange: the value at ``at`` of the polynomials through ``shares``."""
    total = 0
    for share in shares:
        numerator = denominator = 1
        for other in shares:
            if other.index != share.index:
                numerator = _times(numerator, other.index ^ at, 1)
                denominator = _times(denominator, other.index ^ share.index, 1)
        weight = _times(numerator, _inverse(denominator), 1)
        total ^= _times(int.from_bytes(share.value), weight, size)
    return total.to_bytes(size)


def _times(vector: int, factor: int, size: int) -> int:
    """``size`` field elements packed into ``vector``, each times the public ``factor``."""
    ones = int.from_bytes(b"\x01" * size)
    low = ones * 0x7F
    product = 0
    while factor:
        if factor & 1:
            product ^= vector
        vector = ((vector & low) << 1) ^ (((vector >> 7) & ones) * 0x1B)
        factor >>= 1
    return product


def _inverse(factor: int) -> int:
    """factor^254, which is 1/factor in a field of 256 elements; ``factor`` is public."""
    result, power = 1, factor
    for _ in range(7):
        power = _times(power, power, 1)
        result = _times(result, power, 1)
    return result

"""That ciphertexts were made of short integers: few commitments for many ciphertexts, generous with "short".

For each of m ciphertexts c_j there are |x_j| < 2^short_bits and r_j with c_j = (1+n)^x_j * hs^r_j mod n^2. A sigma
protocol over the integers with challenges of single bits (as in Damgard and Fujisaki, ASIACRYPT 2002), all m statements
under the same ROWS commitments in the manner of del Pino and Lyubashevsky, "Amortization with fewer equations for
proving knowledge of small secrets" (CRYPTO 2017):

    commitment k:  a_k = (1+n)^y_k * hs^s_k
    challenge:     a bit e_kj for each row k and ciphertext j
    response k:    z_k = y_k + sum_j e_kj * x_j,  t_k = s_k + sum_j e_kj * r_j
    accepted:      (1+n)^z_k * hs^t_k = a_k * prod_j c_j^e_kj, and z_k not longer than its bytes

Soundness: fix the commitments and all columns but column j. Two challenges whose columns j differ, in row k say, and
that both can be answered, give c_j = (1+n)^(z-z') * hs^(t-t') up to sign. Division is by 1, so this holds exactly, with
no assumption and whatever n is. A c_j that is not short can therefore be answered for at most one of 2^ROWS columns:
error 2^-128 for each hash tried. Zero knowledge: every mask is 2^100 times what it hides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trustspace.aggregation.paillier.arithmetic import expand, inverse, random_bits
from trustspace.aggregation.paillier.keys import PublicKey
from trustspace.errors import VerificationFailed

ROWS = 128
_MASKING_BITS = 100
_CHALLENGE_BYTES = 32
_DOMAIN = b"trustspace paillier shortness challenge v1\n"
Hash = Callable[[bytes], bytes]
"""SHA-256 of the commitments and of everything said before."""


def prove_short(
    public: PublicKey,
    ciphertexts: Sequence[int],
    values: Sequence[int],
    exponents: Sequence[int],
    bits: int,
    hashed: Hash,
) -> bytes:
    """The proof for values |x| < 2^bits whose ciphertexts have the noise hs^``exponents``."""
    shape = _Shape(public, len(ciphertexts), bits)
    masks = [shape.value_mask() for _ in range(ROWS)]
    noises = [random_bits(shape.noise_bits) for _ in range(ROWS)]
    challenge = hashed(
        public.encode(
            public.add(public.plain(y), public.noise(s)) for y, s in zip(masks, noises, strict=True)
        )
    )
    proof = [challenge]
    for y, s, row in zip(masks, noises, _matrix(challenge, len(ciphertexts)), strict=True):
        chosen = np.flatnonzero(row).tolist()
        proof.append((y + sum(values[j] for j in chosen)).to_bytes(shape.value_bytes))
        proof.append((s + sum(exponents[j] for j in chosen)).to_bytes(shape.noise_bytes))
    return b"".join(proof)


def verify_short(
    public: PublicKey, ciphertexts: Sequence[int], bits: int, proof: bytes, hashed: Hash
) -> None:
    """Raises VerificationFailed unless the proof shows all values to be below 2^short_bits in magnitude."""
    shape = _Shape(public, len(ciphertexts), bits)
    if len(proof) != short_bytes(public, len(ciphertexts), bits):
        raise VerificationFailed("The proof of encrypted weights does not have its length.")
    challenge, square = proof[:_CHALLENGE_BYTES], public.square
    inverses = [inverse(ciphertext, square) for ciphertext in ciphertexts]
    commitments, at = [], _CHALLENGE_BYTES
    for row in _matrix(challenge, len(ciphertexts)):
        middle, end = at + shape.value_bytes, at + shape.value_bytes + shape.noise_bytes
        z, t = int.from_bytes(proof[at:middle]), int.from_bytes(proof[middle:end])
        chosen = [inverses[j] for j in np.flatnonzero(row).tolist()]
        commitments.append(public.add(public.plain(z), public.noise(t), *chosen))
        at = end
    if hashed(public.encode(commitments)) != challenge:
        raise VerificationFailed("The proof of encrypted weights does not hold.")


def short_bytes(public: PublicKey, count: int, bits: int) -> int:
    """The proof's length for so many ciphertexts."""
    shape = _Shape(public, count, bits)
    return _CHALLENGE_BYTES + ROWS * (shape.value_bytes + shape.noise_bytes)


def short_bits(public: PublicKey, count: int, bits: int) -> int:
    """The b of |x| < 2^b, which is what is proven of values |x| < 2^bits: two responses differ by less."""
    return 8 * _Shape(public, count, bits).value_bytes


class _Shape:
    """How long masks and responses are."""

    def __init__(self, public: PublicKey, count: int, bits: int) -> None:
        total = count.bit_length()
        self._value_bits = bits + total
        self.noise_bits = public.bits // 2 + total + _MASKING_BITS
        self.value_bytes = (self._value_bits + _MASKING_BITS + 1 + 7) // 8
        self.noise_bytes = (self.noise_bits + 1 + 7) // 8

    def value_mask(self) -> int:
        """y: above every sum of values, so that no response is negative."""
        return (1 << self._value_bits) + random_bits(self._value_bits + _MASKING_BITS)


def _matrix(challenge: bytes, count: int) -> NDArray[np.uint8]:
    """The challenge's bits, [ROWS, count]."""
    data = np.frombuffer(expand(_DOMAIN + challenge, ROWS * count // 8), np.uint8)
    return np.unpackbits(data).reshape(ROWS, count)

"""That the squares of encrypted weights add up to no more than a bound: exactly, without a trusted set-up.

4 * (bound - sum_j w_j^2) + 1 is a sum of three squares if and only if it is not negative. So the prover encrypts a, b
and c and proves, for x = (w_1, ..., w_m, a, b, c) and k = (4, ..., 4, 1, 1, 1):

    sum_i k_i * x_i^2 = 4 * bound + 1   modulo n

That every |x_i| is far below sqrt(n) is what ``shortness`` proves, so the equation holds in the integers, as in
Couteau, Goudarzi, Klooss and Reichle, "Sharp: short relaxed range proofs" (CCS 2022). A sigma protocol with
REPETITIONS challenges e of CHALLENGE_BITS bits, for c_i = (1+n)^x_i * hs^r_i:

    commitments:  A_i = (1+n)^y_i * hs^s_i  and  T = prod_i c_i^(k_i y_i) * hs^-t
    responses:    z_i = y_i + e x_i,  u_i = s_i + e r_i,  v = t + e * sum_i k_i x_i r_i
    accepted:     (1+n)^z_i * hs^u_i = A_i * c_i^e  and  prod_i c_i^(k_i z_i) * hs^-v = T * (1+n)^(e (4 bound + 1))

Two answers to the same commitments, with d = e - e', give d x_i = z_i - z_i' and d (4 bound + 1) = sum_i k_i x_i
(z_i - z_i') modulo n, and d has an inverse because n has no prime below 2^CHALLENGE_BITS. So a false equation is
answered for one challenge in 2^20: error 2^-140 for each hash tried. It takes gcd(n, phi(n)) = 1, which is
``proofs.verify_modulus``. Zero knowledge: every mask is 2^100 times what it hides.
"""

from __future__ import annotations

from collections.abc import Sequence

from trustspace.aggregation.paillier.arithmetic import (
    SMALL_PRIME_BITS,
    expand,
    inverse,
    power,
    product_of_powers,
    random_bits,
)
from trustspace.aggregation.paillier.keys import PublicKey
from trustspace.aggregation.paillier.shortness import Hash
from trustspace.errors import VerificationFailed

REPETITIONS = 7
CHALLENGE_BITS = SMALL_PRIME_BITS
EXTRA = 3
"""How many ciphertexts come after the weights': those of a, b and c."""
_MASKING_BITS = 100
_CHALLENGE_BYTES = 32
_DOMAIN = b"trustspace paillier norm challenge v1\n"


def prove_norm(
    public: PublicKey,
    ciphertexts: Sequence[int],
    values: Sequence[int],
    exponents: Sequence[int],
    bound: int,
    hashed: Hash,
) -> bytes:
    """The proof about ``ciphertexts`` of ``values``, a, b and c included, whose noise is hs^``exponents``."""
    shape = _Shape(public, len(values), bound)
    factors = _factors(len(values))
    noise = sum(k * x * r for k, x, r in zip(factors, values, exponents, strict=True))
    masks, said = [], []
    for _ in range(REPETITIONS):
        ys = [shape.value_mask() for _ in values]
        ss = [random_bits(shape.noise_bits) for _ in values]
        t = shape.total_mask()
        masks.append((ys, ss, t))
        said += [public.add(public.plain(y), public.noise(s)) for y, s in zip(ys, ss, strict=True)]
        said.append(_combined(public, ciphertexts, ys, t, 0))
    challenge = hashed(public.encode(said))
    proof = [challenge]
    for e, (ys, ss, t) in zip(_challenges(challenge), masks, strict=True):
        for x, r, y, s in zip(values, exponents, ys, ss, strict=True):
            proof += [
                (y + e * x).to_bytes(shape.value_bytes),
                (s + e * r).to_bytes(shape.noise_bytes),
            ]
        proof.append((t + e * noise).to_bytes(shape.total_bytes))
    return b"".join(proof)


def verify_norm(
    public: PublicKey, ciphertexts: Sequence[int], bound: int, proof: bytes, hashed: Hash
) -> None:
    """Raises VerificationFailed unless the proof holds; it says nothing without the other two (see above)."""
    shape = _Shape(public, len(ciphertexts), bound)
    if len(proof) != norm_bytes(public, len(ciphertexts), bound):
        raise VerificationFailed("The proof of encrypted weights does not have its length.")
    challenge, at, square = proof[:_CHALLENGE_BYTES], _CHALLENGE_BYTES, public.square

    def take(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(proof[at - size : at])

    inverses = [inverse(ciphertext, square) for ciphertext in ciphertexts]
    said = []
    for e in _challenges(challenge):
        zs = []
        for inverted in inverses:
            z, u = take(shape.value_bytes), take(shape.noise_bytes)
            said.append(public.add(public.plain(z), public.noise(u), power(inverted, e, square)))
            zs.append(z)
        said.append(_combined(public, ciphertexts, zs, take(shape.total_bytes), e * (4 * bound + 1)))
    if hashed(public.encode(said)) != challenge:
        raise VerificationFailed("The proof of encrypted weights does not hold.")


def norm_bytes(public: PublicKey, count: int, bound: int) -> int:
    """The proof's length for so many ciphertexts, a, b and c included."""
    shape = _Shape(public, count, bound)
    rows = count * (shape.value_bytes + shape.noise_bytes) + shape.total_bytes
    return _CHALLENGE_BYTES + REPETITIONS * rows


def root_bits(bound: int) -> int:
    """The bits of a number whose square is at most 4 * bound + 1: of a, b and c, and of every weight."""
    return (bound.bit_length() + 1) // 2 + 1


class _Shape:
    """How long masks and responses are."""

    def __init__(self, public: PublicKey, count: int, bound: int) -> None:
        self._value_bits = root_bits(bound) + CHALLENGE_BITS
        self._total_bits = public.bits // 2 + self._value_bits + 2 + count.bit_length()
        self.noise_bits = public.bits // 2 + CHALLENGE_BITS + _MASKING_BITS
        self.value_bytes = (self._value_bits + _MASKING_BITS + 1 + 7) // 8
        self.noise_bytes = (self.noise_bits + 1 + 7) // 8
        self.total_bytes = (self._total_bits + _MASKING_BITS + 1 + 7) // 8

    def value_mask(self) -> int:
        """y: above e * |x| whatever x is, so that no response is negative."""
        return (1 << self._value_bits) + random_bits(self._value_bits + _MASKING_BITS)

    def total_mask(self) -> int:
        """t: the same for the noise of all together."""
        return (1 << self._total_bits) + random_bits(self._total_bits + _MASKING_BITS)


def _factors(count: int) -> list[int]:
    return [4] * (count - EXTRA) + [1] * EXTRA


def _combined(
    public: PublicKey, ciphertexts: Sequence[int], values: Sequence[int], noise: int, plain: int
) -> int:
    """prod_i c_i^(k_i * value_i) * hs^-noise * (1+n)^-plain."""
    square = public.square
    scaled = [k * value for k, value in zip(_factors(len(values)), values, strict=True)]
    product = product_of_powers(ciphertexts, scaled, square)
    return public.add(product, inverse(public.noise(noise), square), public.plain(-plain))


def _challenges(challenge: bytes) -> list[int]:
    size = (CHALLENGE_BITS + 7) // 8
    data = expand(_DOMAIN + challenge, REPETITIONS * size)
    mask = (1 << CHALLENGE_BITS) - 1
    return [int.from_bytes(data[at : at + size]) & mask for at in range(0, len(data), size)]

"""What shows a stranger that a Paillier key and encrypted weights are what they are said to be.

Proofs are made non-interactive by Fiat and Shamir: challenges are SHA-256 over everything said before, the key and the
caller's context (job, attempt, owner), so a proof of one context is worth nothing in another.

**Modulus** (Goldberg, Reyzin, Sagga, Baldimtsi, "Efficient noninteractive certification of RSA moduli and beyond",
ASIACRYPT 2019): gcd(n, phi(n)) = 1, so that every ciphertext holds exactly one number. The prover gives n-th roots of
ROOTS numbers that the hash chose. If a prime f divides both n and phi(n), at most one in f of them has a root; f is
above 2^20 because the verifier itself tries all smaller primes. Soundness error 2^-140.

**Noise**: nothing to prove. A key holds h, and everyone computes hs = h^n, which is an n-th residue by construction.

**Weights**: sum_j w_j^2 <= m * (2^bits - 1)^2 for m weights. That follows for honest weights |w_j| < 2^bits, and it is
proven exactly: no single weight exceeds sqrt(m) * 2^bits, and all together carry no more than honest ones could. Two
parts: ``shortness`` shows that the ciphertexts were made of integers far below sqrt(n), by powers of hs, which is also
what makes ``PublicKey.hide`` hide; ``norm`` shows the sum of squares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from trustspace.aggregation.paillier.arithmetic import (
    coprime,
    expand,
    has_small_factor,
    is_prime,
    power,
    random_bits,
)
from trustspace.aggregation.paillier.keys import PrivateKey, PublicKey, _encrypt
from trustspace.aggregation.paillier.norm import EXTRA, prove_norm, root_bits, verify_norm
from trustspace.aggregation.paillier.shortness import Hash, prove_short, short_bytes, verify_short
from trustspace.aggregation.paillier.squares import three_squares
from trustspace.errors import InvalidInput, VerificationFailed

ROOTS = 7
MAX_WEIGHTS = 1024
MAX_WEIGHT_BITS = 64
_MODULUS_DOMAIN = b"trustspace paillier modulus proof v1\n"
_SHORT_DOMAIN = b"trustspace paillier shortness proof v1\n"
_NORM_DOMAIN = b"trustspace paillier norm proof v1\n"


def prove_modulus(private: PrivateKey, context: bytes) -> bytes:
    """That n is coprime to phi(n): ROOTS roots of bits/8 bytes, 2,688 bytes at 3072 bits."""
    size = private.public.bits // 8
    return b"".join(private.root(value).to_bytes(size) for value in _to_root(private.public, context))


def verify_modulus(public: PublicKey, proof: bytes, context: bytes) -> None:
    """Raises VerificationFailed unless n is composite, free of primes below 2^20 and proven coprime to phi(n)."""
    size, n = public.bits // 8, public.n
    if has_small_factor(n) or is_prime(n):
        raise VerificationFailed("A Paillier modulus has a small factor or is itself prime.")
    if len(proof) != ROOTS * size:
        raise VerificationFailed("The proof of a Paillier modulus does not have its length.")
    roots = [int.from_bytes(proof[at : at + size]) for at in range(0, len(proof), size)]
    for value, root in zip(_to_root(public, context), roots, strict=True):
        # A root that is no unit would be one of a number that is none: no honest prover meets it.
        if not 0 < root < n or not coprime(root, n) or power(root, n, n) != value:
            raise VerificationFailed("The proof of a Paillier modulus does not hold.")


def _to_root(public: PublicKey, context: bytes) -> list[int]:
    seed = _digest(_MODULUS_DOMAIN, public.to_bytes(), context)
    # 128 bits more than n: what the remainder prefers is below 2^-128.
    size = public.bits // 8 + 16
    stream = expand(seed, ROOTS * size)
    return [int.from_bytes(stream[at : at + size]) % public.n for at in range(0, len(stream), size)]


@dataclass(frozen=True)
class EncryptedWeights:
    """Ciphertexts of weights, how many bits their owner says they have, and the proof of that."""

    ciphertexts: tuple[int, ...]
    bits: int
    proof: bytes

    def to_bytes(self, public: PublicKey) -> bytes:
        """Count and bits, 2 bytes each, then the ciphertexts and the proof."""
        head = len(self.ciphertexts).to_bytes(2) + self.bits.to_bytes(2)
        return head + public.encode(self.ciphertexts) + self.proof

    @classmethod
    def from_bytes(cls, public: PublicKey, data: bytes) -> EncryptedWeights:
        """What ``to_bytes`` wrote; raises VerificationFailed for what cannot be. The proof is not checked yet."""
        count, weight_bits = int.from_bytes(data[:2]), int.from_bytes(data[2:4])
        end = 4 + count * public.ciphertext_bytes
        if len(data) < end:
            raise VerificationFailed("The bytes are not those of encrypted weights.")
        return cls(tuple(public.decode(data[4:end])), weight_bits, data[end:])


@dataclass(frozen=True)
class ProvenWeights:
    """Ciphertexts of weights |w| < 2^bits, as ``verify_weights`` found proven."""

    key: PublicKey
    ciphertexts: tuple[int, ...]
    bits: int


def proven_bits(bits: int, weights: int) -> int:
    """The b of |w| < 2^b, which is what a proof over so many weights of so many bits shows: sqrt(weights) more."""
    return bits + ((weights - 1).bit_length() + 1) // 2


def encrypt_weights(public: PublicKey, weights: Sequence[int], bits: int, context: bytes) -> EncryptedWeights:
    """Fresh ciphertexts of the weights and the proof; raises InvalidInput unless all |w| < 2^bits.

    Takes 128 + 7 * (weights + 3) encryptions and the proof that many bytes times 230 at 3072 bits.
    """
    if not (1 <= len(weights) <= MAX_WEIGHTS and 1 <= bits <= MAX_WEIGHT_BITS):
        raise InvalidInput("A proof covers between 1 and {limit} weights of 1 to 64 bits.", limit=MAX_WEIGHTS)
    if any(abs(weight) >= 1 << bits for weight in weights):
        raise InvalidInput("A weight has more than {bits} bits.", bits=bits)
    rest = 4 * (_bound(bits, len(weights)) - sum(weight * weight for weight in weights)) + 1
    return _prove(public, weights, three_squares(rest), bits, context)


def _prove(
    public: PublicKey, weights: Sequence[int], squares: Sequence[int], bits: int, context: bytes
) -> EncryptedWeights:
    """``encrypt_weights`` without its checks: what somebody who cheats would run."""
    values = [*weights, *squares]
    exponents = [random_bits(public.bits // 2) for _ in values]
    ciphertexts = [_encrypt(public, value, r) for value, r in zip(values, exponents, strict=True)]
    bound = _bound(bits, len(weights))
    short = prove_short(
        public,
        ciphertexts,
        values,
        exponents,
        root_bits(bound),
        _hash(_SHORT_DOMAIN, public, ciphertexts, bits, context),
    )
    norm = prove_norm(
        public, ciphertexts, values, exponents, bound, _hash(_NORM_DOMAIN, public, ciphertexts, bits, context)
    )
    count = len(weights)
    return EncryptedWeights(
        tuple(ciphertexts[:count]), bits, public.encode(ciphertexts[count:]) + short + norm
    )


def verify_weights(public: PublicKey, weights: EncryptedWeights, context: bytes) -> ProvenWeights:
    """The weights with the bits that are proven; raises VerificationFailed where the proof does not hold.

    It is worth nothing for a modulus that is not proven: call ``verify_modulus`` for the key as well.
    """
    count, bits = len(weights.ciphertexts), weights.bits
    if not (1 <= count <= MAX_WEIGHTS and 1 <= bits <= MAX_WEIGHT_BITS):
        raise VerificationFailed("Encrypted weights are more, or larger, than a proof covers.")
    bound = _bound(bits, count)
    extra = EXTRA * public.ciphertext_bytes
    split = extra + short_bytes(public, count + EXTRA, root_bits(bound))
    if len(weights.proof) < split:
        raise VerificationFailed("The proof of encrypted weights does not have its length.")
    public.check(weights.ciphertexts)
    every = [*weights.ciphertexts, *public.decode(weights.proof[:extra])]
    verify_short(
        public,
        every,
        root_bits(bound),
        weights.proof[extra:split],
        _hash(_SHORT_DOMAIN, public, every, bits, context),
    )
    verify_norm(
        public, every, bound, weights.proof[split:], _hash(_NORM_DOMAIN, public, every, bits, context)
    )
    return ProvenWeights(public, weights.ciphertexts, proven_bits(bits, count))


def _bound(bits: int, count: int) -> int:
    """What the squares of so many weights add up to at most."""
    return int(count * ((1 << bits) - 1) ** 2)


def _hash(domain: bytes, public: PublicKey, ciphertexts: Sequence[int], bits: int, context: bytes) -> Hash:
    """The challenge after some commitments: over the domain, the key, the context, all ciphertexts and the bits."""
    stated = len(ciphertexts).to_bytes(2) + bits.to_bytes(2) + public.encode(ciphertexts)
    return lambda said: _digest(domain, public.to_bytes(), context, stated, said)


def _digest(domain: bytes, *parts: bytes) -> bytes:
    """SHA-256 of the domain and of each part's own digest, so that no boundary can move."""
    digest = hashlib.sha256(domain)
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.digest()

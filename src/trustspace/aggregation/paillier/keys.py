"""Paillier keys: encrypt, add, multiply by a plain number, rerandomise and decrypt integers.

Paillier (EUROCRYPT 1999) with g = 1 + n, in the variant of Damgard, Jurik and Nielsen, "A generalization of
Paillier's public-key system with applications to electronic voting" (Int. J. Inf. Secur. 9, 2010): p = q = 3 (mod 4),
gcd(p-1, q-1) = 2, h = -x^2 mod n, and a ciphertext is (1+n)^m * hs^r mod n^2 with hs = h^n mod n^2 and a uniform r of
half as many bits as n. Half the bits are what that paper's proof needs: an exponent of 256 bits would be six times
faster and rest on one more assumption.

The published key is (n, h). Whoever uses it computes hs = h^n, so hs is an n-th residue by construction and no
key can smuggle a plaintext into what others encrypt or rerandomise.

Side channels: neither Python's nor GMP's integers take constant time, and freed memory is not wiped. Encryption
draws a fresh exponent each time and decryption blinds the ciphertext with a fresh power of hs, so no two runs work
on the same numbers; whoever shares a processor's caches with the process is not kept out. Private keys belong where
nobody else's code runs.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

from trustspace.aggregation.paillier.arithmetic import (
    FixedBase,
    below,
    big,
    coprime,
    inverse,
    is_prime,
    power,
    random_bits,
)
from trustspace.errors import InvalidInput, VerificationFailed

KEY_BITS = (2048, 3072)
"""What a modulus may have: about 112 and 128 bits of security (NIST SP 800-57 part 1, table 2)."""
HIDING_BITS = 128
"""By how many bits the exponent of ``hide`` exceeds the modulus: its distance from uniform is below 2^-128."""
_BLINDING_BITS = 128
_PUBLIC_MAGIC = b"trustspace paillier public v1\n"
_PRIVATE_MAGIC = b"trustspace paillier secret v1\n"


@dataclass(frozen=True)
class PublicKey:
    """The modulus n and the base h; raises VerificationFailed for what cannot be a key.

    That n has no small factors and is coprime to phi(n) takes a proof: ``proofs.verify_modulus``.
    """

    n: int
    h: int

    def __post_init__(self) -> None:
        if self.n.bit_length() not in KEY_BITS or self.n % 2 == 0:
            raise VerificationFailed("A Paillier modulus is an odd number of 2048 or 3072 bits.")
        if not 1 < self.h < self.n - 1 or not coprime(self.h, self.n):
            raise VerificationFailed("A Paillier key's base does not fit its modulus.")

    def __reduce__(self) -> tuple[type[PublicKey], tuple[int, int]]:
        # Without the tables that were made of it.
        return PublicKey, (self.n, self.h)

    def __repr__(self) -> str:
        return f"PublicKey({self.bits} bits, {self.digest()[:16]})"

    @property
    def bits(self) -> int:
        """The modulus's length in bits."""
        return self.n.bit_length()

    @property
    def ciphertext_bytes(self) -> int:
        """The length of a ciphertext on the wire."""
        return self.bits // 4

    @cached_property
    def square(self) -> int:
        """n^2."""
        return big(self.n) * self.n

    @cached_property
    def _noise(self) -> FixedBase:
        return FixedBase(power(self.h, self.n, self.square), self.square)

    def to_bytes(self) -> bytes:
        """The canonical bytes: a line that names the format, then n and h, big-endian, bits/8 bytes each."""
        return _PUBLIC_MAGIC + _fields((self.n, self.h), self.bits // 8)

    @classmethod
    def from_bytes(cls, data: bytes) -> PublicKey:
        """The key of which ``data`` are the canonical bytes; raises VerificationFailed for anything else."""
        n, h = _parse(data, _PUBLIC_MAGIC, [size // 8 for size in KEY_BITS], 2)
        key = cls(n, h)
        if key.to_bytes() != data:
            raise VerificationFailed("The bytes are not those of a Paillier key.")
        return key

    def digest(self) -> str:
        """SHA-256 of the canonical bytes, as hex."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def noise(self, exponent: int) -> int:
        """hs^exponent mod n^2: an encryption of 0. The exponent is not negative."""
        return self._noise.power(exponent)

    def plain(self, value: int) -> int:
        """(1+n)^value mod n^2: the encryption of ``value`` that hides nothing. Any integer, taken modulo n."""
        return (1 + value % self.n * big(self.n)) % self.square

    def encrypt(self, value: int) -> int:
        """A fresh ciphertext of ``value``; raises InvalidInput unless |value| < n/2."""
        return _encrypt(self, value, random_bits(self.bits // 2))

    def add(self, *ciphertexts: int) -> int:
        """A ciphertext of the sum modulo n, as random as the parts are together."""
        total = big(1)
        for ciphertext in ciphertexts:
            total = total * ciphertext % self.square
        return int(total)

    def add_plain(self, ciphertext: int, value: int) -> int:
        """A ciphertext of the sum with a number that is not hidden; no fresh randomness."""
        return int(self.plain(value) * ciphertext % self.square)

    def multiply(self, ciphertext: int, factor: int) -> int:
        """A ciphertext of the product with a number that is not hidden; no fresh randomness."""
        return int(power(ciphertext, factor, self.square))

    def rerandomise(self, ciphertext: int) -> int:
        """Another ciphertext of the same number: nobody without the private key can link the two."""
        return int(self.noise(random_bits(self.bits // 2)) * ciphertext % self.square)

    def hide(self, ciphertext: int) -> int:
        """A ciphertext of which even the key's owner learns nothing but the number in it.

        Multiplies by an element of <hs> that is within 2^-HIDING_BITS of uniform (its order is below n). That hides
        how the ciphertext came about where it is a product of (1+n)^m and powers of hs: ``proofs.verify_weights``.
        """
        return int(self.noise(random_bits(self.bits + HIDING_BITS)) * ciphertext % self.square)

    def encode(self, ciphertexts: Iterable[int]) -> bytes:
        """Ciphertexts as bytes: big-endian, ``ciphertext_bytes`` each."""
        return _fields(ciphertexts, self.ciphertext_bytes)

    def decode(self, data: bytes) -> list[int]:
        """What ``encode`` wrote; raises VerificationFailed where something in it is not a ciphertext of this key."""
        size = self.ciphertext_bytes
        if len(data) % size:
            raise VerificationFailed("Ciphertexts of this key are {size} bytes long each.", size=size)
        found = [int.from_bytes(data[at : at + size]) for at in range(0, len(data), size)]
        self.check(found)
        return found

    def check(self, ciphertexts: Iterable[int]) -> None:
        """Raises VerificationFailed unless all are ciphertexts under this key: in 1..n^2-1 and coprime to n."""
        for ciphertext in ciphertexts:
            if not 0 < ciphertext < self.square or not coprime(ciphertext, self.n):
                raise VerificationFailed("A number is not a ciphertext of this Paillier key.")


def _encrypt(key: PublicKey, value: int, exponent: int) -> int:
    """``encrypt`` with a given exponent, for test vectors and for proofs about the exponent."""
    if 2 * abs(value) >= key.n:
        raise InvalidInput("A number is too large for a Paillier plaintext of {bits} bits.", bits=key.bits)
    return int(key.plain(value) * key.noise(exponent) % key.square)


class PrivateKey:
    """The factors of a modulus. What is printed of it is its public half; it cannot be copied or pickled."""

    def __init__(self, p: int, q: int, h: int) -> None:
        """Raises InvalidInput unless p and q are primes of one length that lie apart.

        They need not be 3 modulo 4, so that other software's keys can be used; the proof of the variant is about
        those that are, which ``generate`` makes.
        """
        if p < 3 or q < 3 or not (_apart(p, q) and is_prime(p) and is_prime(q)):
            raise InvalidInput("Two numbers are not the primes of a Paillier key of 2048 or 3072 bits.")
        self._p, self._q = big(p), big(q)
        self.public = PublicKey(p * q, h)
        self._p_square, self._q_square = self._p * p, self._q * q
        # (1+n)^(p-1) = 1 + n(p-1) modulo p^2, of which L(u) = (u-1)/p makes -q modulo p.
        self._p_factor, self._q_factor = inverse(-q % p, p), inverse(-p % q, q)
        self._q_inverse = inverse(q, p)

    @classmethod
    def generate(cls, bits: int = 3072) -> PrivateKey:
        """A fresh key; raises InvalidInput for a length that is not in KEY_BITS.

        Primes come from OpenSSL's RSA keys: random, of exactly bits/2 bits, the two highest set, so that the
        product of any two has ``bits`` bits.
        """
        if bits not in KEY_BITS:
            raise InvalidInput("A Paillier key has 2048 or 3072 bits.")
        # Here, since a sandbox, which works with public keys only, has no such library.
        from cryptography.hazmat.primitives.asymmetric import rsa

        found: list[int] = []
        while True:
            numbers = rsa.generate_private_key(65537, bits).private_numbers()
            for prime in (numbers.p, numbers.q):
                partner = next((other for other in found if _partners(prime, other)), None)
                if partner is not None:
                    return cls(prime, partner, fresh_base(prime * partner))
                if prime % 4 == 3:
                    found.append(prime)

    def __repr__(self) -> str:
        return f"PrivateKey({self.public!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateKey) and hmac.compare_digest(self.to_bytes(), other.to_bytes())

    def __hash__(self) -> int:
        return hash(self.public)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key cannot be copied")

    def to_bytes(self) -> bytes:
        """The secret bytes, for a file that nobody else can read."""
        factors = sorted((int(self._p), int(self._q)))
        half = self.public.bits // 16
        return _PRIVATE_MAGIC + _fields(factors, half) + _fields([self.public.h], 2 * half)

    @classmethod
    def from_bytes(cls, data: bytes) -> PrivateKey:
        """What ``to_bytes`` wrote; raises VerificationFailed for other bytes and InvalidInput for unfit primes."""
        p, q, low, high = _parse(data, _PRIVATE_MAGIC, [size // 16 for size in KEY_BITS], 4)
        half = (len(data) - len(_PRIVATE_MAGIC)) // 4
        key = cls(p, q, low << 8 * half | high)
        if not hmac.compare_digest(key.to_bytes(), data):
            raise VerificationFailed("The bytes are not those of a Paillier key.")
        return key

    def factors(self) -> tuple[int, int]:
        """The primes: the secret itself, for other software's key objects."""
        return int(self._p), int(self._q)

    def decrypt(self, ciphertext: int) -> int:
        """The number in -n/2..n/2; raises VerificationFailed for what is not a ciphertext of this key.

        By the Chinese remainder theorem (Paillier 1999, section 7): two powers of half the length, four times as fast.
        """
        self.public.check([ciphertext])
        blinded = self.public.noise(random_bits(_BLINDING_BITS)) * ciphertext
        p, q = self._p, self._q
        mp = (power(blinded % self._p_square, p - 1, self._p_square) - 1) // p * self._p_factor % p
        mq = (power(blinded % self._q_square, q - 1, self._q_square) - 1) // q * self._q_factor % q
        value = int(mq + q * ((mp - mq) * self._q_inverse % p))
        return value - self.public.n if 2 * value >= self.public.n else value

    def decrypt_many(self, ciphertexts: Iterable[int]) -> list[int]:
        """``decrypt`` of each."""
        return [self.decrypt(ciphertext) for ciphertext in ciphertexts]

    def root(self, value: int) -> int:
        """The only n-th root of a unit modulo n: what proves that n is coprime to phi(n)."""
        p, q = self._p, self._q
        rp = power(value % p, inverse(self.public.n % (p - 1), p - 1), p)
        rq = power(value % q, inverse(self.public.n % (q - 1), q - 1), q)
        return int(rq + q * ((rp - rq) * self._q_inverse % p))


def _partners(p: int, q: int) -> bool:
    """Whether two primes make a key of the variant above."""
    return p % 4 == q % 4 == 3 and _apart(p, q) and coprime((p - 1) // 2, (q - 1) // 2)


def _apart(p: int, q: int) -> bool:
    # Primes of one length do not divide each other's predecessor, so gcd(n, phi(n)) = 1. FIPS 186-5, appendix
    # A.1.3: not so close that Fermat's method finds them.
    length = (p * q).bit_length()
    halves = p.bit_length() == q.bit_length() == length // 2
    return length in KEY_BITS and halves and abs(p - q).bit_length() > length // 2 - 100


def fresh_base(n: int) -> int:
    """-x^2 modulo n for a random unit x: a base h. Anybody may choose one; its x opens nothing."""
    while not coprime(x := 2 + below(n - 3), n):
        pass
    return -x * x % n


def _fields(values: Iterable[int], size: int) -> bytes:
    return b"".join(int(value).to_bytes(size) for value in values)


def _parse(data: bytes, magic: bytes, sizes: Sequence[int], count: int) -> list[int]:
    size, rest = divmod(len(data) - len(magic), count)
    if not data.startswith(magic) or rest or size not in sizes:
        raise VerificationFailed("The bytes are not those of a Paillier key.")
    return [int.from_bytes(data[at : at + size]) for at in range(len(magic), len(data), size)]

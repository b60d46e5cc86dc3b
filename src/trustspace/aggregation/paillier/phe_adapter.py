"""To and from the keys and encrypted numbers of phe (python-paillier), where it is installed.

phe's metadata says GPLv3: it is the optional extra ``phe``, imported here only and only when a function is called. Its
numbers are integers times a power of 16 (``exponent``); ciphertexts are the same numbers modulo n^2 in both.
"""

from __future__ import annotations

from typing import Any

from trustspace.aggregation.paillier.keys import PrivateKey, PublicKey, fresh_base
from trustspace.errors import InvalidInput, Unavailable


def public_to_phe(key: PublicKey) -> Any:
    """A ``phe.PaillierPublicKey``. phe draws its own noise, so h stays behind."""
    return _phe().PaillierPublicKey(key.n)


def public_from_phe(key: Any) -> PublicKey:
    """The same modulus with a fresh h; raises VerificationFailed for one that is not of 2048 or 3072 bits.

    phe does not make p = q = 3 (mod 4), which the proof of the variant in ``keys`` is about.
    """
    return PublicKey(int(key.n), fresh_base(int(key.n)))


def private_to_phe(key: PrivateKey) -> Any:
    """A ``phe.PaillierPrivateKey``. Handle it like the key itself."""
    p, q = key.factors()
    return _phe().PaillierPrivateKey(public_to_phe(key.public), p, q)


def private_from_phe(key: Any) -> PrivateKey:
    """The same primes with a fresh h; raises InvalidInput for those that ``PrivateKey`` does not take."""
    p, q = int(key.p), int(key.q)
    return PrivateKey(p, q, fresh_base(p * q))


def number_to_phe(key: PublicKey, ciphertext: int, exponent: int = 0) -> Any:
    """A ``phe.EncryptedNumber`` of the plaintext times 16^exponent; phe rerandomises it before it hands it out."""
    key.check([ciphertext])
    return _phe().EncryptedNumber(public_to_phe(key), ciphertext, exponent)


def number_from_phe(key: PublicKey, number: Any) -> tuple[int, int]:
    """The ciphertext, rerandomised by phe, and the exponent; raises InvalidInput for another key's number."""
    if int(number.public_key.n) != key.n:
        raise InvalidInput("An encrypted number belongs to another Paillier key.")
    ciphertext = int(number.ciphertext(be_secure=True))
    key.check([ciphertext])
    return ciphertext, int(number.exponent)


def _phe() -> Any:
    try:
        import phe
    except ImportError:
        raise Unavailable(
            "phe is not installed.", fix="Install it with pip install 'trustspace[phe]'."
        ) from None
    return phe

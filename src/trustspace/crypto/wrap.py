"""Sealing a key to a key: HPKE (RFC 9180), base mode.

Suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM, one message per encapsulation, empty associated
data. What a sealed key is for goes into ``info``, which the key schedule binds: with another ``info`` it does
not open. Wire form: 32 bytes of encapsulated key, then the ciphertext and its 16-byte tag.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from trustspace.errors import InvalidInput, InvalidTransition, VerificationFailed

OVERHEAD_BYTES = 32 + 16
MAX_PLAINTEXT_BYTES = 1 << 20
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def seal_to(public: bytes, plaintext: bytes, info: bytes) -> bytes:
    """``plaintext`` (a key, at most 1 MiB) sealed to a raw X25519 public key; 48 bytes longer.

    Raises InvalidInput for an unusable key, an empty ``info`` (nothing would be bound) or too much plaintext.
    """
    _require_info(info)
    if len(plaintext) > MAX_PLAINTEXT_BYTES:
        raise InvalidInput(
            "Only keys and other small secrets are sealed to a key, up to {limit} bytes.",
            fix="Seal the content with a data key and seal that key.",
            limit=MAX_PLAINTEXT_BYTES,
        )
    try:
        return _SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(public), info)
    except ValueError:
        # A wrong length, or a point of small order: the shared secret would be known to everyone.
        raise InvalidInput("The recipient's key is not a usable X25519 public key.") from None


def open_sealed(private: X25519PrivateKey, sealed: bytes, info: bytes) -> bytes:
    """What ``seal_to`` sealed to ``private`` with the same ``info``; raises VerificationFailed otherwise."""
    _require_info(info)
    try:
        return _SUITE.decrypt(sealed, private, info)
    except (InvalidTag, ValueError):
        raise VerificationFailed("It was not sealed to this key for this purpose, or was changed.") from None


class OneTimeKey:
    """An X25519 key that lives in memory only: the key of one run.

    ``destroy`` drops the last reference to it. Python gives no way to be sure that no copy stays in freed
    memory; the process that holds it ends with the run.
    """

    def __init__(self, private: X25519PrivateKey) -> None:
        self._private: X25519PrivateKey | None = private
        self._public = private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> OneTimeKey:
        return cls(X25519PrivateKey.generate())

    @property
    def public(self) -> bytes:
        """The raw 32-byte public key; stays readable after ``destroy``."""
        return self._public

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """What was sealed to ``public`` with the same ``info``.

        Raises VerificationFailed where it does not open, InvalidTransition after ``destroy``.
        """
        if self._private is None:
            raise InvalidTransition("The one-time key has been destroyed.")
        return open_sealed(self._private, sealed, info)

    def destroy(self) -> None:
        """Forget the private key; may be called again."""
        self._private = None


def _require_info(info: bytes) -> None:
    if not info:
        raise InvalidInput("A key is sealed for a purpose.", fix="Give the digest of what it is bound to.")

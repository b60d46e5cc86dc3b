"""Where a party's secrets stay: a key store does things with keys and never hands one out.

A hospital's own key management can stand behind the same interface. Private and data keys have no way out of
it except a data key sealed to somebody's public key.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from trustspace.crypto.seal import KEY_BYTES, Context, Sealer
from trustspace.crypto.wrap import open_sealed, seal_to
from trustspace.errors import AlreadyExists, InvalidInput, NotFound

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


class KeyStore(Protocol):
    """Named secrets of one party.

    Names are up to 128 characters of a-z, 0-9, dot, hyphen and underscore, starting with a letter or digit
    (InvalidInput). Every method that takes a name raises NotFound for one that does not exist and
    InvalidInput for a key of the wrong kind; the create methods raise AlreadyExists.
    """

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""

    def public(self, name: str) -> bytes:
        """The raw 32-byte public half of a signing or opening key."""

    def create_signing_key(self, name: str) -> bytes:
        """A new Ed25519 key; returns its raw public half."""

    def create_opening_key(self, name: str) -> bytes:
        """A new X25519 key; returns its raw public half."""

    def create_data_key(self, name: str) -> None:
        """A new 32-byte key for sealing."""

    def sign(self, name: str, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of ``message`` by a signing key."""

    def open(self, name: str, sealed: bytes, info: bytes) -> bytes:
        """What ``seal_to`` sealed to an opening key; VerificationFailed where it does not open."""

    def sealer(self, name: str, context: Context) -> Sealer:
        """A sealer for one object under a data key."""

    def seal_data_key_to(self, name: str, recipient_public: bytes, info: bytes) -> bytes:
        """A data key, sealed to a raw X25519 public key and bound to ``info``."""

    def destroy(self, name: str) -> None:
        """Forget a key for good."""


class Kind(StrEnum):
    """What a key is for; it can do nothing else."""

    SIGNING = "signing"
    OPENING = "opening"
    DATA = "data"


@dataclass(frozen=True)
class KeyMaterial:
    """A secret of 32 bytes and its kind; only key stores hold one."""

    kind: Kind
    secret: bytes = field(repr=False)

    @property
    def public(self) -> bytes:
        """The raw public half; of a data key there is none, and it is empty."""
        if self.kind is Kind.SIGNING:
            return Ed25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()
        if self.kind is Kind.OPENING:
            return X25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()
        return b""


class BaseKeyStore(ABC):
    """What a key store does with a secret once it has it; subclasses say where secrets lie."""

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""

    @abstractmethod
    def _load(self, name: str) -> KeyMaterial:
        """The secret under a valid name; raises NotFound."""

    @abstractmethod
    def _add(self, name: str, material: KeyMaterial) -> None:
        """Keep a secret under a valid new name; raises AlreadyExists, also under a race."""

    @abstractmethod
    def _remove(self, name: str) -> None:
        """Forget the secret under a valid name; raises NotFound."""

    def _public(self, name: str) -> tuple[Kind, bytes]:
        material = self._load(name)
        return material.kind, material.public

    def public(self, name: str) -> bytes:
        kind, public = self._public(_valid(name))
        if kind is Kind.DATA:
            raise _wrong_kind(name, kind)
        return public

    def create_signing_key(self, name: str) -> bytes:
        return self._create(name, Kind.SIGNING)

    def create_opening_key(self, name: str) -> bytes:
        return self._create(name, Kind.OPENING)

    def create_data_key(self, name: str) -> None:
        self._create(name, Kind.DATA)

    def sign(self, name: str, message: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self._secret(name, Kind.SIGNING)).sign(message)

    def open(self, name: str, sealed: bytes, info: bytes) -> bytes:
        private = X25519PrivateKey.from_private_bytes(self._secret(name, Kind.OPENING))
        return open_sealed(private, sealed, info)

    def sealer(self, name: str, context: Context) -> Sealer:
        return Sealer(self._secret(name, Kind.DATA), context)

    def seal_data_key_to(self, name: str, recipient_public: bytes, info: bytes) -> bytes:
        return seal_to(recipient_public, self._secret(name, Kind.DATA), info)

    def destroy(self, name: str) -> None:
        self._remove(_valid(name))

    def _create(self, name: str, kind: Kind) -> bytes:
        # Any 32 bytes are a private key of either kind (RFC 8032 §5.1.5, RFC 7748 §5).
        material = KeyMaterial(kind, os.urandom(KEY_BYTES))
        self._add(_valid(name), material)
        return material.public

    def _secret(self, name: str, kind: Kind) -> bytes:
        material = self._load(_valid(name))
        if material.kind is not kind:
            raise _wrong_kind(name, material.kind)
        return material.secret


class MemoryKeyStore(BaseKeyStore):
    """Keys that live as long as the process: for enclaves' run keys and for tests."""

    def __init__(self) -> None:
        self._keys: dict[str, KeyMaterial] = {}

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._keys))

    def _load(self, name: str) -> KeyMaterial:
        try:
            return self._keys[name]
        except KeyError:
            raise missing_key(name) from None

    def _add(self, name: str, material: KeyMaterial) -> None:
        # One step, so that of two threads exactly one creates the key.
        if self._keys.setdefault(name, material) is not material:
            raise existing_key(name)

    def _remove(self, name: str) -> None:
        if self._keys.pop(name, None) is None:
            raise missing_key(name)


def missing_key(name: str) -> NotFound:
    return NotFound("There is no key named {name}.", name=name)


def existing_key(name: str) -> AlreadyExists:
    return AlreadyExists("There is already a key named {name}.", fix="Choose another name.", name=name)


def is_key_name(name: str) -> bool:
    """Whether ``name`` may name a key; such a name is also safe as a file's."""
    return _NAME.fullmatch(name) is not None


def _valid(name: str) -> str:
    if not is_key_name(name):
        raise InvalidInput(
            "A key's name has up to 128 of a-z, 0-9, '.', '-' and '_', and starts with a letter or digit."
        )
    return name


def _wrong_kind(name: str, kind: Kind) -> InvalidInput:
    return InvalidInput("Key {name} is a {kind} key and cannot do this.", name=name, kind=kind.value)

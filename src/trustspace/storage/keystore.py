"""A key store in a directory: one file per key, readable by its owner only.

A file is canonical JSON {"format", "kind", "name", "public", "protection", "secret"}. With a passphrase the
secret is AES-256-GCM (12-byte random nonce before it) under scrypt of the passphrase (RFC 7914). Everything
else in the file, its name above all, is the associated data: a file renamed to another key's name does not
open. The keys of one store share a salt, so that a process pays for scrypt once.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import os
import stat
import unicodedata
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from trustspace.crypto.canonical import JsonValue, canonical_json, parse_canonical
from trustspace.crypto.keys import BaseKeyStore, KeyMaterial, Kind, existing_key, is_key_name, missing_key
from trustspace.crypto.seal import KEY_BYTES, TAG_BYTES
from trustspace.errors import (
    AlreadyExists,
    InvalidInput,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    VerificationFailed,
)
from trustspace.storage.files import fsync_dir, sweep_temporary, write_new

SCRYPT_N = 2**15
_SCRYPT_R = 8
_SCRYPT_P = 1
_SALT_BYTES = 16
_NONCE_BYTES = 12
_FORMAT = "trustspace-key-v1"
_SUFFIX = ".key"
_MAX_FILE_BYTES = 4096
_FIELDS = ["format", "kind", "name", "protection", "public", "secret"]


@dataclass(frozen=True)
class _Protection:
    """scrypt's cost and salt; ``n`` is 0 for a key that no passphrase protects."""

    n: int
    salt: bytes

    def to_json(self) -> dict[str, JsonValue]:
        if self.n == 0:
            return {"kdf": "none"}
        return {"kdf": "scrypt", "n": self.n, "p": _SCRYPT_P, "r": _SCRYPT_R, "salt": self.salt.hex()}


@dataclass(frozen=True)
class _KeyFile:
    kind: Kind
    name: str
    public: bytes
    protection: _Protection
    secret: bytes = field(repr=False)

    def associated(self) -> bytes:
        """Everything but the secret."""
        return canonical_json(self._fields())

    def to_bytes(self) -> bytes:
        return canonical_json({**self._fields(), "secret": self.secret.hex()})

    def _fields(self) -> dict[str, JsonValue]:
        return {
            "format": _FORMAT,
            "kind": self.kind.value,
            "name": self.name,
            "protection": self.protection.to_json(),
            "public": self.public.hex(),
        }


class FileKeyStore(BaseKeyStore):
    """Keys in ``directory``, which is created with mode 0700 if it is missing; ``passphrase`` may be None.

    Raises PermissionDenied where group or others may read the directory or a key file, Unauthenticated for a
    missing or wrong passphrase, VerificationFailed for a damaged file, Unavailable when the disk fails.
    The passphrase and what scrypt makes of it stay in memory as long as the store.
    """

    def __init__(self, directory: Path, passphrase: str | None, *, _scrypt_n: int = SCRYPT_N) -> None:
        self._directory = directory
        self._passphrase = None if passphrase is None else _passphrase_bytes(passphrase)
        self._n = _scrypt_n
        self._derived: dict[_Protection, bytes] = {}
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = stat.S_IMODE(directory.stat().st_mode)
        except OSError as error:
            raise _cannot_read(directory, error) from error
        if mode & 0o077:
            raise PermissionDenied(
                "Others than its owner may enter the key directory {file}.",
                fix="Run: chmod 700 {file}",
                file=str(directory),
            )
        sweep_temporary(directory)

    def names(self) -> tuple[str, ...]:
        found = (path.name.removesuffix(_SUFFIX) for path in self._directory.glob(f"*{_SUFFIX}"))
        return tuple(sorted(name for name in found if is_key_name(name)))

    def _public(self, name: str) -> tuple[Kind, bytes]:
        # Public halves are shown without a passphrase; a secret is checked against its own when it is used.
        file = self._read(name)
        return file.kind, file.public

    def _load(self, name: str) -> KeyMaterial:
        file = self._read(name)
        material = KeyMaterial(file.kind, self._unlock(file))
        if not hmac.compare_digest(material.public, file.public):
            raise _damaged(name)
        return material

    def _add(self, name: str, material: KeyMaterial) -> None:
        if self._path(name).exists():
            raise existing_key(name)
        protection = self._protection()
        file = _KeyFile(material.kind, name, material.public, protection, material.secret)
        if protection.n:
            nonce = os.urandom(_NONCE_BYTES)
            sealed = AESGCM(self._key(protection)).encrypt(nonce, material.secret, file.associated())
            file = replace(file, secret=nonce + sealed)
        try:
            write_new(self._path(name), file.to_bytes())
        except AlreadyExists:
            raise existing_key(name) from None

    def _remove(self, name: str) -> None:
        path = self._path(name)
        try:
            # A disk that writes in place loses the bytes here. Flash, snapshots and backups may keep them.
            with open(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "wb", buffering=0) as file:
                file.write(bytes(os.fstat(file.fileno()).st_size))
                os.fsync(file.fileno())
            path.unlink()
            fsync_dir(self._directory)
        except FileNotFoundError:
            raise missing_key(name) from None
        except OSError as error:
            raise _cannot_read(path, error) from error

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{_SUFFIX}"

    def _protection(self) -> _Protection:
        """That of the keys already there, after opening one: a store has one passphrase."""
        if self._passphrase is None:
            for name in self.names():
                with contextlib.suppress(VerificationFailed):
                    if self._read(name).protection.n:
                        raise _needs_passphrase(name)
            return _Protection(0, b"")
        for name in self.names():
            with contextlib.suppress(VerificationFailed):
                file = self._read(name)
                self._unlock(file)
                return file.protection
        return _Protection(self._n, os.urandom(_SALT_BYTES))

    def _unlock(self, file: _KeyFile) -> bytes:
        if file.protection.n == 0:
            if self._passphrase is not None:
                raise InvalidInput(
                    "Key {name} is not protected, though a passphrase was given.",
                    fix="Open the key store without a passphrase, or make the keys anew with one.",
                    name=file.name,
                )
            return file.secret
        aead = AESGCM(self._key(file.protection, file.name))
        nonce, sealed = file.secret[:_NONCE_BYTES], file.secret[_NONCE_BYTES:]
        try:
            return aead.decrypt(nonce, sealed, file.associated())
        except InvalidTag:
            raise Unauthenticated(
                "Key {name} does not open: the passphrase is wrong, or the file was changed.",
                fix="Give the passphrase that the key store was made with.",
                name=file.name,
            ) from None

    def _key(self, protection: _Protection, name: str = "") -> bytes:
        if self._passphrase is None:
            raise _needs_passphrase(name)
        key = self._derived.get(protection)
        if key is None:
            kdf = Scrypt(salt=protection.salt, length=32, n=protection.n, r=_SCRYPT_R, p=_SCRYPT_P)
            key = self._derived[protection] = kdf.derive(self._passphrase)
        return key

    def _read(self, name: str) -> _KeyFile:
        path = self._path(name)
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with open(os.open(path, flags), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise _damaged(name)
                if status.st_mode & 0o077:
                    raise PermissionDenied(
                        "Others than its owner may read the key file {file}.",
                        fix="Run: chmod 600 {file}. If they may have read it, make a new key.",
                        file=str(path),
                    )
                data = file.read(_MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            raise missing_key(name) from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _damaged(name) from None
            raise _cannot_read(path, error) from error
        try:
            return _parse(name, data)
        except (VerificationFailed, ValueError, KeyError, TypeError):
            raise _damaged(name) from None


def _passphrase_bytes(passphrase: str) -> bytes:
    if not passphrase:
        raise InvalidInput("The passphrase is empty.", fix="Give one, or none at all.")
    try:
        # One form for letters that keyboards compose differently (RFC 8265 §4.2, OpaqueString).
        return unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError:
        raise InvalidInput("The passphrase is not text in UTF-8.") from None


def _parse(name: str, data: bytes) -> _KeyFile:
    """The key file; raises one of several errors, which all mean that it is damaged."""
    fields = parse_canonical(data, what="The key file", max_bytes=_MAX_FILE_BYTES)
    if not isinstance(fields, dict) or sorted(fields) != _FIELDS:
        raise ValueError("fields")
    protection = fields["protection"]
    if not isinstance(protection, dict):
        raise TypeError("protection")
    kdf = _Protection(0, b"")
    if protection["kdf"] != "none":
        kdf = _Protection(_cost(protection["n"]), bytes.fromhex(_text(protection["salt"])))
    file = _KeyFile(
        kind=Kind(_text(fields["kind"])),
        name=name,
        public=bytes.fromhex(_text(fields["public"])),
        protection=kdf,
        secret=bytes.fromhex(_text(fields["secret"])),
    )
    # Written again it must be the same: its name, format, fixed costs and lower-case hex are checked here.
    if file.to_bytes() != data:
        raise ValueError("form")
    sealing = _NONCE_BYTES + TAG_BYTES if kdf.n else 0
    if len(file.secret) != KEY_BYTES + sealing or len(file.public) != (0 if file.kind is Kind.DATA else 32):
        raise ValueError("length")
    return file


def _text(value: JsonValue) -> str:
    if not isinstance(value, str):
        raise TypeError("text")
    return value


def _cost(value: JsonValue) -> int:
    """The N of scrypt: a power of two, bounded so that a changed file cannot ask for more than 1 GiB."""
    if not isinstance(value, int) or not 2 <= value <= 2**20 or value & (value - 1):
        raise ValueError("cost")
    return value


def _needs_passphrase(name: str) -> Unauthenticated:
    return Unauthenticated(
        "Key {name} is protected by a passphrase and none was given.",
        fix="Give the passphrase that the key store was made with.",
        name=name,
    )


def _damaged(name: str) -> VerificationFailed:
    return VerificationFailed("Key file {name} is damaged.", fix="Restore it from a backup.", name=name)


def _cannot_read(path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        "{file} could not be used: {reason}.", file=path.name, reason=os.strerror(error.errno or 0)
    )

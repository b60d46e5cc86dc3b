"""Signed statements: DSSE envelopes with one Ed25519 signature.

Source: https://github.com/secure-systems-lab/dsse (protocol.md, envelope.md, version 1.0). A strict profile:
DSSE lets an envelope be written in many ways (URL-safe base64, spaces, missing key ids), and here there is
one, because an envelope's digest is its name in the ledger.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from trustspace.crypto.canonical import MAX_BYTES, JsonValue, canonical_json, parse_canonical, sha256_hex
from trustspace.errors import InvalidInput, VerificationFailed

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64
MAX_SIGNATURES = 16

# The y coordinates (sign bit cleared) of the points of order 1, 2, 4 and 8 on edwards25519, with those that
# are not reduced modulo p. Under such a key one signature fits every message or one in eight, so that its
# owner could later say it had signed something else. RFC 8032 does not forbid them and OpenSSL accepts them;
# see Chalkias, Garillot and Nikolaenko, "Taming the many EdDSAs" (2020).
_SMALL_ORDER = frozenset(
    bytes.fromhex(text)
    for text in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)


@dataclass(frozen=True)
class Signature:
    """One signature and the id (hex SHA-256) of the key it claims to be by."""

    key_id: str
    signature: bytes


@dataclass(frozen=True)
class Envelope:
    """A payload, its type and its signatures; nothing in it is verified yet."""

    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]

    def to_bytes(self) -> bytes:
        """The one way to write this envelope: canonical JSON with standard, padded base64."""
        return canonical_json(
            {
                "payload": _encode(self.payload),
                "payloadType": self.payload_type,
                "signatures": [{"keyid": s.key_id, "sig": _encode(s.signature)} for s in self.signatures],
            }
        )

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of ``to_bytes()``: the statement's name."""
        return sha256_hex(self.to_bytes())

    @classmethod
    def parse(cls, data: bytes, max_bytes: int = MAX_BYTES) -> Envelope:
        """The envelope that ``to_bytes`` writes as exactly ``data``; raises VerificationFailed otherwise."""
        raw = parse_canonical(data, what="The envelope", max_bytes=max_bytes)
        fields = _object(raw, ("payload", "payloadType", "signatures"))
        payload_type, listed = fields["payloadType"], fields["signatures"]
        if not isinstance(payload_type, str) or not isinstance(listed, list):
            raise VerificationFailed("The envelope's fields have the wrong types.")
        if len(listed) > MAX_SIGNATURES:
            raise VerificationFailed("The envelope has more than {limit} signatures.", limit=MAX_SIGNATURES)
        signatures = []
        for item in listed:
            entry = _object(item, ("keyid", "sig"))
            key = entry["keyid"]
            if not isinstance(key, str):
                raise VerificationFailed("The envelope's fields have the wrong types.")
            signatures.append(Signature(key, _decode(entry["sig"])))
        return cls(_decode(fields["payload"]), payload_type, tuple(signatures))


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are signed. Lengths are byte lengths."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def key_id(public: bytes) -> str:
    """Hex SHA-256 of a raw 32-byte public key; of a party's root key it is the party's fingerprint."""
    if len(public) != PUBLIC_BYTES:
        raise InvalidInput("A public key is {expected} bytes.", expected=PUBLIC_BYTES)
    return hashlib.sha256(public).hexdigest()


def sign_statement(payload: bytes, public: bytes, sign: Callable[[bytes], bytes]) -> Envelope:
    """``payload`` in an envelope signed by ``sign``, which must hold the private half of ``public``.

    Raises InvalidInput where it does not, before a statement that nobody can verify enters a ledger.
    """
    signature = sign(pae(PAYLOAD_TYPE, payload))
    envelope = Envelope(payload, PAYLOAD_TYPE, (Signature(key_id(public), signature),))
    try:
        verify_statement(envelope, public)
    except VerificationFailed:
        raise InvalidInput(
            "The signing key is not the private half of {key}.",
            fix="Sign with the key whose public half is named.",
            key=key_id(public),
        ) from None
    return envelope


def verify_statement(envelope: Envelope, public: bytes) -> bytes:
    """The payload, if it is signed once and by ``public``; raises VerificationFailed otherwise."""
    if envelope.payload_type != PAYLOAD_TYPE:
        raise VerificationFailed("The envelope's payload type is not {expected}.", expected=PAYLOAD_TYPE)
    if len(envelope.signatures) != 1:
        raise VerificationFailed("The envelope does not carry exactly one signature.")
    entry = envelope.signatures[0]
    if entry.key_id != key_id(public):
        raise VerificationFailed("The envelope is not signed by key {key}.", key=key_id(public))
    verify_signature(public, pae(envelope.payload_type, envelope.payload), entry.signature)
    return envelope.payload


def verify_signature(public: bytes, message: bytes, signature: bytes) -> None:
    """Ed25519 (RFC 8032), refusing keys of small order; raises VerificationFailed."""
    if len(public) != PUBLIC_BYTES or len(signature) != SIGNATURE_BYTES:
        raise VerificationFailed("The key or the signature has the wrong length.")
    if public[:31] + bytes([public[31] & 0x7F]) in _SMALL_ORDER:
        raise VerificationFailed("The public key is one under which anyone can sign.")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise VerificationFailed("The signature by key {key} does not hold.", key=key_id(public)) from None


def _object(value: JsonValue, keys: tuple[str, ...]) -> dict[str, JsonValue]:
    if not isinstance(value, dict) or tuple(sorted(value)) != keys:
        raise VerificationFailed("The envelope does not have the fields of a DSSE envelope.")
    return value


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(value: JsonValue) -> bytes:
    if not isinstance(value, str):
        raise VerificationFailed("The envelope's fields have the wrong types.")
    try:
        data = base64.b64decode(value)
    except (binascii.Error, ValueError):
        raise VerificationFailed("The envelope holds something that is not base64.") from None
    # The decoder skips foreign characters and ignores up to four unused bits; encoding again finds both.
    if _encode(data) != value:
        raise VerificationFailed("The envelope holds base64 that is not in its only form.")
    return data

"""Signed notes (C2SP signed-note v1.0.0): a text, and lines that sign it.

A note is a text ending in a newline, an empty line, and one or more lines ``— name base64``, where the
base64 holds a four-byte key hash and a signature. Two kinds of signature exist here: an Ed25519
signature of the text (0x01), and a timestamped cosignature of a checkpoint (0x04, C2SP
tlog-cosignature). What the text says must be ignored until :func:`verify_note` has accepted the note.

Stricter than the specification: names and texts are shorter, and one kind's signature can never be
read as the other's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.ledger.encoding import decode_base64, encode_base64

MAX_NOTE_BYTES = 1 << 17
MAX_SIGNATURES = 64
MAX_SIGNATURE_BYTES = 8192  # post-quantum signatures of parties unknown to us still parse
MAX_NAME_BYTES = 255
MAX_TIME_SECONDS = (1 << 63) - 1

_LINE_START = "— "
_CONTROL = re.compile("[\\x00-\\x09\\x0b-\\x1f]")  # every ASCII control character but the newline
_COSIGNATURE_HEADER = b"cosignature/v1\n"
_FIELD_PRIME = (1 << 255) - 19
_ORDER_8_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
# The y coordinates of the points of order 1, 2, 4 and 8 on the curve of RFC 8032 §5.1. Under such a key
# one signature fits many texts, so that it proves nothing about who signed what.
_SMALL_ORDER_Y = frozenset((0, 1, _FIELD_PRIME - 1, _ORDER_8_Y, _FIELD_PRIME - _ORDER_8_Y))


class KeyKind(IntEnum):
    """The signature type byte of C2SP signed-note."""

    ED25519 = 0x01
    COSIGNATURE = 0x04


def check_name(name: str) -> None:
    """Check a key name or log origin: 1 to 255 bytes, no spaces, pluses or invisible characters.

    Raises InvalidInput. The spaces and the plus are the specification's rule; characters that show as
    nothing or reorder their neighbours would let two names look the same.
    """
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        size = 0
    bad = any(c.isspace() or c == "+" or unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in name)
    if not 0 < size <= MAX_NAME_BYTES or bad:
        raise InvalidInput(
            "A key name has 1 to {maximum} bytes, and no spaces, plus signs or invisible characters.",
            fix="Use a name such as hospital.example/ledger.",
            maximum=MAX_NAME_BYTES,
        )


@dataclass(frozen=True)
class NoteKey:
    """A public key that signs notes: a name, 32 bytes of Ed25519, and the kind of signature it makes.

    Raises InvalidInput for a name or key that cannot be used.
    """

    name: str
    public: bytes
    kind: KeyKind = KeyKind.ED25519
    key_hash: bytes = field(init=False)  # four bytes that name the key in a signature line

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.public) != 32:
            raise InvalidInput("An Ed25519 public key has 32 bytes.")
        y = int.from_bytes(self.public, "little") & ((1 << 255) - 1)
        if y >= _FIELD_PRIME or y in _SMALL_ORDER_Y:
            raise InvalidInput("This Ed25519 public key fits signatures that nobody made.")
        hashed = self.name.encode("utf-8") + b"\n" + bytes([self.kind]) + self.public
        object.__setattr__(self, "key_hash", sha256(hashed).digest()[:4])

    def encode(self) -> str:
        """Return the vkey text: ``name+hash in hex+base64 of kind and key``."""
        return f"{self.name}+{self.key_hash.hex()}+{encode_base64(bytes([self.kind]) + self.public)}"

    @staticmethod
    def parse(vkey: str) -> NoteKey:
        """Read the vkey text. Raises InvalidInput unless :meth:`encode` gives the same text back."""
        fix = "Copy the whole key again from its owner: name+8 hexadecimal digits+base64."
        parts = vkey.split("+", 2)
        if len(parts) != 3:
            raise InvalidInput("A verifier key has three parts joined by plus signs.", fix=fix)
        try:
            material = decode_base64(parts[2], what="The verifier key", max_bytes=33)
            kind = KeyKind(material[0])
        except (VerificationFailed, IndexError, ValueError):
            raise InvalidInput("The verifier key is not of a known kind.", fix=fix) from None
        key = NoteKey(parts[0], material[1:], kind)
        if key.encode() != vkey:
            raise InvalidInput("The verifier key does not match its own hash.", fix=fix)
        return key


@dataclass(frozen=True)
class NoteSignature:
    """One signature line: who says to have signed, with which key (4 bytes), and the signature's bytes."""

    name: str
    key_hash: bytes
    signature: bytes

    def line(self) -> str:
        """Return the line, with its newline."""
        return f"{_LINE_START}{self.name} {encode_base64(self.key_hash + self.signature)}\n"


@dataclass(frozen=True)
class Note:
    """A parsed note; nothing in it is verified."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def to_text(self) -> str:
        """Return the note as it is stored and sent."""
        return self.text + "\n" + "".join(s.line() for s in self.signatures)


@dataclass(frozen=True)
class Verified:
    """A signature that holds; ``time_seconds`` (POSIX) only where the kind carries a time."""

    key: NoteKey
    time_seconds: int | None


def parse_signature_line(line: str) -> NoteSignature:
    """Read one signature line with its newline. Raises VerificationFailed; nothing is verified."""
    name, space, encoded = line.removeprefix(_LINE_START).removesuffix("\n").partition(" ")
    if not line.startswith(_LINE_START) or not line.endswith("\n") or not space:
        raise VerificationFailed("A signature line of the note is not of the form: dash, name, base64.")
    try:
        check_name(name)
    except InvalidInput:
        raise VerificationFailed("A signature line of the note has a name that is not allowed.") from None
    data = decode_base64(encoded, what="A signature of the note", max_bytes=4 + MAX_SIGNATURE_BYTES)
    if len(data) < 5:
        raise VerificationFailed("A signature of the note is empty.")
    return NoteSignature(name, data[:4], data[4:])


def _check_text(text: str, *, what: str) -> None:
    """Check what the specification asks of every note. Raises VerificationFailed."""
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise VerificationFailed("{what} is not valid UTF-8.", what=what) from None
    if size > MAX_NOTE_BYTES:
        raise VerificationFailed("{what} is longer than {maximum} bytes.", what=what, maximum=MAX_NOTE_BYTES)
    if _CONTROL.search(text):
        raise VerificationFailed("{what} contains control characters.", what=what)


def parse_note(note: str) -> Note:
    """Read a note. Raises VerificationFailed unless its :meth:`Note.to_text` is the same text.

    At most 128 KiB and 64 signatures.
    """
    if len(note) > MAX_NOTE_BYTES:
        raise VerificationFailed("The note is longer than {maximum} bytes.", maximum=MAX_NOTE_BYTES)
    _check_text(note, what="The note")
    text, separator, lines = note.rpartition("\n\n")
    if not separator or not lines.endswith("\n"):
        raise VerificationFailed("The note has no text, empty line and signature lines.")
    split = lines[:-1].split("\n")
    if len(split) > MAX_SIGNATURES:
        raise VerificationFailed("The note has more than {maximum} signatures.", maximum=MAX_SIGNATURES)
    return Note(text + "\n", tuple(parse_signature_line(line + "\n") for line in split))


def _signed_message(kind: KeyKind, text: str, time_seconds: int | None) -> bytes:
    """Return the bytes that are signed. Raises VerificationFailed for a text that mimics a cosignature."""
    message = text.encode("utf-8")
    if message.startswith(_COSIGNATURE_HEADER):
        # Signed as a note of its own, this text would be somebody's cosignature.
        raise VerificationFailed("The text of the note begins like a cosignature.")
    if kind == KeyKind.COSIGNATURE:
        return _COSIGNATURE_HEADER + f"time {time_seconds}\n".encode("ascii") + message
    return message


def make_signature(
    text: str, key: NoteKey, sign: Callable[[bytes], bytes], *, time_seconds: int | None = None
) -> NoteSignature:
    """Sign ``text`` as ``key``; a cosignature key needs the time, another key has none.

    Raises InvalidInput for a text that cannot be a note's, a time out of range, or a ``sign`` that does
    not belong to the key.
    """
    timed = key.kind == KeyKind.COSIGNATURE
    if timed != (time_seconds is not None) or not 0 <= (time_seconds or 0) <= MAX_TIME_SECONDS:
        raise InvalidInput(
            "A cosignature needs a time in seconds since 1970, and only a cosignature has one."
        )
    try:
        _check_text(text, what="The text of the note")
        message = _signed_message(key.kind, text, time_seconds)
    except VerificationFailed as error:
        raise InvalidInput(error.message, fix=error.fix, **error.details) from None
    if not text.endswith("\n"):
        raise InvalidInput("The text of a note ends in a newline.")
    raw = sign(message)
    stamp = b"" if time_seconds is None else time_seconds.to_bytes(8, "big")
    made = NoteSignature(key.name, key.key_hash, stamp + raw)
    try:
        _verify(text, made, key)
    except VerificationFailed:
        raise InvalidInput("The signing key is not the one that belongs to this public key.") from None
    return made


def sign_note(text: str, key: NoteKey, sign: Callable[[bytes], bytes]) -> str:
    """Return the note of ``text`` with one Ed25519 signature (kind 0x01). Raises InvalidInput."""
    return Note(text, (make_signature(text, key, sign),)).to_text()


def _verify(text: str, signature: NoteSignature, key: NoteKey) -> Verified:
    raw, time_seconds = signature.signature, None
    if key.kind == KeyKind.COSIGNATURE:
        time_seconds, raw = int.from_bytes(raw[:8], "big"), raw[8:]
    if len(raw) != 64 or (time_seconds or 0) > MAX_TIME_SECONDS:
        raise VerificationFailed("A signature of the note has a wrong form for its key.")
    message = _signed_message(key.kind, text, time_seconds)
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(raw, message)
    except (InvalidSignature, ValueError):
        raise VerificationFailed("A signature of the note does not fit its text and key.") from None
    return Verified(key, time_seconds)


def verify_note(note: Note | str, keys: Sequence[NoteKey]) -> tuple[Verified, ...]:
    """Verify every signature of ``note`` by one of ``keys``; one entry per line that is theirs.

    Lines of other keys are ignored, as the specification asks. Raises VerificationFailed when a line of
    a known key does not verify, or when there is no line of a known key; InvalidInput when two of
    ``keys`` cannot be told apart in a line.
    """
    parsed = parse_note(note) if isinstance(note, str) else note
    known = {(key.name, key.key_hash): key for key in keys}
    if len(known) != len(keys):
        raise InvalidInput("Two of the known keys have the same name and hash.", fix="Name every key once.")
    verified = tuple(
        _verify(parsed.text, signature, known[signature.name, signature.key_hash])
        for signature in parsed.signatures
        if (signature.name, signature.key_hash) in known
    )
    if not verified:
        raise VerificationFailed("The note carries no signature of a known key.")
    return verified

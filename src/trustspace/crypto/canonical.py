"""One byte string per value: canonical JSON, digests and salted commitments.

The JSON is RFC 8785 (JCS) cut down to what statements need: objects, arrays, strings, integers up to
2**53 - 1, booleans and null. There are no floats, so the hard part of RFC 8785 falls away; decimals travel
as strings. Keys are sorted by code point; RFC 8785 sorts by UTF-16 code unit, which differs only for keys
that mix characters above U+FFFF with U+E000-U+FFFF.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from trustspace.errors import InvalidInput, VerificationFailed

if TYPE_CHECKING:
    from typing_extensions import Buffer

JsonValue: TypeAlias = "bool | int | str | list[JsonValue] | dict[str, JsonValue] | None"
"""What parsing gives back."""
JsonInput: TypeAlias = "bool | int | str | Sequence[JsonInput] | Mapping[str, JsonInput] | None"
"""What can be written: the same, and tuples as arrays; read-only types, so that a dict[str, str] fits."""

MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 64
MAX_BYTES = 1 << 20
MAX_PLACE = 120  # characters of a place in a message
SALT_BYTES = 32


def canonical_json(value: JsonInput) -> bytes:
    """The canonical UTF-8 bytes of ``value``.

    Raises InvalidInput for floats, integers beyond 2**53 - 1, lone surrogates, keys that are not strings,
    nesting deeper than 64 and any type outside the subset; the message names the place.
    """
    _check(value, "$", 0)
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


def parse_canonical(data: bytes, *, what: str, max_bytes: int = MAX_BYTES) -> JsonValue:
    """The value of which ``data`` is the canonical form; ``what`` names the document in messages.

    Raises VerificationFailed for anything that does not re-serialise to exactly ``data``: spaces, other
    key order, escapes that are not needed, duplicate keys, floats, NaN, trailing bytes, deep nesting.
    """
    if len(data) > max_bytes:
        raise VerificationFailed("{what} is larger than {limit} bytes.", what=what, limit=max_bytes)
    try:
        value: JsonValue = json.loads(bytes(data).decode())
        same = canonical_json(value) == data
    except (ValueError, RecursionError, InvalidInput):
        # The parser's own text quotes the input, so it stays out of what a person may read.
        raise VerificationFailed("{what} is not valid JSON of the kind used here.", what=what) from None
    # The parser is lenient (floats, NaN, two equal keys of which it keeps one); writing again is the check.
    if not same:
        raise VerificationFailed("{what} is not in canonical form.", what=what)
    return value


def sha256_hex(data: Buffer) -> str:
    """SHA-256 as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def commit(content: Buffer, salt: bytes) -> str:
    """Hex SHA-256(salt || content): says nothing about ``content`` while the 32 random salt bytes are secret.

    Raises InvalidInput for a salt of another length: with the length fixed, the boundary between salt and
    content cannot move.
    """
    if len(salt) != SALT_BYTES:
        raise InvalidInput("A commitment's salt is {expected} random bytes.", expected=SALT_BYTES)
    digest = hashlib.sha256(salt)
    digest.update(content)
    return digest.hexdigest()


def verify_commitment(commitment: str, content: Buffer, salt: bytes) -> None:
    """Raises VerificationFailed unless ``commitment`` was made from this content and salt."""
    if len(salt) != SALT_BYTES:
        raise VerificationFailed("A commitment's salt is {expected} bytes.", expected=SALT_BYTES)
    # Compared as bytes: comparing text that is not ASCII would raise something else.
    if not hmac.compare_digest(commit(content, salt).encode(), commitment.encode(errors="replace")):
        raise VerificationFailed("The content is not what was committed to.")


def _check(value: object, path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidInput("{path} is nested deeper than {limit}.", path=path[:80], limit=MAX_DEPTH)
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise InvalidInput(
                "The integer at {path} is beyond 2**53 - 1.", fix="Write it as a string.", path=path
            )
        return
    if isinstance(value, str):
        _check_text(value, path)
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidInput("A key at {path} is not a string.", path=path)
            _check_text(key, path)
            _check(item, _below(path, f".{key[:MAX_PLACE]}"), depth + 1)
        return
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check(item, _below(path, f"[{index}]"), depth + 1)
        return
    raise InvalidInput(
        "The {kind} at {path} has no canonical form.",
        fix="Use strings, integers, booleans, null, arrays and objects; write decimals as strings.",
        kind=type(value).__name__,
        path=path,
    )


def _below(path: str, step: str) -> str:
    """Where an item stands. Bounded: under a long key, every one of many items would carry a copy of it."""
    return path if len(path) > MAX_PLACE else path + step


def _check_text(text: str, path: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput("The text at {path} holds a lone surrogate.", path=path) from None

"""The small text forms that every ledger format is made of, each with exactly one spelling.

Every function here reads text from a party that is not trusted. A value has one accepted spelling, so
that what parses serialises back to the same bytes; otherwise one statement could have two texts, and a
digest over a text would not name the statement.
"""

from __future__ import annotations

import base64
import binascii

from trustspace.errors import VerificationFailed


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648 §4)."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str, *, what: str, max_bytes: int) -> bytes:
    """Decode standard base64, refusing every spelling but the one :func:`encode_base64` writes.

    ``what`` names the field in the error. Raises VerificationFailed for other characters, missing or
    surplus padding, non-zero bits under the padding (RFC 4648 §3.5), or more than ``max_bytes`` bytes.
    """
    if len(text) > 4 * ((max_bytes + 2) // 3):
        raise VerificationFailed("{what} is longer than {max_bytes} bytes.", what=what, max_bytes=max_bytes)
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        data = None
    if data is None or encode_base64(data) != text:
        raise VerificationFailed("{what} is not canonical base64.", what=what)
    if len(data) > max_bytes:
        raise VerificationFailed("{what} is longer than {max_bytes} bytes.", what=what, max_bytes=max_bytes)
    return data


def decode_hash(text: str, *, what: str) -> bytes:
    """Decode the base64 of one SHA-256 hash (32 bytes). Raises VerificationFailed."""
    data = decode_base64(text, what=what, max_bytes=32)
    if len(data) != 32:
        raise VerificationFailed("{what} is not a hash of 32 bytes.", what=what)
    return data


def decode_number(text: str, *, what: str, maximum: int) -> int:
    """Parse an ASCII decimal between 0 and ``maximum`` without sign or leading zeroes.

    Raises VerificationFailed. ``int()`` alone would also take spaces, underscores and other scripts'
    digits, and would spend quadratic time on a long text.
    """
    plain = 0 < len(text) <= len(str(maximum)) and text.isascii() and text.isdigit()
    if not plain or (text[0] == "0" and text != "0") or int(text) > maximum:
        raise VerificationFailed(
            "{what} is not a plain decimal number between 0 and {maximum}.", what=what, maximum=maximum
        )
    return int(text)

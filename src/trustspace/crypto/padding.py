"""Hiding how long a content is: pad it to one of few sizes before sealing.

Sizes are Padmé's (Nikitin, Barman, Lueks, Underwood, Hubaux, Ford: "Reducing Metadata Leakage from Encrypted
Files and Communication with PURBs", PoPETs 2019) from 4096 bytes on, so that a size reveals O(log log n)
bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trustspace.errors import InvalidInput, VerificationFailed

if TYPE_CHECKING:
    from typing_extensions import Buffer

MINIMUM_BYTES = 4096
_PREFIX_BYTES = 8


def size_class(size: int) -> int:
    """The smallest class that holds ``size`` bytes: at most 12 % more, and never below 4096."""
    if size < 0:
        raise InvalidInput("A size is not negative.")
    if size <= MINIMUM_BYTES:
        return MINIMUM_BYTES
    # Padmé: keep as many leading bits of the size as its exponent has bits, and round the rest up.
    exponent = size.bit_length() - 1
    dropped = exponent - exponent.bit_length()
    mask = (1 << dropped) - 1
    return (size + mask) & ~mask


def pad(*content: Buffer) -> bytes:
    """Length as big-endian u64, ``content`` (in one part or several), zeros up to the size class."""
    length = sum(memoryview(part).nbytes for part in content)
    used = _PREFIX_BYTES + length
    return b"".join((length.to_bytes(_PREFIX_BYTES), *content, bytes(size_class(used) - used)))


def unpad(padded: Buffer) -> bytes:
    """The content that ``pad`` padded to exactly ``padded``; raises VerificationFailed otherwise."""
    view = memoryview(padded).cast("B")
    length = int.from_bytes(view[:_PREFIX_BYTES])
    used = _PREFIX_BYTES + length
    if len(view) < MINIMUM_BYTES or size_class(used) != len(view):
        raise VerificationFailed("The padded content does not have the size that its length calls for.")
    if view[used:] != bytes(len(view) - used):
        raise VerificationFailed("The padding is not all zeros.")
    return bytes(view[_PREFIX_BYTES:used])

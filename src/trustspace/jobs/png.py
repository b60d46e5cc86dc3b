"""PNG pictures, written and read in one canonical form (W3C PNG, third edition; ISO/IEC 15948; RFC 2083).

The format leaves much room for a message: ancillary chunks, text, palettes, filters, the choices of a compressor,
bytes after the end. Here a file is the signature, IHDR (8 bits, grey or RGB, not interlaced), one IDAT and IEND.
Every row has filter 0, and the zlib stream (RFC 1950) holds stored blocks only (RFC 1951, section 3.2.4), each but
the last of 65535 bytes. So the same pixels give the same bytes under every version of zlib, and no reader of ours
inflates what an untrusted worker wrote. Costs: a file is as large as its pixels.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustspace.errors import InvalidInput, VerificationFailed

MAX_SIDE = 16_384
MAX_PIXEL_BYTES = 128 << 20
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3}  # colour type: grey, RGB
_BLOCK = 65_535
# Deflate with a window of 32 KiB, fastest level, no dictionary: 0x7801 is a multiple of 31 (RFC 1950, section 2.2).
_ZLIB_HEAD = b"\x78\x01"
_HEAD_BYTES = len(_SIGNATURE) + 12 + 13


def encode_png(array: NDArray[Any]) -> bytes:
    """The one PNG file of ``array``: uint8, (height, width) for grey or (height, width, 3) for RGB.

    Raises InvalidInput for another type or shape, an empty picture, a side above 16384 or more than 128 MiB.
    """
    sound = (
        array.dtype == np.uint8
        and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3))
        and all(1 <= side <= MAX_SIDE for side in array.shape[:2])
        and array.nbytes <= MAX_PIXEL_BYTES
    )
    if not sound:
        raise InvalidInput(
            "A picture must be an array of bytes, (height, width) or (height, width, 3), with sides of 1 to {limit}.",
            fix="Scale the values to 0 to 255 and convert them with .astype(numpy.uint8).",
            limit=MAX_SIDE,
        )
    return _encode(array)


def parse_png(data: bytes) -> NDArray[np.uint8]:
    """The pixels of a PNG artifact, (height, width) or (height, width, 3).

    Raises VerificationFailed unless :func:`encode_png` would have written exactly ``data``.
    """
    height, width, channels = _shape(data)
    row_bytes = 1 + width * channels
    start, blocks = _HEAD_BYTES + 8 + len(_ZLIB_HEAD), _blocks(height * row_bytes)
    if len(data) != start + sum(5 + size for size in blocks) + 4 + 4 + 12:
        raise VerificationFailed("A PNG artifact does not have the length of its picture.")
    raw = bytearray()
    for size in blocks:
        raw += data[start + 5 : start + 5 + size]
        start += 5 + size
    rows = np.frombuffer(bytes(raw), np.uint8).reshape(height, row_bytes)
    pixels = rows[:, 1:].reshape((height, width) if channels == 1 else (height, width, channels))
    # One comparison covers signature, lengths, both kinds of checksum, filters and block heads.
    if _encode(pixels) != data:
        raise VerificationFailed("A PNG artifact is not in its one form, or a checksum does not hold.")
    return pixels


def _shape(data: bytes) -> tuple[int, int, int]:
    if len(data) < _HEAD_BYTES or not data.startswith(_SIGNATURE):
        raise VerificationFailed("A PNG artifact is not a PNG file, or is cut short.")
    width, height, depth, colour = struct.unpack_from(">IIBB", data, len(_SIGNATURE) + 8)
    channels = _CHANNELS.get(colour, 0)
    sides = 1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE
    if depth != 8 or not channels or not sides or width * height * channels > MAX_PIXEL_BYTES:
        raise VerificationFailed(
            "A PNG artifact is not a picture of 8 bits, grey or RGB, with sides of 1 to {limit}.",
            limit=MAX_SIDE,
        )
    return height, width, channels


def _encode(pixels: NDArray[Any]) -> bytes:
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + pixels.size // height), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    raw = rows.tobytes()
    stream, start = [_ZLIB_HEAD], 0
    blocks = _blocks(len(raw))
    for number, size in enumerate(blocks, start=1):
        stream += [struct.pack("<BHH", number == len(blocks), size, size ^ 0xFFFF), raw[start : start + size]]
        start += size
    stream.append(struct.pack(">I", zlib.adler32(raw)))
    colour = 0 if pixels.ndim == 2 else 2
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"".join(
        [_SIGNATURE, _chunk(b"IHDR", head), _chunk(b"IDAT", b"".join(stream)), _chunk(b"IEND", b"")]
    )


def _blocks(size: int) -> list[int]:
    return [min(_BLOCK, size - start) for start in range(0, size, _BLOCK)]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
    )

"""What the headers of a PNG or JPEG say, read without decoding any pixel; and the smallest PNG writer.

Sources: PNG (W3C, third edition) §5 and §11.2; JPEG (ITU-T T.81) annex B.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8\xff"
_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}
_PNG_TEXT_CHUNKS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME"})
_JPEG_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
# Frame headers SOF0..SOF15 without DHT (C4), JPG (C8) and DAC (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_COMMENT = 0xFE
_JPEG_SCAN = 0xDA
# APP1 (Exif, XMP) to APP15; APP0 is JFIF, APP2 mostly a colour profile, APP14 Adobe's colour flag.
_JPEG_TEXT_SEGMENTS = frozenset(range(0xE1, 0xF0)) - {0xE2, 0xEE} | {_JPEG_COMMENT}


@dataclass(frozen=True)
class ImageHeader:
    """Width and height in pixels, colour mode, and whether text or camera metadata rides along."""

    encoding: Literal["png", "jpeg"]
    width: int
    height: int
    mode: str
    has_text: bool


def read_image_header(data: Any) -> ImageHeader | None:
    """The header of the PNG or JPEG in ``data`` (any buffer), or None when it is neither."""
    view = memoryview(data)
    if bytes(view[:8]) == PNG_SIGNATURE:
        return _read_png(view)
    if bytes(view[:3]) == JPEG_START:
        return _read_jpeg(view)
    return None


def _read_png(view: memoryview) -> ImageHeader | None:
    chunks = list(_png_chunks(view))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        return None
    width, height, depth, colour = struct.unpack(">IIBB", chunks[0][1][:10])
    if not width or not height or colour not in _PNG_MODES:
        return None
    mode = "I;16" if depth == 16 and colour == 0 else _PNG_MODES[colour]
    has_text = any(kind in _PNG_TEXT_CHUNKS for kind, _ in chunks)
    return ImageHeader("png", width, height, mode, has_text)


def _png_chunks(view: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Type and first bytes of each chunk; what follows IEND counts as a text chunk."""
    offset = len(PNG_SIGNATURE)
    while offset + 12 <= len(view):
        (length,) = struct.unpack(">I", view[offset : offset + 4])
        kind = bytes(view[offset + 4 : offset + 8])
        yield kind, view[offset + 8 : offset + 8 + min(length, 13)]
        offset += 12 + length
        if kind == b"IEND":
            if offset < len(view):
                yield b"tEXt", view[offset:offset]
            return


def _read_jpeg(view: memoryview) -> ImageHeader | None:
    frame: tuple[int, int, str] | None = None
    offset, has_text = 2, False
    while offset + 4 <= len(view) and view[offset] == 0xFF:
        marker = view[offset + 1]
        if marker == 0xFF:  # fill byte
            offset += 1
            continue
        if marker == _JPEG_SCAN:
            break
        (length,) = struct.unpack(">H", view[offset + 2 : offset + 4])
        if marker in _JPEG_FRAMES and offset + 10 <= len(view):
            height, width, components = struct.unpack(">HHB", view[offset + 5 : offset + 10])
            if not width or not height or components not in _JPEG_MODES:
                return None
            frame = (width, height, _JPEG_MODES[components])
        has_text = has_text or marker in _JPEG_TEXT_SEGMENTS
        offset += 2 + length
    return ImageHeader("jpeg", *frame, has_text) if frame else None


def write_png(width: int, height: int, mode: str, pixels: bytes) -> bytes:
    """A PNG of 8-bit ``pixels``, row by row; ``mode`` "L" (1 byte a pixel) or "RGB" (3)."""
    channels = 3 if mode == "RGB" else 1
    stride = width * channels
    rows = b"".join(b"\0" + pixels[row * stride : (row + 1) * stride] for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if mode == "RGB" else 0, 0, 0, 0)
    return PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    )

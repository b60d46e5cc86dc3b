"""Image headers: what they say of size, mode and hidden text, and that nothing else passes for an image."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustspace.data.images import PNG_SIGNATURE, ImageHeader, read_image_header, write_png


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*, width=5, height=4, depth=8, colour=0, extra=b"", after=b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return PNG_SIGNATURE + header + extra + chunk(b"IDAT", b"") + chunk(b"IEND", b"") + after


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg(width=7, height=6, components=1, before=b"", frame=0xC0) -> bytes:
    sof = segment(frame, struct.pack(">BHHB", 8, height, width, components) + bytes(3 * components))
    return b"\xff\xd8" + segment(0xE0, b"JFIF\0") + before + sof + segment(0xDA, b"\0") + b"data\xff\xd9"


@pytest.mark.parametrize(
    ("data", "mode"),
    [
        (png(), "L"), (png(depth=16), "I;16"), (png(colour=2), "RGB"), (png(colour=3), "P"),
        (png(colour=4), "LA"), (png(colour=6), "RGBA"),
    ],
)  # fmt: skip
def test_png(data, mode):
    assert read_image_header(data) == ImageHeader("png", 5, 4, mode, has_text=False)


@pytest.mark.parametrize(("components", "mode"), [(1, "L"), (3, "RGB"), (4, "CMYK")])
@pytest.mark.parametrize("frame", [0xC0, 0xC1, 0xC2])
def test_jpeg(components, mode, frame):
    header = read_image_header(jpeg(components=components, frame=frame))
    assert header == ImageHeader("jpeg", 7, 6, mode, has_text=False)


@pytest.mark.parametrize(
    "data",
    [
        png(extra=chunk(b"tEXt", b"Patient\0Zhang Wei")),
        png(extra=chunk(b"eXIf", b"II*\0")),
        png(after=b"Zhang Wei"),
        jpeg(before=segment(0xE1, b"Exif\0\0")),
        jpeg(before=segment(0xFE, b"Zhang Wei")),
    ],
    ids=["png text", "png exif", "after the end", "jpeg exif", "jpeg comment"],
)
def test_text_beside_the_pixels_is_seen(data):
    header = read_image_header(data)
    assert header is not None
    assert header.has_text


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a", PNG_SIGNATURE, png(width=0), png(colour=1), jpeg()[:12], jpeg(components=2),
     jpeg(height=0), PNG_SIGNATURE + chunk(b"IDAT", b""), b"\xff\xd8\xff\xff\xff\xff"],
)  # fmt: skip
def test_what_is_no_image(data):
    assert read_image_header(data) is None


@given(
    st.one_of(st.binary(), st.binary().map(PNG_SIGNATURE.__add__), st.binary().map(b"\xff\xd8\xff".__add__))
)
def test_any_bytes_are_answered(data):
    header = read_image_header(data)
    assert header is None or (header.width > 0 and header.height > 0)


@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from(["L", "RGB"]), st.data())
def test_written_pngs_hold_the_pixels(width, height, mode, data):
    stride = width * (3 if mode == "RGB" else 1)
    pixels = data.draw(st.binary(min_size=stride * height, max_size=stride * height))
    image = write_png(width, height, mode, pixels)
    assert read_image_header(image) == ImageHeader("png", width, height, mode, has_text=False)
    body = image[image.index(b"IDAT") + 4 : image.index(b"IEND") - 8]
    rows = zlib.decompress(body)
    assert b"".join(rows[i * (stride + 1) + 1 : (i + 1) * (stride + 1)] for i in range(height)) == pixels

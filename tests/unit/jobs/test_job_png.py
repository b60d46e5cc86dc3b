from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from trustspace.errors import InvalidInput, VerificationFailed
from trustspace.jobs.png import MAX_SIDE, encode_png, parse_png

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4)
# More than two stored blocks.
LARGE = np.random.default_rng(1).integers(0, 256, (300, 200, 3), dtype=np.uint8)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@given(st.integers(1, 9), st.integers(1, 9), st.booleans(), st.integers(0, 2**32 - 1))
def test_what_is_written_is_read(height, width, colour, seed):
    shape = (height, width, 3) if colour else (height, width)
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    data = encode_png(array)
    assert np.array_equal(parse_png(data), array)
    assert encode_png(parse_png(data)) == data


@pytest.mark.parametrize(
    "array", [GREY, LARGE, LARGE[:, :, 0], LARGE[::2, ::3]], ids=["grey", "rgb", "plane", "strided"]
)
def test_another_decoder_sees_the_same_pixels(array):
    """Pillow inflates and checks by itself."""
    with Image.open(io.BytesIO(encode_png(array))) as image:
        image.verify()
    with Image.open(io.BytesIO(encode_png(array))) as image:
        assert image.mode == ("L" if array.ndim == 2 else "RGB")
        assert not image.info
        assert np.array_equal(np.asarray(image), array)


def test_the_bytes_follow_from_the_standard():
    """Worked out by hand from the W3C's text: one black pixel."""
    stream = bytes.fromhex("7801010200fdff000000020001")
    assert encode_png(np.zeros((1, 1), np.uint8)) == b"".join(
        [
            bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"),
            chunk(b"IDAT", stream),
            bytes.fromhex("0000000049454e44ae426082"),
        ]
    )


def _another_writer(array) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def _with_text() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "patient 1 is ill")
    out = io.BytesIO()
    Image.fromarray(GREY).save(out, "PNG", pnginfo=info)
    return out.getvalue()


SOUND = encode_png(GREY)
HIDDEN = {
    "another compressor's choices": _another_writer(GREY),
    "a text chunk": _with_text(),
    "a text chunk in our own file": SOUND[:33] + chunk(b"tEXt", b"Comment\0patient 1") + SOUND[33:],
    "bytes after the end": SOUND + b"patient 1",
    "an archive after the end": SOUND + b"PK\x03\x04" + bytes(26),
    "a second IEND": SOUND + SOUND[-12:],
}


@pytest.mark.parametrize("data", HIDDEN.values(), ids=HIDDEN.keys())
def test_a_picture_with_room_for_a_message_is_refused(data):
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(image), GREY), "the control: another decoder takes it"
    with pytest.raises(VerificationFailed):
        parse_png(data)


def test_every_changed_bit_and_every_cut_is_refused():
    parse_png(SOUND)
    for place in range(len(SOUND)):
        for bit in range(8):
            changed = bytearray(SOUND)
            changed[place] ^= 1 << bit
            with pytest.raises(VerificationFailed):
                parse_png(bytes(changed))
        with pytest.raises(VerificationFailed):
            parse_png(SOUND[:place])


@pytest.mark.parametrize(
    ("width", "height", "depth", "colour"),
    [(0, 1, 8, 0), (1, 0, 8, 0), (MAX_SIDE + 1, 1, 8, 0), (2**31, 2**31, 8, 2), (MAX_SIDE, MAX_SIDE, 8, 2),
     (4, 3, 16, 0), (4, 3, 1, 0), (4, 3, 8, 3), (4, 3, 8, 6), (4, 3, 8, 4)],
)  # fmt: skip
def test_sizes_and_kinds_are_bounded_before_anything_is_allocated(width, height, depth, colour):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    with pytest.raises(VerificationFailed, match="not a picture of 8 bits"):
        parse_png(SOUND[:8] + head + SOUND[33:])


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 2)), np.zeros((2, 2), np.int8), np.zeros(4, np.uint8), np.zeros((2, 2, 4), np.uint8),
     np.zeros((0, 2), np.uint8), np.zeros((1, MAX_SIDE + 1), np.uint8), np.zeros((2, 2, 2, 3), np.uint8)],
)  # fmt: skip
def test_what_is_no_picture_is_not_written(array):
    with pytest.raises(InvalidInput, match="A picture must be"):
        encode_png(array)

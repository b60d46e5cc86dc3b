"""From PNG and JPEG bytes to small arrays of pixels, with Pillow; nothing else is decoded."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trustspace.errors import InvalidInput

MAX_PIXELS = 64 << 20


def read_images(column: pa.ChunkedArray, name: str, *, size: int, channels: int) -> NDArray[np.uint8]:
    """Decode and scale a column of image files without gaps: uint8 [rows, channels, size, size].

    Raises InvalidInput naming the column and the row (counted from 1) of the first image that cannot be read.
    """
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise InvalidInput(
            "Column {column} does not hold images.", fix="Name a column of PNG or JPEG bytes.", column=name
        )
    pixels: NDArray[np.uint8] = np.empty((len(column), channels, size, size), dtype=np.uint8)
    for row, value in enumerate(column):
        try:
            pixels[row] = decode_image(memoryview(value.as_buffer()), size=size, channels=channels)
        except (OSError, ValueError, SyntaxError, OverflowError, MemoryError, EOFError):
            raise InvalidInput(
                "Column {column} has an image in row {row} that cannot be read.",
                fix="Use PNG or JPEG of at most 64 megapixels.",
                column=name,
                row=row + 1,
            ) from None
    return pixels


def decode_image(data: bytes | memoryview, *, size: int, channels: int) -> NDArray[np.uint8]:
    """One image as uint8 [channels, size, size], scaled bilinearly; 16-bit grey is brought to 8 bits.

    Raises ValueError or OSError for anything but one sound PNG or JPEG of bounded size.
    """
    from PIL import Image

    try:
        opened = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
    except Image.DecompressionBombError:
        raise ValueError("too many pixels") from None
    with opened as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError("too many pixels")
        image.load()
        if image.mode.startswith("I"):  # Pillow would clip 16 bits to 8 instead of scaling them
            wide = np.asarray(image, dtype=np.int64)
            shown = Image.fromarray((np.clip(wide, 0, 65535) >> 8).astype(np.uint8))
        else:
            shown = image
        scaled = shown.convert("L" if channels == 1 else "RGB").resize(
            (size, size), Image.Resampling.BILINEAR
        )
    array = np.asarray(scaled, dtype=np.uint8)
    return array[None, :, :] if channels == 1 else array.transpose(2, 0, 1)

"""A column of images as a whole: what they have in common, and which are the same file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa

from trustspace.data.images import read_image_header
from trustspace.data.shared import MIN_PATIENTS, Codes

T = TypeVar("T")


@dataclass(frozen=True)
class ImageSummary:
    """Size in pixels and mode where all images of at least ten patients share them, else None.

    ``repeated`` and ``with_text`` are numbers of images: equal to an earlier one; with text or metadata.
    """

    width: int | None = None
    height: int | None = None
    mode: str | None = None
    repeated: int = 0
    with_text: int = 0


def digests(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """SHA-256 of each image, null where there is none: stands for the image where only equality counts."""
    return pa.chunked_array(
        [
            pa.array(
                [hashlib.sha256(cell.as_buffer()).digest() if cell.is_valid else None for cell in chunk],
                pa.binary(32),
            )
            for chunk in column.chunks
        ],
        pa.binary(32),
    )


def summarise(values: pa.ChunkedArray, codes: Codes, distinct: int) -> ImageSummary:
    """Summarise images without null; ``codes`` are their patients, ``distinct`` how many differ."""
    headers = [
        header
        for chunk in values.chunks
        for cell in chunk
        if (header := read_image_header(cell.as_buffer())) is not None
    ]
    enough = len(np.unique(codes)) >= MIN_PATIENTS
    return ImageSummary(
        width=_common({header.width for header in headers}) if enough else None,
        height=_common({header.height for header in headers}) if enough else None,
        mode=_common({header.mode for header in headers}) if enough else None,
        repeated=len(values) - distinct,
        with_text=sum(header.has_text for header in headers),
    )


def _common(values: set[T]) -> T | None:
    return next(iter(values)) if len(values) == 1 else None

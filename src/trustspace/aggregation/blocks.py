"""Long vectors taken in pieces that stay in a processor's cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trustspace.errors import InvalidInput

# 128 KiB of 32-bit words: a block, its key stream and a float64 copy fit a second-level cache together.
BLOCK_WORDS = 1 << 15


def blocks(length: int) -> Iterator[slice]:
    """Slices of at most BLOCK_WORDS items that cover 0..length in order."""
    for start in range(0, length, BLOCK_WORDS):
        yield slice(start, min(start + BLOCK_WORDS, length))


def check_vector(values: NDArray[Any], dtype: DTypeLike) -> None:
    """Raises InvalidInput unless ``values`` is a one-dimensional, contiguous array of exactly ``dtype``."""
    expected = np.dtype(dtype)
    if values.dtype != expected or values.ndim != 1 or not values.flags.c_contiguous:
        raise InvalidInput("A vector here is one contiguous row of {dtype} numbers.", dtype=expected.name)


def check_place(start: int, length: int, size: int) -> None:
    """Raises InvalidInput unless ``length`` items from ``start`` on lie within a vector of ``size`` items."""
    if not 0 <= start <= size - length:
        raise InvalidInput("A piece does not lie within its vector of {size} numbers.", size=size)

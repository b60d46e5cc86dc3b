"""How long an update is, and by how much it is scaled down to a bound (Euclidean norm)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from trustspace.aggregation.blocks import BLOCK_WORDS, blocks, check_vector
from trustspace.errors import InvalidInput


def squared_norm(values: NDArray[np.float32]) -> float:
    """The sum of the squares of a float32 vector of any length, in float64; add it up over chunks.

    Raises InvalidInput where a value is not a finite number.
    """
    check_vector(values, np.float32)
    total = 0.0
    buffer = np.empty(min(BLOCK_WORDS, len(values)), np.float64)
    for piece in blocks(len(values)):
        work = buffer[: piece.stop - piece.start]
        work[:] = values[piece]
        # Not np.dot: BLAS shares even this block out to threads, which on a busy machine takes a hundred times as long.
        total += float(np.einsum("i,i", work, work))
    # Squares of finite float32 numbers cannot leave float64.
    if not math.isfinite(total):
        raise InvalidInput("An update holds a number that is not finite.", fix="Lower the learning rate.")
    return total


def clip_factor(norm: float, bound: float) -> float:
    """What to multiply a vector of Euclidean length ``norm`` by so that it is at most ``bound`` long: 0..1.

    Raises InvalidInput for a norm that is negative or not finite, and for a bound that is not above zero.
    """
    if not (math.isfinite(norm) and norm >= 0):
        raise InvalidInput("A norm is a finite number that is not negative.")
    if not (math.isfinite(bound) and bound > 0):
        raise InvalidInput("The bound of an update is a finite number above zero.")
    return 1.0 if norm <= bound else bound / norm

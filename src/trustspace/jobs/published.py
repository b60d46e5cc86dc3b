"""What a private training scales by: the published ranges of the columns, and no number from the rows. No torch."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustspace.jobs.claim import promised
from trustspace.jobs.features import categorical_mask
from trustspace.jobs.parameters import Parameters

# A published range counts as four standard deviations.
RANGE_DEVIATIONS = 4.0
IMAGE_MEAN = IMAGE_SCALE = 0.5


def described(parameters: Parameters) -> dict[str, NDArray[Any]]:
    """The platform's tensors (``input.*``, ``output.*``), float32, from what is public alone."""
    train = parameters.training()
    tensors: dict[str, NDArray[Any]]
    if train.is_image:
        channels = train.channels or 1
        mean, scale = (IMAGE_MEAN, IMAGE_SCALE) if train.standardise else (0.0, 1.0)
        tensors = {"input.mean": np.full(channels, mean), "input.scale": np.full(channels, scale)}
    else:
        categorical = categorical_mask(parameters)
        low, high = bounds(parameters)
        middle = np.where(categorical, 0.0, (low + high) / 2)
        spread = np.where(categorical, 1.0, (high - low) / RANGE_DEVIATIONS)
        if not train.standardise:
            spread = np.ones_like(spread)
        tensors = {"input.fill": middle, "input.scale": spread}
        tensors["input.mean"] = middle if train.standardise else np.zeros_like(middle)
    if train.task == "regression":
        bottom, top = range_of(parameters, train.target)
        tensors["output.mean"] = np.array([(bottom + top) / 2])
        tensors["output.scale"] = np.array([(top - bottom) / RANGE_DEVIATIONS])
    return {name: array.astype(np.float32) for name, array in tensors.items()}


def range_of(parameters: Parameters, column: str) -> tuple[float, float]:
    """The ends of the range that a job names of a column."""
    low, high = promised(parameters).ranges[column]
    return float(Decimal(low)), float(Decimal(high))


def bounds(parameters: Parameters) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ends of the range of each of the model's inputs; those of a category are 0 and 1."""
    categories = parameters.training().categories
    ends = [
        end for name in parameters.features
        for end in ([(0.0, 1.0)] * len(categories[name]) if name in categories else [range_of(parameters, name)])
    ]  # fmt: skip
    low, high = np.array(ends).reshape(-1, 2).T
    return low, high

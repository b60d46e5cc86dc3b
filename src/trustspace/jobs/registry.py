"""The models that the platform knows: their inputs, their tensors and their sizes. No torch in here.

A model file holds more than weights: ``input.fill`` (what replaces a missing value, the training mean),
``input.mean`` and ``input.scale`` (standardisation), for a numeric target ``output.mean`` and
``output.scale``, and the network itself under ``model.``. So it can be used alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from trustspace.jobs.sections import MIB, Train

CNN_WIDTHS = (16, 32, 64)
Shape = tuple[int, ...]


def input_width(train: Train, features: Sequence[str]) -> int:
    """How many numbers a table model sees of one row: one for a number, one for each category."""
    return sum(len(train.categories.get(name, ("",))) for name in features)


def expected_tensors(train: Train, features: Sequence[str]) -> dict[str, Shape]:
    """Name and shape of every tensor in the exported model, all float32.

    Of a custom model only the platform's own tensors are known; its network stands under ``model.``.
    """
    if train.is_image:
        channels = train.channels or 1
        shapes: dict[str, Shape] = {"input.mean": (channels,), "input.scale": (channels,)}
    else:
        width = input_width(train, features)
        shapes = {"input.fill": (width,), "input.mean": (width,), "input.scale": (width,)}
    if train.task == "regression":
        shapes |= {"output.mean": (1,), "output.scale": (1,)}
    if train.model != "custom":
        shapes |= {f"model.{name}": shape for name, shape in _network(train, features).items()}
    return shapes


def _network(train: Train, features: Sequence[str]) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    if train.model == "logistic_regression":
        return {"weight": (train.outputs, input_width(train, features)), "bias": (train.outputs,)}
    if train.model == "mlp":
        widths = (input_width(train, features), *(train.hidden or ()), train.outputs)
        for index, (before, after) in enumerate(pairwise(widths)):
            shapes[f"layers.{index}.weight"] = (after, before)
            shapes[f"layers.{index}.bias"] = (after,)
        return shapes
    for index, (before, after) in enumerate(pairwise((train.channels or 1, *CNN_WIDTHS))):
        shapes[f"convolutions.{index}.weight"] = (after, before, 3, 3)
        shapes[f"convolutions.{index}.bias"] = (after,)
    return shapes | {"head.weight": (train.outputs, CNN_WIDTHS[-1]), "head.bias": (train.outputs,)}


def number_count(train: Train, features: Sequence[str]) -> int:
    """How many numbers the exported model holds, for a custom model at most."""
    known = sum(math.prod(shape) for shape in expected_tensors(train, features).values())
    return known + (train.max_parameters or 0)


def model_bytes(train: Train, features: Sequence[str]) -> int:
    """Upper bound of the exported file: float32 numbers and a header of at most 1 MiB."""
    return number_count(train, features) * 4 + MIB

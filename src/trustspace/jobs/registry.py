"""The models that the platform knows: their inputs, their tensors and their sizes. No torch in here.

A model file holds more than weights: ``input.fill`` (what replaces a missing value, the training mean),
``input.mean`` and ``input.scale`` (standardisation), for a numeric target ``output.mean`` and
``output.scale``, and the network itself under ``model.``. So it can be used alone.

The network leaves in the precision that the job asks for. What is the platform's own (``input.*``, ``output.*``) stays
float32: these are sums over all rows, worked out by the platform, few and at places that are known; and a mean of large
numbers (years, laboratory values) that is off by half a percent would shift every input of the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from trustspace.jobs.sections import MIB, Train

CNN_WIDTHS = (16, 32, 64)
NETWORK = "model."
Shape = tuple[int, ...]


def input_width(train: Train, features: Sequence[str]) -> int:
    """How many numbers a table model sees of one row: one for a number, one for each category."""
    return sum(len(train.categories.get(name, ("",))) for name in features)


def expected_tensors(train: Train, features: Sequence[str]) -> dict[str, Shape]:
    """Name and shape of every tensor in the exported model; :func:`tensor_type` says its type.

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
        shapes |= {NETWORK + name: shape for name, shape in _network(train, features).items()}
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


def tensor_type(name: str, train: Train) -> str:
    """In which type a tensor of the exported model leaves: the network's as the job says, the platform's float32."""
    return "BF16" if train.precision == "bf16" and name.startswith(NETWORK) else "F32"


def number_count(train: Train, features: Sequence[str]) -> int:
    """How many numbers the exported model holds, for a custom model at most."""
    known = sum(math.prod(shape) for shape in expected_tensors(train, features).values())
    return known + (train.max_parameters or 0)


def model_bytes(train: Train, features: Sequence[str]) -> int:
    """Upper bound of the exported file: its numbers, each in its type, and a header of at most 1 MiB."""
    known = expected_tensors(train, features)
    platform = sum(math.prod(shape) for name, shape in known.items() if not name.startswith(NETWORK))
    width = 2 if train.precision == "bf16" else 4
    return platform * 4 + (number_count(train, features) - platform) * width + MIB


def handed_bytes(train: Train, features: Sequence[str]) -> int:
    """Upper bound of what a sandbox hands to the enclave: everything is float32 there."""
    return number_count(train, features) * 4 + MIB

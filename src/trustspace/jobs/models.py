"""The registry's networks in torch, and a developer's own; used inside a sandbox only."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trustspace.errors import InvalidInput
from trustspace.jobs.code import load_entry
from trustspace.jobs.registry import CNN_WIDTHS, NETWORK, input_width
from trustspace.jobs.spec import Parameters

PREFIX = NETWORK


class Mlp(nn.Module):
    """Linear layers with ReLU between them: [rows, width] to [rows, outputs]."""

    def __init__(self, width: int, hidden: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        widths = (width, *hidden, outputs)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        for layer in list(self.layers)[:-1]:
            inputs = torch.relu(layer(inputs))
        result: torch.Tensor = self.layers[-1](inputs)
        return result


class SmallCnn(nn.Module):
    """Three 3x3 convolutions with ReLU: [rows, channels, size, size] to [rows, outputs]."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        widths = (channels, *CNN_WIDTHS)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.head = nn.Linear(CNN_WIDTHS[-1], outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        for index, convolution in enumerate(self.convolutions):
            images = torch.relu(convolution(images))
            if index < len(CNN_WIDTHS) - 1:
                images = torch.max_pool2d(images, 2)
        result: torch.Tensor = self.head(images.mean(dim=(2, 3)))
        return result


def build(parameters: Parameters, code: Mapping[str, str] | None) -> nn.Module:
    """The untrained network of a job; a custom one is made by ``build(parameters)`` of its model.py.

    Raises InvalidInput when a custom model is no module or larger than declared.
    """
    train = parameters.training()
    if train.model == "logistic_regression":
        return nn.Linear(input_width(train, parameters.features), train.outputs)
    if train.model == "mlp":
        return Mlp(input_width(train, parameters.features), train.hidden or (), train.outputs)
    if train.model == "small_cnn":
        return SmallCnn(train.channels or 1, train.outputs)
    if code is None:
        raise InvalidInput("A custom model needs a code bundle.")
    known = {"outputs": train.outputs, "task": train.task, "features": list(parameters.features)}
    shape = (
        [train.channels, train.image_size, train.image_size]
        if train.is_image
        else [input_width(train, parameters.features)]
    )
    module = load_entry(code, "model.py", "build")({**known, "input_shape": shape})
    if not isinstance(module, nn.Module):
        raise InvalidInput("build() of model.py did not return a torch.nn.Module.")
    limit = train.max_parameters or 0
    if sum(tensor.numel() for tensor in exported(module).values()) > limit:
        raise InvalidInput(
            "The custom model is larger than train.max_parameters = {limit}.",
            fix="Raise it, or make the model smaller.",
            limit=limit,
        )
    return module.to(torch.float32)


def exported(module: nn.Module) -> dict[str, torch.Tensor]:
    """What of a network goes into a model file: its floating-point tensors, by name.

    Integer buffers (a counter of batches, an index) are not exported: build() must make them again.
    """
    return {name: tensor for name, tensor in module.state_dict().items() if tensor.is_floating_point()}


def to_arrays(module: nn.Module) -> dict[str, NDArray[Any]]:
    """The network's tensors as float32 arrays under their names in the model file."""
    return {
        PREFIX + name: tensor.detach().to("cpu", torch.float32).contiguous().numpy()
        for name, tensor in exported(module).items()
    }


def load_arrays(module: nn.Module, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Put a model file's tensors into ``module``. Raises InvalidInput unless they are exactly its own."""
    wanted = exported(module)
    given = {name.removeprefix(PREFIX): array for name, array in tensors.items() if name.startswith(PREFIX)}
    if {n: tuple(t.shape) for n, t in wanted.items()} != {n: a.shape for n, a in given.items()}:
        raise InvalidInput("The model file does not fit the model.")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(torch.from_numpy(np.array(given[name])))

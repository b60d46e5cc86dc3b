"""A network with a gate on each feature."""

import torch
from torch import nn


class Gated(nn.Module):
    """Features are scaled by learned gates between 0 and 1 before two linear layers."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.gates = nn.Parameter(torch.zeros(width))
        self.inner = nn.Linear(width, 16)
        self.outer = nn.Linear(16, outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[rows, width] to [rows, outputs]; the platform applies the loss."""
        return self.outer(torch.tanh(self.inner(inputs * torch.sigmoid(self.gates))))


def build(parameters: dict) -> nn.Module:
    """Called once; ``parameters`` has features, input_shape, outputs and task."""
    (width,) = parameters["input_shape"]
    return Gated(width, parameters["outputs"])

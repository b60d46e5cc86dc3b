"""The registry's MLP, written out so that it can say when it is called: its clock goes to the sealed log."""

import time
from itertools import pairwise

import torch
from torch import nn


def clock(name: str) -> None:
    """A line for the log: what happens, and the time in nanoseconds since 1970."""
    print(f"clock {name} {time.time_ns()}", flush=True)


class Clocked(nn.Module):
    """Linear layers with ReLU between them; ``train`` is called at the start of each epoch, ``eval`` after the last."""

    def __init__(self, width: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise((width, hidden, outputs)))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        for layer in list(self.layers)[:-1]:
            inputs = torch.relu(layer(inputs))
        return self.layers[-1](inputs)

    def train(self, mode: bool = True) -> "Clocked":
        clock("epoch" if mode else "trained")
        return super().train(mode)


def build(parameters: dict) -> nn.Module:
    """Called once, when the rows are in the worker's memory."""
    clock("first-row")
    (width,) = parameters["input_shape"]
    return Clocked(width, 16, parameters["outputs"])

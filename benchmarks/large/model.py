"""A model of any size that computes next to nothing: so that what moves it can be measured."""

import torch
from torch import nn

NUMBERS = 1000


class Large(nn.Module):
    """A linear layer, and NUMBERS parameters of which the mean is added: [rows, width] to [rows, outputs]."""

    def __init__(self, width, outputs):
        super().__init__()
        self.head = nn.Linear(width, outputs)
        self.bulk = nn.Parameter(torch.empty(NUMBERS - width * outputs - outputs).uniform_(-0.01, 0.01))

    def forward(self, inputs):
        return self.head(inputs) + self.bulk.sum() * 0.001


def build(parameters):
    """The untrained network."""
    return Large(parameters["input_shape"][0], parameters["outputs"])

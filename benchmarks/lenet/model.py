"""The network that the figures of other platforms were taken with: about 62,000 parameters, images of 32 x 32."""

import torch
from torch import nn


class Net(nn.Module):
    """Two convolutions and three linear layers (LeCun et al. 1998, with ReLU): [rows, 3, 32, 32] to [rows, outputs]."""

    def __init__(self, channels, outputs):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, outputs)

    def forward(self, images):
        found = torch.max_pool2d(torch.relu(self.conv1(images)), 2)
        found = torch.max_pool2d(torch.relu(self.conv2(found)), 2).flatten(1)
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(found)))))


def build(parameters):
    """The untrained network."""
    return Net(parameters["input_shape"][0], parameters["outputs"])

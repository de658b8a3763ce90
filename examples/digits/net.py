"""The network: two convolutions and a linear layer on 8 by 8 pixels."""

import torch
from torch import nn


class DigitsNet(nn.Module):
    """Takes ``[rows, 64]`` pixels from 0 to 16, gives ``[rows, 10]`` probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classify = nn.Linear(32 * 4 * 4, 10)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Give the probability of each digit."""
        images = (pixels / 16.0).reshape(-1, 1, 8, 8)
        return torch.softmax(self.classify(self.features(images).flatten(1)), dim=1)

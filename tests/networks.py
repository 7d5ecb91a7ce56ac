"""Small networks that tests share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def stock_mlp(inputs: int = 32, width: int = 48, outputs: int = 8) -> nn.Sequential:
    """Linear, ReLU in place, Linear, Tanh, Linear."""
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width),
        nn.Tanh(),
        nn.Linear(width, outputs),
    )


class SharedFunctional(nn.Module):
    """`first`, `F.relu_`, `second`, `torch.tanh`, `second` again."""

    def __init__(self, first: nn.Linear, second: nn.Linear) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.second(F.relu_(self.first(x)))))


class Residual(nn.Module):
    """A convolution block with a sum of branches before one reused in-place ReLU, and a functional head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.conv1(x)))
        x = self.act(self.conv2(x) + x)
        return torch.sigmoid(self.head(x.mean((2, 3))))

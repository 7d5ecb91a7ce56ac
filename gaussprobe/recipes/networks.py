"""Small networks for digits."""

from __future__ import annotations

import torch
from torch import nn


def build_mnist5k_cnn() -> nn.Sequential:
    """The small BatchNorm CNN: three convolutions and two linear layers, stock classes only."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def build_mnist5k_mlp() -> nn.Sequential:
    """Three hidden layers of 128 units with BatchNorm."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width in (28 * 28, 128, 128):
        layers += [nn.Linear(width, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(128, 10))


class VisionTransformer(nn.Module):
    """Patches of 7 x 7 pixels, four encoder layers that normalize first, the mean over patches.

    Args:
        width: of a token.
        depth: encoder layers.
    """

    def __init__(self, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 7, stride=7)
        self.places = nn.Parameter(0.02 * torch.randn(1, 16, width))
        layers = [
            nn.TransformerEncoderLayer(width, 4, 2 * width, 0.1, "gelu", batch_first=True, norm_first=True)
            for _ in range(depth)
        ]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores `(n, 10)` of images `(n, 1, 28, 28)`."""
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.places
        found: torch.Tensor = self.head(self.norm(self.layers(tokens)).mean(1))
        return found


def build_mnist5k_vit() -> VisionTransformer:
    """The small vision transformer with LayerNorm."""
    return VisionTransformer()

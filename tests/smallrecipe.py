"""A recipe that trains in no time."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import gaussprobe as gp
from gaussprobe.recipes import Recipe


def build_small(*, width: float = 1.0, depth: int = 1) -> nn.Module:
    """A network for the recipe that tests sweep over."""
    hidden = [nn.Linear(8, 8) for _ in range(depth - 1)]
    return nn.Sequential(*hidden, nn.Linear(8, int(4 * width)), nn.BatchNorm1d(int(4 * width)), nn.ReLU())


def train_small(model: nn.Module, probe: Any, seed: int, *, epochs: int, batch: int = 32) -> dict[str, float]:
    """Two steps; the accuracy is the number of parameters, the minibatch and the seed."""
    for _ in range(2):
        model(torch.randn(batch, 8))
        probe.step()
    return {"accuracy": sum(p.numel() for p in model.parameters()) + batch / 1000 + 0.01 * seed}


SMALL = Recipe(
    about="one layer",
    build=build_small,
    train=train_small,
    settings={"plain": None, "changed": gp.nn.gaussianize},
    epochs=1,
    values={"width": (1, 2), "depth": (1, 2), "batch": (16, 32)},
)

"""A small training, importable by other processes: digits of 64 pixels, an MLP with BatchNorm."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

import gaussprobe as gp
from gaussprobe.trials.probe import Probe

SETTINGS: dict[str, Callable[[nn.Module], nn.Module] | None] = {
    "BatchNorm": None,
    "BatchNormalNorm": gp.nn.gaussianize,
}


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """1,797 images of 64 pixels between -1 and 1, and their labels."""
    bunch = load_digits()
    return torch.from_numpy(bunch.data).float() / 8 - 1, torch.from_numpy(bunch.target)


def build() -> nn.Module:
    """Two hidden layers."""
    return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))


def train(model: nn.Module, probe: Probe, seed: int) -> dict[str, float | torch.Tensor]:
    """40 steps on random batches of the global generator; accuracy on the last 500."""
    del seed
    x, y = digits()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = torch.zeros(())
    for _ in range(40):
        rows = torch.randint(1200, (64,))
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x[rows]), y[rows])
        torch.autograd.backward(loss)
        optimizer.step()
        probe.step(loss=loss)
    probe.measure(x[-500:])
    with torch.no_grad():
        right = model.eval()(x[-500:]).argmax(1) == y[-500:]
    return {"accuracy": float(right.float().mean()), "loss": loss}

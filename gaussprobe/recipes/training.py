"""How the networks of the recipes are trained, for `gaussprobe.compare`."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from gaussprobe.recipes.data import load_mnist5k
from gaussprobe.trials.probe import Probe

_BATCH = 64

_digits = cache(load_mnist5k)


def train_digits(
    model: nn.Module, probe: Probe, seed: int, *, epochs: int = 10, lr: float = 2e-3
) -> dict[str, float]:
    """Train with Adam, the learning rate falling to 0 along a cosine, and measure on held-out digits.

    Args:
        model: from images `(n, 1, 28, 28)` to scores.
        probe: told of each step, and shown the held-out digits at the end.
        seed: of the order of batches.
        epochs: passes over the 4,000 digits.
        lr: learning rate at the beginning.

    Returns:
        `accuracy` and cross-entropy `loss` on the 1,000 held-out digits.
    """
    digits = _digits()
    images, labels = digits.train_images, digits.train_labels
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * -(-len(images) // _BATCH))
    model.train()
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(images), generator=generator), _BATCH):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[rows]), labels[rows])
            torch.autograd.backward(loss)
            optimizer.step()
            falling.step()
            probe.step(loss=loss)
    probe.measure(digits.test_images, batch_size=250)
    model.eval()
    with torch.no_grad():
        scores = model(digits.test_images)
    right = scores.argmax(1) == digits.test_labels
    return {
        "accuracy": float(right.float().mean()),
        "loss": float(F.cross_entropy(scores, digits.test_labels)),
    }

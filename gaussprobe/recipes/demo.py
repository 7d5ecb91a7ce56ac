"""What `gaussprobe demo` trains, and the files it leaves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from gaussprobe.recipes.data import Digits
from gaussprobe.recipes.networks import build_mnist5k_cnn

_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained network, the share of held-out digits it gets right, and the seconds it took."""

    model: nn.Sequential
    accuracy: float
    seconds: float


def train_mnist5k(
    digits: Digits,
    *,
    epochs: int = 3,
    seed: int = 0,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Trained:
    """Train the small CNN with Adam (learning rate 2e-3).

    Args:
        digits: from `load_mnist5k`.
        epochs: passes over the training digits.
        seed: of the initial weights and the order of batches; the global generator is left as found.
        progress: told of steps done.

    Returns:
        The network in evaluation mode, its held-out accuracy and the time taken.
    """
    started = time.perf_counter()
    images, labels = digits.train_images, digits.train_labels
    steps = epochs * -(-len(images) // _BATCH)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_mnist5k_cnn()
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
        step = 0
        for _ in range(epochs):
            order = torch.randperm(len(images))
            for start in range(0, len(images), _BATCH):
                rows = order[start : start + _BATCH]
                optimizer.zero_grad()
                torch.autograd.backward(F.cross_entropy(model(images[rows]), labels[rows]))
                optimizer.step()
                step += 1
                if progress is not None:
                    progress("training", step, steps)
    model.eval()
    with torch.no_grad():
        right = model(digits.test_images).argmax(1) == digits.test_labels
    return Trained(
        model=model,
        accuracy=float(right.float().mean()),
        seconds=time.perf_counter() - started,
    )


def save_demo(trained: Trained, digits: Digits, *, model: Path, data: Path) -> None:
    """Write the network whole and the held-out digits with their labels.

    Args:
        trained: from `train_mnist5k`.
        digits: from `load_mnist5k`.
        model: path of the `.pt` file.
        data: path of the `.npz` file, arrays `x` and `y`.
    """
    torch.save(trained.model, model)
    np.savez_compressed(data, x=digits.test_images.numpy(), y=digits.test_labels.numpy())

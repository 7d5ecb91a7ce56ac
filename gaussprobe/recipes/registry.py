"""The experiments that `gaussprobe compare --recipe` runs, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from gaussprobe.nn import gaussianize
from gaussprobe.recipes.networks import (
    build_mnist5k_cnn,
    build_mnist5k_mlp,
    build_mnist5k_vit,
    build_narrow_mlp,
    build_plain_cnn,
)
from gaussprobe.recipes.preserving import ACTIVATIONS
from gaussprobe.recipes.training import train_digits
from gaussprobe.trials.trial import Setting


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An experiment: what is built, how it is trained, which settings are held side by side.

    Args:
        about: a line.
        build: makes the model; takes `width`, as a multiple of its own, and `depth`.
        train: with `epochs` and `batch`, trains and measures it.
        settings: by name, the plain one first.
        epochs: unless other ones are asked for.
        values: of width, depth and batch, by these names, that are swept over.
        normalizes: whether the settings are of normalization layers, which can be varied.
    """

    about: str
    build: Callable[..., nn.Module]
    train: Callable[..., Mapping[str, Any]]
    settings: Mapping[str, Setting] = field(default_factory=dict)
    epochs: int = 10
    values: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    normalizes: bool = True


_BATCH: dict[str, Setting] = {"BatchNorm": None, "BatchNormalNorm": gaussianize}
_LAYER: dict[str, Setting] = {"LayerNorm": None, "LayerNormalNorm": gaussianize}
_VALUES: dict[str, tuple[float, ...]] = {
    "width": (0.25, 0.5, 1, 2),
    "depth": (2, 3, 5, 8),
    "batch": (16, 64, 256),
}

RECIPES: dict[str, Recipe] = {
    "mnist5k-cnn": Recipe(
        about="three convolutions with BatchNorm on 5,000 MNIST digits",
        build=build_mnist5k_cnn,
        train=train_digits,
        settings=_BATCH,
        values=_VALUES,
    ),
    "mnist5k-vit": Recipe(
        about="a vision transformer of three layers with LayerNorm on 5,000 MNIST digits",
        build=build_mnist5k_vit,
        train=partial(train_digits, lr=3e-3, shift=2),
        settings=_LAYER,
        epochs=25,
        values=_VALUES | {"width": (0.5, 1, 2), "depth": (1, 3, 5)},
    ),
    "digits-mlp": Recipe(
        about="three hidden layers with BatchNorm on 5,000 MNIST digits",
        build=build_mnist5k_mlp,
        train=train_digits,
        settings=_BATCH,
        values=_VALUES,
    ),
    "plain-cnn": Recipe(
        about="three convolutions without normalization on 5,000 MNIST digits: activations and their weights",
        build=build_plain_cnn,
        train=train_digits,
        settings=ACTIVATIONS,
        epochs=5,
        values=_VALUES,
        normalizes=False,
    ),
    "narrow-mlp": Recipe(
        about="20 hidden layers of 10 units on 5,000 MNIST digits: activations and their weights",
        build=build_narrow_mlp,
        train=train_digits,
        settings=ACTIVATIONS,
        epochs=20,
        values=_VALUES | {"depth": (5, 10, 20)},
        normalizes=False,
    ),
}

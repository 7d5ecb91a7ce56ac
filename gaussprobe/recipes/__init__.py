"""Built-in experiments on real data from packages: no downloads."""

from __future__ import annotations

from gaussprobe.recipes.data import Digits, load_mnist5k
from gaussprobe.recipes.demo import Trained, save_demo, train_mnist5k
from gaussprobe.recipes.networks import (
    build_mnist5k_cnn,
    build_mnist5k_mlp,
    build_mnist5k_vit,
    build_narrow_mlp,
    build_plain_cnn,
)
from gaussprobe.recipes.noises import gaussianize_with
from gaussprobe.recipes.preserving import ACTIVATIONS, initialized
from gaussprobe.recipes.registry import RECIPES, Recipe
from gaussprobe.recipes.sweeps import SWEEPS, sweep
from gaussprobe.recipes.variations import VARIATIONS, variation

__all__ = [
    "ACTIVATIONS",
    "RECIPES",
    "SWEEPS",
    "VARIATIONS",
    "Digits",
    "Recipe",
    "Trained",
    "build_mnist5k_cnn",
    "build_mnist5k_mlp",
    "build_mnist5k_vit",
    "build_narrow_mlp",
    "build_plain_cnn",
    "gaussianize_with",
    "initialized",
    "load_mnist5k",
    "save_demo",
    "sweep",
    "train_mnist5k",
    "variation",
]

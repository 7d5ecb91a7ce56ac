"""Built-in experiments on real data from packages: no downloads."""

from __future__ import annotations

from gaussprobe.recipes.data import Digits, load_mnist5k
from gaussprobe.recipes.demo import Trained, save_demo, train_mnist5k
from gaussprobe.recipes.networks import build_mnist5k_cnn, build_mnist5k_mlp, build_mnist5k_vit
from gaussprobe.recipes.registry import RECIPES, Recipe

__all__ = [
    "RECIPES",
    "Digits",
    "Recipe",
    "Trained",
    "build_mnist5k_cnn",
    "build_mnist5k_mlp",
    "build_mnist5k_vit",
    "load_mnist5k",
    "save_demo",
    "train_mnist5k",
]

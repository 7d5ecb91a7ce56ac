"""More settings of a recipe, to be compared at once: what each part of the normalization brings."""

from __future__ import annotations

from functools import partial

from gaussprobe.nn import gaussianize
from gaussprobe.nn.functional import NoiseKind
from gaussprobe.recipes.noises import gaussianize_with
from gaussprobe.recipes.registry import Recipe
from gaussprobe.trials.trial import Setting

VARIATIONS = ("ablation", "strength", "noise")
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
_NOISES: dict[str, NoiseKind] = {
    "scaled noise": "scaled",
    "Gaussian dropout": "gaussian_dropout",
    "unscaled noise": "unscaled",
}


def ablation(recipe: Recipe) -> dict[str, Setting]:
    """The plain layer, normality normalization without noise, and with it: figure 9 of the paper.

    Args:
        recipe: that has the plain setting first.

    Reference:
        Eftekhari & Papyan (2025), ICML, arXiv:2505.00685, figure 9.
    """
    plain, changed, *_ = recipe.settings
    return {
        plain: recipe.settings[plain],
        f"{changed}, no noise": partial(gaussianize, noise=0.0),
        changed: gaussianize,
    }


def strengths() -> dict[str, Setting]:
    """alpha from 0, which is standardising with noise, to 1, the default; the noise is the default's in all.

    Reference:
        Eftekhari & Papyan (2025), ICML, arXiv:2505.00685, figure 8.
    """
    return {f"alpha {alpha:g}": partial(gaussianize, strength=alpha) for alpha in STRENGTHS}


def noises() -> dict[str, Setting]:
    """Kinds of noise, that of the default first.

    Reference:
        Eftekhari & Papyan (2025), ICML, arXiv:2505.00685, figure 7.
    """
    return {name: partial(gaussianize_with, noise_kind=kind) for name, kind in _NOISES.items()}


def variation(recipe: Recipe, name: str) -> dict[str, Setting]:
    """The settings of a variation of a recipe.

    Args:
        recipe: that has the plain setting first.
        name: `"ablation"`, `"strength"` or `"noise"`.

    Raises:
        ValueError: for another name, or a recipe without normalization layers.
    """
    if name not in VARIATIONS:
        raise ValueError(f"name must be one of {', '.join(VARIATIONS)}; got {name!r}")
    if not recipe.normalizes:
        raise ValueError(f"recipe must have normalization layers to vary; got {recipe.about}")
    return ablation(recipe) if name == "ablation" else strengths() if name == "strength" else noises()

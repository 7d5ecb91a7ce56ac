"""Kinds of noise in normality normalization, as settings of a comparison."""

from __future__ import annotations

from torch import nn

from gaussprobe.nn import functional, gaussianize
from gaussprobe.nn.functional import How, NoiseKind
from gaussprobe.nn.layers import Normality


def gaussianize_with(model: nn.Module, noise_kind: NoiseKind, noise: float | None = None) -> nn.Module:
    """Put normality normalization with a kind of noise into a model, in place.

    With y transformed, z standard normal and xi the noise, in training only:
    `"scaled"`: `y + xi z mean|y - mean(y)|`, no gradient through the scale;
    `"unscaled"`: `y + xi z sqrt(2 / pi)`, what that scale is in a standard normal group;
    `"gaussian_dropout"`: `y (1 + xi z)`, that of dropout with the keeping probability `p = 1 / (1 + xi^2)`,
    for which `xi = sqrt((1 - p) / p)`: .86 for xi = .4.
    With one xi all three move a standard normal value by the same on average.

    Args:
        model: as for `gaussprobe.nn.gaussianize`.
        noise_kind: of the three.
        noise: xi; None for .4, and 1 in layers of LayerNorm.

    Returns:
        The model.

    Raises:
        ValueError: for another kind, or a noise out of range; the model is as it was.

    Reference:
        Eftekhari & Papyan (2025), ICML, arXiv:2505.00685, figure 7.
    """
    functional.check(How(noise=0.0 if noise is None else noise, kind=noise_kind))
    gaussianize(model, noise=noise)
    for layer in model.modules():
        if isinstance(layer, Normality):
            layer.noise_kind = noise_kind
    return model

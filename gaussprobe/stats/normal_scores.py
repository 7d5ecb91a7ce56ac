"""Normal scores: what the order statistics of a normal sample are expected to be."""

from __future__ import annotations

import functools

import numpy as np
import torch
from scipy.special import ndtri


@functools.lru_cache(maxsize=16)
def blom(n_samples: int, device: torch.device) -> torch.Tensor:
    """Blom's scores `Phi^-1((i - 3/8) / (n + 1/4))`, i = 1 .. n, `(n,)` float64, exactly antisymmetric.

    Shared between callers: not to be written to.

    Reference:
        Blom (1958), Statistical Estimates and Transformed Beta-Variables, p. 145.
    """
    i = np.arange(1, n_samples + 1)
    scores = ndtri((i - 0.375) / (n_samples + 0.25))
    return torch.from_numpy((scores - scores[::-1]) / 2).to(device)


@functools.lru_cache(maxsize=16)
def unit_blom(n_samples: int, device: torch.device) -> torch.Tensor:
    """Blom's scores scaled to a unit vector, `(n,)` float64."""
    scores = blom(n_samples, device)
    unit: torch.Tensor = scores / torch.linalg.vector_norm(scores)
    return unit


def correlation_loss(z: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """`1 - (y . a)^2` of the unit vectors `y = z / sqrt(n)` and `a = weights`, row by row.

    Written `r - r^2 / 4` with `r = |y - a|^2`: no digits are lost when y is close to a.

    Args:
        z: `(C, n)` standardised samples.
        weights: `(n,)` of norm 1.
    """
    residual = z / z.shape[1] ** 0.5
    residual -= weights
    r: torch.Tensor = torch.linalg.vecdot(residual, residual)
    return r - r * r / 4

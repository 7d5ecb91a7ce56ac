"""Normal scores: what the order statistics of a normal sample are expected to be."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import ndtri

from gaussprobe.stats import workers
from gaussprobe.stats.ordered import OrderedSample, dots, shared, squares


@workers.constant(16)
def blom(n_samples: int, device: torch.device) -> torch.Tensor:
    """Blom's scores `Phi^-1((i - 3/8) / (n + 1/4))`, i = 1 .. n, `(n,)` float64, exactly antisymmetric.

    Shared between callers: not to be written to.

    Reference:
        Blom (1958), Statistical Estimates and Transformed Beta-Variables, p. 145.
    """
    i = np.arange(1, n_samples + 1)
    scores = ndtri((i - 0.375) / (n_samples + 0.25))
    return torch.from_numpy((scores - scores[::-1]) / 2).to(device)


@workers.constant(16)
def unit_blom(n_samples: int, device: torch.device) -> torch.Tensor:
    """Blom's scores scaled to a unit vector, `(n,)` float64."""
    scores = blom(n_samples, device)
    unit: torch.Tensor = scores / torch.linalg.vector_norm(scores)
    return unit


@workers.constant(16)
def _expected(n_samples: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Blom's scores of root mean square 1."""
    return (unit_blom(n_samples, device) * math.sqrt(n_samples)).to(dtype)


@shared
def residual(sample: OrderedSample) -> torch.Tensor:
    """`z - sqrt(n) m`, m Blom's scores as a unit vector, `(C, n)`."""
    z = sample.z
    expected = _expected(sample.n_samples, z.device, z.dtype)
    return torch.sub(z, expected, out=sample.buffer("residual"))


@shared
def squared_residual(sample: OrderedSample) -> torch.Tensor:
    """`|y - m|^2` of the unit vectors `y = z / sqrt(n)` and m Blom's scores, `(C,)` float64."""
    return squares(residual(sample)) / sample.n_samples


def squared_distance(sample: OrderedSample, to_blom: torch.Tensor, square: float) -> torch.Tensor:
    """`|y - a|^2` of a close to Blom's scores m, `(C,)`: `|y - m|^2 + 2 (y - m).(m - a) + |m - a|^2`.

    Args:
        sample: the units.
        to_blom: `m - a`, `(n,)` float64.
        square: `|m - a|^2`.
    """
    rest = residual(sample)
    cross = dots(rest, to_blom.to(rest.dtype)) / math.sqrt(sample.n_samples)
    return squared_residual(sample) + 2 * cross + square


def loss_of(squared_distance: torch.Tensor) -> torch.Tensor:
    """`1 - (y . a)^2` of unit vectors from `r = |y - a|^2`: `r - r^2 / 4` loses no digits when r is small."""
    return squared_distance - squared_distance * squared_distance / 4

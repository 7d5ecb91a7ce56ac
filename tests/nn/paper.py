"""Normality normalization as the paper writes it, value by value: the oracle of the tests of the layers.

Written from Eftekhari & Papyan (2025), arXiv:2505.00685, algorithm 1 and its appendix on the gradients of the
likelihood, and from Yeo & Johnson (2000), equation 2.1. float64, plain numpy, one group at a time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def psi(h: Floats, lmbda: float) -> Floats:
    """Yeo-Johnson, the four cases of its definition."""
    out = np.empty_like(h)
    for i, value in np.ndenumerate(h):
        if value >= 0:
            out[i] = np.log(1 + value) if lmbda == 0 else ((1 + value) ** lmbda - 1) / lmbda
        else:
            other = 2 - lmbda
            out[i] = -np.log(1 - value) if other == 0 else -((1 - value) ** other - 1) / other
    return out


def likelihood(h: Floats, lmbda: float) -> float:
    """Negative log-likelihood of lambda per value, mean and variance profiled out, without constants."""
    transformed = psi(h, lmbda)
    jacobian = (lmbda - 1) * np.mean(np.sign(h) * np.log(1 + np.abs(h)))
    return float(0.5 * np.log(np.var(transformed)) - jacobian)


def newton(h: Floats, alpha: float = 1.0) -> float:
    """lambda after one step from 1."""
    t, s = np.abs(h), np.where(h >= 0, 1.0, -1.0)
    first = (1 + t) * np.log(1 + t) - t
    second = s * ((1 + t) * np.log(1 + t) ** 2 - 2 * first)
    slope = np.mean(h * first) - np.mean(s * np.log(1 + t))
    curvature = -2 * np.mean(h * first) ** 2 + np.mean(h * second) + np.var(first)
    return float(1 - alpha * slope / curvature)


def normalize(
    x: Floats, eps: float = 1e-5, alpha: float = 1.0, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[Floats, float]:
    """One group, without noise and affine map, and its lambda, held within bounds of ours."""
    h = (x - x.mean()) / np.sqrt(x.var() + eps)
    lmbda = float(np.clip(newton(h, alpha), *bounds))
    return psi(h, lmbda), lmbda

"""Critical values of distances to a normal law: their p-values, inverted."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from scipy.optimize import brentq

from gaussprobe.stats import kolmogorov, simple


@functools.lru_cache(maxsize=256)
def ks_distance(level: float, n_samples: int) -> float:
    """D against a wholly known law that is exceeded with probability `level`.

    Null hypothesis: as `gaussprobe.stats.kstest`.

    Args:
        level: between 0 and 1.
        n_samples: at least 2.

    Returns:
        D, to 1e-12; its p-value as `kstest` gives it is `level`.
    """
    return _inverse(simple.pvalue, level, n_samples)


@functools.lru_cache(maxsize=256)
def fitted_ks_distance(level: float, n_samples: int) -> float:
    """D against the fitted normal law that is exceeded with probability `level`.

    Null hypothesis: as `gaussprobe.stats.lilliefors`.

    Args:
        level: between 0 and 1.
        n_samples: at least 8.

    Returns:
        D, to 1e-12; its p-value as `lilliefors` gives it is `level`.
    """
    return _inverse(kolmogorov.pvalue, level, n_samples)


def _inverse(pvalue: Callable[[torch.Tensor, int], torch.Tensor], level: float, n_samples: int) -> float:
    def beyond(d: float) -> float:
        at = torch.tensor([d], dtype=torch.float64, device="cpu")
        return float(pvalue(at, n_samples)[0]) - level

    return float(brentq(beyond, 0.0, 1.0, xtol=1e-12))

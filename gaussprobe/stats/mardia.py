"""Mardia's tests of multivariate normality: skewness and kurtosis of a cloud of points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from gaussprobe.stats import multivariate_null as null
from gaussprobe.stats.batch import ArrayLike
from gaussprobe.stats.multivariate import BLOCK, points, whiten
from gaussprobe.types import GofResult


@dataclass(frozen=True, kw_only=True)
class Mardia:
    """Both of Mardia's tests.

    Args:
        skewness: statistic b1 and its p-value.
        kurtosis: statistic b2 and its p-value, of both sides.
    """

    skewness: GofResult
    kurtosis: GofResult


def skewness_of(z: torch.Tensor) -> torch.Tensor:
    """b1 of white `z` `(n, d)`, through its third moments or through dot products, whichever is cheaper."""
    n, d = z.shape
    return _from_moments(z) if d * d <= n else _from_products(z)


def _from_moments(z: torch.Tensor) -> torch.Tensor:
    """`sum_abc (mean of z_a z_b z_c)^2`: n d^3 / 2 products, d^3 / 2 numbers of memory."""
    n, d = z.shape
    first, second = torch.triu_indices(d, d, device=z.device)
    third = torch.zeros((len(first), d), dtype=z.dtype, device=z.device)
    step = max(1, BLOCK // len(first))
    for start in range(0, n, step):
        rows = z[start : start + step]
        third.addmm_((rows[:, first] * rows[:, second]).T, rows)
    twice = torch.where(first == second, 1.0, 2.0).to(z.dtype)
    return twice @ (third / n).square().sum(dim=1)


def _from_products(z: torch.Tensor) -> torch.Tensor:
    """`sum_ij (z_i' z_j)^3 / n^2`: n^2 d / 2 products, in blocks of rows."""
    n = z.shape[0]
    total = torch.zeros((), dtype=z.dtype, device=z.device)
    step = max(1, BLOCK // n)
    for start in range(0, n, step):
        stop = min(start + step, n)
        # Each pair once: those within the block, then those with later rows twice.
        for other, factor in ((z[start:stop], 1), (z[stop:], 2)):
            product = z[start:stop] @ other.T
            total += factor * product.pow(3).sum()
    return total / n**2


def kurtosis_of(z: torch.Tensor) -> torch.Tensor:
    """b2 of white `z` `(n, d)`."""
    return z.square().sum(dim=1).square().mean()


def mardia(x: ArrayLike, dim: int = 0) -> Mardia:
    """Mardia's tests of multivariate normality, by skewness and by kurtosis.

    `b1 = (1/n^2) sum_ij m_ij^3` and `b2 = (1/n) sum_i m_ii^2` with
    `m_ij = (x_i - mean)' S^-1 (x_j - mean)`, S the covariance with divisor n. With one feature they are
    `g1^2` and `g2 + 3`. Large b1, and b2 far from `d (d + 2) (n - 1) / (n + 1)`, speak against normality.

    Null hypothesis: the samples are independent draws of one multivariate normal law, its mean and its
    covariance (of full rank) unknown.

    Args:
        x: `(n, d)`, samples along `dim`, features in any units along the other; tensor or array of real
            numbers, computed in float64. n must be at least d + 5, and 8.
        dim: dimension of the samples.

    Returns:
        `Mardia(skewness, kurtosis)`, each a result with a single `statistic` and `pvalue`, unchanged by
        invertible affine maps of the samples. NaN with a warning if a feature is constant, features are
        linearly dependent, a value is not finite, or samples are too few. It costs the smaller of n d^3 / 2
        and n^2 d / 2 multiplications and 100 MB beside a float64 copy or two of `x`.

        The p-values are those of b1's and b2's own laws at this n and d, which differ much from the
        chi-squared and the normal limit (with Mardia's correction of 1974 the former rejects 7 % at .05 and
        2.2 % at .01 with n = 50, d = 10): known moments, and tables of what simulation found beside them, to
        d = 50 and every n. Rates at .05 and .01 and beyond d = 50 are in docs/multivariate.md.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        Mardia (1970), Biometrika 57, 519; Mardia (1974), Sankhya B 36, 115, for the exact moments.
    """
    sample = points(x, dim)
    z = whiten(sample, name="mardia")
    if z is None:
        missing = sample.gof(math.nan, math.nan)
        return Mardia(skewness=missing, kurtosis=missing)
    n, d = z.shape
    b1, b2 = skewness_of(z), kurtosis_of(z)
    above = float(null.upper_tail("mardia_kurtosis", float(b2), n, d))
    return Mardia(
        skewness=sample.gof(b1, float(null.upper_tail("mardia_skewness", float(b1), n, d))),
        kurtosis=sample.gof(b2, 2 * min(above, 1 - above)),
    )

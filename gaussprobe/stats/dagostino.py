"""D'Agostino and Pearson's K2: skewness and kurtosis, each made nearly normal, squared and added."""

from __future__ import annotations

import math

import torch

from gaussprobe.stats import moments, tables
from gaussprobe.stats.batch import ArrayLike, measure
from gaussprobe.stats.ordered import OrderedSample
from gaussprobe.types import GofResult

MINIMUM = 8


def skewness_score(g1: torch.Tensor, n_samples: int) -> torch.Tensor:
    """Z of sample skewness: nearly standard normal under the null.

    Reference:
        D'Agostino (1970), Biometrika 57; a Johnson S_U law fitted to the first four moments of g1.
    """
    n = n_samples
    y = g1 * math.sqrt((n + 1) * (n + 3) / (6 * (n - 2)))
    beta2 = 3 * (n**2 + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2) * (n + 5) * (n + 7) * (n + 9))
    w_square = math.sqrt(2 * (beta2 - 1)) - 1
    delta = 1 / math.sqrt(0.5 * math.log(w_square))
    alpha = math.sqrt(2 / (w_square - 1))
    return delta * torch.asinh(y / alpha)


def kurtosis_score(g2: torch.Tensor, n_samples: int) -> torch.Tensor:
    """Z of sample kurtosis: nearly standard normal under the null.

    Reference:
        Anscombe & Glynn (1983), Biometrika 70, equation 5; a Wilson-Hilferty cube root.
    """
    n = n_samples
    mean = -6 / (n + 1)  # of b2 - 3, b2 having mean 3(n-1)/(n+1)
    variance = 24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    x = (g2 - mean) / math.sqrt(variance)
    root_beta1 = (
        6
        * (n**2 - 5 * n + 2)
        / ((n + 7) * (n + 9))
        * math.sqrt(6 * (n + 3) * (n + 5) / (n * (n - 2) * (n - 3)))
    )
    a = 6 + 8 / root_beta1 * (2 / root_beta1 + math.sqrt(1 + 4 / root_beta1**2))
    base = 1 + x * math.sqrt(2 / (a - 4))
    ratio = (1 - 2 / a) / base.abs()
    cube_root = torch.sign(base) * ratio ** (1 / 3)
    return (1 - 2 / (9 * a) - cube_root) / math.sqrt(2 / (9 * a))


def k_square(g1: torch.Tensor, g2: torch.Tensor, n_samples: int) -> torch.Tensor:
    """K2 of given skewness and excess kurtosis."""
    if n_samples < MINIMUM:
        return torch.full_like(g1, torch.nan)
    return skewness_score(g1, n_samples) ** 2 + kurtosis_score(g2, n_samples) ** 2


def statistic(sample: OrderedSample) -> torch.Tensor:
    """K2 of each unit, `(C,)`."""
    return k_square(moments.skewness_of(sample), moments.excess_kurtosis_of(sample), sample.n_samples)


def pvalue(k2: torch.Tensor, n_samples: int) -> torch.Tensor:
    """P-value of K2 at `n_samples`, from the Monte Carlo table, chi-squared in the limit."""
    return tables.pvalue("dagostino_pearson", k2, n_samples)


def dagostino_pearson(x: ArrayLike, dim: int = 0) -> GofResult:
    """D'Agostino-Pearson omnibus test of normality.

    `K2 = Z1(g1)^2 + Z2(g2)^2`, Z1 and Z2 the transformations of sample skewness and kurtosis to near-normal
    scores. Large K2 speaks against normality.

    Null hypothesis: the samples are independent draws of one normal law of unknown mean and variance.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        `statistic` K2 and `pvalue` in the batch's shape. NaN with a warning for samples that are constant,
        hold non-finite values, or are fewer than 8. The p-value comes from a table of simulated quantiles up
        to about 10,000 samples (the usual chi-squared law with 2 degrees of freedom rejects 2 % at a level of
        1 % with 20 samples); beyond, what remains of the difference to chi-squared shrinks as 1/n.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        D'Agostino & Pearson (1973), Biometrika 60; D'Agostino (1970); Anscombe & Glynn (1983).
    """
    batch, found = measure(
        x, dim, {"k2": statistic}, name="dagostino_pearson", minimum=MINIMUM, in_order=False
    )
    return batch.gof(found["k2"], pvalue(found["k2"], batch.n_samples))

"""The Jarque-Bera test: skewness and kurtosis, each over its asymptotic variance."""

from __future__ import annotations

import torch

from gaussprobe.stats import moments, tables
from gaussprobe.stats.batch import ArrayLike, measure
from gaussprobe.stats.ordered import OrderedSample
from gaussprobe.types import GofResult

MINIMUM = 8


def jarque_bera_of(g1: torch.Tensor, g2: torch.Tensor, n_samples: int) -> torch.Tensor:
    """JB of given skewness and excess kurtosis."""
    if n_samples < MINIMUM:
        return torch.full_like(g1, torch.nan)
    return n_samples / 6 * (g1 * g1 + g2 * g2 / 4)


def statistic(sample: OrderedSample) -> torch.Tensor:
    """JB of each unit, `(C,)`."""
    return jarque_bera_of(moments.skewness_of(sample), moments.excess_kurtosis_of(sample), sample.n_samples)


def differentiable(z: torch.Tensor) -> torch.Tensor:
    """JB of the columns of standardised `z` `(n, C)`, through operations that carry gradients."""
    return jarque_bera_of(z.pow(3).mean(dim=0), z.pow(4).mean(dim=0) - 3, len(z))


def pvalue(jb: torch.Tensor, n_samples: int) -> torch.Tensor:
    """P-value of JB at `n_samples`, from the Monte Carlo table, chi-squared in the limit."""
    return tables.pvalue("jarque_bera", jb, n_samples)


def jarque_bera(x: ArrayLike, dim: int = 0) -> GofResult:
    """Jarque-Bera test of normality.

    `JB = (n / 6) (g1^2 + g2^2 / 4)`, g1 and g2 the biased sample skewness and excess kurtosis. Large JB
    speaks against normality.

    Null hypothesis: the samples are independent draws of one normal law of unknown mean and variance.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers. If it requires a gradient, so does
            the statistic.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        `statistic` JB and `pvalue` in the batch's shape. NaN with a warning for samples that are constant,
        hold non-finite values, or are fewer than 8. The p-value comes from a table of simulated quantiles;
        the usual chi-squared law with 2 degrees of freedom is far off in the tail below 10,000 samples.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        Jarque & Bera (1987), International Statistical Review 55.
    """
    functions = {"jb": statistic}
    batch, found = measure(x, dim, functions, name="jarque_bera", minimum=MINIMUM, in_order=False)
    return batch.gof(batch.with_gradient(found["jb"], differentiable), pvalue(found["jb"], batch.n_samples))

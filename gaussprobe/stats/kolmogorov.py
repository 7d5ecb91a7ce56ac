"""The largest distance between the empirical and the fitted normal distribution function."""

from __future__ import annotations

import torch

from gaussprobe.stats import edf, tables
from gaussprobe.stats.batch import ArrayLike, measure
from gaussprobe.stats.ordered import OrderedSample, in_chunks
from gaussprobe.types import GofResult

MINIMUM = 8


@in_chunks(minimum=MINIMUM)
def statistic(sample: OrderedSample) -> torch.Tensor:
    """D of each unit, `(C,)`."""
    return edf.largest_gap(sample)


def pvalue(d: torch.Tensor, n_samples: int) -> torch.Tensor:
    """P-value of D at `n_samples`, from the Monte Carlo table."""
    return tables.pvalue("lilliefors", d, n_samples)


def lilliefors(x: ArrayLike, dim: int = 0) -> GofResult:
    """Lilliefors test of normality: Kolmogorov-Smirnov with estimated mean and sd.

    `D = sup_x |F_n(x) - Phi((x - mean) / s)|`, s with divisor n - 1. Large D speaks against normality.

    Null hypothesis: the samples are independent draws of one normal law of unknown mean and variance.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        `statistic` D and `pvalue` in the batch's shape. NaN with a warning for samples that are constant,
        hold non-finite values, or are fewer than 8. The p-value comes from a table of simulated quantiles of
        `D (sqrt n - .01 + .85 / sqrt n)`; below its smallest level ln p is extrapolated in the square of it.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        Lilliefors (1967), JASA 62; scaling by Stephens (1974), JASA 69, table 1.
    """
    batch, found = measure(x, dim, {"d": statistic}, name="lilliefors", minimum=MINIMUM)
    return batch.gof(found["d"], pvalue(found["d"], batch.n_samples))

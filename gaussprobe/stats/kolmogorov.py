"""The largest distance between the empirical and the fitted normal distribution function."""

from __future__ import annotations

import torch

from gaussprobe.stats import tables
from gaussprobe.stats.ordered import ArrayLike, OrderedSample, in_chunks, prepare
from gaussprobe.types import GofResult

MINIMUM = 8


@in_chunks(minimum=MINIMUM)
def statistic(sample: OrderedSample) -> torch.Tensor:
    """D of each unit, `(C,)`."""
    n = sample.n_samples
    # z has the biased sd; Lilliefors' statistic divides by n - 1.
    u = torch.special.ndtr(sample.z * ((n - 1) / n) ** 0.5)
    u -= torch.arange(n, dtype=torch.float64, device=u.device) / n
    # u is Phi - (i-1)/n, the gap just left of each point; 1/n - u is the one just right of it.
    return torch.maximum(u.amax(dim=1), 1 / n - u.amin(dim=1))


def pvalue(d: torch.Tensor, n_samples: int) -> torch.Tensor:
    """P-value of D at `n_samples`, from the Monte Carlo table."""
    return tables.pvalue("lilliefors", d, n_samples)


def lilliefors(x: ArrayLike, dim: int = 0) -> GofResult:
    """Lilliefors test of normality: Kolmogorov-Smirnov with estimated mean and sd.

    `D = sup_x |F_n(x) - Phi((x - mean) / s)|`, s with divisor n - 1. Large D speaks against normality.

    Null hypothesis: the samples are independent draws of one normal law of unknown mean and variance.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers, computed in float64.
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
    batch, sample = prepare(x, dim, name="lilliefors", minimum=MINIMUM)
    d = statistic(sample)
    return batch.gof(d, pvalue(d, sample.n_samples))

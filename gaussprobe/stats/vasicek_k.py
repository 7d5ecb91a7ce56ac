"""Vasicek's test: the sample's entropy, from spacings, against that of a normal law of equal variance."""

from __future__ import annotations

import torch

from gaussprobe.stats import tables
from gaussprobe.stats.batch import ArrayLike, measure
from gaussprobe.stats.ordered import OrderedSample, in_chunks
from gaussprobe.types import GofResult

MINIMUM = 8


@in_chunks(minimum=MINIMUM)
def statistic(sample: OrderedSample) -> torch.Tensor:
    """K of each unit, `(C,)`."""
    z, n = sample.z, sample.n_samples
    m = tables.window(n)
    spacing = sample.buffer("first")
    torch.sub(z[:, 2 * m :], z[:, : n - 2 * m], out=spacing[:, m : n - m])
    torch.sub(z[:, m : 2 * m], z[:, :1], out=spacing[:, :m])
    torch.sub(z[:, n - 1 :], z[:, n - 2 * m : n - m], out=spacing[:, n - m :])
    total = spacing.log_().sum(dim=1).to(torch.float64)
    return n / (2 * m) * torch.exp(total / n)


def pvalue(k: torch.Tensor, n_samples: int) -> torch.Tensor:
    """P-value of K at `n_samples`, from the Monte Carlo table."""
    return tables.pvalue("vasicek", k, n_samples)


def vasicek(x: ArrayLike, dim: int = 0) -> GofResult:
    """Vasicek's test of normality.

    `K = (n / (2 m s)) [prod_i (x_(i+m) - x_(i-m))]^(1/n)`, indices held within 1 .. n,
    `m = floor(sqrt(n) + 1/2)` and s the sd with divisor n: the exponential of the entropy of the standardised
    sample. For a normal law K tends to sqrt(2 pi e) = 4.13, from below; small K speaks against normality.

    Null hypothesis: the samples are independent draws of one normal law of unknown mean and variance.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        `statistic` K and `pvalue` in the batch's shape; K is 0 where so many values are equal that a spacing
        is. NaN with a warning for samples that are constant, hold non-finite values, or are fewer than 8. The
        p-value comes from a table of simulated quantiles.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        Vasicek (1976), JRSS B 38; the window is scipy's.
    """
    batch, found = measure(x, dim, {"k": statistic}, name="vasicek", minimum=MINIMUM)
    return batch.gof(found["k"], pvalue(found["k"], batch.n_samples))

"""The Shapiro-Francia test: Shapiro-Wilk with normal scores for weights."""

from __future__ import annotations

import torch

from gaussprobe.stats import normal_scores, tables
from gaussprobe.stats.batch import ArrayLike, measure
from gaussprobe.stats.ordered import OrderedSample, in_chunks
from gaussprobe.types import GofResult

MINIMUM = 8


@in_chunks(minimum=MINIMUM)
def statistic(sample: OrderedSample) -> torch.Tensor:
    """W' of each unit, `(C,)`."""
    return 1 - normal_scores.loss_of(normal_scores.squared_residual(sample))


def pvalue(w: torch.Tensor, n_samples: int) -> torch.Tensor:
    """P-value of W' at `n_samples`, from the Monte Carlo table."""
    return tables.pvalue("shapiro_francia", w, n_samples)


def shapiro_francia(x: ArrayLike, dim: int = 0) -> GofResult:
    """Shapiro-Francia test of normality.

    `W' = corr(x_(i), m_i)^2` with Blom's scores `m_i = Phi^-1((i - 3/8) / (n + 1/4))`: R^2 of the normal Q-Q
    plot. Small W' speaks against normality.

    Null hypothesis: the samples are independent draws of one normal law of unknown mean and variance.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        `statistic` W' and `pvalue` in the batch's shape. NaN with a warning for samples that are constant,
        hold non-finite values, or are fewer than 8. The p-value comes from a table of simulated quantiles of
        `ln(1 - W') + ln n`.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        Shapiro & Francia (1972), JASA 67; with the scores of Blom (1958), as Royston (1993), Statistics and
        Computing 3.
    """
    batch, found = measure(x, dim, {"w": statistic}, name="shapiro_francia", minimum=MINIMUM)
    return batch.gof(found["w"], pvalue(found["w"], batch.n_samples))

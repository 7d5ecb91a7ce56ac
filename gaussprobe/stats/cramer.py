"""The Cramer-von Mises test with mean and sd estimated."""

from __future__ import annotations

import torch

from gaussprobe.stats import edf
from gaussprobe.stats.batch import ArrayLike, measure
from gaussprobe.stats.ordered import Null, OrderedSample, in_chunks
from gaussprobe.types import GofResult

MINIMUM = 8


@in_chunks(minimum=MINIMUM)
def statistic(sample: OrderedSample) -> torch.Tensor:
    """W2 of each unit, `(C,)`."""
    return edf.squared_gaps(sample) + 1 / (12 * sample.n_samples)


def pvalue(w2: torch.Tensor, n_samples: int, null: Null = "composite") -> torch.Tensor:
    """P-value of W2 at `n_samples`."""
    return edf.pvalue("cramer_von_mises", w2, n_samples, null)


def cramer_von_mises(x: ArrayLike, dim: int = 0, *, null: Null = "composite") -> GofResult:
    """Cramer-von Mises test of normality, mean and sd estimated.

    `W2 = 1 / (12 n) + sum_i [Phi(y_(i)) - (i - 1/2) / n]^2` with `y = (x - mean) / s`, s with divisor n - 1.
    Large W2 speaks against normality.

    Null hypothesis: the samples are independent draws of one normal law of unknown mean and variance; of the
    standard normal law if `null` is `"simple"`: the samples then stand for y themselves.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers.
        dim: dimension of the samples; every other dimension is batch.
        null: `"composite"` or `"simple"`.

    Returns:
        `statistic` W2 and `pvalue` in the batch's shape. NaN with a warning for samples that are constant,
        hold non-finite values, or are fewer than 8. The p-value comes from a table of simulated quantiles.

    Raises:
        ValueError: for an `x`, a `dim` or a `null` that cannot be used.

    Reference:
        Stephens (1974), JASA 69; D'Agostino & Stephens (1986), Goodness-of-Fit Techniques, section 4.8.
    """
    batch, found = measure(x, dim, {"w2": statistic}, name="cramer_von_mises", minimum=MINIMUM, null=null)
    return batch.gof(found["w2"], pvalue(found["w2"], batch.n_samples, null))

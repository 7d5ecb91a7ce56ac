"""Watson's test: Cramer-von Mises without what a shift of the distribution function adds."""

from __future__ import annotations

import torch

from gaussprobe.stats import cramer, edf
from gaussprobe.stats.batch import ArrayLike, measure
from gaussprobe.stats.ordered import Null, OrderedSample, in_chunks
from gaussprobe.types import GofResult

MINIMUM = 8


@in_chunks(minimum=MINIMUM)
def statistic(sample: OrderedSample) -> torch.Tensor:
    """U2 of each unit, `(C,)`."""
    return cramer.statistic(sample) - sample.n_samples * edf.mean_gap(sample) ** 2


def pvalue(u2: torch.Tensor, n_samples: int, null: Null = "composite") -> torch.Tensor:
    """P-value of U2 at `n_samples`."""
    return edf.pvalue("watson", u2, n_samples, null)


def watson(x: ArrayLike, dim: int = 0, *, null: Null = "composite") -> GofResult:
    """Watson's test of normality, mean and sd estimated.

    `U2 = W2 - n (mean Phi(y) - 1/2)^2`, W2 the statistic of `cramer_von_mises`. Large U2 speaks against
    normality.

    Null hypothesis: the samples are independent draws of one normal law of unknown mean and variance; of the
    standard normal law if `null` is `"simple"`: the samples then stand for y themselves.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers.
        dim: dimension of the samples; every other dimension is batch.
        null: `"composite"` or `"simple"`.

    Returns:
        `statistic` U2 and `pvalue` in the batch's shape. NaN with a warning for samples that are constant,
        hold non-finite values, or are fewer than 8. The p-value comes from a table of simulated quantiles.

    Raises:
        ValueError: for an `x`, a `dim` or a `null` that cannot be used.

    Reference:
        Watson (1961), Biometrika 48; D'Agostino & Stephens (1986), Goodness-of-Fit Techniques, section 4.8.
    """
    batch, found = measure(x, dim, {"u2": statistic}, name="watson", minimum=MINIMUM, null=null)
    return batch.gof(found["u2"], pvalue(found["u2"], batch.n_samples, null))

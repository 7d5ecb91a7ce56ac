"""The Anderson-Darling test with both parameters estimated (case 3)."""

from __future__ import annotations

import math

import torch

from gaussprobe.stats import edf, workers
from gaussprobe.stats.batch import ArrayLike, measure
from gaussprobe.stats.ordered import Null, OrderedSample, in_chunks
from gaussprobe.types import GofResult

MINIMUM = 8

# Values further out, in sd, are redone one by one.
_DEEP = 3.0


@workers.constant(16)
def _entropies(n_samples: int) -> float:
    """`-n - 2 sum_i [p_i ln p_i + (1 - p_i) ln(1 - p_i)]`, p_i = (i - 1/2) / n."""
    p = (torch.arange(n_samples, dtype=torch.float64) + 0.5) / n_samples
    return -n_samples - 4 * float(torch.special.xlogy(p, p).sum())


@in_chunks(minimum=MINIMUM)
def statistic(sample: OrderedSample) -> torch.Tensor:
    """A2 of each unit, `(C,)`.

    Written as a constant and twice the sum of the divergences of p_i = (i - 1/2) / n from Phi(y_(i)): all
    are positive, so that nothing cancels between them.
    """
    z, n = sample.z, sample.n_samples
    low, high = edf.beyond(sample, _DEEP)
    middle = slice(low, n - high)
    p = edf.near_levels(n, z.device, z.dtype)[middle]
    gaps = edf.near_gaps(sample)[:, middle]
    divergence = torch.mul(gaps, 1 / p, out=sample.buffer("first")[:, middle]).log1p_().mul_(p)
    rest = torch.mul(gaps, -1 / (1 - p), out=sample.buffer("second")[:, middle]).log1p_().mul_(1 - p)
    total = divergence.add_(rest).sum(dim=1).to(torch.float64)
    for end in (slice(0, low), slice(n - high, n)):
        if end.stop > end.start:
            total += _deep(sample, end)
    return _entropies(n) - 2 * total


def _deep(sample: OrderedSample, end: slice) -> torch.Tensor:
    """`sum_i p_i ln(Phi_i / p_i) + (1 - p_i) ln((1 - Phi_i) / (1 - p_i))` over columns far out, `(C,)`.

    There the tail is too small beside p for a difference of the two, and leaves the range of its dtype.
    """
    z, n = sample.z, sample.n_samples
    p = edf.near_levels(n, z.device, torch.float64)[end]
    arguments = math.sqrt(2) * z[:, end].to(torch.float64) * edf.toward_middle(sample, torch.float64)[end]
    log_tail = torch.special.log_ndtr(-arguments)
    rest = torch.special.log_ndtr(arguments) - torch.log1p(-p)
    total: torch.Tensor = (p * (log_tail - torch.log(p)) + (1 - p) * rest).sum(dim=1)
    return total


def pvalue(a2: torch.Tensor, n_samples: int, null: Null = "composite") -> torch.Tensor:
    """P-value of A2 at `n_samples`."""
    return edf.pvalue("anderson_darling", a2, n_samples, null)


def anderson_darling(x: ArrayLike, dim: int = 0, *, null: Null = "composite") -> GofResult:
    """Anderson-Darling test of normality, mean and sd estimated.

    `A2 = -n - (1/n) sum_i (2i - 1) [ln Phi(y_(i)) + ln(1 - Phi(y_(n+1-i)))]` with `y = (x - mean) / s`,
    s with divisor n - 1. Large A2 speaks against normality.

    Null hypothesis: the samples are independent draws of one normal law of unknown mean and variance; of the
    standard normal law if `null` is `"simple"`: the samples then stand for y themselves.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers.
        dim: dimension of the samples; every other dimension is batch.
        null: `"composite"` or `"simple"`.

    Returns:
        `statistic` A2 and `pvalue` in the batch's shape; A2 is finite however far an outlier lies
        (under the simple null to values of 1e150). NaN with a
        warning for samples that are constant, hold non-finite values, or are fewer than 8. The p-value comes
        from a table of simulated quantiles of `A2 (1 + .75/n + 2.25/n^2)`.

    Raises:
        ValueError: for an `x`, a `dim` or a `null` that cannot be used.

    Reference:
        Anderson & Darling (1954), JASA 49; D'Agostino & Stephens (1986), Goodness-of-Fit Techniques,
        table 4.9.
    """
    batch, found = measure(x, dim, {"a2": statistic}, name="anderson_darling", minimum=MINIMUM, null=null)
    return batch.gof(found["a2"], pvalue(found["a2"], batch.n_samples, null))

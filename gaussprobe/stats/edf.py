"""What the tests on the empirical distribution function share: its gaps to the fitted normal law."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch

from gaussprobe.stats import simple_null, tables, workers
from gaussprobe.stats.ordered import Null, OrderedSample, shared, squares

Distance: TypeAlias = Literal["anderson_darling", "cramer_von_mises", "watson"]


@workers.constant(16)
def _toward_middle(n_samples: int, device: torch.device, dtype: torch.dtype, fitted: bool) -> torch.Tensor:
    # z has the biased sd; the tests divide by n - 1.
    factor = math.sqrt((n_samples - 1) / n_samples) if fitted else 1.0
    sign = torch.ones(n_samples, dtype=torch.float64)
    sign[: n_samples // 2] = -1.0
    return (sign * (factor / math.sqrt(2))).to(device, dtype)


@workers.constant(16)
def near_levels(n_samples: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """`(i - 1/2) / n` for the lower half of the sample, `(n - i + 1/2) / n` for the upper, `(n,)`."""
    i = torch.arange(1, n_samples + 1, dtype=torch.float64)
    lower = i <= n_samples // 2
    return (torch.where(lower, i - 0.5, n_samples - i + 0.5) / n_samples).to(device, dtype)


def toward_middle(sample: OrderedSample, dtype: torch.dtype) -> torch.Tensor:
    """`-+ sqrt((n - 1) / (2 n))`, `(n,)`: what turns z into the argument of erfc for the nearer tail.

    Without the correction of the sd where z was not standardised.
    """
    return _toward_middle(sample.n_samples, sample.z.device, dtype, sample.fitted)


@shared
def near_gaps(sample: OrderedSample) -> torch.Tensor:
    """`Phi(y_(i)) - (i - 1/2) / n`, its sign turned in the upper half of the sample, `(C, n)`.

    y is standardised with divisor n - 1, or the sample as it stands. Both are taken from the nearer tail,
    where no digits are lost.
    """
    z, n = sample.z, sample.n_samples
    gaps = torch.mul(z, toward_middle(sample, z.dtype), out=sample.buffer("gaps"))
    torch.special.erfc(gaps, out=gaps).mul_(0.5)
    return gaps.sub_(near_levels(n, z.device, z.dtype))


def largest_gap(sample: OrderedSample) -> torch.Tensor:
    """`sup_x |F_n(x) - Phi(x)|`, `(C,)` float64."""
    gaps = near_gaps(sample)
    # The gap at a point is largest just left or just right of it, half a step from the middle.
    return torch.maximum(gaps.amax(dim=1), -gaps.amin(dim=1)).to(torch.float64) + 0.5 / sample.n_samples


@shared
def squared_gaps(sample: OrderedSample) -> torch.Tensor:
    """`sum_i (Phi(y_(i)) - (i - 1/2) / n)^2`, `(C,)` float64."""
    return squares(near_gaps(sample))


def mean_gap(sample: OrderedSample) -> torch.Tensor:
    """`mean Phi(y_(i)) - 1/2`, `(C,)` float64."""
    gaps = near_gaps(sample)
    half = sample.n_samples // 2
    total = gaps[:, :half].sum(dim=1) - gaps[:, half:].sum(dim=1)
    return total.to(torch.float64) / sample.n_samples


def beyond(sample: OrderedSample, distance: float) -> tuple[int, int]:
    """How many columns at the lower and at the upper end hold every value further out than `distance` sd.

    Of the lower half of each sample only values on the lower side count, and likewise for the upper: more
    than half of a standardised sample is never beyond one sd. Of one that is not, every column may
    count.
    """
    z, n = sample.z, sample.n_samples
    middle = z[:, n // 2]
    if not sample.fitted and bool((middle.abs() > distance / 2).any()):
        return n // 2, n - n // 2
    ends = torch.tensor([-distance, distance], dtype=z.dtype, device=z.device).repeat(z.shape[0], 1)
    count = torch.searchsorted(z.contiguous(), ends)
    unusable = z[:, 0].isnan()
    below = torch.where(unusable, 0, count[:, 0])
    above = torch.where(unusable, 0, n - count[:, 1])
    return min(int(below.max()), n // 2), min(int(above.max()), n - n // 2)


def pvalue(name: Distance, statistic: torch.Tensor, n_samples: int, null: Null) -> torch.Tensor:
    """P-value from the Monte Carlo table; under the simple null, where nothing is estimated, from the law."""
    if null == "simple":
        return simple_null.pvalue(name, statistic, n_samples)
    return tables.pvalue(name, statistic, n_samples)

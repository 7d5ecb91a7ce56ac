"""The Anderson-Darling test with both parameters estimated (case 3)."""

from __future__ import annotations

import functools
import math

import torch

from gaussprobe.stats.ordered import ArrayLike, OrderedSample, in_chunks, prepare
from gaussprobe.types import GofResult

MINIMUM = 8

# Beyond here erfc(z / sqrt 2) leaves the normal range of float64 and its logarithm loses digits.
_DEEP_TAIL = 37.0

# D'Agostino & Stephens (1986), table 4.9: from this A2* on, constants of ln p in ascending powers of A2*.
_UPPER = (
    (0.340, (0.9177, -4.279, -1.38)),
    (0.600, (1.2937, -5.709, 0.0186)),
)
# Below those, ln(1 - p) likewise.
_LOWER = (
    (-math.inf, (-13.436, 101.14, -223.73)),
    (0.200, (-8.318, 42.796, -59.938)),
)
# The last parabola turns upwards at 153; it is followed to here (p of 5e-31) and then its tangent.
_TANGENT_FROM = 13.0


@functools.lru_cache(maxsize=16)
def _odd_weights(n_samples: int, device: torch.device) -> torch.Tensor:
    """`(2i - 1) / n`, i = 1 .. n."""
    return (2 * torch.arange(1, n_samples + 1, dtype=torch.float64, device=device) - 1) / n_samples


@in_chunks(minimum=MINIMUM)
def statistic(sample: OrderedSample) -> torch.Tensor:
    """A2 of each unit, `(C,)`."""
    n = sample.n_samples
    # z has the biased sd; case 3 divides by n - 1.
    z = sample.z * ((n - 1) / n) ** 0.5
    # One erfc serves both tails: the larger of Phi(z), Phi(-z) is 1 - tail, the smaller is tail.
    tail = torch.special.erfc(z.abs() / math.sqrt(2)).mul_(0.5)
    log_large = torch.log1p(-tail)
    log_small = tail.log_()
    deep = z.abs() > _DEEP_TAIL
    if bool(deep.any()):
        log_small[deep] = torch.special.log_ndtr(-z[deep].abs())
    negative = z < 0
    log_cdf = torch.where(negative, log_small, log_large)
    log_sf = torch.where(negative, log_large, log_small)
    odd = _odd_weights(n, z.device)
    # sum_i (2i - 1) log sf(z_(n+1-i)) with the weights reversed instead of the sample.
    return -n - log_cdf @ odd - log_sf @ odd.flip(0)


def pvalue(a2: torch.Tensor, n_samples: int) -> torch.Tensor:
    """P-value of A2 at `n_samples`."""
    n = n_samples
    if n < MINIMUM:
        return torch.full_like(a2, torch.nan)
    scaled = a2 * (1 + 0.75 / n + 2.25 / n**2)
    result = torch.full_like(scaled, torch.nan)
    for start, c in _LOWER:
        p = -torch.expm1(c[0] + c[1] * scaled + c[2] * scaled**2)
        result = torch.where(scaled >= start, p, result)
    for start, c in _UPPER:
        held = scaled.clamp(max=_TANGENT_FROM)
        slope = c[1] + 2 * c[2] * _TANGENT_FROM
        log_p = c[0] + c[1] * held + c[2] * held**2 + slope * (scaled - held)
        result = torch.where(scaled >= start, torch.exp(log_p), result)
    # The published pieces do not meet: p would rise from .1169 to .1194 at .6.
    start, c = _UPPER[0]
    meets = _UPPER[1][0]
    largest = math.exp(c[0] + c[1] * meets + c[2] * meets**2)
    return torch.where(scaled >= meets, result.clamp(max=largest), result)


def anderson_darling(x: ArrayLike, dim: int = 0) -> GofResult:
    """Anderson-Darling test of normality, mean and sd estimated.

    `A2 = -n - (1/n) sum_i (2i - 1) [ln Phi(y_(i)) + ln(1 - Phi(y_(n+1-i)))]` with `y = (x - mean) / s`,
    s with divisor n - 1. Large A2 speaks against normality.

    Null hypothesis: the samples are independent draws of one normal law of unknown mean and variance.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers, computed in float64.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        `statistic` A2 and `pvalue` in the batch's shape; A2 is finite however far an outlier lies. NaN with a
        warning for samples that are constant, hold non-finite values, or are fewer than 8. The p-value is
        that of `A2 (1 + .75/n + 2.25/n^2)`; past 13, where it is below 5e-31, ln p goes on along its tangent.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        Anderson & Darling (1954), JASA 49; D'Agostino & Stephens (1986), Goodness-of-Fit Techniques,
        table 4.9.
    """
    batch, sample = prepare(x, dim, name="anderson_darling", minimum=MINIMUM)
    a2 = statistic(sample)
    return batch.gof(a2, pvalue(a2, sample.n_samples))

"""The Shapiro-Wilk test in Royston's form."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from scipy.special import ndtri

from gaussprobe.stats import normal_scores, tables
from gaussprobe.stats.ordered import ArrayLike, OrderedSample, in_chunks, prepare
from gaussprobe.types import GofResult

MINIMUM = 3

# Royston's p-value was fitted up to here; beyond, his approximation goes on with constants of our own.
ROYSTON_MAXIMUM = 2000

# Royston (1992), as implemented in algorithm AS R94 (1995): weights, then p-values; ascending powers.
_C1 = (0.0, 0.221157, -0.147981, -2.071190, 4.434685, -2.706056)  # in n^-1/2
_C2 = (0.0, 0.042981, -0.293762, -1.752461, 5.682633, -3.582633)  # in n^-1/2
_GAMMA = (-2.273, 0.459)  # in n, 4 <= n <= 11
_SMALL_MEAN = (0.5440, -0.39978, 0.025054, -0.0006714)  # in n
_SMALL_LOG_SD = (1.3822, -0.77857, 0.062767, -0.0020322)  # in n
_MEAN = (-1.5861, -0.31082, -0.083751, 0.0038915)  # in ln n, n >= 12
_LOG_SD = (-0.4803, -0.082676, 0.0030302)  # in ln n


def _poly(coefficients: tuple[float, ...], x: float) -> float:
    return float(np.polynomial.polynomial.polyval(x, coefficients))


@functools.lru_cache(maxsize=16)
def weights(n_samples: int, device: torch.device) -> torch.Tensor:
    """Royston's approximation to the weights of W, `(n,)` float64 of norm 1; not to be written to.

    Reference:
        Royston (1992), Statistics and Computing 2; Royston (1995), algorithm AS R94.
    """
    n = n_samples
    if n == 3:
        a = np.array([-math.sqrt(0.5), 0.0, math.sqrt(0.5)])
        return torch.from_numpy(a).to(device)
    i = np.arange(1, n + 1)
    m = ndtri((i - 0.375) / (n + 0.25))
    m = (m - m[::-1]) / 2
    m_square = float(m @ m)
    u = 1 / math.sqrt(n)
    a = m.copy()
    outer = [m[-1] / math.sqrt(m_square) + _poly(_C1, u)]
    if n > 5:
        outer.append(m[-2] / math.sqrt(m_square) + _poly(_C2, u))
    k = len(outer)
    largest = np.array(outer)
    inner_square = (m_square - 2 * float(m[-k:] @ m[-k:])) / (1 - 2 * float(largest @ largest))
    a[k:-k] = m[k:-k] / math.sqrt(inner_square)
    a[-k:] = largest[::-1]
    a[:k] = -largest
    return torch.from_numpy(a).to(device)


@in_chunks(minimum=MINIMUM)
def statistic(sample: OrderedSample) -> torch.Tensor:
    """W of each unit, `(C,)`."""
    return 1 - normal_scores.correlation_loss(sample.z, weights(sample.n_samples, sample.z.device))


def pvalue(w: torch.Tensor, n_samples: int) -> torch.Tensor:
    """P-value of W at `n_samples`, by Royston up to 2,000 samples and a refit of his form beyond it."""
    n = n_samples
    if n < MINIMUM:
        return torch.full_like(w, torch.nan)
    if n == 3:
        # The exact distribution; W is at least 3/4.
        p = 6 / math.pi * (torch.asin(torch.sqrt(w)) - math.asin(math.sqrt(0.75)))
        return p.clamp(0, 1)
    y = torch.log1p(-w)
    if n <= 11:
        gamma = _poly(_GAMMA, n)
        # W so small that ln(1 - W) reaches gamma lies beyond the fitted range: the limit of p is 0.
        beyond = y >= gamma
        y = -torch.log(gamma - torch.where(beyond, gamma - 1.0, y))
        mean, sd = _poly(_SMALL_MEAN, n), math.exp(_poly(_SMALL_LOG_SD, n))
        return torch.where(beyond, 0.0, _upper_tail((y - mean) / sd))
    log_n = math.log(n)
    if n <= ROYSTON_MAXIMUM:
        mean, sd = _poly(_MEAN, log_n), math.exp(_poly(_LOG_SD, log_n))
    else:
        large_mean, large_log_sd = tables.shapiro_constants()
        mean, sd = _poly(large_mean, log_n), math.exp(_poly(large_log_sd, log_n))
    return _upper_tail((y - mean) / sd)


def _upper_tail(z: torch.Tensor) -> torch.Tensor:
    """`P(Z > z)`; torch's ndtr takes a difference from 1 and is 0 from z = 8.3 on."""
    tail: torch.Tensor = torch.special.erfc(z / math.sqrt(2))
    return 0.5 * tail


def shapiro_wilk(x: ArrayLike, dim: int = 0) -> GofResult:
    """Shapiro-Wilk test of normality.

    `W = (sum_i a_i x_(i))^2 / sum_i (x_i - mean)^2`, with weights a of norm 1 close to the normalised
    expected order statistics of a normal sample. Small W speaks against normality.

    Null hypothesis: the samples are independent draws of one normal law of unknown mean and variance.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers, computed in float64.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        `statistic` W and `pvalue` in the batch's shape. NaN with a warning for samples that are constant,
        hold non-finite values, or are fewer than 3. To 2,000 samples the p-value is Royston's; beyond, that
        of a normal law fitted to the upper quantiles of ln(1 - W) simulated for 2,000 to 300,000 samples.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        Shapiro & Wilk (1965), Biometrika 52; Royston (1995), Applied Statistics 44, algorithm AS R94.
    """
    batch, sample = prepare(x, dim, name="shapiro_wilk", minimum=MINIMUM)
    w = statistic(sample)
    return batch.gof(w, pvalue(w, sample.n_samples))

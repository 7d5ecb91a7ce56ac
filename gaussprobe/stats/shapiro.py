"""The Shapiro-Wilk test in Royston's form."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import ndtri

from gaussprobe.stats import normal_scores, tables, workers
from gaussprobe.stats.batch import ArrayLike, measure
from gaussprobe.stats.ordered import OrderedSample, in_chunks
from gaussprobe.types import GofResult

MINIMUM = 3

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


@workers.constant(16)
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


@workers.constant(16)
def _from_blom(n_samples: int, device: torch.device) -> tuple[torch.Tensor, float]:
    """Blom's unit scores less the weights, `(n,)` float64, and the square of its norm."""
    difference = normal_scores.unit_blom(n_samples, device) - weights(n_samples, device)
    return difference, float(difference @ difference)


@in_chunks(minimum=MINIMUM)
def statistic(sample: OrderedSample) -> torch.Tensor:
    """W of each unit, `(C,)`."""
    distance = normal_scores.squared_distance(sample, *_from_blom(sample.n_samples, sample.z.device))
    return 1 - normal_scores.loss_of(distance)


def royston(w: torch.Tensor, n_samples: int) -> torch.Tensor:
    """P-value of W by Royston's normal approximations; exact for 3 samples, fitted by him to 2,000.

    Reference:
        Royston (1992), Statistics and Computing 2; Royston (1995), algorithm AS R94.
    """
    n = n_samples
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
    return _upper_tail((y - _poly(_MEAN, log_n)) / math.exp(_poly(_LOG_SD, log_n)))


@workers.one_thread()
def pvalue(w: torch.Tensor, n_samples: int) -> torch.Tensor:
    """P-value of W at `n_samples`: Royston's, or the Monte Carlo table's where his is off."""
    if n_samples < MINIMUM:
        return torch.full_like(w, torch.nan)
    return tables.joined(royston(w, n_samples), w, n_samples)


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
        x: samples along `dim`, any unit; tensor or array of real numbers.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        `statistic` W and `pvalue` in the batch's shape. NaN with a warning for samples that are constant,
        hold non-finite values, or are fewer than 3. From 60 to 2,000 samples, and below 60 for p from .05 on,
        the p-value is Royston's; elsewhere, where his is off, it goes over to that of a table of simulated
        quantiles of `ln(1 - W) + ln n`, wholly below .01 with 30 samples or fewer and from 4,000 samples on.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        Shapiro & Wilk (1965), Biometrika 52; Royston (1995), Applied Statistics 44, algorithm AS R94.
    """
    batch, found = measure(x, dim, {"w": statistic}, name="shapiro_wilk", minimum=MINIMUM)
    return batch.gof(found["w"], pvalue(found["w"], batch.n_samples))

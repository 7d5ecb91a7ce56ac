"""Skewness, excess kurtosis, and L-moments."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from gaussprobe.stats.ordered import ArrayLike, OrderedSample, in_chunks, one_thread, prepare

MINIMUM = 2
L_MINIMUM = 4


class LMoments(NamedTuple):
    """First two L-moments, in the unit of the data, and the third and fourth as ratios to the second."""

    l1: Any
    l2: Any
    tau3: Any
    tau4: Any


@in_chunks(minimum=MINIMUM)
def skewness_of(sample: OrderedSample) -> torch.Tensor:
    """g1 of each unit, `(C,)`."""
    return (sample.z * sample.z * sample.z).mean(dim=1)


@in_chunks(minimum=MINIMUM)
def excess_kurtosis_of(sample: OrderedSample) -> torch.Tensor:
    """g2 of each unit, `(C,)`."""
    square = sample.z * sample.z
    kurtosis: torch.Tensor = torch.linalg.vecdot(square, square) / sample.n_samples
    return kurtosis - 3


@one_thread()
def l_moments_of(sample: OrderedSample) -> LMoments:
    """L-moments of each unit, each `(C,)`."""
    n = sample.n_samples
    if n < L_MINIMUM:
        nan = torch.full_like(sample.mean, torch.nan)
        return LMoments(nan, nan, nan, nan)
    j = torch.arange(n, dtype=torch.float64, device=sample.z.device)  # i - 1
    one = j / (n - 1)
    two = one * (j - 1) / (n - 2)
    three = two * (j - 2) / (n - 3)
    # Unbiased probability-weighted moments b0 .. b3 of the standardised sample.
    b = sample.z @ torch.stack([torch.ones_like(j), one, two, three], dim=1) / n
    b0, b1, b2, b3 = b.unbind(dim=1)
    l2 = 2 * b1 - b0
    l3 = 6 * b2 - 6 * b1 + b0
    l4 = 20 * b3 - 30 * b2 + 12 * b1 - b0
    usable = ~(sample.constant | sample.nonfinite)
    l1 = torch.where(usable, sample.mean, torch.nan)
    return LMoments(l1, l2 * sample.sd, l3 / l2, l4 / l2)


def skewness(x: ArrayLike, dim: int = 0) -> Any:
    """Skewness.

    `g1 = m3 / m2^(3/2)` with central moments `m_k = (1/n) sum_i (x_i - mean)^k` (biased).

    Null hypothesis: none; an estimate. It is 0 for a normal law.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers, computed in float64.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        g1 in the batch's shape. NaN with a warning for samples that are constant or hold non-finite values.
        Under heavy tails it grows with n: it is no stable size of a departure.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        Joanes & Gill (1998), The Statistician 47.
    """
    batch, sample = prepare(x, dim, name="skewness", minimum=MINIMUM)
    return batch.give_back(skewness_of(sample))


def excess_kurtosis(x: ArrayLike, dim: int = 0) -> Any:
    """Excess kurtosis.

    `g2 = m4 / m2^2 - 3` with central moments `m_k = (1/n) sum_i (x_i - mean)^k` (biased).

    Null hypothesis: none; an estimate. It is 0 for a normal law.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers, computed in float64.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        g2 in the batch's shape. NaN with a warning for samples that are constant or hold non-finite values.
        Under heavy tails it grows with n: it is no stable size of a departure.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        Joanes & Gill (1998), The Statistician 47.
    """
    batch, sample = prepare(x, dim, name="excess_kurtosis", minimum=MINIMUM)
    return batch.give_back(excess_kurtosis_of(sample))


def l_moments(x: ArrayLike, dim: int = 0) -> LMoments:
    """First four L-moments, the last two as ratios.

    `l_r = sum_k p*_(r-1,k) b_k` of the unbiased probability-weighted moments
    `b_k = (1/n) sum_i [(i-1)..(i-k) / ((n-1)..(n-k))] x_(i)`; `tau3 = l3 / l2`, `tau4 = l4 / l2`.

    Null hypothesis: none; estimates. For a normal law l2 is `sd / sqrt(pi)`, tau3 0 and tau4 .1226.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers, computed in float64.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        `LMoments(l1, l2, tau3, tau4)`, each in the batch's shape. NaN with a warning for samples that are
        constant, hold non-finite values, or are fewer than 4.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        Hosking (1990), JRSS B 52, sections 2 and 3.
    """
    batch, sample = prepare(x, dim, name="l_moments", minimum=L_MINIMUM)
    return LMoments(*(batch.give_back(part) for part in l_moments_of(sample)))

"""Skewness, excess kurtosis, and L-moments."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from gaussprobe.stats import normal_scores, workers
from gaussprobe.stats.batch import ArrayLike, measure
from gaussprobe.stats.ordered import OrderedSample, RowFunction, in_chunks, shared
from gaussprobe.stats.pieces import measure_sample

MINIMUM = 2
L_MINIMUM = 4


class LMoments(NamedTuple):
    """First two L-moments, in the unit of the data, and the third and fourth as ratios to the second."""

    l1: Any
    l2: Any
    tau3: Any
    tau4: Any


@shared
def _power_sums(sample: OrderedSample) -> torch.Tensor:
    """Sums of cubes and of fourth powers, `(2, C)` float64."""
    square = torch.mul(sample.z, sample.z, out=sample.buffer("first"))
    cubes = torch.mul(square, sample.z, out=sample.buffer("second")).sum(dim=1)
    return torch.stack([cubes, square.square_().sum(dim=1)]).to(torch.float64)


@in_chunks(minimum=MINIMUM)
def skewness_of(sample: OrderedSample) -> torch.Tensor:
    """g1 of each unit, `(C,)`."""
    return _power_sums(sample)[0] / sample.n_samples


@in_chunks(minimum=MINIMUM)
def excess_kurtosis_of(sample: OrderedSample) -> torch.Tensor:
    """g2 of each unit, `(C,)`."""
    return _power_sums(sample)[1] / sample.n_samples - 3


@workers.constant(16)
def _weights(n_samples: int, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of the order statistics in l2, l3, l4, `(n, 3)`, and those of Blom's scores of sd 1, `(3,)`.

    Combinations of the unbiased probability-weighted moments b0 .. b3.
    """
    n = n_samples
    j = torch.arange(n, dtype=torch.float64)  # i - 1
    one = j / (n - 1)
    two = one * (j - 1) / (n - 2)
    three = two * (j - 2) / (n - 3)
    l2 = 2 * one - 1
    l3 = 6 * two - 6 * one + 1
    l4 = 20 * three - 30 * two + 12 * one - 1
    weights = torch.stack([l2, l3, l4], dim=1).to(device) / n
    return weights.to(dtype), weights.t() @ normal_scores.unit_blom(n, device) * math.sqrt(n)


@shared
def l_statistics(sample: OrderedSample) -> torch.Tensor:
    """l2, l3, l4 of the sample over sd, `(3, C)` float64: those of normal scores and of the rest."""
    z = sample.z
    weights, normal = _weights(sample.n_samples, z.device, z.dtype)
    return (normal_scores.residual(sample) @ weights).to(torch.float64).t() + normal[:, None]


@in_chunks(minimum=L_MINIMUM)
def _l1(sample: OrderedSample) -> torch.Tensor:
    return torch.where(sample.constant | sample.nonfinite, torch.nan, sample.mean)


@in_chunks(minimum=L_MINIMUM)
def _l2(sample: OrderedSample) -> torch.Tensor:
    l2: torch.Tensor = l_statistics(sample)[0] * sample.sd
    return l2


@in_chunks(minimum=L_MINIMUM)
def _tau3(sample: OrderedSample) -> torch.Tensor:
    l2, l3, _ = l_statistics(sample)
    ratio: torch.Tensor = l3 / l2
    return ratio


@in_chunks(minimum=L_MINIMUM)
def _tau4(sample: OrderedSample) -> torch.Tensor:
    l2, _, l4 = l_statistics(sample)
    ratio: torch.Tensor = l4 / l2
    return ratio


L_MOMENTS: dict[str, RowFunction] = {"l1": _l1, "l2": _l2, "tau3": _tau3, "tau4": _tau4}


def _mean(sample: OrderedSample) -> torch.Tensor:
    return sample.mean


def _sd(sample: OrderedSample) -> torch.Tensor:
    return sample.sd


MOMENTS: dict[str, RowFunction] = {"mean": _mean, "sd": _sd}


def l_moments_of(sample: OrderedSample) -> LMoments:
    """L-moments of each unit, each `(C,)`; NaN with fewer than 4 samples."""
    return LMoments(**measure_sample(sample, L_MOMENTS))


def skewness(x: ArrayLike, dim: int = 0) -> Any:
    """Skewness.

    `g1 = m3 / m2^(3/2)` with central moments `m_k = (1/n) sum_i (x_i - mean)^k` (biased).

    Null hypothesis: none; an estimate. It is 0 for a normal law.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers. If it requires a gradient, so does
            the result.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        g1 in the batch's shape. NaN with a warning for samples that are constant or hold non-finite values.
        Under heavy tails it grows with n: it is no stable size of a departure.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        Joanes & Gill (1998), The Statistician 47.
    """
    functions = {"g1": skewness_of}
    batch, found = measure(x, dim, functions, name="skewness", minimum=MINIMUM, in_order=False)
    return batch.give_back(batch.with_gradient(found["g1"], lambda z: z.pow(3).mean(dim=0)))


def excess_kurtosis(x: ArrayLike, dim: int = 0) -> Any:
    """Excess kurtosis.

    `g2 = m4 / m2^2 - 3` with central moments `m_k = (1/n) sum_i (x_i - mean)^k` (biased).

    Null hypothesis: none; an estimate. It is 0 for a normal law.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers. If it requires a gradient, so does
            the result.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        g2 in the batch's shape. NaN with a warning for samples that are constant or hold non-finite values.
        Under heavy tails it grows with n: it is no stable size of a departure.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        Joanes & Gill (1998), The Statistician 47.
    """
    functions = {"g2": excess_kurtosis_of}
    batch, found = measure(x, dim, functions, name="excess_kurtosis", minimum=MINIMUM, in_order=False)
    return batch.give_back(batch.with_gradient(found["g2"], lambda z: z.pow(4).mean(dim=0) - 3))


def l_moments(x: ArrayLike, dim: int = 0) -> LMoments:
    """First four L-moments, the last two as ratios.

    `l_r = sum_k p*_(r-1,k) b_k` of the unbiased probability-weighted moments
    `b_k = (1/n) sum_i [(i-1)..(i-k) / ((n-1)..(n-k))] x_(i)`; `tau3 = l3 / l2`, `tau4 = l4 / l2`.

    Null hypothesis: none; estimates. For a normal law l2 is `sd / sqrt(pi)`, tau3 0 and tau4 .1226.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        `LMoments(l1, l2, tau3, tau4)`, each in the batch's shape. NaN with a warning for samples that are
        constant, hold non-finite values, or are fewer than 4.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        Hosking (1990), JRSS B 52, sections 2 and 3.
    """
    batch, found = measure(x, dim, L_MOMENTS, name="l_moments", minimum=L_MINIMUM)
    return LMoments(**{name: batch.give_back(value) for name, value in found.items()})

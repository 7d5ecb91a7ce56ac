"""Effect sizes: how far from normal, on scales that do not grow with the number of samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.special import ndtri

from gaussprobe.stats import entropy, kolmogorov, moments, normal_scores, tables, workers
from gaussprobe.stats.batch import ArrayLike, measure
from gaussprobe.stats.ordered import OrderedSample, RowFunction, in_chunks
from gaussprobe.stats.pieces import measure_sample

MINIMUM = 3
CORRECTED_MINIMUM = tables.MINIMUM

_INVERSE_ROOT_2PI = 1 / np.sqrt(2 * np.pi)


@in_chunks(minimum=MINIMUM)
def raw_delta(sample: OrderedSample) -> torch.Tensor:
    """`1 - R^2` of the Q-Q plot of each unit, `(C,)`."""
    return normal_scores.loss_of(normal_scores.squared_residual(sample))


def corrected_delta(sample: OrderedSample) -> torch.Tensor:
    """`1 - R^2` of each unit minus its mean under the null, `(C,)`."""
    return raw_delta(sample) - tables.null_mean("delta", sample.n_samples)


@workers.constant(16)
def _from_blom(n_samples: int, device: torch.device) -> tuple[torch.Tensor, float, float]:
    """Blom's unit scores less the cell means over sqrt(n), the square of its norm, the variance in a cell.

    The cell means are those of the standard normal quantile function over each `((i-1)/n, i/n)`.
    """
    inner = ndtri(np.arange(1, n_samples) / n_samples)
    density = np.concatenate([[0.0], np.exp(-0.5 * inner * inner) * _INVERSE_ROOT_2PI, [0.0]])
    means = -np.diff(density) * n_samples
    means = (means - means[::-1]) / 2
    scaled = torch.from_numpy(means / np.sqrt(n_samples)).to(device)
    difference = normal_scores.unit_blom(n_samples, device) - scaled
    return difference, float(difference @ difference), float(1 - np.mean(means * means))


@in_chunks(minimum=MINIMUM)
def wasserstein_of(sample: OrderedSample) -> torch.Tensor:
    """Wasserstein-2 distance to the fitted normal law of each unit, `(C,)`, in sd."""
    difference, square, within = _from_blom(sample.n_samples, sample.z.device)
    return torch.sqrt(normal_scores.squared_distance(sample, difference, square) + within)


def r2(sample: OrderedSample) -> torch.Tensor:
    """R^2 of the Q-Q plot of each unit, `(C,)`."""
    return 1 - raw_delta(sample)


EFFECT_SIZES: dict[str, RowFunction] = {
    "delta": corrected_delta,
    "negentropy": entropy.corrected,
    "qq_r2": r2,
    "ks_distance": kolmogorov.statistic,
    "wasserstein": wasserstein_of,
    "skewness": moments.skewness_of,
    "excess_kurtosis": moments.excess_kurtosis_of,
}


def effect_sizes(sample: OrderedSample) -> dict[str, torch.Tensor]:
    """Every effect size of each unit, `(C,)` each, by name.

    `delta` and `negentropy` are corrected for their mean under the null, the others are not.
    """
    return measure_sample(sample, EFFECT_SIZES)


def qq_r2(x: ArrayLike, dim: int = 0) -> Any:
    """R^2 of the normal Q-Q plot.

    `R^2 = corr(x_(i), m_i)^2` with Blom's scores `m_i = Phi^-1((i - 3/8) / (n + 1/4))`.

    Null hypothesis: none; an estimate. It tends to 1 for a normal law, from below.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        R^2 in the batch's shape, not corrected for n. NaN with a warning for samples that are constant, hold
        non-finite values, or are fewer than 3.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        Shapiro & Francia (1972), JASA 67, with the scores of Blom (1958).
    """
    batch, found = measure(x, dim, {"r2": r2}, name="qq_r2", minimum=MINIMUM)
    return batch.give_back(found["r2"])


def delta(x: ArrayLike, dim: int = 0) -> Any:
    """Curvature of the normal Q-Q plot, freed of what n normal samples have of it: verdicts rest on this.

    `delta = 1 - R^2 - E_n[1 - R^2]`, R^2 as `qq_r2`, E_n its simulated mean for n normal samples.

    Null hypothesis: none; an estimate. It scatters around 0 for a normal law; logistic .008, t(5) .033,
    uniform .045, exponential .184.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        delta in the batch's shape; may be negative. NaN with a warning for samples that are constant, hold
        non-finite values, or are fewer than 8.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        Shapiro & Francia (1972), JASA 67, for R^2; the null mean is this package's table.
    """
    batch, found = measure(x, dim, {"delta": corrected_delta}, name="delta", minimum=CORRECTED_MINIMUM)
    return batch.give_back(found["delta"])


def ks_distance(x: ArrayLike, dim: int = 0) -> Any:
    """Largest distance between the empirical and the fitted normal distribution function.

    `D = sup_x |F_n(x) - Phi((x - mean) / s)|`, s with divisor n - 1: Lilliefors' statistic.

    Null hypothesis: none; an estimate. Under normality it falls as n^(-1/2).

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        D in the batch's shape, not corrected for n. NaN with a warning for samples that are constant, hold
        non-finite values, or are fewer than 8.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        Lilliefors (1967), JASA 62.
    """
    batch, found = measure(
        x, dim, {"ks_distance": kolmogorov.statistic}, name="ks_distance", minimum=kolmogorov.MINIMUM
    )
    return batch.give_back(found["ks_distance"])


def wasserstein(x: ArrayLike, dim: int = 0) -> Any:
    """Wasserstein-2 distance to the normal law of the sample's mean and sd, in units of that sd.

    `W2^2 = int_0^1 (F_n^-1(u) - Phi^-1(u))^2 du` of the sample standardised with its biased sd. Nothing is
    discretised: F_n^-1 is constant on each `((i-1)/n, i/n)`, where the integral is
    `(z_(i) - c_i)^2 / n` plus the variance of Phi^-1 within the cell, with
    `c_i = n [phi(Phi^-1((i-1)/n)) - phi(Phi^-1(i/n))]` the cell's mean.

    Null hypothesis: none; an estimate. Under normality it falls nearly as n^(-1/2).

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        W2 in the batch's shape, in sd, not corrected for n. NaN with a warning for samples that are constant,
        hold non-finite values, or are fewer than 3.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used.

    Reference:
        del Barrio, Cuesta-Albertos, Matran & Rodriguez-Rodriguez (1999), Annals of Statistics 27.
    """
    batch, found = measure(x, dim, {"wasserstein": wasserstein_of}, name="wasserstein", minimum=MINIMUM)
    return batch.give_back(found["wasserstein"])

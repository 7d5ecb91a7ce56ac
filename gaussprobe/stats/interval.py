"""Intervals of a unit's effect size, from the influence of each of its values."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import ndtri, polygamma, stdtrit

from gaussprobe.stats import effects, entropy, kolmogorov, moments, tables, workers
from gaussprobe.stats.batch import ArrayLike, known_name, measure
from gaussprobe.stats.ordered import OrderedSample

MINIMUM = tables.MINIMUM

# Sizes that fall to a noise floor at the normal law have their logarithm taken after adding this many sd of
# their null. With fewer the upper limits of normal samples lie far up, with more those of heavy-tailed ones
# not far enough (docs/intervals.md).
OFFSET = 3.0

# The supremum of noisy differences lies too high, by what depends on how flat its peak is: by nothing at a
# jump, by about this share of the null mean at a flat peak. Which it is the sample does not tell.
PEAK_SHARE = 0.25

# Student's t has quantiles worth using from here on.
FEWEST_DF = 2.0


class Interval(NamedTuple):
    """An effect size and its limits, each in the batch's shape."""

    estimate: Any
    low: Any
    high: Any


@dataclass(frozen=True, kw_only=True)
class _Spread:
    """What an estimate scatters by, of each unit, `(C,)`.

    Args:
        se: standard error.
        quantile: of Student's t for the level, on as many degrees of freedom as the variance is worth.
    """

    se: torch.Tensor
    quantile: torch.Tensor


def stretched(
    estimate: torch.Tensor, se: torch.Tensor, quantile: torch.Tensor, offset: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Limits that are symmetric in `ln(estimate + offset)`; a negative estimate counts as 0 there.

    With `u = max(estimate, 0) + offset` and `r = exp(quantile se / u)`: `estimate - u (1 - 1/r)` and
    `estimate + u (r - 1)`. Far below the offset that is nearly `estimate +- quantile se`, far above it a
    factor r to either side.
    """
    u = estimate.clamp(min=0.0) + offset
    lever = quantile * se / u
    return estimate + u * torch.expm1(-lever), estimate + u * torch.expm1(lever)


def _spread(
    influence: torch.Tensor, level: float, *, noise: float = 0.0, null_variance: float = 0.0
) -> _Spread:
    """Standard error from the influence of each value, `(C, n)`, and the quantile that goes with it.

    `se^2 = v / n + null variance`, v the variance of the influences less `noise`, which is not the law's.
    The relative variance of v is that of a chi-squared with `2 n / (kurtosis - 1)` degrees of freedom.
    """
    n = influence.shape[1]
    centred = influence - influence.mean(dim=1, keepdim=True)
    square = centred * centred
    second = square.mean(dim=1)
    # At a two-point law every influence is the same: there is no variance of v then.
    excess = (torch.linalg.vecdot(square, square) / n / (second * second) - 1).clamp(min=1e-3)
    linear = (second - noise).clamp(min=0.0) / n
    variance = linear + null_variance
    df = 2 * n * variance * variance / (excess * linear * linear)
    df = torch.where(torch.isfinite(df), df.clamp(min=FEWEST_DF), 1e9)
    quantile = torch.from_numpy(-stdtrit(df.cpu().numpy(), (1 - level) / 2)).to(df.device)
    return _Spread(se=torch.sqrt(variance), quantile=quantile)


@workers.constant(16)
def _inner_scores(n_samples: int, device: torch.device) -> torch.Tensor:
    """Standard normal quantiles at `1/n .. (n-1)/n`, `(n - 1,)`: scores of the gaps between values."""
    share = torch.arange(1, n_samples, dtype=torch.float64) / n_samples
    return torch.from_numpy(ndtri(share.numpy())).to(device)


def _accumulated(slopes: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
    """A function of the sample with these slopes over its gaps, at each value, 0 at the lowest, `(C, n)`."""
    values = torch.zeros((gaps.shape[0], gaps.shape[1] + 1), dtype=gaps.dtype, device=gaps.device)
    torch.cumsum(slopes * gaps, dim=1, out=values[:, 1:])
    return values


def _correlation_influence(z: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
    """Influence of each value on the correlation R of quantiles and normal quantiles, but for a constant.

    Its derivative is `Phi^-1(F(z)) - R z`, which vanishes everywhere at a normal law.
    """
    gaps = z[:, 1:] - z[:, :-1]
    middles = (z[:, 1:] + z[:, :-1]) / 2
    return _accumulated(_inner_scores(z.shape[1], z.device) - r[:, None] * middles, gaps)


def _delta(sample: OrderedSample, z: torch.Tensor, level: float) -> Interval:
    r = torch.sqrt(1 - effects.raw_delta(sample))
    estimate = effects.corrected_delta(sample)
    sd = tables.null_sd("delta", sample.n_samples)
    spread = _spread(-2 * r[:, None] * _correlation_influence(z, r), level, null_variance=sd * sd)
    low, high = stretched(estimate, spread.se, spread.quantile, OFFSET * sd)
    return Interval(estimate, low, high.clamp(max=1.0))


def _qq_r2(sample: OrderedSample, z: torch.Tensor, level: float) -> Interval:
    estimate, low, high = _delta(sample, z, level)
    return Interval(*((1 - value).clamp(max=1.0) for value in (estimate, high, low)))


def _wasserstein(sample: OrderedSample, z: torch.Tensor, level: float) -> Interval:
    # The square is 2 - 2 R of the law, an estimate like delta; distances are its roots.
    mean, sd = (f("wasserstein", sample.n_samples) for f in (tables.null_mean, tables.null_sd))
    square = effects.wasserstein_of(sample) ** 2 - (mean * mean + sd * sd)
    square_sd = 2 * mean * sd
    r = torch.sqrt(1 - effects.raw_delta(sample))
    spread = _spread(-2 * _correlation_influence(z, r), level, null_variance=square_sd * square_sd)
    low, high = stretched(square, spread.se, spread.quantile, OFFSET * square_sd)
    return Interval(*(torch.sqrt(value.clamp(min=0.0)) for value in (square, low, high.clamp(max=2.0))))


def _ks_distance(sample: OrderedSample, z: torch.Tensor, level: float) -> Interval:
    n = sample.n_samples
    mean, sd = (f("ks_distance", n) for f in (tables.null_mean, tables.null_sd))
    distance = kolmogorov.statistic(sample)
    estimate = torch.sqrt((distance * distance - mean * mean - sd * sd).clamp(min=0.0))
    # Where the distance is taken: just left of a value, where Phi is above F_n, or at it, where it is below.
    gap = torch.special.ndtr(z * ((n - 1) / n) ** 0.5)
    gap -= torch.arange(n, dtype=torch.float64, device=z.device) / n
    (left, left_at), (right, right_at) = gap.max(dim=1), gap.min(dim=1)
    above = left >= 1 / n - right
    at = z.gather(1, torch.where(above, left_at, right_at)[:, None])
    counted = torch.where(above[:, None], z < at, z <= at)
    density = torch.exp(-0.5 * at * at) / math.sqrt(2 * math.pi)
    spread = _spread(counted + density * (z + at * (z * z - 1) / 2), level)
    reach = spread.quantile * spread.se
    low = (estimate - PEAK_SHARE * mean - reach).clamp(min=0.0)
    return Interval(estimate, low, (estimate + reach).clamp(max=1.0))


def _negentropy(sample: OrderedSample, z: torch.Tensor, level: float) -> Interval:
    n = sample.n_samples
    log_density, noise = _log_density(z), _spacing_noise(n)
    sd = tables.null_sd("negentropy", n)
    estimate = entropy.corrected(sample)
    spread = _spread(log_density + z * z / 2, level, noise=noise, null_variance=sd * sd)
    low, high = stretched(estimate, spread.se, spread.quantile, OFFSET * sd)
    return Interval(estimate, low, high)


@functools.lru_cache(maxsize=16)
def _spacing_noise(n_samples: int) -> float:
    """Mean over the sample of the variance of `_log_density`: `psi'(k)` of a spacing of order k."""
    _, first, last, _ = entropy._windows(n_samples, torch.device("cpu"))
    return float(polygamma(1, (last - first).numpy()).mean())


def _log_density(z: torch.Tensor) -> torch.Tensor:
    """`ln f` at each value but for a constant, `(C, n)`, by the spacings of `entropy`."""
    n = z.shape[1]
    half, first, last, psi = entropy._windows(n, z.device)
    spacing = z.index_select(1, last) - z.index_select(1, first)
    row, point = torch.nonzero(spacing <= 0, as_tuple=True)
    result = psi - spacing.log_()
    m = half[point]
    # As entropy does, a window of equal values is widened; an atom, whose J is infinite, has no interval.
    while row.numel():
        m = 2 * m
        low, high = (point - m).clamp(min=0), (point + m).clamp(max=n - 1)
        width = z[row, high] - z[row, low]
        result[row, point] = torch.special.digamma((high - low).to(z.dtype)) - width.log()
        tied = (width <= 0) & (m < n)
        row, point, m = row[tied], point[tied], m[tied]
    return result


def _skewness(sample: OrderedSample, z: torch.Tensor, level: float) -> Interval:
    estimate = moments.skewness_of(sample)
    square = z * z
    spread = _spread(z * (square - 3) - 1.5 * estimate[:, None] * square, level)
    lever = spread.quantile * spread.se / torch.sqrt(estimate * estimate + 1)
    at = torch.asinh(estimate)
    return Interval(estimate, torch.sinh(at - lever), torch.sinh(at + lever))


def _excess_kurtosis(sample: OrderedSample, z: torch.Tensor, level: float) -> Interval:
    estimate = moments.excess_kurtosis_of(sample)
    g1 = moments.skewness_of(sample)[:, None]
    square = z * z
    spread = _spread(square * (square - 2 * (estimate[:, None] + 3)) - 4 * g1 * z, level)
    # m4 / m2^2 of no law is below 1, and that of two equally likely values is 1.
    above = (estimate + 2).clamp(min=1e-9)
    lever = spread.quantile * spread.se / above
    return Interval(estimate, estimate + above * torch.expm1(-lever), estimate + above * torch.expm1(lever))


def _l_ratio(sample: OrderedSample, z: torch.Tensor, level: float, *, order: int) -> Interval:
    n = sample.n_samples
    l2, *ratios = moments.l_statistics(sample)
    estimate = ratios[order - 3] / l2
    p = torch.arange(1, n, dtype=torch.float64, device=z.device) / n
    # Shifted Legendre polynomials, whose integrals against the quantile function the L-moments are.
    legendre = 6 * p * p - 6 * p + 1 if order == 3 else 20 * p**3 - 30 * p * p + 12 * p - 1
    slopes = legendre - estimate[:, None] * (2 * p - 1)
    influence = _accumulated(slopes, z[:, 1:] - z[:, :-1]) / l2[:, None]
    spread = _spread(influence, level)
    reach = spread.quantile * spread.se
    return Interval(estimate, estimate - reach, estimate + reach)


EFFECTS: dict[str, Callable[[OrderedSample, torch.Tensor, float], Interval]] = {
    "delta": _delta,
    "negentropy": _negentropy,
    "qq_r2": _qq_r2,
    "ks_distance": _ks_distance,
    "wasserstein": _wasserstein,
    "skewness": _skewness,
    "excess_kurtosis": _excess_kurtosis,
    "tau3": functools.partial(_l_ratio, order=3),
    "tau4": functools.partial(_l_ratio, order=4),
}


def interval_of(name: str, sample: OrderedSample, level: float = 0.95) -> torch.Tensor:
    """Estimate, low and high of each unit, `(C, 3)` float64; for samples of a piece's size."""
    if sample.n_samples < MINIMUM:
        return torch.full((sample.num_features, 3), torch.nan, dtype=torch.float64, device=sample.z.device)
    found = EFFECTS[name](sample, sample.z.to(torch.float64), level)
    known = torch.isfinite(found.estimate)
    low, high = (torch.where(known, limit, torch.nan) for limit in found[1:])
    return torch.stack([found.estimate, low, high], dim=1)


def interval(name: str, x: ArrayLike, level: float = 0.95, dim: int = 0) -> Interval:
    """Confidence interval of an effect size of each unit.

    `se^2 = Var(influence) / n + null variance`: the influence of a value is how the effect size of the law
    changes with the law's mass there (the infinitesimal jackknife); that of delta, negentropy and W^2
    vanishes at the normal law, and the null variance is what is left. q is the quantile of Student's t with
    `2 (se^2)^2 / Var(se^2)` degrees of freedom.

    | name | estimate | limits |
    |---|---|---|
    | `delta`, `negentropy` | T: the function of that name | `ln(max(T, 0) + 3 null sd) +- q se'` |
    | `qq_r2` | `1 - delta`, at most 1 | those of delta |
    | `wasserstein` | `sqrt(T)`, `T = W^2 - E_n[W^2]`, at least 0 | as delta |
    | `ks_distance` | `sqrt(D^2 - E_n[D^2])`, at least 0 | `- q se - E_n[D] / 4` and `+ q se` |
    | `skewness` | `g1` | `asinh(g1) +- q se'` |
    | `excess_kurtosis` | `g2` | `ln(g2 + 2) +- q se'` |
    | `tau3`, `tau4` | L-skewness, L-kurtosis | `+- q se` |

    E_n is the mean for n normal samples, se' the standard error on the scale named.

    Null hypothesis: none; an interval estimate. What it is to cover is the effect size of the law itself,
    also where the estimate is biased at small n.

    Args:
        name: of the effect size, as above.
        x: independent samples along `dim`, any unit; tensor or array of real numbers.
        level: of the interval, between 0 and 1.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        `Interval(estimate, low, high)`, each in the batch's shape. NaN with a warning for samples that are
        constant, hold non-finite values, or are fewer than 8; no limits (NaN) for an infinite negentropy.
        Measured coverage is in docs/intervals.md: near the level at n = 2,000, below it for heavy tails at
        small n, and far below it for the moment ratios of heavy-tailed laws at every n.

    Raises:
        ValueError: for an unknown name, a level outside 0 .. 1, or an `x` or a `dim` that cannot be used.

    Reference:
        Hampel (1974), JASA 69, for the influence of a value; Huber (1981), Robust Statistics, section 3.3,
        for that on linear functions of order statistics; Satterthwaite (1946), Biometrics Bulletin 2, for q.
    """
    known_name("name", name, EFFECTS)
    if isinstance(level, bool) or not isinstance(level, int | float | np.floating) or not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level!r}")
    functions = {name: functools.partial(interval_of, name, level=float(level))}
    batch, results = measure(x, dim, functions, name="interval", minimum=MINIMUM)
    return Interval(*(batch.give_back(column) for column in results[name].unbind(dim=1)))

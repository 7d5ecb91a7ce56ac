"""Monte Carlo tables of the null: p-values, and the mean and sd of effect sizes at each n.

Made by `gaussprobe.stats.build_tables`, read on first use.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy.interpolate import PchipInterpolator
from scipy.special import chdtri

Tested: TypeAlias = Literal["lilliefors", "dagostino_pearson"]
Effect: TypeAlias = Literal["delta", "negentropy", "ks_distance", "wasserstein"]
Floats: TypeAlias = "npt.NDArray[np.float64]"

MINIMUM = 8  # the smallest tabulated n

# Effects whose null moments are smooth in n; negentropy's jump where its window gains a step.
SMOOTH: frozenset[Effect] = frozenset({"delta", "ks_distance", "wasserstein"})
SMOOTH_DEGREE = 8  # from here on, chi-squared per degree of freedom of the fits to ln mean stays near 1

# The slope of ln p beyond the table is that between this level and the smallest: a longer lever, less noise.
_TAIL_FROM = 1e-3


@dataclass(frozen=True)
class _Tail:
    """P-value as a function of the scaled statistic at one n.

    Args:
        inside: ln p between 0 and `last`.
        last: scaled statistic at the smallest level.
        log_p: ln of that level.
        slope: of ln p beyond, against the statistic raised to `power`.
        power: 2 where the tail is Gaussian, 1 where it is exponential.
    """

    inside: Any
    last: float
    log_p: float
    slope: float
    power: int

    def __call__(self, scaled: Floats) -> Floats:
        held = np.clip(scaled, 0.0, self.last)
        beyond = np.maximum(scaled, self.last) ** self.power - self.last**self.power
        log_p = np.minimum(self.inside(held), 0.0) + self.slope * beyond
        return np.asarray(np.exp(log_p), dtype=np.float64)


@functools.cache
def load() -> dict[str, Any]:
    """The file of tables as it is."""
    text = resources.files("gaussprobe.stats").joinpath("data/null.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def scaling(name: Tested, n_samples: int) -> float:
    """Factor that makes a statistic's quantiles nearly the same at every n.

    Reference:
        Stephens (1974), JASA 69, table 1, for the Kolmogorov distance.
    """
    root = math.sqrt(n_samples)
    return root - 0.01 + 0.85 / root if name == "lilliefors" else 1.0


@functools.lru_cache(maxsize=256)
def quantiles(name: Tested, n_samples: int) -> tuple[Floats, Floats]:
    """Levels p, descending, and the scaled statistic exceeded with that probability under the null."""
    table = load()["quantiles"][name]
    levels = np.asarray(table["levels"], dtype=np.float64)
    grid = np.asarray(table["n"], dtype=np.float64)
    values = np.asarray(table["scaled"], dtype=np.float64)  # (n, levels)
    if n_samples <= grid[-1]:
        return levels, PchipInterpolator(np.log(grid), values, axis=0)(math.log(n_samples))
    if name == "lilliefors":
        return levels, values[-1]
    # Moments are asymptotically normal with errors of order 1/n: K2 goes to chi-squared with 2 degrees
    # of freedom.
    limit = chdtri(2, levels)
    return levels, limit + (values[-1] - limit) * (grid[-1] / n_samples)


@functools.lru_cache(maxsize=256)
def _tail(name: Tested, n_samples: int) -> _Tail:
    levels, values = quantiles(name, n_samples)
    log_levels = np.log(levels)
    power = 2 if name == "lilliefors" else 1
    lever = int(np.argmin(np.abs(levels - _TAIL_FROM)))
    slope = (log_levels[-1] - log_levels[lever]) / (values[-1] ** power - values[lever] ** power)
    # A statistic of zero has p = 1.
    inside = PchipInterpolator(np.concatenate([[0.0], values]), np.concatenate([[0.0], log_levels]))
    return _Tail(inside, float(values[-1]), float(log_levels[-1]), float(slope), power)


def pvalue(name: Tested, statistic: torch.Tensor, n_samples: int) -> torch.Tensor:
    """P-value of `statistic` at `n_samples`, in the same shape; NaN below the smallest tabulated n."""
    if n_samples < MINIMUM:
        return torch.full_like(statistic, torch.nan)
    values = statistic.detach().cpu().numpy()
    p = np.full(values.shape, np.nan)
    known = ~np.isnan(values)
    p[known] = _tail(name, n_samples)(values[known] * scaling(name, n_samples))
    return torch.from_numpy(p).to(statistic.device)


def shapiro_constants() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and ln sd of ln(1 - W) at large n: coefficients of ascending powers of ln n."""
    table = load()["shapiro_wilk"]
    return tuple(table["mean"]), tuple(table["log_sd"])


@functools.lru_cache(maxsize=1024)
def null_mean(name: Effect, n_samples: int) -> float:
    """Mean of the uncorrected effect size under the null at `n_samples`."""
    if n_samples < MINIMUM:
        return math.nan
    if name in SMOOTH:
        return math.exp(_smooth(name, "mean")(math.log(n_samples)))
    x, mean, sd = _moments(name)
    # In sd, the mean varies slowly and may have either sign.
    return _along(x, mean / sd, math.log(n_samples)) * null_sd(name, n_samples)


@functools.lru_cache(maxsize=1024)
def null_sd(name: Effect, n_samples: int) -> float:
    """Standard deviation of the effect size under the null at `n_samples`."""
    if n_samples < MINIMUM:
        return math.nan
    if name in SMOOTH:
        return math.exp(_smooth(name, "sd")(math.log(n_samples)))
    x, _, sd = _moments(name)
    return math.exp(_along(x, np.log(sd), math.log(n_samples)))


@functools.lru_cache(maxsize=8)
def _smooth(name: Effect, which: Literal["mean", "sd"]) -> Callable[[float], float]:
    """Logarithm of a null moment as a function of ln n: a Chebyshev polynomial through all tabulated n.

    Between neighbouring n the simulated moments differ by little but Monte Carlo noise, which interpolation
    would follow; the fit, weighted by replicates, averages it out.
    """
    x, mean, sd = _moments(name)
    root = np.sqrt(np.asarray(load()["effects"]["replicates"], dtype=np.float64))
    y, weight = (np.log(mean), root * mean / sd) if which == "mean" else (np.log(sd), root)
    fit = np.polynomial.Chebyshev.fit(x, y, SMOOTH_DEGREE, w=weight)
    last, before = float(x[-1]), float(x[-1]) - math.log(10)
    slope = (float(fit(last)) - float(fit(before))) / (last - before)
    return lambda at: float(fit(at)) if at <= last else float(fit(last)) + slope * (at - last)


def _moments(name: Effect) -> tuple[Floats, Floats, Floats]:
    """ln n, mean and sd as tabulated."""
    table = load()["effects"]
    columns = (table["n"], table[name]["mean"], table[name]["sd"])
    n, mean, sd = (np.asarray(column, dtype=np.float64) for column in columns)
    return np.log(n), mean, sd


def _along(x: Floats, y: Floats, at: float) -> float:
    """`y` at `at`, by PCHIP within the table, and on along the straight line of its last decade beyond."""
    if at <= x[-1]:
        return float(PchipInterpolator(x, y)(at))
    before = int(np.searchsorted(x, x[-1] - math.log(10)))
    return float(y[-1] + (at - x[-1]) * (y[-1] - y[before]) / (x[-1] - x[before]))

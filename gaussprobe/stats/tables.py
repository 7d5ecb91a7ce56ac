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
from scipy.special import chdtri, digamma, log_ndtr, ndtri

from gaussprobe.stats import workers

Tested: TypeAlias = Literal[
    "shapiro_wilk",
    "shapiro_francia",
    "lilliefors",
    "anderson_darling",
    "cramer_von_mises",
    "watson",
    "jarque_bera",
    "dagostino_pearson",
    "epps_pulley",
    "epps_pulley_simple",
    "vasicek",
]
Effect: TypeAlias = Literal["delta", "negentropy", "ks_distance", "wasserstein"]
Moment: TypeAlias = Literal["skewness", "excess_kurtosis"]
Basis: TypeAlias = Literal["root", "log", "window", "window_tail"]
Floats: TypeAlias = "npt.NDArray[np.float64]"

MINIMUM, LARGEST = 8, 1_000_000  # tabulated n

# Between the first two n Royston's p-value of W is within 15 % of simulations down to 1e-4, and stands.
# Outside, the table takes over by degrees: in the tail alone below, wholly from the last n on.
_ROYSTON = (60, 2000)
_TABLE = (30, 4000)
_TABLE_LEVELS = (0.05, 0.01)  # where it begins to, and where it has taken over

# Effects whose null moments are smooth in n; negentropy's jump where its window gains a step.
SMOOTH: frozenset[Effect] = frozenset({"delta", "ks_distance", "wasserstein"})
SMOOTH_DEGREE = 8  # from here on, chi-squared per degree of freedom of the fits to ln mean stays near 1

# Levels at which the curve through the far tail is evaluated.
_TAIL_LEVELS = np.array([0.003, 0.002, 0.001, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5])
# Beyond the last, ln p goes on with the slope between this level and the last.
_LEVER = 1e-4
# How many powers of n^(-1/2) go with the first, second .. power of the window's distance from sqrt(n).
_STEPS: dict[Basis, tuple[int, ...]] = {"window": (5, 4, 3), "window_tail": (2, 1)}
_CELLS = 4096  # of the grid that p-values are read from: 1e-5 relative at worst


@dataclass(frozen=True)
class Form:
    """How the quantiles of a statistic are described over n.

    Args:
        quantity: what is a smooth function of n at a given level: `"value"`, its `"log"`, or `"ratio"`, the
            logarithm of the ratio to the quantile of chi-squared with 2 degrees of freedom.
        body, tail: functions of n that the quantiles are combined of, see `basis`.
        power: of the statistic in which ln p is taken to be linear beyond the table; 2 is a Gaussian tail.
    """

    quantity: Literal["value", "log", "ratio"]
    body: Basis
    power: float
    tail: Basis = "root"


FORMS: dict[Tested, Form] = {
    "shapiro_wilk": Form("value", "log", 2),
    "shapiro_francia": Form("value", "log", 2),
    "lilliefors": Form("log", "root", 2),
    "anderson_darling": Form("log", "root", 1),
    "cramer_von_mises": Form("log", "root", 1),
    "watson": Form("log", "root", 1),
    "jarque_bera": Form("ratio", "root", 0.5),
    "dagostino_pearson": Form("ratio", "root", 1),
    "epps_pulley": Form("log", "root", 1),
    "epps_pulley_simple": Form("log", "root", 1),
    "vasicek": Form("value", "window", 1, "window_tail"),
}


@functools.cache
def load() -> dict[str, Any]:
    """The file of tables as it is."""
    text = resources.files("gaussprobe.stats").joinpath("data/null.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def monotone(name: Tested, statistic: torch.Tensor) -> torch.Tensor:
    """A function of the statistic that grows against normality, float64."""
    value = statistic.detach().to(torch.float64)
    if name in ("shapiro_wilk", "shapiro_francia"):
        return torch.log1p(-value)
    return -torch.log(value) if name == "vasicek" else value


@functools.lru_cache(maxsize=1024)
def scaling(name: Tested, n_samples: int) -> tuple[float, float]:
    """Factor and shift that make the quantiles of `monotone` nearly the same at every n.

    Reference:
        Stephens (1974), JASA 69, table 1; D'Agostino & Stephens (1986), table 4.7, for the statistics of the
        empirical distribution function.
    """
    n, root = n_samples, math.sqrt(n_samples)
    if name in ("shapiro_wilk", "shapiro_francia"):
        return 1.0, math.log(n)
    if name == "vasicek":
        center, spread = _spacings(n)
        return 1 / spread, center / spread
    factors: dict[Tested, float] = {
        "lilliefors": root - 0.01 + 0.85 / root,
        "anderson_darling": 1 + 0.75 / n + 2.25 / n**2,
        "cramer_von_mises": 1 + 0.5 / n,
        "watson": 1 + 0.5 / n,
    }
    return factors.get(name, 1.0), 0.0


def window(n_samples: int) -> int:
    """Half-width of Vasicek's spacings, `floor(sqrt(n) + 1/2)`."""
    return math.floor(math.sqrt(n_samples) + 0.5)


def _spacings(n_samples: int) -> tuple[float, float]:
    """Roughly the mean and sd of ln K of Vasicek's test, so that what remains is smooth in n.

    A spacing of order k of uniform order statistics has `E ln = psi(k) - psi(n + 1)`; a normal one is longer
    by about the slope of the normal quantile function across it. Overlapping spacings of order 2 m leave a
    variance of `1 / (6 m n)`; the first and last m of them all move with the smallest and largest value,
    whose sd is nearly `pi / sqrt(12 ln n)`.
    """
    n, m = n_samples, window(n_samples)
    i = np.arange(n)
    low, high = np.maximum(i - m, 0), np.minimum(i + m, n - 1)
    k = high - low
    scores = ndtri((i + 0.625) / (n + 0.25))
    log_spacing = digamma(k) - digamma(n + 1) + np.log((scores[high] - scores[low]) * (n + 1) / k)
    moved = float(np.sum(1 / (scores[m : 2 * m] - scores[0]))) / n
    extreme = 0.9 * math.pi / math.sqrt(12 * math.log(n))
    spread = math.sqrt(1 / (6 * m * n) + 2 * (moved * extreme) ** 2)
    return math.log(n / (2 * m)) + float(log_spacing.mean()), spread


def basis(kind: Basis, n_samples: int, degree: int) -> Floats:
    """Functions of n that a table is a linear combination of.

    `"root"`: Chebyshev polynomials in n^(-1/2) from 0 to that of the smallest n; `"log"`: besides, ln n and
    its square, continued along a straight line in ln n; `"window"` and `"window_tail"`: besides, powers of
    how far Vasicek's window is from sqrt(n), each times powers of n^(-1/2).
    """
    if kind == "log" and n_samples > LARGEST:
        last, before = basis(kind, LARGEST, degree), basis(kind, LARGEST // 10, degree)
        return last + (last - before) * math.log10(n_samples / LARGEST)
    root = math.sqrt(MINIMUM / n_samples)
    polynomials = np.polynomial.chebyshev.chebvander(2 * root - 1, degree)[0]
    if kind == "log":
        x = math.log(n_samples) / 7 - 1
        return np.concatenate([polynomials, [x, x * x]])
    if kind in _STEPS:
        off = 2 * (math.sqrt(n_samples) - window(n_samples))
        steps = [off ** (i + 1) * root**j for i, last in enumerate(_STEPS[kind]) for j in range(1, last + 1)]
        return np.concatenate([polynomials, steps])
    return np.asarray(polynomials, dtype=np.float64)


def quantity(form: Form, scaled: Floats, levels: Floats) -> Floats:
    """What is smooth over n, from quantiles of the scaled statistic."""
    if form.quantity == "value":
        return scaled
    return np.asarray(np.log(scaled / chdtri(2, levels) if form.quantity == "ratio" else scaled))


def straight(form: Form, scaled: Floats) -> Floats:
    """What is nearly linear in normal scores of the level: the logarithm of statistics that are positive."""
    return scaled if form.quantity == "value" else np.asarray(np.log(scaled))


def unquantity(form: Form, smooth: Floats, levels: Floats) -> Floats:
    """Quantiles of the scaled statistic: the inverse of `quantity`."""
    if form.quantity == "value":
        return smooth
    return np.asarray(np.exp(smooth) * (chdtri(2, levels) if form.quantity == "ratio" else 1.0))


def tail_terms(levels: Floats, anchor: float, count: int) -> Floats:
    """Powers of `ln(level / anchor)`, `(levels, count)`."""
    return np.log(levels / anchor)[:, None] ** np.arange(1, count + 1)


@functools.lru_cache(maxsize=256)
def quantiles(name: Tested, n_samples: int) -> tuple[Floats, Floats]:
    """Levels p, descending, and the scaled statistic exceeded with that probability under the null."""
    table, form = load()["tests"][name], FORMS[name]
    levels = np.asarray(table["levels"])
    body = np.asarray(table["body"])  # (levels, functions of n)
    tail = np.asarray(table["tail"])  # (powers of ln p, functions of n)
    at_n = body @ basis(form.body, n_samples, table["degrees"][0])
    # The tail in units of a distance within the body: what depends on n least.
    reach, anchor = table["reach"], len(levels) - 1
    known = straight(form, unquantity(form, at_n, levels))
    unit = known[anchor] - known[levels.tolist().index(reach)]
    terms = tail_terms(_TAIL_LEVELS, levels[anchor], len(tail))
    far = known[anchor] + unit * (terms @ (tail @ basis(form.tail, n_samples, table["degrees"][1])))
    scaled = np.concatenate([known, far])
    return np.concatenate([levels, _TAIL_LEVELS]), np.exp(scaled) if form.quantity != "value" else scaled


@dataclass(frozen=True)
class _Curve:
    """P-value as a function of the statistic's `monotone` at one n, on one device.

    Args:
        factor, shift: what turns it into cells of a grid over the table.
        log_p: ln p at the lower end of each cell.
        step: its change over the cell.
        slope, curvature: of ln p past the grid, against the number of cells or its root, negative.
        is_root: whether its root.
    """

    factor: float
    shift: float
    log_p: torch.Tensor
    step: torch.Tensor
    slope: float
    curvature: float
    is_root: bool

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        at = value * self.factor + self.shift
        held = at.clamp(0.0, _CELLS)
        cell = torch.nan_to_num(held).to(torch.int64).clamp_(max=_CELLS - 1)
        log_p = torch.addcmul(self.log_p[cell], self.step[cell], held.sub_(cell))
        past = at.clamp_(min=_CELLS)
        past = past.sqrt_().sub_(math.sqrt(_CELLS)) if self.is_root else past.sub_(_CELLS)
        if self.curvature:
            log_p.addcmul_(past, past, value=self.curvature)
        return log_p.add_(past, alpha=self.slope).exp_()


@workers.constant(256)
def _curve(name: Tested, n_samples: int, device: torch.device) -> _Curve:
    levels, scaled = quantiles(name, n_samples)
    form = FORMS[name]
    knots, score = straight(form, scaled), -ndtri(levels)
    first = 3 * scaled[0] - 2 * scaled[3] if form.quantity == "value" else 0.0  # p is 1 there
    grid = np.linspace(first, scaled[-1], _CELLS + 1)
    with np.errstate(divide="ignore"):
        at = straight(form, grid)
    below = np.minimum(at - knots[0], 0.0) * (score[1] - score[0]) / (knots[1] - knots[0])
    log_p = log_ndtr(-(PchipInterpolator(knots, score)(np.clip(at, knots[0], knots[-1])) + below))

    cell = float(grid[1] - grid[0])
    lever = int(np.argmin(np.abs(levels - _LEVER)))
    slope = curvature = 0.0
    if form.power == 2:
        rate = cell * (score[-1] - score[lever]) / (scaled[-1] - scaled[lever])
        hazard = math.exp(-0.5 * score[-1] ** 2) / math.sqrt(2 * math.pi) / levels[-1]
        slope, curvature = -rate * hazard, -0.5 * rate**2
    else:
        places = ((scaled[[lever, -1]] - first) / cell) ** form.power
        slope = math.log(levels[-1] / levels[lever]) / (places[1] - places[0])
    factor, shift = scaling(name, n_samples)
    return _Curve(
        factor=factor / cell,
        shift=(shift - float(first)) / cell,
        log_p=torch.from_numpy(log_p[:-1]).to(device),
        step=torch.from_numpy(np.diff(log_p)).to(device),
        slope=float(slope),
        curvature=float(curvature),
        is_root=form.power == 0.5,
    )


@workers.one_thread()
def pvalue(name: Tested, statistic: torch.Tensor, n_samples: int) -> torch.Tensor:
    """P-value of `statistic` at `n_samples`, float64 in its shape; NaN below the smallest tabulated n."""
    if n_samples < MINIMUM:
        return torch.full_like(statistic, torch.nan, dtype=torch.float64)
    return _curve(name, n_samples, statistic.device)(monotone(name, statistic))


@workers.one_thread()
def joined(royston: torch.Tensor, w: torch.Tensor, n_samples: int) -> torch.Tensor:
    """Royston's p-value of W where simulations agree with it, the table's where they do not.

    Between, ln p goes over from one to the other, with n and below n of 60 with p.
    """
    low, high = _ROYSTON
    some, none = _TABLE
    few = min(max(math.log(low / n_samples) / math.log(low / some), 0.0), 1.0)
    many = min(max(math.log(n_samples / high) / math.log(none / high), 0.0), 1.0)
    if n_samples < MINIMUM or few == many == 0:
        return royston
    log_closed = royston.clamp(min=torch.finfo(royston.dtype).tiny).log()
    wanted, whole = (math.log(level) for level in _TABLE_LEVELS)
    share = many + few * ((log_closed - wanted) / (whole - wanted)).clamp(0.0, 1.0)
    table = pvalue("shapiro_wilk", w, n_samples)
    log_table = table.clamp(min=torch.finfo(table.dtype).tiny).log()
    between = torch.where(share < 1, torch.lerp(log_closed, log_table, share).exp(), table)
    return torch.where(share > 0, between, royston)


@functools.lru_cache(maxsize=1024)
def null_mean(name: Effect | Moment, n_samples: int) -> float:
    """Mean of the uncorrected effect size under the null at `n_samples`.

    Reference:
        Fisher (1930), Proc. Royal Society A 130, for the moments of skewness and kurtosis.
    """
    n = n_samples
    if n < MINIMUM:
        return math.nan
    if name == "skewness":
        return 0.0
    if name == "excess_kurtosis":
        return -6 / (n + 1)
    if name in SMOOTH:
        return math.exp(_smooth(name, "mean")(math.log(n)))
    x, mean, sd = _moments(name)
    # In sd, the mean varies slowly and may have either sign.
    return _along(x, mean / sd, math.log(n)) * null_sd(name, n)


@functools.lru_cache(maxsize=1024)
def null_sd(name: Effect | Moment, n_samples: int) -> float:
    """Standard deviation of the effect size under the null at `n_samples`.

    Reference:
        As `null_mean`.
    """
    n = n_samples
    if n < MINIMUM:
        return math.nan
    if name == "skewness":
        return math.sqrt(6 * (n - 2) / ((n + 1) * (n + 3)))
    if name == "excess_kurtosis":
        return math.sqrt(24 * n * (n - 2) * (n - 3) / ((n + 3) * (n + 5))) / (n + 1)
    if name in SMOOTH:
        return math.exp(_smooth(name, "sd")(math.log(n)))
    x, _, sd = _moments(name)
    return math.exp(_along(x, np.log(sd), math.log(n)))


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

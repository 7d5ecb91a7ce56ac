"""The null laws of Mardia's and Henze and Zirkler's statistics, for every number of samples and features.

All three depend on the sample through an orthonormal frame only, which for normal samples is uniform: their
laws depend on n and d alone. Known moments give a reference law; what simulated quantiles differ from it is a
small smooth table over d and the spare dimensions `k = n - 1 - d`, made by
`gaussprobe.stats.build_multivariate`.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator, RectBivariateSpline
from scipy.special import gammainccinv, hyp1f1, ndtr, ndtri

Statistic: TypeAlias = Literal["mardia_skewness", "mardia_kurtosis", "henze_zirkler"]
Floats: TypeAlias = "npt.NDArray[np.float64]"

STATISTICS: tuple[Statistic, ...] = ("mardia_skewness", "mardia_kurtosis", "henze_zirkler")

# Above this shape a gamma law is normal to more digits than its quantile function has.
_NEARLY_NORMAL = 1e9


@dataclass(frozen=True)
class Moments:
    """Mean, and standard deviation and skewness, of a reference law."""

    mean: float
    sd: float
    skewness: float


def smoothing(n_samples: int, num_features: int) -> float:
    """beta, the inverse width of the Henze-Zirkler kernel: `((2d + 1) n / 4)^(1 / (d + 4)) / sqrt 2`.

    Reference:
        Henze & Zirkler (1990), Communications in Statistics: Theory and Methods 19, 3595.
    """
    d = num_features
    return float(((2 * d + 1) * n_samples / 4) ** (1 / (d + 4)) / math.sqrt(2))


@functools.lru_cache(maxsize=1024)
def moments(name: Statistic, n_samples: int, num_features: int) -> Moments:
    """Of the reference law; those of Henze and Zirkler's are of the statistic minus 1.

    The mean is exact everywhere; of Mardia's kurtosis the sd too, and its skewness but for one small term.
    """
    n, d = n_samples, num_features
    if name == "mardia_skewness":
        mean = d * (d + 2) * ((n + 1) * (d + 1) - 6) / ((n + 1) * (n + 3))
        freedom = d * (d + 1) * (d + 2) / 6
        return Moments(mean, math.sqrt(72 * freedom) / n, math.sqrt(8 / freedom))
    if name == "mardia_kurtosis":
        return _kurtosis(n, d)
    return _henze_zirkler(n, d)


def _kurtosis(n: int, d: int) -> Moments:
    """Mean and variance: Mardia (1974), Sankhya B 36, 115.

    The variance is symmetric in d and n - 1 - d, because the projection on the features' span and the one on
    its complement have diagonals that add up to a constant; so is the third cumulant. At d = 1 and for large
    n it is known; the one coefficient this leaves open was fitted to simulations at eleven (n, d).
    """
    mean = d * (d + 2) * (n - 1) / (n + 1)
    variance = 8 * d * (d + 2) * (n - 3) * (n - d - 1) * (n - d + 1) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    product = d * (n - 1 - d)
    fitted = -22.73 - 24.07 / n + 36.51 / (n - 3)
    quadratic = n * product + 8 * n * n + fitted * product - (43 + fitted) * n + 18 + 2 * fitted
    third_over_variance = 8 * quadratic / ((n + 1) * (n + 7) * (n + 9))
    return Moments(mean, math.sqrt(variance), third_over_variance / math.sqrt(variance))


def _henze_zirkler(n: int, d: int) -> Moments:
    """Exact mean of HZ - 1; sd and skewness of the limit law at this beta.

    Squared distances of whitened points are 2n times a Beta(d/2, (n-1-d)/2) variable, squared lengths n - 1
    times one: the mean is a sum of confluent hypergeometric functions. The limit is a quadratic form in a
    Gaussian process with covariance `exp(-|s|^2/2 - |t|^2/2) sum_{j >= 3} (s't)^j / j!` (Henze & Wagner 1997,
    Journal of Multivariate Analysis 62, 1), whose m-th cumulant is an integral over a cycle of m
    such kernels.
    """
    b2 = smoothing(n, d) ** 2
    far = (n - 1) * float(hyp1f1(d / 2, (n - 1) / 2, -b2 * n))
    central = float(hyp1f1(d / 2, (n - 1) / 2, -b2 * (n - 1) / (2 * (1 + b2))))
    mean = far - 2 * n * (1 + b2) ** (-d / 2) * central + n * (1 + 2 * b2) ** (-d / 2)
    s = b2 / (1 + 2 * b2)
    two = 2 * _cycle_of_two(s, d)
    three = 8 * _cycle_of_three(s, d)
    # Both lack the factor (1 + 2 b2)^(-d/2) to the power of their order.
    return Moments(mean, math.sqrt(two) * (1 + 2 * b2) ** (-d / 2), three / two**1.5)


def _cycle_of_two(s: float, d: int) -> float:
    """`E (sum_{j >= 3} (x'y)^j / j!)^2` for x, y normal in d dimensions with variance s."""
    return _remainder({(2, 0, 0): s * s, (1, 1, 0): 2 * s * s, (0, 2, 0): s * s}, edges=2, power=d / 2)


def _cycle_of_three(s: float, d: int) -> float:
    """`E` of the product of `sum_{j >= 3} (x'y)^j / j!` over the pairs of x, y, z of the same law."""
    square = s * s
    terms = {(2, 0, 0): square, (0, 2, 0): square, (0, 0, 2): square, (1, 1, 1): 2 * s**3}
    return _remainder(terms, edges=3, power=d / 2)


def _remainder(terms: dict[tuple[int, int, int], float], *, edges: int, power: float) -> float:
    """What `(1 - X)^(-power)` at (1, 1, 1) has beyond its Taylor polynomial of degree 2 in each weight.

    `E exp(a x'y + b y'z + ..)` is such a function of the weights a, b, ..; X is the polynomial `terms`.
    """
    total = 0.0
    for cut in itertools.product((False, True), repeat=edges):
        # Weights that are not cut are 1; the others are expanded, to degree 2 each.
        polynomial = np.zeros((3, 3, 3))
        for degrees, coefficient in terms.items():
            kept = [g if c else 0 for g, c in zip(degrees, (*cut, False), strict=False)]
            polynomial[tuple(kept)] += coefficient
        total += (-1) ** sum(cut) * _negative_power(polynomial, power)
    return total


def _negative_power(polynomial: Floats, power: float) -> float:
    """Sum of the coefficients of `(1 - polynomial)^(-power)`, truncated at degree 2 in each variable."""
    start = 1 - polynomial[0, 0, 0]
    rest = polynomial / start
    rest[0, 0, 0] = 0.0
    term = np.zeros((3, 3, 3))
    term[0, 0, 0] = 1.0
    total = 1.0
    for j in range(1, 7):
        term = _product(term, rest) * ((power + j - 1) / j)
        total += float(term.sum())
    return float(start**-power * total)


def _product(a: Floats, b: Floats) -> Floats:
    """Product of two polynomials in three variables, truncated at degree 2 in each."""
    result = np.zeros((3, 3, 3))
    for i, j, k in np.argwhere(a):
        result[i:, j:, k:] += a[i, j, k] * b[: 3 - i, : 3 - j, : 3 - k]
    return result


def reference(name: Statistic, n_samples: int, num_features: int, levels: Floats) -> Floats:
    """Standardised values that the reference law exceeds with the probabilities `levels`.

    For Mardia's kurtosis the law whose cube root Wilson & Hilferty's transformation makes normal, as Anscombe
    & Glynn (1983) fit it to three moments; for the others a gamma law with an origin and scale of its own.
    """
    skewness = moments(name, n_samples, num_features).skewness
    if name == "mardia_kurtosis":
        a = 6 + 8 / skewness * (2 / skewness + math.sqrt(1 + 4 / skewness**2))
        cube_root = 1 - 2 / (9 * a) + ndtri(levels) * math.sqrt(2 / (9 * a))
        base = (1 - 2 / a) / cube_root**3
        return np.asarray((base - 1) / math.sqrt(2 / (a - 4)), dtype=np.float64)
    shape = 4 / skewness**2
    if shape > _NEARLY_NORMAL:
        return np.asarray(-ndtri(levels), dtype=np.float64)
    return np.asarray((gammainccinv(shape, levels) - shape) / math.sqrt(shape), dtype=np.float64)


def describe(quantiles: Floats, levels: Floats) -> Floats:
    """Quantiles as numbers that vary smoothly over n and d and that can be anything.

    The median in units of the distance from it to the .05 quantile, then the logarithms of the distances
    between neighbours.
    """
    middle, upper = _landmarks(levels)
    centre = quantiles[middle] / (quantiles[upper] - quantiles[middle])
    return np.concatenate([[centre], np.log(np.diff(quantiles))])


def rebuild(numbers: Floats, levels: Floats) -> Floats:
    """The quantiles of which these are the description."""
    middle, upper = _landmarks(levels)
    rising = np.concatenate([[0.0], np.cumsum(np.exp(numbers[1:]))])
    return np.asarray(
        rising - rising[middle] + numbers[0] * (rising[upper] - rising[middle]), dtype=np.float64
    )


def _landmarks(levels: Floats) -> tuple[int, int]:
    """Where the median and the .05 quantile are."""
    return int(np.argmin(np.abs(levels - 0.5))), int(np.argmin(np.abs(levels - 0.05)))


@functools.cache
def load() -> dict[str, Any]:
    """The file of tables as it is."""
    text = resources.files("gaussprobe.stats").joinpath("data/multivariate.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def most_features() -> int:
    """The largest tabulated d."""
    return int(load()["null"]["d"][-1])


@functools.lru_cache(maxsize=4)
def _surfaces(name: Statistic) -> tuple[Floats, list[RectBivariateSpline]]:
    table = load()["null"]
    levels = np.asarray(table[name]["levels"], dtype=np.float64)
    values = np.asarray(table[name]["excess"], dtype=np.float64)  # (d, k, numbers of describe)
    log_d, log_k = (np.log(np.asarray(table[axis], dtype=np.float64)) for axis in ("d", "k"))
    return levels, [RectBivariateSpline(log_d, log_k, values[:, :, i], s=0) for i in range(values.shape[2])]


@functools.lru_cache(maxsize=256)
def quantiles(name: Statistic, n_samples: int, num_features: int) -> tuple[Floats, Floats]:
    """Levels p, descending, and the standardised statistic exceeded with that probability under the null."""
    levels, surfaces = _surfaces(name)
    table = load()["null"]
    d, k = float(num_features), float(n_samples - 1 - num_features)
    largest_d, (least_k, largest_k) = table["d"][-1], (table["k"][0], table["k"][-1])
    if d > largest_d:
        # Along d / n constant, where the laws change least.
        d, k = largest_d, max(k * largest_d / d, least_k)
    # What is left of the excess shrinks as 1/n.
    share = min(1.0, (d + largest_k + 1) / (d + k + 1))
    u, v = np.array([math.log(d)]), np.array([math.log(min(k, largest_k))])
    excess = np.array([float(surface(u, v)[0, 0]) for surface in surfaces]) * share
    numbers = describe(reference(name, n_samples, num_features, levels), levels) + excess
    return levels, rebuild(numbers, levels)


@functools.lru_cache(maxsize=256)
def _law(name: Statistic, n_samples: int, num_features: int) -> tuple[PchipInterpolator, Floats, Floats]:
    levels, values = quantiles(name, n_samples, num_features)
    return PchipInterpolator(values, -ndtri(levels)), values, levels


def upper_tail(name: Statistic, statistic: Floats | float, n_samples: int, num_features: int) -> Floats:
    """Probability under the null of a value above each `statistic` (HZ - 1 for Henze and Zirkler's).

    Between the quantiles the normal score of p is interpolated; above them ln p goes on along a straight
    line, as that of a gamma law nearly does, and below them the normal score.
    """
    law = moments(name, n_samples, num_features)
    t = (np.asarray(statistic, dtype=np.float64) - law.mean) / law.sd
    score, values, levels = _law(name, n_samples, num_features)
    first, last = values[0], values[-1]
    slope = math.log(levels[-1] / levels[-3]) / (last - values[-3])
    above = levels[-1] * np.exp(slope * np.maximum(t - last, 0.0))
    below = score(first) + score(first, 1) * np.minimum(t - first, 0.0)
    within = np.where(t < first, below, score(np.clip(t, first, last)))
    return np.asarray(np.where(t > last, above, ndtr(-within)), dtype=np.float64)

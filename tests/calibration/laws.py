"""Laws whose effect sizes are known: what estimates, intervals and verdicts are measured against."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

Floats = npt.NDArray[np.float64]

# Effect sizes are integrals over the standard normal law, by Gauss-Legendre between these points; beyond the
# ends its density is below 1e-31.
BREAKS = (-12.0, -6.0, -3.0, -1.0, 0.0, 1.0, 3.0, 6.0, 12.0)
NODES = 40
GRID = 60_001


def _nodes() -> tuple[Floats, Floats]:
    """Nodes z, and weights that make an expectation over the standard normal law of them."""
    at, weights = np.polynomial.legendre.leggauss(NODES)
    low, high = np.array(BREAKS[:-1])[:, None], np.array(BREAKS[1:])[:, None]
    z = ((high + low) / 2 + (high - low) / 2 * at).ravel()
    return z, ((high - low) / 2 * weights).ravel() * stats.norm.pdf(z)


Z, WEIGHTS = _nodes()


class Mixture:
    """Equal parts of two normal laws of sd 1, at -a and a, by the names of scipy's distributions."""

    def __init__(self, a: float) -> None:
        self.a = a

    def logpdf(self, x: Any) -> Any:
        """ln of the density."""
        return np.logaddexp(stats.norm.logpdf(x + self.a), stats.norm.logpdf(x - self.a)) - math.log(2)

    def cdf(self, x: Any) -> Any:
        """Distribution function."""
        return (stats.norm.cdf(x + self.a) + stats.norm.cdf(x - self.a)) / 2

    def ppf(self, p: float) -> float:
        """Quantile."""
        z = float(stats.norm.ppf(p))
        return float(optimize.brentq(lambda x: self.cdf(x) - p, z - self.a - 1, z + self.a + 1, xtol=1e-13))

    def isf(self, p: float) -> float:
        """Quantile from above."""
        return -self.ppf(p)

    def support(self) -> tuple[float, float]:
        """Ends of the law."""
        return -math.inf, math.inf

    def stats(self, moments: str) -> tuple[float, float]:
        """Skewness and excess kurtosis."""
        return 0.0, -2 * self.a**4 / (1 + self.a**2) ** 2

    def rvs(self, size: tuple[int, ...], random_state: np.random.Generator) -> Floats:
        """Draws."""
        side = self.a * random_state.choice([-1.0, 1.0], size=size)
        return np.asarray(random_state.normal(size=size) + side, dtype=np.float64)


@dataclass(frozen=True)
class Law:
    """A law of activations, as scipy has it."""

    name: str
    law: Any

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        """Independent draws."""
        return np.asarray(self.law.rvs(size=shape, random_state=rng), dtype=np.float64)

    @functools.cached_property
    def quantiles(self) -> Floats:
        """Where the law's distribution function is Phi(z), at the nodes."""
        # From the nearer end: Phi(z) has no digits left where it is close to 1.
        return np.array(
            [self.law.ppf(stats.norm.cdf(z)) if z < 0 else self.law.isf(stats.norm.sf(z)) for z in Z]
        )

    @functools.cached_property
    def sizes(self) -> dict[str, float]:
        """Its effect sizes, by name: to 1e-8."""
        if self.name == "normal":
            tau4 = 30 / math.pi * math.atan(math.sqrt(2)) - 9
            return dict.fromkeys(NAMES, 0.0) | {"qq_r2": 1.0, "tau4": tau4}
        mean = float(WEIGHTS @ self.quantiles)
        x = self.quantiles - mean
        sd = math.sqrt(WEIGHTS @ x**2)
        correlation = float(WEIGHTS @ (Z * x)) / sd
        entropy = -float(WEIGHTS @ self.law.logpdf(self.quantiles))
        b1, b2, b3 = (float(WEIGHTS @ (x * stats.norm.cdf(Z) ** k)) for k in (1, 2, 3))
        skewness, kurtosis = (float(value) for value in self.law.stats(moments="sk"))
        return {
            "delta": 1 - correlation**2,
            "negentropy": 0.5 * math.log(2 * math.pi * math.e) + math.log(sd) - entropy,
            "qq_r2": correlation**2,
            "ks_distance": self._distance(mean, sd),
            "wasserstein": math.sqrt(2 - 2 * correlation),
            "skewness": skewness,
            "excess_kurtosis": kurtosis,
            "tau3": 3 * b2 / b1 - 3,
            "tau4": (10 * b3 - 15 * b2) / b1 + 6,
        }

    def _distance(self, mean: float, sd: float) -> float:
        """Largest distance to the normal law of the same mean and sd; smooth between the ends of the law."""
        at = np.concatenate([mean + sd * np.linspace(-3, 3, GRID), np.array(self.law.support())])
        at = at[np.isfinite(at)]
        return float(np.abs(self.law.cdf(at) - stats.norm.cdf((at - mean) / sd)).max())


NAMES = (
    *("delta", "negentropy", "qq_r2", "ks_distance", "wasserstein", "skewness", "excess_kurtosis"),
    *("tau3", "tau4"),
)

LAWS = (
    Law("normal", stats.norm()),
    Law("t(30)", stats.t(30)),
    Law("t(10)", stats.t(10)),
    Law("logistic", stats.logistic()),
    Law("skew-normal(2)", stats.skewnorm(2)),
    Law("gamma(10)", stats.gamma(10)),
    Law("t(5)", stats.t(5)),
    Law("Laplace", stats.laplace()),
    Law("uniform", stats.uniform()),
    Law("exponential", stats.expon()),
)

MIXTURE = Law("normals at +-2", Mixture(2.0))


def law(name: str) -> Law:
    """The law of that name."""
    return next(one for one in (*LAWS, MIXTURE) if one.name == name)

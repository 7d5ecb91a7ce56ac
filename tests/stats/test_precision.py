"""float32 against float64: what shorter numbers cost."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import gaussprobe.stats as gs
from gaussprobe.stats import ordered

SIZES = ("skewness", "excess_kurtosis", "negentropy", "delta", "qq_r2", "ks_distance", "wasserstein")


def measure(x: np.ndarray) -> dict[str, np.ndarray]:
    """Everything that is measured of the columns of `x`, and W and W' as their distance from 1."""
    found = {name: result.statistic for name, result in gs.battery(x).items()}
    found["1 - shapiro_wilk"] = 1 - found["shapiro_wilk"]
    found["1 - shapiro_francia"] = 1 - found["shapiro_francia"]
    found["ln vasicek"] = np.log(found["vasicek"])
    found |= {name: getattr(gs, name)(x) for name in SIZES}
    shape = gs.l_moments(x)
    return found | {"tau3": shape.tau3, "tau4": shape.tau4}


LAWS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "normal at 30 sd": lambda rng, n: rng.normal(30, 1, size=n),
    "t(4)": lambda rng, n: rng.standard_t(4, size=n),
    "lognormal": lambda rng, n: rng.lognormal(size=n),
    "uniform": lambda rng, n: rng.random(size=n),
}


@functools.cache
def null_sds(n: int) -> dict[str, float]:
    """The sd of each statistic under the null at n, from its sd at 1,000 and at 4,000 samples."""
    near, far = (measure(np.random.default_rng(m).normal(size=(m, 300))) for m in (1000, 4000))
    powers = {name: np.log(far[name].std() / near[name].std()) / np.log(4) for name in far}
    return {name: float(far[name].std() * (n / 4000) ** power) for name, power in powers.items()}


# The default n, the largest n computed in float32, and a million.
@pytest.mark.parametrize(
    ("law", "n"),
    [
        *((law, n) for law in LAWS for n in (2048, ordered.SINGLE_MAXIMUM)),
        *((law, 1_000_000) for law in ("normal", "t(4)", "lognormal")),
    ],
)
def test_float32(law: str, n: int) -> None:
    """Computed from float32, a statistic differs by at most 1e-3 of its value or of its null sd."""
    rng = np.random.default_rng([n, list(LAWS).index(law)])
    x = np.stack([LAWS[law](rng, n) for _ in range(3 if n < 100_000 else 1)], axis=1)
    wide, short = measure(x), measure(x.astype(np.float32))
    for name, sd in null_sds(n).items():
        allowed = 1e-3 * np.maximum(np.abs(wide[name]), sd)
        assert (np.abs(short[name] - wide[name]) <= allowed).all(), (name, short[name], wide[name], sd)

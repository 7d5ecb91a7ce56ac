"""The contrasts of negentropy against quadrature, exact values and each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from gaussprobe.stats import contrasts, ordered

# Laws of variance 1, and the table of `negentropy_contrast` for them.
LAWS = {
    "uniform": scipy.stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)),
    "logistic": scipy.stats.logistic(scale=math.sqrt(3) / math.pi),
    "Laplace": scipy.stats.laplace(scale=math.sqrt(0.5)),
    "t(5)": scipy.stats.t(5, scale=math.sqrt(0.6)),
    "exponential": scipy.stats.expon(-1),
}
TABLE = {
    "uniform": {"logcosh": 0.057, "exp": 0.064, "cumulant": 0.030},
    "logistic": {"logcosh": 0.019, "exp": 0.015, "cumulant": 0.030},
    "Laplace": {"logcosh": 0.104, "exp": 0.087, "cumulant": 0.188},
    "t(5)": {"logcosh": 0.078, "exp": 0.052, "cumulant": 0.750},
    "exponential": {"logcosh": 0.156, "exp": 0.270, "cumulant": 1.083},
}
NORMAL = scipy.stats.norm()

Floats = np.ndarray
Function = Callable[[Floats], Floats]

# Even and odd functions each contrast squares the mean of, less its mean under the normal law.
FUNCTIONS: dict[str, tuple[Function, ...]] = {
    "logcosh": (lambda x: np.logaddexp(x, -x),),
    "exp": (lambda x: x * np.exp(-x * x / 2), lambda x: np.exp(-x * x / 2)),
    "cumulant": (lambda x: x**3 - 3 * x, lambda x: x**4 - 6 * x**2),
}


def mean(function: Function, law: Any) -> float:
    """`E function(X)`: 80 Gauss-Legendre nodes on each of many panels, out to 1e7."""
    low, high = law.support()
    reach = np.concatenate([[0.0], np.geomspace(0.5, 1e7, 60)])
    inside = [x for x in (*-reach[:0:-1], *reach) if low < x < high]
    knots = np.array([max(low, -1e7), *inside, min(high, 1e7)])
    node, weight = np.polynomial.legendre.leggauss(80)
    half = np.diff(knots)[:, None] / 2
    x = knots[:-1, None] + half * (node + 1)
    density = law.pdf(x)
    used = density > 0
    return float((np.broadcast_to(weight * half, x.shape)[used] * function(x[used]) * density[used]).sum())


def exact(name: str, law: Any) -> float:
    """Half the squared length of the departure along the functions, freed of 1, x and x^2 and scaled.

    Independent of the constants in the module: each function's variance left over by 1, x and x^2 - 1 comes
    from quadrature.
    """
    total = 0.0
    for function in FUNCTIONS[name]:
        center = mean(function, NORMAL)
        along = mean(lambda x, f=function: f(x) * x, NORMAL)
        square = mean(lambda x, f=function: f(x) * (x * x - 1), NORMAL)
        variance = mean(lambda x, f=function, c=center: (f(x) - c) ** 2, NORMAL)
        left = variance - along**2 - square**2 / 2
        total += (mean(function, law) - center) ** 2 / (2 * left)
    return total


def of(name: str, x: np.ndarray) -> torch.Tensor:
    """The contrast of the columns of `x`."""
    return contrasts.negentropy_contrast(name, ordered.order(torch.from_numpy(x)))  # type: ignore[arg-type]


@pytest.mark.parametrize("law", TABLE)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_table_of_the_docstring(name: str, law: str) -> None:
    """The tabulated values are those of the laws, by quadrature and projection, to the digits shown."""
    assert exact(name, LAWS[law]) == pytest.approx(TABLE[law][name], abs=6e-4)


# The fourth moment of t(5) has not settled at any n that can be had.
@pytest.mark.parametrize(
    ("name", "law"), [(n, law) for n in FUNCTIONS for law in TABLE if (n, law) != ("cumulant", "t(5)")]
)
def test_large_samples(name: str, law: str) -> None:
    """At 200,000 quantiles of a law the contrast is that of the law to 3 %, fourth moments to 25 %.

    What lies beyond the outermost quantile is missing from the variance, and more so from fourth moments.
    """
    n = 200_000
    x = LAWS[law].ppf((np.arange(n) + 0.5) / n)[:, None]
    tails = name == "cumulant" and law in ("t(5)", "Laplace", "exponential", "logistic")
    assert of(name, x).item() == pytest.approx(exact(name, LAWS[law]), rel=0.25 if tails else 0.03)


def test_constants() -> None:
    """The constants under the normal law agree with quadrature to 1e-12, and with Hyvarinen's forms."""
    assert pytest.approx(contrasts._LOGCOSH_MEAN, abs=1e-12) == mean(
        lambda x: np.logaddexp(x, -x) - math.log(2), NORMAL
    )
    assert pytest.approx(contrasts._EXP_MEAN, abs=1e-12) == mean(FUNCTIONS["exp"][1], NORMAL)
    # Half the inverse of the variances that x and x^2 leave over.
    assert pytest.approx(7.412888581800331, rel=1e-12) == contrasts._EXP_ODD
    assert pytest.approx(33.66942333606287, rel=1e-12) == contrasts._EXP_EVEN


def test_by_hand() -> None:
    """One small sample of each worked out from the formula."""
    x = np.random.default_rng(1).gamma(2.0, size=40)
    z = (x - x.mean()) / x.std()
    expected = {
        "logcosh": 79.0155672833357 * (np.log(np.cosh(z)).mean() - 0.374567207491438) ** 2,
        "exp": 36 / (8 * 3**0.5 - 9) * (z * np.exp(-z * z / 2)).mean() ** 2
        + 24 / (16 * 3**0.5 - 27) * (np.exp(-z * z / 2).mean() - 0.5**0.5) ** 2,
        "cumulant": scipy.stats.skew(x) ** 2 / 12 + scipy.stats.kurtosis(x) ** 2 / 48,
    }
    for name, value in expected.items():
        assert of(name, x[:, None]).item() == pytest.approx(value, rel=1e-10)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_normal_samples(name: str) -> None:
    """Normal samples of n average to the number of functions squared over 2n, within 4 standard errors."""
    n, replicates = 500, 4000
    value = of(name, np.random.default_rng(2).normal(size=(n, replicates)))
    expected = len(FUNCTIONS[name]) / (2 * n)
    error = float(value.std()) / replicates**0.5
    # Kurtosis is far from its asymptotic variance at this n: 2.4 % low.
    assert abs(float(value.mean()) - expected) < 4 * error + 0.04 * expected
    assert bool((value >= 0).all())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32(name: str) -> None:
    """Float32 rows give the float64 contrast to 1e-3 of the larger of itself and its size under the null."""
    n = 16_384
    for seed, law in enumerate(("normal", "standard_t")):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(n, 20)) if law == "normal" else rng.standard_t(5, size=(n, 20))
        sample = ordered.order(torch.from_numpy(x))
        single = ordered.OrderedSample(
            z=sample.z.to(torch.float32),
            mean=sample.mean,
            sd=sample.sd,
            constant=sample.constant,
            nonfinite=sample.nonfinite,
            n_samples=n,
        )
        value = contrasts.negentropy_contrast(name, single)  # type: ignore[arg-type]
        expected = contrasts.negentropy_contrast(name, sample)  # type: ignore[arg-type]
        assert value.dtype == torch.float64
        assert float(((value - expected).abs() / expected.clamp(min=0.5 / n)).max()) < 1e-3


@pytest.mark.parametrize("name", FUNCTIONS)
def test_hostile_columns(name: str) -> None:
    """Constant and non-finite columns give NaN and leave their neighbours alone; outliers stay finite."""
    x = np.random.default_rng(3).normal(size=(100, 5))
    clean = of(name, x[:, [0, 4]])
    x[:, 1] = 2.5
    x[7, 2] = np.inf
    x[:, 3] = 0.0
    x[0, 3] = 1e300
    value = of(name, x)
    assert value[1:3].isnan().all()
    assert value[3].isfinite()
    torch.testing.assert_close(value[[0, 4]], clean, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_invariance(name: str) -> None:
    """The order of the samples, their unit and their sign change nothing."""
    rng = np.random.default_rng(4)
    x = rng.gamma(3.0, size=(200, 4))
    value = of(name, x)
    torch.testing.assert_close(of(name, rng.permuted(x, axis=0)), value, rtol=0.0, atol=0.0)
    torch.testing.assert_close(of(name, 3.0 - 7.0 * x), value, rtol=1e-9, atol=1e-15)


def test_too_few_and_unknown() -> None:
    """One sample gives NaN; a name there is not raises ValueError."""
    sample = ordered.order(torch.randn(1, 3))
    assert contrasts.negentropy_contrast("exp", sample).isnan().all()
    with pytest.raises(ValueError, match="name must be one of logcosh, exp, cumulant; got 'kurtosis'"):
        contrasts.negentropy_contrast("kurtosis", sample)  # type: ignore[arg-type]

"""The law of |Y|, and phi_theta from it."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy import special, stats

from gaussprobe.nn import preserving_law as law
from gaussprobe.nn import preserving_table
from gaussprobe.nn.preserving_table import Kind

THETAS = (2.02, 2.05, 2.5, 3.0, 10.0, 100.0, 1e4)


def series(y: float, theta: float) -> Any:
    """F by its entire series, to 60 digits."""
    with mpmath.workdps(60):
        total, k = mpmath.mpf(0), 0
        while True:
            odd = mpmath.mpf(2 * k + 1)
            size = 2 * mpmath.power(2, -odd / 2) * mpmath.power(y, odd) / odd / mpmath.factorial(k)
            term = (-1) ** k * size * mpmath.rgamma(1 - odd / mpmath.mpf(theta)) / mpmath.sqrt(mpmath.pi)
            total += term
            k += 1
            if k > 60 and abs(size * mpmath.gamma(odd / theta)) < mpmath.mpf(10) ** -50:
                return total


@pytest.mark.parametrize("theta", THETAS)
def test_series_against_mpmath(theta: float) -> None:
    """F is right to relative accuracy down to where it is tiny; oracle: the same series in 60 digits."""
    y = np.array([1e-300, 1e-8, 0.1, 0.7, 1.0, 1.3])
    expected = [float(series(float(each), theta)) for each in y]
    np.testing.assert_allclose(law.series(y, theta)[0], expected, rtol=1e-14)


@pytest.mark.parametrize("theta", THETAS)
def test_tail_against_mpmath(theta: float) -> None:
    """Mellin's integral agrees with 1 - F of the series, where that can be summed."""
    c = np.geomspace(2, 40, 6)
    y = np.exp(law.place_of(c, theta))
    c, y = c[y < 2.5], y[y < 2.5]
    expected = [float(mpmath.log(1 - series(float(each), theta))) for each in y]
    np.testing.assert_allclose(law.tail(c, theta)[0], expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("theta", [2.05, 3.0, 10.0])
def test_tail_against_a_positive_integral(theta: float) -> None:
    """The far tail agrees with an integral of another kind, whose integrand is positive.

    |Y|^2 is in law `2 cos(U)^2 (E / A(V))^(1 - b)` with b = 2/theta, E exponential, U and V uniform on
    [0, pi], `A(v) = sin((1-b) v) sin(b v)^(b/(1-b)) / sin(v)^(1/(1-b))`: moments of the cosine, and
    Kanter's (1975) form of the stable law. So `G(y) = E exp(-A(V) (y^2 / (2 cos(U)^2))^(1/(1-b)))`.
    """
    b = 2 / theta
    c = np.array([theta, 3 * theta, 10 * theta]) * 2 / (theta - 2)
    y = np.exp(law.place_of(c, theta))
    # Both angles near 0, where the least exponent is, by Gauss-Legendre in panels that shrink.
    node, weight = np.polynomial.legendre.leggauss(16)
    edges = np.concatenate(([0.0], np.geomspace(1e-4, 0.5, 24)))
    edges = np.concatenate((edges, 1 - edges[-2::-1]))
    at = (edges[:-1, None] + np.diff(edges)[:, None] * (node + 1) / 2).ravel()
    by = (np.diff(edges)[:, None] * weight / 2).ravel()
    v, u = at * math.pi, at * math.pi / 2
    log_a = np.log(np.sin((1 - b) * v)) + b / (1 - b) * np.log(np.sin(b * v)) - np.log(np.sin(v)) / (1 - b)
    found = []
    for each in y:
        log_exponent = log_a[:, None] + (2 * np.log(each / np.cos(u)) - math.log(2)) / (1 - b)
        exponent = -np.exp(np.minimum(log_exponent, 700))
        found.append(special.logsumexp(exponent, b=by[:, None] * by))
    np.testing.assert_allclose(law.tail(c, theta)[0], found, rtol=1e-10)


def test_theta_2_in_the_limit() -> None:
    """Near theta = 2 the law tends to that of sqrt(2) |cos U|, at a distance in proportion to theta - 2."""
    y = np.linspace(0.05, 1.1, 22)
    at_2 = 2 / math.pi * np.arcsin(y / math.sqrt(2))
    off = [np.abs(law.series(y, theta)[0] - at_2).max() for theta in (2.02, 2.04)]
    assert off[0] < 0.01
    assert off[1] / off[0] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("kind", ["odd", "positive"])
def test_infinite_theta_is_half_normal(kind: Kind) -> None:
    """|W| tends to 1, so that |Y| tends to a half-normal variable: phi odd to the identity."""
    x = np.linspace(-5, 12, 60)
    half_normal = math.sqrt(2) * special.erfinv(special.ndtr(x))
    right = stats.halfnorm.isf(special.ndtr(-x))
    expected = x if kind == "odd" else np.where(x > 0, right, half_normal)
    np.testing.assert_allclose(preserving_table.exact(x, 1e300, kind)[0], expected, rtol=1e-12)


@pytest.mark.parametrize("theta", THETAS)
def test_quantile_inverts(theta: float) -> None:
    """F of the quantile is the probability, on both sides of where the two forms meet."""
    x = np.linspace(0.01, 3, 100)
    y, log_density, _ = law.quantile(special.erf(x / math.sqrt(2)), special.log_ndtr(-x) + math.log(2), theta)
    assert (np.diff(y) > 0).all()
    near = y <= law.SERIES_END
    np.testing.assert_allclose(law.series(y[near], theta)[0], special.erf(x[near] / math.sqrt(2)), rtol=1e-14)
    density = np.gradient(special.erf(x / math.sqrt(2)), y, edge_order=2)
    np.testing.assert_allclose(np.exp(log_density[5:-5]), density[5:-5], rtol=0.02)


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("kind", ["odd", "positive"])
def test_derivatives(theta: float, kind: Kind) -> None:
    """Slope and second derivative are those of phi: differences of it, of the fourth order."""
    x, step = np.array([-2.3, -0.7, 0.4, 1.1, 2.6, 5.0]), 2e-3
    values = [preserving_table.exact(x + j * step, theta, kind)[0] for j in (-2, -1, 0, 1, 2)]
    slope = (values[0] - 8 * values[1] + 8 * values[3] - values[4]) / (12 * step)
    second = (-values[0] + 16 * values[1] - 30 * values[2] + 16 * values[3] - values[4]) / (12 * step**2)
    _, found, again = preserving_table.exact(x, theta, kind)
    np.testing.assert_allclose(found, slope, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(again, second, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("theta", THETAS)
def test_limit(theta: float) -> None:
    """phi(x) / x^p comes to its limit like log(x) / x^2."""
    x = np.array([300.0, 3000.0])
    ratio = preserving_table.exact(x, theta, "odd")[0] / x ** (1 - 2 / theta) / law.limit_at_infinity(theta)
    off = np.abs(np.log(ratio))
    assert off[0] < 2e-4 or theta > x[0]
    assert off[1] < 0.2 * off[0]


@pytest.mark.parametrize(
    "theta",
    [2, 2.0, 2.0199, 1, 0, -3, math.nan, math.inf, -math.inf, True, "3", None, [3], 3 + 0j, np.bool_(True)],
)
def test_thetas_refused(theta: Any) -> None:
    """The condition of the theory and the floor of the numerics are both named."""
    with pytest.raises(
        ValueError, match=r"theta must be a finite number above 2, .* at least 2.02, .*; got "
    ):
        law.check_theta(theta)


@pytest.mark.parametrize("theta", [3, np.float32(3), np.int64(3)])
def test_thetas_taken(theta: Any) -> None:
    """Numbers of any kind."""
    assert law.check_theta(theta) == 3.0

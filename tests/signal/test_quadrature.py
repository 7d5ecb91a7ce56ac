"""Moments of activations of a normal variable, against closed forms and other quadratures."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from gaussprobe.signal import Activation, activation
from gaussprobe.signal.plane import joint
from gaussprobe.signal.quadrature import Quadrature

CORRELATIONS = (-1.0, -0.999, -0.7, -0.2, 0.0, 0.3, 0.9, 0.9999, 1 - 1e-9, 1.0)
VARIANCES = (1e-12, 1e-3, 0.3, 1.0, 7.0, 100.0, 1e6)


def quadrature(given: object) -> Quadrature:
    return Quadrature(activation(given))  # type: ignore[arg-type]


def hardtanh_second(v: float) -> float:
    """`E[hardtanh^2]`, by parts: `v (erf(a / sqrt 2) - 2 a pdf(a)) + erfc(a / sqrt 2)`, `a = 1 / sqrt v`."""
    a = 1 / math.sqrt(v)
    pdf = math.exp(-0.5 * a * a) / math.sqrt(2 * math.pi)
    return float(v * (special.erf(a / math.sqrt(2)) - 2 * a * pdf) + special.erfc(a / math.sqrt(2)))


# E[phi^2], E[phi'^2], d/dv E[phi^2], by hand.
CLOSED: dict[str, Callable[[float], tuple[float, float, float]]] = {
    "linear": lambda v: (v, 1.0, 1.0),
    "relu": lambda v: (v / 2, 0.5, 0.5),
    "sin": lambda v: (
        -math.expm1(-2 * v) / 2,
        (1 + math.exp(-2 * v)) / 2,
        math.exp(-2 * v),
    ),
    # Williams (1998): arcsine of 2 v / (1 + 2 v).
    "erf": lambda v: (
        2 / math.pi * math.asin(2 * v / (1 + 2 * v)),
        4 / math.pi / math.sqrt(1 + 4 * v),
        4 / math.pi / ((1 + 2 * v) * math.sqrt(1 + 4 * v)),
    ),
}


@pytest.mark.parametrize("v", [*VARIANCES[:-1], 1e4])
@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms(name: str, v: float) -> None:
    """Moments of linear, relu, sin and erf are had to 1e-11, and no error is under its bound."""
    found = quadrature(name).moments([v])
    second, slope, growth = CLOSED[name](v)
    assert found.second[0] == pytest.approx(second, rel=1e-11)
    assert found.slope[0] == pytest.approx(slope, rel=1e-11)
    assert found.growth[0] == pytest.approx(growth, rel=1e-9, abs=1e-11 * second / v)
    assert abs(found.second[0] / second - 1) <= max(found.error[0], 1e-12)
    assert found.reasons == ("",)


@pytest.mark.parametrize("v", VARIANCES)
def test_hardtanh(v: float) -> None:
    """Kinks at which the panels are split: the closed form by parts to 1e-11."""
    found = quadrature("hardtanh").moments([v])
    assert found.second[0] == pytest.approx(hardtanh_second(v), rel=1e-11)
    assert found.slope[0] == pytest.approx(float(special.erf(1 / math.sqrt(2 * v))), rel=1e-11)


def test_where_gauss_hermite_is_not_enough() -> None:
    """201 Gauss-Hermite nodes are off by .017 for tanh^2 at v = 100 and .002 for hardtanh^2; we by 1e-11."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(201)
    weights /= weights.sum()
    with mpmath.workdps(25):
        exact = 2 * mpmath.quad(
            lambda z: mpmath.tanh(10 * z) ** 2 * mpmath.npdf(z), [0, 0.05, 0.1, 0.2, 0.5, 1, 2, 4, 8, 12]
        )
    assert abs(weights @ np.tanh(10 * nodes) ** 2 - float(exact)) == pytest.approx(0.017, abs=0.001)
    assert quadrature("tanh").moments([100.0]).second[0] == pytest.approx(float(exact), rel=1e-11)
    worst = max(
        abs(weights @ np.clip(math.sqrt(v) * nodes, -1, 1) ** 2 - hardtanh_second(v)) for v in (0.3, 1.0, 7.0)
    )
    assert 5e-4 < worst < 5e-3


@pytest.mark.parametrize("v", [1e-3, 0.3, 1.0, 30.0, 1e4])
def test_gelu_against_mpmath(v: float) -> None:
    """E[gelu^2] and E[gelu'^2], written out and integrated in 30 digits, to 1e-11."""
    with mpmath.workdps(30):
        root = mpmath.sqrt(v)
        ends = sorted({s * x / root for x in (0, 0.5, 1, 2, 4, 8) for s in (-1, 1)} | {-12, -6, -3, 3, 6, 12})
        ends = [z for z in ends if abs(z) <= 12]

        def expected(f: Callable[[mpmath.mpf], mpmath.mpf]) -> float:
            return float(mpmath.quad(lambda z: f(root * z) ** 2 * mpmath.npdf(z), ends))

        second = expected(lambda u: u * mpmath.ncdf(u))
        slope = expected(lambda u: mpmath.ncdf(u) + u * mpmath.npdf(u))
    found = quadrature("gelu").moments([v])
    assert found.second[0] == pytest.approx(second, rel=1e-11)
    assert found.slope[0] == pytest.approx(slope, rel=1e-11)


def test_kinks_that_nobody_told_of() -> None:
    """A function of one's own with two kinks: found, and its moments are those of its pieces."""

    def own(x: torch.Tensor) -> torch.Tensor:
        return (x - 0.3).relu() - 0.2 * (x + 1.123).abs()

    made = quadrature(own)
    assert made.whole(1.0, 1.0).kinks == pytest.approx((-1.123, 0.3), abs=1e-9)
    value, error = integrate.quad(
        lambda u: (max(u - 0.3, 0) - 0.2 * abs(u + 1.123)) ** 2 * stats.norm.pdf(u),
        -12,
        12,
        points=(-1.123, 0.3),
        epsabs=1e-13,
    )
    assert made.moments([1.0]).second[0] == pytest.approx(value, abs=max(error, 1e-12))
    cdf = stats.norm.cdf
    exact = 0.04 * cdf(0.3) + 0.64 * (1 - cdf(0.3))
    assert made.moments([1.0]).slope[0] == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize(
    ("given", "note"),
    [
        (lambda x: x.detach().tanh(), "has no gradient"),
        (lambda x: x.tanh().detach() + x - x.detach(), "gradient of .* is not its slope"),
    ],
)
def test_slopes_without_a_gradient(given: object, note: str) -> None:
    """Without a gradient, or with one that is not the slope, slopes are of polynomials; it is said."""
    made = quadrature(given)
    assert made.moments([0.7]).slope[0] == pytest.approx(quadrature("tanh").moments([0.7]).slope[0], rel=1e-9)
    assert re.search(note, made.resolved.slope_note)


def test_modules_keep_their_precision() -> None:
    """A module with float32 parameters is copied to double: it works and is left as it was."""
    module = torch.nn.PReLU()
    found = quadrature(module).moments([2.0])
    assert found.second[0] == pytest.approx((1 + 0.25**2) / 2 * 2, rel=1e-12)
    assert module.weight.dtype == torch.float32


def test_a_jump_makes_the_slope_infinite() -> None:
    """sign and a shifted step: second moments are exact, E[phi'^2] infinite, and the place is named."""
    sign = quadrature(torch.sign).moments([0.1, 5.0])
    assert sign.second == pytest.approx(1.0, rel=1e-12)
    assert np.isinf(sign.slope).all()
    assert sign.growth == pytest.approx(0.0, abs=1e-12)
    step = quadrature(lambda x: (x > 0.37).to(x.dtype)).moments([1.0])
    assert step.second[0] == pytest.approx(stats.norm.sf(0.37), rel=1e-12)
    assert "at 0.37" in step.reasons[0]


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (torch.log, "not finite at -"),
        (lambda x: torch.exp(x * x / 2), "infinite, or overflows"),
        (lambda x: torch.exp(x**3), "not finite at"),
    ],
)
def test_no_second_moment(given: object, what: str) -> None:
    """NaN with the reason, where there is no second moment."""
    found = quadrature(given).moments([1.0])
    assert np.isnan(found.second[0])
    assert np.isnan(found.slope[0])
    assert what in found.reasons[0]


def test_a_slope_that_is_not_square_integrable() -> None:
    """sqrt|x - 1|: the second moment is had, the slope's is NaN with the reason."""
    found = quadrature(lambda x: (x - 1).abs().sqrt()).moments([1.0])
    with mpmath.workdps(20):
        exact = mpmath.quad(lambda z: abs(z - 1) * mpmath.npdf(z), [-12, -4, 0, 1, 2, 6, 12])
    assert found.second[0] == pytest.approx(float(exact), rel=1e-10)
    assert np.isnan(found.slope[0])
    assert "not integrable" in found.reasons[0]


def arc_cosine(c: float) -> float:
    """`E[relu(u1) relu(u2)]` at variance 1; Cho & Saul (2009), equation 6 with n = 1."""
    return (math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c) / (2 * math.pi)


@pytest.mark.parametrize("c", CORRELATIONS)
def test_relu_is_the_arc_cosine_kernel(c: float) -> None:
    """Value and derivative, at equal and at different variances; Cho & Saul (2009)."""
    found = joint(quadrature("relu"), 1.0, 1.0, c)
    assert found.value == pytest.approx(arc_cosine(c), abs=1e-12)
    assert abs(found.value - arc_cosine(c)) <= found.error + 1e-15
    if abs(c) < 0.99999:
        assert found.growth == pytest.approx((math.pi - math.acos(c)) / (2 * math.pi), abs=1e-10)
    other = joint(quadrature("relu"), 9.0, 0.04, c)
    assert other.value == pytest.approx(0.6 * arc_cosine(c), abs=1e-12)


@pytest.mark.parametrize("c", CORRELATIONS)
@pytest.mark.parametrize(("v1", "v2"), [(1.0, 1.0), (100.0, 0.01), (1e-6, 30.0), (40.0, 40.0)])
def test_erf_is_the_arc_sine_kernel(c: float, v1: float, v2: float) -> None:
    """Williams (1998), Computation with infinite neural networks, equation 11, without a bias."""
    exact = 2 / math.pi * math.asin(2 * c * math.sqrt(v1 * v2) / math.sqrt((1 + 2 * v1) * (1 + 2 * v2)))
    assert joint(quadrature("erf"), v1, v2, c).value == pytest.approx(exact, abs=1e-11)


@pytest.mark.parametrize("c", CORRELATIONS)
def test_sign_has_jumps(c: float) -> None:
    """`2 / pi arcsin c`, Sheppard's formula; its derivative needs no slope of the function."""
    found = joint(quadrature(torch.sign), 1.0, 2.0, c)
    assert found.value == pytest.approx(2 / math.pi * math.asin(c), abs=1e-11)
    if abs(c) < 0.99:
        assert found.growth == pytest.approx(2 / math.pi / math.sqrt(1 - c * c), rel=1e-8)


def test_kinks_away_from_zero() -> None:
    """hardtanh of two variables against scipy's nested quadrature, split at its kinks."""
    v, c = 1.5, 0.6
    conditional = math.sqrt(1 - c * c)

    def inner(z: float) -> float:
        def f(y: float) -> float:
            u = math.sqrt(v) * (c * z + conditional * y)
            return min(max(u, -1), 1) * float(stats.norm.pdf(y))

        kinks = [(k / math.sqrt(v) - c * z) / conditional for k in (-1, 1)]
        ends = [-9.0, *sorted(k for k in kinks if abs(k) < 9), 9.0]
        nodes, weights = np.polynomial.legendre.leggauss(30)
        total = 0.0
        for a, b in itertools.pairwise(ends):
            at = (a + b) / 2 + (b - a) / 2 * nodes
            total += (b - a) / 2 * float(weights @ [f(y) for y in at])
        return min(max(math.sqrt(v) * z, -1), 1) * total * float(stats.norm.pdf(z))

    edge = 1 / math.sqrt(v)
    exact = sum(
        integrate.quad(inner, a, b, epsabs=1e-10)[0]
        for a, b in ((-9, -edge), (-edge, 0), (0, edge), (edge, 9))
    )
    assert joint(quadrature("hardtanh"), v, v, c).value == pytest.approx(exact, abs=1e-9)


def test_kinks_that_are_told_wrong_do_no_harm() -> None:
    """Kinks where there are none are panels' ends and nothing more."""
    made = Activation(name="mine", function=torch.tanh, kinks=(-0.123, 0.0, 5.0))
    assert Quadrature(made).moments([1.0]).second[0] == pytest.approx(
        quadrature("tanh").moments([1.0]).second[0], rel=1e-13
    )

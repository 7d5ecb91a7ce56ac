"""The Edge of Chaos, against closed forms and independent quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, special

import gaussprobe as gp
from gaussprobe.errors import GaussprobeWarning


def root_of_edge(
    second: Callable[[float], float], slope: Callable[[float], float], sigma_b: float, low: float, high: float
) -> tuple[float, float]:
    """sigma_w and the fixed point, from moments that a test has by other means."""
    v = optimize.brentq(
        lambda v: (v - sigma_b**2) * slope(v) / second(v) - 1, low, high, xtol=1e-13, rtol=1e-13
    )
    return math.sqrt((v - sigma_b**2) / second(v)), v


def test_relu_without_biases() -> None:
    """sigma_w^2 = 2 to 1e-10, He et al. (2015); every variance is a fixed point, so that none is named."""
    edge = gp.signal.edge_of_chaos("relu")
    assert edge.sigma_w**2 == pytest.approx(2.0, rel=1e-10)
    assert math.isnan(edge.fixed_point)
    assert "every variance" in edge.reason
    assert edge.chi1 == pytest.approx(1.0, rel=1e-10)


@pytest.mark.parametrize(("name", "slope"), [("linear", 1.0), ("leaky_relu", 0.5 * (1 + 0.01**2))])
def test_homogeneous_functions(name: str, slope: float) -> None:
    """`sigma_w^2 = 1 / E[phi'^2]`."""
    assert gp.signal.edge_of_chaos(name).sigma_w == pytest.approx(slope**-0.5, rel=1e-10)


@pytest.mark.parametrize("name", ["relu", "linear", "softplus"])
def test_no_edge_with_biases(name: str) -> None:
    """With biases the edge of a ReLU lies at no finite fixed point: NaN and the reason, no warning."""
    edge = gp.signal.edge_of_chaos(name, sigma_b=0.3)
    assert math.isnan(edge.sigma_w)
    assert "under 1 at every finite fixed point" in edge.reason


def test_tanh_with_biases() -> None:
    """At sigma_b^2 = .013 the edge is sigma_w^2 = 1.46596, all digits of the note; by mpmath to 1e-12."""
    edge = gp.signal.edge_of_chaos("tanh", sigma_b=math.sqrt(0.013))
    assert round(edge.sigma_w**2, 5) == 1.46596

    def moment(power: int) -> Callable[[float], float]:
        def f(v: float) -> float:
            with mpmath.workdps(25):
                return float(
                    2
                    * mpmath.quad(
                        lambda z: (
                            (
                                mpmath.tanh(mpmath.sqrt(v) * z) ** 2
                                if power == 2
                                else mpmath.sech(mpmath.sqrt(v) * z) ** 4
                            )
                            * mpmath.npdf(z)
                        ),
                        [0, 1, 2, 4, 8, 12],
                    )
                )

        return f

    sigma_w, v = root_of_edge(moment(2), moment(4), math.sqrt(0.013), 0.29, 0.32)
    assert edge.sigma_w == pytest.approx(sigma_w, rel=1e-11)
    assert edge.fixed_point == pytest.approx(v, rel=1e-10)


@pytest.mark.parametrize(("name", "slope"), [("tanh", 1.0), ("erf", 2 / math.sqrt(math.pi)), ("sin", 1.0)])
def test_saturating_functions_without_biases(name: str, slope: float) -> None:
    """The fixed point is 0 and `sigma_w = 1 / |phi'(0)|`."""
    edge = gp.signal.edge_of_chaos(name)
    assert edge.fixed_point == 0.0
    assert edge.sigma_w == pytest.approx(1 / slope, rel=1e-12)


@pytest.mark.parametrize("sigma_b", [0.05, 0.4, 1.0])
def test_hardtanh(sigma_b: float) -> None:
    """Against moments in closed form, with erf, to 1e-9."""

    def second(v: float) -> float:
        a = 1 / math.sqrt(v)
        pdf = math.exp(-0.5 * a * a) / math.sqrt(2 * math.pi)
        inside = float(special.erf(a / math.sqrt(2)))
        return v * (inside - 2 * a * pdf) + 1 - inside

    sigma_w, v = root_of_edge(
        second, lambda v: float(special.erf(1 / math.sqrt(2 * v))), sigma_b, sigma_b**2 * 1.001, 50.0
    )
    edge = gp.signal.edge_of_chaos("hardtanh", sigma_b=sigma_b)
    assert edge.sigma_w == pytest.approx(sigma_w, rel=1e-9)
    assert edge.fixed_point == pytest.approx(v, rel=1e-9)


def test_gelu() -> None:
    """Against scipy's quadrature of the function written out, split at points, to 1e-8."""

    def moment(f: Callable[[float], float]) -> Callable[[float], float]:
        def of(v: float) -> float:
            return integrate.quad(
                lambda z: f(math.sqrt(v) * z) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi),
                -12,
                12,
                points=[-1, -0.3, -0.1, 0, 0.1, 0.3, 1],
                limit=400,
                epsabs=1e-13,
                epsrel=1e-12,
            )[0]

        return of

    def cdf(u: float) -> float:
        return float(special.ndtr(u))

    def pdf(u: float) -> float:
        return math.exp(-u * u / 2) / math.sqrt(2 * math.pi)

    sigma_w, v = root_of_edge(
        moment(lambda u: u * cdf(u)), moment(lambda u: cdf(u) + u * pdf(u)), 1.0, 20.0, 400.0
    )
    edge = gp.signal.edge_of_chaos("gelu", sigma_b=1.0)
    assert edge.sigma_w == pytest.approx(sigma_w, rel=1e-8)
    assert edge.fixed_point == pytest.approx(v, rel=1e-5)
    assert edge.reason == ""


def test_an_edge_that_is_not_reached() -> None:
    """GELU without biases: at sigma_w = 1 / phi'(0) = 2 the variance grows; the reason says so."""
    edge = gp.signal.edge_of_chaos("gelu")
    assert edge.sigma_w == pytest.approx(2.0, rel=1e-10)
    assert edge.reason == "the variance does not tend to 0 from 1, but to inf"


def test_phi_theta_is_chaotic_where_it_keeps_the_variance() -> None:
    """phi of theta = 3 with Weibull weights keeps variance 1: `sigma^2 = Gamma(1 + 2/3)` is that of W."""
    point = gp.signal.phase("phi:3", sigma_w=math.sqrt(math.gamma(1 + 2 / 3)))
    assert point.fixed_point == pytest.approx(1.0, rel=1e-9)
    assert point.phase == "chaotic"
    assert gp.signal.edge_of_chaos("phi:3").sigma_w < point.sigma_w


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (torch.sign, "jumps, or is infinitely steep, at 0"),
        (lambda x: x * 0, "0 everywhere"),
        (lambda x: x * 0 + 2, "constant"),
    ],
)
def test_functions_without_an_edge(function: Any, what: str) -> None:
    """NaN and the reason."""
    edge = gp.signal.edge_of_chaos(function, sigma_b=0.2)
    assert math.isnan(edge.sigma_w)
    assert what in edge.reason


def test_functions_that_cannot_be_measured() -> None:
    """A function that is not finite: NaN, the reason, and a warning."""
    with pytest.warns(GaussprobeWarning, match="log: it is not finite"):
        edge = gp.signal.edge_of_chaos(torch.log)
    assert math.isnan(edge.sigma_w)


@pytest.mark.parametrize("sigma_b", [-0.1, math.nan, math.inf, "0.1", None, True])
def test_refused_biases(sigma_b: Any) -> None:
    """What is no finite number of at least 0, by name."""
    with pytest.raises(ValueError, match="sigma_b must be a finite number of at least 0; got"):
        gp.signal.edge_of_chaos("tanh", sigma_b=sigma_b)


@settings(max_examples=8, deadline=None)
@given(
    name=st.sampled_from(["tanh", "erf", "hardtanh", "sin", "elu", "selu", "relu6"]),
    sigma_b=st.floats(0.01, 3.0),
)
@example(name="tanh", sigma_b=1e-4)
def test_the_edge_is_where_chi1_is_one(name: str, sigma_b: float) -> None:
    """`phase` at the edge says edge, under it ordered, above it chaotic."""
    edge = gp.signal.edge_of_chaos(name, sigma_b=sigma_b)
    at = gp.signal.phase(name, sigma_w=edge.sigma_w, sigma_b=sigma_b)
    assert at.phase == "edge"
    assert at.correlation_depth == math.inf
    assert at.fixed_point == pytest.approx(edge.fixed_point, rel=1e-5)
    assert gp.signal.phase(name, sigma_w=edge.sigma_w * 0.99, sigma_b=sigma_b).phase == "ordered"
    assert gp.signal.phase(name, sigma_w=edge.sigma_w * 1.01, sigma_b=sigma_b).phase == "chaotic"


def test_more_biases_need_more_weight() -> None:
    """The edge of tanh rises with sigma_b (Poole et al. 2016, figure 1)."""
    found = [gp.signal.edge_of_chaos("tanh", sigma_b=s).sigma_w for s in (0.0, 0.01, 0.1, 0.5, 1.0, 2.0)]
    assert (np.diff(found) > 0).all()

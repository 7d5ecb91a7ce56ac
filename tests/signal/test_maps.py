"""Maps of the variance and the correlation of infinitely wide networks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gaussprobe as gp
from gaussprobe.errors import GaussprobeWarning
from gaussprobe.signal.maps import made_maps

SMOOTH = ["tanh", "relu", "gelu", "hardtanh", "sigmoid", "sin"]


def test_linear() -> None:
    """`v' = w^2 v + b^2` and `c' v' = w^2 c v + b^2`, in closed form."""
    w, b, v, c = 0.9, 0.4, 2.5, -0.7
    variances = gp.signal.variance_map("linear", sigma_w=w, sigma_b=b, depth=8, variance=v)
    correlations = gp.signal.correlation_map(
        "linear", sigma_w=w, sigma_b=b, depth=8, variance=v, correlation=c
    )
    product = c * v
    for found_v, found_c in zip(variances, correlations, strict=True):
        assert found_v == pytest.approx(v, rel=1e-12)
        assert found_c == pytest.approx(product / v, abs=1e-12)
        v, product = w * w * v + b * b, w * w * product + b * b


def test_relu_through_depth() -> None:
    """The arc-cosine kernel again and again, from two inputs of different variance."""
    c, expected = 0.2, [0.2]
    for _ in range(19):
        c = (math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c) / math.pi
        expected.append(c)
    found = gp.signal.correlation_map(
        "relu", sigma_w=math.sqrt(2), depth=20, variance=(1.0, 3.0), correlation=0.2
    )
    assert found == pytest.approx(expected, abs=1e-9)


def test_simulated_wide_networks() -> None:
    """Variances and correlations of 400 tanh networks of width 300, within 4 standard errors and O(1/n)."""
    w, b, depth, width = 1.3, 0.3, 4, 300
    x = torch.tensor([[1.0, 0.5, -1.0], [0.5, 1.5, 0.4]])
    found = gp.signal.propagate("tanh", widths=[width] * depth, draws=400, sigma_w=w, sigma_b=b, x=x, seed=3)
    (v1, v2), c = gp.signal.input_moments(x, sigma_w=w, sigma_b=b)
    expected = gp.signal.correlation_map(
        "tanh", sigma_w=w, sigma_b=b, depth=depth, variance=(v1, v2), correlation=c
    )
    for one, exact in zip(found.correlations, expected, strict=True):
        se = (one.high - one.low) / 3.92
        assert abs(one.correlation - exact) < 4 * se + 2 / width
    variances = gp.signal.variance_map("tanh", sigma_w=w, sigma_b=b, depth=depth, variance=v1)
    # The variance of a normal sample of 400 has a standard error of sqrt(2 / 400) of it.
    for law, variance in zip(found, variances, strict=True):
        assert law.sd**2 == pytest.approx(variance, rel=4 * math.sqrt(2 / 400))


def test_input_moments() -> None:
    """By hand: `v = w^2 |x|^2 / d + b^2`."""
    x = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    (v1, v2), c = gp.signal.input_moments(x, sigma_w=2.0, sigma_b=1.0)
    assert (v1, v2) == (51.0, 9.0)
    assert c == pytest.approx((4 * 4 + 1) / math.sqrt(51 * 9))
    assert math.isnan(gp.signal.input_moments(torch.zeros(2, 3), sigma_w=1.0)[1])


def test_variances_that_vanish_or_overflow() -> None:
    """0 stays 0 without biases, correlations are then NaN; what overflows gives NaN and a warning."""
    assert gp.signal.variance_map("tanh", sigma_w=0.0, depth=3, variance=1.0) == (1.0, 0.0, 0.0)
    found = gp.signal.correlation_map("tanh", sigma_w=0.0, depth=3, variance=1.0, correlation=0.5)
    assert found[0] == 0.5
    assert math.isnan(found[1])
    with pytest.warns(GaussprobeWarning, match="exp: it is not finite"):
        variances = gp.signal.variance_map(torch.exp, sigma_w=3.0, depth=6, variance=1.0)
    assert np.isnan(variances[-1])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"depth": 0}, "depth must be an integer of at least 1; got 0"),
        ({"depth": 2.5}, "depth must be an integer"),
        ({"variance": -1.0}, "variance must be a finite number of at least 0; got -1.0"),
        ({"variance": (1.0, 2.0, 3.0)}, "variance must be one number or two; got 3"),
        ({"correlation": 1.1}, "correlation must be a number from -1 to 1; got 1.1"),
        ({"correlation": math.nan}, "correlation must be"),
        ({"sigma_w": math.inf}, "sigma_w must be"),
        ({"activation": "tahn"}, "did you mean 'tanh'"),
    ],
)
def test_refused(changed: dict[str, Any], message: str) -> None:
    """Arguments out of range, by name."""
    arguments: dict[str, Any] = {
        "activation": "tanh",
        "sigma_w": 1.0,
        "sigma_b": 0.0,
        "depth": 3,
        "variance": 1.0,
        "correlation": 0.0,
        **changed,
    }
    with pytest.raises(ValueError, match=message):
        gp.signal.correlation_map(arguments.pop("activation"), **arguments)


def test_two_inputs_are_asked_for() -> None:
    """`input_moments` refuses another shape, by name."""
    with pytest.raises(ValueError, match=r"x must be two inputs, \(2, d\); got \(3, 2\)"):
        gp.signal.input_moments(torch.ones(3, 2), sigma_w=1.0)


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(SMOOTH),
    w=st.floats(0.1, 3.0),
    more=st.floats(0.01, 1.0),
    b=st.floats(0.0, 2.0),
    v=st.floats(1e-3, 1e3),
)
def test_the_variance_grows_with_the_weights(name: str, w: float, more: float, b: float, v: float) -> None:
    """v' is monotone in sigma_w, and at least sigma_b^2."""
    _, less = gp.signal.variance_map(name, sigma_w=w, sigma_b=b, depth=2, variance=v)
    _, greater = gp.signal.variance_map(name, sigma_w=w + more, sigma_b=b, depth=2, variance=v)
    assert b * b <= less < greater


@settings(max_examples=20, deadline=None)
@given(name=st.sampled_from([*SMOOTH, "mish", "relu6"]), v=st.floats(1e-6, 1e4))
def test_the_variance_cannot_alternate(name: str, v: float) -> None:
    """`d ln E[phi^2] / d ln v >= -1/2`, on which it rests that the variance settles."""
    found = made_maps(name, sigma_w=1.0, sigma_b=0.0).quadrature.moments([v])
    assert found.growth[0] * v / found.second[0] >= -0.5


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(SMOOTH),
    c=st.floats(-1.0, 1.0),
    b=st.floats(0.0, 1.0),
    v1=st.floats(1e-2, 50.0),
    v2=st.floats(1e-2, 50.0),
)
def test_the_correlation_map(name: str, c: float, b: float, v1: float, v2: float) -> None:
    """1 goes to 1; the two inputs may change places; no correlation leaves -1 .. 1."""
    maps = made_maps(name, sigma_w=1.4, sigma_b=b)
    assert maps.next_correlation(v1, v1, 1.0) == 1.0
    one, other = maps.next_correlation(v1, v2, c), maps.next_correlation(v2, v1, c)
    assert one == pytest.approx(other, abs=1e-9)
    assert -1 <= one <= 1
    # Before rounding is taken off.
    product = maps.product(v1, v1, 1.0)
    assert product.value == pytest.approx(maps.quadrature.moments([v1]).second[0], rel=1e-9)

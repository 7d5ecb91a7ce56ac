"""Phases of infinitely wide networks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gaussprobe as gp
from gaussprobe.errors import GaussprobeWarning


def test_tanh_near_the_edge() -> None:
    """At (1.46, .013) chi1 is .99886 and v* .303; both are kept by the maps' own formulas."""
    point = gp.signal.phase("tanh", sigma_w=math.sqrt(1.46), sigma_b=math.sqrt(0.013))
    assert round(point.chi1, 5) == 0.99886
    assert round(point.fixed_point, 3) == 0.303
    assert point.phase == "ordered"
    assert point.correlation_fixed_point == 1.0
    assert point.correlation_depth == pytest.approx(-1 / math.log(point.chi1))
    (_, after) = gp.signal.variance_map(
        "tanh",
        sigma_w=math.sqrt(1.46),
        sigma_b=math.sqrt(0.013),
        depth=2,
        variance=point.fixed_point,
    )
    assert after == pytest.approx(point.fixed_point, rel=1e-12)


def test_linear() -> None:
    """`v* = b^2 / (1 - w^2)`, `chi1 = w^2`, both depths `-1 / ln w^2`."""
    point = gp.signal.phase("linear", sigma_w=0.8, sigma_b=0.5)
    assert point.fixed_point == pytest.approx(0.25 / 0.36, rel=1e-12)
    assert point.chi1 == pytest.approx(0.64, rel=1e-12)
    assert point.variance_depth == pytest.approx(-1 / math.log(0.64), rel=1e-10)
    assert point.correlation_depth == pytest.approx(-1 / math.log(0.64), rel=1e-10)


def test_relu() -> None:
    """`v* = b^2 / (1 - w^2 / 2)` and `chi1 = w^2 / 2`; without biases 0, any, or infinity."""
    point = gp.signal.phase("relu", sigma_w=1.2, sigma_b=0.5)
    assert point.fixed_point == pytest.approx(0.25 / 0.28, rel=1e-11)
    assert point.chi1 == pytest.approx(0.72, rel=1e-12)
    found = [gp.signal.phase("relu", sigma_w=w) for w in (1.2, math.sqrt(2), 1.6)]
    assert [one.fixed_point for one in found] == [0.0, 1.0, math.inf]
    assert [one.phase for one in found] == ["ordered", "edge", "chaotic"]
    assert [one.chi1 for one in found] == pytest.approx([0.72, 1.0, 1.28], rel=1e-9)
    # The correlation's map is one and the same, and nears 1 as a power of depth.
    assert {one.correlation_depth for one in found} == {math.inf}
    assert {one.correlation_fixed_point for one in found} == {1.0}
    assert all(one.reason for one in found)


def test_erf_in_the_chaotic_phase() -> None:
    """c* and the slope there, from the arcsine kernel at the fixed point."""
    w, b = 2.5, 0.3
    point = gp.signal.phase("erf", sigma_w=w, sigma_b=b)
    v, c = point.fixed_point, point.correlation_fixed_point
    assert w**2 * 2 / math.pi * math.asin(2 * v / (1 + 2 * v)) + b**2 == pytest.approx(v, rel=1e-11)
    ratio = 2 * v / (1 + 2 * v)
    assert (w**2 * 2 / math.pi * math.asin(ratio * c) + b**2) / v == pytest.approx(c, rel=1e-9)
    slope = w**2 * 2 / math.pi * ratio / math.sqrt(1 - (ratio * c) ** 2) / v
    assert point.correlation_depth == pytest.approx(-1 / math.log(slope), rel=1e-8)
    assert 0 < c < 1
    assert point.phase == "chaotic"


def test_odd_functions_forget_correlations() -> None:
    """Without biases, an odd function in the chaotic phase makes inputs orthogonal."""
    point = gp.signal.phase("tanh", sigma_w=2.0)
    assert point.correlation_fixed_point == 0.0
    assert point.phase == "chaotic"


def test_the_variance_falls_to_zero() -> None:
    """tanh without biases: v* = 0 up to sigma_w = 1, where correlations are kept."""
    for w in (0.0, 0.5, 1.0):
        point = gp.signal.phase("tanh", sigma_w=w)
        assert point.fixed_point == 0.0
        assert point.chi1 == pytest.approx(w * w, rel=1e-12)
        assert "falls to 0" in point.reason
    assert math.isnan(point.correlation_fixed_point)
    assert gp.signal.phase("tanh", sigma_w=1.001).fixed_point > 1e-4


def test_jumps() -> None:
    """sign: chi1 is infinite, the phase chaotic, c* solves Sheppard's formula."""
    point = gp.signal.phase(torch.sign, sigma_w=1.3, sigma_b=0.5)
    assert point.chi1 == math.inf
    assert "jumps" in point.reason
    v, c = point.fixed_point, point.correlation_fixed_point
    assert v == pytest.approx(1.69 + 0.25, rel=1e-12)
    assert (1.69 * 2 / math.pi * math.asin(c) + 0.25) / v == pytest.approx(c, abs=1e-9)


def test_the_variance_comes_from_both_sides() -> None:
    """A bump, of which a larger variance makes less: v is reached in zigzag, by a slope under 0.

    `E[(u exp(-u^2))^2] = v (1 + 4 v)^(-3/2)`.
    """
    w = 8.0
    point = gp.signal.phase(lambda x: x * torch.exp(-x * x), sigma_w=w)
    v = point.fixed_point
    assert (1 + 4 * v) ** 1.5 == pytest.approx(w * w, rel=1e-10)
    # Of the map: w^2 (1 - 2 v) (1 + 4 v)^(-5/2), under 0.
    slope = (1 - 2 * v) / (1 + 4 * v)
    assert slope < 0
    assert point.variance_depth == pytest.approx(-1 / math.log(-slope), rel=1e-9)


@pytest.mark.parametrize("function", [torch.log, torch.exp])
def test_functions_that_overflow(function: Any) -> None:
    """A function that is not finite where the variance goes: NaN, the reason, a warning."""
    with pytest.warns(GaussprobeWarning, match="not finite"):
        point = gp.signal.phase(function, sigma_w=2.0)
    assert point.phase == "undetermined"
    assert math.isnan(point.chi1)


def test_nothing() -> None:
    """A function that is 0 everywhere: every pre-activation is, and there is no correlation."""
    point = gp.signal.phase(lambda x: x * 0, sigma_w=1.0)
    assert point.fixed_point == 0.0
    assert math.isnan(point.correlation_fixed_point)
    assert "every pre-activation is 0" in point.reason


@pytest.mark.parametrize(("name", "value"), [("sigma_w", -1.0), ("sigma_w", math.nan), ("sigma_b", "x")])
def test_refused(name: str, value: Any) -> None:
    """Numbers out of range, by name."""
    arguments: dict[str, Any] = {"sigma_w": 1.0, "sigma_b": 0.1, name: value}
    with pytest.raises(ValueError, match=f"{name} must be a finite number of at least 0; got"):
        gp.signal.phase("tanh", **arguments)


@settings(max_examples=8, deadline=None)
@given(w=st.floats(0.3, 4.0), b=st.floats(0.0, 1.5), name=st.sampled_from(["tanh", "erf", "elu", "relu6"]))
def test_the_fixed_points_are_reached(w: float, b: float, name: str) -> None:
    """Many layers from variance 1 and correlation .3 end at v* and c*, unless they approach slowly."""
    point = gp.signal.phase(name, sigma_w=w, sigma_b=b)
    if not (0 < point.fixed_point < math.inf and max(point.variance_depth, point.correlation_depth) < 4):
        return
    *_, variance = gp.signal.variance_map(name, sigma_w=w, sigma_b=b, depth=80, variance=1.0)
    assert variance == pytest.approx(point.fixed_point, rel=1e-7)
    *_, correlation = gp.signal.correlation_map(
        name, sigma_w=w, sigma_b=b, depth=40, variance=point.fixed_point, correlation=0.3
    )
    assert correlation == pytest.approx(point.correlation_fixed_point, abs=2e-4)

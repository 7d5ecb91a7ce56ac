"""Phase diagrams, and what makes them quick: interpolated moments and power series."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gaussprobe as gp
from gaussprobe.phases import PhaseDiagram
from gaussprobe.signal import activation
from gaussprobe.signal.hermite import series
from gaussprobe.signal.plane import joint
from gaussprobe.signal.quadrature import Quadrature
from gaussprobe.signal.table import Tabulated


@pytest.fixture(scope="module")
def tanh() -> PhaseDiagram:
    return gp.signal.phase_diagram("tanh")


def test_the_default_grid(tanh: PhaseDiagram) -> None:
    """It holds the edge of every row, and rows of columns of every number."""
    assert tanh.sigma_b[0] == 0.0
    assert tanh.sigma_w[0] < 1.0 < tanh.edge[-1].sigma_w < tanh.sigma_w[-1]
    for table in (tanh.chi1, tanh.fixed_point, tanh.correlation_depth):
        assert np.shape(table) == (len(tanh.sigma_b), len(tanh.sigma_w))
    assert [edge.sigma_b for edge in tanh.edge] == list(tanh.sigma_b)


def test_points_are_those_of_phase(tanh: PhaseDiagram) -> None:
    """chi1, fixed point and depth at twelve points drawn at random, as `phase` has them."""
    generator = np.random.default_rng(11)
    for _ in range(12):
        i, j = generator.integers(len(tanh.sigma_b)), generator.integers(len(tanh.sigma_w))
        point = gp.signal.phase("tanh", sigma_w=tanh.sigma_w[j], sigma_b=tanh.sigma_b[i])
        assert tanh.chi1[i][j] == pytest.approx(point.chi1, rel=1e-9)
        assert tanh.fixed_point[i][j] == pytest.approx(point.fixed_point, rel=1e-8)
        assert tanh.correlation_depth[i][j] == pytest.approx(point.correlation_depth, rel=1e-6)


def test_chi1_is_one_across_the_edge(tanh: PhaseDiagram) -> None:
    """In every row chi1 is under 1 left of the edge and above it to the right."""
    for row, edge in zip(tanh.chi1, tanh.edge, strict=True):
        for w, chi1 in zip(tanh.sigma_w, row, strict=True):
            assert (chi1 > 1) == (w > edge.sigma_w)


def test_relu_without_an_edge_in_most_rows() -> None:
    """Columns are taken around the one row that has an edge; NaN where there is none."""
    found = gp.signal.phase_diagram("relu", sigma_b=[0.0, 0.5])
    assert found.sigma_w[0] == pytest.approx(math.sqrt(2) / 2)
    assert math.isnan(found.edge[1].sigma_w)
    assert found.chi1[1] == pytest.approx([w * w / 2 for w in found.sigma_w], rel=1e-9)


def test_a_function_that_jumps() -> None:
    """chi1 is infinite all over; the depth of the correlation is had."""
    found = gp.signal.phase_diagram(torch.sign, sigma_w=[1.0, 2.0], sigma_b=[0.3])
    assert found.chi1 == ((math.inf, math.inf),)
    assert np.isfinite(found.correlation_depth).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sigma_w", []),
        ("sigma_w", [1.0, 1.0]),
        ("sigma_b", [0.1, -0.2]),
        ("sigma_b", [math.nan]),
        ("sigma_w", 3),
    ],
)
def test_refused(name: str, value: Any) -> None:
    """A grid that does not rise, by name."""
    with pytest.raises(ValueError, match=f"{name} must be rising finite numbers of at least 0; got"):
        gp.signal.phase_diagram("tanh", **{name: value})


def test_progress_is_told() -> None:
    """Settings done, from 0 to all of them."""
    told: list[tuple[int, int | None]] = []
    gp.signal.phase_diagram(
        "linear",
        sigma_w=[0.5, 0.7],
        sigma_b=[0.1, 0.2],
        progress=lambda _, done, total: told.append((done, total)),
    )
    assert told == [(0, 4), (2, 4), (4, 4)]


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["tanh", "relu", "hardtanh", "gelu", "sin", "sigmoid"]),
    exponent=st.floats(-12.0, 8.0),
)
def test_interpolated_moments(name: str, exponent: float) -> None:
    """Moments are those of the quadrature to 1e-11, where they are interpolated and where they are not."""
    v = [2.0**exponent]
    exact, found = Quadrature(activation(name)).moments(v), Tabulated(activation(name)).moments(v)
    assert found.second == pytest.approx(exact.second, rel=1e-11)
    assert found.slope == pytest.approx(exact.slope, rel=1e-11)
    assert found.growth == pytest.approx(exact.growth, rel=1e-10, abs=1e-11 * exact.second[0] / v[0])


def test_what_cannot_be_interpolated_is_integrated() -> None:
    """exp at variance 90, where moments grow by e^90 in an octave, and infinite slopes."""
    for given_, v in ((torch.exp, 90.0), (torch.sign, 1.0), (torch.log, 1.0)):
        exact, found = Quadrature(activation(given_)).moments([v]), Tabulated(activation(given_)).moments([v])
        np.testing.assert_array_equal(found.second, exact.second)
        np.testing.assert_array_equal(found.slope, exact.slope)
        assert found.reasons == exact.reasons


@pytest.mark.parametrize("c", [0.0, 0.3, 0.8, 0.97])
@pytest.mark.parametrize("v", [0.1, 1.0, 16.0])
@pytest.mark.parametrize("name", ["tanh", "relu", "sin", "hardtanh"])
def test_the_series_is_within_its_bound(name: str, v: float, c: float) -> None:
    """Against the integral over the plane; the bound is of the derivative too."""
    made = Quadrature(activation(name))
    power, plane = series(made, v, c), joint(made, v, v, c)
    assert abs(power.value - plane.value) <= power.error + 1e-11
    assert abs(power.growth - plane.growth) <= power.error + 1e-9
    if c <= 0.8:
        assert power.error < 1e-11

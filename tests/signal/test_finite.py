"""The Edge of Chaos at finite width."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import gaussprobe as gp
from gaussprobe.phases import FinitePhase
from gaussprobe.signal.weights import weibull_sd, weight_law

SIGMA_B = math.sqrt(0.013)


@pytest.fixture(scope="module")
def wide() -> FinitePhase:
    return gp.signal.finite_phase(
        "tanh", width=64, depth=15, sigma_w=[1.0, 1.15, 1.25, 1.4], sigma_b=SIGMA_B, draws=400, seed=5
    )


def test_wide_networks_have_the_infinite_edge(wide: FinitePhase) -> None:
    """Together under the edge, apart above it; correlations within 4 standard errors and O(1/n)."""
    assert [one.direction for one in wide.points] == ["together", "together", "apart", "apart"]
    assert wide.edge_low == 1.15
    assert wide.edge_high == 1.25
    assert wide.infinite is not None
    assert wide.edge_low < wide.infinite.sigma_w < wide.edge_high
    for point in wide.points:
        for c, low, high, exact in zip(
            point.correlation, point.low, point.high, point.predicted, strict=True
        ):
            # The O(1/n) is of the distance to 1: 4 / 64 of it.
            assert abs(c - exact) < 4 * (high - low) / 3.92 + 4 / 64 * (1 - exact)


def test_the_edge_is_between_points(wide: FinitePhase) -> None:
    """On the line between the growths at 1.15 and at 1.25, as for infinitely wide layers."""
    (_, one, other, _) = wide.points
    share = (1 - one.growth) / (other.growth - one.growth)
    assert wide.edge == pytest.approx(1.15 + share * 0.1)
    assert wide.edge_low < wide.predicted_edge < wide.edge_high


def test_points_are_those_of_propagate(wide: FinitePhase) -> None:
    """A point is what `propagate` finds from two inputs at the fixed point, to rounding."""
    v = gp.signal.phase("tanh", sigma_w=1.25, sigma_b=SIGMA_B).fixed_point
    square = (v - 0.013) / 1.25**2
    x = torch.tensor([[1.0, 0.0], [0.99, math.sqrt(1 - 0.99**2)]], dtype=torch.float64)
    found = gp.signal.propagate(
        "tanh",
        widths=[64] * 15,
        draws=400,
        sigma_w=1.25,
        sigma_b=SIGMA_B,
        seed=5,
        x=x * math.sqrt(2 * square),
    )
    assert wide.points[2].correlation == pytest.approx(tuple(found.correlation), rel=1e-6)


def test_the_fixed_point_is_where_it_starts(wide: FinitePhase) -> None:
    """The first layer's correlation is `(v c + (1 - c) b^2) / v` at the fixed point v."""
    for point in wide.points:
        v = gp.signal.phase("tanh", sigma_w=point.sigma_w, sigma_b=SIGMA_B).fixed_point
        assert point.predicted[0] == pytest.approx((v * 0.99 + 0.01 * 0.013) / v, rel=1e-9)


def test_relu_depends_on_no_weights() -> None:
    """Correlations of a ReLU without biases are the same at every sigma_w: there is no edge between."""
    found = gp.signal.finite_phase("relu", width=8, depth=6, draws=64)
    first, *others = found.points
    for one in others:
        assert one.correlation == pytest.approx(first.correlation, rel=1e-5)
    assert math.isnan(found.edge)
    assert [one.sigma_w for one in found.points][4] == pytest.approx(math.sqrt(2))


def test_weibull_weights_have_a_variance() -> None:
    """`Var W = Gamma(1 + 2 / theta)`, on 100,000 draws to 4 standard errors; edges shrink by its root."""
    spread = weibull_sd(3.0)
    assert spread is not None
    w = weight_law(("weibull", 3.0)).draw((100_000,), torch.Generator().manual_seed(2)).double()
    se = float(w.square().std()) / math.sqrt(100_000)
    assert abs(float(w.square().mean()) - spread**2) < 4 * se
    found = gp.signal.finite_phase(
        "tanh", width=4, depth=3, sigma_b=0.2, draws=16, weight=("weibull", 3.0), sigma_w=[1.0]
    )
    assert found.infinite is not None
    plain = gp.signal.edge_of_chaos("tanh", sigma_b=0.2)
    assert found.infinite.sigma_w == pytest.approx(plain.sigma_w / spread)
    assert found.weight == "weibull(3)"


def test_weights_of_ones_own() -> None:
    """Their variance is not known: no prediction, and sigma_w has to be given."""

    def signs(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        return torch.randint(0, 2, shape, generator=generator).float() * 2 - 1

    found = gp.signal.finite_phase("tanh", width=4, depth=3, sigma_w=[1.0, 1.5], draws=16, weight=signs)
    assert found.infinite is None
    assert all(math.isnan(c) for one in found.points for c in one.predicted)
    with pytest.raises(ValueError, match="sigma_w must be given, since the law of the weights has no known"):
        gp.signal.finite_phase("tanh", width=4, weight=signs)


def test_layers_that_are_zero() -> None:
    """A function that is 0 everywhere has no correlations: NaN, undetermined, with the reason."""
    found = gp.signal.finite_phase(lambda x: x * 0, width=4, depth=3, sigma_w=[1.0], draws=16)
    (point,) = found.points
    assert math.isnan(point.correlation[-1])
    assert point.direction == "undetermined"
    assert point.reason


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"width": 0}, "width must be an integer of at least 1; got 0"),
        ({"depth": 1}, "depth must be an integer of at least 2; got 1"),
        ({"sigma_w": [2.0, 1.0]}, "sigma_w must be rising"),
        ({"sigma_b": -1}, "sigma_b must be a finite number of at least 0; got -1"),
        ({"correlation": 2}, "correlation must be a number from -1 to 1; got 2"),
        ({"activation": "relu", "sigma_b": 0.5}, "sigma_w must be given, since chi1 is under 1"),
        ({"weight": "norml"}, "weight"),
        ({"weight": ("weibull", -1)}, "weight must be"),
        ({"draws": 2}, "draws"),
    ],
)
def test_refused(changed: dict[str, Any], message: str) -> None:
    """Arguments out of range, by name."""
    arguments: dict[str, Any] = {"activation": "tanh", "width": 4, "depth": 3, **changed}
    if "weight" in changed:
        arguments["sigma_w"] = [1.0]
    with pytest.raises(ValueError, match=message):
        gp.signal.finite_phase(arguments.pop("activation"), **arguments)

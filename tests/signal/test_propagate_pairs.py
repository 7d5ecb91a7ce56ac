"""Correlations of what random networks answer to two inputs."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.integrate import dblquad, quad

from gaussprobe import signal
from gaussprobe.errors import ConstantSampleWarning
from gaussprobe.propagated import Correlation
from gaussprobe.signal.correlations import GROUPS, correlations, products

ROOT_2 = math.sqrt(2)


def pair(correlation: float) -> npt.NDArray[np.float64]:
    """Two inputs of length sqrt 2, their cosine as given."""
    return ROOT_2 * np.array([[1, 0], [correlation, math.sqrt(1 - correlation**2)]])


def of(z: torch.Tensor, first: int = 0) -> Correlation:
    """Of one layer, from pre-activations `(networks, width, 2)`."""
    return correlations(products(z, first)[None], len(z))[0]


def is_near(one: Correlation, truth: float) -> bool:
    """Whether it lies within 4 standard errors: the interval, 2.02 of them, stretched."""
    return (
        one.correlation - 4 / 2.02 * (one.correlation - one.low)
        < truth
        < (one.correlation + 4 / 2.02 * (one.high - one.correlation))
    )


def test_by_hand() -> None:
    """Sums over networks and units, without a mean taken off; the cosine network by network."""
    z = torch.randn(137, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    a, b = z.numpy()[..., 0], z.numpy()[..., 1]
    found = of(z)
    assert found.correlation == pytest.approx((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))
    each = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    assert found.cosine == pytest.approx(each.mean())
    assert found.low < found.correlation < found.high


def test_chunks_add_up() -> None:
    """Wherever draws are cut, groups hold the same networks."""
    z = torch.randn(203, 4, 2, generator=torch.Generator().manual_seed(1))
    parts = sum(products(part, first) for first, part in ((0, z[:57]), (57, z[57:60]), (60, z[60:])))
    assert isinstance(parts, torch.Tensor)
    torch.testing.assert_close(parts, products(z, 0))
    one = products(z[:1], 77)
    assert one.sum(dim=1).nonzero().tolist() == [[77 % GROUPS]]


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.99])
def test_intervals_cover(correlation: float) -> None:
    """95 % of 400 samples of 300 normal pairs, four units each, have the truth in it: 4 standard errors."""
    source = torch.Generator().manual_seed(2)
    hits = 0
    for _ in range(400):
        a, rest = torch.randn(2, 300, 4, generator=source)
        z = torch.stack([a, correlation * a + math.sqrt(1 - correlation**2) * rest], dim=2)
        found = of(z)
        hits += found.low <= correlation <= found.high
        assert -1 <= found.low <= found.correlation <= found.high <= 1
    assert hits / 400 == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 400))


def test_linear_networks_keep_it() -> None:
    """Without biases the correlation of a linear network is that of the inputs at every depth."""
    found = signal.propagate("linear", widths=[20] * 6, draws=5_000, sigma_w=1.3, x=pair(0.3))
    for one in found.correlations:
        assert is_near(one, 0.3)
        assert one.high - one.low < 0.1
    assert found.correlation == pytest.approx([one.correlation for one in found.correlations])


@pytest.mark.parametrize("factor", [1.0, 3.0, -0.7])
def test_inputs_along_one_line(factor: float) -> None:
    """A linear network answers in proportion: +-1 to rounding, and no interval beyond it."""
    found = signal.propagate("linear", widths=[1, 5, 1], draws=100, x=[[1.0, 2.0], [factor, 2 * factor]])
    for one in found.correlations:
        assert one.correlation == pytest.approx(math.copysign(1, factor), abs=1e-9)
        assert one.cosine == pytest.approx(math.copysign(1, factor), abs=1e-9)
        assert -1 <= one.low <= one.high <= 1
        assert one.high - one.low < 1e-9


def test_relu_draws_inputs_together() -> None:
    """At width 300, layer 2 of ReLU has the correlation of the arc-cosine kernel, Cho & Saul (2009).

    `(sin t + (pi - t) cos t) / pi` with t the angle between the inputs.
    """
    angle = math.acos(0.2)
    expected = (math.sin(angle) + (math.pi - angle) * math.cos(angle)) / math.pi
    found = signal.propagate("relu", widths=[300, 20], draws=400, sigma_w=ROOT_2, x=pair(0.2))
    one = found.correlations[1]
    assert is_near(one, expected)
    assert one.high - one.low < 0.05


def test_biases_count() -> None:
    """In layer 1 it is `(sigma_w^2 x_a.x_b / d + sigma_b^2)` over the same of each input alone."""
    found = signal.propagate("tanh", widths=[10], draws=20_000, sigma_w=1.0, sigma_b=0.8, x=pair(-0.4))
    one = found.correlations[0]
    assert is_near(one, (-0.4 + 0.64) / (1 + 0.64))


def test_width_matters() -> None:
    """Width 1, tanh: layer 2 has `E tanh(u) tanh(v) / E tanh(u)^2`, by quadrature over normal pairs."""
    rho = 0.5
    root = math.sqrt(1 - rho**2)

    def normal(u: float) -> float:
        return math.exp(-u * u / 2) / math.sqrt(2 * math.pi)

    def integrand(r: float, u: float) -> float:
        return math.tanh(u) * math.tanh(rho * u + root * r) * normal(u) * normal(r)

    both = dblquad(integrand, -8, 8, -8, 8, epsabs=1e-4)[0]
    alone = quad(lambda u: math.tanh(u) ** 2 * normal(u), -8, 8)[0]
    found = signal.propagate("tanh", widths=[1, 1], draws=40_000, x=pair(rho))
    one = found.correlations[1]
    assert is_near(one, both / alone)


def test_laws_are_those_of_the_first_input() -> None:
    """A second input changes nothing of them."""
    x = np.array([[1.0, 2.0, -1.0], [0.3, 0.2, 0.1]])
    two = signal.propagate("tanh", widths=[5, 5], draws=300, x=x)
    one = signal.propagate("tanh", widths=[5, 5], draws=300, x=x[0])
    assert two.input_shape == (2, 3)
    assert one.correlations == ()
    assert two.sd == pytest.approx(one.sd, rel=1e-5)
    assert two.ks_distance == pytest.approx(one.ks_distance, abs=1e-5)
    with pytest.raises(AssertionError):
        assert two.sd == pytest.approx(
            signal.propagate("tanh", widths=[5, 5], draws=300, x=x[1]).sd, rel=1e-2
        )


# ---- what has no correlation ----


def test_an_input_of_nothing() -> None:
    """To x = 0, without biases, every answer is 0: NaN with the reason, and no warning of the other input."""
    found = signal.propagate("tanh", widths=[3, 3], draws=50, x=[[1.0, 1.0], [0.0, 0.0]])
    for one in found.correlations:
        assert math.isnan(one.correlation)
        assert math.isnan(one.low)
        assert math.isnan(one.cosine)
        assert one.n_undefined == 50
        assert "one of the inputs is 0" in one.reason


def test_networks_that_died_are_counted() -> None:
    """Of ReLU networks of width 1, a cosine has those that live on for both inputs, and it is 1 then."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantSampleWarning)
        found = signal.propagate("relu", widths=[1] * 30, draws=1_000, sigma_w=ROOT_2, x=[[1.0], [2.0]])
    second = found.correlations[1]
    assert second.cosine == 1
    assert second.n_undefined == pytest.approx(500, abs=4 * math.sqrt(250))
    assert found.correlations[-1].reason
    assert found.correlations[-1].n_undefined == 1_000


def test_a_group_that_holds_all() -> None:
    """Where one network alone is not 0, there is a correlation and no interval, and it is said."""
    z = torch.zeros(100, 2, 2)
    z[7] = torch.tensor([[1.0, 2.0], [0.5, 0.1]])
    found = of(z)
    assert 0 < found.correlation < 1
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert "no interval" in found.reason
    assert found.n_undefined == 99


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite(bad: float) -> None:
    """One value that is not finite is a reason."""
    z = torch.ones(100, 2, 2)
    z[3, 1, 0] = bad
    found = of(z)
    assert math.isnan(found.correlation)
    assert "NaN or infinite" in found.reason


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_scale_does_not_matter(size: float) -> None:
    """Squares of the smallest and the largest float32 values are in range."""
    z = torch.randn(100, 2, 2, generator=torch.Generator().manual_seed(3))
    assert of(z * size).correlation == pytest.approx(of(z).correlation, rel=1e-5)


@pytest.mark.parametrize("draws", [8, 39, 41])
def test_few_draws(draws: int) -> None:
    """With fewer draws than groups, every network is a group."""
    found: Any = signal.propagate("tanh", widths=[3], draws=draws, x=pair(0.5)).correlations[0]
    assert -1 <= found.low < found.correlation < found.high <= 1

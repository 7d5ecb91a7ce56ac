"""phi_theta as an activation."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

import gaussprobe as gp
from gaussprobe.nn import GaussianPreserving, preserving_cache, preserving_kernel, preserving_table
from gaussprobe.nn.preserving_table import Kind

KINDS: tuple[Kind, ...] = ("odd", "positive")
SPECIAL = torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0, 16.0, -16.0, 1e30, -1e30, -38.0, 40.0])


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("cache")
        patch.setenv("GAUSSPROBE_CACHE", str(path))
        yield path


def law_of_product(layer: GaussianPreserving, z: np.ndarray) -> np.ndarray:
    """P(W phi(X) <= z) by Gauss-Legendre quadrature over x."""
    node, weight = np.polynomial.legendre.leggauss(12)
    # Panels that shrink towards 0, where an odd phi is as small as z may be.
    edges = np.concatenate(([0.0], np.geomspace(1e-6, 12, 300)))
    width = np.diff(edges)[:, None] / 2
    x, by = (edges[:-1, None] + width * (node + 1)).ravel(), (width * weight).ravel()
    x, by = np.concatenate((x, -x)), np.tile(by * stats.norm.pdf(x), 2)
    y = np.abs(layer(torch.from_numpy(x)).numpy())
    with np.errstate(divide="ignore", over="ignore"):  # phi positive is 0 far left
        exceeds = np.exp(-((np.abs(z)[:, None] / y) ** layer.theta)) / 2
    beyond = exceeds @ by
    return np.where(z > 0, by.sum() - beyond, beyond)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("theta", [2.02, 2.05, 2.5, 3, 4, 5, 7, 10])
def test_product_is_normal(theta: float, kind: Kind) -> None:
    """sup|F_{W phi(X)} - Phi| is at most 1e-8: by quadrature of the module's float64 values."""
    layer = GaussianPreserving(theta, kind)
    z = np.concatenate((-np.linspace(0.05, 8, 100), np.geomspace(1e-4, 8, 300)))
    off = np.abs(law_of_product(layer, z) - special.ndtr(z)).max()
    assert off < 1e-8
    assert layer.law_error < 1e-8


def test_a_wrong_theta_shows() -> None:
    """The quadrature tells theta 3 from 3.01: it is no test that cannot fail."""
    layer, z = GaussianPreserving(3.0), np.linspace(1e-3, 8, 400)
    layer.theta = 3.01
    assert np.abs(law_of_product(layer, z) - special.ndtr(z)).max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("theta", [2.02, 3, 1e4])
def test_errors_are_what_they_say(theta: float, kind: Kind) -> None:
    """At points of a test's own the difference from the law is no larger than the table says, and tiny."""
    layer = GaussianPreserving(theta, kind)
    x = np.random.default_rng(3).uniform(-12, 15.9, 300)
    off = np.abs(layer(torch.from_numpy(x)).numpy() - preserving_table.exact(x, theta, kind)[0])
    assert off.max() <= 1.3 * layer.interpolation_error + 1e-15
    assert layer.interpolation_error < 1e-11
    far = np.geomspace(16.1, 5000, 100)
    relative = layer(torch.from_numpy(far)).numpy() / preserving_table.exact(far, theta, kind)[0] - 1
    assert np.abs(relative).max() <= 2 * layer.tail_error
    assert layer.tail_error < 3e-8


@pytest.mark.parametrize("theta", [2.02, 2.5, 10])
def test_left_tail_keeps_relative_accuracy(theta: float) -> None:
    """phi positive is Phi(x) / f(0) far left, digit for digit, as far as Phi(x) is a normal number."""
    x = np.linspace(-37, -7, 1001)
    found = GaussianPreserving(theta, "positive")(torch.from_numpy(x)).numpy()
    density = math.sqrt(2 / math.pi) * special.rgamma(1 - 1 / theta)
    np.testing.assert_allclose(found, np.exp(special.log_ndtr(x)) / density, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("theta", [2.02, 2.05, 3, 100, 1e4])
def test_float32(theta: float, kind: Kind) -> None:
    """Within 1e-6 of float64 for |x| <= 10."""
    layer, x = GaussianPreserving(theta, kind), torch.linspace(-10, 10, 400_001)
    assert (layer(x).double() - layer(x.double())).abs().max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("theta", [2.02, 2.05, 3, 10, 1e4, 1e308])
def test_monotone(theta: float, kind: Kind) -> None:
    """Over every join of pieces, and out to the largest number."""
    layer = GaussianPreserving(theta, kind)
    inner = torch.arange(-17 * 128, 17 * 128, dtype=torch.float64) / 128 + 1 / 301
    outer = torch.from_numpy(np.geomspace(15.9, 1e308, 20_001))
    assert (layer(inner).diff() > 0).all()
    assert (layer(outer).diff() > 0).all()
    if kind == "odd":
        assert torch.equal(layer(-outer), -layer(outer))


@settings(deadline=None, max_examples=60)
@given(x=st.floats(allow_nan=True, allow_infinity=True), theta=st.sampled_from([2.02, 3.0, 1e4]))
def test_any_number(x: float, theta: float) -> None:
    """Finite for finite, infinite for infinite, NaN for NaN; odd bit by bit, positive never below 0."""
    odd, positive = (GaussianPreserving(theta, kind) for kind in KINDS)
    given = torch.tensor(x, dtype=torch.float64)
    y, again, other = float(odd(given)), float(odd(-given)), float(positive(given))
    if math.isnan(x):
        assert math.isnan(y)
        assert math.isnan(other)
        return
    assert y == -again
    assert math.isinf(y) == math.isinf(x)
    assert other >= 0
    assert math.isinf(other) == (x == math.inf)


@pytest.mark.parametrize("kind", KINDS)
def test_ends(kind: Kind) -> None:
    """Limits at both infinities; an odd function is 0 at 0, with the sign of 0 lost or kept."""
    y = GaussianPreserving(3, kind)(torch.tensor([math.inf, -math.inf, 0.0]))
    assert y[0] == math.inf
    assert y[1] == (-math.inf if kind == "odd" else 0)
    assert (y[2] == 0) == (kind == "odd")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_blocks_do_as_the_formula(kind: Kind, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and slopes by blocks are those of the plain operations, also past the pieces."""
    monkeypatch.setattr(preserving_kernel, "BLOCK", 64)
    layer = GaussianPreserving(2.5, kind)
    x = torch.cat((torch.randn(1000, generator=torch.manual_seed(1)) * 8, SPECIAL)).to(dtype).requires_grad_()
    y = layer(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    expected, rise = preserving_kernel.value_and_slope(x, layer._constants(x))
    torch.testing.assert_close(y, expected, equal_nan=True)
    seen = ~x.isnan()
    torch.testing.assert_close(slope[seen], rise[seen])
    torch.testing.assert_close(layer(x.detach()), y.detach(), rtol=0, atol=0, equal_nan=True)
    assert slope[seen].isfinite().all()


SCRIPTED = "ignore:.torch.jit.script. is deprecated:DeprecationWarning"


@pytest.mark.filterwarnings(SCRIPTED)  # of torch itself, in forward mode
@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind: Kind) -> None:
    """First and second derivatives are those of the values, forward mode too."""
    layer = GaussianPreserving(2.5, kind)
    x = torch.tensor([-30.0, -17.0, -3.21, -0.7, 0.003, 0.4, 2.2, 15.9, 20.0], dtype=torch.float64)
    x.requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(layer, (x,))


@pytest.mark.parametrize("theta", [2.02, 3, 50])
def test_slope_at_zero(theta: float) -> None:
    """Of phi odd: `2 / sqrt(2 pi) / f(0) = Gamma(1 - 1/theta)`."""
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    GaussianPreserving(theta)(x).backward()
    assert x.grad is not None
    assert float(x.grad) == pytest.approx(math.gamma(1 - 1 / theta), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half(kind: Kind, dtype: torch.dtype) -> None:
    """Half types are worked out in float32 and rounded once; what becomes of the module changes no table."""
    layer = GaussianPreserving(3, kind)
    x = (torch.randn(500, generator=torch.manual_seed(2)) * 4).to(dtype)
    expected = layer(x.float()).to(dtype)
    for each in (layer, copy.deepcopy(layer).to(dtype), copy.deepcopy(layer).double()):
        assert torch.equal(each(x), expected)
    y = layer(x.requires_grad_())
    y.sum().backward()
    assert y.dtype == dtype
    assert x.grad is not None
    assert x.grad.dtype == dtype


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_layouts(kind: Kind) -> None:
    """Every shape and stride gives what the flat tensor gives, in its own memory format."""
    layer = GaussianPreserving(4, kind)
    x = torch.randn(4, 6, 5, 3, generator=torch.manual_seed(3))
    expected = layer(x.flatten()).view(x.shape)
    last = x.to(memory_format=torch.channels_last)
    assert torch.equal(layer(last), expected)
    assert layer(last).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(layer(x.transpose(0, 2)), expected.transpose(0, 2))
    assert torch.equal(layer(x[:, ::2, 1:, ::2]), expected[:, ::2, 1:, ::2])
    assert torch.equal(layer(x[:1].expand(7, 6, 5, 3)), expected[:1].expand(7, 6, 5, 3))
    assert layer(x[0, 0, 0, 0]) == expected[0, 0, 0, 0]
    for shape in ((0,), (3, 0, 2)):
        empty = torch.empty(shape, requires_grad=True)
        layer(empty).sum().backward()
        assert layer(empty).shape == shape


@pytest.mark.parametrize("x", [torch.ones(3, dtype=torch.int64), torch.ones(3, dtype=torch.bool), 1.0, None])
def test_inputs_refused(x: Any) -> None:
    """Integers are no pre-activations."""
    with pytest.raises(ValueError, match="x must be a floating-point tensor; got"):
        GaussianPreserving(3)(x)


@pytest.mark.parametrize("kind", ["even", "Odd", "", None, 1, ["odd"]])
def test_kinds_refused(kind: Any) -> None:
    """By name."""
    with pytest.raises(ValueError, match='kind must be "odd" or "positive"; got'):
        GaussianPreserving(3, kind)


def test_thetas_refused() -> None:
    """As the law says."""
    with pytest.raises(ValueError, match="theta must be a finite number above 2"):
        GaussianPreserving(2)


@pytest.mark.parametrize("kind", KINDS)
def test_copies(kind: Kind) -> None:
    """Copies, pickles and files, also those read by weights alone, are the same; the state is empty."""
    layer, x = GaussianPreserving(3, kind).eval(), torch.linspace(-4, 4, 99)
    file = io.BytesIO()
    torch.save(layer, file)
    assert len(file.getvalue()) < 4096
    file.seek(0)
    with torch.serialization.safe_globals(list(gp.nn.OURS)):
        read = torch.load(file, weights_only=True)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), read):
        assert torch.equal(other(x), layer(x))
        assert not other.training
        assert repr(other) == f"GaussianPreserving(theta=3.0, kind='{kind}')"
    assert layer.state_dict() == {}
    assert list(layer.parameters()) == list(layer.buffers()) == []


def test_a_pickle_cannot_bring_another_theta() -> None:
    """What a file says is checked like what is typed."""
    state = GaussianPreserving(3).__getstate__()
    with pytest.raises(ValueError, match="theta must be"):
        GaussianPreserving.__new__(GaussianPreserving).__setstate__({**state, "theta": 1.5})


def test_made_and_moved_without_memory() -> None:
    """On the meta device and back the tables are there."""
    x = torch.linspace(-4, 4, 9)
    with torch.device("meta"):
        layer = GaussianPreserving(3)
    expected = GaussianPreserving(3)(x)
    assert layer(torch.empty(3, device="meta")).shape == (3,)
    assert torch.equal(layer.to("meta").to_empty(device="cpu")(x), expected)


@pytest.mark.filterwarnings(SCRIPTED)
@pytest.mark.parametrize("kind", KINDS)
def test_transforms(kind: Kind) -> None:
    """vmap, grad, jvp and hessians of torch.func."""
    layer, x = GaussianPreserving(3, kind), torch.randn(4, 3, dtype=torch.float64)
    expected = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(layer(expected).sum(), expected)
    torch.testing.assert_close(torch.func.vmap(layer)(x), layer(x))
    found = torch.func.vmap(torch.func.grad(lambda row: layer(row).sum()))(x)
    torch.testing.assert_close(found, slope)
    torch.testing.assert_close(torch.func.jvp(layer, (x,), (torch.ones_like(x),))[1], slope)
    assert torch.func.hessian(lambda row: layer(row).sum())(x[0]).shape == (3, 3)


def test_in_a_model_that_is_opened(tmp_path: Path) -> None:
    """A model of a file may have the layer: it is opened without trust."""
    model = torch.nn.Sequential(torch.nn.Linear(8, 4), GaussianPreserving(3))
    torch.save(model, tmp_path / "model.pt")
    found = gp.scan(tmp_path / "model.pt", [torch.randn(64, 8)])
    assert found.scores[0].site == "0"


def test_two_layers_share_a_table() -> None:
    """It is read or built once in a process."""
    before = preserving_cache.table_of.cache_info().misses
    GaussianPreserving(7.125), GaussianPreserving(7.125)
    assert preserving_cache.table_of.cache_info().misses == before + 1

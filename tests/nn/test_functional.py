"""The functions behind the layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from gaussprobe.nn import blockwise, functional, transform
from gaussprobe.nn.functional import newton_lambda, normality_normalize, yeo_johnson
from tests.nn import paper

SKEWED = torch.randn(4, 3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).exp()


@pytest.mark.parametrize("lmbda", [-1.0, 0.0, 1e-9, 0.3, 1.0, 1.7, 2.0 - 1e-9, 2.0, 3.0])
def test_yeo_johnson_is_scipys(lmbda: float) -> None:
    """Against scipy.stats.yeojohnson (scipy 1.17.1) to 1e-12, at and near the two singular lambdas too."""
    x = np.concatenate([np.linspace(-6, 6, 41), [1e-12, -1e-12, 50.0, -50.0]])
    ours = yeo_johnson(torch.from_numpy(x), lmbda).numpy()
    np.testing.assert_allclose(ours, scipy.stats.yeojohnson(x, lmbda), rtol=1e-12, atol=1e-15)


def test_yeo_johnson_is_the_identity_at_1() -> None:
    """Bit for bit but for rounding, in float32 too."""
    x = torch.randn(1000) * 10
    torch.testing.assert_close(yeo_johnson(x, 1.0), x, rtol=3e-7, atol=1e-7)


def test_yeo_johnson_has_derivatives_everywhere() -> None:
    """First and second, with respect to both, where x or eta is 0 as well."""
    x = torch.tensor([-3.0, -1e-4, 0.0, 1e-4, 0.7, 4.0], dtype=torch.float64, requires_grad=True)
    for value in (0.0, 1e-6, 0.5, 1.0, 2.0, 2.4):
        lmbda = torch.full((6,), value, dtype=torch.float64, requires_grad=True)
        assert gradcheck(lambda a, b: yeo_johnson(a, b), (x, lmbda))
        assert gradgradcheck(lambda a, b: yeo_johnson(a, b), (x, lmbda), atol=1e-4)


def test_newton_lambda_is_a_newton_step_on_the_likelihood() -> None:
    """Against central differences of the likelihood itself, and the paper's closed form to 1e-12."""
    h = scipy.stats.zscore(np.random.default_rng(0).gamma(2.0, size=400))
    step = 1e-4
    low, mid, high = (paper.likelihood(h, 1 + d) for d in (-step, 0.0, step))
    slope, curvature = (high - low) / (2 * step), (high - 2 * mid + low) / step**2
    ours = float(newton_lambda(torch.from_numpy(h), 0))
    assert ours == pytest.approx(1 - slope / curvature, abs=1e-4)
    assert ours == pytest.approx(paper.newton(h), abs=1e-12)


@pytest.mark.parametrize("dims", [(0,), (0, 2, 3), (2, 3), (1, 2, 3), (3,), (0, 3), (1,)])
@pytest.mark.parametrize("alpha", [1.0, 0.4])
def test_is_the_papers(dims: tuple[int, ...], alpha: float) -> None:
    """Any dimensions against the formulas written out group by group, to 1e-10."""
    x = (0.5 * torch.randn(8, 9, 10, 11, dtype=torch.float64)).exp()
    ours, found = functional.normalize(x, dims, functional.How(strength=alpha))
    assert float(found.held.double().mean()) < 0.1  # of the smallest groups; the paper's step has no bounds
    groups = np.moveaxis(x.numpy(), dims, range(-len(dims), 0))
    flat = groups.reshape(-1, math.prod(x.shape[d] for d in dims))
    theirs = np.stack([paper.normalize(row, alpha=alpha, bounds=(-1, 3))[0] for row in flat]).reshape(
        groups.shape
    )
    back = np.moveaxis(theirs, range(-len(dims), 0), dims)
    np.testing.assert_allclose(ours.numpy(), back, atol=1e-10)


@pytest.mark.parametrize("dims", [(0, 2, 3), (2, 3), (1, 2, 3), (0, 2)])
@pytest.mark.parametrize("memory", ["contiguous", "channels_last", "strided"])
def test_the_kernel_is_the_definition(dims: tuple[int, ...], memory: str) -> None:
    """By hand and in plain torch: values, gradients of input, weight and bias to 1e-12, in any layout."""
    x = {
        "contiguous": SKEWED,
        "channels_last": SKEWED.contiguous(memory_format=torch.channels_last),
        "strided": SKEWED.repeat(1, 1, 1, 2)[..., ::2],
    }[memory].clone(memory_format=torch.preserve_format)
    shapes = ((1, 3, 1, 1), (5, 6) if dims == (2, 3) else (3, 5, 6) if dims == (1, 2, 3) else (1, 3, 1, 6))
    for shape in shapes:
        weight, bias = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(2))
        inputs = (x.requires_grad_(), weight, bias)
        ours = normality_normalize(x, dims, weight=weight, bias=bias)
        theirs, _ = transform.normalize(x, transform.means_over(dims), 1e-5, 1.0)
        theirs = theirs * weight + bias
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
        given = torch.randn_like(ours)
        for a, b in zip(
            torch.autograd.grad(ours, inputs, given), torch.autograd.grad(theirs, inputs, given), strict=True
        ):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worked through in pieces of one group or all at once: the same numbers."""
    x = torch.randn(7, 5, 4).exp().requires_grad_()
    weight = torch.randn(1, 5, 1, requires_grad=True)
    found = []
    for size in (1, 60, 2**19):
        monkeypatch.setattr(blockwise, "BLOCK", size)
        y = normality_normalize(x, (0, 2), weight=weight)
        found.append((y, *torch.autograd.grad(y.square().sum(), (x, weight))))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["plain", "weighted", "inner", "near singular"])
def test_gradients(kind: str) -> None:
    """gradcheck and gradgradcheck, of float64, also where lambda nears 0 and 2."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 4, 6, dtype=torch.float64, generator=generator)
    if kind == "near singular":  # exponential values have a lambda near .06
        x = -torch.rand(3, 4, 60, dtype=torch.float64, generator=generator).log()
        x[:, 1] *= -1
    x.requires_grad_()
    weight, bias = (torch.randn(4, 1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    if kind == "inner":
        weight, bias = (torch.randn(6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    dims = (2,) if kind == "inner" else (0, 2)

    def function(*inputs: torch.Tensor) -> torch.Tensor:
        return normality_normalize(inputs[0], dims, weight=inputs[1], bias=inputs[2])

    if kind in ("plain", "near singular"):
        lmbda = newton_lambda(_standardised(x.detach(), dims), dims)
        assert kind == "plain" or float(lmbda.min()) < 0.25 < 1.75 < float(lmbda.max())
        assert gradcheck(lambda a: normality_normalize(a, dims), (x,), fast_mode=True)
        assert gradgradcheck(lambda a: normality_normalize(a, dims), (x,), fast_mode=True)
        return
    assert gradcheck(function, (x, weight, bias))
    assert gradgradcheck(function, (x, weight, bias))


def _standardised(x: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    return (x - x.mean(dims, keepdim=True)) / x.std(dims, keepdim=True, correction=0)


@pytest.mark.parametrize("dims", [(1,), (2,), (0, 2)])
def test_gradients_may_come_in_any_layout(dims: tuple[int, ...]) -> None:
    """A transposed gradient is taken too, also where it is differentiated again."""
    x = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)

    def loss(value: torch.Tensor) -> torch.Tensor:
        return normality_normalize(value, dims).transpose(1, 2).contiguous().pow(3).sum()

    (first,) = torch.autograd.grad(loss(x), x)
    (again,) = torch.autograd.grad(loss(x), x, create_graph=True)
    torch.testing.assert_close(first, again)
    assert gradgradcheck(lambda value: normality_normalize(value, dims).transpose(1, 2), (x,), fast_mode=True)


def test_weights_that_come_of_the_input() -> None:
    """Gradients through weight and bias to the same input are counted once, with and without a graph."""
    x = torch.randn(5, 8, dtype=torch.float64, requires_grad=True)

    def function(value: torch.Tensor) -> torch.Tensor:
        return normality_normalize(value, 1, weight=value.mean(0), bias=value.sum(0)).pow(3)

    plain = torch.autograd.grad(function(x).sum(), x)[0]
    torch.testing.assert_close(plain, torch.autograd.grad(function(x).sum(), x, create_graph=True)[0])
    assert gradcheck(function, (x,))
    assert gradgradcheck(function, (x,))


def test_weights_within_groups_that_are_not_in_one_piece() -> None:
    """A bias that varies over some of the dimensions of a group, before and after the others."""
    x, bias = torch.randn(4, 3, 5), torch.randn(4, 1, 5)
    ours = normality_normalize(x, (0, 2), weight=bias, bias=bias)
    torch.testing.assert_close(ours, normality_normalize(x, (0, 2)) * bias + bias)


def test_strides_of_dimensions_of_one() -> None:
    """They may be anything."""
    x = torch.randn(2, 2, 2, 4)[:, :1].permute(2, 1, 0, 3)
    torch.testing.assert_close(normality_normalize(x, 2), normality_normalize(x.contiguous(), 2))


def test_strength_0_is_standardising() -> None:
    """lambda stays 1: values and gradients are batch_norm's to rounding."""
    x = torch.randn(16, 4, 9).exp().requires_grad_()
    ours = normality_normalize(x, (0, 2), strength=0.0)
    theirs = torch.nn.functional.batch_norm(x, None, None, training=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    given = torch.randn_like(x)
    a, b = (torch.autograd.grad(y, x, given)[0] for y in (ours, theirs))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_an_offset_of_a_million_costs_nothing() -> None:
    """float32 values 1e6 away from 0 are normalized as the values they are."""
    x = (torch.randn(4096, 8).exp() + 1e6).float()
    theirs = normality_normalize(x.double(), 0)
    assert float((normality_normalize(x, 0).double() - theirs).abs().max()) < 1e-5


def test_lambda_is_held_where_the_step_leads_nowhere() -> None:
    """A constant group, and one whose variance is far below eps, keep lambda within bounds and are finite."""
    x = torch.stack([torch.full((64,), 3.0), 1e-6 * torch.randn(64).exp(), torch.randn(64)], dim=1)
    y, found = functional.normalize(x, (0,), functional.How())
    assert bool(y.isfinite().all())
    assert float(found.lmbda[0, 0]) == 1
    assert bool(found.held[0, 0])
    assert not bool(found.held[0, 2])
    assert -1 <= float(found.lmbda.min()) <= float(found.lmbda.max()) <= 3


def test_a_held_lambda_has_no_gradient() -> None:
    """Where the step is cut off, the gradient is that of a fixed lambda."""
    x = torch.tensor([0.0] * 30 + [1e-3], dtype=torch.float64).repeat(2, 1).T.contiguous()
    y, found = functional.normalize(x, (0,), functional.How(eps=1e-4))
    assert bool(found.held.all())
    x.requires_grad_()
    mean = transform.means_over((0,))
    h, _, _ = transform.standardise(x, mean, 1e-4)
    fixed = transform.yeo_johnson(h, found.lmbda)
    torch.testing.assert_close(y, fixed.detach())
    given = torch.randn_like(x)
    ours = torch.autograd.grad(functional.normalize(x, (0,), functional.How(eps=1e-4))[0], x, given)
    torch.testing.assert_close(ours[0], torch.autograd.grad(fixed, x, given)[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_types_are_computed_in_float32(dtype: torch.dtype) -> None:
    """The result is float32's, rounded; the gradient has the type of the input."""
    x = torch.randn(64, 8).to(dtype).requires_grad_()
    y = normality_normalize(x, 0)
    assert y.dtype == dtype
    torch.testing.assert_close(y, normality_normalize(x.float(), 0).to(dtype))
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype


def test_gradients_of_short_types_with_a_graph() -> None:
    """Those that can be differentiated again are float32's, rounded, as those that cannot."""
    x = torch.randn(64, 8).to(torch.bfloat16).requires_grad_()
    given = torch.randn(64, 8).to(torch.bfloat16)
    found = [
        torch.autograd.grad(normality_normalize(x, 0), x, given, create_graph=graph)[0]
        for graph in (False, True)
    ]
    torch.testing.assert_close(*found, rtol=1e-2, atol=1e-3)


def test_noise_has_the_size_that_was_asked() -> None:
    """sd `noise * mean |y - mean y|` of each group within 1 % over 1e6 draws, for both kinds that add."""
    x = torch.randn(1_000_000, 2).exp()
    clean = normality_normalize(x, 0)
    size = (clean - clean.mean(0)).abs().mean(0)
    for kind, wanted in (("scaled", size), ("unscaled", torch.full((2,), math.sqrt(2 / math.pi)))):
        added = normality_normalize(x, 0, noise=0.4, noise_kind=kind) - clean  # type: ignore[arg-type]
        torch.testing.assert_close(added.std(0), 0.4 * wanted, rtol=0.01, atol=0)
        assert float(added.mean(0).abs().max()) < 4e-3 * 0.4


def test_dropout_noise_multiplies() -> None:
    """`y (1 + noise z)`: z is standard normal, and 0 stays 0."""
    x = torch.randn(500_000, 1)
    clean = normality_normalize(x, 0)
    z = (normality_normalize(x, 0, noise=0.3, noise_kind="gaussian_dropout") / clean - 1) / 0.3
    assert float(z.std()) == pytest.approx(1, abs=0.02)
    assert float(z.median()) == pytest.approx(0, abs=0.01)


def test_noise_is_normal_by_our_own_battery() -> None:
    """What is added passes the ten tests: no p-value of 20 columns below .05 / 200."""
    import gaussprobe as gp

    torch.manual_seed(11)
    x = torch.randn(2048, 20).exp()
    added = normality_normalize(x, 0, noise=0.4) - normality_normalize(x, 0)
    found = gp.stats.battery(added)
    assert min(float(result.pvalue.min()) for result in found.values()) > 0.05 / 200


@pytest.mark.parametrize("kind", ["scaled", "unscaled", "gaussian_dropout"])
def test_noise_follows_the_seed(kind: Any) -> None:
    """`torch.manual_seed` makes it again."""
    x = torch.randn(64, 3)
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        found.append(normality_normalize(x, 0, noise=0.5, noise_kind=kind))
    assert torch.equal(*found)
    assert not torch.equal(found[0], normality_normalize(x, 0, noise=0.5, noise_kind=kind))


def test_noise_has_no_gradient_through_its_size() -> None:
    """The gradient of the input is the one without noise; a weight learns from noisy values."""
    x = torch.randn(50, 3, dtype=torch.float64).exp().requires_grad_()
    weight = torch.randn(1, 3, dtype=torch.float64, requires_grad=True)
    given = torch.randn(50, 3, dtype=torch.float64)
    clean = torch.autograd.grad(normality_normalize(x, 0, weight=weight), (x, weight), given)
    y = normality_normalize(x, 0, noise=1.0, weight=weight)
    noisy = torch.autograd.grad(y, (x, weight), given)
    torch.testing.assert_close(clean[0], noisy[0])
    torch.testing.assert_close(noisy[1], ((y / weight).detach() * given).sum(0, keepdim=True))


@pytest.mark.parametrize(("noise", "limit"), [(0.0, 1.1), (0.4, 2.1)])
def test_saved_for_backward(noise: float, limit: float) -> None:
    """What the graph keeps, over the size of the input: the input, and with noise one more."""
    for x, dims, weight in (
        (torch.randn(16, 8, 16, 16), (0, 2, 3), torch.randn(1, 8, 1, 1)),
        (torch.randn(8, 32, 384), (2,), torch.randn(384)),
    ):
        kept: dict[int, int] = {}

        def pack(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        x.requires_grad_()
        weight.requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            normality_normalize(x, dims, noise=noise, weight=weight, bias=weight.detach())
        assert sum(kept.values()) <= limit * x.untyped_storage().nbytes()


@settings(max_examples=1000, deadline=None)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    data=st.data(),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    scale=st.sampled_from([1e-6, 1e-3, 1.0, 1e3, 1e6]),
    offset=st.sampled_from([0.0, 1.0, -1e3, 1e6]),
    spoilt=st.sampled_from(["nothing", "constant", "outlier", "zeros"]),
    noise=st.sampled_from([0.0, 0.7]),
)
def test_anything_finite_stays_finite(
    shape: list[int],
    data: st.DataObject,
    dtype: torch.dtype,
    scale: float,
    offset: float,
    spoilt: str,
    noise: float,
) -> None:
    """Random shapes, types, scales and offsets, constant and outlying groups: finite, of the input's type."""
    dims = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    x = torch.randn(shape, dtype=torch.float64) * scale + offset
    if spoilt == "constant":
        x[...] = offset
    elif spoilt == "zeros":
        x[x > offset] = 0.0
    elif spoilt == "outlier":
        x.view(-1)[0] = offset + 1e4 * scale
    x = x.to(dtype)
    x = torch.where(x.isfinite(), x, 1.0).requires_grad_()
    if len(shape) == 4 and data.draw(st.booleans()):
        x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    y = normality_normalize(x, tuple(dims), noise=noise)
    assert (y.dtype, y.shape) == (dtype, x.shape)
    assert y.stride() == torch.empty_like(x).stride()
    assert bool(y.isfinite().all())
    (grad,) = torch.autograd.grad(y.float().square().sum(), x)
    assert grad.dtype == dtype
    assert bool(grad.isfinite().all()) or dtype == torch.float16  # whose range ends at 65,504


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"noise": -0.1}, "noise must be finite and not negative; got -0.1"),
        ({"noise": math.nan}, "noise must be finite"),
        ({"strength": 1.5}, "strength must lie between 0 and 1; got 1.5"),
        ({"strength": -1e-9}, "strength must lie between 0 and 1"),
        ({"eps": -1.0}, "eps must not be negative"),
        (
            {"noise_kind": "uniform"},
            "noise_kind must be one of scaled, unscaled, gaussian_dropout; got 'uniform'",
        ),
        ({"dim": 3}, r"dim must be distinct dimensions of x of shape \(4, 3\); got 3"),
        ({"dim": (0, 0)}, "dim must be distinct"),
        ({"dim": ()}, "dim must be distinct"),
    ],
)
def test_bad_arguments(options: dict[str, Any], said: str) -> None:
    """Each is named, with the requirement and what came."""
    with pytest.raises(ValueError, match=said):
        normality_normalize(torch.randn(4, 3), **({"dim": 0} | options))


def test_whole_numbers_are_refused() -> None:
    """They have no normal scores."""
    for function in (
        lambda x: normality_normalize(x, 0),
        lambda x: newton_lambda(x, 0),
        lambda x: yeo_johnson(x, 1),
    ):
        with pytest.raises(ValueError, match="x must be a floating-point tensor"):
            function(torch.arange(5))

"""Layers under compilers and exporters."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gaussprobe as gp
from gaussprobe.errors import GaussprobeWarning
from gaussprobe.nn import compiled, functional, traced, transform
from tests import needs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

HOW = traced.How(dims=(0, 2), eps=1e-5, strength=1.0, noise=0.0, scaled=True)


@pytest.fixture(autouse=True)
def no_hook_left() -> None:
    """Not asked here: compilers and exporters hold hooks of their own."""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing compiled is left for another test."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    compiled._made.clear()
    compiled._broken = False


def network() -> nn.Module:
    """Layers of every kind."""
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        gp.nn.BatchNormalNorm2d(8),
        gp.nn.InstanceNormalNorm2d(8, affine=True),
        gp.nn.GroupNormalNorm(2, 8),
        nn.Flatten(2),
        gp.nn.LayerNormalNorm(36),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_traced_formulas_are_the_definition(dtype: torch.dtype) -> None:
    """Run as they are: values and gradients are those of `transform`, near singular lambdas too."""
    x = -torch.rand(40, 3, 30, dtype=dtype).log()
    x[:, 1] *= -1
    x.requires_grad_()
    weight, bias = (torch.randn(1, 3, 1, dtype=dtype, requires_grad=True) for _ in range(2))
    ours, found = traced.normalize(x, weight, bias, HOW)
    plain, theirs = transform.normalize(x, transform.means_over((0, 2)), 1e-5, 1.0)
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-10}
    torch.testing.assert_close(ours, plain * weight + bias, **tolerance)
    torch.testing.assert_close(found.lmbda, theirs.lmbda.detach(), **tolerance)
    given = torch.randn_like(x)
    for a, b in zip(
        torch.autograd.grad(ours, (x, weight, bias), given),
        torch.autograd.grad(plain * weight + bias, (x, weight, bias), given),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=10 * tolerance["rtol"], atol=10 * tolerance["atol"])


def test_the_traced_formulas_have_second_derivatives() -> None:
    """gradcheck and gradgradcheck."""
    x = torch.randn(4, 3, 5, dtype=torch.float64).exp().requires_grad_()
    weight = torch.randn(1, 3, 1, dtype=torch.float64, requires_grad=True)

    def function(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return traced.normalize(a, b, None, HOW)[0]

    assert torch.autograd.gradcheck(function, (x, weight))
    assert torch.autograd.gradgradcheck(function, (x, weight))


def test_hashed_noise_is_standard_normal() -> None:
    """A million values: moments, the ten tests on columns of it, no correlation of neighbours; by seed."""
    torch.manual_seed(1)
    z = traced.hashed_noise(torch.empty(2**20))
    torch.manual_seed(1)
    assert torch.equal(z, traced.hashed_noise(torch.empty(2**20)))
    assert not torch.equal(z, traced.hashed_noise(torch.empty(2**20)))
    assert abs(float(z.mean())) < 4e-3
    assert float(z.std()) == pytest.approx(1, abs=3e-3)
    for lag in (1, 2, 64, 1024):
        assert abs(float((z[lag:] * z[:-lag]).mean())) < 4e-3
    first, second = z.view(2, -1)  # made of the same radii
    assert abs(float((first * second).mean())) < 6e-3
    assert abs(float(((first**2 - 1) * (second**2 - 1)).mean())) < 1.2e-2
    found = gp.stats.battery(z.view(2**13, 128))
    for name, result in found.items():
        assert float(result.pvalue.min()) > 1e-3 / 128, name
        assert 0.0 <= float((result.pvalue < 0.05).double().mean()) < 0.13, name


def test_hashed_noise_of_any_count() -> None:
    """Odd counts, one value, none, other types and shapes."""
    for shape in ((7,), (1,), (0,), (3, 5, 7), ()):
        assert traced.hashed_noise(torch.empty(shape)).shape == shape
    assert traced.hashed_noise(torch.empty(3, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert traced.hashed_noise(torch.empty(9)).unique().numel() == 9


def test_compile_option() -> None:
    """`compile=True`: values and gradients of the eager layer to rounding, noise of its size, by seed."""
    x = torch.randn(16, 8, 9, 9).exp()
    eager = gp.nn.BatchNormalNorm2d(8, noise=0.0)
    layer = gp.nn.BatchNormalNorm2d(8, noise=0.0, compile=True)
    found = []
    for each in (eager, layer):
        value = x.clone().requires_grad_()
        y = each(value)
        y.square().mul(torch.linspace(0, 1, 9)).sum().backward()
        found.append((y.detach(), value.grad, each.weight.grad, each.running_lambda))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    noisy = copy.deepcopy(layer)
    noisy.noise = 0.4
    torch.manual_seed(3)
    first = noisy(x)
    torch.manual_seed(3)
    assert torch.equal(first, noisy(x))
    clean = layer(x)
    size = (clean - clean.mean((0, 2, 3), keepdim=True)).abs().mean((0, 2, 3))
    torch.testing.assert_close((first - clean).std((0, 2, 3)), 0.4 * size, rtol=0.1, atol=0)


def test_many_shapes_are_all_compiled() -> None:
    """More than torch's limit of eight for one function."""
    layer = gp.nn.LayerNormalNorm(6, compile=True, noise=0.0)
    for n in range(2, 14):
        x = torch.randn(n, 6)
        torch.testing.assert_close(layer(x), functional.normality_normalize(x, 1), rtol=1e-4, atol=1e-5)
    assert len(compiled._made) == 12


def test_a_compiler_that_fails_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer goes on without."""

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no C++ compiler\nmany lines")

    monkeypatch.setattr(torch, "compile", broken)
    layer, x = gp.nn.LayerNormalNorm(6, compile=True, noise=0.0), torch.randn(5, 6, requires_grad=True)
    with pytest.warns(GaussprobeWarning, match=r"torch.compile failed \(RuntimeError: no C\+\+ compiler\)"):
        layer(x).sum().backward()
    monkeypatch.delattr(traced, "normalize")  # from now on the eager kernel
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(x)


def test_what_a_compiler_says_of_itself_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deprecations within torch, where warnings are errors."""

    def talkative(function: Any, **_: Any) -> Any:
        warnings.warn("old", DeprecationWarning, stacklevel=2)
        return function

    monkeypatch.setattr(torch, "compile", talkative)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gp.nn.LayerNormalNorm(6, compile=True)(torch.randn(5, 6))
    assert compiled.works()


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
def test_a_users_compile_has_no_break(training: bool) -> None:
    """`torch.compile(model, fullgraph=True)`: trains and evaluates; without noise as the eager model."""
    model = network().train(training)
    for layer in model:
        if hasattr(layer, "noise"):
            layer.noise = 0.0
    other = copy.deepcopy(model)
    whole = torch.compile(other, fullgraph=True)
    x = torch.randn(4, 3, 8, 8).exp()
    y = whole(x)
    torch.testing.assert_close(y, model(x), rtol=1e-3, atol=1e-3)
    y.square().sum().backward()
    model(x).square().sum().backward()
    for (name, p), q in zip(other.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-2, atol=1e-2, msg=name)


@pytest.mark.slow
def test_a_users_compile_makes_noise() -> None:
    """Other noise from call to call, the same for the same seed."""
    whole = torch.compile(network().train(), fullgraph=True)
    x = torch.randn(4, 3, 8, 8)
    torch.manual_seed(1)
    first = whole(x)
    assert not torch.equal(first, whole(x))


def test_export() -> None:
    """`torch.export` in evaluation: the values of the eager model."""
    model = network().train()
    model(torch.randn(8, 3, 8, 8).exp())
    model.eval()
    x = torch.randn(4, 3, 8, 8)
    program = torch.export.export(model, (x,))
    torch.testing.assert_close(program.module()(x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_onnx(tmp_path: Path) -> None:
    """ONNX by `dynamo=True` in evaluation, run by the reference implementation."""
    onnx = needs.package("onnx")
    needs.package("onnxscript")
    from onnx.reference import ReferenceEvaluator

    model = network().train()
    model(torch.randn(8, 3, 8, 8).exp())
    model.eval()
    x = torch.randn(4, 3, 8, 8)
    path = tmp_path / "model.onnx"
    torch.onnx.export(model, (x,), path, dynamo=True, verbose=False)
    graph = ReferenceEvaluator(onnx.load(path))
    (found,) = graph.run(None, {graph.input_names[0]: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), model(x), rtol=1e-4, atol=1e-4)


def test_transforms_of_functions() -> None:
    """vmap and functional_call go through the plain formulas."""
    layer = gp.nn.LayerNormalNorm(6, noise=0.0)
    x = torch.randn(3, 5, 6)
    found = torch.func.vmap(lambda value: layer(value))(x)
    torch.testing.assert_close(found, layer(x), rtol=1e-4, atol=1e-5)

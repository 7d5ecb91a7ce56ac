"""Decorrelated batch normalization with the power transform."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch

import gaussprobe as gp
from gaussprobe.nn.decorrelated import inverse_root
from tests.nn import paper

Layer = gp.nn.DecorrelatedBatchNormalNorm2d


def correlated(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Skewed channels that share a factor."""
    x = (0.5 * torch.randn(shape, dtype=dtype)).exp()
    return x + 0.7 * torch.randn((shape[0], 1, *shape[2:]), dtype=dtype)


def test_inverse_root_is_scipys() -> None:
    """Against scipy.linalg.fractional_matrix_power (scipy 1.17.1)."""
    a = np.random.default_rng(1).normal(size=(5, 5))
    matrix = a @ a.T + 0.1 * np.eye(5)
    wanted = scipy.linalg.fractional_matrix_power(matrix, -0.5)
    np.testing.assert_allclose(inverse_root(torch.from_numpy(matrix)).numpy(), wanted, rtol=1e-9)


@pytest.mark.parametrize("eigenvalues", [(1.0, 2.0, 5.0), (1.0, 1.0, 3.0), (2.0, 2.0, 2.0)])
def test_inverse_root_has_derivatives(eigenvalues: tuple[float, ...]) -> None:
    """First and second, also where eigenvalues coincide."""
    vectors = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    matrix = (vectors * torch.tensor(eigenvalues, dtype=torch.float64)) @ vectors.T
    matrix.requires_grad_()

    def function(m: torch.Tensor) -> torch.Tensor:
        return inverse_root((m + m.T) / 2)

    assert torch.autograd.gradcheck(function, (matrix,))
    assert torch.autograd.gradgradcheck(function, (matrix,))


def test_training_is_the_papers_formulas() -> None:
    """ZCA within groups of channels, then the transform channel by channel, to 1e-9."""
    layer = Layer(6, group_size=3, noise=0.0, dtype=torch.float64).train()
    x = correlated(8, 6, 5, 4)
    flat = x.transpose(0, 1).reshape(6, -1).numpy()
    wanted = np.empty_like(flat)
    for first in (0, 3):
        group = flat[first : first + 3]
        centred = group - group.mean(1, keepdims=True)
        covariance = centred @ centred.T / centred.shape[1] + 1e-5 * np.eye(3)
        h = scipy.linalg.fractional_matrix_power(covariance, -0.5) @ centred
        wanted[first : first + 3] = [paper.psi(row, paper.newton(row)) for row in h]
    back = torch.from_numpy(wanted).reshape(6, 8, 5, 4).transpose(0, 1)
    torch.testing.assert_close(layer(x), back, rtol=0, atol=1e-9)


def test_gradients() -> None:
    """gradcheck and gradgradcheck in training and evaluation."""
    layer = Layer(4, group_size=2, noise=0.0, dtype=torch.float64)
    x = correlated(4, 4, 3, 2).requires_grad_()
    layer(x)
    for mode in (True, False):
        layer.train(mode)
        assert torch.autograd.gradcheck(layer, (x,), fast_mode=True)
        assert torch.autograd.gradgradcheck(layer, (x,), fast_mode=True)


def test_channels_are_decorrelated() -> None:
    """With strength 0 their covariance within a group is the identity, less what eps takes."""
    layer = Layer(6, noise=0.0, strength=0.0).train()
    y = layer(correlated(32, 6, 8, 8, dtype=torch.float32)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.cov(y, correction=0), torch.eye(6), atol=1e-3, rtol=0)


@pytest.mark.parametrize("momentum", [0.5, None])
def test_running_averages(momentum: float | None) -> None:
    """In place; evaluation whitens by the average matrix, without noise."""
    layer = Layer(4, momentum=momentum).train()
    buffers = {key: buffer.data_ptr() for key, buffer in layer.named_buffers()}
    lambdas = []
    for _ in range(3):
        layer(correlated(16, 4, 4, 4, dtype=torch.float32))
        lambdas.append(layer.last_lambda.flatten())
    assert {key: buffer.data_ptr() for key, buffer in layer.named_buffers()} == buffers
    assert int(layer.num_batches_tracked) == 3
    wanted = sum(lambdas) / 3
    if momentum is not None:
        wanted = torch.ones(4)
        for lmbda in lambdas:
            wanted = 0.5 * wanted + 0.5 * lmbda
    torch.testing.assert_close(layer.running_lambda, wanted)
    x = correlated(16, 4, 4, 4, dtype=torch.float32)
    layer.eval()
    flat = (x - layer.running_mean.view(1, 4, 1, 1)).transpose(0, 1).flatten(1)
    h = (layer.running_whitening[0] @ flat).reshape(4, 16, 4, 4).transpose(0, 1)
    wanted = gp.nn.functional.yeo_johnson(h, layer.running_lambda.view(1, 4, 1, 1))
    torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-5)
    other = Layer(4, momentum=momentum)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.eval()(x), layer(x))
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_types_and_hard_cases(dtype: torch.dtype) -> None:
    """Short types come back as they went in; constant and duplicate channels stay finite."""
    x = correlated(8, 4, 5, 5).to(dtype)
    x[:, 1] = 2.0
    x[:, 3] = x[:, 2]
    x.requires_grad_()
    y = Layer(4)(x)
    assert y.dtype == dtype
    (grad,) = torch.autograd.grad(y.float().square().sum(), x)
    assert bool(y.isfinite().all())
    assert bool(grad.isfinite().all())


def test_autocast() -> None:
    """Whitening stays in float32."""
    layer, x = Layer(16, noise=0.0), correlated(32, 16, 8, 8, dtype=torch.float32)
    plain = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), plain)


def test_it_is_a_normalization_to_the_scan() -> None:
    """Its output is a site of the kind `norm`."""
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), Layer(4)).train()
    run = gp.scan(model, torch.randn(64, 2, 6, 6))
    assert {score.site: score.kind for score in run.scores}["1"] == ("norm",)


@pytest.mark.parametrize(
    ("shape", "error", "said"),
    [
        ((2, 4, 3), ValueError, r"expected 4D input \(got 3D input\)"),
        ((2, 5, 3, 3), RuntimeError, "should contain 5 elements not 4"),
        ((1, 4, 1, 1), ValueError, "Expected more than 1 value per channel when training"),
    ],
)
def test_bad_input(shape: tuple[int, ...], error: type[Exception], said: str) -> None:
    """Named as torch.nn does."""
    with pytest.raises(error, match=said):
        Layer(4)(torch.randn(shape))


@pytest.mark.parametrize("bad", [{"group_size": 3}, {"group_size": 0}, {"noise": -1.0}, {"strength": 3.0}])
def test_bad_options(bad: dict[str, Any]) -> None:
    """Refused when the layer is made."""
    with pytest.raises(ValueError, match=next(iter(bad))):
        Layer(4, **bad)

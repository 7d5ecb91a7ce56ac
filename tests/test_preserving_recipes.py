"""Recipes that hold activations and their laws of weights side by side."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import nn

import gaussprobe as gp
from gaussprobe import recipes
from gaussprobe.recipes import ACTIVATIONS, RECIPES, initialized


def layers(model: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    return [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def scaled(layer: nn.Linear | nn.Conv2d) -> torch.Tensor:
    """Weights without the division by the root of fan-in."""
    return layer.weight.detach().flatten() * math.sqrt(layer.weight[0].numel())


@pytest.mark.parametrize("name", ["plain-cnn", "narrow-mlp"])
def test_plain_networks_are_on_the_edge_of_relu(name: str) -> None:
    """Every weight is normal with variance 2 over fan-in, every bias 0, and nothing normalizes."""
    model = RECIPES[name].build()
    assert not any(isinstance(m, nn.modules.batchnorm._NormBase | nn.LayerNorm) for m in model.modules())
    every = torch.cat([scaled(layer) for layer in layers(model)])
    assert stats.kstest(every.numpy(), "norm", args=(0, math.sqrt(2))).pvalue > 1e-4
    assert all(layer.bias is not None and not layer.bias.any() for layer in layers(model))


def test_what_the_networks_are() -> None:
    """The CNN is mnist5k-cnn without its norms; the MLP has 20 hidden layers of 10 units."""
    normalized = [m for m in recipes.build_mnist5k_cnn() if not isinstance(m, nn.BatchNorm2d)]
    plain = list(recipes.build_plain_cnn())
    assert [type(m) for m in plain] == [type(m) for m in normalized]
    assert [layer.weight.shape for layer in layers(recipes.build_plain_cnn())] == [
        m.weight.shape for m in normalized if isinstance(m, nn.Linear | nn.Conv2d)
    ]
    narrow = layers(recipes.build_narrow_mlp())
    assert [layer.weight.shape[0] for layer in narrow] == [10] * 21


@pytest.mark.parametrize("setting", ACTIVATIONS)
@pytest.mark.parametrize("name", ["plain-cnn", "narrow-mlp"])
def test_settings(name: str, setting: str) -> None:
    """No other activation is left, and of each setting ten scores come out."""
    change = RECIPES[name].settings[setting]
    model = RECIPES[name].build()
    model = model if change is None else change(model)
    assert isinstance(model, nn.Module)
    kinds = {type(m) for m in model.modules() if isinstance(m, nn.ReLU | nn.Tanh | gp.nn.GaussianPreserving)}
    expected = {"ReLU": nn.ReLU, "tanh": nn.Tanh}.get(setting, gp.nn.GaussianPreserving)
    assert kinds == {expected}
    assert model(torch.randn(3, 1, 28, 28)).shape == (3, 10)


def test_laws_of_weights() -> None:
    """The first layer is normal, later ones of the Weibull law, each divided by the root of fan-in."""
    model = initialized(recipes.build_plain_cnn(), activation=nn.Tanh, sigma_w=1.5, sigma_b=0.3, theta=3.0)
    first, *later = layers(model)
    assert stats.kstest(scaled(first).numpy(), "norm", args=(0, 1.5)).pvalue > 1e-4
    for layer in later:
        weights = scaled(layer).numpy() / 1.5
        assert stats.kstest(abs(weights), "weibull_min", args=(3.0,)).pvalue > 1e-4
        assert stats.binomtest(int((weights > 0).sum()), weights.size).pvalue > 1e-4
    biases = torch.cat([layer.bias.detach() for layer in layers(model) if layer.bias is not None])
    assert stats.kstest(biases.numpy(), "norm", args=(0, 0.3)).pvalue > 1e-4


def test_normal_weights_without_theta() -> None:
    """All layers are normal then, and biases stay 0."""
    model = initialized(recipes.build_narrow_mlp(), activation=nn.Tanh, sigma_w=1.2)
    every = torch.cat([scaled(layer) for layer in layers(model)])
    assert stats.kstest(every.numpy(), "norm", args=(0, 1.2)).pvalue > 1e-4
    assert not any(layer.bias.any() for layer in layers(model) if layer.bias is not None)


def test_the_second_layer_is_normal_over_initializations() -> None:
    """With phi_theta and its Weibull weights, as the construction promises; with tanh and theirs it is not.

    The first layer's law is N(0, 1) where the input has mean square 1; 2,000 networks.
    """
    x = torch.ones(1, 4)

    def second(activation: nn.Module) -> torch.Tensor:
        values = []
        for _ in range(2000):
            model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
            values.append(initialized(model, activation=lambda: activation, theta=3.0)(x).detach()[0, 0])
        return torch.stack(values)

    torch.manual_seed(1)
    assert gp.stats.kstest(second(gp.nn.GaussianPreserving(3.0, kind="odd"))).pvalue > 1e-3
    assert gp.stats.kstest(second(nn.Tanh())).pvalue < 1e-6

"""Settings of networks without normalization layers: an activation, and the law of weights it asks for."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from gaussprobe.nn import GaussianPreserving, init
from gaussprobe.nn.preserving_table import Kind
from gaussprobe.trials.trial import Setting

# tanh is on the edge of chaos with these: Wolinski & Arbel (2025) have 1.46 and .013.
_TANH_WEIGHTS, _TANH_BIASES = math.sqrt(1.46596), math.sqrt(0.013)


@torch.no_grad()
def initialized(
    model: nn.Module,
    *,
    activation: Callable[[], nn.Module],
    sigma_w: float = 1.0,
    sigma_b: float = 0.0,
    theta: float | None = None,
) -> nn.Module:
    """Put an activation in the place of every ReLU, and draw all weights and biases anew, in place.

    Weights are `sigma_w W / sqrt(fan_in)`, biases `sigma_b b`, b standard normal. W is standard normal in the
    first layer; in later ones too, or of the symmetric Weibull law W(theta, 1).

    Args:
        model: of linear layers and convolutions, registered in the order in which they run.
        activation: makes one.
        sigma_w, sigma_b: standard deviations for normal weights and biases.
        theta: of the Weibull law; None for normal weights.

    Returns:
        The model.

    Reference:
        Wolinski & Arbel (2025), TMLR, arXiv:2205.12379.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.ReLU):
            model.set_submodule(name, activation())
    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    for number, layer in enumerate(layers):
        if theta is None or number == 0:
            nn.init.normal_(layer.weight)
        else:
            init.symmetric_weibull_(layer.weight, theta)
        layer.weight.mul_(sigma_w / math.sqrt(layer.weight[0].numel()))
        if layer.bias is not None:
            nn.init.normal_(layer.bias, std=sigma_b)
    return model


def _preserving(theta: float, kind: Kind) -> Setting:
    return partial(initialized, activation=partial(GaussianPreserving, theta, kind=kind), theta=theta)


# The plain one first; phi's thetas are the ends and the middle of those in the paper.
ACTIVATIONS: dict[str, Setting] = {
    "ReLU": None,
    "tanh": partial(initialized, activation=nn.Tanh, sigma_w=_TANH_WEIGHTS, sigma_b=_TANH_BIASES),
    "phi odd 2.05": _preserving(2.05, "odd"),
    "phi odd 4": _preserving(4.0, "odd"),
    "phi odd 10": _preserving(10.0, "odd"),
    "phi positive 4": _preserving(4.0, "positive"),
}

"""Hand-written activations as one site."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gaussprobe.capture.elementwise import acts_elementwise, is_candidate
from gaussprobe.nn import GaussianPreserving
from tests.capture.test_recorder import record


class TanhGelu(nn.Module):
    """GELU spelled out, as language models do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3))
        return 0.5 * x * (1 + torch.tanh(inner))


class ChannelSwish(nn.Module):
    """Swish with a slope for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.slope * x)


class OfFunction(nn.Module):
    """A module of one function."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (TanhGelu(), True),
        (ChannelSwish(4), True),
        (OfFunction(F.gelu), True),
        (OfFunction(lambda x: x.clamp(0, 6)), True),
        (OfFunction(lambda x: torch.where(x > 0, x, 0.1 * x)), True),
        (OfFunction(lambda x: x.relu_()), True),
        (OfFunction(F.hardswish), True),
        (OfFunction(F.logsigmoid), True),
        (OfFunction(lambda x: 2 * x + 1), False),  # linear
        (OfFunction(lambda x: x), False),
        (OfFunction(lambda x: torch.softmax(x, dim=1)), False),  # across units
        (OfFunction(lambda x: torch.tanh(x - x.mean(dim=1, keepdim=True))), False),
        (OfFunction(lambda x: torch.tanh(x).sum(dim=1)), False),
        (OfFunction(lambda x: torch.tanh(x.chunk(2, dim=1)[0])), False),  # half the units
        (OfFunction(lambda x: F.linear(x, torch.ones(5, 5)).relu()), False),
        (OfFunction(lambda x: x.undefined), False),
    ],
)
def test_what_acts_on_each_element(module: nn.Module, expected: bool) -> None:
    """Nonlinear maps of each element are recognised; linear ones, mixing ones and failing ones are not."""
    assert acts_elementwise(module, torch.randn(3, 4, 5, 5)) is expected


def test_nothing_is_changed() -> None:
    """Neither the module, nor its input, nor the generator is changed by looking."""

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return F.rrelu(x, training=True).relu_()

    module, x = Counting(), torch.randn(3, 4)
    before, state = x.clone(), torch.get_rng_state()
    acts_elementwise(module, x)
    assert module.calls == 0
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_stock_layers_and_containers_are_no_candidates() -> None:
    """Layers of torch.nn have their kinds; modules with children are looked into."""
    assert not is_candidate(nn.Dropout())
    assert not is_candidate(nn.Identity())
    assert not is_candidate(nn.Sequential(TanhGelu()))
    assert is_candidate(TanhGelu())


def test_one_site_with_its_own_input() -> None:
    """The tanh inside is not a site; the Linear before carries the pre-activation."""
    found = record(nn.Sequential(nn.Linear(6, 5), TanhGelu(), nn.Linear(5, 2)), torch.randn(40, 6))
    assert {name: s.site.kinds for name, s in found.items()} == {
        "0": ("affine", "preactivation"),
        "1": ("activation",),
        "2": ("affine",),
    }


def test_a_leaf_that_mixes_units_is_looked_into() -> None:
    """A hand-written layer that is no activation keeps its functional sites."""

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(F.linear(x, self.weight))

    found = record(nn.Sequential(Layer(), nn.Linear(5, 2)), torch.randn(40, 6))
    assert list(found) == ["0:linear", "0:relu", "1"]


@pytest.mark.parametrize("kind", ["odd", "positive"])
def test_our_own_activation_is_one(kind: Literal["odd", "positive"]) -> None:
    """What it receives is a pre-activation, though it looks its values up in a table."""
    model = nn.Sequential(nn.Linear(6, 5), GaussianPreserving(3.0, kind=kind), nn.Linear(5, 2))
    found = record(model, torch.randn(40, 6))
    assert {name: s.site.kinds for name, s in found.items()} == {
        "0": ("affine", "preactivation"),
        "1": ("activation",),
        "2": ("affine",),
    }

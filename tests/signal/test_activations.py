"""What an activation may be given as."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gaussprobe.errors import FactoryError
from gaussprobe.nn import GaussianPreserving
from gaussprobe.signal.activations import Activation, activation, names

# Every name, with a number where one is asked for.
NAMES = [name.replace("THETA", "2.5") for name in names()]


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    """Every name gives a function that was tried, kept under its name."""
    made = activation(name)
    x = torch.linspace(-8, 8, 101)
    assert made.name == name
    assert made(x).shape == x.shape


@pytest.mark.parametrize("name", NAMES)
def test_kinks_are_where_slopes_jump(name: str) -> None:
    """The slope jumps at each kink that is told of, and nowhere else; elu with alpha 1 alone bends there."""
    made = activation(name)
    x = torch.linspace(-8, 8, 16_001, dtype=torch.float64) + 1e-4
    slopes = made(x).diff() / 1e-3
    jumps = x[1:-1][slopes.diff().abs() > 0.02]
    for kink in made.kinks:
        assert name == "elu" or (jumps - kink).abs().min() < 2e-3
    assert all(min(abs(float(jump) - kink) for kink in made.kinks) < 2e-3 for jump in jumps)


@pytest.mark.parametrize(("name", "kind"), [("phi:3", "odd"), ("phi+:1e2", "positive")])
def test_phi_with_a_number(name: str, kind: str) -> None:
    """The number is theta, the sign the kind."""
    made = activation(name)
    assert made.name == name
    assert isinstance(made.function, GaussianPreserving)
    assert (made.function.theta, made.function.kind) == (float(name.split(":")[1]), kind)


def test_phi_is_told_of_last() -> None:
    """After the names that need no number."""
    assert names()[-2:] == ("phi:THETA", "phi+:THETA")


@pytest.mark.parametrize("given", [F.silu, nn.Hardswish(), nn.PReLU(), lambda x: x**3, "torch:atan", nn.ReLU])
def test_what_is_taken(given: Any) -> None:
    """Functions, modules, and references to them."""
    given = given() if isinstance(given, type) else given
    assert activation(given)(torch.ones(2, 3)).shape == (2, 3)


def test_a_reference_to_a_class_makes_one() -> None:
    """`pkg.mod:Class` is called without arguments."""
    assert isinstance(activation("torch.nn:Tanh").function, nn.Tanh)


def test_one_that_was_made_is_taken_as_it_is() -> None:
    """An `Activation` of one's own says where its kinks are."""
    made = Activation(name="mine", function=torch.abs, kinks=(0.0,))
    assert activation(made) is made


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (nn.Softmax(dim=-1), "by itself; Softmax mixes"),
        (lambda x: x - x.mean(), "mixes the elements"),
        (nn.Dropout(), "the same each time; Dropout draws"),
        (nn.GLU(), "activation must"),
        (lambda x: x.reshape(1, -1), "one number for each element"),
        (torch.sum, "one number for each element"),
        (lambda x: 3, "made int"),
        (lambda x: x > 0, "real numbers; <lambda> gave torch.bool"),
        (lambda x: 1 / 0, "ZeroDivisionError"),
        ("phi:", "a number after phi:, as phi:3; got 'phi:'"),
        ("phi:THETA", "a number after phi:, as phi:3; got 'phi:THETA'"),
        ("phi+:three", r"a number after phi\+:, as phi\+:3; got 'phi\+:three'"),
        ("phi:2", "theta must be a finite number above 2"),
        ("phi+:nan", "theta must be a finite number above 2"),
        ("rleu", "did you mean 'relu'"),
        (nn.ReLU, r"got the class ReLU, .*: ReLU\(\)"),
        (3, "got int"),
        (None, "got NoneType"),
    ],
)
def test_what_is_refused(given: Any, message: str) -> None:
    """By name, with what it must be."""
    with pytest.raises(ValueError, match=message):
        activation(given)


def test_references_that_lead_nowhere() -> None:
    """Fail as those of models do."""
    with pytest.raises(FactoryError, match="nowhere"):
        activation("nowhere:relu")

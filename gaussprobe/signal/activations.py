"""What an activation may be given as, and what is asked of it: that it maps each element by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from gaussprobe.errors import first_line
from gaussprobe.models.factory import load_object
from gaussprobe.stats.batch import known_name

Function: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"

# Where the function or its slope jumps: quadrature is split there.
_NAMED: Mapping[str, tuple[Function, tuple[float, ...]]] = {
    "relu": (F.relu, (0.0,)),
    "tanh": (torch.tanh, ()),
    "gelu": (F.gelu, ()),
    "linear": (lambda x: x, ()),
    "sigmoid": (torch.sigmoid, ()),
    "erf": (torch.erf, ()),
    "sin": (torch.sin, ()),
    "silu": (F.silu, ()),
    "mish": (F.mish, ()),
    "softplus": (F.softplus, ()),
    "elu": (F.elu, (0.0,)),
    "selu": (F.selu, (0.0,)),
    "leaky_relu": (F.leaky_relu, (0.0,)),
    "relu6": (F.relu6, (0.0, 6.0)),
    "hardtanh": (F.hardtanh, (-1.0, 1.0)),
    "hardsigmoid": (F.hardsigmoid, (-3.0, 3.0)),
    "hardswish": (F.hardswish, (-3.0, 3.0)),
}

# The activation that goes with weights of a Weibull law of shape theta.
_PHI: Mapping[str, Literal["odd", "positive"]] = {"phi:": "odd", "phi+:": "positive"}

# Where a function is tried: both sides of 0, large and small.
_PROBE = (-30.0, -3.0, -1.1, -0.4, -1e-3, 0.0, 1e-3, 0.4, 1.1, 3.0, 30.0)


@dataclass(frozen=True, kw_only=True)
class Activation:
    """A function of one number.

    Args:
        name: what it is called.
        function: of a tensor, element by element.
        kinks: where it is known not to be smooth.
    """

    name: str
    function: Function
    kinks: tuple[float, ...] = ()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Of every element."""
        return self.function(x)


def names() -> tuple[str, ...]:
    """Activations that go by a name, in the order they are told of; THETA stands for a number."""
    return (*_NAMED, *(f"{prefix}THETA" for prefix in _PHI))


def activation(given: str | Function | Activation) -> Activation:
    """An activation by name, or a function or a module of one's own.

    Args:
        given: a name as `"relu"` or `"phi:3"`; `"pkg.mod:fn"` for a function of a tensor, or something that
            makes a module without arguments; or the function or the module itself.

    Returns:
        It, tried: it maps each element by itself, and always alike.

    Raises:
        ValueError: for a name that none has, a theta that cannot be used, or a function that does not give
            one number for each element, mixes elements, or draws.
        FactoryError: if `pkg.mod:fn` cannot be had.
    """
    if isinstance(given, Activation):
        return given
    if isinstance(given, str):
        made = _by_name(given)
    elif isinstance(given, type):
        raise ValueError(
            f"activation must be a name, a function or a module; got the class {given.__name__}, of which "
            f"an instance may be meant: {given.__name__}()"
        )
    elif callable(given):
        made = Activation(name=_called(given), function=given)
    else:
        raise ValueError(f"activation must be a name, a function or a module; got {type(given).__name__}")
    _check(made)
    return made


def _by_name(name: str) -> Activation:
    for prefix, kind in _PHI.items():
        if name.startswith(prefix):
            return Activation(name=name, function=_phi(name, prefix, kind))
    if ":" in name:
        found = load_object(name)
        return Activation(name=name, function=found() if isinstance(found, type) else found)
    known_name("activation", name, names())
    function, kinks = _NAMED[name]
    return Activation(name=name, function=function, kinks=kinks)


def _phi(name: str, prefix: str, kind: Literal["odd", "positive"]) -> Function:
    from gaussprobe.nn import GaussianPreserving

    try:
        theta = float(name.removeprefix(prefix))
    except ValueError:
        raise ValueError(
            f"activation must have a number after {prefix}, as {prefix}3; got {name!r}"
        ) from None
    return GaussianPreserving(theta, kind)


def _called(given: Function) -> str:
    if isinstance(given, nn.Module):
        return type(given).__name__
    return str(getattr(given, "__name__", type(given).__name__))


@torch.no_grad()
def _check(made: Activation) -> None:
    """Refuse what is no function of one number.

    Raises:
        ValueError: naming it.
    """
    x = torch.tensor(_PROBE, dtype=torch.float32, device="cpu")
    try:
        whole, again = made.function(x.clone()), made.function(x.clone())
        each = [made.function(x[i : i + 1].clone()) for i in range(len(x))]
    except Exception as error:  # whatever a function of a user may raise
        raise ValueError(
            f"activation must map tensors of any shape; {made.name} raised {type(error).__name__}: "
            f"{first_line(error)}"
        ) from error
    if not isinstance(whole, torch.Tensor) or whole.shape != x.shape:
        came = tuple(whole.shape) if isinstance(whole, torch.Tensor) else type(whole).__name__
        raise ValueError(
            f"activation must give one number for each element; {made.name} made {came} of {tuple(x.shape)}"
        )
    if not whole.is_floating_point():
        raise ValueError(f"activation must give real numbers; {made.name} gave {whole.dtype}")
    if not torch.equal(whole.nan_to_num(), again.nan_to_num()):
        raise ValueError(f"activation must give the same each time; {made.name} draws at random")
    if not torch.allclose(torch.cat(each), whole, rtol=1e-5, atol=1e-6, equal_nan=True):
        raise ValueError(
            f"activation must act on each element by itself; {made.name} mixes the elements of a tensor"
        )

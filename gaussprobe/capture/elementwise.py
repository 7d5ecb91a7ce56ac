"""Hand-written activations: leaf modules that act on each element by itself, and not linearly.

A GELU spelled out as `0.5 * x * (1 + tanh(..))` is one nonlinearity: its input is the pre-activation, and the
tanh inside is its own business.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

# What moves or makes values without mixing them, or is not tagged as acting on each element though it does.
_HARMLESS = frozenset(
    "_to_copy clone detach alias view _unsafe_view expand contiguous lift_fresh lift_fresh_copy "
    "scalar_tensor full full_like ones_like zeros_like empty_like fill fill_ copy_ rsub hardswish "
    "hardswish_ prelu _prelu_kernel log_sigmoid_forward unsqueeze squeeze reshape permute transpose t".split()
)
_NONLINEAR = frozenset(
    "relu gelu silu sigmoid tanh hardtanh hardswish hardsigmoid clamp clamp_min clamp_max erf erfc exp exp2 "
    "expm1 log log1p log_sigmoid_forward leaky_relu elu celu selu softplus mish softshrink hardshrink "
    "threshold prelu _prelu_kernel where maximum minimum square pow sqrt rsqrt reciprocal abs sign sin cos "
    "sinh cosh atan asinh heaviside gt ge lt le".split()
)
_STOCK = "torch.nn.modules."


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operators that run, until one mixes elements."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.mixes = False
        self.nonlinear = False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        self.mixes |= torch.Tag.pointwise not in func.tags and name not in _HARMLESS
        self.nonlinear |= name.rstrip("_") in _NONLINEAR
        return func(*args, **(kwargs or {}))


def is_candidate(module: nn.Module) -> bool:
    """Whether a module may be a hand-written activation: a leaf that is no stock layer."""
    return not module._modules and not type(module).__module__.startswith(_STOCK)


def acts_elementwise(module: nn.Module, tensor: torch.Tensor) -> bool:
    """Whether a module maps each element of its input by itself, and not linearly.

    A copy of the module is run on the first example; the module itself, the generator and the tensor stay as
    they are.

    Args:
        module: a candidate.
        tensor: what it is about to receive.

    Returns:
        False also where it cannot be told: where the copy fails, or gives anything but one tensor of the
        input's shape.
    """
    if not tensor.is_floating_point() or tensor.layout != torch.strided or not tensor.numel():
        return False
    example = tensor.detach()[:1] if tensor.ndim > 1 else tensor.detach()
    devices = [example.device.index or 0] if example.device.type == "cuda" else []
    watch = _Watch()
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            twin, given = copy.deepcopy(module), example.clone()
            with watch:
                result = twin.forward(given)
    except Exception:  # noqa: BLE001  (whatever a module written by hand may raise: it is left as it was)
        return False
    same = isinstance(result, torch.Tensor) and result.shape == example.shape
    return same and watch.nonlinear and not watch.mixes

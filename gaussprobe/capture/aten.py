"""Which `aten` operators make which kind of site, under the names that the functions of torch's API have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gaussprobe.types import Kind

_ACTIVATIONS = (
    "celu elu gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu mish prelu relu relu6 rrelu selu "
    "sigmoid silu softplus softshrink tanh threshold"
).split()
_CONVOLUTIONS = (
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution _convolution "
    "mkldnn_convolution cudnn_convolution"
).split()
_PRODUCTS = "matmul mm bmm addmm baddbmm".split()
_NORMS = "batch_norm layer_norm group_norm instance_norm rms_norm".split()
_BATCH_NORMS = (
    "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm "
    "_batch_norm_no_update _batch_norm_with_update _batch_norm_impl_index"
).split()

_NORM: tuple[str, Kind] = ("batch_norm", "norm")
# Name of the operator: name of the function, and the kind of what it gives.
OPERATORS: dict[str, tuple[str, Kind]] = {
    **{name: (name, "activation") for name in _ACTIVATIONS},
    "log_sigmoid": ("logsigmoid", "activation"),
    "log_sigmoid_forward": ("logsigmoid", "activation"),
    "_prelu_kernel": ("prelu", "activation"),
    "rrelu_with_noise": ("rrelu", "activation"),
    **{name: (name, "affine") for name in ("linear", "bilinear", *_PRODUCTS, *_CONVOLUTIONS)},
    **{name: (name, "norm") for name in _NORMS},
    **dict.fromkeys(_BATCH_NORMS, _NORM),
    "native_layer_norm": ("layer_norm", "norm"),
    "native_group_norm": ("group_norm", "norm"),
    "_fused_rms_norm": ("rms_norm", "norm"),
}
# Affine layers only where one factor is a parameter.
PRODUCTS = frozenset(_PRODUCTS)


def site_of(operator: str, args: Sequence[Any]) -> tuple[str, Kind] | None:
    """Name of the function and kind of the site that an operator makes, None for any other.

    Args:
        operator: without namespace and overload; in-place ones count as the others.
        args: its positional arguments.
    """
    name = operator if operator in OPERATORS else operator.removesuffix("_")
    found = OPERATORS.get(name)
    if found is None:
        return None
    if found[0] == "hardtanh" and [float(bound) for bound in args[1:3]] == [0.0, 6.0]:
        return "relu6", found[1]
    if found[0] in _CONVOLUTIONS and "convolution" in found[0]:
        weight = args[1]
        transposed = len(args) > 6 and args[6] is True
        spatial = int(weight.ndim) - 2
        return f"conv_transpose{spatial}d" if transposed else f"conv{spatial}d", found[1]
    return found


def unit_dim(function: str, output: torch.Tensor, args: Sequence[Any]) -> int | None:
    """Dimension of the units in what an operator gives, None where it does not determine it.

    Args:
        function: as `site_of` names it.
        output: what it gave.
        args: its positional arguments.
    """
    ndim = output.ndim
    if function.startswith("conv"):
        return max(ndim - 1 - int(function[-2]), 0)
    if function in {"batch_norm", "group_norm", "instance_norm"}:
        return min(1, ndim - 1)
    if function in {"layer_norm", "rms_norm"}:
        return ndim - 1 if len(args) > 1 and len(args[1]) == 1 else None
    return ndim - 1 if function in {"linear", "bilinear", *PRODUCTS} else None

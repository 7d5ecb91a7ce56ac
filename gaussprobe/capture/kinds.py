"""Which modules and functions make which kind of site."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from gaussprobe.capture import layout
from gaussprobe.nn import GaussianPreserving
from gaussprobe.types import Kind

_MODULE_KINDS: tuple[tuple[Kind, tuple[type[nn.Module], ...]], ...] = (
    (
        "affine",
        (
            nn.Linear,
            nn.Bilinear,
            nn.Conv1d,
            nn.Conv2d,
            nn.Conv3d,
            nn.ConvTranspose1d,
            nn.ConvTranspose2d,
            nn.ConvTranspose3d,
        ),
    ),
    (
        "norm",
        (
            nn.modules.batchnorm._NormBase,  # BatchNorm, SyncBatchNorm and InstanceNorm of every dimension
            nn.LayerNorm,
            nn.GroupNorm,
            nn.RMSNorm,
            nn.LocalResponseNorm,
        ),
    ),
    (
        "activation",
        (
            nn.CELU,
            nn.ELU,
            nn.GELU,
            nn.GLU,
            nn.Hardshrink,
            nn.Hardsigmoid,
            nn.Hardswish,
            nn.Hardtanh,  # and ReLU6
            nn.LeakyReLU,
            nn.LogSigmoid,
            nn.Mish,
            nn.PReLU,
            nn.ReLU,
            nn.RReLU,
            nn.SELU,
            nn.Sigmoid,
            nn.SiLU,
            nn.Softplus,
            nn.Softshrink,
            nn.Softsign,
            nn.Tanh,
            nn.Tanhshrink,
            nn.Threshold,
            GaussianPreserving,
        ),
    ),
)

# Modules that compute affine maps and gates without calling child modules: nothing inside them fires a hook.
FUSED: dict[type[nn.Module], str] = {
    nn.RNNBase: "its gates are computed inside one fused call (deep looks inside)",
    nn.RNNCellBase: "its gates are computed inside one fused call (deep looks inside)",
    nn.MultiheadAttention: "its projections are computed inside one fused call (deep looks inside)",
}

# Not nonlinearities of a unit: what they receive is nobody's pre-activation.
ACROSS_UNITS = (nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin)

_NONLINEAR = (
    "celu elu gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish prelu relu relu6 "
    "rrelu selu sigmoid silu softplus softshrink softsign tanh tanhshrink threshold"
).split()
_AFFINE = (
    "linear bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d "
    "matmul mm bmm addmm baddbmm"
).split()
_NORM = "batch_norm layer_norm group_norm instance_norm rms_norm local_response_norm".split()

# Matrix products are affine layers only where one factor is a parameter of the model.
PRODUCTS = frozenset({"matmul", "mm", "bmm", "addmm", "baddbmm"})


# Functions that give finite values for finite ones, however large.
FINITE = frozenset("relu relu6 hardtanh sigmoid tanh hardsigmoid gelu silu logsigmoid softsign".split())
_FINITE_MODULES = (
    *(nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Tanh, nn.Hardsigmoid, nn.GELU, nn.SiLU, nn.LogSigmoid, nn.Softsign),
    GaussianPreserving,
)


def keeps_finite(module: nn.Module) -> bool:
    """Whether a stock activation gives finite values for finite ones, however large."""
    return type(module) in _FINITE_MODULES


def module_kind(module: nn.Module) -> Kind | None:
    """Kind of the site that a module's output is, None for containers and everything else.

    Args:
        module: any module; subclasses of the stock classes count as those.

    Returns:
        `"affine"`, `"norm"`, `"activation"` or None.
    """
    for kind, classes in _MODULE_KINDS:
        if isinstance(module, classes):
            return kind
    name = layout.quantized_name(module)
    if name is None:
        return None
    # Fused with what follows them, as ConvReLU2d and LinearReLU are, they give what a nonlinearity gives.
    return "activation" if "ReLU" in name else "affine"


def fused_reason(module: nn.Module) -> str | None:
    """Why the inside of a fused module cannot be seen, None for any other module."""
    return next((reason for cls, reason in FUSED.items() if isinstance(module, cls)), None)


def _function_table() -> dict[Callable[..., Any], tuple[str, Kind]]:
    """Every spelling of a function, `F.relu`, `torch.relu`, `Tensor.relu_`, ..., under one name."""
    homes = (F, torch, torch.Tensor, torch.special)
    groups: tuple[tuple[Kind, list[str]], ...] = (
        ("activation", _NONLINEAR),
        ("affine", _AFFINE),
        ("norm", _NORM),
    )
    table: dict[Callable[..., Any], tuple[str, Kind]] = {}
    for kind, names in groups:
        for name in names:
            for home in homes:
                for spelling in (name, name + "_"):
                    function = getattr(home, spelling, None)
                    if callable(function):
                        table[function] = (name, kind)
    table[torch.special.expit] = ("sigmoid", "activation")
    table[torch.Tensor.__matmul__] = ("matmul", "affine")
    table[torch.Tensor.__rmatmul__] = ("matmul", "affine")
    return table


FUNCTIONS = _function_table()

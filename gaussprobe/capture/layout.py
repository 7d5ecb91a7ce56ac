"""Which dimension of a tensor holds units, which examples, and which are positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

_CONV_DIMS = {
    nn.Conv1d: 1,
    nn.Conv2d: 2,
    nn.Conv3d: 3,
    nn.ConvTranspose1d: 1,
    nn.ConvTranspose2d: 2,
    nn.ConvTranspose3d: 3,
    nn.InstanceNorm1d: 1,
    nn.InstanceNorm2d: 2,
    nn.InstanceNorm3d: 3,
}
# What follows from a first dimension that was read as several positions, where examples are the sample.
IF_MISREAD = "; were it otherwise, rows would be dependent, so there are no p-values"

# Their classes are imported only by those who quantize.
_QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")
_CHANNEL_SECOND = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LocalResponseNorm)


@dataclass
class LayoutMemory:
    """The unit dimension of each tensor shape met in the current forward pass.

    A sum of branches or an activation does not say where its units are; a tensor of the same shape made by
    a convolution or a linear layer in the same pass does.
    """

    by_shape: dict[tuple[int, ...], int] = field(default_factory=dict)

    def learn(self, shape: Sequence[int], dim: int) -> int:
        """Remember the unit dimension of a shape; returns it."""
        self.by_shape[tuple(shape)] = dim
        return dim

    def recall(self, shape: Sequence[int]) -> int:
        """The unit dimension of a shape: as learnt, else 1 for images and videos, else the last."""
        known = self.by_shape.get(tuple(shape))
        if known is not None:
            return known
        return 1 if len(shape) >= 4 else len(shape) - 1


def quantized_name(module: nn.Module) -> str | None:
    """Name of the class of a quantized linear layer or convolution, None for any other module."""
    for cls in type(module).__mro__:
        if cls.__module__.startswith(_QUANTIZED) and cls.__name__.startswith(("Linear", "Conv")):
            return cls.__name__
    return None


def module_unit_dim(module: nn.Module, output: torch.Tensor) -> int | None:
    """Unit dimension of a stock module's output, None where the module does not determine it."""
    ndim = output.ndim
    for cls, spatial in _CONV_DIMS.items():
        if isinstance(module, cls):
            return max(ndim - 1 - spatial, 0)
    if isinstance(module, nn.Linear | nn.Bilinear):
        return ndim - 1
    if isinstance(module, _CHANNEL_SECOND):
        return min(1, ndim - 1)
    name = quantized_name(module)
    if name is not None:
        spatial = int(name[-2]) if name.startswith("Conv") else 0
        return max(ndim - 1 - spatial, 0)
    if isinstance(module, nn.LayerNorm | nn.RMSNorm) and len(module.normalized_shape) == 1:
        return ndim - 1
    return None


def function_unit_dim(
    name: str, output: torch.Tensor, args: Sequence[Any], kwargs: dict[str, Any]
) -> int | None:
    """Unit dimension of a functional call's output, None where the call does not determine it."""
    ndim = output.ndim
    if name.startswith("conv"):
        return max(ndim - 1 - int(name[-2]), 0)
    if name in {"batch_norm", "group_norm", "instance_norm", "local_response_norm"}:
        return min(1, ndim - 1)
    if name in {"layer_norm", "rms_norm"}:
        normalized = args[1] if len(args) > 1 else kwargs.get("normalized_shape", ())
        return ndim - 1 if len(normalized) == 1 else None
    return ndim - 1


@dataclass(frozen=True, kw_only=True)
class Axes:
    """How a tensor is seen as (examples, positions..., units).

    Args:
        shape: the tensor's own, where its first dimension is split or one is added.
        order: the dimensions of that shape in the order above.
        grid: sizes of the position dimensions, empty when an example is one row.
        example_dim: dimension of the tensor that was read as the examples.
        examples: whether that is `"known"` from the batch, `"read"` into a multiple of it, or `"unknown"`.
        caveat: what a reader must know of how the dimensions were read, None when nothing.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    grid: tuple[int, ...] = ()
    example_dim: int = 0
    examples: Literal["known", "read", "unknown"] = "known"
    caveat: str | None = None

    def arrange(self, tensor: torch.Tensor) -> torch.Tensor:
        """A view of the tensor that was read, in this order; no copy."""
        return tensor.view(self.shape).permute(self.order)


def read_axes(shape: Sequence[int], unit_dim: int, n_examples: int, batch_dim: int = 0) -> Axes:
    """Bring the dimensions of a tensor into the order (examples, positions..., units).

    Args:
        shape: of the tensor, one dimension at least.
        unit_dim: dimension of the units, from 0.
        n_examples: examples in the batch that is passing.
        batch_dim: dimension of the examples in the model's input, 1 for sequence-first models.

    Returns:
        The order, with a caveat where the examples are not plainly the first dimension.
    """
    shape = tuple(int(size) for size in shape)
    if len(shape) == 1:
        # One number for each example, or one example without a batch dimension.
        shape = (*shape, 1) if shape[0] == n_examples != 1 else (1, *shape)
        return Axes(shape=shape, order=(0, 1))
    if unit_dim == 0:
        shape, unit_dim = (1, *shape), 1
    lead = shape[0]
    caveat: str | None = None
    examples: Literal["known", "read", "unknown"] = "known"
    example_dim = 0
    second_is_batch = len(shape) > 2 and unit_dim != 1 and shape[1] == n_examples
    if second_is_batch and (batch_dim == 1 or lead != n_examples):
        example_dim = 1
    elif lead != n_examples and n_examples and lead % n_examples == 0:
        parts = lead // n_examples
        outer = (parts, n_examples) if batch_dim == 1 else (n_examples, parts)
        shape, unit_dim, example_dim = (*outer, *shape[1:]), unit_dim + 1, batch_dim
        examples = "read"
        caveat = (
            f"its first dimension is {parts} times the batch's, read as {parts} positions of each example"
            + IF_MISREAD
        )
    elif lead != n_examples:
        examples = "unknown"
        caveat = (
            f"its first dimension ({lead}) is not the batch's ({n_examples}): "
            "which rows are independent is unknown, so there is no interval, verdict or p-value"
        )
    positions = [d for d in range(len(shape)) if d not in (example_dim, unit_dim)]
    return Axes(
        shape=shape,
        order=(example_dim, *positions, unit_dim),
        grid=tuple(shape[d] for d in positions),
        example_dim=example_dim,
        examples=examples,
        caveat=caveat,
    )

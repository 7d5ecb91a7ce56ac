"""The layer a model begins with: what it tells of the inputs, and inputs that surely do not fit it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gaussprobe.models.batches import unwrapped

_CONVOLUTIONS: tuple[type[nn.modules.conv._ConvNd], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# Layers that are known to take the input, whatever children (such as parametrizations) they have.
_KNOWN = (
    nn.Linear,
    nn.Bilinear,
    nn.Embedding,
    nn.EmbeddingBag,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.MultiheadAttention,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.PReLU,
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
)
_AXES = {1: "L", 2: "H, W", 3: "D, H, W"}


def first_parametric(module: nn.Module) -> nn.Module | None:
    """The first layer in registration order that has parameters.

    A module with children that owns parameters itself (a table of positions, a class token) is no layer, and
    is returned only where no layer has parameters.
    """
    owner = None
    for child in unwrapped(module).modules():
        if isinstance(child, _KNOWN) and next(child.parameters(), None) is not None:
            return child
        if any(parameter is not None for parameter in child._parameters.values()):
            if not any(True for _ in child.children()):
                return child
            owner = owner or child
    return owner


def first_known(module: nn.Module) -> nn.Module | None:
    """The first layer of a torch.nn class in registration order that has parameters."""
    for child in unwrapped(module).modules():
        if isinstance(child, _KNOWN) and next(child.parameters(), None) is not None:
            return child
    return None


def sequence_first(module: nn.Module) -> bool:
    """Whether the model begins with a recurrent or attention layer that keeps the batch second."""
    first = first_parametric(module)
    return isinstance(first, nn.RNNBase | nn.MultiheadAttention) and not first.batch_first


def takes_ids(module: nn.Module) -> bool:
    """Whether the model's first layer looks up integers."""
    return isinstance(first_parametric(module), nn.Embedding | nn.EmbeddingBag)


def looks_up(module: nn.Module) -> bool:
    """Whether any layer of the model looks up integers."""
    return any(isinstance(child, nn.Embedding | nn.EmbeddingBag) for child in module.modules())


def uninitialised(module: nn.Module) -> str | None:
    """Name and class of the first lazy layer that has not seen an input yet."""
    for name, child in unwrapped(module).named_modules():
        tensors = (*child._parameters.values(), *child._buffers.values())
        if any(nn.parameter.is_lazy(tensor) for tensor in tensors):
            return f"{name} ({type(child).__name__})" if name else type(child).__name__
    return None


def certain_first(module: nn.Module) -> tuple[str, nn.Linear | nn.modules.conv._ConvNd] | None:
    """Name and layer, if the input surely reaches a Linear or convolution first, as it is given."""
    layer: nn.Module = unwrapped(module)
    names: list[str] = []
    kinds: tuple[type[nn.Module], ...] = (nn.Linear, *_CONVOLUTIONS)
    while type(layer) in (nn.Sequential,) and layer._modules and not _diverts(layer):
        name, child = next(iter(layer._modules.items()))
        if child is None:
            return None
        names.append(name)
        layer = child
    if type(layer) not in kinds or _diverts(layer):
        return None
    assert isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)
    return ".".join(names), layer


def _diverts(module: nn.Module) -> bool:
    """Whether a module's input may be changed before its class's `forward` sees it."""
    return bool(module._forward_pre_hooks) or "forward" in vars(module)


def misfit(data: Any, module: nn.Module, *, source: str, batch_size: int) -> str | None:
    """Why a whole data set surely does not fit the model's first layer.

    Args:
        data: a tensor, or a tuple or list whose first element is what the model takes.
        module: the model.
        source: how the message names the data.
        batch_size: examples per batch; a batch with a dimension too few is taken as one example.

    Returns:
        The message, or None where the data fit or nothing is certain.
    """
    found = certain_first(module)
    tensor = data[0] if isinstance(data, tuple | list) and data else data
    if found is None or not isinstance(tensor, torch.Tensor):
        return None
    name, layer = found
    title = f"{source} has shape {tuple(tensor.shape)}: the first layer, {title_of(name, layer)}, takes"
    batch = (batch_size, *tensor.shape[1:])
    if isinstance(layer, nn.Linear):
        fits = batch[-1] == layer.in_features
        return None if fits else f"{title} {layer.in_features:,} features"
    rank, channels = len(layer.kernel_size), layer.in_channels
    wanted = f"(N, {channels}, {_AXES[rank]})"
    if tensor.dim() == rank + 2:
        if batch[1] == channels:
            return None
        if batch[-1] == channels:
            return f"{title} {channels:,} channels; it looks channels-last: transpose to {wanted}"
        return f"{title} {channels:,} channels, {wanted}"
    if tensor.dim() == rank + 1:
        return None if batch_size == channels else f"{title} {channels:,} channels: reshape to {wanted}"
    return f"{title} {wanted}"


def expectation(module: nn.Module) -> str | None:
    """What the first layer of a known class takes, for messages; None where it tells nothing."""
    for name, layer in unwrapped(module).named_modules():
        if not isinstance(layer, _KNOWN) or (own := next(layer.parameters(), None)) is None:
            continue
        dtype = str(own.dtype).removeprefix("torch.")
        takes: dict[type[nn.Module], str] = {
            nn.Linear: f"(.., {getattr(layer, 'in_features', 0)}) {dtype}",
            nn.Embedding: f"whole numbers below {getattr(layer, 'num_embeddings', 0):,}",
            nn.RNNBase: f"(.., {getattr(layer, 'input_size', 0)}) {dtype}",
        }
        for rank, kind in enumerate(_CONVOLUTIONS, 1):
            takes[kind] = f"(N, {getattr(layer, 'in_channels', 0)}, {_AXES[rank]}) {dtype}"
        said = next((text for kind, text in takes.items() if isinstance(layer, kind)), None)
        return None if said is None else f"the first layer, {title_of(name, layer)}, takes {said}"
    return None


def title_of(name: str, layer: nn.Module) -> str:
    """A layer as messages name it: `0 (Linear)`, or its class alone for the model itself."""
    kind = type(layer).__name__
    return f"{name} ({kind})" if name else kind

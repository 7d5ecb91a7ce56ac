"""Input shapes that the first parametric layer of a model allows, most usual first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gaussprobe.models.batches import unwrapped

IMAGE_SIDES: tuple[int, ...] = (
    224,
    32,
    28,
    64,
    16,
    8,
    96,
    128,
    48,
    56,
    112,
    160,
    192,
    227,
    240,
    256,
    299,
    320,
    384,
    416,
    448,
    512,
)
IMAGE_SIDES += (20, 24, 36, 40, 84, 100, 12, 10, 14, 9, 7, 6, 5, 4, 3, 2, 1)
VOLUME_SIDES = (16, 32, 8, 64, 28, 4, 2, 1)
SEQUENCE_LENGTHS = (128, 16, 32, 64, 8, 256, 512, 1_024, 100, 50, 20, 10, 4, 2_048, 4_096, 16_000, 2, 1)
EXAMPLES = 2  # of a trial
_LONGEST = 8_192
_MOST_OWN = 4


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A shape to try.

    Args:
        shape: of one example, or of the whole batch without `batch_dim`.
        batch_dim: where the examples run.
        ids: upper bound of integer inputs; None for floats.
    """

    shape: tuple[int, ...]
    batch_dim: int = 0
    ids: int | None = None

    def shape_with(self, examples: int | str) -> tuple[int | str, ...]:
        """The batch's shape with `examples` along `batch_dim`."""
        return (*self.shape[: self.batch_dim], examples, *self.shape[self.batch_dim :])

    def example(self, dtype: torch.dtype) -> torch.Tensor:
        """A batch of two examples, of ones (ids: zeros), for trials and as a template."""
        shape = [int(size) for size in self.shape_with(EXAMPLES)]
        if self.ids is not None:
            return torch.zeros(shape, dtype=torch.int64)
        return torch.ones(shape, dtype=dtype)


def candidates(layer: nn.Module, module: nn.Module) -> list[Candidate]:
    """Shapes to try for a model, given its first parametric layer.

    Args:
        layer: the first module with parameters of its own.
        module: the model; an attention or recurrent layer around `layer` decides where the batch runs.

    Returns:
        Candidates, most usual first; empty when the layer tells nothing.
    """
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        usual = (*_own_lengths(module), *SEQUENCE_LENGTHS)
        lengths = [Candidate(shape=(length,), ids=layer.num_embeddings) for length in usual]
        return [*lengths, Candidate(shape=(), ids=layer.num_embeddings)]
    if isinstance(layer, nn.MultiheadAttention):
        return _sequences(layer.embed_dim, batch_first=layer.batch_first)
    if isinstance(layer, nn.RNNBase):
        return _sequences(layer.input_size, batch_first=layer.batch_first)
    if isinstance(layer, nn.RNNCellBase):
        return [Candidate(shape=(layer.input_size,))]
    if isinstance(layer, nn.modules.conv._ConvNd):
        rank = len(layer.kernel_size)
        return _spatial(layer.in_channels, rank)
    if isinstance(layer, nn.Linear):
        flat, *sequences = _flat(layer.in_features)
        own = [Candidate(shape=(length, layer.in_features)) for length in _own_lengths(module)]
        return [flat, *own, *sequences, *_images_of(layer.in_features), *_around_attention(module)]
    if isinstance(layer, nn.LayerNorm | nn.RMSNorm):
        shape = tuple(layer.normalized_shape)
        return [Candidate(shape=shape), *(Candidate(shape=(length, *shape)) for length in SEQUENCE_LENGTHS)]
    if isinstance(layer, nn.GroupNorm):
        return _channels(layer.num_channels, (0, 2, 1, 3))
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        return _channels(layer.num_features, _norm_ranks(layer))
    if isinstance(layer, nn.PReLU):
        return _channels(layer.num_parameters, (0, 2, 1)) if layer.num_parameters > 1 else _flat(16)
    return _from_first_weight(layer)


def _own_lengths(module: nn.Module) -> list[int]:
    """Lengths of sequences that parameters beside the layers tell, such as a learned table of positions."""
    found: dict[int, None] = {}
    for child in unwrapped(module).modules():
        if type(child).__module__.startswith("torch.nn."):
            continue
        for parameter in child._parameters.values():
            if parameter is not None and parameter.dim() in (2, 3) and parameter.shape[-2] > 1:
                found[int(parameter.shape[-2])] = None
    return [length for length in found if length <= _LONGEST][:_MOST_OWN]


def _flat(features: int) -> list[Candidate]:
    return [
        Candidate(shape=(features,)),
        *(Candidate(shape=(length, features)) for length in (16, 128, 8, 1)),
    ]


def _images_of(numbers: int) -> list[Candidate]:
    """Images with as many numbers as a Linear takes, for models that flatten them first."""
    found = []
    for channels in (1, 3):
        side = round((numbers / channels) ** 0.5)
        if side > 1 and channels * side * side == numbers:
            found.append(Candidate(shape=(channels, side, side)))
            if channels == 1:
                found.append(Candidate(shape=(side, side)))
    return found


def _around_attention(module: nn.Module) -> list[Candidate]:
    """Nothing for models without attention or recurrence that keep the batch second."""
    for child in unwrapped(module).modules():
        if isinstance(child, nn.MultiheadAttention | nn.RNNBase) and not child.batch_first:
            layer = next(each for each in unwrapped(module).modules() if isinstance(each, nn.Linear))
            return [Candidate(shape=(length, layer.in_features), batch_dim=1) for length in SEQUENCE_LENGTHS]
    return []


def _sequences(features: int, *, batch_first: bool) -> list[Candidate]:
    dim = 0 if batch_first else 1
    return [Candidate(shape=(length, features), batch_dim=dim) for length in SEQUENCE_LENGTHS]


def _spatial(channels: int, rank: int) -> list[Candidate]:
    sides = {1: SEQUENCE_LENGTHS, 2: IMAGE_SIDES, 3: VOLUME_SIDES}[rank]
    return [Candidate(shape=(channels, *[side] * rank)) for side in sides]


def _channels(channels: int, ranks: tuple[int, ...]) -> list[Candidate]:
    found = []
    for rank in ranks:
        found += [Candidate(shape=(channels,))] if rank == 0 else _spatial(channels, rank)
    return found


def _norm_ranks(layer: nn.Module) -> tuple[int, ...]:
    name = type(layer).__name__
    for suffix, ranks in (("1d", (0, 1)), ("2d", (2,)), ("3d", (3,))):
        if name.endswith(suffix):
            return ranks
    return (0, 2, 1, 3)


def _from_first_weight(layer: nn.Module) -> list[Candidate]:
    """A guess for layers of unknown classes: their first matrix takes its last dimension."""
    for parameter in layer._parameters.values():
        if parameter is not None and not nn.parameter.is_lazy(parameter) and parameter.dim() >= 1:
            sizes: Any = parameter.shape
            return [*_flat(int(sizes[-1])), *_flat(int(sizes[0]))] if parameter.dim() <= 2 else []
    return []

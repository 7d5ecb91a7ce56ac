"""Saved activations in place of a model: a file of tensors, each to be scored as a site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gaussprobe.models.batches import as_tensors

LONE = "tensor"  # the site of a tensor without a name


@dataclass(frozen=True, kw_only=True)
class Activations:
    """Named tensors of a file.

    Args:
        tensors: by name, in the file's order; each with its examples along the first dimension.
        name: the file as the user named it.
        notes: what a reader must know about how it was read.
    """

    tensors: Mapping[str, torch.Tensor]
    name: str
    notes: tuple[str, ...] = ()

    @property
    def content(self) -> Any:
        """The tensor, where there is one without a name, else all by name."""
        return self.tensors[LONE] if list(self.tensors) == [LONE] else self.tensors


def find_activations(content: Any, *, name: str) -> Activations | None:
    """Tensors in what a file holds, None where it holds anything else.

    Args:
        content: a tensor or array, or a dict of them.
        name: the file as the user named it.
    """
    if torch.is_tensor(content) or not isinstance(content, Mapping):
        content = {LONE: content}
    tensors = {key: as_tensors(each) for key, each in content.items()}
    if not tensors or not all(
        isinstance(key, str) and torch.is_tensor(each) for key, each in tensors.items()
    ):
        return None
    notes: dict[str, None] = {}
    for key, each in tensors.items():
        tensors[key], note = _prepared(each.detach())
        notes |= dict.fromkeys([note] if note else [])
    return Activations(tensors=tensors, name=name, notes=tuple(notes))


def _prepared(tensor: torch.Tensor) -> tuple[torch.Tensor, str | None]:
    """A tensor with its numbers as floats and its examples along the first of two dimensions or more."""
    note = None
    if not tensor.is_floating_point() and not tensor.is_complex() and tensor.dtype != torch.bool:
        kind = str(tensor.dtype).removeprefix("torch.")
        tensor, note = tensor.to(torch.float32), f"integers ({kind}) were cast to float32"
    return (tensor[:, None] if tensor.dim() == 1 else tensor), note


def unit_dim(tensor: torch.Tensor) -> int:
    """The dimension of the units: the second of images and volumes, the last of everything smaller."""
    return 1 if tensor.dim() > 3 else max(tensor.dim() - 1, 0)


def layout_of(tensor: torch.Tensor) -> str:
    """How a tensor was read, in the words of a note."""
    names = {2: "(n, features)", 3: "(n, positions, features)", 4: "(n, channels, H, W)"}
    return names.get(tensor.dim(), "(n, channels, ..)")

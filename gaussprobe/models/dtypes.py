"""In which dtypes data are given to a model: integers stay, or become floats, as its forward takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import nn

from gaussprobe.models.batches import as_tensors
from gaussprobe.models.layers import looks_up, takes_ids, uninitialised
from gaussprobe.models.trial import fits

_MOST_TRIED = 4  # tensors of a batch whose dtype is tried; each doubles the trials
_EXAMPLES = 2  # of a trial
_BEGINS = "as the model begins with an Embedding"
_TAKES = "as the model's forward takes them"


def float_dtype(module: nn.Module) -> torch.dtype:
    """The dtype of the model's first floating parameter or buffer, float32 when it has none."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            return tensor.dtype
    return torch.get_default_dtype()


def number_bytes(module: nn.Module) -> int:
    """Bytes of one number as the model takes it: of an id, if it looks up any, else of its floats."""
    return 8 if looks_up(module) else float_dtype(module).itemsize


class Caster:
    """Gives data the dtypes a model takes.

    Floating inputs take the dtype of the model's first floating parameter. Integers become floats for a model
    without Embedding. For one with an Embedding a forward pass of two examples decides for each tensor:
    integers as they are (as int64) first, then as floats; floats without a fraction are tried both ways too.
    Where none passes, they stay integers for a model that begins with an Embedding and become floats for any
    other.

    Args:
        module: the model.
        arrays_only: leave tensors as they are and cast NumPy arrays only.
    """

    def __init__(self, module: nn.Module, *, arrays_only: bool = False) -> None:
        self.module = module
        self.arrays_only = arrays_only
        self.wanted = float_dtype(module)
        self.ids = takes_ids(module)
        self.tries = looks_up(module) and uninitialised(module) is None
        self._plans: dict[tuple[Any, ...], tuple[bool, ...] | None] = {}

    def __call__(self, data: Any) -> tuple[Any, list[str]]:
        """The data cast, and notes on what was changed beyond the precision of floats, NaN counted.

        Args:
            data: tensors and arrays in plain containers.
        """
        notes: dict[str, None] = {}
        counts = {"NaN": 0, "infinite": 0, "all": 0}
        plan = self._plan(data)
        index = -1

        def convert(tensor: torch.Tensor, live: bool) -> torch.Tensor:
            nonlocal index
            index += 1
            if live or tensor.dtype == torch.bool or tensor.is_complex():
                return tensor
            ids = self.ids if plan is None else plan[index]
            if tensor.is_floating_point():
                missing = int(torch.isnan(tensor).sum())
                finite = int(torch.isfinite(tensor).sum())
                counts["NaN"] += missing
                counts["infinite"] += tensor.numel() - finite - missing
                counts["all"] += tensor.numel()
                if not ids or not _is_whole(tensor):
                    return tensor.to(self.wanted)
                notes[f"whole numbers were cast to int64, {_TAKES if plan else _BEGINS}"] = None
                return tensor.to(torch.int64)
            if ids:
                return _as_ids(tensor)
            name = str(tensor.dtype).removeprefix("torch.")
            wanted = str(self.wanted).removeprefix("torch.")
            notes[f"integers ({name}) were cast to {wanted}, unscaled"] = None
            return tensor.to(self.wanted)

        converted = _mapped(convert, data, arrays_only=self.arrays_only)
        for what in ("NaN", "infinite"):
            if counts[what]:
                notes[f"{counts[what]:,} of {counts['all']:,} values are {what}"] = None
        return converted, list(notes)

    def _plan(self, data: Any) -> tuple[bool, ...] | None:
        """For each tensor whether it is given as integers, found by trial; None for the usual rule."""
        if not self.tries:
            return None
        tensors: list[tuple[torch.Tensor, bool]] = []
        _mapped(lambda tensor, live: tensors.append((tensor, live)), data, arrays_only=self.arrays_only)
        signature = tuple((tensor.dtype, tensor.dim(), live) for tensor, live in tensors)
        if signature not in self._plans:
            self._plans[signature] = self._tried(data, tensors)
        return self._plans[signature]

    def _tried(self, data: Any, tensors: list[tuple[torch.Tensor, bool]]) -> tuple[bool, ...] | None:
        choices = [(False,) if live else self._choices(tensor) for tensor, live in tensors]
        open_ones = sum(len(each) > 1 for each in choices)
        if not 0 < open_ones <= _MOST_TRIED:
            return None
        for plan in product(*choices):
            remaining = iter(plan)

            def example(tensor: torch.Tensor, live: bool, remaining: Any = remaining) -> torch.Tensor:
                ids = next(remaining)
                few = tensor[:_EXAMPLES] if tensor.dim() else tensor
                if live or few.dtype == torch.bool or few.is_complex():
                    return few
                return _as_ids(few) if ids else few.to(self.wanted)

            batch = _mapped(example, data, arrays_only=self.arrays_only)
            if fits(self.module, batch) is None:
                return plan
        return None

    def _choices(self, tensor: torch.Tensor) -> tuple[bool, ...]:
        if tensor.dtype == torch.bool or tensor.is_complex():
            return (False,)
        if not tensor.is_floating_point():
            return (True, False)
        if not _is_whole(tensor):
            return (False,)
        return (self.ids, not self.ids)


def _as_ids(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.dtype in (torch.int32, torch.int64) else tensor.to(torch.int64)


def _is_whole(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor).all()) and bool((tensor == tensor.round()).all())


def _mapped(function: Callable[[torch.Tensor, bool], Any], batch: Any, *, arrays_only: bool) -> Any:
    """A batch with `function` applied to each tensor and array; it is told what is to be left alone."""
    if torch.is_tensor(batch):
        return function(batch, arrays_only)
    if isinstance(batch, np.ndarray):
        return function(as_tensors(batch), False)
    if isinstance(batch, Mapping):
        return {key: _mapped(function, each, arrays_only=arrays_only) for key, each in batch.items()}
    if isinstance(batch, tuple | list):
        parts = [_mapped(function, each, arrays_only=arrays_only) for each in batch]
        return parts if isinstance(batch, list) else tuple(parts)
    return batch

"""What a batch is, and how a model is called with one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from gaussprobe.errors import DataError
from gaussprobe.models.wording import listed

# Names under which datasets keep what is to be predicted.
TARGET_NAMES = frozenset({"y", "label", "labels", "target", "targets"})
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class ForwardParameters:
    """What a model's `forward` takes.

    Args:
        module: the model; wrappers that take `*args` for an inner model are looked through.

    Attributes:
        positional: names of parameters that can be given by position.
        required: names of parameters without a default, keyword-only ones included.
        keywords: names that can be given as keywords.
        any_positional: whether `forward` takes `*args`.
        any_keyword: whether `forward` takes `**kwargs`.
    """

    def __init__(self, module: nn.Module) -> None:
        found = _parameters(module)
        known = found or []
        self.positional = [each.name for each in known if each.kind in _POSITIONAL]
        self.required = [
            each.name
            for each in known
            if each.default is each.empty and each.kind in (*_POSITIONAL, inspect.Parameter.KEYWORD_ONLY)
        ]
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        self.keywords = [each.name for each in known if each.kind in named]
        self.any_positional = found is None or any(each.kind is each.VAR_POSITIONAL for each in known)
        self.any_keyword = found is None or any(each.kind is each.VAR_KEYWORD for each in known)

    def describe(self) -> str:
        """The parameters as a reader would write them: `forward(x, mask=..)`."""
        names = [name if name in self.required else f"{name}=.." for name in self.positional]
        names += ["*args"] if self.any_positional else []
        keyword_only = [name for name in self.keywords if name not in self.positional]
        names += [name if name in self.required else f"{name}=.." for name in keyword_only]
        names += ["**kwargs"] if self.any_keyword else []
        return f"forward({', '.join(names)})"


def unwrapped(module: nn.Module) -> nn.Module:
    """The model inside DataParallel, DistributedDataParallel and `torch.compile` wrappers."""
    while True:
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = module.module
        elif isinstance(module, torch.jit.ScriptModule):
            return module
        elif isinstance(inner := module._modules.get("_orig_mod"), nn.Module):
            module = inner
        else:
            return module


def _parameters(module: nn.Module) -> list[inspect.Parameter] | None:
    """Parameters of `forward` without `self`; None when they cannot be known."""
    forward: Callable[..., Any] = unwrapped(module).forward
    try:
        return list(inspect.signature(forward).parameters.values())
    except (TypeError, ValueError):
        return None


def call_arguments(module: nn.Module, batch: Any) -> tuple[tuple[Any, ...], dict[str, Any], str | None]:
    """How a model is called with a batch.

    A tensor is the first argument; a dict gives keywords, and target names that `forward` does not take are
    dropped; a tuple or list gives as many positional arguments as `forward` accepts, and one surplus last
    element is taken as the target and dropped.

    Args:
        module: the model.
        batch: a tensor or array, a mapping, or a tuple or list.

    Returns:
        Positional arguments, keyword arguments, and a note on what was dropped or guessed, or None.

    Raises:
        DataError: if the batch does not fit `forward`, naming its parameters.
    """
    takes = ForwardParameters(module)
    if isinstance(batch, Mapping):
        return _keywords(takes, batch)
    if isinstance(batch, tuple | list):
        return _positional(takes, batch)
    if torch.is_tensor(batch) or isinstance(batch, np.ndarray):
        _require(takes, given=takes.positional[:1], what="one tensor")
        return (as_tensors(batch),), {}, None
    raise DataError(
        f"a batch is {type(batch).__name__!r}: it must be a tensor, a dict of keywords, or a tuple or list "
        f"of arguments for {takes.describe()}"
    )


def _keywords(
    takes: ForwardParameters, batch: Mapping[Any, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], str | None]:
    note = None
    given = {str(key): as_tensors(value) for key, value in batch.items()}
    if not given:
        raise DataError(f"a batch is an empty dict; the model takes {takes.describe()}")
    if not takes.any_keyword:
        foreign = [key for key in given if key not in takes.keywords]
        targets = [key for key in foreign if key in TARGET_NAMES]
        if len(foreign) > len(targets):
            names = listed(key for key in foreign if key not in targets)
            raise DataError(
                f"a batch has keys the model does not take ({names}): it takes {takes.describe()}"
            )
        if targets:
            note = f"{', '.join(targets)} of each batch was taken as the target and dropped"
        given = {key: value for key, value in given.items() if key not in foreign}
    _require(takes, given=list(given), what=f"a dict of {listed(given) or 'nothing else'}")
    return (), given, note


def _positional(takes: ForwardParameters, batch: Any) -> tuple[tuple[Any, ...], dict[str, Any], str | None]:
    elements = [as_tensors(each) for each in batch]
    if not elements:
        raise DataError(f"a batch is an empty {type(batch).__name__}; the model takes {takes.describe()}")
    note = None
    capacity = len(takes.positional)
    if not takes.any_positional:
        if len(elements) == capacity + 1 and capacity:
            elements = elements[:-1]
            note = f"element {capacity + 1} of each batch was taken as the target and dropped"
        elif len(elements) > capacity:
            raise DataError(
                f"a batch has {len(elements)} elements, but the model takes {takes.describe()}: "
                "give the inputs, and at most one target after them"
            )
        else:
            optional = [name for name in takes.positional[1 : len(elements)] if name not in takes.required]
            if optional:
                last = takes.positional[len(elements) - 1]
                note = f"element {len(elements)} of each batch was passed as {last!r}"
    _require(takes, given=takes.positional[: len(elements)], what=f"{len(elements)} elements")
    return tuple(elements), {}, note


def _require(takes: ForwardParameters, *, given: list[str], what: str) -> None:
    missing = [name for name in takes.required if name not in given]
    if missing:
        raise DataError(
            f"a batch of {what} leaves {', '.join(missing)} without a value: "
            f"the model takes {takes.describe()}; give a dict with those keys"
        )


def as_tensors(value: Any) -> Any:
    """`value` with the NumPy arrays in it turned into tensors; containers are kept.

    Raises:
        DataError: if an array holds something other than numbers.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufc":
            raise DataError(f"an array of dtype {value.dtype} holds no numbers: give a numeric array")
        if value.dtype in (np.longdouble, np.clongdouble):
            value = value.astype(np.float64 if value.dtype.kind == "f" else np.complex128)
        native = value.astype(value.dtype.newbyteorder("="), copy=False)
        # A read-only or strided array cannot be shared with torch.
        return torch.from_numpy(
            native if native.flags.writeable and native.flags.c_contiguous else native.copy()
        )
    if isinstance(value, Mapping):
        return {key: as_tensors(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        converted = [as_tensors(each) for each in value]
        return converted if isinstance(value, list) else tuple(converted)
    return value


def leaves(batch: Any) -> Iterator[torch.Tensor]:
    """The tensors of a batch, in order."""
    if torch.is_tensor(batch):
        yield batch
    elif isinstance(batch, np.ndarray):
        yield as_tensors(batch)
    elif isinstance(batch, Mapping):
        for each in batch.values():
            yield from leaves(each)
    elif isinstance(batch, tuple | list):
        for each in batch:
            yield from leaves(each)


def first_tensor(batch: Any) -> torch.Tensor:
    """The first tensor of a batch: its leading dimension is the number of examples.

    Raises:
        DataError: if there is none, or it has no dimension.
    """
    found = next(leaves(batch), None)
    if found is None:
        raise DataError(f"a batch ({type(batch).__name__}) holds no tensor")
    if found.dim() == 0:
        raise DataError("a batch is a single number: its first tensor needs a leading dimension of examples")
    return found


def map_tensors(function: Callable[[torch.Tensor], torch.Tensor], batch: Any) -> Any:
    """A batch with `function` applied to its tensors; containers become plain dicts, tuples and lists."""
    if torch.is_tensor(batch):
        return function(batch)
    if isinstance(batch, np.ndarray):
        return function(as_tensors(batch))
    if isinstance(batch, Mapping):
        return {key: map_tensors(function, each) for key, each in batch.items()}
    if isinstance(batch, tuple | list):
        mapped = [map_tensors(function, each) for each in batch]
        return mapped if isinstance(batch, list) else tuple(mapped)
    return batch


def to_device(batch: Any, device: str | torch.device) -> Any:
    """A batch with its tensors on `device`."""
    return map_tensors(lambda tensor: tensor.to(device), batch)

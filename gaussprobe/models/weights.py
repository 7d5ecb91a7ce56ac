"""Weights without architecture: finding them in a checkpoint and loading them into a module."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gaussprobe.errors import ModelFileError
from gaussprobe.models.extras import missing_extra
from gaussprobe.models.wording import first_line, printable

# Where checkpoints keep their weights, in the order they are looked for.
CHECKPOINT_KEYS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "generator",
    "encoder",
    "ema",
)
PREFIXES = ("module.", "model.", "_orig_mod.")
_MAX_STRIPPED = 3
_MAX_NESTED = 3
_SHOWN = 5


def is_state_dict(value: Any) -> bool:
    """Whether `value` maps names to tensors, and nothing else but a module's extra state."""
    if not isinstance(value, Mapping) or not value or not all(isinstance(key, str) for key in value):
        return False
    tensors = [torch.is_tensor(each) for key, each in value.items() if not key.endswith("_extra_state")]
    return bool(tensors) and all(tensors)


def looks_like_weights(state: Mapping[str, Any]) -> bool:
    """Whether the names are those of parameters rather than of saved activations or inputs."""
    endings = ("weight", "bias", "running_mean", "running_var", "weight_g", "weight_v", "in_proj_weight")
    return any(name.rpartition(".")[2].startswith(endings) or "weight_" in name for name in state)


def find_weights(content: Any, *, nested: int = _MAX_NESTED) -> tuple[Any, str] | None:
    """The state_dict or module inside what a file holds.

    Args:
        content: what was loaded.
        nested: how many levels of dicts to look into.

    Returns:
        The state_dict or `nn.Module`, and the dotted key it was found under (empty for `content` itself);
        None when there is none.
    """
    if isinstance(content, nn.Module) or is_state_dict(content):
        return content, ""
    if not isinstance(content, Mapping) or nested == 0:
        return None
    for key in CHECKPOINT_KEYS:
        if key in content:
            found = find_weights(content[key], nested=nested - 1)
            if found is not None:
                weights, inner = found
                return weights, f"{key}.{inner}" if inner else key
    return None


def read_safetensors(path: Path, source: str) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file by name; the format holds numbers only.

    Args:
        path: the file.
        source: how messages name it.

    Raises:
        ModelFileError: if it is truncated or damaged.
        MissingExtraError: if the package safetensors is not installed.
    """
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise missing_extra(
            f"{source}: a safetensors file", package="safetensors", extra="safetensors"
        ) from error
    try:
        return dict(load_file(path))
    except Exception as error:  # whatever a damaged header makes the package raise
        raise ModelFileError(f"{source}: is not a whole safetensors file: {first_line(error)}") from error


def load_weights(
    module: nn.Module, state: Mapping[str, Any], *, source: str, factory: str
) -> tuple[str, ...]:
    """Load a state_dict into a module, strictly; wrappers' prefixes are stripped where keys then match.

    Args:
        module: a fresh module; its parameters and buffers are overwritten.
        state: the state_dict.
        source: the file, for messages.
        factory: what made the module, for messages.

    Returns:
        Notes: what was stripped.

    Raises:
        ModelFileError: if keys or shapes differ, naming the first of them.
    """
    expected = module.state_dict()
    chosen, stripped = _best_match(state, set(expected))
    title = f"{source}: does not fit the model of {factory} ({type(module).__name__})"
    for name, value in chosen.items():
        wanted = expected.get(name)
        if not torch.is_tensor(wanted) or not torch.is_tensor(value) or nn.parameter.is_lazy(wanted):
            continue
        if wanted.shape != value.shape:
            raise ModelFileError(
                f"{title}: {name} is {_shape(value)} in the file, {_shape(wanted)} in the model"
            )
    try:
        result = module.load_state_dict(chosen, strict=False)
    except Exception as error:  # a module's own loading code may raise anything
        raise ModelFileError(f"{title}: {first_line(error)}") from error
    if result.missing_keys or result.unexpected_keys:
        raise ModelFileError(
            f"{title}: {len(result.missing_keys)} names missing{_first(result.missing_keys)}, "
            f"{len(result.unexpected_keys)} unexpected{_first(result.unexpected_keys)}"
        )
    return (f"the prefix {stripped!r} was stripped from the names of the weights",) if stripped else ()


def _best_match(state: Mapping[str, Any], expected: set[str]) -> tuple[Mapping[str, Any], str]:
    """The state_dict with the prefixes stripped that make its keys match best, and those prefixes."""
    best, best_stripped = state, ""
    best_overlap = len(expected & state.keys())
    for candidate, stripped in _stripped(state, "", _MAX_STRIPPED):
        if best_overlap == len(expected) == len(best):
            break
        overlap = len(expected & candidate.keys())
        if overlap > best_overlap:
            best, best_stripped, best_overlap = candidate, stripped, overlap
    return best, best_stripped


def _stripped(state: Mapping[str, Any], done: str, left: int) -> Iterator[tuple[Mapping[str, Any], str]]:
    for prefix in PREFIXES:
        if left and state and all(name.startswith(prefix) for name in state):
            shorter = OrderedDict((name[len(prefix) :], value) for name, value in state.items())
            # load_state_dict reads the versions of the modules, keyed by path, from this attribute.
            metadata = getattr(state, "_metadata", None)
            if isinstance(metadata, Mapping):
                paths = {f"{path}."[len(prefix) :].rstrip("."): value for path, value in metadata.items()}
                shorter._metadata = OrderedDict(paths)  # type: ignore[attr-defined]
            yield shorter, done + prefix
            yield from _stripped(shorter, done + prefix, left - 1)


def _shape(tensor: torch.Tensor) -> str:
    return str(tuple(tensor.shape))


def _first(names: list[str]) -> str:
    if not names:
        return ""
    more = ", .." if len(names) > _SHOWN else ""
    return f" ({', '.join(map(printable, names[:_SHOWN]))}{more})"

"""Normality normalization put into a model in place, taken out again, and accounted for."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from gaussprobe.errors import GaussprobeWarning
from gaussprobe.nn import functional, layers
from gaussprobe.nn.functional import How

_log = logging.getLogger("gaussprobe")

# The first class that a layer is an instance of decides; its methods must be that class's own.
_METHODS = (
    *("forward", "__call__", "_check_input_dim", "_apply_instance_norm", "_handle_no_batch_input"),
    "_get_no_batch_dim",
)


@dataclass(frozen=True, kw_only=True)
class Change:
    """A normalization layer of a model.

    Args:
        name: its path in the model, `""` for the model itself.
        before: its class as it was.
        after: its class as it is.
        reason: why it is as it was; empty for a layer that was changed.
    """

    name: str
    before: str
    after: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Description:
    """The normalization layers of a model.

    Args:
        changed: those with normality normalization in their place.
        unchanged: the others, with the reason.
    """

    changed: tuple[Change, ...]
    unchanged: tuple[Change, ...]

    def __str__(self) -> str:
        lines = [f"{len(self.changed)} changed, {len(self.unchanged)} not"]
        lines += [f"  {one.name or '(model)'}: {one.before} -> {one.after}" for one in self.changed]
        lines += [f"  {one.name or '(model)'}: {one.before}, {one.reason}" for one in self.unchanged]
        return "\n".join(lines)


def gaussianize(
    model: nn.Module,
    noise: float | None = None,
    strength: float = 1.0,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
) -> nn.Module:
    """Put normality normalization in the place of every BatchNorm, InstanceNorm, LayerNorm and GroupNorm.

    Each layer stays the object it is and changes its class: parameters, buffers, hooks, attributes, training
    mode and whatever else refers to it stay; what a subclass adds in methods is away until `restore`. A layer
    with running averages gets one of lambda, 1 to begin with, so that in evaluation it computes what it did
    until it is trained on. Layers that are changed already take the new `noise` and `strength`. Every change
    is logged (`logging`, "gaussprobe", level INFO); `describe` tells them.

    Args:
        model: changed in place.
        noise: xi; None for .4, and 1 in layers of LayerNorm.
        strength: alpha, from 0 to 1.
        include: shell-style patterns of names of layers, None for all.
        exclude: patterns of names to leave out.

    Returns:
        The model.

    Raises:
        ValueError: for a `noise` or `strength` out of range; the model is as it was.

    Warns:
        GaussprobeWarning: where no layer can be changed; the model is as it was.

    Reference:
        Eftekhari & Papyan (2025), ICML, arXiv:2505.00685.
    """
    functional.check(How(strength=strength, noise=0.0 if noise is None else noise))
    chosen = [
        (name, layer, target)
        for name, layer in _layers(model)
        if _wanted(name, include, exclude) and (target := _counterpart(layer)) is not None
    ]
    if not chosen:
        where = (
            "the model has no normalization layer" if not list(_layers(model)) else "no layer can be changed"
        )
        warnings.warn(
            f"{where} (see gaussprobe.nn.describe): it is as it was", GaussprobeWarning, stacklevel=2
        )
    for name, layer, target in chosen:
        before = type(layer)
        if not isinstance(layer, layers.Normality):
            # A class of the user's own is kept; of torch's, that there is a way back: a file can hold that.
            setattr(layer, layers.BEFORE, True if before in layers.COUNTERPARTS.values() else before)
            layer.__class__ = target
            assert isinstance(layer, layers.Normality)
            layer.begin(0.0, strength)
        assert isinstance(layer, layers.Normality)
        standard = layers.LAYER_NOISE if target is layers.LayerNormalNorm else layers.NOISE
        layer.noise, layer.strength = standard if noise is None else noise, strength
        _log.info("%s: %s -> %s", name or "(model)", before.__name__, type(layer).__name__)
    return model


def restore(model: nn.Module) -> nn.Module:
    """Make every layer that `gaussianize` changed what it was; running averages of lambda are lost.

    Args:
        model: changed in place.

    Returns:
        The model.
    """
    for name, layer in _layers(model):
        before = _before(layer)
        if before is not None:
            assert isinstance(layer, layers.Normality)
            layer.leave()
            delattr(layer, layers.BEFORE)
            after = type(layer).__name__
            if isinstance(layer, layers.SyncBatchNormalNorm) and not issubclass(before, nn.SyncBatchNorm):
                vars(layer).pop("process_group", None)  # of convert_sync_batchnorm
            layer.__class__ = before  # type: ignore[assignment]
            _log.info("%s: %s -> %s", name or "(model)", after, before.__name__)
    return model


def describe(model: nn.Module) -> Description:
    """Which normalization layers of a model are changed, and which are not and why.

    Args:
        model: any.

    Returns:
        Both, in the order of the model; to be printed.
    """
    changed, unchanged = [], []
    for name, layer in _layers(model):
        kind = type(layer).__name__
        if isinstance(layer, layers.Normality):
            before = _before(layer) or type(layer)
            changed.append(Change(name=name, before=before.__name__, after=kind))
        else:
            reason = _refusal(layer) or "not asked for"
            unchanged.append(Change(name=name, before=kind, after=kind, reason=reason))
    return Description(changed=tuple(changed), unchanged=tuple(unchanged))


def _before(layer: nn.Module) -> type[nn.Module] | None:
    """What a changed layer was; None for one that was not changed."""
    known = vars(layer).get(layers.BEFORE)
    if not isinstance(layer, layers.Normality) or known is None:
        return None
    return known if isinstance(known, type) else layers.COUNTERPARTS[type(layer)]


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """What is, or is called, a normalization layer; shared ones once."""
    for name, module in model.named_modules():
        known = isinstance(module, (nn.modules.batchnorm._NormBase, *layers.COUNTERPARTS.values()))
        called = getattr(module, "original_name", type(module).__name__)  # the former of TorchScript
        named = "norm" in called.lower() and not any(True for _ in module.children())
        if known or isinstance(module, layers.Normality) or named:
            yield name, module


def _wanted(name: str, include: str | Sequence[str] | None, exclude: str | Sequence[str] | None) -> bool:
    return (include is None or _matches(name, include)) and not (
        exclude is not None and _matches(name, exclude)
    )


def _matches(name: str, patterns: str | Sequence[str]) -> bool:
    listed = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatchcase(name, pattern) for pattern in listed)


def _counterpart(layer: nn.Module) -> type[layers.Normality] | None:
    """The class to change a layer to, None for what cannot be changed."""
    if isinstance(layer, layers.Normality):
        return type(layer)
    if _refusal(layer):
        return None
    return next(ours for ours, stock in layers.COUNTERPARTS.items() if isinstance(layer, stock))


def _refusal(layer: nn.Module) -> str:
    """Why a layer cannot be changed; empty where it can."""
    stock = next((each for each in layers.COUNTERPARTS.values() if isinstance(layer, each)), None)
    if isinstance(layer, torch.jit.ScriptModule):
        return "it is compiled to TorchScript"
    if any(is_lazy(each) for each in (*layer.parameters(), *layer.buffers())):
        return "its number of features is not known yet: run the model once before"
    if stock is None:
        return "it is none of torch.nn's BatchNorm, InstanceNorm, LayerNorm and GroupNorm"
    if parametrize.is_parametrized(layer):
        return "it is parametrized"
    for name in _METHODS:
        if getattr(type(layer), name, None) is not getattr(stock, name, None) or name in vars(layer):
            return f"its {name} is its own, not that of {stock.__name__}"
    if any(vars(each).get("__slots__") for each in type(layer).__mro__):
        return "its class has __slots__"
    if not layer.eps >= 0:  # type: ignore[operator]
        return "its eps is negative"
    own = [name for name in (*layers.TAKEN, "running_lambda") if hasattr(layer, name)]
    return f"it has a {own[0]!r} of its own" if own else ""

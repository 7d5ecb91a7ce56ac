"""What a training function is given, and what keeps its randomness the same in every setting."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.utils import _pytree as pytree

from gaussprobe import measures
from gaussprobe.errors import GaussprobeError, GaussprobeWarning, first_line
from gaussprobe.measured import Carried, MinibatchR2, PairNumbers
from gaussprobe.nn.decorrelated import DecorrelatedBatchNormalNorm2d
from gaussprobe.nn.layers import Normality
from gaussprobe.scan import scan
from gaussprobe.types import Run
from gaussprobe.watch import Watch

# What can be measured on held-out data beside the scores, and of a training step.
HELD_OUT = ("minibatches", "pairs", "robustness")
MEASUREMENTS = (*HELD_OUT, "cost")

# Arguments of a call of a model, positional and by keyword.
Call: TypeAlias = "tuple[tuple[Any, ...], dict[str, Any]]"


class Probe:
    """The eye on one training: steps are told to it, and at the end it may be shown held-out data.

    Args:
        model: that is trained.
        watch: of it, entered.
        seed: of samplings.
        keep: file for what `measure` finds.
        measures: what it measures beside the scores, names of `HELD_OUT`.
    """

    def __init__(
        self, model: nn.Module, watch: Watch, *, seed: int, keep: Path, measures: Collection[str] = ()
    ) -> None:
        self.model, self.watch = model, watch
        self.measured: Run | None = None
        self.minibatches: tuple[MinibatchR2, ...] = ()
        self.pairs: tuple[PairNumbers, ...] = ()
        self.robustness: tuple[Carried, ...] = ()
        self.notes: list[str] = []
        self.steps = 0
        self._seed, self._keep, self._measures = seed, keep, measures

    def step(self, **metrics: float | torch.Tensor) -> None:
        """End a training step; see `gaussprobe.watch`."""
        self.watch.step(**metrics)
        self.steps += 1

    def measure(self, batches: Any, **options: Any) -> Run:
        """Score the layers on given inputs, in evaluation mode: the numbers that settings are compared by.

        Besides, what `gaussprobe.compare` was asked to measure on held-out data: Q-Q R^2 channel by channel
        and minibatch by minibatch, pairs of channels, how far noise carries. Without it settings are compared
        by the scores of the last recorded step, of training batches and with training's noise.

        Args:
            batches: as `gaussprobe.scan` takes them; the same in every setting.
            options: of `gaussprobe.scan`.

        Returns:
            The run; a later one takes its place.
        """
        if isinstance(batches, Iterator):
            batches = list(batches)  # they are gone through several times
        self.measured = scan(self.model, batches, **{"seed": self._seed} | options)
        self.measured.save(self._keep)
        self.notes.clear()
        shared: dict[str, Any] = {k: options[k] for k in ("include", "exclude", "batch_size") if k in options}
        self.minibatches = self._found("minibatches", measures.minibatch_qq_r2, batches, shared)
        self.pairs = self._found("pairs", measures.channel_pairs, batches, shared)
        self.robustness = self._found("robustness", measures.noise_robustness, batches, {})
        return self.measured

    def _found(
        self, name: str, measure: Callable[..., tuple[Any, ...]], batches: Any, options: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        """What a measure gives; nothing, and a note, where it cannot be had of this model."""
        if name not in self._measures:
            return ()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", GaussprobeWarning)
            try:
                found = measure(self.model, batches, seed=self._seed, **options)
            except (GaussprobeError, ValueError) as error:
                self.notes.append(f"{name}: {first_line(error) or type(error).__name__}")
                found = ()
        ours = [one for one in said if issubclass(one.category, GaussprobeWarning)]
        # That a unit's nonlinearity gives one value on all examples is no news.
        assert self.measured is not None
        silent = tuple(f"{score.site}: " for score in self.measured.scores if not score.headline)
        notes = (str(one.message) for one in ours)
        self.notes += dict.fromkeys(f"{name}: {note}" for note in notes if not note.startswith(silent))
        for one in said:
            if one not in ours:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        return found


@contextmanager
def noise_apart(model: nn.Module, seed: int) -> Iterator[None]:
    """Let normality normalization draw its noise from streams of its own, one for each device.

    Whatever else is random in training (the order of batches, dropout) is then the same with it and without.
    """
    streams: dict[torch.device, torch.Tensor] = {}
    left: list[list[tuple[torch.device, torch.Tensor]]] = []

    def before(_module: nn.Module, given: tuple[Any, ...]) -> None:
        devices = {torch.device("cpu")} | {
            x.device for x in given if isinstance(x, torch.Tensor) and x.is_cuda
        }
        left.append([(device, _state(device)) for device in devices])
        for device in devices:
            if device not in streams:
                streams[device] = torch.Generator(device).manual_seed(seed).get_state()
            _set_state(device, streams[device])

    def after(_module: nn.Module, _given: Any, _found: Any) -> None:
        for device, state in left.pop() if left else ():
            streams[device] = _state(device)
            _set_state(device, state)

    handles = []
    try:
        for layer in model.modules():
            if isinstance(layer, Normality | DecorrelatedBatchNormalNorm2d):
                handles.append(layer.register_forward_pre_hook(before, prepend=True))
                handles.append(layer.register_forward_hook(after, always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _state(device: torch.device) -> torch.Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_state(device: torch.device, state: torch.Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


@contextmanager
def first_batch(model: nn.Module) -> Iterator[list[Call]]:
    """Arguments of the first call in training mode, copied, once there was one.

    The hook is gone after that call and in no compiled graph: the watch has the first step run eagerly.
    """
    found: list[Call] = []

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if module.training and not found:
            found.append(pytree.tree_map_only(torch.Tensor, lambda t: t.detach().clone(), (args, kwargs)))
            handle.remove()

    handle = model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()


def as_batch(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Arguments of a call as one batch, as `gaussprobe.scan` takes it."""
    if not kwargs:
        return args
    return dict(inspect.signature(model.forward).bind(*args, **kwargs).arguments)

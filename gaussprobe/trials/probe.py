"""What a training function is given, and what keeps its randomness the same in every setting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gaussprobe.nn.decorrelated import DecorrelatedBatchNormalNorm2d
from gaussprobe.nn.layers import Normality
from gaussprobe.scan import scan
from gaussprobe.types import Run
from gaussprobe.watch import Watch


class Probe:
    """The eye on one training: steps are told to it, and at the end it may be shown held-out data.

    Args:
        model: that is trained.
        watch: of it, entered.
        seed: of samplings.
        keep: file for what `measure` finds.
    """

    def __init__(self, model: nn.Module, watch: Watch, *, seed: int, keep: Path) -> None:
        self.model, self.watch = model, watch
        self.measured: Run | None = None
        self.steps = 0
        self._seed, self._keep = seed, keep

    def step(self, **metrics: float | torch.Tensor) -> None:
        """End a training step; see `gaussprobe.watch`."""
        self.watch.step(**metrics)
        self.steps += 1

    def measure(self, batches: Any, **options: Any) -> Run:
        """Score the layers on given inputs, in evaluation mode: the numbers that settings are compared by.

        Without it they are those of the last recorded step, of training batches and with training's noise.

        Args:
            batches: as `gaussprobe.scan` takes them; the same in every setting.
            options: of `gaussprobe.scan`.

        Returns:
            The run; a later one takes its place.
        """
        options = {"seed": self._seed} | options
        self.measured = scan(self.model, batches, **options)
        self.measured.save(self._keep)
        return self.measured


@contextmanager
def noise_apart(model: nn.Module, seed: int) -> Iterator[None]:
    """Let normality normalization draw its noise from a stream of its own.

    Whatever else is random in training (the order of batches, dropout) is then the same with it and without.
    """
    stream = torch.Generator().manual_seed(seed).get_state()
    left: list[torch.Tensor] = []

    def before(_module: nn.Module, _given: Any) -> None:
        left.append(torch.get_rng_state())
        torch.set_rng_state(stream)

    def after(_module: nn.Module, _given: Any, _found: Any) -> None:
        nonlocal stream
        if left:
            stream = torch.get_rng_state()
            torch.set_rng_state(left.pop())

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

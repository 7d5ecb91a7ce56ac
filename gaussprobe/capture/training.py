"""The passes that a training loop makes by itself: begun and ended by the outermost module that runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NamedTuple, Unpack

import torch
from torch import nn

from gaussprobe.capture.base import Options
from gaussprobe.capture.recorder import Capture


class Passing(NamedTuple):
    """What a pass is over: how many examples, along which dimension they run, which positions are data."""

    n_examples: int
    dim: int = 0
    mask: torch.Tensor | None = None


# What a module and its arguments are a pass over; None where that cannot be told.
Describe = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Passing | None]


class TrainingCapture(Capture):
    """Samples of the training-mode passes between entering and leaving, whoever runs them.

    A pass begins with the outermost module of the model that is called, be it the whole model or a part of
    it, and ends with it. Passes in evaluation mode, and those that activation checkpointing makes within a
    backward pass, are none.

    Args:
        model: an eager module; a compiled one must run eagerly inside.
        describe: what a pass is over.
        options: as `FrontEnd`.
    """

    def __init__(self, model: nn.Module, *, describe: Describe, **options: Unpack[Options]) -> None:
        super().__init__(model, **options)
        self.passes = 0
        self.unread = 0  # passes whose examples could not be counted
        self._describe = describe
        self._outermost: nn.Module | None = None
        self._pass: AbstractContextManager[None] | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()  # of a pass that an interrupt left open: hooks are not called then
        super().__exit__(kind, error, trace)

    def _make_pre_hook(self, path: str) -> Callable[..., None]:
        seen = super()._make_pre_hook(path)

        def pre_hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self._outermost is None and module.training and torch._C._current_graph_task_id() == -1:
                self._begin(module, args, kwargs)
            seen(module, args, kwargs)

        return pre_hook

    def _make_hook(self, path: str) -> Callable[..., None]:
        seen = super()._make_hook(path)

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            seen(module, args, kwargs, output)
            if module is self._outermost and not self._stack:
                self._end()
            elif self._outermost is None and torch._C._current_graph_task_id() != -1:
                self.book.see_again(path)

        return hook

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found = self._describe(module, args, kwargs)
        if found is None:
            self.unread += 1
            return
        self._hook_all()  # a loop may have changed the model's layers since
        self._pass = self.forward(found.n_examples, found.dim, mask=found.mask)
        self._pass.__enter__()
        self._outermost = module

    def _end(self) -> None:
        passing, self._pass, self._outermost = self._pass, None, None
        if passing is not None:
            self.passes += 1
            passing.__exit__(None, None, None)

"""The one interface of all ways to watch a model run, and which way fits a model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

import torch
from torch import nn

from gaussprobe.capture import graph, scripted
from gaussprobe.capture.accumulate import Plan, SiteAccumulator
from gaussprobe.capture.book import Plant
from gaussprobe.capture.recorder import Capture
from gaussprobe.capture.sampling import Indices
from gaussprobe.errors import UnsupportedError
from gaussprobe.types import CaptureRecord, NotCaptured, Samples


class FrontEnd(Protocol):
    """What every capture offers; see `recorder.Capture`."""

    include: Sequence[str] | None
    exclude: Sequence[str] | None

    @property
    def sites(self) -> dict[str, SiteAccumulator]: ...

    @property
    def last_site(self) -> str | None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

    def forward(
        self,
        n_examples: int,
        batch_dim: int = 0,
        *,
        mask: torch.Tensor | None = None,
        groups: Indices | None = None,
    ) -> AbstractContextManager[None]: ...

    def samples(self, step: int = 0) -> list[Samples]: ...

    def records(self) -> list[CaptureRecord]: ...

    def not_captured(self) -> list[NotCaptured]: ...


def of(
    model: nn.Module,
    *,
    plan: Plan | None = None,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    deep: bool = False,
    logits: bool = False,
    plant: Plant | None = None,
) -> FrontEnd:
    """The capture that fits a model; arguments as `recorder.Capture` takes them."""
    if deep and (scripted.handles(model) or graph.handles(model)):
        raise UnsupportedError(
            "deep looks inside layers of eager models\nthe model is a compiled program: leave it out"
        )
    if scripted.handles(model):
        return scripted.ScriptCapture(model, plan=plan, include=include, exclude=exclude, plant=plant)
    if graph.handles(model):
        return graph.GraphCapture(model, plan=plan, include=include, exclude=exclude, plant=plant)
    return Capture(model, plan=plan, include=include, exclude=exclude, deep=deep, logits=logits, plant=plant)

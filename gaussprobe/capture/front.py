"""Which way to watch a model run fits it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from gaussprobe.capture import graph, scripted
from gaussprobe.capture.accumulate import Plan
from gaussprobe.capture.base import FrontEnd
from gaussprobe.capture.book import Plant
from gaussprobe.capture.recorder import Capture
from gaussprobe.errors import UnsupportedError


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

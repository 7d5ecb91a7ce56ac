"""Which way to watch a model run fits it."""

from __future__ import annotations

from typing import Unpack

from torch import nn

from gaussprobe.capture import graph, scripted
from gaussprobe.capture.base import FrontEnd, Options
from gaussprobe.capture.recorder import Capture
from gaussprobe.errors import UnsupportedError


def of(model: nn.Module, *, deep: bool = False, logits: bool = False, **options: Unpack[Options]) -> FrontEnd:
    """The capture that fits a model; arguments as `recorder.Capture` takes them."""
    if not scripted.handles(model) and not graph.handles(model):
        return Capture(model, deep=deep, logits=logits, **options)
    if deep:
        raise UnsupportedError(
            "deep looks inside layers of eager models\nthe model is a compiled program: leave it out"
        )
    kind = scripted.ScriptCapture if scripted.handles(model) else graph.GraphCapture
    return kind(model, **options)

"""From a model and its batches to `Samples` per site."""

from gaussprobe.capture.base import FrontEnd
from gaussprobe.capture.front import of
from gaussprobe.capture.plan import Plan
from gaussprobe.capture.recorder import Capture

__all__ = ["Capture", "FrontEnd", "Plan", "of"]

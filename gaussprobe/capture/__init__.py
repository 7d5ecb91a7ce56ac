"""From a model and its batches to `Samples` per site."""

from gaussprobe.capture.base import FrontEnd
from gaussprobe.capture.front import of
from gaussprobe.capture.merging import merge
from gaussprobe.capture.plan import Plan
from gaussprobe.capture.recorder import Capture
from gaussprobe.capture.training import Describe, Passing, TrainingCapture

__all__ = ["Capture", "Describe", "FrontEnd", "Passing", "Plan", "TrainingCapture", "merge", "of"]

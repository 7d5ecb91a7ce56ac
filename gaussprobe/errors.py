"""Exceptions and warnings: one small tree, mapped to exit codes in `gaussprobe.cli.main` alone."""

from __future__ import annotations


class GaussprobeError(Exception):
    """A failure of work (a file, a model, a store). The message, one or two lines, says
    what, where and what to do.
    """


class ModelFileError(GaussprobeError):
    """A model cannot be opened, or is refused."""


class FactoryError(GaussprobeError):
    """A `pkg.mod:fn` cannot be imported or called."""


class DataError(GaussprobeError):
    """Inputs cannot be read, or do not fit the model."""


class ForwardError(GaussprobeError):
    """The model's own forward pass raised."""


class CaptureError(GaussprobeError):
    """Nothing could be captured."""


class SelectionError(GaussprobeError):
    """`include`, `exclude`, `kind` or a step left no site, or two runs have none in common."""


class WatchError(GaussprobeError):
    """A training loop calls a watch as it cannot be called."""


class StoreError(GaussprobeError):
    """A run or a report cannot be written or read."""


class MissingExtraError(GaussprobeError):
    """An optional package is not installed."""


class UnsupportedError(GaussprobeError):
    """Something is named in the interface that this version does not do."""


class GaussprobeWarning(UserWarning):
    """Base of all warnings."""


class TooFewSamplesWarning(GaussprobeWarning):
    """Fewer samples than a statistic needs: the result is NaN."""


class ConstantSampleWarning(GaussprobeWarning):
    """A sample without variance: the result is NaN."""


class NonFiniteSampleWarning(GaussprobeWarning):
    """A sample with NaN or infinity: the result is NaN."""


class SyntheticInputWarning(GaussprobeWarning):
    """The model was fed made-up inputs."""


def first_line(error: BaseException) -> str:
    """The first line of what an exception says; empty where it says nothing."""
    return next(iter(str(error).strip().splitlines()), "")

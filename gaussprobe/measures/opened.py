"""What the measures of a layer's values begin with: arguments checked, a model and its inputs opened."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from torch import nn

from gaussprobe import borrow, models, passes
from gaussprobe.capture import FrontEnd
from gaussprobe.errors import GaussprobeWarning
from gaussprobe.types import Mode


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A model and its inputs."""

    module: nn.Module
    inputs: models.Inputs


@contextmanager
def opened(
    model: nn.Module | str | Path, batches: Any, *, batch_size: int | None, seed: int
) -> Iterator[Opened]:
    """A model and its inputs; inside, all generators begin at the seed, and are put back afterwards.

    Args:
        model, batches, batch_size: as `gaussprobe.scan` takes them; nothing is made up.
        seed: of whatever the model draws while it runs.

    Raises:
        ValueError: without batches.
        ModelFileError, FactoryError, DataError: if the model or the data cannot be had.
    """
    if batches is None:
        raise ValueError("batches must be given: a data set, or an iterable of batches; got None")
    with borrow.isolated_rng(seed, borrow.cuda_devices(model, None)):
        found = models.open_model(model)
        images = models.image_options(None, None, None)
        inputs = passes.open_inputs(batches, found.module, batch_size, seed, found.folder, images)
        yield Opened(module=found.module, inputs=inputs)


def check(mode: str, seed: int, **least: tuple[int, int]) -> None:
    """Refuse arguments out of their range.

    Args:
        mode: `"eval"` or `"train"`.
        seed: not negative, below 2^63.
        least: of each whole number its value, and the least it may be.

    Raises:
        ValueError: naming the argument.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}; got {mode!r}")
    check_integers(**least, seed=(seed, 0))


def check_integers(**least: tuple[int, int]) -> None:
    """Refuse what is no integer, or out of its range.

    Args:
        least: of each its value, and the least it may be; all must be below 2^63, as seeds are.

    Raises:
        ValueError: naming the argument.
    """
    for name, (value, lowest) in least.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
            raise ValueError(f"{name} must be an integer of at least {lowest}; got {value!r}")
        if value >= 2**63:
            raise ValueError(f"{name} must be below 2**63; got {value!r}")


def say(site: str, message: str, category: type[GaussprobeWarning] = GaussprobeWarning) -> None:
    """Warn whoever called this package of what a reader of a site's numbers must know."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "gaussprobe":
        frame, level = frame.f_back, level + 1
    warnings.warn(f"{site or '(the model)'}: {message}", category, stacklevel=level)


def say_unread(capture: FrontEnd) -> None:
    """Warn of the sites that were reached and could not be read."""
    for one in capture.not_captured():
        if one.site in capture.sites:
            say(one.site, f"not measured: {one.reason}")

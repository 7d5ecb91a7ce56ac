"""A model run over its batches past a capture: what `scan` and `selftest` share."""

from __future__ import annotations

import difflib
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import nn

from gaussprobe import borrow, models
from gaussprobe import capture as captures
from gaussprobe.activations import SavedSites
from gaussprobe.errors import DataError, ForwardError, GaussprobeError, SelectionError, first_line
from gaussprobe.types import KINDS, Kind, Mode, NotCaptured, Samples

# Called with what is being done, how much of it is done, and how much there is (None when unknown).
Progress = Callable[[str, int, int | None], None]

_TRAINING = "training-mode batch statistics make examples dependent: no p-values"
_SEQUENCE_FIRST = "the model is sequence-first (batch_first=False): examples run along the second dimension"


def silent(_what: str, _done: int, _total: int | None) -> None:
    """Progress that nobody watches."""


def open_inputs(
    batches: Any,
    module: nn.Module,
    batch_size: int | None,
    seed: int,
    folder: Path | None,
    images: models.ImageOptions,
) -> models.Inputs:
    """Inputs from whatever `scan` takes as batches.

    Args:
        batches: a path or `pkg.mod:fn`, Python objects, or None to make inputs up.
        module: the model they are for.
        batch_size: of data sets that have to be cut, None for the default.
        seed: of made-up inputs.
        folder: the model's own directory, None when it has none.
        images: how a folder of images is prepared.

    Raises:
        DataError: if they cannot be had.
    """
    if isinstance(batches, str | Path):
        return models.open_data(batches, module=module, batch_size=batch_size, folder=folder, images=images)
    if images.given:
        raise DataError("image_size, mean and std are for a folder of images as data")
    if batches is None:
        return models.infer(module, seed=seed)
    return models.from_python(batches, module=module, batch_size=batch_size)


def run(
    capture: captures.FrontEnd,
    module: nn.Module,
    inputs: models.Inputs,
    mode: Mode,
    report: Progress,
    groups: models.Groups,
) -> tuple[int, list[str]]:
    """Run every batch through the model, which is left as it was found.

    Args:
        capture: watches every pass.
        module: the model.
        inputs: its batches.
        mode: whether it runs as in training.
        report: told of how it goes on.
        groups: labels of dependent examples.

    Returns:
        The number of examples, and what was noted of the data.

    Raises:
        DataError: for a batch that does not fit, or no batch.
        ForwardError: if the model's forward raises.
        SelectionError: if the capture's patterns match no site.
    """
    device, n_examples, notes = borrow.device_of(module), 0, dict.fromkeys(inputs.notes)
    padded = positions = 0
    with borrow.as_found(module), torch.no_grad(), capture:
        module.train(mode == "train")
        for batch in inputs.batches:
            report("running the model", n_examples, inputs.n_examples)
            batch, labels = models.split_groups(batch)
            args, kwargs, note = models.call_arguments(module, models.to_device(batch, device))
            size, dim = examples_in(module, args, kwargs)
            notes |= dict.fromkeys([note] if note else [])
            notes |= dict.fromkeys([_SEQUENCE_FIRST] if dim else [])
            mask = models.data_mask(module, args, kwargs)
            if mask is not None:
                padded, positions = padded + int((~mask).sum()), positions + mask.numel()
            passing = capture.forward(size, dim, mask=mask, groups=groups.of(labels, size))
            _forward(capture, module, args, kwargs, passing)
            if n_examples == 0:
                check_selection(capture)
            n_examples += size
    if n_examples == 0:
        raise DataError("the data has no batches: nothing was run")
    notes |= dict.fromkeys(inputs.notes)  # what was learnt on the way
    groups.check_used()
    if padded:
        notes[f"{padded / positions:.0%} of the positions are padding and were left out"] = None
    return n_examples, list(notes)


def _forward(
    capture: captures.FrontEnd,
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    passing: AbstractContextManager[None],
) -> None:
    try:
        with borrow.eagerly(), passing:
            module(*args, **kwargs)
    except GaussprobeError:
        raise
    except (Exception, SystemExit, GeneratorExit) as error:
        reached = f"after site {capture.last_site!r}" if capture.last_site else "before any site was reached"
        wanted = None if capture.last_site else models.expectation(module)
        raise ForwardError(
            f"the model's forward failed {reached}, on inputs {_shapes(args, kwargs)}"
            f"{f'; {wanted}' if wanted else ''}\n"
            f"{type(error).__name__}: {first_line(error)}"
        ) from error


def _shapes(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    def shape(value: Any) -> str:
        if not isinstance(value, torch.Tensor):
            return type(value).__name__
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"

    return ", ".join([*map(shape, args), *(f"{name}={shape(v)}" for name, v in kwargs.items())])


def examples_in(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[int, int]:
    """Number of examples in a batch, and the dimension they run along.

    Raises:
        DataError: if there is nothing to count by.
    """
    counted = count_examples(module, args, kwargs)
    if counted is None:
        raise DataError("a batch holds no tensor with a first dimension to count examples by")
    return counted


def count_examples(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[int, int] | None:
    """Number of examples that a module is called with, and the dimension they run along; None if unknown."""
    tensor = models.first_tensor([*args, *kwargs.values()])
    if tensor is None or tensor.ndim == 0:
        return None
    dim = int(tensor.ndim == 3 and models.sequence_first(module))
    return int(tensor.shape[dim]), dim


def check_selection(capture: captures.FrontEnd | SavedSites) -> None:
    """After the first batch: refuse patterns that match no site."""
    names = list(capture.sites)
    if not names or any(site.sampled for site in capture.sites.values()):
        return
    if capture.include is None:
        raise SelectionError(
            f"exclude {', '.join(capture.exclude or ())!r} leaves none of {len(names)} sites"
        )
    pattern = ", ".join(capture.include)
    near = difflib.get_close_matches(pattern.strip("*?"), names, n=3, cutoff=0.5)
    help_ = f"nearest: {', '.join(near)}" if near else f"they are: {_some(names)}"
    raise SelectionError(f"include {pattern!r} matches none of {len(names)} sites\n{help_}")


def _some(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def check_options(
    deep: bool | Literal["logits"],
    seed: int,
    kind: Kind | Sequence[Kind] | None,
    mode: Mode,
    max_units: int,
) -> tuple[Kind, ...] | None:
    """Refuse what is out of range, whatever counts as a sample; returns the kinds wanted.

    Raises:
        ValueError: naming the argument.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
    if max_units < 1:
        raise ValueError(f"max_units must be at least 1, got {max_units!r}")
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must be at least 0 and below 2**63, got {seed!r}")
    if deep not in (False, True, "logits"):
        raise ValueError(f'deep must be True, False or "logits", got {deep!r}')
    if kind is None:
        return None
    wanted: tuple[Any, ...] = (kind,) if isinstance(kind, str) else tuple(kind)
    unknown = [k for k in wanted if k not in KINDS]
    if unknown:
        raise ValueError(f"kind must be among {', '.join(KINDS)}, got {unknown[0]!r}")
    return cast("tuple[Kind, ...]", wanted)


def select(samples: list[Samples], kinds: tuple[Kind, ...] | None) -> list[Samples]:
    """Samples of sites of those kinds; all for None.

    Raises:
        SelectionError: if there are none.
    """
    if kinds is None or not samples:
        return samples
    kept = [s for s in samples if set(kinds) & set(s.site.kinds)]
    if not kept:
        present = [k for k in KINDS if any(k in s.site.kinds for s in samples)]
        raise SelectionError(f"no site is of kind {', '.join(kinds)}; the model has {', '.join(present)}")
    return kept


def nothing_captured(module: nn.Module | None, missing: Sequence[NotCaptured]) -> str:
    """What to say where no site has samples.

    Args:
        module: the model, None for saved activations.
        missing: sites that have none, with their reasons.
    """
    if missing:
        first = missing[0]
        count = len(missing)
        return f"nothing was captured: {count} sites are missing\nthe first, {first.site!r}: {first.reason}"
    return (
        f"nothing was captured: {type(module).__name__} calls no linear, convolution, normalization "
        "or activation that can be seen"
    )


def has_batch_statistics(module: nn.Module) -> bool:
    """Whether in training mode the model normalizes by statistics of the batch."""
    return any(
        isinstance(m, nn.modules.batchnorm._NormBase)
        and not isinstance(m, nn.modules.instancenorm._InstanceNorm)
        for m in module.modules()
    )


def dependent(samples: Samples) -> Samples:
    """The same samples, known to be of examples that batch statistics make dependent."""
    sampling = replace(samples.sampling, caveats=(*samples.sampling.caveats, _TRAINING))
    return replace(samples, independent=False, sampling=sampling)


def patterns(given: str | Sequence[str] | None) -> list[str] | None:
    """Patterns of site names as a list; None for all."""
    if not given:
        return None
    return [given] if isinstance(given, str) else list(given)


def versions() -> dict[str, str]:
    """Of Python and the packages that numbers depend on."""
    names = ("torch", "numpy", "scipy", "statsmodels")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}

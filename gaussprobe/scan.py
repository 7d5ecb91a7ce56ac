"""One pass over a model: open it, run real inputs through it, score every site."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from gaussprobe import borrow, initializations, models, passes, scores, views
from gaussprobe import capture as captures
from gaussprobe.activations import SavedSites
from gaussprobe.errors import (
    CaptureError,
    DataError,
    SyntheticInputWarning,
    UnsupportedError,
)
from gaussprobe.types import Kind, Metadata, Mode, Run, View
from gaussprobe.version import __version__

SYNTHETIC = (
    "SYNTHETIC INPUTS: no data was given, so the model ran on made-up inputs. "
    "Activations depend on the data: do not report these numbers; pass real data."
)
_SAVED = (
    "{}: holds saved activations, which are scored as they are\n"
    "leave out data, batch size, device, deep, mode and image options"
)


def scan(
    model: nn.Module | str | Path,
    batches: Any = None,
    *,
    view: View = "unit",
    max_samples: int = 2048,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    deep: bool | Literal["logits"] = False,
    seed: int = 0,
    groups: Any = None,
    kind: Kind | Sequence[Kind] | None = None,
    mode: Mode = "eval",
    max_units: int = 4096,
    batch_size: int | None = None,
    device: str | None = None,
    factory: str | None = None,
    trust_pickle: bool = False,
    image_size: int | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    command: str = "",
    progress: passes.Progress | None = None,
) -> Run:
    """Score how Gaussian each layer's activations are on given inputs.

    The model runs without gradients; its training flags, buffers and the random state are as before
    afterwards, and nothing is written onto it.

    Args:
        model: a module, a path to a model file or a Hugging Face directory, or `"pkg.mod:fn"`; or a file of
            tensors, which are scored as saved activations.
        batches: an iterable of batches (a tensor, a dict of keyword arguments, or a tuple or list of
            positional ones; one surplus last element is taken as the target and dropped), a whole data set as
            one tensor or array, or a path or `"pkg.mod:fn"` as `--data` takes. None makes inputs up, loudly.
        view: what counts as one sample: `"unit"`, each unit across examples; `"layer"`, the units of a site,
            each standardised, pooled; `"example"`, the vector of one example across units; `"init"`, each
            unit across random initializations of a `"pkg.mod:fn"`, at the first example of the data (see
            `gaussprobe.signal.ensemble`). Only `"unit"` and `"init"` have p-values; `n_seen` and `n_tested`
            count the values of one such sample.
        max_samples: samples per unit that are tested, at least 8; which ones is random. With view `"init"`
            the number of initializations.
        include: shell-style patterns of site names to score, None for all.
        exclude: patterns of site names to leave out.
        deep: look inside attention and recurrent layers: the projections q, k and v and the gates, computed
            again from what the layer received; `"logits"` for attention logits too.
        seed: of the sampling and of whatever the model draws while it runs.
        groups: a label for each example, in the order of the data: examples of one group, as crops of one
            photograph or windows of one recording, are dependent. None to take those that dict batches bring
            under `groups`, if any.
        kind: keep only sites of these kinds, None for all.
        mode: `"eval"`, or `"train"` to see training-mode normalization (no p-values then).
        max_units: units per site that are scored; random ones, noted, where there are more.
        batch_size: of data sets that have to be cut, None for 128.
        device: where to run, None for where the model is; a model is moved back afterwards.
        factory: `"pkg.mod:fn"` that builds the model a state_dict belongs to.
        trust_pickle: open files that can run code.
        image_size: pixels of a side for a folder of images, None for what the model says, else 224.
        mean, std: of pixel values in [0, 1], one number or one per channel; None for what the model says,
            else ImageNet's.
        command: the command line to record.
        progress: told of how the work goes on.

    Returns:
        The run: scores in execution order, pictures, what was not captured and why, warnings.

    Raises:
        ValueError: for an argument out of its range.
        ModelFileError, FactoryError, DataError: if the model or the data cannot be had.
        ForwardError: if the model's forward raises; it names the site reached last.
        SelectionError: if `include`, `exclude` or `kind` leave nothing.
        CaptureError: if the model has no site that fires.
        UnsupportedError: for view `"init"` of a module or a file.
    """
    kinds = check_arguments(view, max_samples, deep, seed, kind, mode, max_units)
    images = models.image_options(image_size, mean, std)
    started = time.perf_counter()
    report = progress or passes.silent
    if view == "init":
        drawn = initializations.Settings(
            draws=max_samples,
            seed=seed,
            max_units=max_units,
            include=include,
            exclude=exclude,
            kinds=kinds,
            mode=mode,
            deep=deep,
            device=device,
            command=command,
            report=report,
        )
        return _over_initializations(
            model, batches, drawn, groups=groups, factory=factory, batch_size=batch_size, images=images
        )
    target = None if device is None else borrow.open_device(device)
    with borrow.isolated_rng(seed, borrow.cuda_devices(model, target)):
        report("opening the model", 0, None)
        opened = models.open_any(model, factory=factory, trust_pickle=trust_pickle)
        plan = captures.Plan(seed=seed, max_samples=max_samples, max_units=max_units)
        kept, left = passes.patterns(include), passes.patterns(exclude)
        capture: captures.FrontEnd | SavedSites
        if isinstance(opened, models.Activations):
            unwanted = (batches, batch_size, device)
            if any(each is not None for each in unwanted) or images.given or deep or mode == "train":
                raise DataError(_SAVED.format(opened.name))
            module, where = None, torch.device("cpu")
            capture = SavedSites(opened, plan=plan, include=kept, exclude=left, groups=groups)
            passes.check_selection(capture)
            description: Mapping[str, Any] = capture.description
        else:
            module = opened.module
            capture = captures.of(
                module, plan=plan, include=kept, exclude=left, deep=bool(deep), logits=deep == "logits"
            )
            with borrow.moved(module, target) as where:
                inputs = passes.open_inputs(batches, module, batch_size, seed, opened.folder, images)
                labels = models.Groups(inputs.groups if groups is None else groups)
                n_examples, notes = passes.run(capture, module, inputs, mode, report, labels)
            description = {**inputs.description, "n_examples": n_examples, "notes": notes}
    samples = passes.select(capture.samples(), kinds)
    not_captured = capture.not_captured()
    if not samples:
        raise CaptureError(passes.nothing_captured(module, not_captured))
    if mode == "train" and module is not None and passes.has_batch_statistics(module):
        samples = [passes.dependent(s) for s in samples]
    scored = []
    for index, one in enumerate(samples):
        report(f"scoring {one.site.name}", index, len(samples))
        scored.append(views.score(one, view=view))
    said = list(opened.notes)
    if mode == "train":
        said.append("the model ran in training mode")
    if description.get("synthetic"):
        warnings.warn(SYNTHETIC, SyntheticInputWarning, stacklevel=2)
        said.insert(0, SYNTHETIC)
    return Run(
        metadata=Metadata(
            gaussprobe=__version__,
            model=opened.name,
            view=view,
            mode=mode,
            seed=seed,
            max_samples=max_samples,
            data=description,
            command=command,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - started, 3),
            versions=passes.versions(),
            device=str(where),
        ),
        scores=tuple(s.score for s in scored),
        pictures=tuple(s.picture for s in scored),
        not_captured=tuple(not_captured),
        capture=tuple(capture.records()),
        warnings=tuple(said),
    )


def check_arguments(
    view: View,
    max_samples: int,
    deep: bool | Literal["logits"],
    seed: int,
    kind: Kind | Sequence[Kind] | None,
    mode: Mode,
    max_units: int,
) -> tuple[Kind, ...] | None:
    """Refuse what is out of range or not there yet; returns the kinds wanted."""
    if view not in get_args(View):
        raise ValueError(f"view must be one of {', '.join(get_args(View))}, got {view!r}")
    if max_samples < scores.MIN_SAMPLES:
        raise ValueError(f"max_samples must be at least {scores.MIN_SAMPLES}, got {max_samples!r}")
    return passes.check_options(deep, seed, kind, mode, max_units)


def _over_initializations(
    model: nn.Module | str | Path,
    batches: Any,
    settings: initializations.Settings,
    *,
    groups: Any,
    factory: str | None,
    batch_size: int | None,
    images: models.ImageOptions,
) -> Run:
    """View `"init"`: the model is drawn again and again, and run on the first example of the data."""
    if not (isinstance(model, str | Path) and models.sniff(model) is models.FileKind.MISSING):
        if isinstance(model, nn.Module):
            what, way = (
                type(model).__name__,
                "call gp.signal.ensemble(build, x) with what builds it",
            )
        else:
            what, way = str(model), "name the function that builds the model, as pkg.mod:fn"
        raise UnsupportedError(f'{what}: holds one initialization, and view "init" is of many: {way}')
    if groups is not None:
        raise ValueError('groups must be None with view "init": there is one example')
    name = str(model)
    if factory is not None or not models.is_reference(name):
        models.open_model(name, factory=factory)  # says what is wrong

    def prepare(module: nn.Module) -> tuple[Any, dict[str, Any]]:
        inputs = passes.open_inputs(batches, module, batch_size, settings.seed, None, images)
        return initializations.first_example(inputs, module)

    run = initializations.run(name, prepare, settings)
    return _told(run) if run.metadata.data.get("synthetic") else run


def _told(run: Run) -> Run:
    """A run on made-up inputs, which says so."""
    warnings.warn(SYNTHETIC, SyntheticInputWarning, stacklevel=4)
    return replace(run, warnings=(SYNTHETIC, *run.warnings))

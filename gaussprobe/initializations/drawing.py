"""View `init`: each unit over random initializations of a network, at one input."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import torch
from torch import nn

from gaussprobe import borrow, models, passes, views
from gaussprobe import capture as captures
from gaussprobe.errors import CaptureError, ForwardError
from gaussprobe.initializations.networks import Build, Networks, Weights, draw_seed, named
from gaussprobe.initializations.stacked import Stack
from gaussprobe.models.batches import map_tensors
from gaussprobe.types import Kind, Metadata, Mode, Run
from gaussprobe.version import __version__

# From the first network the input of all: a batch of one example, and how it was had.
Prepare = Callable[[nn.Module], tuple[Any, dict[str, Any]]]

_NO_STATISTICS = '; in mode "train" a batch of one example may leave nothing to normalize by'


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How networks are drawn and watched.

    Args:
        draws: networks.
        seed: of their weights, and of the units that are kept of wide sites.
        max_units: units kept per site.
        include, exclude: patterns of site names.
        kinds: of sites that are scored, None for all.
        mode: how the networks run.
        deep: whether to look inside fused layers.
        device: where they run, None for where they are built.
        command: the command line to record.
        report: told of how the work goes on.
    """

    draws: int
    seed: int
    max_units: int
    include: str | Sequence[str] | None = None
    exclude: str | Sequence[str] | None = None
    kinds: tuple[Kind, ...] | None = None
    mode: Mode = "eval"
    deep: bool | Literal["logits"] = False
    device: str | None = None
    command: str = ""
    report: passes.Progress = passes.silent


@dataclass(kw_only=True)
class _Seen:
    """What has been seen of the networks so far."""

    networks: Networks
    weights: Weights
    stack: Stack
    x: Any = None
    description: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    module: nn.Module | None = None  # the last
    where: torch.device = field(default_factory=lambda: torch.device("cpu"))


def run(build: Build, prepare: Prepare, settings: Settings) -> Run:
    """Draw the networks, run each on the one input, score every site over them.

    Args:
        build: makes a network, or names the function that does.
        prepare: gives the input; called once, with the first network.
        settings: the rest.

    Returns:
        The run, of view `"init"`.

    Raises:
        ValueError: if `build` is no function.
        FactoryError: if a network cannot be built, or the second has the weights of the first.
        ForwardError: if a network's forward raises; it names the draw.
        SelectionError: if `include`, `exclude` or `kinds` leave nothing.
        CaptureError: if the networks have no site that fires.
    """
    started = time.perf_counter()
    networks = Networks(build)
    seen = _Seen(networks=networks, weights=Weights(networks.title), stack=Stack(settings.draws))
    target = None if settings.device is None else borrow.open_device(settings.device)
    devices = borrow.cuda_devices(None, target)
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        devices = sorted({*devices, torch.cuda.current_device()})
    for draw in range(settings.draws):
        settings.report("drawing networks", draw, settings.draws)
        devices = _draw(seen, prepare, settings, draw, target, devices)
    samples = passes.select(seen.stack.samples(), settings.kinds)
    not_captured = seen.stack.not_captured()
    if not samples:
        raise CaptureError(passes.nothing_captured(seen.module, not_captured))
    scored = []
    for index, one in enumerate(samples):
        settings.report(f"scoring {one.site.name}", index, len(samples))
        scored.append(views.score(one, view="init"))
    return Run(
        metadata=Metadata(
            gaussprobe=__version__,
            model=networks.name,
            view="init",
            mode=settings.mode,
            seed=settings.seed,
            max_samples=settings.draws,
            data={**seen.description, "n_initializations": settings.draws, "notes": list(seen.notes)},
            command=settings.command,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - started, 3),
            versions=passes.versions(),
            device=str(seen.where),
        ),
        scores=tuple(s.score for s in scored),
        pictures=tuple(s.picture for s in scored),
        not_captured=tuple(not_captured),
        capture=tuple(seen.stack.records()),
        warnings=tuple(_warnings(seen, settings)),
    )


def _draw(
    seen: _Seen,
    prepare: Prepare,
    settings: Settings,
    draw: int,
    target: torch.device | None,
    devices: list[int],
) -> list[int]:
    """Build a network, run it, take in what was seen; returns the CUDA devices it draws on."""
    seed = draw_seed(settings.seed, draw)
    with borrow.isolated_rng(seed, devices):
        module = seen.networks.build(draw)
        if draw == 0:
            found = borrow.cuda_devices(module, target)
            if set(found) - set(devices):  # built on a device whose generator was not seeded
                return _draw(seen, prepare, settings, draw, target, sorted({*devices, *found}))
            models.open_model(module)  # refuses what cannot be watched
            with borrow.isolated_rng(settings.seed, devices):
                seen.x, seen.description = prepare(module)
            seen.notes |= dict.fromkeys(seen.description.get("notes", ()))
        capture = captures.of(
            module,
            # One position of one example: that of example 0, whatever the network.
            plan=captures.Plan(seed=settings.seed, max_samples=1, max_units=settings.max_units, middle=True),
            include=passes.patterns(settings.include),
            exclude=passes.patterns(settings.exclude),
            deep=bool(settings.deep),
            logits=settings.deep == "logits",
        )
        # A fresh copy each time: a model may write into what it is given.
        fresh = map_tensors(lambda tensor: tensor.detach().clone(), seen.x)
        inputs = models.Inputs(batches=[fresh], n_examples=1)
        with borrow.moved(module, target) as seen.where:
            try:
                _, notes = passes.run(capture, module, inputs, settings.mode, passes.silent, models.Groups())
            except ForwardError as error:
                lone = settings.mode == "train" and passes.has_batch_statistics(module)
                raise ForwardError(f"draw {draw}: {error}{_NO_STATISTICS if lone else ''}") from error
        seen.notes |= dict.fromkeys(notes)
        seen.stack.add(draw, seen.weights.take(draw, module), capture)
    seen.module = module
    return devices


def _warnings(seen: _Seen, settings: Settings) -> list[str]:
    """What a reader must know of the networks."""
    said = []
    fixed, uneven, repeats = seen.weights.fixed, seen.stack.uneven, seen.weights.n_repeats
    if repeats:
        said.append(
            f"{repeats:,} of {settings.draws:,} networks have the weights of an earlier one: no p-values; "
            "weights come from few values, or from a list that is gone through again"
        )
    if fixed:
        said.append(f"the same in every network: {named(fixed)}; what depends on nothing else does not vary")
    if uneven:
        said.append(
            f"the networks differ in their sites: {named(uneven)} not alike in all of them; "
            "see what was not captured"
        )
    if settings.mode == "train":
        said.append("the model ran in training mode")
    return said


def one_example(x: Any, module: nn.Module) -> tuple[Any, dict[str, Any]]:
    """A batch of one example as a network takes it, and how it was had.

    Args:
        x: the batch.
        module: the first network.

    Returns:
        The batch, arrays cast as the network takes them, and the `data` object of the run.

    Raises:
        ValueError: if there are more examples, or none.
        DataError: if the batch does not fit the network's `forward`.
    """
    batch, notes = models.Caster(module, arrays_only=True)(x)
    size, dim = count(module, batch)
    if size != 1:
        raise ValueError(
            f"x must hold one example, the input of all networks, in a batch of one; got {size} along "
            f"dimension {dim} (of an example without a batch, x[None] makes one)"
        )
    return batch, {
        "source": "Python",
        "kind": type(x).__name__,
        "synthetic": False,
        "n_examples": 1,
        "notes": notes,
    }


def first_example(inputs: models.Inputs, module: nn.Module) -> tuple[Any, dict[str, Any]]:
    """The first example of data, and how it was had.

    Args:
        inputs: batches of any size.
        module: the first network.

    Returns:
        A batch of one example, and the `data` object of the run.

    Raises:
        DataError: if there is no batch, or it does not fit the network's `forward`.
    """
    batch, _ = models.split_groups(next(iter(inputs.batches)))
    size, dim = count(module, batch)

    def cut(tensor: torch.Tensor) -> torch.Tensor:
        along = tensor.ndim > dim and tensor.shape[dim] == size
        return tensor.narrow(dim, 0, 1) if along else tensor

    n = inputs.n_examples
    which = "the first example" if n is None else f"the first of {n:,} examples"
    description: Mapping[str, Any] = inputs.description
    notes = [*inputs.notes, f"{which} is the input of every network"]
    return map_tensors(cut, batch), {**description, "n_examples": 1, "notes": notes}


def count(module: nn.Module, batch: Any) -> tuple[int, int]:
    """Examples of a batch, and the dimension they run along.

    Raises:
        DataError: if the batch does not fit the network's `forward`, or holds nothing to count by.
    """
    args, kwargs, _ = models.call_arguments(module, batch)
    return passes.examples_in(module, args, kwargs)

"""One setting trained on one seed."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

import torch
from torch import nn

from gaussprobe import borrow, measures, passes, ranks
from gaussprobe.comparison import SiteNumbers, Trial
from gaussprobe.errors import GaussprobeError, first_line
from gaussprobe.machine import machine
from gaussprobe.measured import Cost, Course, MinibatchR2, PairNumbers
from gaussprobe.store import load
from gaussprobe.trials.folder import Folder
from gaussprobe.trials.probe import MEASUREMENTS, Call, Probe, as_batch, first_batch, noise_apart
from gaussprobe.types import LayerScore, Run
from gaussprobe.watch import watch

Build: TypeAlias = "Callable[[], nn.Module]"
Train: TypeAlias = "Callable[[nn.Module, Probe, int], Mapping[str, Any]]"
# Changes a model in place, or gives another; None leaves it as it is.
Setting: TypeAlias = "Callable[[nn.Module], nn.Module | None] | None"
_MOST_POINTS = 400  # of a course over training


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every trial of a comparison does.

    Args:
        build: makes the model.
        train: trains it.
        settings: by name.
        folder: where results go.
        every, max_samples, include, exclude: of the watch.
        measures: names of `MEASUREMENTS` to make.
        command: the command line, empty when run from Python.
        threads: for torch to work with; None leaves their number as it is.
    """

    build: Build
    train: Train
    settings: Mapping[str, Setting]
    folder: Folder
    every: int
    max_samples: int
    include: str | Sequence[str] | None = None
    exclude: str | Sequence[str] | None = None
    measures: tuple[str, ...] = MEASUREMENTS
    command: str = ""
    threads: int | None = None


def run(task: Task, setting: str, seed: int) -> Trial:
    """Train one setting on one seed, and keep what comes of it, a failure too.

    The global generators are seeded for the building and again for the training, and put back afterwards;
    noise of normality normalization has a stream of its own.

    Raises:
        StoreError: where the folder cannot be written.
    """
    if task.threads is not None:
        torch.set_num_threads(task.threads)
    task.folder.begin(setting, seed)
    created, started = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    known: dict[str, Any] = {"machine": machine()}
    try:
        known |= _trained(task, setting, seed)
    except Exception:  # noqa: BLE001  (whatever the user's training raises is a result, and kept)
        known["failure"] = traceback.format_exc()
    trial = Trial(
        setting=setting,
        seed=seed,
        threads=torch.get_num_threads(),
        versions=passes.versions(),
        created=created,
        command=task.command,
        **{"seconds": round(time.perf_counter() - started, 3)} | known,
    )
    task.folder.keep(trial)
    return trial


def _trained(task: Task, setting: str, seed: int) -> dict[str, Any]:
    model = make(task.build, task.settings[setting], seed)
    kept = task.folder.watched(setting, seed)
    watched = watch(
        model,
        every=task.every,
        store=kept,
        max_samples=task.max_samples,
        include=task.include,
        exclude=task.exclude,
        seed=seed,
    )
    with (
        borrow.isolated_rng(seed, borrow.cuda_devices(model, None)),
        noise_apart(model, seed),
        first_batch(model) as batch,
        ranks.alone(),
        watched,
    ):
        keep = task.folder.measured(setting, seed)
        probe = Probe(model, watched, seed=seed, keep=keep, measures=task.measures)
        started = time.perf_counter()
        metrics = _metrics(task.train(model, probe, seed))
        seconds = time.perf_counter() - started
        costs, said = _cost(task, setting, seed, batch, borrow.device_of(model))
    run = load(kept) if probe.steps else None
    sites, measured = _sites(probe, run)
    return {
        "metrics": metrics,
        "sites": sites,
        "measured": measured,
        "quantiles": tuple(one for site in probe.minibatches for one in site.quantiles),
        "robustness": probe.robustness,
        "courses": () if run is None else tuple(_courses(run)),
        **costs,
        "notes": (*probe.notes, *said),
        "seconds": round(seconds, 3),
        "steps": probe.steps,
        "machine": trained_on(borrow.device_of(model)),
    }


def trained_on(device: torch.device) -> str:
    """The CPU and its cores; the device too where that is another."""
    if device.type == "cpu":
        return machine()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{machine()}; {name}"


def _cost(
    task: Task, setting: str, seed: int, batch: Sequence[Call], device: torch.device
) -> tuple[dict[str, Cost], list[str]]:
    """Of a training step of a new model, timed in turns with the first setting, which has none of its own."""
    first = next(iter(task.settings))
    if setting == first or "cost" not in task.measures:
        return {}, []
    if not batch:
        return {}, ["cost: the model as a whole was never called in training mode"]
    models = {name: make(task.build, task.settings[name], seed) for name in (first, setting)}
    for model in models.values():
        model.to(device).train()
    try:
        found = measures.step_cost(models, as_batch(models[first], *batch[0]))
    except (GaussprobeError, ValueError) as error:
        return {}, [f"cost: {first_line(error) or type(error).__name__}"]
    return {"cost": found[setting], "cost_of_first": found[first]}, []


def make(build: Build, setting: Setting, seed: int) -> nn.Module:
    """The model of a setting, built under a seed: weights are the same in every setting.

    A setting that gives another object than it was handed, a model of another class say, has what fits in
    name and shape copied into it.

    Raises:
        TypeError: if no module comes of it.
    """
    with borrow.isolated_rng(seed):
        model = build()
        if not isinstance(model, nn.Module):
            raise TypeError(f"build must return a torch.nn.Module; got {type(model).__name__}")
        if setting is None:
            return model
        initial = {name: value.detach().clone() for name, value in model.state_dict().items()}
        changed = setting(model)
        if changed is None or changed is model:
            return model
        if not isinstance(changed, nn.Module):
            raise TypeError(f"a setting must return a torch.nn.Module or None; got {type(changed).__name__}")
        own = changed.state_dict()
        fitting = {k: v for k, v in initial.items() if k in own and own[k].shape == v.shape}
        changed.load_state_dict(fitting, strict=False)
        return changed


def _metrics(given: Any) -> dict[str, float]:
    """What `train` returned, as numbers."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"train must return its metrics by name, or None; got {type(given).__name__}")
    found = {}
    for name, value in given.items():
        try:
            found[str(name)] = float(value.detach() if isinstance(value, torch.Tensor) else value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"metric {name!r} must be a number; got {value!r:.80}") from error
    return found


def _sites(probe: Probe, watched: Run | None) -> tuple[tuple[SiteNumbers, ...], str]:
    """Numbers of the sites, and where they come from."""
    if probe.measured is not None:
        n = probe.measured.metadata.data.get("n_examples", "?")
        minibatches = {one.site: one for one in probe.minibatches}
        pairs = {one.site: one for one in probe.pairs}
        found = [
            replace(_numbers(score), **_paper(minibatches.get(score.site), pairs.get(score.site)))
            for score in probe.measured.scores
        ]
        return tuple(found), f"{n} examples in evaluation mode, after training"
    if watched is None or not watched.scores:
        return (), "nothing: train neither called probe.step() nor probe.measure()"
    last = max(score.step for score in watched.scores)
    scores = [score for score in watched.scores if score.step == last and score.source == "forward"]
    return tuple(map(_numbers, scores)), f"step {last}, the last that was recorded, in training mode"


def _courses(run: Run) -> Iterator[Course]:
    """Q-Q R^2 over training, site by site."""
    scores = [score for score in run.scores if score.source == "forward"]
    for site in dict.fromkeys(score.site for score in scores):
        found = [(score.step, score.qq_r2) for score in scores if score.site == site]
        thinned = found[:: -(-len(found) // _MOST_POINTS)]
        # Pages read the last record as the end of training.
        kept = thinned if thinned[-1] is found[-1] else [*thinned, found[-1]]
        yield Course(site=site, steps=tuple(s for s, _ in kept), qq_r2=tuple(r for _, r in kept))


def _numbers(score: LayerScore) -> SiteNumbers:
    return SiteNumbers(
        site=score.site,
        kind=score.kind,
        qq_r2=score.qq_r2,
        negentropy=score.negentropy.median,
        delta=score.delta.median,
        ks_distance=score.ks_distance,
        wasserstein=score.wasserstein,
        skewness=score.skewness,
        excess_kurtosis=score.excess_kurtosis,
    )


def _paper(minibatches: MinibatchR2 | None, pairs: PairNumbers | None) -> dict[str, Any]:
    """What the paper on normality normalization measures of a site."""
    found: dict[str, Any] = {} if minibatches is None else {"minibatch_qq_r2": minibatches.qq_r2}
    if pairs is not None:
        names = ("henze_zirkler", "sliced", "mutual_information", "adjusted_mutual_information")
        found |= {name: getattr(pairs, name) for name in names}
    return found

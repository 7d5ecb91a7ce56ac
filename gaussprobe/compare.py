"""Two settings, or more, trained on the same seeds and held side by side."""

from __future__ import annotations

import contextlib
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from gaussprobe import passes
from gaussprobe.comparison import Comparison, Trial
from gaussprobe.trials import analysis, trial
from gaussprobe.trials.folder import Folder, Plan
from gaussprobe.trials.probe import MEASUREMENTS
from gaussprobe.trials.spread import Spread
from gaussprobe.trials.trial import Build, Setting, Task, Train


def compare(
    build: Build,
    train: Train,
    *,
    settings: Mapping[str, Setting],
    seeds: Iterable[int] = range(6),
    store: str | Path | None = None,
    every: int = 50,
    max_samples: int = 256,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    jobs: int = 1,
    measures: Sequence[str] = MEASUREMENTS,
    options: Mapping[str, Any] | None = None,
    command: str = "",
    progress: passes.Progress | None = None,
) -> Comparison:
    """Train every setting on every seed, and say what differs and how sure that is.

    ```
    def train(model, probe, seed):
        order = torch.Generator().manual_seed(seed)
        for images, labels in batches(order):
            ...
            probe.step(loss=loss)
        probe.measure(held_out)
        return {"accuracy": ...}

    found = gp.compare(build, train, settings={"BatchNorm": None, "BatchNormalNorm": gp.nn.gaussianize})
    ```

    In every setting of a seed the model is built, and then trained, under the same state of the global
    generators; noise of normality normalization has a stream of its own, so that the order of batches is the
    same with it and without. Differences are taken seed by seed, with Student's interval, and p-values of
    sites are adjusted over the sites (`gaussprobe.paired`).

    Under `torchrun` the trials are shared out among the processes, each of which trains whole models of its
    own; all return the same comparison. `store` must then be a folder that all of them reach.

    Args:
        build: makes the model, with the weights the global generators give it.
        train: trains it: told of the model, a probe (`step`, as of `gaussprobe.watch`, and `measure`, which
            scores the layers on held-out data) and the seed; returns metrics by name.
        settings: functions by name, in order, that change a model in place or return another; None leaves it
            as it is. The first is what the others are held against.
        seeds: distinct, not negative.
        store: folder that each trial is written to as it ends. What it holds already is not run again; a
            broken or failed trial is. None keeps nothing.
        every, max_samples, include, exclude: of the watch over training, see `gaussprobe.watch`.
        jobs: trials to run at once, each in a process of its own with its share of torch's threads; `build`,
            `train` and the settings must then be importable.
        measures: what is measured beside the scores, where `train` calls `probe.measure`: `"minibatches"`,
            Q-Q R^2 channel by channel and minibatch by minibatch; `"pairs"`, joint normality and mutual
            information of pairs of channels; `"robustness"`, how far noise at one site carries. Always,
            `"cost"`: of a training step, in turns with the first setting. See `gaussprobe.measures`.
        options: that `build` and `train` go by, to be told with the results; a store goes with one set.
        command: the command line to record.
        progress: told of trials that ended.

    Returns:
        The comparison, trials that raised among its `failed`.

    Raises:
        ValueError: for an argument out of its range.
        StoreError: if `store` cannot be written, or holds another comparison.
    """
    if not isinstance(seeds, Iterable):
        raise ValueError(f"seeds must be integers in a row, such as range(6); got {seeds!r}")
    wanted = tuple(seeds)
    check(build, train, settings, wanted, jobs)
    _check_measures(measures)
    plan = Plan(
        settings=tuple(settings),
        description={
            "build": _name(build),
            "train": _name(train),
            "every": str(every),
            "max_samples": str(max_samples),
            "include": str(include),
            "exclude": str(exclude),
            "measures": ", ".join(measures) or "none",
            **{str(name): str(value) for name, value in (options or {}).items()},
        },
    )
    spread = Spread()
    with _place(store, spread) as path:
        folder = _opened(path, plan, spread)
        task = Task(
            build=build,
            train=train,
            settings=dict(settings),
            folder=folder,
            every=every,
            max_samples=max_samples,
            include=include,
            exclude=exclude,
            measures=tuple(measures),
            command=command,
            threads=None if jobs == 1 else max(1, torch.get_num_threads() // jobs),
        )
        # Seeds before settings: a broken comparison has pairs.
        todo = [
            (name, seed)
            for seed in wanted
            for name in settings
            if (found := folder.trial(name, seed)) is None or found.failure
        ]
        spread.wait("looked")  # before any trial of another process ends
        own = spread.share(todo)
        report, total = progress or passes.silent, len(wanted) * len(settings) - len(todo) + len(own)
        for done, one in enumerate(_run(task, own, jobs), start=total - len(own) + 1):
            report(f"{one.setting}, seed {one.seed}" + (": failed" if one.failure else ""), done, total)
        spread.wait("trained")
        comparison = analysis.compared(plan.settings, wanted, list(folder.trials(wanted)), plan.description)
        spread.wait("read")  # before a folder for the time being is taken away
        return comparison


@contextmanager
def _place(store: str | Path | None, spread: Spread) -> Iterator[Path]:
    """The folder of trials, the same for all processes; the first makes it."""
    with contextlib.ExitStack() as stack:
        if store is None and spread.rank == 0:
            store = stack.enter_context(tempfile.TemporaryDirectory(prefix="gaussprobe-"))
        yield Path(spread.agree(str(store)))


def _opened(path: Path, plan: Plan, spread: Spread) -> Folder:
    """The folder, made by the first process before the others look."""
    if spread.rank == 0:
        folder = Folder.open(path, plan)
        spread.wait("opened")
        return folder
    spread.wait("opened")
    return Folder.open(path, plan)


def _run(task: Task, todo: Sequence[tuple[str, int]], jobs: int) -> Iterator[Trial]:
    """Trials as they end."""
    if jobs == 1 or len(todo) < 2:
        for setting, seed in todo:
            yield trial.run(task, setting, seed)
        return
    # A process forked from one with threads may hang.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(trial.run, task, *one): one for one in todo}
        for ended in as_completed(running):
            try:
                yield ended.result()
            except BrokenProcessPool as error:
                setting, seed = running[ended]
                yield _lost(task.folder, setting, seed, error)


def _lost(folder: Folder, setting: str, seed: int, error: BrokenProcessPool) -> Trial:
    """A trial whose process ended without a word, for want of memory perhaps."""
    found = folder.trial(setting, seed)
    if found is None:
        found = Trial(setting=setting, seed=seed, failure=f"{type(error).__name__}: {error}")
        folder.keep(found)
    return found


def check(
    build: object, train: object, settings: Mapping[str, Setting], seeds: Sequence[int], jobs: int
) -> None:
    """Refuse arguments of `compare` that are out of their range.

    Raises:
        ValueError: naming the argument, what it must be, and what came.
    """
    for name, value in (("build", build), ("train", train)):
        if not callable(value):
            raise ValueError(f"{name} must be a function; got {type(value).__name__}")
    if not isinstance(settings, Mapping):
        raise ValueError(f"settings must be functions by name; got {type(settings).__name__}")
    if len(settings) < 2:
        raise ValueError(f"settings must be at least two, by name; got {list(settings)}")
    for name, setting in settings.items():
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"settings must have names; got {name!r}")
        if setting is not None and not callable(setting):
            raise ValueError(f"setting {name!r} must be a function or None; got {type(setting).__name__}")
    whole = all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in seeds)
    if not seeds or not whole or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be distinct integers, not negative, one at least; got {list(seeds)}")
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ValueError(f"jobs must be an integer of at least 1; got {jobs!r}")
    if jobs > 1:
        try:
            pickle.dumps((build, train, dict(settings)))
        except Exception as error:
            raise ValueError(
                f"jobs={jobs} needs build, train and settings that other processes can import; got {error}"
            ) from error


def _check_measures(measures: Sequence[str]) -> None:
    unknown = [measures] if isinstance(measures, str) else [m for m in measures if m not in MEASUREMENTS]
    if unknown:
        raise ValueError(f"measures must be among {', '.join(MEASUREMENTS)}, in a list; got {unknown[0]!r}")


def _name(function: Callable[..., Any]) -> str:
    """What a function is called, to tell one comparison from another."""
    named = getattr(function, "func", function)  # a partial has its function's name
    return f"{getattr(named, '__module__', '')}:{getattr(named, '__qualname__', type(named).__name__)}"

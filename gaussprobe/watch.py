"""Scores over training: the forward passes of the steps that are recorded, looked at as they happen."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

import torch
from torch import nn

from gaussprobe import borrow, models, passes, scores
from gaussprobe import capture as captures
from gaussprobe.errors import WatchError
from gaussprobe.events import Monitor
from gaussprobe.following import Followed, follow
from gaussprobe.journal import Journal
from gaussprobe.kept import Memory
from gaussprobe.ranks import Ranks
from gaussprobe.records import Event, Metric, SiteRecord
from gaussprobe.stats.battery import known as known_tests
from gaussprobe.store import load
from gaussprobe.types import LayerScore, Metadata, Run, Samples, Source, View
from gaussprobe.version import __version__

MAX_UNITS = 64


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One recorded step: what listeners are given."""

    step: int
    scores: tuple[LayerScore, ...]
    series: tuple[SiteRecord, ...]
    metrics: tuple[Metric, ...]
    events: tuple[Event, ...]


Listener = Callable[[Recorded], None]


def watch(
    model: nn.Module,
    *,
    every: int = 50,
    store: str | Path | None = None,
    max_samples: int = 256,
    view: View = "unit",
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    resume: bool = False,
    start: int | None = None,
    seed: int = 0,
    max_units: int = MAX_UNITS,
    tests: Sequence[str] = scores.TESTS,
    intervals: bool = True,
    probe_batch: Any = None,
    patience: float = 10.0,
) -> Watch:
    """Follow a model's layers over training.

    ```
    with gaussprobe.watch(model, store="run.sqlite") as probe:
        for batch in loader:
            ...
            probe.step(loss=loss)
    ```

    The passes that the loop makes itself in training mode are looked at in steps 0, `every`, 2 `every`, ...;
    the steps between cost a comparison of integers. Several passes in one step, as in gradient accumulation,
    are one record. A compiled model runs eagerly in recorded steps. Under `torch.distributed`
    every rank watches its own model and calls `step`; samples are merged, the first rank scores and writes.

    Args:
        model: in training; nothing is written onto it.
        every: steps from one record to the next.
        store: file that each record is written to at once; None keeps the run in memory.
        max_samples: samples per unit and record.
        view: what counts as one sample of a score: `"unit"`, `"layer"` or `"example"`.
        include: shell-style patterns of site names, None for all.
        exclude: patterns of site names to leave out.
        resume: go on with the run that `store` holds, after its last recorded step.
        start: number of the first step, where training goes on from a checkpoint; None for 0, or for the one
            after the last that `store` has a record of. Steps it has records of already get none again.
        seed: of the sampling.
        max_units: units per site that are followed; random ones, the same at all steps.
        tests: names of the tests to run at each record, as `gaussprobe.stats.battery` has them.
        intervals: whether to compute intervals, which verdicts need; most of a record's cost.
        probe_batch: a fixed batch that the model is also given in evaluation mode at each record, its state
            put back afterwards: one more series, of like with like.
        patience: seconds that the first rank waits for the samples of the others.

    Returns:
        The watch, a context manager.

    Raises:
        ValueError: for an argument out of its range.
        StoreError: on entering, if `store` cannot be written, or holds something and `resume` is False.
    """
    return Watch(
        model,
        every=every,
        store=store,
        max_samples=max_samples,
        view=view,
        include=include,
        exclude=exclude,
        resume=resume,
        start=start,
        seed=seed,
        max_units=max_units,
        tests=tests,
        intervals=intervals,
        probe_batch=probe_batch,
        patience=patience,
    )


class Watch:
    """A training run that is followed; see `watch`."""

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int,
        store: str | Path | None,
        max_samples: int,
        view: View,
        include: str | Sequence[str] | None,
        exclude: str | Sequence[str] | None,
        resume: bool,
        start: int | None,
        seed: int,
        max_units: int,
        tests: Sequence[str],
        intervals: bool,
        probe_batch: Any,
        patience: float,
    ) -> None:
        _check(model, every, max_samples, view, seed, max_units, tests, resume, store, start)
        self.model, self.every, self.view, self.store = model, every, view, store
        self.last: Recorded | None = None
        self._tests, self._intervals, self._resume = tuple(tests), intervals, resume
        self._include, self._exclude = passes.patterns(include), passes.patterns(exclude)
        self._seed, self._max_samples, self._max_units = seed, max_samples, max_units
        self._probe_batch, self._patience = probe_batch, patience
        self._step, self._start = 0, start
        self._first = 0  # step to be recorded first
        self._listeners: list[Listener] = []
        self._monitor = Monitor()
        self._ranks: Ranks | None = None
        self._kept: Journal | Memory | None = None
        self._capture: captures.TrainingCapture | None = None
        self._armed = contextlib.ExitStack()
        self._started = 0.0
        self._open = False

    # -- the loop's side

    def __enter__(self) -> Self:
        if self._open or self._kept is not None:
            raise WatchError("a watch is entered once\nmake another one for another training run")
        self._ranks, self._started = Ranks(self._patience), time.perf_counter()
        if self._ranks.first:
            self._kept = self._open_kept()
        if self._resume:
            self._step = self._first = self._ranks.agree(self._step)
        self._open = True
        if self._start is None:
            self._arm()
        else:
            self._step = self._start
            self._arm_if_due()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the hooks off and close the store; a second call does nothing."""
        if not self._open:
            return
        self._open = False
        self._disarm()
        if self._kept is not None:
            self._kept.close(metadata=self._metadata())

    def step(self, **metrics: float | torch.Tensor) -> None:
        """End a training step.

        Args:
            metrics: numbers to be recorded beside the layers, such as the loss; looked at in recorded steps
                alone, so that none is fetched from a GPU in the others.

        Raises:
            WatchError: outside `with`, or where no training-mode pass of the model ran in a recorded step.
            ValueError: for a metric that is no number.
        """
        if not self._open:
            raise WatchError("step() was called outside `with gaussprobe.watch(...)`: nothing is watched")
        if self._capture is not None:
            self._record(self._capture, metrics)
        self._step += 1
        self._arm_if_due()

    def listen(self, callback: Listener) -> None:
        """Have each record passed on as it is made, on the first rank."""
        self._listeners.append(callback)

    @property
    def run(self) -> Run:
        """The run so far; on ranks other than the first, one without scores."""
        if self._kept is None:
            return Run(metadata=self._metadata(), scores=())
        if isinstance(self._kept, Memory):
            return self._kept.run(self._metadata())
        assert self.store is not None
        return load(self.store)

    # -- recorded steps

    def _arm(self) -> None:
        self._disarm()
        capture = captures.TrainingCapture(
            self.model, describe=_describe, plan=self._plan(), include=self._include, exclude=self._exclude
        )
        self._armed.enter_context(borrow.eagerly())
        self._capture = self._armed.enter_context(capture)

    def _arm_if_due(self) -> None:
        if self._step % self.every or self._step < self._first:
            self._disarm()
        else:
            self._arm()

    def _disarm(self) -> None:
        if self._capture is not None:
            self._capture = None
            self._armed.close()

    def _plan(self) -> captures.Plan:
        assert self._ranks is not None
        return captures.Plan(
            seed=self._seed,
            max_samples=self._max_samples,
            max_units=self._max_units,
            draw=self._step,
            rank=self._ranks.rank,
            ranks=self._ranks.size,
        )

    @torch.no_grad()
    def _record(self, capture: captures.TrainingCapture, metrics: Mapping[str, float | torch.Tensor]) -> None:
        assert self._ranks is not None
        samples = capture.samples(self._step)
        if not samples and self._ranks.size == 1:  # elsewhere a rank may be without data in a step
            raise WatchError(self._nothing(capture))
        if passes.has_batch_statistics(self.model):
            samples = [passes.dependent(one) for one in samples]
        probed = [] if self._probe_batch is None else self._probe()
        parts = self._ranks.gather(self._step, samples)
        if self._kept is None:
            return
        samples = _merged(parts, capture.book.plan)
        with torch.autocast(device_type="cpu", enabled=False):
            followed = self._follow(samples, "forward") + self._follow(probed, "probe")
        self._keep(followed, capture, metrics)

    def _nothing(self, capture: captures.TrainingCapture) -> str:
        if capture.passes:
            return passes.nothing_captured(self.model, capture.not_captured())
        return (
            f"step() was called for step {self._step}, but the model has run no pass in training mode since\n"
            "call it once after each training step, and watch the module that the loop calls"
        )

    def _follow(self, samples: list[Samples], source: Source) -> list[Followed]:
        return follow(samples, source=source, view=self.view, tests=self._tests, intervals=self._intervals)

    def _keep(
        self,
        followed: list[Followed],
        capture: captures.TrainingCapture,
        metrics: Mapping[str, float | torch.Tensor],
    ) -> None:
        assert self._kept is not None
        assert self._ranks is not None
        events = [
            event for one in followed for event in self._monitor.update(one.record, one.score, one.units)
        ]
        self.last = Recorded(
            step=self._step,
            scores=tuple(one.score for one in followed),
            series=tuple(one.record for one in followed),
            metrics=tuple(_metric(self._step, name, value) for name, value in metrics.items()),
            events=tuple(events),
        )
        self._kept.append(
            step=self._step,
            scores=self.last.scores,
            series=self.last.series,
            metrics=self.last.metrics,
            events=self.last.events,
            warnings=self._notes(capture),
            capture=tuple(capture.records()),
            not_captured=tuple(capture.not_captured()),
        )
        for listener in self._listeners:
            listener(self.last)

    def _notes(self, capture: captures.TrainingCapture) -> tuple[str, ...]:
        """What a reader of the run must know of this step."""
        assert self._ranks is not None
        notes = list(self._monitor.notes())
        if self._ranks.absent:
            who = ", ".join(str(rank) for rank in sorted(self._ranks.absent))
            notes.append(f"step {self._step}: no samples from rank {who}")
        if capture.unread:
            notes.append(f"step {self._step}: {capture.unread} passes without a tensor to count examples by")
        return tuple(notes)

    def _probe(self) -> list[Samples]:
        """Samples of the fixed batch, in evaluation mode; the model is left as it was."""
        # The data-parallel wrapper would bring the ranks into step, on a rank that may be alone.
        module = models.unwrapped(self.model)
        # One draw for all steps: the same examples and positions, like with like.
        plan = replace(self._plan(), draw=0, rank=0, ranks=1)
        capture = captures.Capture(module, plan=plan, include=self._include, exclude=self._exclude)
        args, kwargs, _ = models.call_arguments(
            module, models.to_device(self._probe_batch, borrow.device_of(module))
        )
        found = _describe(module, args, kwargs)
        if found is None:
            raise WatchError("probe_batch holds no tensor with a first dimension to count examples by")
        devices = borrow.cuda_devices(module, None)
        with borrow.as_found(module), borrow.isolated_rng(self._seed, devices), borrow.eagerly(), capture:
            module.eval()
            with capture.forward(found.n_examples, found.dim, mask=found.mask):
                module(*args, **kwargs)
        return capture.samples(self._step)

    # -- the run

    def _open_kept(self) -> Journal | Memory:
        if self.store is None:
            return Memory()
        journal = Journal.open(self.store, self._metadata(), resume=self._resume)
        if journal.resumed is not None:
            self._monitor = Monitor.replay(journal.resumed)
        if journal.last_step is not None:
            self._step = journal.last_step + 1
        return journal

    def _metadata(self) -> Metadata:
        return Metadata(
            gaussprobe=__version__,
            model=type(models.unwrapped(self.model)).__name__,
            view=self.view,
            mode="train",
            seed=self._seed,
            max_samples=self._max_samples,
            data={"watched": True, "every": self.every, "steps": self._step},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - self._started, 3) if self._started else 0.0,
            versions=passes.versions(),
            device=str(borrow.device_of(self.model)),
        )


def _check(
    model: object,
    every: int,
    max_samples: int,
    view: str,
    seed: int,
    max_units: int,
    tests: Sequence[str],
    resume: bool,
    store: object,
    start: int | None,
) -> None:
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    for name, value, least in (
        ("every", every, 1),
        ("max_samples", max_samples, scores.MIN_SAMPLES),
        ("max_units", max_units, 1),
        ("seed", seed, 0),
        ("start", 0 if start is None else start, 0),
    ):
        if not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}")
    if view not in get_args(View) or view == "init":
        raise ValueError(f'view must be "unit", "layer" or "example"; got {view!r}')
    known_tests(tests)
    if resume and store is None:
        raise ValueError("resume goes with a store; got store=None")


def _describe(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> captures.Passing | None:
    counted = passes.count_examples(module, args, kwargs)
    if counted is None:
        return None
    return captures.Passing(*counted, models.data_mask(module, args, kwargs))


def _merged(parts: list[list[Samples]], plan: captures.Plan) -> list[Samples]:
    """Samples of each site from all ranks, in the order of the first that has it."""
    if len(parts) == 1:
        return parts[0]
    by_site: dict[str, list[Samples]] = {}
    for samples in parts:
        for one in samples:
            by_site.setdefault(one.site.name, []).append(one)
    return [captures.merge(found, plan) for found in by_site.values()]


def _metric(step: int, name: str, value: float | torch.Tensor) -> Metric:
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be a number or a tensor of one; got {value!r:.80}") from error
    return Metric(step=step, name=name, value=number)

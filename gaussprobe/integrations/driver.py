"""A watch that a training framework drives: what its callbacks have in common."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import nn

from gaussprobe.types import Run
from gaussprobe.watch import Listener, Watch, watch

Number: TypeAlias = float | torch.Tensor


class Driver:
    """Opens a watch, ends its steps and closes it, as a framework's hooks say.

    Args:
        options: as `gaussprobe.watch` takes them.
        listeners: each is given every record, on the first rank.

    Raises:
        TypeError: for an option that `watch` does not have.
    """

    def __init__(self, options: Mapping[str, Any], listeners: Sequence[Listener]) -> None:
        inspect.signature(watch).bind(None, **options)  # not only when training begins
        self.options, self.listeners = dict(options), tuple(listeners)
        self.probe: Watch | None = None
        self.steps = 0
        self.given: dict[str, Number] = {}  # each metric as a record last had it
        self._waiting: dict[str, Number] = {}

    def open(self, model: nn.Module, steps: int) -> None:
        """Training begins, or goes on.

        Args:
            model: to be watched.
            steps: that were made before; where there were any, a store is gone on with.
        """
        self.close()
        options = self.options
        if steps:
            options = options | {"start": steps, "resume": options.get("store") is not None}
        self.probe, self.steps = watch(model, **options), steps
        for listener in self.listeners:
            self.probe.listen(listener)
        self.given, self._waiting = {}, {}
        self.probe.__enter__()

    def note(self, values: Iterable[tuple[str, Number]]) -> None:
        """Metrics for the next record, in place of those of the same names."""
        self._waiting.update(values)

    def step(self) -> None:
        """A step ends; its metrics are those noted since the last record."""
        if self.probe is None:
            return
        before = self.probe.last
        self.probe.step(**self._waiting)
        self.steps += 1
        if self.probe.last is not before:
            self.given |= self._waiting
            self._waiting.clear()

    def close(self) -> None:
        """Training is over, or has failed; a second call does nothing."""
        if self.probe is not None:
            self.probe.close()

    @property
    def run(self) -> Run:
        """The run so far.

        Raises:
            RuntimeError: before training began.
        """
        if self.probe is None:
            raise RuntimeError("there is no run yet: training has not begun")
        return self.probe.run


class Driven:
    """What a callback that drives a watch shows of it."""

    _driver: Driver

    @property
    def probe(self) -> Watch | None:
        """The watch of the training that runs, or ran last; None before."""
        return self._driver.probe

    @property
    def run(self) -> Run:
        """The run so far."""
        return self._driver.run


def learning_rates(optimizer: Any, name: str = "learning_rate") -> Iterator[tuple[str, Number]]:
    """Learning rates that an optimizer's next step is made with.

    Args:
        optimizer: anything with `param_groups`.
        name: of that of its first group; `<name>/group<i>` are those of others that have another.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    for index, rate in enumerate(rates):
        if isinstance(
            rate, torch.Tensor
        ):  # a scheduler changes it in place; to look at it might wait for a GPU
            yield f"{name}/group{index}" if index else name, rate.detach().clone()
        elif index == 0 or isinstance(rates[0], torch.Tensor) or rate != rates[0]:
            yield f"{name}/group{index}" if index else name, float(rate)

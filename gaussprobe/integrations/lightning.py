"""A callback for Lightning's `Trainer`, of the package `lightning` or `pytorch_lightning`."""

# ruff: noqa: ARG002  (a hook takes what the framework gives)

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from gaussprobe.integrations.driver import Driven, Driver, Number, learning_rates
from gaussprobe.models.extras import missing_extra
from gaussprobe.watch import Listener

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def _callback() -> Any:
    """The class `Callback` of the package that the user works with."""
    for name in sorted(_PACKAGES, key=lambda name: name not in sys.modules):
        try:
            return importlib.import_module(name).Callback
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] != name.split(".")[0]:
                raise
    raise missing_extra("the callback for Lightning", package="lightning", extra="lightning")


_Callback: Any = _callback()


class GaussProbeCallback(Driven, _Callback):  # type: ignore[misc]  # which package it comes from is known when run
    """Watches a LightningModule while `Trainer.fit` trains it.

    ```
    callback = GaussProbeCallback(store="run.sqlite", every=50)
    Trainer(callbacks=[callback]).fit(module, loader)
    ```

    A step is an optimizer step: step n is the one that begins at `trainer.global_step == n` where there is
    one optimizer. Batches whose gradients are accumulated belong to one step; with manual optimization, so do
    several optimizers' steps on one batch. Validation runs in evaluation mode and is not looked at, nor are
    the passes of the sanity check. Metrics are the mean loss over the batches of the step, the learning rates
    it was made with and what the module logs, each value with the next record.

    Args:
        listeners: each is called with every `Recorded`, such as `tensorboard.TensorBoardWriter(writer)`.
        watch_options: as `gaussprobe.watch` takes them. Where training goes on from a checkpoint or an
            earlier `fit`, `resume` and `start` are added, so that `store` is appended to; steps
            that it has records of get none again.

    Raises:
        TypeError: for an option that `gaussprobe.watch` does not have.
    """

    def __init__(self, *, listeners: Sequence[Listener] = (), **watch_options: Any) -> None:
        super().__init__()
        self._driver = Driver(watch_options, listeners)
        self._global_step = 0
        self._losses: list[torch.Tensor] = []  # of the batches of this step

    # -- Lightning's hooks, in the order they are called

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint: how many steps were made."""
        self._driver.steps = int(state_dict["steps"])

    def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """After the sanity check, and when a checkpoint has been read."""
        self._global_step = trainer.global_step
        self._losses.clear()
        self._driver.open(pl_module, self._driver.steps if trainer.global_step else 0)

    def on_before_optimizer_step(
        self, trainer: Any, pl_module: nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        """The learning rates of this step; when it has ended, schedulers have set those of the next."""
        optimizers = [getattr(one, "optimizer", one) for one in trainer.optimizers]
        which = next((i for i, one in enumerate(optimizers) if one is optimizer), 0)
        name = f"learning_rate/optimizer{which}" if which else "learning_rate"
        self._driver.note(learning_rates(optimizer, name))

    def on_train_batch_end(
        self, trainer: Any, pl_module: nn.Module, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End a step, if the optimizer made one."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, torch.Tensor) and loss.numel() == 1:
            self._losses.append(loss.detach())
        if trainer.global_step == self._global_step:
            return
        self._global_step = trainer.global_step
        self._driver.note(self._metrics(trainer))
        self._driver.step()
        self._losses.clear()

    def on_train_end(self, trainer: Any, pl_module: nn.Module) -> None:
        """Before the model leaves its device."""
        self._driver.close()

    def on_exception(self, trainer: Any, pl_module: nn.Module, exception: BaseException) -> None:
        """Training has failed or was interrupted."""
        self._driver.close()

    def teardown(self, trainer: Any, pl_module: nn.Module, stage: str) -> None:
        """However it ended."""
        self._driver.close()

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: how many steps were made."""
        return {"steps": self._driver.steps}

    def _metrics(self, trainer: Any) -> Iterator[tuple[str, Number]]:
        if len(self._losses) == 1 == trainer.accumulate_grad_batches:
            yield "loss", self._losses[0]
        elif self._losses:
            # Lightning has divided each by the batches of a step, also where the last step has fewer.
            yield "loss", torch.stack(self._losses).mean() * trainer.accumulate_grad_batches
        for name, value in trainer.callback_metrics.items():
            # What an earlier epoch or validation logged stays there; it is of the record that had it first.
            if value is not self._driver.given.get(name):
                yield name, value

"""A callback for the `Trainer` of Transformers."""

# ruff: noqa: ARG002  (a hook takes what the framework gives)

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from gaussprobe.integrations.driver import Driven, Driver, learning_rates
from gaussprobe.models.extras import missing_extra
from gaussprobe.watch import Listener

# What Trainer logs of its own speed and progress is nothing a layer could go with.
_NOT_METRICS = ("epoch", "runtime", "per_second", "total_flos", "num_input_tokens_seen", "learning_rate")


def _trainer_callback() -> Any:
    """The class `TrainerCallback`."""
    try:
        return importlib.import_module("transformers").TrainerCallback
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise missing_extra(
            "the callback for Trainer", package="transformers", extra="huggingface"
        ) from error


_TrainerCallback: Any = _trainer_callback()


class GaussProbeCallback(Driven, _TrainerCallback):  # type: ignore[misc]  # known when run
    """Watches a model while `Trainer.train` trains it.

    ```
    with GaussProbeCallback(store="run.sqlite", every=50) as callback:
        Trainer(model, args, train_dataset=data, callbacks=[callback]).train()
    ```

    A step is an optimizer step: step n is the one that begins at `state.global_step == n`, all batches whose
    gradients it accumulates together. It is ended when the next begins, so that what `Trainer` logs of
    it is known; evaluations between are not looked at. Metrics are what `Trainer` logs (loss, gradient norm,
    what evaluations give), each with the next record, and the learning rate; `logging_steps=1`
    gives each record the loss of its own step.

    `Trainer` tells its callbacks nothing of an exception: in `with`, the model is left as it was then, too.

    Args:
        listeners: each is called with every `Recorded`, such as `tensorboard.TensorBoardWriter(writer)`.
        watch_options: as `gaussprobe.watch` takes them. Where training goes on from a checkpoint,
            `resume` and `start` are added, so that `store` is appended to; steps
            that it has records of get none again.

    Raises:
        TypeError: for an option that `gaussprobe.watch` does not have.
    """

    def __init__(self, *, listeners: Sequence[Listener] = (), **watch_options: Any) -> None:
        super().__init__()
        self._driver = Driver(watch_options, listeners)
        self._ended = False  # the optimizer has stepped, and the watch has not been told

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the hooks off and close the store; a second call does nothing."""
        self._driver.close()

    # -- Trainer's hooks, in the order they are called

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """When a checkpoint has been read."""
        self._ended = False
        self._driver.open(others["model"], int(state.global_step))

    def on_step_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """What was logged since the step before is known."""
        self._end()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """The learning rates of this step; when it has ended, the scheduler has set those of the next."""
        self._driver.note(learning_rates(others["optimizer"]))

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """The optimizer has stepped."""
        self._ended = True

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> None:
        """Metrics, on their way to loggers."""
        if logs is None or "train_runtime" in logs:  # what is said of the training as a whole
            return
        self._driver.note(
            (name, float(value))
            for name, value in logs.items()
            if isinstance(value, int | float) and not name.endswith(_NOT_METRICS)
        )

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Training is over, and its last log was written."""
        self._end()
        self.close()

    def _end(self) -> None:
        if self._ended:
            self._ended = False
            self._driver.step()

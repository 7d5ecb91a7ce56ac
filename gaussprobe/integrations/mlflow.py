"""Records into the user's own run of MLflow."""

from __future__ import annotations

import importlib
import itertools
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gaussprobe.integrations import flat
from gaussprobe.models.extras import missing_extra

if TYPE_CHECKING:
    from gaussprobe.watch import Recorded

_BATCH = 1000  # the most metrics that MLflow takes at once
# What every MLflow takes in a name on every system; ":" and "#" of site names are not in it.
_FORBIDDEN = re.compile(r"[^/\w.\- ]")


class MlflowWriter:
    """Writes each record: metrics, and events as a text artifact; MLflow has no histograms.

    ```
    with mlflow.start_run() as run, gaussprobe.watch(model) as probe:
        probe.listen(MlflowWriter(mlflow, run.info.run_id))
    ```

    In names, `-` stands for `:` and `#` and whatever else MLflow does not take. NaN stays NaN; infinity
    is what the user's store makes of it, which in a database is the largest float.

    Args:
        client: a `MlflowClient`, or the module `mlflow`, whose tracking URI is then used.
        run_id: the run to write to; the user ends it.
        quantities: names of `flat.QUANTITIES`; None for `flat.DEFAULT`.
        prefix: what names begin with.

    Raises:
        ValueError: for a quantity that there is none of.
        MissingExtraError: where mlflow is not installed.
    """

    def __init__(
        self,
        client: Any,
        run_id: str,
        *,
        quantities: Sequence[str] | None = None,
        prefix: str = flat.PREFIX,
    ) -> None:
        self._metric = _metric_class()
        self._client = client.MlflowClient() if hasattr(client, "MlflowClient") else client
        self._run_id, self._prefix = run_id, prefix
        self._quantities = flat.check_quantities(quantities)

    def __call__(self, recorded: Recorded) -> None:
        """Write one record."""
        now = int(time.time() * 1000)
        numbers = flat.numbers(recorded, quantities=self._quantities, prefix=self._prefix)
        metrics = (
            self._metric(metric_name(name), value, now, recorded.step) for name, value in numbers.items()
        )
        while batch := list(itertools.islice(metrics, _BATCH)):
            self._client.log_batch(self._run_id, metrics=batch)
        if lines := flat.lines(recorded):
            # One file for each record: an artifact can be written, not appended to.
            name = f"{self._prefix}/events/{recorded.step:09d}.txt"
            self._client.log_text(self._run_id, "\n".join(lines) + "\n", name)


def metric_name(name: str) -> str:
    """A name as MLflow takes it."""
    return _FORBIDDEN.sub("-", name)


def _metric_class() -> Any:
    try:
        return importlib.import_module("mlflow.entities").Metric
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "mlflow":
            raise
        raise missing_extra("the writer for MLflow", package="mlflow-skinny", extra="mlflow") from error

"""Records into the user's own run of Weights & Biases."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gaussprobe.integrations import flat
from gaussprobe.models.extras import missing_extra

if TYPE_CHECKING:
    from gaussprobe.watch import Recorded


class WandbWriter:
    """Writes each record as a row of history: numbers, a histogram for every site, events as text.

    ```
    with wandb.init(mode="offline") as run, gaussprobe.watch(model) as probe:
        probe.listen(WandbWriter(run))
    ```

    Charts are drawn over the training step, `gaussprobe/step`. A run's own step only goes forward: a record
    joins the row of its training step, or the row that comes next where that one is written already. Whoever
    logs with `step=` beside this should count training steps too. NaN and infinity are written as W&B
    writes them, as the words.

    Args:
        run: what `wandb.init` returned, in any mode; the user finishes it.
        quantities: names of `flat.QUANTITIES`; None for `flat.DEFAULT`.
        histograms: whether to write them.
        prefix: what names begin with.

    Raises:
        ValueError: for a quantity that there is none of.
        MissingExtraError: where histograms are wanted and wandb is not installed.
    """

    def __init__(
        self,
        run: Any,
        *,
        quantities: Sequence[str] | None = None,
        histograms: bool = True,
        prefix: str = flat.PREFIX,
    ) -> None:
        self._run, self._prefix = run, prefix
        self._quantities = flat.check_quantities(quantities)
        self._histogram = _histogram_class() if histograms else None
        run.define_metric(f"{prefix}/step", hidden=True)
        run.define_metric(f"{prefix}/*", step_metric=f"{prefix}/step")

    def __call__(self, recorded: Recorded) -> None:
        """Write one record."""
        row: dict[str, Any] = {f"{self._prefix}/step": recorded.step}
        row |= flat.numbers(recorded, quantities=self._quantities, prefix=self._prefix)
        if self._histogram is not None:
            for name, found in flat.histograms(recorded, prefix=self._prefix):
                row[name] = self._histogram(np_histogram=(found.counts, found.edges))
        if lines := flat.lines(recorded):
            row[f"{self._prefix}/events"] = "\n".join(lines)
        self._run.log(row, step=max(recorded.step, self._run.step))


def _histogram_class() -> Any:
    try:
        return importlib.import_module("wandb").Histogram
    except ModuleNotFoundError as error:
        if error.name != "wandb":
            raise
        raise missing_extra("the writer for W&B", package="wandb", extra="wandb") from error

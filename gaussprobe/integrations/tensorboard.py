"""Records into the TensorBoard event file of the user's own `SummaryWriter`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gaussprobe.integrations import flat

if TYPE_CHECKING:
    from gaussprobe.watch import Recorded


class TensorBoardWriter:
    """Writes each record: scalars, a histogram for every site, events as text.

    ```
    with SummaryWriter("runs/1") as writer, gaussprobe.watch(model) as probe:
        probe.listen(TensorBoardWriter(writer))
    ```

    NaN and infinity are written as they are, which TensorBoard marks. Its scalars are float32.

    Args:
        summary_writer: a `torch.utils.tensorboard.SummaryWriter`, or one of tensorboardX; the user closes it.
        quantities: names of `flat.QUANTITIES`; None for `flat.DEFAULT`.
        histograms: whether to write them.
        prefix: what tags begin with.

    Raises:
        ValueError: for a quantity that there is none of.
    """

    def __init__(
        self,
        summary_writer: Any,
        *,
        quantities: Sequence[str] | None = None,
        histograms: bool = True,
        prefix: str = flat.PREFIX,
    ) -> None:
        self._writer = summary_writer
        self._quantities = flat.check_quantities(quantities)
        self._histograms, self._prefix = histograms, prefix

    def __call__(self, recorded: Recorded) -> None:
        """Write one record."""
        step = recorded.step
        for name, value in flat.numbers(recorded, quantities=self._quantities, prefix=self._prefix).items():
            self._writer.add_scalar(name, value, step)
        if self._histograms:
            for name, found in flat.histograms(recorded, prefix=self._prefix):
                number, total, squares = flat.moments(found)
                self._writer.add_histogram_raw(
                    name,
                    min=found.edges[0],
                    max=found.edges[-1],
                    num=number,
                    sum=total,
                    sum_squares=squares,
                    bucket_limits=found.edges[1:].tolist(),
                    bucket_counts=found.counts.tolist(),
                    global_step=step,
                )
        if lines := flat.lines(recorded):
            self._writer.add_text(f"{self._prefix}/events", "\n\n".join(lines), step)

"""Records in a TensorBoard event file, read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gaussprobe.integrations import flat
from gaussprobe.integrations.tensorboard import TensorBoardWriter
from gaussprobe.watch import Recorded
from tests import needs
from tests.integrations.recorded import alike, odd, train

needs.package("tensorboard")


def read(folder: Path) -> Any:
    """The event files of a folder, by TensorBoard's own reader; nothing thinned out."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    every = {"scalars": 0, "histograms": 0, "tensors": 0}
    return EventAccumulator(str(folder), size_guidance=every).Reload()


def check(events: Any, recorded: list[Recorded]) -> None:
    """Assert that scalars and histograms are those of the records and no others."""
    expected: dict[str, list[tuple[int, float]]] = {}
    shapes: dict[str, list[tuple[int, flat.Histogram]]] = {}
    for one in recorded:
        for name, value in flat.numbers(one).items():
            expected.setdefault(name, []).append((one.step, value))
        for name, shape in flat.histograms(one):
            shapes.setdefault(name, []).append((one.step, shape))
    assert set(events.Tags()["scalars"]) == set(expected)
    assert set(events.Tags()["histograms"]) == set(shapes)
    for name, points in expected.items():
        found = events.Scalars(name)
        assert [point.step for point in found] == [step for step, _ in points], name
        # an event file holds scalars in float32
        assert all(alike(a.value, float(np.float32(b))) for a, (_, b) in zip(found, points, strict=True)), (
            name
        )
    for name, drawn in shapes.items():
        for event, (step, shape) in zip(events.Histograms(name), drawn, strict=True):
            value = event.histogram_value
            assert (event.step, value.min, value.max) == (step, shape.edges[0], shape.edges[-1])
            assert value.bucket_limit == shape.edges[1:].tolist()
            assert value.bucket == shape.counts.tolist()
            assert (value.num, value.sum, value.sum_squares) == flat.moments(shape)


def test_a_training_read_back(tmp_path: Path) -> None:
    """The event file of a watched training holds every number and histogram of every record."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        recorded = train(TensorBoardWriter(writer))
    check(read(tmp_path), recorded)


def test_odd_records_read_back(tmp_path: Path) -> None:
    """NaN and infinity stay what they are, and events are text."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        write = TensorBoardWriter(writer)
        for step in (0, 50):
            write(odd(step))
    events = read(tmp_path)
    check(events, [odd(0), odd(50)])
    texts = events.Tensors("gaussprobe/events/text_summary")
    assert [(text.step, text.tensor_proto.string_val[0].decode()) for text in texts] == [
        (step, "\n\n".join(flat.lines(odd(step)))) for step in (0, 50)
    ]


def test_less_when_less_is_wanted(tmp_path: Path) -> None:
    """`quantities`, `histograms` and `prefix` decide what is written, and where."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        TensorBoardWriter(writer, quantities=["sd"], histograms=False, prefix="layers")(odd(3))
    tags = read(tmp_path).Tags()
    assert set(tags["scalars"]) == set(flat.numbers(odd(3), quantities=["sd"], prefix="layers"))
    assert tags["histograms"] == []

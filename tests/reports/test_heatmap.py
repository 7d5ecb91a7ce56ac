"""gaussprobe.reports.heatmap: delta of every layer over the steps."""

from __future__ import annotations

import dataclasses
import math
import re
from xml.etree import ElementTree

import pytest

from gaussprobe.records import Metric
from gaussprobe.reports import drawing, folding, heatmap, series
from gaussprobe.types import Run, Source
from tests.reports.training_runs import build_training

RUN = build_training()


def drawn(run: Run, source: Source = "forward", metrics: tuple[str, ...] = ("loss",)) -> str:
    training = series.read(run)
    span = heatmap.span_of(training)
    assert span is not None
    with drawing.figure_style():
        return heatmap.draw(training, source, metrics, span, 'delta of "a"<b>', "k")


def filled(svg: str, name: str) -> list[tuple[float, float]]:
    """First and last x of each box of a colour."""
    found = re.search(rf'd="([^"]+)"[^>]*style="fill: var\(--{name}\)', svg)
    if found is None:
        return []
    boxes = [re.findall(r"(-?[\d.]+) -?[\d.]+", box) for box in found[1].split("z") if box]
    return [(min(map(float, xs)), max(map(float, xs))) for xs in boxes]


def test_fit_for_inlining() -> None:
    """One element with a label, without a fixed colour, prolog or address, and small."""
    svg = drawn(RUN)
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == 'delta of "a"<b>'
    assert not re.search(r"<\?xml|<style|http|#0102|(fill|stroke): #", svg)
    assert len(svg) < 30_000


def test_neighbours_of_one_class_are_one_box() -> None:
    """A row that never leaves its class is one box as wide as the axis."""
    svg = drawn(build_training(sites=1, probe=False), metrics=())
    assert len(filled(svg, "heat-0")) == 1
    assert not filled(svg, "heat-1")


def test_runs() -> None:
    """Columns of one class are joined; where nothing was recorded there is no box."""
    assert heatmap._runs([1, 1, None, "", "", 2]) == [(0, 2, 1), (2, 3, None), (5, 6, 2)]
    assert heatmap._runs([]) == []


def test_what_cannot_be_measured_is_crossed() -> None:
    """Steps where a layer holds NaN have the colour of nothing else, and crosses."""
    with_gap = drawn(RUN)
    assert len(filled(with_gap, "missing")) == 1
    without = drawn(build_training(sites=6))
    assert not filled(without, "missing")


def test_many_steps_share_columns() -> None:
    """With more steps than columns a cell has the class of the largest delta under it."""
    training = series.read(build_training(steps=400, sites=4, probe=False))
    site = training.sites["forward"][3]
    bins = series.binned(list(site.steps), heatmap.MOST_COLUMNS)
    cells = heatmap._cells(site, bins)
    assert len(cells) == heatmap.MOST_COLUMNS
    delta = dict(zip(site.steps, site.values("delta"), strict=True))
    assert cells == [series.classed(max(delta[step] for step in steps)) for steps in bins]


def test_columns_end_half_way_between_steps() -> None:
    """A column reaches half-way to its neighbours, the first and the last as far outwards."""
    assert heatmap.cell_edges([[0], [10], [30]]) == [-5, 5, 20, 40]
    assert heatmap.cell_edges([[0, 10], [20, 30]]) == [-5, 15, 35]
    assert heatmap.cell_edges([[7]]) == [6.5, 7.5]


def test_metrics_stand_above() -> None:
    """Each metric has its axes, named, with a line for each step that has an event."""
    svg = drawn(RUN, metrics=("loss", "accuracy"))
    assert ">loss<" in svg
    assert ">accuracy<" in svg
    lines = len(re.findall(r"stroke: var\(--mark\); stroke-opacity: .45|stroke: var\(--mark\)", svg))
    assert lines >= 2 * len({event.step for event in RUN.events})


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300, -1e300])
def test_metrics_that_are_not_finite(value: float) -> None:
    """A metric that is not finite, or beyond drawing, leaves a gap."""
    odd = tuple(Metric(step=step, name="loss", value=value) for step in (0, 50))
    assert drawn(dataclasses.replace(RUN, metrics=odd)).startswith("<svg")


def test_steps_too_large_to_draw() -> None:
    """Steps that a double cannot tell apart have no axis."""
    far = tuple(dataclasses.replace(record, step=2**60 + record.step) for record in RUN.series)
    run = dataclasses.replace(RUN, series=far, scores=(), metrics=(), events=())
    assert heatmap.span_of(series.read(run)) is None


def test_long_names_are_shortened_in_the_middle() -> None:
    """A name has at most 46 characters, and its two ends."""
    short = folding.shortened("a" * 40 + "b" * 40)
    assert len(short) == 46
    assert short.startswith("aaa")
    assert short.endswith("bbb")
    assert folding.shortened("short") == "short"


@pytest.mark.parametrize("count", [1, 40, 100, 400])
def test_labels_have_room(count: int) -> None:
    """Names of rows are never closer than their letters are high."""
    row = heatmap._row_height(count)
    each = max(math.ceil(8.0 / row), 1)
    assert row * each >= 8

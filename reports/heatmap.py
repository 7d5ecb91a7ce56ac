"""Delta of every layer over the steps of a training, under its metrics, as one inline SVG."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gaussprobe.reports import series
from gaussprobe.reports.drawing import HEAT, INK, MARK, MISSING, PAPER, to_svg
from gaussprobe.reports.folding import MOST_NAME, shortened
from gaussprobe.reports.lines import clean, limits, step_tick, thinned, tick
from gaussprobe.reports.series import SiteSeries, Training
from gaussprobe.types import Source

MOST_COLUMNS = 160  # of the heatmap; more steps share a column
MOST_METRICS = 4  # above the heatmap; a page draws the others apart
_METRIC_POINTS = 320

_Box: TypeAlias = tuple[float, float, float, float]

# In points; at the full width of the page a point is a point.
_WIDTH, _RIGHT, _TOP, _BOTTOM = 852.0, 10.0, 10.0, 30.0
_METRIC, _GAP = 54.0, 11.0
_CHARACTER = 4.3  # width of one, on average
_TICKS = 44.0  # room for the tick labels of a metric
_SPLIT = 0.5  # rows between the layers that count and the others
_MOST_EVENT_LINES = 80
_FEW = 3  # values that a line would not show


def draw(
    training: Training,
    source: Source,
    metrics: Sequence[str],
    span: tuple[float, float],
    title: str,
    key: str,
) -> str:
    """Metrics above each other, and under them one row for each site, one column for each recorded step.

    The colour of a cell is the class of delta (`series.CLASSES`); where more than `MOST_COLUMNS` steps share
    columns it is that of the largest. A cell where delta could not be measured is crossed; where nothing was
    recorded there is none. Events are marked in the row of their site, and by lines through the metrics.

    Args:
        training: the series.
        source: whose rows to draw.
        metrics: names of those to draw above; may be empty.
        span: first and last step of the axis.
        title: what a screen reader says of the figure.
        key: makes the SVG's ids unique in the page.

    Returns:
        An `<svg>` element, to be used inside `drawing.figure_style()`.
    """
    sites = training.sites[source]
    row = _row_height(len(sites))
    split = _SPLIT if len({site.counted for site in sites}) == 2 else 0.0
    # As wide in every heatmap of a page, so that steps stand under each other.
    names = [site.site for each in training.sites.values() for site in each]
    left = min(max(map(len, names)), MOST_NAME) * _CHARACTER + 8
    left = max(left, _TICKS + min(max(map(len, training.metrics), default=0), 20) * _CHARACTER, 62)
    heat = row * (len(sites) + split)
    height = _TOP + len(metrics) * (_METRIC + _GAP) + heat + _BOTTOM
    figure = Figure(figsize=(_WIDTH / 72, height / 72))
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)

    def place(top: float, tall: float) -> Axes:
        box = (left / _WIDTH, 1 - (top + tall) / height, 1 - (left + _RIGHT) / _WIDTH, tall / height)
        axes = figure.add_axes(box)
        axes.patch.set_visible(False)
        axes.set_xlim(*span)
        return axes

    top = _TOP
    marked = sorted({event.step for event in training.events})
    for name in metrics:
        steps, values = training.metrics[name]
        axes = place(top, _METRIC)
        axes.tick_params(labelbottom=False)
        draw_metric(axes, steps, values, marked)
        shown = shortened(name, int((left - _TICKS) / _CHARACTER))
        axes.annotate(
            shown,
            (0, 0.5),
            xytext=(-_TICKS, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8,
        )
        top += _METRIC + _GAP
    width = _WIDTH - left - _RIGHT
    _rows(place(top, heat), sites, row, split, width)
    return to_svg(figure, title, key)


def draw_alone(training: Training, name: str, span: tuple[float, float], key: str) -> str:
    """One metric by itself, for those that have no place above the heatmap.

    Args:
        training: the series.
        name: of the metric.
        span: first and last step of the axis.
        key: makes the SVG's ids unique in the page.

    Returns:
        An `<svg>` element, to be used inside `drawing.figure_style()`.
    """
    figure = Figure(figsize=(3.0, 1.3))
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)
    axes = figure.add_axes((0.16, 0.2, 0.81, 0.75))
    axes.patch.set_visible(False)
    axes.set_xlim(*span)
    steps, values = training.metrics[name]
    draw_metric(axes, steps, values, sorted({event.step for event in training.events}))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    return to_svg(figure, f"{name} over the steps", key)


def draw_metric(axes: Axes, steps: Sequence[int], values: Sequence[float], marked: Sequence[int]) -> None:
    """A metric as a line, thinned to the smallest and largest of neighbours, and lines at events."""
    x, y = thinned(np.asarray(steps, dtype=float), clean(values), _METRIC_POINTS)
    axes.set_ylim(*limits(y))
    marker = "o" if np.isfinite(y).sum() <= _FEW else ""
    axes.plot(x, y, color=INK, linewidth=1.2, marker=marker, markersize=2.5)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(step_tick))
    mark_events(axes, marked, 0.45)


def mark_events(axes: Axes, steps: Iterable[int], alpha: float) -> None:
    """A vertical line for each step, the full height of the axes."""
    for step in list(steps)[:_MOST_EVENT_LINES]:
        axes.plot(
            [step, step],
            [0, 1],
            transform=axes.get_xaxis_transform(),
            color=MARK,
            linewidth=1,
            alpha=alpha,
            zorder=0.5,
        )


def span_of(training: Training) -> tuple[float, float] | None:
    """The axis of steps that all figures share; None where steps are too large to tell apart."""
    steps = [*training.steps, *(step for found, _ in training.metrics.values() for step in found)]
    if not steps or max(map(abs, steps)) > 1e15:
        return None
    edges = cell_edges([sorted(set(steps))[:1], sorted(set(steps))[-1:]])
    gap = min(edges[1] - edges[0], (edges[-1] - edges[0]) / (2 * max(len(set(steps)) - 1, 1)))
    return min(steps) - max(gap, 0.5), max(steps) + max(gap, 0.5)


def cell_edges(bins: Sequence[Sequence[int]]) -> list[float]:
    """Where the columns begin and end: half-way between neighbouring steps."""
    inner = [(before[-1] + after[0]) / 2 for before, after in itertools.pairwise(bins)]
    if not inner:
        return [bins[0][0] - 0.5, bins[0][-1] + 0.5]
    return [bins[0][0] - (inner[0] - bins[0][-1]), *inner, bins[-1][-1] + (bins[-1][0] - inner[-1])]


def _row_height(count: int) -> float:
    return 14.0 if count <= 40 else max(4.0, min(11.0, 1100 / count))


def _rows(axes: Axes, sites: Sequence[SiteSeries], row: float, split: float, width: float) -> None:
    steps = sorted({step for site in sites for step in site.steps})
    bins = series.binned(steps, MOST_COLUMNS)
    edges = cell_edges(bins)
    low, high = axes.get_xlim()
    point = (high - low) / width  # steps in a point
    boxes: dict[int | None, list[_Box]] = {}
    crosses: list[_Box] = []
    marks: list[tuple[float, float, float]] = []
    centres = []
    for index, site in enumerate(sites):
        top = index + (0.0 if site.counted else split)
        centres.append(top + 0.5)
        last = -math.inf
        cells = _cells(site, bins)
        for begin, end, found in _runs(cells):
            boxes.setdefault(found, []).append((edges[begin], edges[end], top + 0.06, top + 0.94))
        for column, cell in enumerate(cells):
            middle = (edges[column] + edges[column + 1]) / 2
            if cell is None and (middle - last) / point >= min(row, 7):
                last, half = middle, 0.22 * row
                crosses.append(
                    (middle - half * point, middle + half * point, top + 0.5 - 0.22, top + 0.5 + 0.22)
                )
        marks += [(event.step, top, top + 1) for event in site.events]
    rows = len(sites) + split
    axes.set_ylim(rows, 0)
    for found, all_boxes in boxes.items():
        _patch(axes, _boxed(all_boxes), facecolor=MISSING if found is None else HEAT[found], linewidth=0)
    if crosses:
        strokes = [((x0, y0), (x1, y1)) for x0, x1, y0, y1 in crosses]
        strokes += [((x0, y1), (x1, y0)) for x0, x1, y0, y1 in crosses]
        _patch(axes, _stroked(strokes), fill=False, edgecolor=PAPER, linewidth=0.9)
    if marks:
        lines = _stroked([((x, y0), (x, y1)) for x, y0, y1 in marks])
        _patch(axes, lines, fill=False, edgecolor=PAPER, linewidth=4)
        _patch(axes, lines, fill=False, edgecolor=MARK, linewidth=1.8)
    each = max(math.ceil(8.0 / row), 1)  # names of low rows would lie on each other
    labels = [shortened(site.site) for site in sites]
    axes.set_yticks(centres[::each], labels[::each])
    axes.tick_params(axis="y", length=0, pad=4)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(step_tick))
    axes.set_xlabel("step")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _cells(site: SiteSeries, bins: Sequence[Sequence[int]]) -> list[int | str | None]:
    """The class of each column; None where delta is missing, `""` where nothing was recorded."""
    delta = dict(zip(site.steps, site.values("delta"), strict=True))
    cells: list[int | str | None] = []
    for steps in bins:
        own = [delta[step] for step in steps if step in delta]
        cells.append(series.classed(series.largest(own)) if own else "")
    return cells


def _runs(cells: Sequence[int | str | None]) -> list[tuple[int, int, int | None]]:
    """Neighbouring columns of one class as one box: first column, the one after the last, class."""
    runs: list[tuple[int, int, int | None]] = []
    begin = 0
    for column in range(1, len(cells) + 1):
        if column == len(cells) or cells[column] != cells[begin]:
            found = cells[begin]
            if not isinstance(found, str):
                runs.append((begin, column, found))
            begin = column
    return runs


def _boxed(boxes: Sequence[_Box]) -> Path:
    corners = [((x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)) for x0, x1, y0, y1 in boxes]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    return Path(np.array(corners).reshape(-1, 2), codes * len(boxes))


def _stroked(strokes: Sequence[tuple[tuple[float, float], tuple[float, float]]]) -> Path:
    return Path(np.array(strokes).reshape(-1, 2), [Path.MOVETO, Path.LINETO] * len(strokes))


def _patch(axes: Axes, path: Path, **style: object) -> None:
    """One element for all of them: a page of a hundred layers has thousands."""
    axes.add_patch(PathPatch(path, clip_on=False, **style))

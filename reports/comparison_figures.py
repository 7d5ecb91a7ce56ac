"""The figures of a comparison: slopes from setting to setting, layers over training, Q-Q plots of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gaussprobe.comparison import CourseSummary
from gaussprobe.measured import Quantiles
from gaussprobe.reports import figures
from gaussprobe.reports.drawing import FIRST, INK, MUTED, PAPER, SECOND, to_svg
from gaussprobe.reports.folding import shortened
from gaussprobe.reports.lines import clean, enveloped, limits, step_tick, thinned, tick

_Array: TypeAlias = npt.NDArray[np.float64]
MOST_LABELS = 24
_MOST_NAME = 30
_MOST_SETTING = 18  # two of them have room beside each other
_NARROW = (3.0, 1.5)  # inches, of one layer over training
_POINTS = 60
# Of the slopes, in points: one is a little more than a pixel at the width a page gives them.
_WIDTH, _TICKS, _TOP, _BOTTOM, _LINE, _CHARACTER = 340.0, 38.0, 22.0, 8.0, 10.5, 4.7
_LEADER = 16.0


@dataclass(frozen=True, kw_only=True)
class Slope:
    """One layer in two settings.

    Args:
        name: of the layer.
        first, second: means.
        clear: 1 where the second is higher beyond doubt, -1 where it is lower, else 0.
    """

    name: str
    first: float
    second: float
    clear: int


def slopes(lines: Sequence[Slope], settings: tuple[str, str], title: str, key: str) -> str:
    """A line for each layer, from its mean in the first setting to that in the second.

    Lines of clear differences are solid, in the colour of the setting that is higher; others dashed and grey.
    Of more than `MOST_LABELS` layers those that change most are named.

    Args:
        lines: the layers; those with a mean that is not finite are left out.
        settings: what both are called.
        title: what a screen reader says of the figure.
        key: makes the SVG's ids unique in the page.

    Returns:
        An `<svg>` element, to be used inside `drawing.figure_style()`; empty when there is no line.
    """
    ends = clean(value for line in lines for value in (line.first, line.second)).reshape(-1, 2)
    kept = [(line, a, b) for line, (a, b) in zip(lines, ends.tolist(), strict=True) if math.isfinite(a + b)]
    if not kept:
        return ""
    told = sorted(kept, key=lambda one: -abs(one[2] - one[1]))[:MOST_LABELS]
    names = [shortened(line.name, _MOST_NAME) for line, _, _ in told]
    # Where the layers lie further apart their names point more clearly.
    side = int(_spread([b for _, _, b in kept]) > _spread([a for _, a, _ in kept]))
    figure, axes, tall = _slope_axes(max(map(len, names)), len(told), side)
    low, high = limits(np.array([end for _, a, b in kept for end in (a, b)]))
    axes.set_ylim(low, high)
    for line, a, b in sorted(kept, key=lambda one: one[0].clear != 0):
        _slope(axes, line, a, b)
    points = (high - low) / tall  # of the axis in a point
    named = [(a, b)[side] for _, a, b in told]
    heights = _within(spaced([end / points for end in named], _LINE), low / points, high / points, _LINE / 2)
    for name, end, at in zip(names, named, heights, strict=True):
        _label(axes, name, end, at * points, side)
    for x, name in enumerate(settings):
        axes.annotate(
            shortened(name, _MOST_SETTING),
            (x, 1),
            xytext=((-10, 8), (_TICKS - 10, 8))[x],
            xycoords="axes fraction",
            textcoords="offset points",
            ha=("left", "right")[x],
            fontsize=8,
            fontweight="bold",
        )
    return to_svg(figure, title, key)


def _spread(values: Sequence[float]) -> float:
    return max(values) - min(values)


def _slope_axes(longest: int, labels: int, side: int) -> tuple[Figure, Axes, float]:
    """Empty axes with room for the names on one side (0 left, 1 right), ticks on the other; their height."""
    tall = max(150.0, (labels + 1) * _LINE)
    named = max(longest * _CHARACTER + _LEADER + 6, _TICKS)
    left, right = (_TICKS, named) if side else (named, _TICKS)
    height = _TOP + tall + _BOTTOM
    figure = Figure(figsize=(_WIDTH / 72, height / 72))
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)
    axes = figure.add_axes((left / _WIDTH, _BOTTOM / height, 1 - (left + right) / _WIDTH, tall / height))
    axes.patch.set_visible(False)
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    if not side:
        axes.yaxis.tick_right()
    axes.spines["bottom"].set_visible(False)
    axes.spines["right"].set_visible(True)
    return figure, axes, tall


def spaced(places: Sequence[float], gap: float) -> list[float]:
    """Places moved as little as can be, in squares, so that neighbours are a gap apart.

    With the gaps taken out of the ordered places this is isotonic regression: what is out of order is pooled.

    Args:
        places: in any order.
        gap: between neighbours, in the unit of the places.

    Returns:
        New places, in the order given.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    pools: list[list[float]] = []  # sum and size
    for rank, index in enumerate(order):
        pools.append([places[index] - rank * gap, 1.0])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] >= pools[-1][0] / pools[-1][1]:
            last = pools.pop()
            pools[-1] = [pools[-1][0] + last[0], pools[-1][1] + last[1]]
    means = [total / size for total, size in pools for _ in range(int(size))]
    found = [0.0] * len(places)
    for rank, index in enumerate(order):
        found[index] = means[rank] + rank * gap
    return found


def _within(places: Sequence[float], low: float, high: float, margin: float) -> list[float]:
    """All places moved alike, so that none lies outside, as far as there is room."""
    over = max(max(places) - (high - margin), 0.0)
    under = max((low + margin) - (min(places) - over), 0.0)
    return [place - over + under for place in places]


def _slope(axes: Axes, line: Slope, a: float, b: float) -> None:
    colour = {1: SECOND, -1: FIRST, 0: MUTED}[line.clear]
    axes.plot(
        [0, 1],
        [a, b],
        color=colour,
        linewidth=1.4 if line.clear else 0.9,
        linestyle=figures.SOLID if line.clear else figures.DASHED,
        marker="o",
        markersize=3.5,
        markerfacecolor=colour if line.clear else PAPER,
        clip_on=False,
    )


def _label(axes: Axes, name: str, value: float, at: float, side: int) -> None:
    """A name beside an end of its line, and what leads to it."""
    point = (1 if side else -1) / (_WIDTH * axes.get_position().width)
    axes.plot(
        [side + 3 * point, side + (_LEADER - 2) * point],
        [value, at],
        color=MUTED,
        linewidth=0.5,
        clip_on=False,
    )
    where = "left" if side else "right"
    axes.text(side + _LEADER * point, at, name, fontsize=8, va="center", ha=where, color=INK)


class Courses:
    """Draws one layer over training after another, all on the same axes.

    Args:
        courses: all that will be drawn.
    """

    def __init__(self, courses: Sequence[CourseSummary]) -> None:
        steps = [step for course in courses for step in course.steps]
        self._drawn: list[Artist] = []
        self._figure = Figure(figsize=_NARROW)
        FigureCanvasSVG(self._figure)
        self._figure.patch.set_visible(False)
        axes = self._axes = self._figure.add_axes((0.13, 0.27, 0.85, 0.68))
        axes.patch.set_visible(False)
        first, last = (min(steps), max(steps)) if steps else (0, 1)
        margin = 0.03 * max(last - first, 1)
        axes.set_xlim(first - margin, last + margin)
        bands = [clean(side) for course in courses for side in (course.mean, *_band(course)[1:])]
        axes.set_ylim(*limits(*bands))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.xaxis.set_major_formatter(FuncFormatter(step_tick))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(tick))
        self._figure.text(0.56, 0.015, "step", fontsize=8, ha="center")

    def draw(self, first: CourseSummary | None, second: CourseSummary | None, title: str, key: str) -> str:
        """A layer in both settings, to be used inside `drawing.figure_style()`.

        Args:
            first, second: it in each; None where a setting does not have it.
            title: what a screen reader says of the figure.
            key: makes the SVG's ids unique in the page.

        Returns:
            An `<svg>` element.
        """
        for course, colour, dashes in (
            (first, FIRST, figures.DASHED),
            (second, SECOND, figures.SOLID),
        ):
            if course is not None:
                self._line(course, colour, dashes)
        svg = to_svg(self._figure, title, key)
        for artist in self._drawn:
            artist.remove()
        self._drawn.clear()
        return svg

    def _line(self, course: CourseSummary, colour: str, dashes: figures.Dashes) -> None:
        x, low, high = _band(course)
        across, below, above = enveloped(x, low, high, _POINTS // 2)
        if np.isfinite(below).any():
            self._drawn.append(
                self._axes.fill_between(across, below, above, color=colour, alpha=0.2, linewidth=0)
            )
        y = clean(course.mean)
        kept, line = thinned(x, y, _POINTS)
        self._drawn += self._axes.plot(kept, line, color=colour, linewidth=1.3, linestyle=dashes)
        if len(x) and x[0] == 0:  # as the weights were drawn
            self._drawn += self._axes.plot(
                x[:1],
                y[:1],
                color=colour,
                marker="o",
                markersize=5,
                markerfacecolor=PAPER,
                markeredgewidth=1.2,
                linestyle="",
            )


def can_draw(courses: Sequence[CourseSummary]) -> bool:
    """Whether there is anything finite, at steps that a double can tell apart."""
    finite = any(np.isfinite(clean(course.mean)).any() for course in courses)
    return finite and all(abs(step) < 1e15 for course in courses for step in course.steps)


def _band(course: CourseSummary) -> tuple[_Array, _Array, _Array]:
    """Steps, and one standard error below and above the mean."""
    y, error = clean(course.mean), clean(course.se)
    return np.asarray(course.steps, dtype=float), y - error, y + error


def both_quantiles(first: Quantiles, second: Quantiles, title: str, key: str) -> str:
    """The Q-Q plots of one unit in both settings.

    Args:
        first, second: it in each.
        title: what a screen reader says of the figure.
        key: makes the SVG's ids unique in the page.

    Returns:
        An `<svg>` element, to be used inside `drawing.figure_style()`; empty when nothing can be drawn.
    """
    return figures.quantile_lines(
        [
            figures.QuantileLine(normal=one.normal, sample=one.sample, colour=colour, dashes=dashes)
            for one, colour, dashes in (
                (first, FIRST, figures.DASHED),
                (second, SECOND, figures.SOLID),
            )
        ],
        title,
        key,
    )

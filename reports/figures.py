"""The pictures of a site: histograms against the fitted normal law, and a Q-Q plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gaussprobe.reports.drawing import FIT, MEDIAN, WORST, to_svg
from gaussprobe.types import UnitPicture

_Array: TypeAlias = npt.NDArray[np.float64]
Dashes: TypeAlias = "str | tuple[float, tuple[float, ...]]"
_SIZE = (3.0, 1.9)  # inches; the page scales it
_CURVE_POINTS = 61
_TINY = 1e-150
SOLID: Dashes = "-"
DASHED: Dashes = (0, (5, 1.2))


@dataclass(frozen=True, kw_only=True)
class QuantileLine:
    """One sample of a Q-Q plot.

    Args:
        normal, sample: normal scores and the quantiles of the standardised sample at them.
        colour: one of `drawing`.
        dashes: as matplotlib has them.
    """

    normal: Sequence[float]
    sample: Sequence[float]
    colour: str
    dashes: Dashes = SOLID


def can_draw(unit: UnitPicture) -> bool:
    """Whether a unit's histogram can be drawn: finite rising edges, something counted, a positive sd.

    Widths that a double cannot divide by, and values that it cannot square, are left out as well.
    """
    edges = np.asarray(unit.edges, dtype=float)
    return (
        len(edges) == len(unit.counts) + 1 >= 2
        and bool((np.abs(edges) < 1 / _TINY).all())
        and bool((np.diff(edges) > _TINY).all())
        and min(*unit.counts, unit.below, unit.above) >= 0
        and sum(unit.counts) > 0
        and math.isfinite(unit.mean)
        and _TINY < unit.sd < 1 / _TINY
    )


def histogram(unit: UnitPicture, title: str, key: str) -> str:
    """A unit's histogram as a density, with the normal law of the same mean and sd over it.

    Args:
        unit: the unit; its range is that of its `edges`, samples outside count in the scale of the density.
        title: what a screen reader says of the figure.
        key: makes the SVG's ids unique in the page; letters, digits and `-`.

    Returns:
        An `<svg>` element, to be used inside `figure_style()`; empty when the unit cannot be drawn.
    """
    if not can_draw(unit):
        return ""
    edges = np.asarray(unit.edges, dtype=float)
    counts = np.asarray(unit.counts, dtype=float)
    total = counts.sum() + unit.below + unit.above
    figure, axes = _canvas(left=0.02)
    axes.set_yticks([])  # before seaborn looks at the ticks, which makes them
    axes.xaxis.set_major_locator(MaxNLocator(4))
    colour = MEDIAN if unit.role == "median" else WORST
    sns.histplot(
        x=(edges[:-1] + edges[1:]) / 2,
        weights=counts / total / np.diff(edges),
        bins=edges.tolist(),
        element="step",
        color=colour,
        alpha=0.35,
        linewidth=0.8,
        ax=axes,
    )
    grid = np.linspace(edges[0], edges[-1], _CURVE_POINTS)
    with np.errstate(over="ignore"):  # so far from the mean the density is 0, as it should be
        density = np.exp(-0.5 * ((grid - unit.mean) / unit.sd) ** 2) / (unit.sd * math.sqrt(2 * math.pi))
    axes.plot(grid, density, color=FIT, linewidth=1.3)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("activation")
    axes.set_ylabel("")
    axes.spines["left"].set_visible(False)
    return to_svg(figure, title, key)


def qq_plot(units: Sequence[UnitPicture], title: str, key: str) -> str:
    """Sample quantiles of standardised units against normal scores, with the line of equality.

    Args:
        units: those to draw; pairs with a value that is not finite are left out.
        title: what a screen reader says of the figure.
        key: makes the SVG's ids unique in the page; letters, digits and `-`.

    Returns:
        An `<svg>` element, to be used inside `figure_style()`; empty when no unit can be drawn.
    """
    lines = []
    for unit in units:
        worst = unit.role == "worst"
        colour, dashes = (WORST, DASHED) if worst else (MEDIAN, SOLID)
        lines.append(QuantileLine(normal=unit.qq_normal, sample=unit.qq_sample, colour=colour, dashes=dashes))
    return quantile_lines(lines, title, key)


def quantile_lines(lines: Sequence[QuantileLine], title: str, key: str) -> str:
    """Samples in one Q-Q plot, with the line of equality.

    Args:
        lines: those to draw; pairs with a value that is not finite are left out.
        title: what a screen reader says of the figure.
        key: makes the SVG's ids unique in the page; letters, digits and `-`.

    Returns:
        An `<svg>` element, to be used inside `figure_style()`; empty when no line can be drawn.
    """
    drawn = [(line, *_finite(line.normal, line.sample)) for line in lines]
    drawn = [(line, normal, sample) for line, normal, sample in drawn if len(normal) > 1]
    if not drawn:
        return ""
    figure, axes = _canvas(left=0.16)
    low = min(float(normal.min()) for _, normal, _ in drawn)
    high = max(float(normal.max()) for _, normal, _ in drawn)
    axes.plot([low, high], [low, high], color=FIT, linewidth=0.9, linestyle=(0, (4, 3)))
    for line, normal, sample in drawn:
        axes.plot(normal, sample, color=line.colour, linewidth=1.5, linestyle=line.dashes)
    axes.set_xlabel("normal score")
    axes.set_ylabel("sample, in sd")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return to_svg(figure, title, key)


def _finite(normal: Sequence[float], sample: Sequence[float]) -> tuple[_Array, _Array]:
    pairs = np.array(list(zip(normal, sample, strict=True)), dtype=float).reshape(-1, 2)
    kept = pairs[(np.abs(pairs) < 1 / _TINY).all(axis=1)]
    return kept[:, 0], kept[:, 1]


def _canvas(left: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE)
    FigureCanvasSVG(figure)
    axes = figure.add_axes((left, 0.22, 0.98 - left, 0.75))
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    return figure, axes

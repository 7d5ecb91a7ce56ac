"""One layer over the steps of a training: delta, quantiles, moments and L-moments as inline SVG.

Axes and ticks are made once and used for every layer of a page: making them takes longer than drawing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from gaussprobe.records import LEVELS
from gaussprobe.reports import glossary
from gaussprobe.reports.drawing import BANDS, FIT, FORWARD, MARK, PROBE, to_svg
from gaussprobe.reports.lines import clean, enveloped, limits, step_tick, thinned, tick
from gaussprobe.reports.series import SiteSeries
from gaussprobe.types import Source

_Array: TypeAlias = npt.NDArray[np.float64]

# Two quantities to a figure, one above the other.
FIGURES = (
    ("delta", "quantiles"),
    ("mean", "sd"),
    ("skewness", "excess_kurtosis"),
    ("l_skewness", "l_kurtosis"),
)
_TITLES = {
    "delta": f"delta, logarithmic from {glossary.LOW}",
    "quantiles": "quantiles, in sd",
    "mean": "mean",
    "sd": "sd",
    "skewness": "skewness",
    "excess_kurtosis": "excess kurtosis",
    "l_skewness": "L-skewness",
    "l_kurtosis": "L-kurtosis",
}
_NORMAL = {"skewness": 0.0, "excess_kurtosis": 0.0, "l_skewness": 0.0, "l_kurtosis": 0.1226}
_COLOUR: dict[Source, str] = {"forward": FORWARD, "probe": PROBE}
_DASHES: dict[Source, object] = {"forward": "-", "probe": (0, (6, 1))}
_DELTA_TICKS = (0.0, glossary.BAND_LOW, glossary.BAND_HIGH, 0.1, 1.0)
_LOWEST = -0.4  # of the axis of delta at least: a thousandth below 0
_FAN = (0.001, 0.01, 0.05, 0.2)  # lower levels of the bands between a quantile and its mirror image
_MOST_SD = 8.0  # quantiles further out are not drawn
_SIZE = (3.0, 2.9)
_MOST_MARKS = 40
_FEW = 3  # records that lines would not show


class SiteFigures:
    """Draws the figures of one site after another.

    Args:
        span: first and last step of the axis.
        points: that a line may have.
    """

    def __init__(self, span: tuple[float, float], points: int) -> None:
        self._points = points
        self._drawn: list[Artist] = []
        self._figures = [_canvas(upper, lower, span) for upper, lower in FIGURES]

    def draw(self, sources: Sequence[SiteSeries], key: str) -> list[str]:
        """The figures of a site, to be used inside `drawing.figure_style()`.

        Args:
            sources: its series, the one to look at first at the start; quantiles are of that one.
            key: makes the SVG's ids unique in the page.

        Returns:
            An `<svg>` element for each of `FIGURES`.
        """
        found = []
        for index, (names, (figure, both)) in enumerate(zip(FIGURES, self._figures, strict=True)):
            for name, axes in zip(names, both, strict=True):
                if name == "quantiles":
                    self._fan(axes, sources[0])
                else:
                    self._lines(axes, sources, name)
                self._marks(axes, sources)
            titles = " and ".join(_TITLES[name] for name in names)
            found.append(to_svg(figure, f"{titles} of {sources[0].site} over training", f"{key}p{index}"))
            for artist in self._drawn:
                artist.remove()
            self._drawn.clear()
        return found

    def _lines(self, axes: Axes, sources: Sequence[SiteSeries], name: str) -> None:
        seen = [np.array([_NORMAL[name]])] if name in _NORMAL else []
        for series in reversed(sources):  # the first one on top
            x = np.asarray(series.steps, dtype=float)
            y, low, high = _measured(series, name)
            colour = _COLOUR[series.source]
            across, below, above = enveloped(x, low, high, self._points // 2)
            if np.isfinite(below).any():
                band = axes.fill_between(across, below, above, color=colour, alpha=0.2, linewidth=0)
                self._drawn.append(band)
            x, y = thinned(x, y, self._points)
            self._drawn += axes.plot(
                x,
                y,
                color=colour,
                linewidth=1.2,
                linestyle=_DASHES[series.source],
                marker="o" if np.isfinite(y).sum() <= _FEW else "",
                markersize=2.5,
            )
            seen += [y, below, above]
        if name == "delta":
            # The bands are always seen; of an interval that goes far below 0 no more than is of use.
            bottom, top = limits(*seen, np.array([_LOWEST, glossary.spread(2 * glossary.BAND_HIGH)]))
            axes.set_ylim(max(bottom, 2 * _LOWEST), top)
        else:
            axes.set_ylim(*limits(*seen))
        self._say_if_empty(axes, seen[bool(name in _NORMAL) :])

    def _fan(self, axes: Axes, series: SiteSeries) -> None:
        x = np.asarray(series.steps, dtype=float)
        rows = [() if record is None else record.quantiles for record in series.records]
        nothing = (math.nan,) * len(LEVELS)
        table = [clean(row if len(row) == len(LEVELS) else nothing) for row in rows]
        quantiles = np.array(table).reshape(len(x), len(LEVELS)).T
        colour = _COLOUR[series.source]
        for level in _FAN:
            at = LEVELS.index(level)
            across, low, high = enveloped(x, quantiles[at], quantiles[-1 - at], self._points // 2)
            self._drawn.append(axes.fill_between(across, low, high, color=colour, alpha=0.17, linewidth=0))
            if np.isfinite(low).sum() <= _FEW:  # a band of one record has no width
                self._drawn.append(axes.vlines(across, low, high, color=colour, alpha=0.17, linewidth=5))
        x, middle = thinned(x, quantiles[LEVELS.index(0.5)], self._points // 2)
        self._drawn += axes.plot(x, middle, color=colour, linewidth=1.1)
        ends = np.array([*_normal_quantiles(), *quantiles[0], *quantiles[-1]])
        ends = ends[np.isfinite(ends)]
        axes.set_ylim(1.05 * max(ends.min(), -_MOST_SD), 1.05 * min(ends.max(), _MOST_SD))
        self._say_if_empty(axes, [quantiles])

    def _marks(self, axes: Axes, sources: Sequence[SiteSeries]) -> None:
        steps = sorted({event.step for series in sources for event in series.events})
        for step in steps[:_MOST_MARKS]:
            self._drawn += axes.plot(
                [step, step], [0, 1], transform=axes.get_xaxis_transform(), color=MARK, linewidth=1, alpha=0.8
            )

    def _say_if_empty(self, axes: Axes, seen: Sequence[_Array]) -> None:
        if not any(np.isfinite(array).any() for array in seen):
            said = axes.text(
                0.5, 0.5, "not measured", ha="center", va="center", fontsize=8, transform=axes.transAxes
            )
            self._drawn.append(said)


def _measured(series: SiteSeries, name: str) -> tuple[_Array, _Array, _Array]:
    """A quantity and the limits of its band: the interval of delta, one standard error of the others."""
    y = clean(series.values(name))
    if name == "delta":
        both = [clean(series.values(f"delta_{side}")) for side in ("low", "high")]
        y, low, high = (np.arcsinh(array / glossary.BAND_LOW) for array in (y, *both))
        return y, low, high
    if name in ("l_skewness", "l_kurtosis"):
        error = clean(series.errors(name))
    elif name == "mean":
        error = clean(series.errors("relative_mean")) * clean(series.values("sd"))
    elif name == "sd":
        factor = np.exp(np.clip(clean(series.errors("log_sd")), -50, 50))
        with np.errstate(divide="ignore", over="ignore"):  # `clean` leaves out what has no size
            return y, clean(y / factor), clean(y * factor)
    else:
        error = np.full(len(y), math.nan)
    error = clean(error)
    return y, y - error, y + error


def _normal_quantiles() -> list[float]:
    """Of a normal law those of every second band; all of them would hide what they are to show."""
    inverse = NormalDist().inv_cdf
    return [sign * inverse(level) for level in (_FAN[0], _FAN[2]) for sign in (1, -1)]


def _canvas(upper: str, lower: str, span: tuple[float, float]) -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure(figsize=_SIZE)
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)
    made = []
    for bottom, name in ((0.585, upper), (0.135, lower)):
        axes = figure.add_axes((0.15, bottom, 0.82, 0.345))
        axes.patch.set_visible(False)
        axes.set_xlim(*span)
        axes.set_autoscale_on(False)
        # Not as a title or a label of the axis: those look for a place anew in every figure.
        figure.text(0.15, bottom + 0.363, _TITLES[name], fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        axes.xaxis.set_major_formatter(NullFormatter() if name == upper else FuncFormatter(step_tick))
        _scale(axes, name)
        made.append(axes)
    figure.text(0.56, 0.015, "step", fontsize=8, ha="center")
    return figure, (made[0], made[1])


def _delta_tick(value: float, _: object = None) -> str:
    return tick(round(glossary.BAND_LOW * math.sinh(value), 5))


def _scale(axes: Axes, name: str) -> None:
    """What is the same for every site: ticks, the bands of the verdict, what a normal law has."""
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    if name == "delta":
        limits_of_bands = (-1e3, *map(glossary.spread, (glossary.BAND_LOW, glossary.BAND_HIGH)), 1e3)
        for low, high, colour in zip(limits_of_bands, limits_of_bands[1:], BANDS, strict=False):
            axes.axhspan(low, high, color=colour, alpha=0.13, linewidth=0)
        for level in limits_of_bands[1:3]:
            axes.axhline(level, color=FIT, linewidth=0.7, linestyle=(0, (2, 2)))
        axes.yaxis.set_major_locator(FixedLocator([glossary.spread(delta) for delta in _DELTA_TICKS]))
        axes.yaxis.set_major_formatter(FuncFormatter(_delta_tick))
    for level in _normal_quantiles() if name == "quantiles" else [_NORMAL[name]] if name in _NORMAL else []:
        axes.axhline(level, color=FIT, linewidth=0.7, linestyle=(0, (4, 3)))

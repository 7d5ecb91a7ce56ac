"""The pictures of a site as inline SVG: histograms against the fitted normal law, and a Q-Q plot.

Colours leave matplotlib as sentinels and become CSS variables, so that one figure reads in light and in dark.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gaussprobe.reports import text
from gaussprobe.types import UnitPicture

# Colours that nothing else uses, and the CSS variables they stand for.
_INK, _MUTED, _MEDIAN, _WORST, _FIT = "#010203", "#010204", "#010205", "#010206", "#010207"
_VARIABLES = {
    _INK: "var(--ink)",
    _MUTED: "var(--rule-strong)",
    _MEDIAN: "var(--median)",
    _WORST: "var(--worst)",
    _FIT: "var(--fit)",
}
_Array: TypeAlias = npt.NDArray[np.float64]
_SIZE = (3.0, 1.9)  # inches; the page scales it
_CURVE_POINTS = 61
_TINY = 1e-150
_STYLE = {
    "axes.edgecolor": _MUTED,
    "axes.facecolor": "none",
    "axes.grid": False,
    "axes.labelcolor": _INK,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "font.family": "sans-serif",
    "path.simplify": True,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "gaussprobe",
    "svg.image_inline": True,
    "text.color": _INK,
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "xtick.labelsize": 8,
    "xtick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.color": _MUTED,
    "ytick.labelcolor": _INK,
    "ytick.labelsize": 8,
    "ytick.major.size": 2.5,
    "ytick.major.width": 0.6,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """The look of the figures, whatever the reader's matplotlibrc says; enter it once for a whole report."""
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="seaborn")
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="seaborn")
        yield


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
    colour = _MEDIAN if unit.role == "median" else _WORST
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
    axes.plot(grid, density, color=_FIT, linewidth=1.3)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("activation")
    axes.set_ylabel("")
    axes.spines["left"].set_visible(False)
    return _svg(figure, title, key)


def qq_plot(units: Sequence[UnitPicture], title: str, key: str) -> str:
    """Sample quantiles of standardised units against normal scores, with the line of equality.

    Args:
        units: those to draw; pairs with a value that is not finite are left out.
        title: what a screen reader says of the figure.
        key: makes the SVG's ids unique in the page; letters, digits and `-`.

    Returns:
        An `<svg>` element, to be used inside `figure_style()`; empty when no unit can be drawn.
    """
    lines: list[tuple[UnitPicture, _Array, _Array]] = []
    for unit in units:
        normal, sample = _finite(unit.qq_normal, unit.qq_sample)
        lines.append((unit, normal, sample))
    lines = [line for line in lines if len(line[1]) > 1]
    if not lines:
        return ""
    figure, axes = _canvas(left=0.16)
    low = min(float(normal.min()) for _, normal, _ in lines)
    high = max(float(normal.max()) for _, normal, _ in lines)
    axes.plot([low, high], [low, high], color=_FIT, linewidth=0.9, linestyle=(0, (4, 3)))
    for unit, normal, sample in lines:
        worst = unit.role == "worst"
        colour, dashes = (_WORST, (0, (5, 1.2))) if worst else (_MEDIAN, "-")
        axes.plot(normal, sample, color=colour, linewidth=1.5, linestyle=dashes)
    axes.set_xlabel("normal score")
    axes.set_ylabel("sample, in sd")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    return _svg(figure, title, key)


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


def _svg(figure: Figure, title: str, key: str) -> str:
    """The figure as one element for the inside of a page: no prolog, no metadata, ids of its own."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = file.getvalue().decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s+", " ", svg).replace("> <", "><").replace("xlink:href", "href")
    svg = re.sub(
        r"<defs></defs>|<defs/>|<g/>| font-family: [^;\"]*;| transform=\"rotate\(-?0 [^)]*\)\"", "", svg
    )
    svg = re.sub(r' (d|x|y)="([^"]*)"', lambda found: f' {found[1]}="{_short(found[2])}"', svg)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: f' id="{key}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{key}-", svg)
    for sentinel, variable in _VARIABLES.items():
        svg = svg.replace(sentinel, variable)
    box = re.search(r'viewBox="[^"]+"', svg)
    label = escape(text.plain(title))
    opening = f'<svg {box[0] if box else ""} role="img" aria-label="{label}"><title>{label}</title>'
    return re.sub(r"^<svg[^>]*>", lambda _: opening, svg.strip())


def _short(numbers: str) -> str:
    """Path data to a tenth of a point, without the blanks it can do without."""
    rounded = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), numbers)
    return re.sub(r" ?([MLCQz]) ?", r"\1", rounded).strip()

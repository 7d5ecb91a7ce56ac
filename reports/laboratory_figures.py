"""The figures of a laboratory: numbers by layer, Q-Q plots, and the phase diagram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from gaussprobe.laboratory import Laboratory
from gaussprobe.phases import PhaseDiagram, PhasePoint
from gaussprobe.propagated import PROBABILITIES, LayerLaw
from gaussprobe.reports.drawing import FIT, INK, MEDIAN, MUTED, PAPER, PHASES, WORST, to_svg
from gaussprobe.reports.figures import DASHED, SOLID, Dashes
from gaussprobe.reports.lines import clean, limits, step_tick, thinned, tick

_Array: TypeAlias = npt.NDArray[np.float64]
_SIZE = (4.7, 2.6)  # inches; the page scales it
_SMALL = (3.0, 2.2)
_POINTS = 240
_MARKED = 40  # layers whose points are drawn one by one
_DOTTED: Dashes = (0, (1.2, 1.8))
_SCORES = np.array([NormalDist().inv_cdf(p) for p in PROBABILITIES])
# Of chi_1: classes between them are as far from 1 on both sides, as factors.
CHI_LIMITS = (0.5, 0.8, 1.0, 1.25, 2.0)


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A number of each layer.

    Args:
        y: its values.
        colour: one of `drawing`.
        dashes: as matplotlib has them.
        low, high: of a band around it; none for neither.
    """

    y: Sequence[float]
    colour: str
    dashes: Dashes = SOLID
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def distances(found: Laboratory, title: str, key: str) -> str:
    """D of each layer against both null hypotheses, on a logarithmic scale, with the critical levels.

    Args:
        found: the laboratory.
        title: what a screen reader says of the figure.
        key: makes the SVG's ids unique in the page.

    Returns:
        An `<svg>` element, to be used inside `drawing.figure_style()`; empty when nothing can be drawn.
    """
    run = found.propagation
    lines = [
        _Line(
            y=run.ks_distance.tolist(),
            colour=MEDIAN,
            low=run.over_layers("ks_low").tolist(),
            high=run.over_layers("ks_high").tolist(),
        ),
        _Line(y=run.fitted_ks_distance.tolist(), colour=WORST, dashes=DASHED),
    ]
    levels = [(run.critical_distance, MEDIAN), (run.fitted_critical_distance, WORST)]
    known = clean([*lines[0].y, *lines[1].y, *(level for level, _ in levels)])
    known = known[known > 0]
    if not np.isfinite(clean([*lines[0].y, *lines[1].y])).any() or not len(known):
        return ""
    floor = 0.6 * float(known.min())
    figure, axes = _canvas(len(run))
    axes.set_yscale("log")
    axes.set_ylim(floor, 1.0)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="minor", length=0)
    for level, colour in levels:
        axes.axhline(level, color=colour, linewidth=0.9, linestyle=_DOTTED)
    for line in lines:
        _draw(axes, line, floor=floor)
    axes.set_ylabel("D")
    return to_svg(figure, title, key)


def spreads(found: Laboratory, title: str, key: str) -> str:
    """The sd of each layer, and that of infinitely wide ones; arguments and result as `distances`."""
    run = found.propagation
    variance = clean(found.predicted_variance)
    predicted = np.sqrt(np.where(variance >= 0, variance, np.nan))
    lines = [_Line(y=predicted.tolist(), colour=FIT, dashes=DASHED), _Line(y=run.sd.tolist(), colour=MEDIAN)]
    return _linear(found, lines, "sd", title, key, level=1.0)


def correlations(found: Laboratory, title: str, key: str) -> str:
    """The correlation of two inputs by layer, and that in infinitely wide layers; as `distances`."""
    run = found.propagation
    if not run.correlations:
        return ""
    measured = _Line(
        y=run.correlation.tolist(),
        colour=MEDIAN,
        low=[one.low for one in run.correlations],
        high=[one.high for one in run.correlations],
    )
    predicted = _Line(y=found.predicted_correlation, colour=FIT, dashes=DASHED)
    return _linear(found, [predicted, measured], "correlation", title, key)


def _linear(
    found: Laboratory,
    lines: Sequence[_Line],
    label: str,
    title: str,
    key: str,
    level: float | None = None,
) -> str:
    values = [clean([*line.y, *line.low, *line.high]) for line in lines]
    if not any(np.isfinite(each).any() for each in values):
        return ""
    figure, axes = _canvas(len(found.propagation))
    seen = np.concatenate([*values, [] if level is None else [level]])
    axes.set_ylim(*limits(seen))
    if _far(seen):  # a variance that explodes or dies: nothing else would be seen
        positive = seen[np.isfinite(seen) & (seen > 0)]
        axes.set_yscale("log")
        axes.set_ylim(0.7 * positive.min(), 1.4 * positive.max())
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    if level is not None:
        axes.axhline(level, color=MUTED, linewidth=0.8, linestyle=_DOTTED)
    for line in lines:
        _draw(axes, line)
    axes.set_ylabel(label)
    return to_svg(figure, title, key)


def _far(values: _Array) -> bool:
    """Whether positive values span more than two powers of ten."""
    known = values[np.isfinite(values)]
    return bool(len(known)) and float(known.min()) > 0 and float(known.max() / known.min()) > 100


def _draw(axes: Axes, line: _Line, floor: float = -math.inf) -> None:
    y = clean(line.y)
    x = np.arange(1, len(y) + 1, dtype=float)
    if len(line.low):
        low, high = np.maximum(clean(line.low), floor), np.maximum(clean(line.high), floor)
        if len(x) > 1:
            axes.fill_between(x, low, high, color=line.colour, alpha=0.2, linewidth=0)
        else:
            axes.vlines(x, low, high, color=line.colour, alpha=0.4, linewidth=3)
    few = len(y) <= _MARKED
    axes.plot(
        *thinned(x, np.where(y >= floor, y, np.nan), _POINTS),
        color=line.colour,
        linewidth=1.4,
        linestyle=line.dashes,
        marker="o" if few and line.colour != FIT else "",
        markersize=3,
        markerfacecolor=line.colour if line.dashes == SOLID else PAPER,
    )


def quantiles(law: LayerLaw, title: str, key: str) -> str:
    """Quantiles of a layer against normal scores, with N(0, 1) and the fitted normal law as lines.

    Args:
        law: of the layer.
        title: what a screen reader says of the figure.
        key: makes the SVG's ids unique in the page.

    Returns:
        An `<svg>` element, to be used inside `drawing.figure_style()`; empty when nothing can be drawn.
    """
    sample = clean(law.quantiles)
    if len(sample) != len(_SCORES) or not np.isfinite(sample).all() or not math.isfinite(law.sd):
        return ""
    figure, axes = _blank(_SMALL, left=0.17, bottom=0.19)
    ends = np.array([_SCORES[0], _SCORES[-1]])
    axes.plot(ends, ends, color=FIT, linewidth=0.9, linestyle=DASHED)
    axes.plot(ends, law.mean + law.sd * ends, color=WORST, linewidth=1.1, linestyle=(0, (4, 2)))
    axes.plot(_SCORES, sample, color=MEDIAN, linewidth=1.5)
    axes.set_ylim(*limits(sample, ends))
    axes.set_xlabel("normal score")
    axes.set_ylabel("pre-activation")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    return to_svg(figure, title, key)


def phases(diagram: PhaseDiagram, point: PhasePoint, title: str, key: str) -> str:
    """chi_1 over sd of weights and biases, the edge, and where the setting lies; as `quantiles`."""
    w, b = np.array(diagram.sigma_w), np.array(diagram.sigma_b)
    chi = np.array(diagram.chi1, dtype=float)
    if min(len(w), len(b)) < 2 or not (~np.isnan(chi)).any():
        return ""
    figure, axes = _blank((5.2, 3.4), left=0.1, bottom=0.13)
    # Colours stop at classes, and what is infinite is in the last of them.
    chi = np.where(np.isposinf(chi), 1e9, chi)
    axes.contourf(w, b, chi, levels=[-1e9, *CHI_LIMITS, 1e10], colors=list(PHASES))
    edge = [one for one in diagram.edge if w[0] <= one.sigma_w <= w[-1]]
    axes.plot([one.sigma_w for one in edge], [one.sigma_b for one in edge], color=INK, linewidth=1.6)
    for name, inside in (("ordered", chi < 1), ("chaotic", chi > 1)):
        _name(axes, name, w, b, inside)
    if w[0] <= point.sigma_w <= w[-1] and b[0] <= point.sigma_b <= b[-1]:
        axes.plot(
            [point.sigma_w],
            [point.sigma_b],
            color=INK,
            marker="o",
            markersize=7,
            markeredgecolor=PAPER,
            markeredgewidth=1.4,
            linestyle="",
            clip_on=False,
            zorder=5,
        )
    axes.set_xlim(w[0], w[-1])
    axes.set_ylim(b[0], b[-1])
    axes.set_xlabel("sd of weights")
    axes.set_ylabel("sd of biases")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(tick))
    return to_svg(figure, title, key)


def _name(axes: Axes, name: str, w: _Array, b: _Array, inside: npt.NDArray[np.bool_]) -> None:
    """The name of a region in the middle of its widest row but the outermost; none where it is too narrow."""
    rows = range(1, len(b) - 1) if len(b) > 2 else range(len(b))
    row = max(rows, key=lambda index: (int(inside[index].sum()), -abs(index - len(b) / 2)))
    across = w[inside[row]]
    if len(across) and across[-1] - across[0] >= 0.16 * (w[-1] - w[0]):
        axes.text((across[0] + across[-1]) / 2, b[row], name, ha="center", va="center", fontsize=10)


def _canvas(layers: int) -> tuple[Figure, Axes]:
    """Axes over layers."""
    figure, axes = _blank(_SIZE, left=0.12, bottom=0.17)
    margin = max(0.02 * (layers - 1), 0.5 if layers == 1 else 0.15)
    axes.set_xlim(1 - margin, layers + margin)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(step_tick))
    axes.set_xlabel("layer")
    return figure, axes


def _blank(size: tuple[float, float], left: float, bottom: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size)
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)
    axes = figure.add_axes((left, bottom, 0.98 - left, 0.96 - bottom))
    axes.patch.set_visible(False)
    return figure, axes

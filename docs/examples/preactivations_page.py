"""The page of `docs.examples.preactivations`, and its figures."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from docs.examples.markdown import bullets, table
from docs.examples.preactivations import (
    DEEP_WIDTHS,
    DEPTH,
    FINITE_CORRELATION,
    KINDS,
    KNOWN,
    LAWS,
    LEVEL_DRAWS,
    LEVEL_LAYERS,
    SEED,
    SHAPES,
    THETAS,
    TWO_LAYERS,
    WIDTHS,
    Deep,
    Found,
)
from gaussprobe import passes
from gaussprobe.machine import machine
from gaussprobe.phases import FinitePhase, FinitePoint

_SHOWN = (1, 2, 3, 5, 10, 20, 50, 100)
# Fits of phi_theta that the authors published, measured as ours are: sup |F - Phi| of the odd ones.
_PUBLISHED = {
    2.05: 2.38e-3,
    2.5: 2.38e-3,
    3.0: 4.20e-3,
    4.0: 6.89e-3,
    5.0: 8.25e-3,
    7.0: 9.60e-3,
    10.0: 1.06e-2,
}
_COLOURS = {"relu": "#b2182b", "tanh": "#7570b3", "phi:3": "#1b7837", "phi+:3": "#5aae61"}
_TITLES = {
    "relu": "ReLU",
    "tanh": "tanh",
    "phi:3": "phi odd, theta 3",
    "phi:5": "phi odd, theta 5",
    "phi+:3": "phi positive, theta 3",
    "phi+:5": "phi positive, theta 5",
}


def write(found: Found, path: Path) -> None:
    """The page, and its figures in a folder `figures` beside it."""
    figures = path.parent / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    two_layers_figure(found, figures / "two_layers.svg")
    depth_figure(found, figures / "depth.svg")
    path.write_text(page(found), encoding="utf-8")


def page(found: Found) -> str:
    """All of it."""
    lines = [*_head(found), *_exact(found), *_two_layers(found), *_depth(found), *_finite(found)]
    return "\n".join(lines) + "\n"


def _head(found: Found) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in passes.versions().items())
    return [
        "# Pre-activations at initialization",
        "",
        "Over random draws of the weights, is a layer's pre-activation standard normal? What Wolinski &",
        "Arbel (2025, arXiv:2205.12379) draw, done again with `gaussprobe.signal.propagate`. D is the",
        "Kolmogorov-Smirnov distance of a layer's first unit over draws.",
        "",
        "`python -m docs.examples.preactivations --page docs/preactivations.md`",
        "",
        f"- Made on {datetime.datetime.now(datetime.UTC):%Y-%m-%d} on {machine()} in {found.seconds:.0f} s, "
        f"seed {SEED}.",
        f"- {versions}.",
        "- ReLU has sigma_w^2 = 2 and no biases; tanh sigma_w^2 = 1.46 and sigma_b^2 = .013; phi_theta has",
        "  sigma_w = 1, no biases and, after the first layer, weights of the symmetric Weibull law",
        "  W(theta, 1).",
        "",
    ]


def _exact(found: Found) -> list[str]:
    rows = [
        [f"{theta:g}", *(f"{found.exact[theta, kind]:.1e}" for kind in KINDS), f"{_PUBLISHED[theta]:.2e}"]
        for theta in THETAS
    ]
    return [
        "## How exact phi_theta is",
        "",
        "`sup |F - Phi|`, F the distribution function of `W phi(X)`, W of the law W(theta, 1) and X",
        "standard normal, by quadrature of the float64 evaluation; beside it the fits that came with the",
        "paper, measured the same way.",
        "",
        *table(("theta", "odd", "positive", "published fit"), rows),
    ]


def _two_layers(found: Found) -> list[str]:
    lines = [
        "## Two layers after the first",
        "",
        f"D of the last layer against N(0, 1), {found.draws:,} draws, the scalar input 1. At the level .05",
        f"a layer is not told from N(0, 1) below {found.critical:.4f}.",
        "",
        "![D against n for three shapes and four activations](figures/two_layers.svg)",
        "",
    ]
    for shape in SHAPES:
        header = ["n", *(_TITLES[name] for name in TWO_LAYERS)]
        rows = [[str(n), *(_called(found, name, shape, n) for name in TWO_LAYERS)] for n in WIDTHS]
        lines += [f"Widths {shape}, below the critical distance in italics:", "", *table(header, rows)]
    rows = []
    for (name, widths), value in KNOWN.items():
        last = found.known[name, widths][-1]
        rows.append([_TITLES[name], str(list(widths)), f"{value:.4f}", _with_interval(last)])
    return [
        *lines,
        "Two of these are known without simulation:",
        "",
        *table(("activation", "widths", "by quadrature", "simulated (95 % interval)"), rows),
    ]


def _with_interval(law: object) -> str:
    return f"{law.ks_distance:.4f} ({law.ks_low:.4f} to {law.ks_high:.4f})"  # type: ignore[attr-defined]


def _called(found: Found, name: str, shape: str, n: int) -> str:
    distance = found.two_layers[name, shape, n]
    text = f"{distance:.4f}"
    return f"*{text}*" if distance < found.critical else text


def _depth(found: Found) -> list[str]:
    one = next(iter(found.deep.values())).found
    lines = [
        "## Depth",
        "",
        f"{DEPTH} layers, {found.deep_draws:,} draws: D against N(0, 1), and below it against the normal",
        "law of the sample's own mean and sd (none where every network gives 0: ReLU of width 1 dies), so",
        "that a variance that drifts is told from a law that is not normal.",
        f"At the level .05 the critical distances are {one.critical_distance:.4f} and "
        f"{one.fitted_critical_distance:.4f}.",
        "",
        "![D by layer](figures/depth.svg)",
        "",
    ]
    for width in DEEP_WIDTHS:
        header = ["activation", "against", *(f"layer {layer}" for layer in _SHOWN)]
        rows = [row for name in LAWS for row in _rows(name, found.deep[name, width])]
        lines += [f"Width {width}:", "", *table(header, rows), *_level(found, width)]
    rows = [[_TITLES[name], *(_cost(found.deep[name, width]) for width in DEEP_WIDTHS)] for name in LAWS]
    header = ["activation", *(f"width {width}" for width in DEEP_WIDTHS)]
    return [
        *lines,
        "Seconds of the call, all statistics included, and most memory of its process:",
        "",
        *table(header, rows),
    ]


def _rows(name: str, deep: Deep) -> list[list[str]]:
    laws = [deep.found[layer - 1] for layer in _SHOWN]
    return [
        [_TITLES[name], "N(0, 1)", *(_distance(law.ks_distance) for law in laws)],
        ["", "fitted", *(_distance(law.fitted_ks_distance) for law in laws)],
    ]


def _distance(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.3f}"


def _level(found: Found, width: int) -> list[str]:
    """How often phi_theta is told from N(0, 1) at width 1, where it keeps it at any depth."""
    if width != 1:
        return []
    error = math.sqrt(0.05 * 0.95 / found.level_seeds)
    header = ["activation", *(f"layer {layer}" for layer in LEVEL_LAYERS)]
    rows = [[_TITLES[name], *map("{:.3f}".format, shares)] for name, shares in found.levels.items()]
    return [
        f"At width 1 phi_theta keeps N(0, 1). Share of {found.level_seeds} seeds, {LEVEL_DRAWS:,} draws",
        f"each, with p < .05 against N(0, 1); to be .05, but for a standard error of {error:.3f}:",
        "",
        *table(header, rows),
    ]


def _cost(deep: Deep) -> str:
    return f"{deep.seconds:.1f} s, {deep.peak_bytes / 1e6:.0f} MB"


def _finite(found: Found) -> list[str]:
    one = next(iter(found.finite.values()))
    assert one.infinite is not None
    header = ["sigma_w", *(f"width {width}" for width in found.finite)]
    rows = [
        [f"{point.sigma_w:.3f}", *(_went(each.points[index]) for each in found.finite.values())]
        for index, point in enumerate(one.points)
    ]
    return [
        "## The Edge of Chaos at finite width",
        "",
        f"tanh, sigma_b^2 = .013, {one.draws:,} draws, two inputs of correlation {FINITE_CORRELATION:g}: the",
        f"correlation at layer {one.depth} with its 95 % interval, and whether it went together, apart, or",
        "cannot be told from the first layer's. Intervals are not adjusted for how many there are, and",
        'those of width 3 are too short, so that "together" is said too often there. The edge of infinite',
        "width is sigma_w",
        f"{one.infinite.sigma_w:.4f}; by the same inputs and layers it would be seen at",
        f"{one.predicted_edge:.4f}.",
        "",
        *table(header, rows),
        *bullets(_turned(width, each) for width, each in found.finite.items()),
    ]


def _went(point: FinitePoint) -> str:
    return f"{point.correlation[-1]:.4f} ({point.low[-1]:.4f} to {point.high[-1]:.4f}) {point.direction}"


def _turned(width: int, found: FinitePhase) -> str:
    said = [
        f"{what} {value:.4f}{after}"
        for what, value, after in (
            ("the direction changes at sigma_w", found.edge, ""),
            ("all go together up to", found.edge_low, ""),
            ("all apart from", found.edge_high, " on"),
        )
        if not math.isnan(value)
    ]
    return f"Width {width}: {'; '.join(said) or 'no direction is told'}."


# -- figures


def _axes(columns: int) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(3.1 * columns, 3.1), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, list(np.atleast_1d(figure.subplots(1, columns, sharey=True)))


def _legend(figure: Figure, panel: Axes) -> None:
    """Below the panels, where it hides no line."""
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def two_layers_figure(found: Found, path: Path) -> None:
    """D against n, a panel to each shape."""
    with style.context(["default", {"svg.hashsalt": "gaussprobe", "svg.fonttype": "none"}]):
        figure, panels = _axes(len(SHAPES))
        for panel, shape in zip(panels, SHAPES, strict=True):
            for name in TWO_LAYERS:
                values = [found.two_layers[name, shape, n] for n in WIDTHS]
                panel.plot(WIDTHS, values, marker="o", ms=3, lw=1, color=_COLOURS[name], label=_TITLES[name])
            panel.axhline(found.critical, color="#888888", lw=0.8, ls="--")
            panel.set(yscale="log", title=f"widths {shape}", xlabel="n", xticks=WIDTHS)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("D against N(0, 1)")
        _legend(figure, panels[0])
        _save(figure, path)


def depth_figure(found: Found, path: Path) -> None:
    """D by layer against both laws, a panel to each width."""
    with style.context(["default", {"svg.hashsalt": "gaussprobe", "svg.fonttype": "none"}]):
        figure, panels = _axes(len(DEEP_WIDTHS))
        layers = np.arange(1, DEPTH + 1)
        for panel, width in zip(panels, DEEP_WIDTHS, strict=True):
            for name in TWO_LAYERS:
                one = found.deep[name, width].found
                panel.plot(layers, one.ks_distance, lw=1.2, color=_COLOURS[name], label=_TITLES[name])
                panel.plot(layers, one.fitted_ks_distance, lw=0.9, ls=":", color=_COLOURS[name])
            panel.axhline(one.critical_distance, color="#888888", lw=0.8, ls="--")
            panel.set(xscale="log", yscale="log", title=f"width {width}", xlabel="layer")
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("D against N(0, 1); dotted: fitted")
        _legend(figure, panels[0])
        _save(figure, path)

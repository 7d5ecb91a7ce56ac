"""gaussprobe.reports.figures: inline SVG."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from gaussprobe.reports import drawing, figures
from gaussprobe.types import UnitPicture
from tests.runs import build_run, unit_picture

PICTURE = build_run().pictures[4]


def histogram(unit: UnitPicture, title: str = "title", key: str = "k") -> str:
    with drawing.figure_style():
        return figures.histogram(unit, title, key)


def qq_plot(*units: UnitPicture, title: str = "title", key: str = "k") -> str:
    with drawing.figure_style():
        return figures.qq_plot(units, title, key)


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


@pytest.mark.parametrize(
    "svg", [histogram(PICTURE.units[0]), qq_plot(*PICTURE.units)], ids=["histogram", "qq"]
)
def test_fit_for_inlining(svg: str) -> None:
    """An element without prolog, metadata, style sheet, network address or fixed colour, under 10 kB."""
    root = parse(svg)
    assert root.tag == "svg"
    assert "viewBox" in root.attrib
    assert not {"width", "height"} & root.attrib.keys()
    assert not re.search(r"<\?xml|<!DOCTYPE|<metadata|<style|http|font-family|#0102", svg)
    assert not re.search(r"(fill|stroke): #", svg)
    assert len(svg) < 10_000


def test_what_a_screen_reader_says() -> None:
    """The title is the label, with what does not print escaped."""
    root = parse(histogram(PICTURE.units[0], title='a "b" <script>\x00</script>'))
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == root.find("title").text == 'a "b" <script>\\x00</script>'  # type: ignore[union-attr]


def test_ids_are_unique_across_figures() -> None:
    """Two drawings of the same unit share no id, and each reference finds its own."""
    seen: set[str] = set()
    for key in ("a", "b"):
        svg = histogram(PICTURE.units[0], key=key) + qq_plot(*PICTURE.units, key=f"{key}q")
        ids = re.findall(r' id="([^"]+)"', svg)
        references = re.findall(r'(?:url\(#|href="#)([^)"]+)', svg)
        assert len(ids) == len(set(ids))
        assert not seen & set(ids)
        assert set(references) == set(ids)
        seen |= set(ids)


def test_deterministic_whatever_the_settings() -> None:
    """The same unit gives the same text, also after a user changed matplotlib's defaults."""
    expected = histogram(PICTURE.units[0])
    with mpl.rc_context({"font.size": 30, "axes.grid": True, "lines.linewidth": 9, "svg.fonttype": "path"}):
        assert histogram(PICTURE.units[0]) == expected


def test_settings_are_put_back() -> None:
    """Drawing leaves matplotlib's settings as they were and opens no pyplot figure."""
    from matplotlib import pyplot

    before = dict(mpl.rcParams)
    histogram(PICTURE.units[0])
    assert dict(mpl.rcParams) == before
    assert pyplot.get_fignums() == []


def test_curve_is_the_fitted_normal() -> None:
    """Bars of a normal law's own masses touch its curve: both are on the scale of the density."""
    from scipy import special

    edges = np.linspace(-4, 4, 41)
    counts = np.rint(1e6 * np.diff(special.ndtr(edges))).astype(int)
    unit = dataclasses.replace(
        PICTURE.units[0],
        mean=0.0,
        sd=1.0,
        edges=tuple(edges),
        counts=tuple(counts.tolist()),
        below=0,
        above=0,
    )
    svg = histogram(unit)
    bars, curve = (
        re.search(rf' d="([^"]+)"[^>]*style="[^"]*stroke: var\(--{name}\)', svg)[1]  # type: ignore[index]
        for name in ("median", "fit")
    )
    height = 136.8  # the bars are drawn at the foot of the figure and moved there
    top = [min(float(y) for y in re.findall(r"[ML][-\d.]+ ([-\d.]+)", path)) for path in (bars, curve)]
    assert top[0] + height == pytest.approx(top[1], abs=1.0)


@pytest.mark.parametrize(
    "change",
    [
        {"edges": (), "counts": ()},
        {"edges": (0.0, 1.0), "counts": (0,)},
        {"edges": (0.0, math.nan), "counts": (3,)},
        {"edges": (0.0, 0.0), "counts": (3,)},
        {"edges": (0.0, 1.0, 2.0), "counts": (3,)},
        {"edges": (0.0, 1.0), "counts": (-3,)},
        {"sd": 0.0},
        {"sd": math.nan},
        {"mean": math.inf},
        {"edges": (0.0, 5e-324), "counts": (3,)},
    ],
)
def test_what_cannot_be_drawn_is_empty(change: dict[str, Any]) -> None:
    """A histogram that has no picture gives no element, and no warning."""
    assert histogram(dataclasses.replace(PICTURE.units[0], **change)) == ""


@pytest.mark.parametrize("scale", [1e-38, 1e-12, 1e6, 1e37])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_any_scale(scale: float, offset: float) -> None:
    """Activations of any size that float32 holds can be drawn without a warning."""
    x = scale * (offset + np.random.default_rng(0).standard_normal(500))
    unit = unit_picture(x, 0, "median", 0.0)
    assert parse(histogram(unit)).tag == "svg"
    assert parse(qq_plot(unit)).tag == "svg"


def test_qq_leaves_out_what_is_not_finite() -> None:
    """Pairs with NaN or infinity are left out; without two others there is no plot."""
    unit = PICTURE.units[0]
    holes = (math.nan, math.inf, *unit.qq_sample[2:])
    assert parse(qq_plot(dataclasses.replace(unit, qq_sample=holes))).tag == "svg"
    assert qq_plot(dataclasses.replace(unit, qq_sample=(math.nan,) * len(unit.qq_sample))) == ""
    assert qq_plot() == ""

"""gaussprobe.reports.comparison_figures: inline SVG of a comparison."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as some

from gaussprobe.comparison import CourseSummary
from gaussprobe.reports import comparison_figures as figures
from gaussprobe.reports import drawing
from gaussprobe.reports.comparison_figures import Slope
from tests.reports.comparisons import build_trial, names
from tests.reports.pages import EVIL

LINES = [
    Slope(name="a.norm", first=0.7, second=0.99, clear=1),
    Slope(name="b.norm", first=0.8, second=0.98, clear=0),
    Slope(name="c.norm", first=0.9, second=0.85, clear=-1),
]
COURSE = CourseSummary(site="a", steps=(0, 50, 100), mean=(0.99, 0.9, 0.8), se=(0.01, 0.01, 0.02))


def slopes(lines: list[Slope], settings: tuple[str, str] = ("old", "new"), title: str = "title") -> str:
    with drawing.figure_style():
        return figures.slopes(lines, settings, title, "k")


def course(first: CourseSummary | None, second: CourseSummary | None) -> str:
    with drawing.figure_style():
        canvas = figures.Courses([one for one in (first, second) if one is not None])
        return canvas.draw(first, second, "title", "k")


def quantiles() -> str:
    first, second = (
        build_trial("s", 0, changed=changed, sites=names(2)).quantiles[0] for changed in (0.0, 1.0)
    )
    with drawing.figure_style():
        return figures.both_quantiles(first, second, "title", "k")


@pytest.mark.parametrize(
    "svg", [slopes(LINES), course(COURSE, COURSE), quantiles()], ids=["slopes", "course", "quantiles"]
)
def test_fit_for_inlining(svg: str) -> None:
    """An element without prolog, style sheet, address or fixed colour, in the colours of both settings."""
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == "title"
    assert not re.search(r"<\?xml|<metadata|<style|http|font-family|#0102|(fill|stroke): #", svg)
    assert "var(--first)" in svg
    assert "var(--second)" in svg
    assert len(svg) < 10_000


def test_slopes_have_more_than_colour() -> None:
    """A line that shows no difference is dashed, with empty ends; a clear one is solid."""
    clear = slopes([dataclasses.replace(one, clear=1) for one in LINES])
    unclear = slopes([dataclasses.replace(one, clear=0) for one in LINES])
    assert "stroke-dasharray" not in clear
    assert unclear.count("stroke-dasharray") == len(LINES)
    assert "fill: var(--paper)" in unclear
    assert "fill: var(--paper)" not in clear


def test_names_stand_where_the_layers_lie_further_apart() -> None:
    """With more spread on the left the names end at the left axis, else they begin at the right one."""
    reverse = [dataclasses.replace(one, first=one.second, second=one.first) for one in LINES]
    anchors = [re.search(r"text-anchor: (\w+)[^>]*>a\.norm", slopes(lines)) for lines in (LINES, reverse)]
    assert [None if found is None else found[1] for found in anchors] == ["end", "start"]


def test_most_changed_are_named() -> None:
    """Of more layers than there is room for, those that change most have names; all have lines."""
    lines = [
        Slope(name=f"layer{index}.", first=0.9 - index / 100, second=0.95, clear=0) for index in range(40)
    ]
    svg = slopes(lines)
    named = re.findall(r"layer(\d+)\.<", svg)
    assert sorted(map(int, named)) == list(range(40 - figures.MOST_LABELS, 40))
    assert svg.count("stroke-dasharray") == 40


def test_nothing_to_draw() -> None:
    """Layers without finite means leave nothing, the others stay."""
    broken = [
        Slope(name="a", first=math.nan, second=1.0, clear=0),
        Slope(name="b", first=math.inf, second=0.0, clear=0),
    ]
    assert slopes(broken) == ""
    assert slopes([]) == ""
    kept = slopes([*broken, *LINES])
    assert ">a<" not in kept
    assert "a.norm" in kept


def test_hostile_names() -> None:
    """Markup, dollars, right-to-left letters, emoji and 200 characters are text in the figure."""
    odd = [EVIL, "שלום עולם", "🔥" * 100, "\u202e\x00", "x" * 200]
    lines = [Slope(name=name, first=0.5, second=0.6 + index / 10, clear=1) for index, name in enumerate(odd)]
    svg = slopes(lines, (EVIL, "ح" * 200), EVIL)
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == EVIL
    assert not root.findall(".//{*}script")
    said = ["".join(text.itertext()).strip() for text in root.iter() if text.tag.endswith("text")]
    assert any("שלום" in one for one in said)
    assert "\\u202e\\x00" in said
    assert max(map(len, said)) <= figures._MOST_NAME


@given(some.lists(some.floats(-1e3, 1e3), min_size=1, max_size=40), some.floats(0.1, 50))
def test_spaced(places: list[float], gap: float) -> None:
    """Neighbours are a gap apart, in the order they had, and the mean of all stays."""
    found = figures.spaced(places, gap)
    order = sorted(range(len(places)), key=lambda index: places[index])
    ordered = [found[index] for index in order]
    tolerance = 1e-9 * (1e3 + gap * len(places))
    assert all(after - before >= gap - tolerance for before, after in itertools.pairwise(ordered))
    assert sum(found) == pytest.approx(sum(places), abs=tolerance * len(places))


@given(some.lists(some.floats(2.0, 9.0), min_size=1, max_size=20))
def test_places_with_room_stay(steps: list[float]) -> None:
    """What is further apart than the gap is not moved."""
    places = [sum(steps[: index + 1]) for index in range(len(steps))]
    assert figures.spaced(places, 1.0) == pytest.approx(places)


def test_two_names_share_the_way() -> None:
    """Two names in one place move half a gap each: least squares."""
    assert figures.spaced([5.0, 5.0], 2.0) == [4.0, 6.0]


def test_initialization_is_marked() -> None:
    """A course that begins at step 0 has a ring there; one that was resumed has none."""
    later = dataclasses.replace(COURSE, steps=(50, 100, 150))
    assert course(COURSE, None).count("var(--paper)") == 1
    assert course(COURSE, COURSE).count("var(--paper)") == 2
    assert "var(--paper)" not in course(later, later)


def test_band_needs_an_error() -> None:
    """Over one seed there is no standard error, and no band."""
    alone = dataclasses.replace(COURSE, se=(math.nan,) * 3)
    assert "opacity: .2" in course(COURSE, None).replace("0.2", ".2")
    assert "opacity" not in course(alone, None)


def test_long_courses_are_thinned() -> None:
    """A thousand records draw no more than a hundred do."""
    sizes = []
    for count in (100, 1000):
        mean = tuple(0.9 + 0.05 * math.sin(step) for step in range(count))
        long = CourseSummary(site="a", steps=tuple(range(count)), mean=mean, se=(0.01,) * count)
        sizes.append(len(course(long, None)))
    assert sizes[1] < 1.2 * sizes[0]


def test_courses_share_their_axes() -> None:
    """What was drawn before is not in the next figure, and equal courses give equal figures."""
    other = dataclasses.replace(COURSE, mean=(0.5, 0.4, 0.3))
    with drawing.figure_style():
        canvas = figures.Courses([COURSE, other])
        first, _, again = (canvas.draw(one, None, "title", "k") for one in (COURSE, other, COURSE))
    assert first == again


def test_courses_that_cannot_be_drawn() -> None:
    """Without a finite value, or at steps that a double cannot tell apart, nothing is drawn."""
    assert figures.can_draw([COURSE])
    assert not figures.can_draw([])
    assert not figures.can_draw([dataclasses.replace(COURSE, mean=(math.nan,) * 3)])
    assert not figures.can_draw([dataclasses.replace(COURSE, steps=(0, 1, 2**60))])

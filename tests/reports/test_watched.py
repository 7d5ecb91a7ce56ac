"""gaussprobe.reports.watched: a watched run in a terminal."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from gaussprobe.reports import series, terminal, watched
from gaussprobe.reports.watched import View
from gaussprobe.types import Run
from tests.reports.training_runs import NAMES, build_training
from tests.runs import renamed

RUN = build_training()


def rendered(run: Run, width: int, **options: object) -> str:
    file = io.StringIO()
    options.setdefault("_environ", {})
    terminal.render(run, Console(file=file, width=width, **options))  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 140])
def test_golden(width: int, golden: Callable[[str, str], None]) -> None:
    """The summary reads as the golden file does."""
    golden(f"watched_{width}.txt", rendered(RUN, width))


@pytest.mark.parametrize("width", [30, 40, 63, 64, 80, 99, 100, 140, 240])
def test_nothing_is_cut(width: int) -> None:
    """At any width no line is too long, and names, counts and events are there in full."""
    found = rendered(RUN, width)
    assert max(map(len, found.splitlines())) <= width
    joined = "".join(found.split())
    for name, _ in NAMES:  # a folded name breaks after a separator
        assert all(part in found for part in re.findall(r"[^._:#]+", name))
    for needed in ("step2,950", "2gaussian", "Events(6)", "(z=6.1)", "+.15", "thefixedbatchinevaluationmode"):
        assert needed in joined
    assert "…" not in found


def test_lines_end_where_their_words_do() -> None:
    """No line ends in blanks, so that what is copied is clean."""
    for width in (40, 80, 140):
        assert all(line == line.rstrip() for line in rendered(RUN, width).splitlines())


@pytest.mark.parametrize("lines", [10, 16, 24, 40])
@pytest.mark.parametrize("width", [80, 140])
def test_a_view_keeps_to_its_lines(width: int, lines: int) -> None:
    """A view of so many lines is never longer, and says how many layers it leaves out."""
    run = build_training(steps=12, sites=60)
    file = io.StringIO()
    console = Console(file=file, width=width, _environ={})
    console.print(watched.summary(run, View(width=width, lines=lines)))
    found = file.getvalue().splitlines()
    assert len(found) <= max(lines, 18)
    assert any(re.match(r"and \d+ more that drifted less", line) for line in found)
    assert max(map(len, found)) <= width


def test_sparkline_is_of_the_classes() -> None:
    """Each character is the class of a record: the same height is the same class, a cross none."""
    view = View(width=80)
    line = watched.sparkline([0.0001, 0.001, 0.003, 0.01, 0.02, 0.05, 0.2, 0.9, math.nan], 20, view)
    assert line.plain == "▁▂▃▄▅▆▇█×"
    styles = [str(span.style) for span in line.spans]
    assert styles == ["blue", "blue", "cyan", "cyan", *["red"] * 4, "yellow"]


def test_sparkline_shows_the_largest_of_what_it_joins() -> None:
    """Where records share a character it is that of the largest."""
    assert watched.sparkline([0.0001, 0.9, 0.0001, 0.0001], 2, View(width=80)).plain == "█▁"


def test_ascii_stream() -> None:
    """A stream without blocks gets digits and escapes in place of an error."""
    buffer = io.BytesIO()
    file = io.TextIOWrapper(buffer, encoding="ascii")
    terminal.render(renamed(RUN, "heads.out", "tête"), Console(file=file, width=80, _environ={}))
    file.flush()
    found = buffer.getvalue()
    assert b"t\\xeate" in found
    assert b"7777" in found or b"6666" in found


def test_colour() -> None:
    """In a terminal verdicts and lines are coloured; NO_COLOR takes that away, and so does a pipe."""
    options = {"force_terminal": True, "color_system": "truecolor"}
    assert "\x1b[34m" in rendered(RUN, 100, **options)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", rendered(RUN, 100, **options, _environ={"NO_COLOR": "1"}))
    assert "\x1b" not in rendered(RUN, 100)


def test_markup_in_names_is_text() -> None:
    """A site named as rich markup is printed as it is named, an escape sequence as text."""
    found = rendered(renamed(build_training(steps=1), "heads.out", "[bold]a[/]\x1b[31m"), 140)
    assert "[bold]a[/]\\x1b[31m" in found.replace("\n", "")


def test_metrics_are_scaled_to_their_range() -> None:
    """A metric's line goes from its smallest to its largest value; a constant one is flat; NaN is a cross."""
    view = View(width=80)
    assert watched._scaled([0.0, 1.0, 0.5], 10, view) == "▁█▅"
    assert watched._scaled([3.0, 3.0], 10, view) == "▁▁"
    assert watched._scaled([1e308, math.nan, -1e308, math.inf], 10, view) == "█×▁×"
    assert series.read(RUN).metrics["loss"][1][-1] == RUN.metrics[-2].value

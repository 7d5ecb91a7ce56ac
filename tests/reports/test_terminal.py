"""gaussprobe.reports.terminal: a run in a terminal."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gaussprobe.reports import terminal
from gaussprobe.types import Run
from tests.runs import build_run, many_sites, renamed


def rendered(run: Run, width: int, **options: object) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, _environ={}, **options)  # type: ignore[arg-type]
    terminal.render(run, console)
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 140])
def test_golden(width: int, golden: Callable[[str, str], None]) -> None:
    """The table reads as the golden file does."""
    found = rendered(build_run(), width)
    golden(f"terminal_{width}.txt", "".join(f"{line.rstrip()}\n" for line in found.splitlines()))


@pytest.mark.parametrize("width", [30, 60, 72, 80, 100, 140, 240])
def test_nothing_is_cut(width: int) -> None:
    """At any width no line is too long, no ellipsis stands for a name, and each number is there."""
    found = rendered(build_run(), width)
    assert max(map(len, found.splitlines())) <= width
    assert "…" not in found
    joined = "".join(found.split())
    for needed in ("2,048", "100,352", "511", "(.142)", "multimodal", ".0774", "n/a"):
        assert needed in joined


@pytest.mark.parametrize("width", [50, 80, 140])
def test_markup_in_names_is_text(width: int) -> None:
    """A site named as rich markup is printed as it is named, an escape sequence as text."""
    odd = renamed(build_run(), "heads.quantised", "[bold]a[/]\x1b[31m")
    assert "[bold]a[/]\\x1b[31m" in "".join(rendered(odd, width).split())
    assert "\x1b" not in rendered(odd, width)


def test_no_colour_when_piped() -> None:
    """Into a file there is no escape sequence; in a terminal there is, and the same words."""
    assert "\x1b" not in rendered(build_run(), 100)
    coloured = rendered(build_run(), 100, force_terminal=True, color_system="truecolor")
    assert "\x1b[1;31mnon-gaussian" in coloured


def test_no_colour_on_request() -> None:
    """NO_COLOR takes the colour away in a terminal too."""
    file = io.StringIO()
    console = Console(
        file=file, width=100, force_terminal=True, color_system="truecolor", _environ={"NO_COLOR": "1"}
    )
    terminal.render(build_run(), console)
    assert "\x1b[31m" not in file.getvalue()
    assert ";31m" not in file.getvalue()


def test_synthetic_inputs_are_loud() -> None:
    """Made-up inputs are the first thing said; real ones are not mentioned."""
    assert rendered(build_run(), 80).startswith("SYNTHETIC INPUTS:")
    assert "SYNTHETIC" not in rendered(build_run(synthetic=False), 80)


def test_empty_run() -> None:
    """A run in which nothing was captured says so, and why."""
    found = rendered(build_run(scores=(), pictures=()), 80)
    assert "No layer could be measured" in found
    assert "heads.spare: never called in the forward pass" in found


def test_one_line_per_site_where_there_is_room() -> None:
    """Short names and a wide terminal give one line per site."""
    found = rendered(many_sites(40), 160)
    assert sum("blocks." in line and "gaussian" in line for line in found.splitlines()) >= 36


def test_short_names_at_any_width() -> None:
    """Sites named by a digit, as those of a Sequential are, are shown at every width."""
    run = build_run()
    scores = tuple(dataclasses.replace(score, site=str(index)) for index, score in enumerate(run.scores))
    short = dataclasses.replace(run, scores=scores)
    for width in range(20, 200):
        assert max(map(len, rendered(short, width).splitlines())) <= width


def test_ascii_stream() -> None:
    """A stream that holds ASCII only gets names with escapes in place of an error."""
    buffer = io.BytesIO()
    file = io.TextIOWrapper(buffer, encoding="ascii")
    odd = renamed(build_run(), "heads.quantised", "tête")
    terminal.render(odd, Console(file=file, width=80, _environ={}))
    file.flush()
    assert b"t\\xeate" in buffer.getvalue()


@given(
    name=st.text(alphabet="ab.:_+/#[é", max_size=40),
    width=st.integers(2, 30),
    indent=st.integers(0, 1),
)
def test_fold(name: str, width: int, indent: int) -> None:
    """Folded lines fit, and joined they are the name."""
    lines = terminal.fold(name, width, indent)
    assert "".join(lines) == name
    assert len(lines[0]) <= width
    assert all(0 < len(line) <= width - indent for line in lines[1:])


def test_fold_needs_room() -> None:
    """A width that leaves no room is a bad argument, not an endless loop."""
    with pytest.raises(ValueError, match="width must exceed indent, got width=1 and indent=1"):
        terminal.fold("name", 1, 1)

"""gaussprobe.reports.terminal: a run in a terminal."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gaussprobe.reports import folding, terminal
from gaussprobe.types import Run
from tests.runs import build_run, many_sites, noted_run, renamed, short_run


def rendered(run: Run, width: int, **options: object) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, _environ={}, **options)  # type: ignore[arg-type]
    terminal.render(run, console)
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 140])
def test_golden(width: int, golden: Callable[[str, str], None]) -> None:
    """The table reads as the golden file does."""
    found = rendered(build_run(), width)
    golden(f"terminal_{width}.txt", found)


@pytest.mark.parametrize("width", [40, 80, 140])
@pytest.mark.parametrize("options", [{}, {"force_terminal": True, "color_system": "truecolor"}])
def test_lines_end_where_their_words_do(width: int, options: dict[str, object]) -> None:
    """No line ends in blanks, so that what is copied is clean."""
    for run in (build_run(), noted_run()):
        for line in rendered(run, width, **options).splitlines():
            bare = re.sub(r"\x1b\[[0-9;]*m", "", line)
            assert bare == bare.rstrip()


def test_notes_on_the_data_come_before_those_on_sites() -> None:
    """What was noted of the data is a section of its own; without notes there is none."""
    found = rendered(noted_run(), 80)
    section = "Data (2)\n- 1 of 40,000 values are NaN\n- integers (int64) were cast to float32, unscaled\n"
    assert 0 < found.index(section) < found.index("Notes (3)")
    assert "Data (" not in rendered(build_run(), 80)


@pytest.mark.parametrize("width", [40, 80, 140])
def test_nothing_measured_is_not_none_found(width: int) -> None:
    """With too few samples the departure is n/a, and the headline says what is missing."""
    found = rendered(short_run(), width)
    words = " ".join(found.split())
    assert "Nothing could be decided: 5 samples per unit; at least 8 are needed." in words
    assert not re.search(r"\bnone\b|p -;| - ", found[: found.index("Verdict:")])
    assert "undetermined" in found


@pytest.mark.parametrize("width", [40, 80, 140])
def test_legend(width: int) -> None:
    """The table says what its verdict rests on, what p is for and how names are read."""
    words = " ".join(rendered(build_run(), width).split())
    assert "by delta and its interval (bands .0025 and .015); p only says whether" in words
    assert "`a:input`: what `a` receives." in words
    assert "Names:" not in rendered(many_sites(3), width)
    assert "Verdict:" not in rendered(build_run(scores=(), pictures=()), width)


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
    lines = folding.fold(name, width, indent)
    assert "".join(lines) == name
    assert len(lines[0]) <= width
    assert all(0 < len(line) <= width - indent for line in lines[1:])


def test_fold_needs_room() -> None:
    """A width that leaves no room is a bad argument, not an endless loop."""
    with pytest.raises(ValueError, match="width must exceed indent, got width=1 and indent=1"):
        folding.fold("name", 1, 1)

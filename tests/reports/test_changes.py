"""What changed between two runs, on the terminal and as JSON."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from rich.console import Console

from gaussprobe.changes import MEASURES, Change, Changes, changes
from gaussprobe.errors import SelectionError
from gaussprobe.reports import changes_json, changes_text
from gaussprobe.types import LayerScore, Run, Verdict
from tests.runs import NAN, build_run, renamed, runs, summary, unmeasured

NAMES = ("before.sqlite", "after.sqlite")


def turned(score: LayerScore, delta: float, verdict: Verdict, **others: Any) -> LayerScore:
    """The score with another delta, and what goes with it."""
    both = summary(delta, 0.9 * delta, 1.1 * delta, 2 * delta, 3)
    return dataclasses.replace(score, delta=both, negentropy=both, qq_r2=1 - delta, verdict=verdict, **others)


def later_run() -> Run:
    """The realistic run after some training: layers that changed, broke, came and went."""
    run = build_run(synthetic=False)
    scores = list(run.scores)
    by_name = {score.site: k for k, score in enumerate(scores)}

    def turn(site: str, *given: Any, **others: Any) -> None:
        scores[by_name[site]] = turned(scores[by_name[site]], *given, **others)

    turn("stem.norm", 0.0412, "non-gaussian", departure="heavy-tailed")
    turn("layers.0.mlp.up[gate]", 0.0011, "gaussian", departure="none", n_tested=1_024)
    turn("stem.relu", 0.2, "non-gaussian")
    heads = by_name["heads.quantised"]
    scores[heads] = unmeasured(scores[heads], departure="non-finite", notes=("9 NaN",), n_tested=2_048)
    scores[by_name["heads.unused"]] = dataclasses.replace(scores[by_name["heads.unused"]], site="heads.new")
    metadata = dataclasses.replace(run.metadata, seed=8, model="models/later.pt")
    return dataclasses.replace(run, scores=tuple(scores), metadata=metadata, warnings=("half the story",))


def found() -> Changes:
    return changes(build_run(synthetic=False), later_run())


def shown(these: Changes, width: int, **options: Any) -> str:
    file = io.StringIO()
    changes_text.show(these, Console(file=file, width=width, _environ={}, **options), names=NAMES)
    return file.getvalue()


# -- terminal


@pytest.mark.parametrize("width", [80, 140])
def test_golden(width: int, golden: Callable[[str, str], None]) -> None:
    """The table reads as the golden file does."""
    golden(f"changes_{width}.txt", shown(found(), width))


@pytest.mark.parametrize("width", [20, 30, 50, 60, 72, 80, 100, 120, 140, 160, 240])
def test_nothing_is_cut(width: int) -> None:
    """At any width no line is too long or ends in blanks, and every site, verdict and change is there."""
    text = shown(found(), width)
    assert max(map(len, text.splitlines())) <= width
    assert all(line == line.rstrip() for line in text.splitlines())
    assert "…" not in text
    joined = "".join(text.split())
    for needed in ("->non-gaussian", "+.0351", "[+.0308,+.0394]", "heads.new", "heads.unused", "9NaN", "n/a"):
        assert needed in joined


def test_wide_terminals_show_more() -> None:
    """Intervals of both deltas from some 100 columns on, negentropy from 130, all numbers from 170."""
    for word, widths in (
        ("delta [95%]", (110, 140, 180)),
        ("J [nats]", (140, 180)),
        ("W2", (180,)),
    ):
        for width in (80, 110, 140, 180):
            layers = shown(found(), width).partition("Outputs of nonlinearities")[0]
            assert (word in layers) == (width in widths), (word, width)


def test_a_change_of_verdict_stands_out() -> None:
    """It has the colour of the new verdict, and an arrow where there is no colour."""
    text = shown(found(), 100, force_terminal=True, color_system="truecolor")
    assert "\x1b[1;31m-> non-gaussian" in text
    assert "\x1b[34m-> gaussian" in text
    assert "\x1b" not in shown(found(), 100)


def test_no_colour_on_request() -> None:
    """NO_COLOR takes the colour away in a terminal too."""
    file = io.StringIO()
    options: dict[str, Any] = {"force_terminal": True, "color_system": "truecolor"}
    changes_text.show(found(), Console(file=file, width=100, _environ={"NO_COLOR": "1"}, **options))
    assert "31m" not in file.getvalue()


def test_headline() -> None:
    """It says in how many layers delta differs, which verdicts are others, and where there is no interval."""
    assert changes_text.headline(found()) == (
        "delta differs in 2 of 8 sites, most in `layers.0.mlp.up[gate]`: .0412 -> .00110, change -.0401 "
        "[-.0449, -.0360]. The verdict is another in 3: `layers.0.mlp.up[gate]` (non-gaussian -> gaussian), "
        "`stem.norm` (near-gaussian -> non-gaussian), `heads.quantised` (non-gaussian -> undetermined). "
        "No interval in 2: `heads.quantised`, `heads.aux`."
    )


def only(*indices: int) -> Run:
    run = build_run(synthetic=False)
    return dataclasses.replace(run, scores=tuple(run.scores[k] for k in indices))


def test_headlines_of_little() -> None:
    """Nothing that differs, one layer, and none that counts have sentences of their own."""
    assert changes_text.headline(changes(only(0, 1), only(0, 1))) == (
        "delta is not shown to differ in any of 2 layers."
    )
    assert changes_text.headline(changes(only(0), only(0))).endswith("in any of 1 layer.")
    assert changes_text.headline(changes(only(2), only(2))) == "No layer that counts is in both."


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((0.04, 0.0352, 0.0449), ("+.0400", "[+.0352, +.0449]")),
        ((-0.04, -0.05, 0.01), ("-.0400", "[-.0500, +.0100]")),
        ((0.0, -0.1, 0.1), (".000", "[-.100, +.100]")),
        ((12345.0, -1.0, 23456.0), ("+12,345", "[-1, +23,456]")),
        ((math.inf, NAN, NAN), ("+inf", "")),
        ((NAN, NAN, NAN), ("n/a", "")),
    ],
)
def test_signed(change: tuple[float, float, float], said: tuple[str, str]) -> None:
    """Changes have their sign, and no interval where there is none."""
    one = Change(first=0, second=0, change=change[0], low=change[1], high=change[2])
    assert changes_text.signed(one) == said


@pytest.mark.parametrize("width", [50, 80, 140])
def test_hostile_names(width: int) -> None:
    """A site named as rich markup or an escape sequence is text; so are names of files."""
    odd = "[bold]a[/]\x1b[31m\u202e"
    pair = [renamed(run, "stem.norm", odd) for run in (build_run(), later_run())]
    file = io.StringIO()
    these = changes(*pair)
    changes_text.show(these, Console(file=file, width=width, _environ={}), names=("\x1b[2J", "[red]"))
    joined = "".join(file.getvalue().split())
    assert "[bold]a[/]\\x1b[31m\\u202e" in joined
    assert "First:\\x1b[2J(" in joined
    assert "Second:[red](" in joined
    assert "\x1b" not in file.getvalue()


def test_ascii_stream() -> None:
    """A stream that holds ASCII only gets names with escapes in place of an error."""
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    pair = [renamed(run, "stem.norm", "tête") for run in (build_run(), later_run())]
    changes_text.show(changes(*pair), Console(file=file, width=80, _environ={}))
    file.seek(0)
    assert "t\\xeate" in file.read()


# -- JSON


def refuse(constant: str) -> float:
    raise AssertionError(f"bare {constant}")


def test_json_form() -> None:
    """The documented keys, in their order; numbers that are not finite as text."""
    read = json.loads(changes_json.dumps(found()), parse_constant=refuse)
    assert list(read) == [
        "gaussprobe", "first", "second", "sites", "only_first", "only_second", "warnings",
    ]  # fmt: skip
    assert list(read["second"]) == ["model", "step", "view", "seed", "data"]
    assert (read["second"]["model"], read["second"]["step"], read["second"]["seed"]) == (
        "models/later.pt",
        0,
        8,
    )
    sites = {site["site"]: site for site in read["sites"]}
    norm = sites["stem.norm"]
    assert list(norm) == [
        "site", "kind", "verdict", "departure", "n_tested", "num_features", *MEASURES, "notes",
    ]  # fmt: skip
    assert norm["verdict"] == {"first": "near-gaussian", "second": "non-gaussian"}
    assert norm["departure"] == {"first": "light-tailed", "second": "heavy-tailed"}
    assert norm["delta"]["first"] == {
        "median": 0.0061, "low": 0.0049, "high": 0.0074, "worst": 0.0142, "worst_unit": 31,
    }  # fmt: skip
    assert norm["delta"]["difference"]["change"] == pytest.approx(0.0351)
    assert list(norm["negentropy"]["difference"]) == ["change", "low", "high"]
    assert norm["qq_r2"] == {
        "first": 1 - 0.0061,
        "second": 1 - 0.0412,
        "difference": {"change": pytest.approx(-0.0351)},
    }
    assert sites["heads.quantised"]["delta"]["difference"] == dict.fromkeys(("change", "low", "high"), "NaN")
    assert sites["heads.quantised"]["negentropy"]["first"]["median"] == "Infinity"
    assert (read["only_first"], read["only_second"]) == (["heads.unused"], ["heads.new"])
    assert "the second: half the story" in read["warnings"]


@settings(max_examples=40, deadline=None)
@given(first=runs)
def test_any_run_is_strict_json_and_can_be_shown(first: Run) -> None:
    """Whatever a run holds, its changes to itself are ASCII and strict JSON, and have a table."""
    try:
        these = changes(first, first)
    except SelectionError:
        return
    text = changes_json.dumps(these)
    assert text.isascii()
    assert json.loads(text, parse_constant=refuse) == changes_json.to_json(these)
    assert max(map(len, shown(these, 80).splitlines())) <= 80

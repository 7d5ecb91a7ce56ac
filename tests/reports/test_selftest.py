"""How a self-test is shown."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from rich.console import Console

from gaussprobe.reports import selftest
from gaussprobe.types import PlantedLaw, Selftest

GOOD = PlantedLaw(law="normal", expected="none", planted=20, right=19, undecided=1)
WRONG = PlantedLaw(law="lognormal", expected="right-skewed", planted=20, right=10, missed=4, other_kind=6)
RESULT = Selftest(
    gaussprobe="1.0",
    model="net.pt",
    seed=3,
    data={"n_examples": 400, "notes": ["cast to float32"]},
    n_sites=7,
    laws=(GOOD,),
    notes=("1 calls were undecided",),
)


def rendered(result: Selftest, width: int = 100) -> str:
    stream = io.StringIO()
    selftest.render(result, Console(file=stream, width=width, highlight=False))
    return stream.getvalue()


def test_headline_says_what_passed_and_what_not() -> None:
    """Passed, failed by wrong calls, or undecided for want of examples."""
    assert selftest.headline(RESULT).startswith("Passed: each of 1 laws planted at 7 sites of net.pt")
    failed = replace(RESULT, laws=(GOOD, WRONG))
    assert not failed.passed
    assert selftest.headline(failed).startswith("Failed: ")
    assert "lognormal 10 of 20" in selftest.headline(failed)
    undecided = replace(RESULT, laws=(replace(GOOD, right=12, undecided=8),))
    assert selftest.headline(undecided).startswith("Undecided: ")


def test_table_has_counts_mistakes_and_notes() -> None:
    """Each law with its counts, `-` where it cannot have one; wrong calls and notes below."""
    text = rendered(replace(RESULT, laws=(GOOD, WRONG), mistakes=("0: lognormal called gaussian, none",)))
    rows = [line.split() for line in text.splitlines()]
    assert ["normal", "gaussian", "20", "19", "0", "-", "-", "1"] in rows
    assert ["lognormal", "right-skewed", "20", "10", "-", "4", "6", "0"] in rows
    assert "wrong: 0: lognormal called gaussian, none" in text
    assert "note: cast to float32" in text
    assert "400 examples; seed 3" in text


def test_names_cannot_steer_the_terminal() -> None:
    """A model's name with an escape sequence is printed, not obeyed."""
    assert "\x1b" not in rendered(replace(RESULT, model="\x1b[31mnet", mistakes=("\x1b[2J",)))


def test_json_is_strict_and_complete() -> None:
    """Every field of the result is there, and NaN is not bare."""
    found = json.loads(selftest.dumps(replace(RESULT, data={"n_examples": 3, "x": float("nan")})))
    assert list(found) == (
        ["gaussprobe", "model", "seed", "data", "passed", "level", "n_sites", "laws", "mistakes", "notes"]
    )
    assert found["laws"][0]["right"] == 19
    assert found["data"]["x"] == "NaN"

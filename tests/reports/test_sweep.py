"""A sweep as JSON and on the terminal."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from gaussprobe.comparison import Trial
from gaussprobe.reports import comparison_json, sweep_json, sweep_text
from gaussprobe.sweep import Point, Sweep
from gaussprobe.trials.analysis import compared
from tests.sweeps import comparison, made, trial


def printed(sweep: Sweep, width: int = 100) -> str:
    file = io.StringIO()
    sweep_text.show(sweep, Console(file=file, width=width))
    return file.getvalue()


def settings_printed(gains: list[float], *, steps: bool) -> str:
    file = io.StringIO()
    sweep_text.show_settings(comparison(gains), Console(file=file, width=100), steps=steps)
    return file.getvalue()


def test_json_has_the_comparison_of_each_value() -> None:
    """`points` hold the keys of `compare --json` and the value; `table` the adjusted differences."""
    sweep = made()
    found = json.loads(sweep_json.dumps(sweep))
    assert (found["sweep"], found["recipe"]) == ("width", "made")
    for point, one in zip(found["points"], sweep.points, strict=True):
        value = point.pop("value")
        assert value == one.value
        assert point == json.loads(comparison_json.dumps(one.found))
    first, _, last = found["table"]["accuracy"]
    assert first["value"] == 0.5
    assert first["s1"]["mean"] - first["s0"]["mean"] == pytest.approx(first["difference"]["mean"])
    assert first["difference"]["adjusted_pvalue"] >= first["difference"]["pvalue"]
    assert last["difference"]["low"] == "NaN"
    assert last["difference"]["reason"] == "the difference is the same on every seed"
    assert set(found["table"]) == {"accuracy", "qq_r2"}
    assert found["warnings"] == list(sweep.warnings)


def test_table_of_values() -> None:
    """A line to each value for the metric and the layers; fits 80 columns; says how p was adjusted."""
    text = printed(made())
    assert text.startswith("width of made: s1 against s0, 3 seeds\n")
    cells = ["0.5", "0.9100 (0.0058)", "0.9320 (0.0069)", "+0.0220", "+0.0170..+0.0270"]
    assert re.search("^" + " +".join(map(re.escape, cells)) + " ", text, re.M)
    assert re.search(r"^2 +.* \+0\.0000 +none", text, re.M)
    assert len(re.findall(r"^0\.5 ", text, re.M)) == 2
    assert "Q-Q R^2, median over units, mean over normalization layers" in text
    assert "p is adjusted over the values of width (Holm)." in " ".join(text.split())
    assert max(map(len, printed(made(), 80).splitlines())) <= 80


def test_table_of_settings() -> None:
    """The first without a difference, the others less it; with steps, each less the one before."""
    text = settings_printed([0.0, 0.01, 0.04], steps=True)
    whole, steps = text.partition("The same, each")[::2]
    assert re.search(r"^s0 +0\.9100 \(0\.0058\) *$", whole, re.M)
    assert re.search(r"^s2 .*\+0\.0440", whole, re.M)
    accuracy = steps.partition("Q-Q R^2")[0]
    assert re.search(r"^s2 .*\+0\.0330", accuracy, re.M)
    assert not re.search(r"^s0 ", accuracy, re.M)
    assert "The same" not in settings_printed([0.0, 0.01, 0.04], steps=False)


def test_what_is_missing_is_said() -> None:
    """Layers left out by name; no table of layers where none was measured; no seed in common."""
    trials = [
        trial(setting, seed, 0.9 + 0.01 * seed, {"1": 0.5 + seed, "4": float("nan")})
        for setting in "ab"
        for seed in range(2)
    ]
    one = Point(value=1, found=compared("ab", range(2), trials, {}))
    sweep = Sweep(name="depth", recipe="made", points=(one,))
    assert "Left out, not finite in every trial: 4." in " ".join(printed(sweep).split())
    failed = [Trial(setting=s, seed=0, failure="Traceback\nE: no") for s in "ab"]
    nothing = replace(sweep, points=(Point(value=2, found=compared("ab", [0], failed, {})),))
    text = printed(nothing)
    assert "Q-Q" not in text
    assert re.search(r"^2 +none", text, re.M)
    assert json.loads(sweep_json.dumps(nothing))["table"] == {
        "accuracy": [
            {
                "value": 2,
                "a": {"mean": "NaN", "se": "NaN"},
                "b": {"mean": "NaN", "se": "NaN"},
                "difference": None,
            }
        ]
    }

"""A comparison as JSON and on the terminal."""

from __future__ import annotations

import io
import json
import math
import re

import pytest
from rich.console import Console

from gaussprobe.comparison import MEASURES, Comparison, SiteNumbers, Trial
from gaussprobe.measured import Carried, Cost
from gaussprobe.reports import comparison_json, comparison_text
from gaussprobe.reports.comparison_cells import number
from gaussprobe.trials.analysis import compared


def trial(setting: str, seed: int, accuracy: float, r2: float) -> Trial:
    """With one site that counts and one that does not."""
    values = dict.fromkeys(MEASURES, r2)
    return Trial(
        setting=setting,
        seed=seed,
        metrics={"accuracy": accuracy},
        sites=(
            SiteNumbers(site="norm[0]", kind=("norm",), **values),
            SiteNumbers(site="relu", kind=("activation",), **values),
        ),
        measured="9 examples",
        robustness=(Carried(at="norm[0]", site="output", change=accuracy),),
        cost=Cost(forward=r2, backward=1.0, saved_bytes=2.0**20),
        cost_of_first=Cost(forward=0.5, backward=0.25, saved_bytes=2.0**21),
    )


def made() -> Comparison:
    """Three settings on three seeds; the third has one number that is not finite."""
    trials = [
        trial(setting, seed, 0.9 + 0.01 * seed + 0.02 * k * (seed != 1), 0.9 + 0.01 * k + 0.001 * k * seed)
        for k, setting in enumerate(("plain", "changed", "other"))
        for seed in range(3)
    ]
    trials[-1] = trial("other", 2, math.inf, math.nan)
    return compared(("plain", "changed", "other"), range(3), trials, {"train": "mine"})


def shown(found: Comparison, width: int = 100) -> str:
    file = io.StringIO()
    comparison_text.show(found, Console(file=file, width=width))
    return file.getvalue()


def test_json() -> None:
    """The keys of design.md; further settings beside them; numbers that are not finite as text."""
    found = json.loads(comparison_json.dumps(made()))
    assert list(found["settings"]) == ["plain", "changed", "other"]
    accuracy = found["settings"]["plain"]["metrics"]["accuracy"]
    assert accuracy["mean"] == pytest.approx(0.91)
    assert accuracy["values"] == pytest.approx([0.9, 0.91, 0.92])
    assert found["paired"]["accuracy"]["mean"] == pytest.approx(0.04 / 3)
    (site, relu) = found["sites"]
    assert site["qq_r2"]["plain"] == pytest.approx(0.9)
    assert site["qq_r2"]["changed"] == pytest.approx(0.911)
    assert site["qq_r2"]["difference"]["mean"] == pytest.approx(0.011)
    (carried,) = found["robustness"]
    assert (carried["at"], carried["site"]) == ("norm[0]", "output")
    assert carried["plain"] == pytest.approx(0.91)
    assert 1 < carried["ratio"]["ratio"] < 1.03
    assert found["cost"]["backward"]["changed"] == 1.0
    assert found["cost"]["saved_bytes"]["ratio"]["reason"] == "the ratio is the same on every seed"
    assert relu["kind"] == ["activation"]
    assert found["others"]["other"]["sites"][0]["qq_r2"]["difference"]["n_seeds"] == 2
    assert found["warnings"] == [
        "metric 'accuracy' is not finite in other 2: left out there",
        "other against plain: not finite on some seeds, left out there: "
        "qq_r2, negentropy, delta and 9 more of norm[0]",
    ]


def test_terminal() -> None:
    """Settings, differences and intervals; activations are left out; names are no markup."""
    text = shown(made())
    assert "other against changed against plain, 3 seeds" in text
    assert "accuracy  0.9100 (0.0058)  0.9233 (0.0088)     +0.0133" in text
    assert re.search(r"norm\[0\] +0\.9000 +0\.9110 +\+0\.0110 +\+0\.0085\.\.\+0\.0135 ", text)
    assert "relu" not in text
    assert re.search(r"norm\[0\] +0\.9100 +0\.9233 +1\.015 +0\.9834\.\.1\.047\n", text)
    assert re.search(r"saved, MiB +2\.000 +1\.000 +0\.5000 +none", text)
    assert re.search(r"forward, ms +500\.0 +911\.\d ", text)
    assert "Sites: 9 examples. Intervals are Student's, .95" in " ".join(text.split())
    narrow = shown(made(), 80).splitlines()
    assert max(map(len, narrow)) <= 80
    assert any(line.startswith("accuracy ") for line in narrow)


def test_a_layer_without_a_number() -> None:
    """A constant layer has no Q-Q R^2 on any seed: its row says so, and the others stand."""
    trials = [trial(setting, seed, 0.9 + 0.01 * seed, math.nan) for setting in "ab" for seed in range(2)]
    text = shown(compared("ab", range(2), trials, {}))
    assert re.search(r"norm\[0\] +nan +nan +none *\n", text)
    assert re.search(r"accuracy +0\.9050 ", text)


def test_names_of_settings_are_text() -> None:
    """Neither markup nor an escape sequence of theirs reaches the terminal."""
    names = ("[bold]a[/bold]", "b\x1b[31m")
    trials = [trial(name, seed, 0.9 + 0.01 * seed, 0.9) for name in names for seed in range(2)]
    text = shown(compared(names, range(2), trials, {}), width=160)
    assert "\x1b" not in text
    head = next(line for line in text.splitlines() if line.startswith("metric"))
    assert "b\\x1b[31m" in head
    assert "[bold]a[/" in text


def test_narrow_tables_fold() -> None:
    """In a terminal too narrow for them numbers go on in the next line: no digit is cut off."""
    found = compared("ab", range(2), [trial(s, k, 0.9 + 0.0123 * k, 0.9) for s in "ab" for k in range(2)], {})
    text = re.sub(r"\s", "", shown(found, width=44))
    wide = shown(found, width=200)
    digits = [text.count(digit) for digit in "0123456789"]
    assert digits == [wide.count(digit) for digit in "0123456789"]
    assert repr(found) == "<Comparison of b against a: 2 seeds, 0 trials failed>"


def test_nothing_to_show() -> None:
    """Trials that failed all."""
    failed = [Trial(setting=s, seed=0, failure="Traceback\nE: no") for s in "ab"]
    found = compared("ab", [0], failed, {})
    assert shown(found).startswith("b against a, 1 seed, 2 of 2 trials failed\n")
    assert found.warnings[:2] == ("a, seed 0: E: no", "b, seed 0: E: no")
    assert json.loads(comparison_json.dumps(found))["sites"] == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0000"),
        (0.12345, "0.1235"),
        (12.3456, "12.35"),
        (123456.7, "123457"),
        (math.nan, "nan"),
        (1e-9, "0.0000"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    """Four significant digits, four decimals at most."""
    assert number(value) == text

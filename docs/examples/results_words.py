"""Cells, tables and sentences of the page of results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from gaussprobe.comparison import Comparison, MetricSummary
from gaussprobe.paired import Difference, Ratio
from gaussprobe.reports.comparison_cells import pvalue
from gaussprobe.sweep import Row, Sweep, norm_sites

Found: TypeAlias = "Mapping[str, Comparison | Sweep | None]"

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
# Parts that are a recipe as it is.
_RECIPES = ("cnn", "vit", "mlp")


def of_recipes(found: Found) -> Iterator[tuple[str, Comparison | None]]:
    """The recipes as they are, by part."""
    for name in _RECIPES:
        one = found.get(name)
        yield name, one if isinstance(one, Comparison) else None


def comparisons(found: Found) -> Iterator[Comparison]:
    """All there are, those of sweeps too."""
    for one in found.values():
        if isinstance(one, Sweep):
            yield from (point.found for point in one.points)
        elif one is not None:
            yield one


def as_figures(one: Comparison) -> bool:
    """Whether the plain layer is BatchNorm, as in all figures of the paper and in its table 4."""
    return one.settings[0] == "BatchNorm"


def judged(row: Row, *, paper: bool = False) -> str:
    """What the interval of a difference of accuracy says.

    Args:
        row: one setting against another.
        paper: whether the paper found more in the same place.
    """
    one = row.difference
    if one is None:
        return "no seed ended in both."
    if math.isnan(one.low):
        return f"no interval, {one.reason}."
    span = f"{100 * one.low:+.2f} to {100 * one.high:+.2f} points"
    if one.low <= 0 <= one.high:
        missed = f"{100 * half(one):.2f} points"
        return (
            f"the interval holds 0, {span}: these seeds do not tell, and can miss a difference of {missed}."
        )
    word = "more" if one.low > 0 else "less"
    if not sure(one):
        return f"{word} accurate, {span}, but not after the adjustment over the rows."
    return f"{word} accurate, {span}{': ' + verdict(*signs([one]), 1) if paper else ''}."


def half(one: Difference) -> float:
    """Half the width of an interval: how far from 0 the mean must lie for 0 to be out of it."""
    return (one.high - one.low) / 2


def verdict(more: int, less: int, n: int) -> str:
    """Whether intervals agree with a paper that found more everywhere.

    Args:
        more, less: intervals above 0 and below.
        n: of how many.
    """
    if not more and not less:
        return "these seeds do not tell"
    if more and less:
        return "some as in the paper, some against it"
    words = "as in the paper" if more else "against the paper"
    return words if max(more, less) == n else f"in part {words}"


def counted(differences: Sequence[Difference], n: int, *, paper: bool) -> str:
    """In how many places a number is surely more, and less.

    Args:
        differences: adjusted over the places.
        n: places.
        paper: whether the paper found more in such a place.
    """
    more, less = signs(differences)
    said = f"more in {more} of {n}, less in {less}"
    return f"{said}: {verdict(more, less, n)}" if paper else said


def signs(differences: Iterable[Difference]) -> tuple[int, int]:
    """Intervals above 0 and below, of those that are sure after the adjustment too."""
    known = [one for one in differences if sure(one)]
    return sum(one.low > 0 for one in known), sum(one.high < 0 for one in known)


def sure(one: Difference | Ratio) -> bool:
    """Whether p is below .05, adjusted where several were compared together; no p is not."""
    return one.corrected_pvalue < 0.05


def cells(row: Row, factor: float = 1.0) -> list[str]:
    """Both settings, the difference, its interval and p."""
    return [summary(row.first, factor), summary(row.second, factor), *difference(row.difference, factor)]


def summary(one: MetricSummary, factor: float = 1.0) -> str:
    """Mean and standard error."""
    if math.isnan(one.mean):
        return "none"
    error = "" if math.isnan(one.se) else f" ({number(one.se, factor)})"
    return number(one.mean, factor) + error


def difference(one: Difference | None, factor: float = 1.0) -> list[str]:
    """The difference, its interval, or why there is none, and p."""
    if one is None:
        return ["none", "none", ""]
    mean = number(one.mean, factor, sign=True)
    if math.isnan(one.low):
        return [mean, one.reason, ""]
    span = f"{number(one.low, factor, sign=True)} to {number(one.high, factor, sign=True)}"
    return [mean, span, pvalue(one.corrected_pvalue)]


def ratio(one: Ratio) -> list[str]:
    """The ratio and its interval, or why there is none."""
    return [f"{one.ratio:.2f}", one.reason if math.isnan(one.low) else f"{one.low:.2f} to {one.high:.2f}"]


def ratio_words(one: Ratio) -> str:
    """A ratio and its interval, in a sentence."""
    value, span = ratio(one)
    return f"{value} ({span})"


def number(value: float, factor: float = 1.0, *, sign: bool = False) -> str:
    """Four decimals; two of a per cent, for which the factor is 100."""
    return f"{value * factor:{'+' if sign else ''}.{4 if factor == 1 else 2}f}"


def with_interval(one: Difference | None, factor: float = 1.0) -> str:
    """A difference and its interval, in a sentence."""
    mean, span, _ = difference(one, factor)
    return f"{mean} ({span})"


def left_out(comparisons: Iterable[Comparison], measure: str | None, words: str) -> list[str]:
    """Normalization layers that are not in the means over them.

    Args:
        comparisons: of which a mean was taken.
        measure: of sites; None for none.
        words: its name in the sentence.
    """
    if measure is None:
        return []
    names = dict.fromkeys(name for one in comparisons for name in norm_sites(one, measure)[1])
    said = ", ".join(name or "(model)" for name in names)
    return [f"Not in the mean of {words}, as not finite in every trial: {said}.", ""] if names else []


def called(one: Comparison, name: str) -> str:
    """The recipe."""
    return one.description.get("recipe", name)


def missing(name: str) -> str:
    """How to have a part that is not there."""
    return f"Not run yet: `python -m docs.examples.results --only {name}`."

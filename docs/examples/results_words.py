"""Cells, tables and sentences of the page of results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from gaussprobe.comparison import Comparison, MetricSummary
from gaussprobe.paired import Difference, Ratio
from gaussprobe.reports.comparison_cells import pvalue
from gaussprobe.sweep import Row, Sweep

Found: TypeAlias = "Mapping[str, Comparison | Sweep | None]"

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


def judged(row: Row) -> str:
    """What the interval of a difference of accuracy says."""
    one = row.difference
    if one is None:
        return "no seed ended in both."
    if math.isnan(one.low):
        return f"no interval, {one.reason}."
    span = f"{100 * one.low:+.2f} to {100 * one.high:+.2f} points"
    if one.low <= 0 <= one.high:
        return f"the interval holds 0, {span}: these seeds do not tell."
    word = "more" if one.low > 0 else "less"
    return f"{word} accurate, {span}{'' if sure(one) else ', but not after the adjustment over the rows'}."


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


def number(value: float, factor: float = 1.0, *, sign: bool = False) -> str:
    """Four decimals; two of a per cent, for which the factor is 100."""
    return f"{value * factor:{'+' if sign else ''}.{4 if factor == 1 else 2}f}"


def called(one: Comparison, name: str) -> str:
    """The recipe."""
    return one.description.get("recipe", name)


def missing(name: str) -> str:
    """How to have a part that is not there."""
    return f"Not run yet: `python -m docs.examples.results --only {name}`."


def title(text: str) -> list[str]:
    """A heading."""
    return [f"## {text}", ""]


def bullets(lines: Iterable[str]) -> list[str]:
    """A list."""
    return [*(f"- {line}" for line in lines), ""]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Nothing for no rows."""
    if not rows:
        return []
    return [*(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)), ""]

"""A comparison on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gaussprobe.comparison import Comparison, CostComparison, Pair
from gaussprobe.paired import Difference, Ratio


def show(found: Comparison, console: Console) -> None:
    """Print metrics and layers of the settings, differences with their intervals.

    Args:
        found: the comparison.
        console: where to.
    """
    n = len(found.seeds)
    seeds = "1 seed" if n == 1 else f"{n} seeds"
    console.print(f"{' against '.join(reversed(found.settings))}, {seeds}", highlight=False, markup=False)
    for pair in found.pairs:
        console.print("\nMetrics, mean (standard error)", style="bold", highlight=False)
        console.print(_metrics(found, pair))
        if any(site.headline for site in pair.sites):
            console.print("\nQ-Q R^2 of sites, median over units", style="bold", highlight=False)
            console.print(_sites(pair))
        outputs = [one for one in pair.robustness if one.site == "output"]
        if outputs:
            console.print("\nRelative change of the output by noise at", style="bold", highlight=False)
            console.print(_ratios(pair, [(one.at, one.means, one.ratio) for one in outputs]))
        if pair.cost:
            console.print("\nCost of a training step", style="bold", highlight=False)
            console.print(_ratios(pair, [_cost(one) for one in pair.cost]))
    measured = next((trial.measured for trial in found.trials if trial.sites), "")
    if measured:
        console.print(
            f"\nSites: {measured}. Intervals are Student's, .95, of differences on the same seeds; "
            "p of sites is adjusted over them.",
            style="dim",
            highlight=False,
            markup=False,
        )


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for index, title in enumerate(titles):
        table.add_column(
            title,
            justify="right" if index else "left",
            overflow="fold",
            no_wrap=bool(index),
            min_width=8 if not index else None,
        )
    return table


def _metrics(found: Comparison, pair: Pair) -> Table:
    table = _table("metric", pair.first, pair.second, "difference", "interval", "p")
    names = dict.fromkeys(name for each in (pair.first, pair.second) for name in found.metrics[each])
    for name in names:
        cells = []
        for setting in (pair.first, pair.second):
            one = found.metrics[setting].get(name)
            cells.append("" if one is None else f"{number(one.mean)} {_spread(one.se)}".strip())
        table.add_row(Text(name), *cells, *_difference(pair.metrics.get(name), adjusted=False))
    return table


def _sites(pair: Pair) -> Table:
    table = _table("site", pair.first, pair.second, "difference", "interval", "p")
    for site in pair.sites:
        if site.headline:
            means = site.means["qq_r2"]
            table.add_row(
                Text(site.site or "(model)"),
                number(means[pair.first]),
                number(means[pair.second]),
                *_difference(site.differences.get("qq_r2"), adjusted=True),
            )
    return table


def _ratios(pair: Pair, rows: Sequence[tuple[str, Mapping[str, float], Ratio]]) -> Table:
    table = _table("", pair.first, pair.second, "ratio", "interval")
    for name, means, ratio in rows:
        interval = "none" if math.isnan(ratio.low) else f"{number(ratio.low)}..{number(ratio.high)}"
        table.add_row(
            Text(name), number(means[pair.first]), number(means[pair.second]), number(ratio.ratio), interval
        )
    return table


def _cost(one: CostComparison) -> tuple[str, Mapping[str, float], Ratio]:
    """In milliseconds and MiB."""
    scale, unit = (2**-20, "MiB") if one.name.endswith("_bytes") else (1e3, "ms")
    name = one.name.removesuffix("_bytes")
    return f"{name}, {unit}", {key: scale * value for key, value in one.means.items()}, one.ratio


def _difference(one: Difference | None, *, adjusted: bool) -> tuple[str, str, str]:
    if one is None:
        return "", "", ""
    p = one.adjusted_pvalue if adjusted else one.pvalue
    interval = (
        "none" if math.isnan(one.low) else f"{number(one.low, sign=True)}..{number(one.high, sign=True)}"
    )
    return number(one.mean, sign=True), interval, "" if p is None or math.isnan(p) else _pvalue(p)


def _pvalue(p: float) -> str:
    return "< .0001" if p < 1e-4 else f"{p:.4f}".removeprefix("0")


def _spread(se: float) -> str:
    return "" if math.isnan(se) else f"({number(se)})"


def number(value: float, *, sign: bool = False) -> str:
    """Four significant digits, and no more than four decimals."""
    if not math.isfinite(value):
        return str(value)
    digits = 4 if value == 0 else max(0, min(4, 3 - math.floor(math.log10(abs(value)))))
    return f"{value:{'+' if sign else ''}.{digits}f}"

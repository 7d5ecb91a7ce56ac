"""A comparison on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from gaussprobe.comparison import Comparison, CostComparison, Pair
from gaussprobe.measured import OUTPUT
from gaussprobe.paired import Ratio
from gaussprobe.reports import comparison_cells as cells


def show(found: Comparison, console: Console) -> None:
    """Print metrics and layers of the settings, differences with their intervals.

    Args:
        found: the comparison.
        console: where to.
    """
    settings = " against ".join(reversed(found.settings))
    failed = f", {len(found.failed)} of {len(found.trials)} trials failed" if found.failed else ""
    console.print(cells.plain(f"{settings}, {cells.seeds(found)}{failed}"))
    for pair in found.pairs:
        if found.metrics[pair.first] or found.metrics[pair.second]:
            console.print("\nMetrics, mean (standard error)", style="bold", highlight=False)
            console.print(_metrics(found, pair))
        if any(site.headline for site in pair.sites):
            console.print("\nQ-Q R^2 of sites, median over units", style="bold", highlight=False)
            console.print(_sites(pair))
        outputs = [one for one in pair.robustness if one.site == OUTPUT]
        if outputs:
            console.print("\nRelative change of the output by noise at", style="bold", highlight=False)
            console.print(_ratios(pair, [(one.at, one.means, one.ratio) for one in outputs]))
        if pair.cost:
            console.print("\nCost of a training step", style="bold", highlight=False)
            console.print(_ratios(pair, [_cost(one) for one in pair.cost]))
    if len(found.pairs) > 1:
        console.print("\np of metrics is of each setting by itself, not adjusted over settings.", style="dim")
    measured = next((trial.measured for trial in found.trials if trial.sites), "")
    if measured:
        console.print(
            f"\nSites: {measured}. Intervals are Student's, .95, of differences on the same seeds; "
            "p of sites is adjusted over them.",
            style="dim",
            highlight=False,
            markup=False,
        )


def _metrics(found: Comparison, pair: Pair) -> Table:
    table = cells.table("metric", pair.first, pair.second, "difference", "interval", "p")
    names = dict.fromkeys(name for each in (pair.first, pair.second) for name in found.metrics[each])
    for name in names:
        both = [cells.summary(found.metrics[setting].get(name)) for setting in (pair.first, pair.second)]
        table.add_row(cells.plain(name), *both, *cells.difference(pair.metrics.get(name)))
    return table


def _sites(pair: Pair) -> Table:
    table = cells.table("site", pair.first, pair.second, "difference", "interval", "p")
    for site in pair.sites:
        if site.headline:
            means = site.means.get("qq_r2", {})  # a constant layer has no number on any seed
            both = [cells.number(means.get(setting, math.nan)) for setting in (pair.first, pair.second)]
            name = cells.plain(site.site or "(model)")
            table.add_row(name, *both, *cells.difference(site.differences.get("qq_r2")))
    return table


def _ratios(pair: Pair, rows: Sequence[tuple[str, Mapping[str, float], Ratio]]) -> Table:
    table = cells.table("", pair.first, pair.second, "ratio", "interval")
    for name, means, ratio in rows:
        both = [cells.number(means[setting]) for setting in (pair.first, pair.second)]
        interval = cells.interval(ratio.low, ratio.high)
        table.add_row(cells.plain(name), *both, cells.number(ratio.ratio), interval)
    return table


def _cost(one: CostComparison) -> tuple[str, Mapping[str, float], Ratio]:
    """In milliseconds and MiB."""
    scale, unit = (2**-20, "MiB") if one.name.endswith("_bytes") else (1e3, "ms")
    name = one.name.removesuffix("_bytes")
    return f"{name}, {unit}", {key: scale * value for key, value in one.means.items()}, one.ratio

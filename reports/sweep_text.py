"""A sweep, and settings in a row, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from gaussprobe.comparison import Comparison
from gaussprobe.reports import comparison_cells as cells
from gaussprobe.sweep import Row, Sweep, by_setting, by_value, norm_sites, r2_measure

TITLES = {
    "minibatch_qq_r2": "Q-Q R^2 within minibatches, mean over normalization layers",
    "qq_r2": "Q-Q R^2, median over units, mean over normalization layers",
}


def show(sweep: Sweep, console: Console, *, metric: str = "accuracy") -> None:
    """Print a metric and the normality of layers at each value, differences with their intervals.

    Args:
        sweep: at least one comparison.
        console: where to.
        metric: a name that training returned.
    """
    first, second = sweep.settings
    comparisons = [point.found for point in sweep.points]
    seeds = cells.seeds(comparisons[0])
    _say(console, f"{sweep.name} of {sweep.recipe}: {second} against {first}, {seeds}")
    r2 = r2_measure(comparisons)
    for measure in (metric, *([] if r2 is None else [r2])):
        _head(console, TITLES.get(measure, f"{measure}, mean (standard error)"))
        console.print(_values(sweep.name, (first, second), by_value(sweep, measure)))
    _foot(console, comparisons, r2, f"p is adjusted over the values of {sweep.name} (Holm).")


def show_settings(
    found: Comparison, console: Console, *, metric: str = "accuracy", steps: bool = False
) -> None:
    """Print a metric and the normality of layers of every setting, each against the first.

    Args:
        found: of two settings or more.
        console: where to.
        metric: a name that training returned.
        steps: whether each setting is held against the one before it too: what a step brings.
    """
    _say(console, f"{', '.join(found.settings)}, {cells.seeds(found)}")
    r2 = r2_measure([found])
    for measure in (metric, *([] if r2 is None else [r2])):
        _head(console, TITLES.get(measure, f"{measure}, mean (standard error)"))
        rows = by_setting(found, measure, steps=steps)
        others = len(found.settings) - 1
        console.print(_settings(rows[:others], f"less {found.settings[0]}"))
        if steps:
            _head(console, f"The same, each less the one before it: {' -> '.join(found.settings)}")
            console.print(_settings([*rows[:1], *rows[others:]], "difference", whole=False))
    _foot(console, [found], r2, "p is adjusted over all differences of a measure (Holm).")


def _values(name: str, settings: tuple[str, str], rows: Sequence[Row]) -> Table:
    table = cells.table(name, *settings, "difference", "interval", "p")
    for row in rows:
        table.add_row(
            cells.plain(row.label),
            cells.summary(row.first),
            cells.summary(row.second),
            *cells.difference(row.difference),
        )
    return table


def _settings(rows: Sequence[Row], title: str, *, whole: bool = True) -> Table:
    """`whole`: with a line for what the first row is held against."""
    table = cells.table("setting", "mean", title, "interval", "p")
    if whole and rows:
        table.add_row(cells.plain(rows[0].against), cells.summary(rows[0].first), "", "", "")
    for row in rows:
        table.add_row(cells.plain(row.label), cells.summary(row.second), *cells.difference(row.difference))
    return table


def _foot(console: Console, comparisons: Sequence[Comparison], r2: str | None, words: str) -> None:
    """What the tables are of."""
    measured = next((t.measured for found in comparisons for t in found.trials if t.sites), "")
    left = [] if r2 is None else sorted({name for found in comparisons for name in norm_sites(found, r2)[1]})
    parts = [
        f"Layers: {measured}." if r2 is not None else "",
        f"Left out, not finite in every trial: {', '.join(left)}." if left else "",
        f"Intervals are Student's, .95, of differences on the same seeds; {words}",
    ]
    console.print("\n" + " ".join(part for part in parts if part), style="dim", highlight=False, markup=False)


def _head(console: Console, text: str) -> None:
    console.print("\n" + text, style="bold", highlight=False, markup=False)


def _say(console: Console, text: str) -> None:
    console.print(cells.plain(text))

"""The tables of a comparison: each row what two settings have at one place, and how they differ."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gaussprobe.comparison import Comparison, Pair, RobustnessComparison, SiteComparison, Trial
from gaussprobe.measured import OUTPUT
from gaussprobe.paired import Difference, Ratio
from gaussprobe.reports import comparison_glossary, text
from gaussprobe.reports import comparison_words as words
from gaussprobe.reports.page import typeset

RATIO_CLASSES = (1 / 4, 1 / 2, 4 / 5, 5 / 4, 2.0, 4.0)
_GROUPS = ("Normalization layers", "Other layers")
_APART = "Outputs of nonlinearities, not counted"
MOST_ROWS = 400  # of the table under the noise robustness
_SCALED = {"forward": 1e3, "backward": 1e3, "step": 1e3, "saved_bytes": 2**-20, "peak_bytes": 2**-20}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What stands in one row of one measure.

    Args:
        first, second: means.
        estimate, limits: of the difference or ratio; limits are empty where there is no interval.
        reason: why there is none.
        p: adjusted where several are compared together.
        clear: 1 or -1 where the second is higher or lower with p below .05.
        at: where interval and estimate stand on the table's axis, in percent: begin, width, middle; None
            without an interval.
    """

    first: tuple[str, str]
    second: tuple[str, str]
    estimate: str
    limits: str
    reason: str
    p: str
    clear: int
    at: tuple[float, float, float] | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A place, and one `Compared` for each measure of the table."""

    name: str
    note: str
    cells: tuple[Compared, ...]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What the intervals of a table are drawn on.

    Args:
        low, high: its ends.
        ends: their labels.
        zero: where no difference is, in percent.
        logarithmic: for ratios.
    """

    low: float
    high: float
    ends: tuple[str, str]
    zero: float
    logarithmic: bool


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows in groups, by name.

    Args:
        groups: names, and the rows under them; a group may be without a name.
        axes: one for each measure.
        apart: rows of sites that do not count.
    """

    groups: tuple[tuple[str, tuple[Row, ...]], ...]
    axes: tuple[Axis, ...]
    apart: Table | None = None


def axis(found: Iterable[Difference | Ratio | None]) -> Axis:
    """An axis that holds all intervals there are, and the place of no difference."""
    known = [one for one in found if one is not None]
    ratios = any(isinstance(one, Ratio) for one in known)
    nothing = 1.0 if ratios else 0.0
    values = [value for one in known for value in _numbers(one) if math.isfinite(value)]
    values = [value for value in values if value > 0] if ratios else values
    low, high = min([nothing, *values]), max([nothing, *values])
    if low == high:
        low, high = (low / 2, high * 2) if ratios else (low - 1, high + 1)
    made = Axis(low=low, high=high, ends=("", ""), zero=0.0, logarithmic=ratios)
    ends = tuple(typeset(text.number(value, 2)) for value in (low, high))
    zero = _place(made, nothing)
    return Axis(low=low, high=high, ends=(ends[0], ends[1]), zero=zero, logarithmic=ratios)


def _numbers(one: Difference | Ratio) -> tuple[float, float, float]:
    return (one.ratio if isinstance(one, Ratio) else one.mean), one.low, one.high


def _place(on: Axis, value: float) -> float:
    low, high = on.low, on.high
    if on.logarithmic:
        low, high, value = math.log(low), math.log(high), math.log(max(value, on.low))
    return round(100 * min(max((value - low) / (high - low), 0.0), 1.0), 1)


def compared(
    first: tuple[str, str], second: tuple[str, str], one: Difference | Ratio | None, on: Axis
) -> Compared:
    """Two means and their difference, as texts and as a place on the axis."""
    estimate, limits = words.estimate(one)
    at = None
    if one is not None and limits and all(math.isfinite(value) for value in _numbers(one)):
        middle, low, high = (_place(on, value) for value in _numbers(one))
        at = (low, round(high - low, 1), middle)
    return Compared(
        first=first,
        second=second,
        estimate=estimate,
        limits=limits,
        reason=one.reason if one is not None else "",
        p=words.pvalue(one),
        clear=words.clear(one),
        at=at,
    )


def metrics(found: Comparison, pair: Pair) -> Table:
    """Means, standard errors and differences of the metrics; each has a unit of its own, hence no axis."""
    names = dict.fromkeys(name for each in (pair.first, pair.second) for name in found.metrics[each])
    on = axis(())
    rows = []
    for name in names:
        sides = [found.metrics[each].get(name) for each in (pair.first, pair.second)]
        texts = [(text.NOT_AVAILABLE, "") if s is None else words.mean(s.mean, s.se) for s in sides]
        cells = (compared(texts[0], texts[1], pair.metrics.get(name), on),)
        rows.append(Row(name=name, note="", cells=cells))
    return Table(groups=(("", tuple(rows)),), axes=(on,))


def sites(pair: Pair, measures: Sequence[str]) -> Table | None:
    """Sites of a pair in some measures: normalization layers, other layers; apart, outputs of nonlinearities.

    Args:
        pair: the two settings.
        measures: names of `gaussprobe.comparison.MEASURES`.

    Returns:
        The table; None where no site has any of them.
    """
    shown = [site for site in pair.sites if any(name in site.differences for name in measures)]
    if not shown:
        return None
    axes = tuple(axis(site.differences.get(name) for site in shown) for name in measures)
    groups: dict[str, list[Row]] = {}
    for site in shown:
        cells = tuple(_of_site(site, name, pair, on) for name, on in zip(measures, axes, strict=True))
        row = Row(name=site.site or "(model)", note=" + ".join(site.kind) or "no kind", cells=cells)
        groups.setdefault(_group(site), []).append(row)
    apart = groups.pop(_APART, None)
    return Table(
        groups=tuple((name, tuple(groups[name])) for name in _GROUPS if name in groups),
        axes=axes,
        apart=None if apart is None else Table(groups=((_APART, tuple(apart)),), axes=axes),
    )


def _group(site: SiteComparison) -> str:
    return _GROUPS[0] if "norm" in site.kind else _GROUPS[1] if site.headline else _APART


def _of_site(site: SiteComparison, measure: str, pair: Pair, on: Axis) -> Compared:
    means = site.means.get(measure, {})
    first, second = (words.mean(means.get(each, math.nan)) for each in (pair.first, pair.second))
    return compared(first, second, site.differences.get(measure), on)


def costs(pair: Pair) -> Table | None:
    """Time and memory of a step; None where nothing was timed."""
    shown = [one for one in pair.cost if any(math.isfinite(mean) for mean in one.means.values())]
    if not shown:
        return None
    on = axis(one.ratio for one in shown)
    rows = []
    for one in shown:
        scale = _SCALED.get(one.name, 1.0)
        first, second = (
            (typeset(text.number(scale * one.means.get(each, math.nan))), "")
            for each in (pair.first, pair.second)
        )
        title = comparison_glossary.COST_NAME.get(one.name, one.name)
        rows.append(Row(name=title, note="", cells=(compared(first, second, one.ratio, on),)))
    return Table(groups=(("", tuple(rows)),), axes=(on,))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A ratio in the grid: its text, its class in `RATIO_CLASSES`, whether p is below .05."""

    text: str
    found: int | None
    clear: bool


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Noise robustness: where noise was added down, where it was read across.

    Args:
        columns: where the change was read.
        rows: where noise was added, and a cell or None for each column.
        table: the same with means and intervals.
        left_out: places that have no row in the table.
        lower, higher, total: places where it carries less or more in the second setting with p below .05, of
            how many.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    table: Table
    left_out: int
    lower: int
    higher: int
    total: int


def grid(pair: Pair) -> Grid | None:
    """Ratios of how far noise carries; None where none was measured."""
    if not pair.robustness:
        return None
    by_place = {(one.at, one.site): one for one in pair.robustness}
    columns = _ordered(pair.robustness)
    rows = tuple(
        (at, tuple(_cell(by_place.get((at, site))) for site in columns))
        for at in dict.fromkeys(one.at for one in pair.robustness)
    )
    on = axis(one.ratio for one in pair.robustness)
    shown: dict[str, list[Row]] = {}
    for one in pair.robustness[:MOST_ROWS]:
        first, second = (words.mean(one.means.get(each, math.nan)) for each in (pair.first, pair.second))
        cells = (compared(first, second, one.ratio, on),)
        shown.setdefault(one.at, []).append(Row(name=one.site, note="", cells=cells))
    clear = [words.clear(one.ratio) for one in pair.robustness]
    return Grid(
        columns=columns,
        rows=rows,
        table=Table(groups=tuple((at, tuple(each)) for at, each in shown.items()), axes=(on,)),
        left_out=max(len(pair.robustness) - MOST_ROWS, 0),
        lower=clear.count(-1),
        higher=clear.count(1),
        total=len(clear),
    )


def _ordered(found: Sequence[RobustnessComparison]) -> tuple[str, ...]:
    """Places of reading in execution order, the model's own output last: noise from the first reaches all."""
    names = dict.fromkeys(one.site for one in found)
    return tuple(sorted(names, key=lambda name: name == OUTPUT))


def _cell(one: RobustnessComparison | None) -> Cell | None:
    if one is None:
        return None
    value = one.ratio.ratio
    found = None if math.isnan(value) else bisect_right(RATIO_CLASSES, value)
    return Cell(text=typeset(text.number(value, 2)), found=found, clear=bool(words.clear(one.ratio)))


@dataclass(frozen=True, kw_only=True)
class BySeed:
    """A metric seed by seed.

    Args:
        name: of the metric.
        rows: seed, a text for each setting, a text for the difference of each further setting.
    """

    name: str
    rows: tuple[tuple[int, tuple[str, ...], tuple[str, ...]], ...]


def by_seed(found: Comparison) -> list[BySeed]:
    """Every metric of every trial, in the order asked for."""
    trials = {(trial.setting, trial.seed): trial for trial in found.trials}
    made = []
    for name in dict.fromkeys(name for trial in found.trials for name in trial.metrics):
        decimals = _decimals([trial.metrics.get(name, math.nan) for trial in found.trials])
        rows = []
        for seed in found.seeds:
            own = [trials.get((setting, seed)) for setting in found.settings]
            values = [math.nan if trial is None else trial.metrics.get(name, math.nan) for trial in own]
            shown = [_value(trial, value, decimals) for trial, value in zip(own, values, strict=True)]
            apart = [words.signed(_exact(value - values[0], decimals)) for value in values[1:]]
            rows.append((seed, tuple(shown), tuple(apart)))
        made.append(BySeed(name=name, rows=tuple(rows)))
    return made


def _decimals(values: Iterable[float]) -> int | None:
    """For six digits of the largest; None where some would need a power of ten."""
    sizes = [abs(value) for value in values if math.isfinite(value) and value]
    if not sizes or max(sizes) >= 1e6 or max(sizes) < 1e-3:
        return None
    return 5 - math.floor(math.log10(max(sizes)))


def _exact(value: float, decimals: int | None) -> str:
    if decimals is None or not math.isfinite(value):
        return text.number(value, 6)
    return text.pointed(value, decimals)


def _value(trial: Trial | None, value: float, decimals: int | None) -> str:
    if trial is None:
        return "not run"
    return "failed" if trial.failure else typeset(_exact(value, decimals))

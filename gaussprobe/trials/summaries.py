"""What trials measured beside the numbers of their sites, brought together over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from gaussprobe.comparison import CostComparison, CourseSummary, RobustnessComparison, Trial
from gaussprobe.measured import Cost, Course
from gaussprobe.paired import Ratio, adjusted, quietly, ratio

_Table: TypeAlias = Mapping[int, Mapping[tuple[str, str], float]]  # changes by seed and pair of sites
_COSTS = ("forward", "backward", "step", "saved_bytes", "peak_bytes")


def ratio_of(values: Sequence[tuple[float, float]]) -> Ratio:
    """Of the pairs that are positive numbers; without any, NaN and the reason."""
    kept = [(x, y) for x, y in values if 0 < x < math.inf and 0 < y < math.inf]
    if not kept:
        return Ratio(
            ratio=math.nan,
            low=math.nan,
            high=math.nan,
            pvalue=math.nan,
            n_seeds=0,
            reason="no pair of positive numbers",
        )
    return quietly(ratio, [x for x, _ in kept], [y for _, y in kept])


def robustness(
    first: str,
    second: str,
    a: Mapping[int, Trial],
    b: Mapping[int, Trial],
    seeds: Sequence[int],
    said: list[str],
) -> tuple[RobustnessComparison, ...]:
    """How far noise carries in two settings, at the pairs of sites that every trial has.

    Args:
        first, second: names of the settings.
        a, b: their trials by seed.
        seeds: that ended in both.
        said: what a reader must know is added.

    Returns:
        One to a pair of sites, in the order of the first trial; p-values adjusted over them.
    """
    if not seeds:
        return ()
    tables = [
        {seed: {(one.at, one.site): one.change for one in trials[seed].robustness} for seed in seeds}
        for trials in (a, b)
    ]
    shared = [key for key in tables[0][seeds[0]] if all(key in t[s] for t in tables for s in seeds)]
    lost = {key for table in tables for one in table.values() for key in one} - set(shared)
    if lost:
        at, site = min(lost)
        more = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        said.append(f"noise at {at!r} read at {site!r} is missing from a trial: not compared{more}")
    found = adjusted([ratio_of([(tables[0][s][key], tables[1][s][key]) for s in seeds]) for key in shared])
    return tuple(
        RobustnessComparison(
            at=at,
            site=site,
            means={
                name: mean_of([table[s][at, site] for s in seeds if _finite(tables, s, (at, site))])
                for name, table in zip((first, second), tables, strict=True)
            },
            ratio=one,
        )
        for (at, site), one in zip(shared, found, strict=True)
    )


def _finite(tables: Sequence[_Table], seed: int, key: tuple[str, str]) -> bool:
    """Whether both settings have a number: means are then of the seeds of the ratio."""
    return all(math.isfinite(table[seed][key]) for table in tables)


def cost(first: str, second: str, b: Mapping[int, Trial]) -> tuple[CostComparison, ...]:
    """What a training step takes in two settings, timed in turns within each trial of the second.

    Args:
        first, second: names of the settings.
        b: trials of the second, by seed.
    """
    pairs = [(t.cost_of_first, t.cost) for t in b.values() if t.cost is not None]
    kept = [(x, y) for x, y in pairs if x is not None]
    found = []
    for name in _COSTS:
        values = [(_cost(x, name), _cost(y, name)) for x, y in kept]
        if any(math.isfinite(x) and math.isfinite(y) for x, y in values):
            means = {first: mean_of([x for x, _ in values]), second: mean_of([y for _, y in values])}
            found.append(CostComparison(name=name, means=means, ratio=ratio_of(values)))
    return tuple(found)


def _cost(one: Cost, name: str) -> float:
    return one.forward + one.backward if name == "step" else float(getattr(one, name))


def courses(trials: Mapping[int, Trial]) -> tuple[CourseSummary, ...]:
    """Q-Q R^2 over training at the steps that every seed recorded.

    Args:
        trials: of one setting, by seed.
    """
    tables = [{course.site: course for course in trial.courses} for trial in trials.values()]
    if not tables:
        return ()
    return tuple(_course([t[site] for t in tables]) for site in tables[0] if all(site in t for t in tables))


def _course(found: Sequence[Course]) -> CourseSummary:
    values = [dict(zip(one.steps, one.qq_r2, strict=True)) for one in found]
    steps = [step for step in found[0].steps if all(step in one for one in values)]
    table = np.array([[one[step] for step in steps] for one in values])
    n = len(values)
    error = table.std(axis=0, ddof=1) / math.sqrt(n) if n > 1 else np.full(len(steps), math.nan)
    return CourseSummary(
        site=found[0].site,
        steps=tuple(steps),
        mean=tuple(table.mean(axis=0).tolist()),
        se=tuple(error.tolist()),
    )


def mean_of(values: Sequence[float]) -> float:
    """Of the finite ones; NaN without any."""
    kept = [value for value in values if math.isfinite(value)]
    return float(np.mean(kept)) if kept else math.nan

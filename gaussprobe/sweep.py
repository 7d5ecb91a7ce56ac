"""Comparisons in a row, and settings in a row: records and tables, without torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gaussprobe.comparison import Comparison, MetricSummary, Trial, summarised
from gaussprobe.paired import Difference, adjusted, difference, quietly

# Numbers of sites that say how normal they are, the one to go by first: as the paper measures it.
R2_MEASURES = ("minibatch_qq_r2", "qq_r2")

# Numbers of sites that count by their mean over the outputs of normalization layers.
NORM_MEASURES = (*R2_MEASURES, "henze_zirkler", "sliced", "adjusted_mutual_information")


@dataclass(frozen=True, kw_only=True)
class Point:
    """A value of what is swept over, and the comparison there."""

    value: float
    found: Comparison


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The same settings compared at several values of one size.

    Args:
        name: of the size.
        recipe: that was trained.
        points: one to each value, in the order given.
    """

    name: str
    recipe: str
    points: tuple[Point, ...]

    @property
    def settings(self) -> tuple[str, str]:
        """The second is held against the first."""
        first, second, *_ = self.points[0].found.settings
        return first, second

    @property
    def failed(self) -> bool:
        """Whether any trial of any point did."""
        return any(point.found.failed for point in self.points)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those of the comparisons, each with its value."""
        return tuple(
            f"{self.name} {point.value:g}: {text}" for point in self.points for text in point.found.warnings
        )


@dataclass(frozen=True, kw_only=True)
class Row:
    """One setting against another.

    Args:
        label: the value of a sweep, or the setting.
        against: the setting that it is held against.
        first: numbers of that one.
        second: its own.
        difference: own less the other's, on the seeds that both have, p-values adjusted over the rows; None
            where there is no such seed.
    """

    label: str
    against: str
    first: MetricSummary
    second: MetricSummary
    difference: Difference | None


def by_value(sweep: Sweep, measure: str) -> tuple[Row, ...]:
    """The second setting against the first at each value, p-values adjusted over the values.

    Args:
        sweep: any.
        measure: a metric, or one of `NORM_MEASURES`: then the mean over the outputs of normalization layers.
    """
    first, second = sweep.settings
    return adjusted_rows(
        [
            paired_row(
                f"{point.value:g}", first, *(numbers(point.found, one, measure) for one in (first, second))
            )
            for point in sweep.points
        ]
    )


def by_setting(found: Comparison, measure: str, *, steps: bool = False) -> tuple[Row, ...]:
    """Each setting but the first against the first, p-values adjusted over all rows.

    Args:
        found: any comparison.
        measure: as for `by_value`.
        steps: whether each from the third on is held against the one before it too: what a step brings.
    """
    of = {name: numbers(found, name, measure) for name in found.settings}
    first, *others = found.settings
    pairs = [(first, name) for name in others]
    if steps:
        pairs += itertools.pairwise(others)
    return adjusted_rows([paired_row(name, other, of[other], of[name]) for other, name in pairs])


def numbers(found: Comparison, setting: str, measure: str) -> dict[int, float]:
    """A finite number to each seed that has one.

    Args:
        found: a comparison.
        setting: its name.
        measure: a metric, or one of `NORM_MEASURES`, which is the mean over those sites of kind `norm` that
            have a finite number in every trial that ended.
    """
    if measure not in NORM_MEASURES:
        one = found.metrics[setting].get(measure)
        return {} if one is None else dict(zip(one.seeds, one.values, strict=True))
    names, _ = norm_sites(found, measure)
    return {
        trial.seed: float(np.mean([of[name] for name in names]))
        for trial in found.trials
        if names and not trial.failure and trial.setting == setting
        for of in [_norms(trial, measure)]
    }


def norm_sites(found: Comparison, measure: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of sites of kind `norm`: those with a finite number in every trial that ended, and the others.

    Args:
        found: a comparison.
        measure: an attribute of `SiteNumbers`.
    """
    tables = [_norms(trial, measure) for trial in found.trials if not trial.failure]
    known = dict.fromkeys(name for table in tables for name in table)
    kept = tuple(name for name in known if all(math.isfinite(table.get(name, math.nan)) for table in tables))
    return kept, tuple(name for name in known if name not in kept)


def _norms(trial: Trial, measure: str) -> dict[str, float]:
    return {site.site: float(getattr(site, measure)) for site in trial.sites if "norm" in site.kind}


def r2_measure(comparisons: Sequence[Comparison]) -> str | None:
    """The first of `R2_MEASURES` that every comparison has of some trial; None for none."""
    for measure in R2_MEASURES:
        if all(any(numbers(one, name, measure) for name in one.settings) for one in comparisons):
            return measure
    return None


def adjusted_rows(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows with p-values adjusted over all of them, so that any false claim is rare.

    Args:
        rows: that are read together; those without a difference stay as they are.
    """
    known = [row.difference for row in rows if row.difference is not None]
    corrected = iter(adjusted(known))
    return tuple(row if row.difference is None else replace(row, difference=next(corrected)) for row in rows)


def paired_row(label: str, against: str, first: Mapping[int, float], second: Mapping[int, float]) -> Row:
    """A row of finite numbers by seed; the difference is on the seeds that both have.

    Args:
        label: of the second.
        against: the name of the first.
        first, second: by seed.
    """
    shared = [seed for seed in first if seed in second]
    found = None
    if shared:
        found = quietly(difference, [first[seed] for seed in shared], [second[seed] for seed in shared])
    return Row(
        label=label, against=against, first=summarised(first), second=summarised(second), difference=found
    )

"""What a watched run recorded, site by site over its steps: pure numbers, read by page and terminal alike."""

from __future__ import annotations

import itertools
import math
import statistics
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from gaussprobe.records import Event, SiteRecord
from gaussprobe.types import Kind, LayerScore, Run, Source, is_headline

# Limits of the classes that delta is drawn in; two of them are the bands of the verdict.
CLASSES = (0.0008, 0.0025, 0.006, 0.015, 0.04, 0.1, 0.3)
DRIFT_RECORDS = 5  # at either end of a series
ASSOCIATION_RECORDS = 30  # with fewer steps nothing is said of association

_OF_SCORE = ("skewness", "excess_kurtosis", "qq_r2")
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class SiteSeries:
    """One site under one source, over the steps it was recorded at.

    Args:
        site: its name.
        source: of its records.
        kind: its kinds, as last recorded.
        steps: rising.
        scores, records: one of each for each step; None where there is none.
        events: of this site and source, in step order.
    """

    site: str
    source: Source
    kind: tuple[Kind, ...]
    steps: tuple[int, ...]
    scores: tuple[LayerScore | None, ...]
    records: tuple[SiteRecord | None, ...]
    events: tuple[Event, ...] = ()

    @property
    def counted(self) -> bool:
        """Whether the site counts in headline and ranking: the output of a nonlinearity does not."""
        return is_headline(self.kind)

    @property
    def last(self) -> LayerScore | None:
        """The score of the last step."""
        return self.scores[-1]

    def values(self, name: str) -> list[float]:
        """A quantity at each step; NaN where it was not measured.

        Args:
            name: `delta`, `delta_low`, `delta_high`, `skewness`, `excess_kurtosis`, `qq_r2`, or a number of
                `SiteRecord`.

        Returns:
            One number for each of `steps`.
        """
        if name == "delta" or name.startswith("delta_"):
            part = name.partition("_")[2] or "median"
            return [math.nan if s is None else float(getattr(s.delta, part)) for s in self.scores]
        found: Sequence[LayerScore | SiteRecord | None]
        found = self.scores if name in _OF_SCORE else self.records
        return [math.nan if one is None else float(getattr(one, name)) for one in found]

    def errors(self, name: str) -> list[float]:
        """Standard error of a charted quantity at each step; NaN where there is none."""
        return [math.nan if r is None else float(r.errors.get(name, math.nan)) for r in self.records]

    @property
    def levels(self) -> tuple[float, float]:
        """Delta at the start and at the end: medians of its first and of its last records.

        Five of each; of fewer than ten records the first and the last half. NaN where none of them is finite.
        """
        delta = self.values("delta")
        count = max(min(DRIFT_RECORDS, len(delta) // 2), 1)
        return _level(delta[:count]), _level(delta[-count:])

    @property
    def drift(self) -> float:
        """The last level of delta less the first; NaN with a single record, or where a level is missing."""
        first, last = self.levels
        return math.nan if len(self.steps) < 2 else last - first


@dataclass(frozen=True, kw_only=True)
class Training:
    """All series of a run.

    Args:
        sources: those it has, the one to look at first: the fixed batch, which compares like with like.
        sites: of each source, in execution order, those that count first.
        metrics: by name, those of a loss first: steps and values in step order.
        events: in step order.
    """

    sources: tuple[Source, ...]
    sites: dict[Source, tuple[SiteSeries, ...]]
    metrics: dict[str, tuple[tuple[int, ...], tuple[float, ...]]]
    events: tuple[Event, ...]

    @property
    def source(self) -> Source:
        """The source to look at first."""
        return self.sources[0]

    @property
    def steps(self) -> tuple[int, ...]:
        """Every recorded step, rising."""
        return tuple(
            sorted({step for all_sites in self.sites.values() for s in all_sites for step in s.steps})
        )


def is_watched(run: Run) -> bool:
    """Whether a run follows a training: a scan has no series."""
    return bool(run.series)


def shown_source(run: Run) -> Source:
    """The source whose last step a report shows: the fixed batch where there is one."""
    return "probe" if any(score.source == "probe" for score in run.scores) else "forward"


def read(run: Run) -> Training:
    """The series of a run; where a site was recorded twice at a step, the later one counts.

    Args:
        run: a watched run.

    Returns:
        Its series, metrics and events.
    """
    scores = {(score.source, score.site, score.step): score for score in run.scores}
    records = {(record.source, record.site, record.step): record for record in run.series}
    steps: dict[tuple[Source, str], set[int]] = {}
    for source, site, step in (*scores, *records):
        steps.setdefault((source, site), set()).add(step)
    events: dict[tuple[Source, str], list[Event]] = {}
    for event in sorted(run.events, key=lambda event: event.step):
        events.setdefault((event.source, event.site), []).append(event)
    series: dict[Source, list[SiteSeries]] = {}
    for (source, site), found in steps.items():
        at = tuple(sorted(found))
        own = tuple(scores.get((source, site, step)) for step in at)
        series.setdefault(source, []).append(
            SiteSeries(
                site=site,
                source=source,
                kind=next((score.kind for score in reversed(own) if score is not None), ()),
                steps=at,
                scores=own,
                records=tuple(records.get((source, site, step)) for step in at),
                events=tuple(events.get((source, site), ())),
            )
        )
    first = shown_source(run)
    sources = tuple(sorted(series, key=lambda source: source != first))
    return Training(
        sources=sources,
        sites={source: tuple(sorted(series[source], key=lambda s: not s.counted)) for source in sources},
        metrics=_metrics(run),
        events=tuple(sorted(run.events, key=lambda event: event.step)),
    )


def by_drift(sites: Sequence[SiteSeries]) -> list[SiteSeries]:
    """Sites by how much they need a look: those that end non-finite, then by |drift|, then those without one.

    Args:
        sites: in execution order, which breaks ties.

    Returns:
        The same, sorted; those that count come first throughout.
    """

    def key(series: SiteSeries) -> tuple[bool, int, float]:
        if series.last is not None and series.last.departure == "non-finite":
            return not series.counted, 0, 0.0
        drift = series.drift
        return not series.counted, *((2, 0.0) if math.isnan(drift) else (1, -abs(drift)))

    return sorted(sites, key=key)


def classed(value: float) -> int | None:
    """Which of the eight classes a delta is in, from 0; None for NaN."""
    return None if math.isnan(value) else bisect_right(CLASSES, value)


def binned(values: Sequence[_T], most: int) -> list[Sequence[_T]]:
    """Consecutive values in at most `most` bins, in order, whose sizes differ by one at most."""
    bins = min(len(values), max(most, 1))
    edges = [index * len(values) // bins for index in range(bins + 1)] if bins else [0]
    return [values[start:end] for start, end in itertools.pairwise(edges)]


def largest(values: Sequence[float]) -> float:
    """The largest of a bin; NaN as soon as one of them is, so that no gap is hidden."""
    return math.nan if any(math.isnan(value) for value in values) else max(values)


def _level(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return statistics.median(finite) if finite else math.nan


def _metrics(run: Run) -> dict[str, tuple[tuple[int, ...], tuple[float, ...]]]:
    found: dict[str, dict[int, float]] = {}
    for metric in run.metrics:
        found.setdefault(metric.name, {})[metric.step] = metric.value
    names = sorted(found, key=lambda name: "loss" not in name.lower())
    return {
        name: (tuple(sorted(found[name])), tuple(found[name][step] for step in sorted(found[name])))
        for name in names
    }

"""Scores and moments of all sites of a recorded step, measured together.

A step has many small samples. Those of equal length are put side by side and sorted once: what is spent on
calls is spent once, not for each site.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from gaussprobe import scores, views
from gaussprobe.events import UnitCounts
from gaussprobe.records import CHARTED, LEVELS, SiteRecord
from gaussprobe.stats import departure, effects, jackknife, moments
from gaussprobe.stats.battery import run as run_tests
from gaussprobe.stats.ordered import OrderedSample, order
from gaussprobe.types import Departure, GofResult, LayerScore, Samples, Source, View

# Intervals and standard errors of a layer's medians rest on this many of its units, evenly spread: more make
# them little narrower, as units share their examples, and cost as much as everything else together.
INTERVAL_UNITS = 64

# Standard errors over examples: from the medians of this many parts of the sample.
PARTS = 8
_FEWEST = 8  # examples in a part, as delta is corrected from 8 on

_NAN = float("nan")


Floats: TypeAlias = "npt.NDArray[np.float64]"


@dataclass(frozen=True, kw_only=True)
class Followed:
    """A site at a recorded step.

    Args:
        score: its effect sizes, tests and verdict.
        record: its moments.
        units: what events of single units go by; None where nothing of them is known.
    """

    score: LayerScore
    record: SiteRecord
    units: UnitCounts | None


def follow(
    samples: Sequence[Samples],
    *,
    source: Source = "forward",
    view: View = "unit",
    tests: Sequence[str] = scores.TESTS,
    intervals: bool = True,
) -> list[Followed]:
    """Score all sites of a step.

    Args:
        samples: of each site, at one step.
        source: to be recorded with them.
        view: what counts as one sample of a score; moments are those of units always.
        tests: names of the tests to run.
        intervals: whether to compute intervals of delta; without, no verdict is definite.

    Returns:
        One for each, in the same order.
    """
    found: dict[int, Followed] = {}
    for group in _alike(samples).values():
        together = _Together([samples[i] for i in group], source, tests, intervals and view == "unit")
        found |= dict(zip(group, together.results(), strict=True))
    for index, one in enumerate(samples):
        if index not in found:
            found[index] = _refused(one, source)
        if view != "unit":
            score = replace(views.score(one, view=view).score, source=source)
            found[index] = replace(found[index], score=score)
    return [found[index] for index in range(len(samples))]


def _alike(samples: Sequence[Samples]) -> dict[tuple[object, ...], list[int]]:
    """Sites that can be measured, by what makes their samples fit side by side."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, one in enumerate(samples):
        if scores.refusal(one) is None:
            per_example = one.sampling.positions_per_example
            rows = one.examples[: one.n_samples // per_example]
            key = (one.n_samples, per_example, one.values.dtype, rows.tobytes())
            groups.setdefault(key, []).append(index)
    return groups


class _Together:
    """Sites whose samples have the same rows, measured as one matrix of all their units."""

    def __init__(self, samples: list[Samples], source: Source, tests: Sequence[str], intervals: bool) -> None:
        self.samples, self.source, self.intervals = samples, source, intervals
        self.blocks = samples[0].sampling.positions_per_example
        self.values = torch.cat([one.values for one in samples], dim=1)
        ends = list(itertools.accumulate(one.values.shape[1] for one in samples))
        self.columns = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        self.sample = order(self.values)
        self.tests = run_tests(self.sample, tests) if tests else {}
        self.sizes = self._effect_sizes()
        self.delta = torch.from_numpy(self.sizes["delta"])

    def results(self) -> list[Followed]:
        """Each site's own."""
        sizes, shapes = self._medians(self.sizes), self._medians(_moments(self.sample))
        limits = self._limits() if self.intervals else [{}] * len(self.samples)
        kinds, errors = self._kinds(sizes, limits), self._errors()
        constant, positive = self.sample.constant.numpy(), (self.values > 0).sum(0).numpy()
        quantiles = self._quantiles()
        found = []
        for i, (samples, columns) in enumerate(zip(self.samples, self.columns, strict=True)):
            score = self._score(samples, columns, sizes[i], limits[i], kinds[i])
            units = UnitCounts(
                units=samples.sampling.units,
                n=samples.n_samples,
                constant=constant[columns],
                positive=positive[columns],
            )
            record = SiteRecord(
                site=score.site,
                step=score.step,
                source=self.source,
                **shapes[i],
                errors={} if errors is None else dict(zip(CHARTED, errors[i].tolist(), strict=True)),
                quantiles=() if constant[columns].all() else quantiles[i],
                verdict99=scores.verdict(*limits[i].get("delta99", (_NAN, _NAN))),
                constant_units=int(constant[columns].sum()),
                silent_units=int((positive[columns] == 0).sum()),
            )
            found.append(Followed(score=score, record=record, units=units))
        return found

    def _score(
        self,
        samples: Samples,
        columns: slice,
        medians: dict[str, Any],
        limits: dict[str, tuple[float, float]],
        kinds: list[Departure],
    ) -> LayerScore:
        notes = [*samples.sampling.caveats]
        if bool(self.sample.constant[columns].any()):
            notes += scores.constant_note(samples, self.sample[columns])
            if bool(self.sample.constant[columns].all()):
                return replace(scores.unscored(samples, "constant", notes).score, source=self.source)
        summaries = {
            name: scores.summary(
                samples, self.sizes[name][columns], medians[name], *limits.get(name, (_NAN, _NAN))
            )
            for name in ("delta", "negentropy")
        }
        results = {
            name: GofResult(
                statistic=result.statistic[columns], pvalue=result.pvalue[columns], n_samples=result.n_samples
            )
            for name, result in self.tests.items()
        }
        delta = summaries["delta"]
        if self.intervals:
            notes += scores.interval_notes(samples, scores.verdict(delta.low, delta.high), delta)
        if scores.PRIMARY in results:
            notes += scores.unit_notes(samples, delta, self.delta[columns], results[scores.PRIMARY])
        layer = scores.assemble(
            samples,
            medians=medians,
            summaries=summaries,
            tests={name: scores.over_units(result, samples.independent) for name, result in results.items()},
            kinds=kinds,
            notes=notes,
        )
        return replace(layer, source=self.source)

    def _effect_sizes(self) -> dict[str, Floats]:
        """As `scores` has them: with several positions per example, the mean of those of each position."""
        if self.blocks == 1:
            return _as_numpy(effects.effect_sizes(self.sample))
        each = _as_numpy(effects.effect_sizes(order(torch.cat(self.values.chunk(self.blocks), dim=1))))
        return {name: values.reshape(self.blocks, -1).mean(0) for name, values in each.items()}

    def _medians(self, values: Mapping[str, Floats]) -> list[dict[str, Any]]:
        """Medians over each site's units, by name."""
        table = np.stack(list(values.values()))
        found = [_median(table[:, columns]).tolist() for columns in self.columns]
        return [dict(zip(values, medians, strict=True)) for medians in found]

    def _kinds(
        self, medians: list[dict[str, Any]], limits: list[dict[str, tuple[float, float]]]
    ) -> list[list[Departure]]:
        """Departures of some of each site's units.

        What a layer without a departure of its own would be called is not asked: shapes take long.
        """
        picked = [_spread_out(columns) for columns in self.columns]
        delta = self.delta.clone()
        for columns, median, limit in zip(self.columns, medians, limits, strict=True):
            if not (median["delta"] >= scores.NEAR and limit.get("delta", (0.0,))[0] > 0):
                delta[columns] = -1.0
        chosen = torch.cat(picked)
        found = departure.kinds(self.sample[chosen], delta[chosen], negligible=scores.NEAR)
        ends = list(itertools.accumulate(len(units) for units in picked))
        return [found[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def _limits(self) -> list[dict[str, tuple[float, float]]]:
        """Intervals of the medians of delta of each site."""
        picked = [_spread_out(columns) for columns in self.columns]
        chosen = torch.cat(picked)
        values = torch.cat([block[:, chosen] for block in self.values.chunk(self.blocks)], dim=1)
        rows = self.samples[0].examples[: len(values)]
        left_out = jackknife.leave_out(values, rows, ("delta",))["delta"]
        found, start = [], 0
        for units in picked:
            own = torch.arange(start, start + len(units))
            own = torch.cat([own + block * len(chosen) for block in range(self.blocks)])
            start += len(units)
            limits = {}
            for label, level in _LEVELS.items():
                each = jackknife.median_interval(
                    "delta", left_out.of(own), level=level, replicates=self.blocks
                )
                limits[label] = (each.low, each.high)
            found.append(limits)
        return found

    def _quantiles(self) -> list[tuple[float, ...]]:
        """Medians over units of the standardised quantiles, as float32 has them: half the room in a file."""
        positions = [round(level * (self.sample.n_samples - 1)) for level in LEVELS]
        table = self.sample.z[:, positions].numpy().T
        return [tuple(_median(table[:, c]).astype(np.float32).tolist()) for c in self.columns]

    def _errors(self) -> Floats | None:
        """Standard errors over examples of each site's medians, `(sites, CHARTED)`; None for few examples."""
        rows = len(self.values) // self.blocks
        fit = rows // PARTS
        if fit < _FEWEST:
            return None
        picked = [_spread_out(columns) for columns in self.columns]
        blocks = self.values[:, torch.cat(picked)].view(self.blocks, rows, -1)
        parts = [blocks[:, k : fit * PARTS : PARTS].flatten(0, 1) for k in range(PARTS)]
        sample = order(torch.cat(parts, dim=1))
        measured = _moments(sample) | _as_numpy({"delta": effects.corrected_delta(sample)})
        table = np.stack([measured[name].reshape(PARTS, -1) for name in CHARTED])
        ends = np.cumsum([len(units) for units in picked])[:-1]
        medians = np.stack([_median(own) for own in np.split(table, ends, axis=2)])
        errors: Floats = medians.std(axis=2, ddof=1) / math.sqrt(PARTS)
        return errors


def _as_numpy(values: Mapping[str, torch.Tensor]) -> dict[str, Floats]:
    return {name: each.to(torch.float64).numpy() for name, each in values.items()}


def _moments(sample: OrderedSample) -> dict[str, Floats]:
    """Moments and L-moments of each unit, NaN for constant ones."""
    shape = moments.l_moments_of(sample)
    mean = torch.where(sample.constant, torch.nan, sample.mean)
    sd = torch.where(sample.constant, torch.nan, sample.sd)
    return _as_numpy(
        {
            "mean": mean,
            "sd": sd,
            "l_scale": shape.l2,
            "l_skewness": shape.tau3,
            "l_kurtosis": shape.tau4,
            "log_sd": sd.log(),
            "relative_mean": mean / sd,
        }
    )


_LEVELS = {"delta": 0.95, "delta99": 0.99}


def _spread_out(columns: slice) -> torch.Tensor:
    """At most `INTERVAL_UNITS` of some columns, evenly spread."""
    width = columns.stop - columns.start
    most = min(width, INTERVAL_UNITS)
    evenly: torch.Tensor = columns.start + torch.arange(most) * width // most
    return evenly


def _median(values: Floats) -> Floats:
    """Medians along the last dimension of the values that are known; NaN where none is."""
    with np.errstate(invalid="ignore"):  # the mean of two infinities of one sign is fine
        found: Floats = np.asarray(np.median(values, axis=-1))
    unknown = np.isnan(found)
    if unknown.any():
        for at in np.argwhere(unknown):
            row = values[tuple(at)]
            known = row[~np.isnan(row)]
            found[tuple(at)] = np.median(known) if len(known) else np.nan
    return found


def _refused(samples: Samples, source: Source) -> Followed:
    refused = scores.refusal(samples)
    assert refused is not None
    kind, reason = refused
    score = scores.unscored(samples, kind, [reason, *samples.sampling.caveats]).score
    record = SiteRecord(
        site=score.site,
        step=score.step,
        source=source,
        mean=_NAN,
        sd=_NAN,
        l_scale=_NAN,
        l_skewness=_NAN,
        l_kurtosis=_NAN,
        log_sd=_NAN,
        relative_mean=_NAN,
    )
    return Followed(score=replace(score, source=source), record=record, units=None)

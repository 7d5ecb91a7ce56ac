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
from gaussprobe.stats.battery import results, statistics
from gaussprobe.stats.ordered import OrderedSample, RowFunction, constant, nonfinite, order
from gaussprobe.stats.pieces import Asked, measure_all
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
    groups = list(_alike(samples).values())
    together = [
        _Together([samples[i] for i in group], source, tests, intervals and view == "unit")
        for group in groups
    ]
    asked = [sites.asked() for sites in together]
    measured = iter(measure_all(list(itertools.chain.from_iterable(asked))))
    found: dict[int, Followed] = {}
    for group, sites, own in zip(groups, together, asked, strict=True):
        sites.take(*itertools.islice(measured, len(own)))
        found |= dict(zip(group, sites.results(), strict=True))
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
    """Sites whose samples have the same rows, measured as one matrix of all their units.

    What is `asked` of it is to be measured, and to be given to `take`; then there are results.
    """

    def __init__(self, samples: list[Samples], source: Source, tests: Sequence[str], intervals: bool) -> None:
        self.samples, self.source, self.tests, self.intervals = samples, source, tests, intervals
        self.blocks = samples[0].sampling.positions_per_example
        self.values = torch.cat([one.values for one in samples], dim=1)
        self.rows = len(self.values) // self.blocks
        ends = list(itertools.accumulate(one.values.shape[1] for one in samples))
        self.columns = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        self.picked = [_spread_out(columns) for columns in self.columns]
        self.each = _Layers(self.columns)

    def asked(self) -> list[Asked]:
        """All units; with several positions per example, those of each position; parts of the examples."""
        whole = {**_MOMENTS, **statistics(self.tests), **_REST}
        if self.blocks == 1:
            found = [_precise(self.values, whole | effects.EFFECT_SIZES)]
        else:
            apart = torch.cat(self.values.chunk(self.blocks), dim=1)
            found = [_precise(self.values, whole), _precise(apart, effects.EFFECT_SIZES)]
        if self.rows >= PARTS * _FEWEST:
            functions = {**_MOMENTS, "delta": effects.corrected_delta}
            found.append(Asked(values=self._parts(), functions=functions))
        return found

    def _parts(self) -> torch.Tensor:
        """Each `PARTS`-th example of the units that standard errors rest on, side by side."""
        fit = self.rows // PARTS
        blocks = self.values[:, torch.cat(self.picked)].view(self.blocks, self.rows, -1)
        return torch.cat([blocks[:, k : fit * PARTS : PARTS].flatten(0, 1) for k in range(PARTS)], dim=1)

    def take(self, whole: dict[str, torch.Tensor], *others: dict[str, torch.Tensor]) -> None:
        """What was measured, in the order it was asked for."""
        rest = iter(others)
        sizes = whole if self.blocks == 1 else next(rest)
        parts = next(rest, None)
        # As `scores` has them: with several positions per example, the mean of those of each position.
        self.sizes = {
            name: _numbers(sizes[name]).reshape(self.blocks, -1).mean(0) for name in effects.EFFECT_SIZES
        }
        self.delta = torch.from_numpy(self.sizes["delta"])
        self.results_of = results({name: whole[name] for name in self.tests}, len(self.values))
        self.constant, self.quantiles = whole["constant"], _numbers(whole["quantiles"])
        self.kinds = departure.plain(whole["nonfinite"], whole["constant"], whole["repeated"])
        self.moments = _moments(whole)
        self.parts = None if parts is None else {**_moments(parts), "delta": _numbers(parts["delta"])}

    def results(self) -> list[Followed]:
        """Each site's own."""
        sizes, shapes = self._medians(self.sizes), self._medians(self.moments)
        limits = self._limits() if self.intervals else [{}] * len(self.samples)
        kinds, errors = self._kinds(sizes, limits), self._errors()
        constant, positive = self.constant.numpy(), np.count_nonzero(self.values.numpy() > 0, axis=0)
        quantiles = self.each.medians(self.quantiles.T).astype(np.float32).T.tolist()
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
                errors={} if errors is None else dict(zip(CHARTED, errors[:, i].tolist(), strict=True)),
                quantiles=() if constant[columns].all() else tuple(quantiles[i]),
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
        constant = self.constant[columns]
        if bool(constant.any()):
            notes += scores.constant_note(samples, constant)
            if bool(constant.all()):
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
            for name, result in self.results_of.items()
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

    def _medians(self, values: Mapping[str, Floats]) -> list[dict[str, Any]]:
        """Medians over each site's units, by name."""
        found = self.each.medians(np.stack(list(values.values()))).T.tolist()
        return [dict(zip(values, medians, strict=True)) for medians in found]

    def _kinds(
        self, medians: list[dict[str, Any]], limits: list[dict[str, tuple[float, float]]]
    ) -> list[list[Departure]]:
        """Departures of some of each site's units.

        What a layer without a departure of its own would be called is not asked: shapes take long.
        """
        wanted = [
            int(unit)
            for units, median, limit in zip(self.picked, medians, limits, strict=True)
            if median["delta"] >= scores.NEAR and limit.get("delta", (0.0,))[0] > 0
            for unit in units
            if self.kinds[unit] == "none" and self.delta[unit] >= scores.NEAR
        ]
        kinds = list(self.kinds)
        if wanted:
            for unit, kind in zip(wanted, departure.shapes(order(self.values[:, wanted])), strict=True):
                kinds[unit] = kind
        return [[kinds[unit] for unit in units] for units in self.picked]

    def _limits(self) -> list[dict[str, tuple[float, float]]]:
        """Intervals of the medians of delta of each site."""
        chosen = torch.cat(self.picked)
        values = torch.cat([block[:, chosen] for block in self.values.chunk(self.blocks)], dim=1)
        rows = self.samples[0].examples[: len(values)]
        left_out = jackknife.leave_out(values, rows, ("delta",))["delta"]
        found, start = [], 0
        for units in self.picked:
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

    def _errors(self) -> Floats | None:
        """Standard errors over examples of each site's medians, `(CHARTED, sites)`; None for few examples."""
        if self.parts is None:
            return None
        table = np.stack([self.parts[name] for name in CHARTED]).reshape(len(CHARTED), PARTS, -1)
        ends = list(itertools.accumulate(len(units) for units in self.picked))
        layers = _Layers([slice(start, end) for start, end in zip([0, *ends], ends, strict=False)])
        errors: Floats = layers.medians(table).std(axis=1, ddof=1) / math.sqrt(PARTS)
        return errors


class _Layers:
    """Columns of each site, for medians over them: those of equally wide sites are taken at once."""

    def __init__(self, columns: Sequence[slice]) -> None:
        self.count = len(columns)
        widths = [one.stop - one.start for one in columns]
        self.alike = {
            width: [i for i, other in enumerate(widths) if other == width] for width in dict.fromkeys(widths)
        }
        self.units = {
            width: np.concatenate([np.arange(columns[i].start, columns[i].stop) for i in sites])
            for width, sites in self.alike.items()
        }

    def medians(self, table: Floats) -> Floats:
        """`(..., sites)` of a table `(..., C)`: of the values that are known."""
        found = np.empty((*table.shape[:-1], self.count))
        for width, sites in self.alike.items():
            own = table[..., self.units[width]].reshape(*table.shape[:-1], len(sites), width)
            found[..., sites] = _median(own)
        return found


def _precise(values: torch.Tensor, functions: Mapping[str, RowFunction]) -> Asked:
    """To every digit that `scores` has."""
    return Asked(values=values, functions=functions, dtype=torch.float64)


def _numbers(values: torch.Tensor) -> Floats:
    return values.to(torch.float64).numpy()


def _quantiles(sample: OrderedSample) -> torch.Tensor:
    """Standardised quantiles, as float32 has them: half the room in a file."""
    positions = [round(level * (sample.n_samples - 1)) for level in LEVELS]
    return sample.z[:, positions].to(torch.float32)


_MOMENTS: dict[str, RowFunction] = {**moments.MOMENTS, **moments.L_MOMENTS}

_REST: dict[str, RowFunction] = {
    "constant": constant,
    "nonfinite": nonfinite,
    "repeated": departure.repeated,
    "quantiles": _quantiles,
}


def _moments(measured: Mapping[str, torch.Tensor]) -> dict[str, Floats]:
    """Moments and L-moments of each unit, NaN for constant ones."""
    known = {name: _numbers(measured[name]) for name in _MOMENTS}
    constant = known["sd"] == 0
    mean, sd = (np.where(constant, np.nan, known[name]) for name in ("mean", "sd"))
    return {
        "mean": mean,
        "sd": sd,
        "l_scale": known["l2"],
        "l_skewness": known["tau3"],
        "l_kurtosis": known["tau4"],
        "log_sd": np.log(sd),
        "relative_mean": mean / sd,
    }


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

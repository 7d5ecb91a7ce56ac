"""Scores and moments of all sites of a recorded step, measured together.

A step has many small samples. Those of equal length are put side by side and sorted once: what is spent on
calls is spent once, not for each site.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from gaussprobe import scores, views
from gaussprobe.events import UnitCounts
from gaussprobe.records import CHARTED, LEVELS, SiteRecord
from gaussprobe.scores import Measured
from gaussprobe.stats import effects, jackknife, moments
from gaussprobe.stats.battery import run as run_tests
from gaussprobe.stats.ordered import OrderedSample, order
from gaussprobe.stats.tables import Effect
from gaussprobe.types import GofResult, LayerScore, Samples, Source, View

# The interval of a layer's median rests on this many of its units, evenly spread: more make it little
# narrower, as units share their examples, and cost as much as everything else together.
INTERVAL_UNITS = 64

# Standard errors over examples: from the medians of this many parts of the sample.
PARTS = 8
_FEWEST = 8  # examples in a part, as delta is corrected from 8 on

_NAN = float("nan")


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
        intervals: whether to compute intervals of delta and negentropy; without, no verdict is definite.

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
        self.sizes = self._effect_sizes()
        self.tests = run_tests(self.sample, tests) if tests else {}

    def results(self) -> list[Followed]:
        """Each site's own."""
        limits = self._limits() if self.intervals else [{}] * len(self.samples)
        shapes, errors = self._moments(self.sample), self._errors()
        positive = (self.values > 0).sum(0)
        positions = [round(level * (self.sample.n_samples - 1)) for level in LEVELS]
        found = []
        for index, (samples, columns) in enumerate(zip(self.samples, self.columns, strict=True)):
            sample = self.sample[columns]
            counts = UnitCounts(
                units=samples.sampling.units,
                n=samples.n_samples,
                constant=sample.constant.numpy(),
                positive=positive[columns].numpy(),
            )
            score = self._score(samples, sample, columns, limits[index])
            medians = {name: float(_median(values[columns])) for name, values in shapes.items()}
            usable = sample.z[~sample.constant]
            record = SiteRecord(
                site=score.site,
                step=score.step,
                source=self.source,
                mean=medians["mean"],
                sd=medians["sd"],
                l_scale=medians["l_scale"],
                l_skewness=medians["l_skewness"],
                l_kurtosis=medians["l_kurtosis"],
                log_sd=medians["log_sd"],
                relative_mean=medians["relative_mean"],
                errors={name: float(each[index]) for name, each in errors.items()},
                quantiles=_quantiles(usable[:, positions]),
                verdict99=scores.verdict(*limits[index].get("delta99", (_NAN, _NAN))),
                constant_units=int(sample.constant.sum()),
                silent_units=int((counts.positive == 0).sum()),
            )
            found.append(Followed(score=score, record=record, units=counts))
        return found

    def _score(
        self,
        samples: Samples,
        sample: OrderedSample,
        columns: slice,
        limits: dict[str, tuple[float, float]],
    ) -> LayerScore:
        notes = [*samples.sampling.caveats, *scores.constant_note(samples, sample)]
        if bool(sample.constant.all()):
            return replace(scores.unscored(samples, "constant", notes).score, source=self.source)
        sizes = {name: values[columns] for name, values in self.sizes.items()}
        measured = Measured(
            sample=sample,
            sizes=sizes,
            summaries={
                name: scores.summary(samples, sizes[name], *limits.get(name, (_NAN, _NAN)))
                for name in ("delta", "negentropy")
            },
            tests={
                name: GofResult(
                    statistic=result.statistic[columns],
                    pvalue=result.pvalue[columns],
                    n_samples=result.n_samples,
                )
                for name, result in self.tests.items()
            },
            intervals=self.intervals,
        )
        return replace(scores.assemble(samples, measured, notes), source=self.source)

    def _effect_sizes(self) -> dict[str, torch.Tensor]:
        """As `scores` has them: with several positions per example, the mean of those of each position."""
        if self.blocks == 1:
            return effects.effect_sizes(self.sample)
        each = [effects.effect_sizes(order(block)) for block in self.values.chunk(self.blocks)]
        return {name: torch.stack([sizes[name] for sizes in each]).mean(0) for name in each[0]}

    def _limits(self) -> list[dict[str, tuple[float, float]]]:
        """Intervals of the medians of delta and negentropy of each site, and of delta at 99 %."""
        picked = [_spread_out(columns) for columns in self.columns]
        chosen = torch.cat(picked)
        values = torch.cat([block[:, chosen] for block in self.values.chunk(self.blocks)], dim=1)
        rows = self.samples[0].examples[: len(values)]
        with np.errstate(invalid="ignore"):  # infinite estimates, of values that repeat, have no interval
            left_out = jackknife.leave_out(values, rows, ("delta", "negentropy"))
        found, start = [], 0
        for units in picked:
            own = torch.arange(start, start + len(units))
            own = torch.cat([own + block * len(chosen) for block in range(self.blocks)])
            start += len(units)
            limits = {}
            for label, name, level in _INTERVALS:
                each = jackknife.median_interval(
                    name, left_out[name].of(own), level=level, replicates=self.blocks
                )
                limits[label] = (each.low, each.high)
            found.append(limits)
        return found

    def _moments(self, sample: OrderedSample) -> dict[str, npt.NDArray[np.float64]]:
        shape = moments.l_moments_of(sample)
        mean = torch.where(sample.constant, torch.nan, sample.mean)
        sd = torch.where(sample.constant, torch.nan, sample.sd)
        found = {
            "mean": mean,
            "sd": sd,
            "l_scale": shape.l2,
            "l_skewness": shape.tau3,
            "l_kurtosis": shape.tau4,
            "log_sd": sd.log(),
            "relative_mean": mean / sd,
        }
        return {name: values.to(torch.float64).numpy() for name, values in found.items()}

    def _errors(self) -> dict[str, npt.NDArray[np.float64]]:
        """Standard errors over examples of each site's medians, `(sites,)` by name."""
        rows = len(self.values) // self.blocks
        fit = rows // PARTS
        if fit < _FEWEST:
            return {}
        blocks = self.values.view(self.blocks, rows, -1)
        parts = [blocks[:, k : fit * PARTS : PARTS].flatten(0, 1) for k in range(PARTS)]
        sample = order(torch.cat(parts, dim=1))
        measured = {"delta": effects.corrected_delta(sample).numpy(), **self._moments(sample)}
        found: dict[str, npt.NDArray[np.float64]] = {}
        for name in CHARTED:
            by_part = measured[name].reshape(PARTS, -1)
            medians = np.array([_median(by_part[:, columns]) for columns in self.columns])
            found[name] = medians.std(axis=1, ddof=1) / math.sqrt(PARTS)
        return found


# Label, effect size, level.
_INTERVALS: tuple[tuple[str, Effect, float], ...] = (
    ("delta", "delta", 0.95),
    ("negentropy", "negentropy", 0.95),
    ("delta99", "delta", 0.99),
)


def _spread_out(columns: slice) -> torch.Tensor:
    """At most `INTERVAL_UNITS` of some columns, evenly spread."""
    width = columns.stop - columns.start
    most = min(width, INTERVAL_UNITS)
    evenly: torch.Tensor = columns.start + torch.arange(most) * width // most
    return evenly


def _median(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Medians along the last dimension of the values that are known; NaN where none is."""
    known = values[..., ~np.isnan(values).any(axis=tuple(range(values.ndim - 1)))]
    if not known.shape[-1]:
        return np.full(values.shape[:-1], np.nan)
    return np.asarray(np.median(known, axis=-1))


def _quantiles(standardised: torch.Tensor) -> tuple[float, ...]:
    """Medians over units, as float32 has them: half the room in a file."""
    return tuple(standardised.median(0).values.to(torch.float32).tolist()) if len(standardised) else ()


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

"""From `Samples` to `LayerScore`: effect sizes with intervals, tests over units, verdict and departure.

The verdict is decided by `delta = 1 - R^2` of the Q-Q plot, null-corrected, and the interval of its median
over units; never by a p-value alone. The rules are written down in docs/method.md.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from gaussprobe import pictures
from gaussprobe.stats import departure, effects, jackknife, multiplicity
from gaussprobe.stats.battery import run as run_tests
from gaussprobe.stats.ordered import OrderedSample, order
from gaussprobe.types import (
    Departure,
    GofResult,
    GofSummary,
    LayerScore,
    Samples,
    SitePicture,
    Summary,
    Verdict,
)

# Bands of delta: below NEAR a layer is Gaussian for any purpose we know (t(30) has .0005), from FAR on it is
# not (skew-normal(2) has .0113, gamma(10) .022, t(5) .033).
NEAR = 0.0025
FAR = 0.015

MIN_SAMPLES = 8
TESTS = ("shapiro_wilk", "lilliefors", "anderson_darling", "dagostino_pearson")
PRIMARY = "shapiro_wilk"

# The verdict's error rates were measured from this many examples on: below, delta of t(5) shrinks by a third
# and more, as its tails are hardly seen.
FULL_VIEW = 200

# A single unit is called out from this many samples on: below, a large delta is too often chance.
UNIT_SAMPLES = 500
UNIT_LEVEL = 0.05

Floats: TypeAlias = "npt.NDArray[np.float64]"

_NAN = float("nan")
_NO_SUMMARY = Summary(median=_NAN, low=_NAN, high=_NAN, worst=_NAN, worst_unit=None)
_REPEATING: tuple[Departure, ...] = ("discrete", "atoms")
_PRIORITY: tuple[Departure, ...] = (
    *_REPEATING,
    "multimodal",
    "right-skewed",
    "left-skewed",
    "heavy-tailed",
    "light-tailed",
)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The numbers of a site and what is drawn of it."""

    score: LayerScore
    picture: SitePicture


def verdict(low: float, high: float) -> Verdict:
    """The verdict on a layer from the interval of its median delta.

    `high < .0025` gaussian; `low >= .015` non-gaussian; `high < .015` near-gaussian; else undetermined.

    Args:
        low, high: 95 % interval of the median delta over units; NaN when there is none.

    Returns:
        The verdict.
    """
    if math.isnan(low) or math.isnan(high):
        return "undetermined"
    if high < NEAR:
        return "gaussian"
    if low >= FAR:
        return "non-gaussian"
    if high < FAR:
        return "near-gaussian"
    return "undetermined"


def layer_departure(kinds: list[Departure], delta: Summary) -> Departure:
    """The kind of departure of a layer from those of its units.

    Atoms or few values in most units are named whatever delta is. Otherwise a layer whose median delta is
    below .0025, or cannot be told from 0, has none; else the commonest kind among the units that have one.

    Args:
        kinds: of each unit; constant units are left out.
        delta: of the layer.

    Returns:
        The departure; `"constant"` when every unit is.
    """
    counts: Counter[Departure] = Counter(kind for kind in kinds if kind != "constant")
    if not counts:
        return "constant"
    for kind in _REPEATING:
        if 2 * counts[kind] > counts.total():
            return kind
    if not (delta.median >= NEAR and delta.low > 0):
        return "none"
    shaped = [kind for kind in _PRIORITY if counts[kind]]
    return max(shaped, key=lambda kind: counts[kind]) if shaped else "none"


def score(samples: Samples, *, of: str = "examples") -> Scored:
    """Score one site.

    Args:
        samples: of the site, `(n_samples, num_features)`.
        of: what its rows are, as notes are to call them.

    Returns:
        Its score and pictures. What cannot be measured is NaN, with the reason among the notes.
    """
    notes = list(samples.sampling.caveats)
    refused = refusal(samples)
    if refused is not None:
        kind, reason = refused
        return unscored(samples, kind, [reason, *notes])
    sample = order(samples.values)
    notes += constant_note(samples, sample.constant)
    if bool(sample.constant.all()):
        return unscored(samples, "constant", notes)

    sizes = _effect_sizes(samples, sample)
    summaries, results = _summaries(samples, sizes), run_tests(sample, TESTS)
    delta = summaries["delta"]
    notes += interval_notes(samples, verdict(delta.low, delta.high), delta, of=of)
    layer = assemble(
        samples,
        medians={name: median_of(values) for name, values in sizes.items()},
        summaries=summaries,
        tests={name: over_units(result, samples.independent) for name, result in results.items()},
        kinds=departure.kinds(sample, sizes["delta"], negligible=NEAR),
        notes=[*notes, *unit_notes(samples, delta, sizes["delta"], results[PRIMARY])],
    )
    picture = pictures.draw(layer.site, layer.step, sample, sizes["delta"], samples.sampling.units)
    return Scored(score=layer, picture=picture)


def assemble(
    samples: Samples,
    *,
    medians: Mapping[str, float],
    summaries: Mapping[str, Summary],
    tests: Mapping[str, GofSummary],
    kinds: list[Departure],
    notes: Sequence[str],
) -> LayerScore:
    """The score of a site from what was measured of its units.

    Args:
        samples: of the site.
        medians: of each effect size over units.
        summaries: of `delta` and `negentropy`.
        tests: over units.
        kinds: departures of units.
        notes: what a reader must know.
    """
    delta = summaries["delta"]
    measured: dict[str, Any] = {**medians, **summaries}
    return replace(
        blank(samples),
        **measured,
        tests=tests,
        verdict=verdict(delta.low, delta.high),
        departure=layer_departure(kinds, delta),
        notes=tuple(notes),
    )


def refusal(samples: Samples, *, fewest: int = MIN_SAMPLES) -> tuple[Departure, str] | None:
    """Why a site cannot be scored at all, None when it can: not finite, or under `fewest` examples."""
    bad = samples.nonfinite
    if bad.any:
        return "non-finite", (
            f"{bad.nan:,} NaN and {bad.inf:,} infinite of {bad.total:,} values, "
            f"in {bad.units:,} of {samples.sampling.num_features:,} units"
        )
    independent = samples.n_samples // samples.sampling.positions_per_example
    if independent < fewest:
        what = "samples per unit" if independent == samples.n_samples else "examples"
        return "none", f"{independent} {what}; at least {fewest} are needed"
    return None


def unscored(samples: Samples, kind: Departure, notes: list[str]) -> Scored:
    """A site without a measurement, and why."""
    layer = replace(blank(samples), departure=kind, notes=tuple(notes))
    return Scored(score=layer, picture=SitePicture(site=layer.site, step=layer.step))


def blank(samples: Samples) -> LayerScore:
    """What is known of a site before anything is measured."""
    nothing = GofSummary(statistic=_NAN, pvalue=None, rejected_fraction=None)
    return LayerScore(
        site=samples.site.name,
        kind=samples.site.kinds,
        step=samples.step,
        n_seen=samples.n_seen,
        n_tested=samples.n_samples,
        num_features=samples.sampling.num_features,
        delta=_NO_SUMMARY,
        negentropy=_NO_SUMMARY,
        qq_r2=_NAN,
        ks_distance=_NAN,
        wasserstein=_NAN,
        skewness=_NAN,
        excess_kurtosis=_NAN,
        tests=dict.fromkeys(TESTS, nothing),
        verdict="undetermined",
        departure="none",
    )


def _effect_sizes(samples: Samples, sample: OrderedSample) -> dict[str, torch.Tensor]:
    """Effect sizes of each unit; with several positions per example, the mean of those of each position.

    Positions of one example are dependent, so that n rows of them are worth fewer: pooled, they would be
    corrected for too large an n. Each position by itself is a sample of independent examples.
    """
    blocks = samples.sampling.positions_per_example
    if blocks == 1:
        return effects.effect_sizes(sample)
    each = [effects.effect_sizes(order(block)) for block in samples.values.chunk(blocks)]
    return {name: torch.stack([sizes[name] for sizes in each]).mean(0) for name in each[0]}


def _summaries(samples: Samples, sizes: Mapping[str, torch.Tensor]) -> dict[str, Summary]:
    """Median over units with its interval, and the worst unit, of delta and negentropy."""
    blocks = samples.sampling.positions_per_example
    with np.errstate(invalid="ignore"):  # infinite estimates, of values that repeat, have no interval
        intervals = jackknife.median_intervals(
            torch.cat(samples.values.chunk(blocks), dim=1),
            samples.examples[: samples.n_samples // blocks],
            ("delta", "negentropy"),
            replicates=blocks,
        )
    return {
        name: summary(samples, _numpy(sizes[name]), median_of(sizes[name]), each.low, each.high)
        for name, each in intervals.items()
    }


def summary(samples: Samples, values: Floats, median: float, low: float, high: float) -> Summary:
    """An effect size of a site: its median over units with an interval, and the worst unit.

    Args:
        samples: of the site.
        values: `(C,)` of its units.
        median: over those that are known.
        low, high: interval of the median; withheld where examples are not to be believed.
    """
    known = np.where(np.isnan(values), -np.inf, values)
    column = int(known.argmax())
    return Summary(
        median=median,
        low=low if samples.grouped else _NAN,
        high=high if samples.grouped else _NAN,
        worst=float(known[column]),
        worst_unit=_unit(samples, column),
    )


def over_units(result: GofResult, independent: bool) -> GofSummary:
    """A test over the units of a site; p-values only where its rows are independent."""
    statistic = median_of(result.statistic)
    if not independent:
        return GofSummary(statistic=statistic, pvalue=None, rejected_fraction=None)
    pvalues = _numpy(result.pvalue)
    adjusted = multiplicity.benjamini_hochberg(pvalues)
    valid = adjusted[~np.isnan(adjusted)]
    return GofSummary(
        statistic=statistic,
        pvalue=multiplicity.simes(pvalues),
        rejected_fraction=float((valid < UNIT_LEVEL).mean()) if len(valid) else _NAN,
    )


def constant_note(samples: Samples, constant: torch.Tensor) -> list[str]:
    """Which units do not vary, of `(C,)` bool; empty where all do."""
    units = [_unit(samples, c) for c in torch.nonzero(constant).flatten().tolist()]
    if not units:
        return []
    return [f"{len(units)} of {_scored_units(samples)} units constant, left out: {_listed(units)}"]


def interval_notes(
    samples: Samples, called: Verdict, delta: Summary, *, at: str = "", of: str = "examples"
) -> list[str]:
    """What keeps a verdict from being definite, or makes it one of few; `of` says what rows are."""
    n = samples.n_samples // samples.sampling.positions_per_example
    if called in ("gaussian", "near-gaussian") and n < FULL_VIEW:
        return [f"with {n} {of} the tails are hardly seen: delta of heavy-tailed laws comes out too small"]
    if called != "undetermined" or not samples.grouped:
        return []
    if math.isnan(delta.low):
        if n < jackknife.MINIMUM_EXAMPLES:
            return [f"{n} {of} give no interval; at least {jackknife.MINIMUM_EXAMPLES} are needed"]
        return [f"no interval: no unit varies in every part of the {of}"]
    return [
        f"the interval of delta spans more than one band at {at or f'n_tested = {samples.n_samples:,}'}: "
        f"more {of} would decide"
    ]


def unit_notes(samples: Samples, summary: Summary, delta: torch.Tensor, primary: GofResult) -> list[str]:
    """Single units that are far from Gaussian in a layer that as a whole is not."""
    called = verdict(summary.low, summary.high)
    if called == "non-gaussian" or not samples.independent or samples.n_samples < UNIT_SAMPLES:
        return []
    adjusted = multiplicity.benjamini_hochberg(_numpy(primary.pvalue))
    far = np.flatnonzero((_numpy(delta) > FAR) & (np.nan_to_num(adjusted, nan=1.0) < UNIT_LEVEL))
    if len(far) == 0:
        return []
    far = far[np.argsort(-_numpy(delta)[far], kind="stable")]
    units = [_unit(samples, int(c)) for c in far]
    return [f"delta measured above .015 in {len(units)} of {_scored_units(samples)} units: {_listed(units)}"]


def _scored_units(samples: Samples) -> int:
    return int(samples.values.shape[1])


def _unit(samples: Samples, column: int) -> int:
    units = samples.sampling.units
    return column if units is None else units[column]


def _listed(units: list[int], most: int = 8) -> str:
    shown = ", ".join(str(u) for u in units[:most])
    return shown if len(units) <= most else f"{shown}, ..."


def median_of(values: torch.Tensor) -> float:
    """Median over valid units, the mean of the middle two for an even number; NaN when there are none."""
    valid = _numpy(values)
    valid = valid[~np.isnan(valid)]
    return float(np.median(valid)) if len(valid) else _NAN


def _numpy(values: torch.Tensor) -> Floats:
    return values.detach().to("cpu", torch.float64).numpy()

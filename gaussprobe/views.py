"""What counts as one sample: `unit` (each unit across examples), `layer` (pooled), `example` (across units),
`init` (each unit across random initializations).

Only `unit` and `init` have independent rows and so p-values. The values of a layer share their examples, and
those of an example their layer: there, effect sizes and their intervals are all there is.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy import special

from gaussprobe import pictures, scores
from gaussprobe.scores import Scored
from gaussprobe.stats import departure, effects, jackknife, tables
from gaussprobe.stats.battery import run as run_tests
from gaussprobe.stats.jackknife import LeftOut, MedianInterval
from gaussprobe.stats.ordered import OrderedSample, order
from gaussprobe.types import Departure, GofSummary, Samples, Summary, View

Indices: TypeAlias = "npt.NDArray[np.int64]"

# Values that are pooled, at most: the jackknife sorts them 21 times.
MOST_POOLED = 2**19

# The negentropy of a layer is the mean over this many draws of one unit per example.
DRAWS = 16

# Fewer values than this in an example's vector hide the tails of most laws: none of them is called Gaussian.
ENOUGH_UNITS = 50

_POWERS = range(3, 21)

# Of values that repeat, whatever is left of that once units are standardised and pooled.
_ENDLESS = Summary(median=math.inf, low=math.nan, high=math.nan, worst=math.nan, worst_unit=None)


def score(samples: Samples, *, view: View = "unit") -> Scored:
    """Score one site under a view.

    `n_tested` counts the values of one tested sample, `n_seen` those it was drawn from: samples per unit;
    under `layer` the values pooled, of all that passed; under `example` the units, of all the site has.

    Args:
        samples: of the site, `(n_samples, num_features)`.
        view: `"unit"`, `"layer"`, `"example"`, or `"init"`, whose rows are of one initialization each.

    Returns:
        Its score and pictures. What cannot be measured is NaN, with the reason among the notes.

    Raises:
        ValueError: for another view.
    """
    if view == "unit":
        return scores.score(samples)
    if view == "layer":
        return _score_layer(samples)
    if view == "example":
        return _score_examples(samples)
    if view == "init":
        return _score_initializations(samples)
    raise ValueError(f"view must be unit, layer, example or init; got {view!r}")


# -- layer: units standardised one by one, then pooled


def pooled_delta(
    values: torch.Tensor,
    examples: Indices,
    *,
    groups: int = jackknife.GROUPS,
) -> LeftOut:
    """Delta of a layer's standardised and pooled units, of all rows and without each group of examples.

    `delta = 1 - R^2 - E_m[1 - R^2] - b_N`. With N rows and units correlated by rho_ij, coefficients of the
    pooled values on the k-th Hermite polynomial have variance `mean_ij rho_ij^k / N`, and `E[1 - R^2]` is
    their sum over k >= 3, each divided by k: that of m independent values, with
    `N / m = mean_ij sum_k rho_ij^k / k / sum_k 1 / k`. m is N C for independent units and N for units that
    are all alike. The first two polynomials do not count: standardising takes them out. b_N is what N values
    divided by their own sd lack in the tails: `1 - R^2` of Thompson's law. Without a group of examples, units
    are standardised again.

    Null hypothesis: none; an estimate.

    Args:
        values: `(N, C)`, no column constant.
        examples: `(N,)` index of the example of each row.
        groups: as `jackknife.median_intervals` has it.

    Returns:
        One estimate, `(1,)`, those without each group, `(G, 1)`, and m as `n_samples`.

    Reference:
        Thompson (1935), Annals of Mathematical Statistics 6, 214, for the law; Lomnicki (1961), Metrika 4,
        for moments of dependent normal values.
    """
    z = _standardised(values)
    n = len(z)
    effective = effective_size(z) if z.numel() else n
    group, n_groups, n_examples = jackknife.assign_groups(examples, groups)
    left_out = []
    for g in range(n_groups if n_examples >= jackknife.MINIMUM_EXAMPLES else 0):
        kept = z[torch.from_numpy(group != g)]
        left_out.append(_corrected(_standardised(kept), round(effective * len(kept) / n)))
    return LeftOut(
        values=torch.tensor([_corrected(z, effective)], dtype=torch.float64),
        left_out=torch.tensor(left_out, dtype=torch.float64)[:, None],
        n_samples=effective,
    )


def _standardised(values: torch.Tensor) -> torch.Tensor:
    """Each column less its mean, divided by its biased sd, float32; columns without variance are left out."""
    x = values.to(torch.float64)
    x = x / x.abs().amax(dim=0).clamp(min=torch.finfo(torch.float64).tiny)
    x = x - x.mean(dim=0)
    x = x - x.mean(dim=0)
    sd = x.square().mean(dim=0).sqrt()
    varies = sd > 0
    return (x[:, varies] / sd[varies]).to(torch.float32)


def effective_size(z: torch.Tensor) -> int:
    """How many independent values the pooled columns of `z` are worth where 1 - R^2 is concerned.

    Args:
        z: `(N, C)`, standardised.

    Returns:
        From N, for columns that are all alike, to N C: see `pooled_delta`.
    """
    n, units = z.shape
    correlation = ((z.T @ z) / n).clamp(-1, 1)
    total = torch.zeros_like(correlation)
    for k in reversed(_POWERS):  # Horner
        total = (total + 1 / k) * correlation
    total *= correlation * correlation
    share = float(total.mean(dtype=torch.float64)) / sum(1 / k for k in _POWERS)
    return round(n / min(max(share, 1 / units), 1.0))


def _corrected(z: torch.Tensor, effective: int) -> float:
    if z.numel() == 0:
        return math.nan
    loss = float(effects.raw_delta(order(z.reshape(-1, 1)))[0])
    return loss - tables.null_mean("delta", effective) - thompson_loss(len(z))


@functools.lru_cache(maxsize=256)
def thompson_loss(n_samples: int) -> float:
    """`1 - R^2` of the law of one of `n_samples` normal values less their mean, divided by their sd."""
    x = np.linspace(-8, 8, 4001)
    weight = np.exp(-0.5 * x * x)
    weight /= weight.sum()
    t = special.stdtrit(n_samples - 2, special.ndtr(-np.abs(x)))
    quantile = np.sign(x) * np.sqrt((n_samples - 1) * t * t / (n_samples - 2 + t * t))
    product = float((weight * x * quantile).sum())
    return 1 - product * product / float((weight * x * x).sum() * (weight * quantile * quantile).sum())


def _score_layer(samples: Samples) -> Scored:
    caveats = list(samples.sampling.caveats)
    refused = scores.refusal(samples)
    if refused is not None:
        return _unscored(samples, "layer", refused[0], [refused[1], *caveats])
    per_unit = order(samples.values)
    notes = caveats + scores.constant_note(samples, per_unit.constant)
    if bool(per_unit.constant.all()):
        return _unscored(samples, "layer", "constant", notes)

    columns = torch.from_numpy(_pooled_columns(samples, ~per_unit.constant))
    blocks = samples.sampling.positions_per_example
    parts = samples.values[:, columns].chunk(blocks)
    labels = samples.examples[: len(parts[0])]
    found = [pooled_delta(part, labels) for part in parts]
    sizes = LeftOut(
        values=torch.cat([one.values for one in found]),
        left_out=torch.cat([one.left_out for one in found], dim=1),
        n_samples=min(one.n_samples for one in found),
    )
    delta = jackknife.median_interval("delta", sizes, replicates=blocks)
    draws = torch.cat([_draws(part) for part in parts], dim=1)
    with np.errstate(invalid="ignore"):  # infinite estimates, of values that repeat, have no interval
        negentropy = jackknife.median_intervals(draws, labels, ("negentropy",), replicates=draws.shape[1])
    summary = _summary(samples, delta)
    called = scores.verdict(summary.low, summary.high)
    pool = order(_standardised(parts[0]).reshape(-1, 1))
    at = torch.tensor([delta.median], dtype=torch.float64)
    each = departure.kinds(per_unit[columns], torch.zeros(len(columns), dtype=torch.float64))
    kind = departure.kinds(pool, at, negligible=scores.NEAR)
    notes.append(
        f"view layer: {len(columns):,} units of {len(parts[0]):,} samples each, standardised one by one and "
        "pooled; they share examples, so that there is an interval over examples and no p-value"
    )
    if len(columns) < int((~per_unit.constant).sum()):
        notes.append(f"{len(columns):,} units were drawn at random and pooled")
    layer = replace(
        scores.blank(samples),
        **_counts(samples, "layer") | {"n_tested": pool.n_samples},
        **_shape(pool),
        delta=summary,
        negentropy=_summary(samples, negentropy["negentropy"]) if _repeating(each) is None else _ENDLESS,
        tests=_without_pvalues(pool),
        verdict=called,
        departure=scores.layer_departure(_repeating(each) or kind, summary),
        notes=(*notes, *scores.interval_notes(samples, called, summary, at=f"{len(labels):,} examples")),
    )
    return Scored(score=layer, picture=pictures.draw(layer.site, layer.step, pool, at))


def _pooled_columns(samples: Samples, usable: torch.Tensor) -> Indices:
    """Columns that are pooled: those that vary, random ones where there are too many."""
    columns = torch.nonzero(usable).flatten().numpy()
    rows = samples.n_samples // samples.sampling.positions_per_example
    most = max(1, MOST_POOLED // rows)
    if len(columns) <= most:
        return columns
    return np.sort(np.random.default_rng(0).choice(columns, most, replace=False))


def _draws(values: torch.Tensor) -> torch.Tensor:
    """Up to 16 samples of the layer's law, `(N, R)`: of each example one unit, standardised.

    Spacings of pooled values that are dependent say little of their law's entropy; those of one draw, each
    from another example, are independent.
    """
    z = _standardised(values)
    n, units = z.shape
    draws = min(DRAWS, units)
    start = torch.from_numpy(np.random.default_rng(0).permutation(n) % units)
    step = torch.arange(draws) * (units // draws)
    return z.gather(1, (start[:, None] + step) % units)


def _repeating(kinds: list[Departure]) -> list[Departure] | None:
    """Kinds of the units where most repeat their values: pooling standardised atoms blurs them."""
    repeated: list[Departure] = [kind for kind in kinds if kind in ("discrete", "atoms")]
    return repeated if 2 * len(repeated) > len(kinds) else None


# -- example: the vector of one example across units


def _score_examples(samples: Samples) -> Scored:
    notes = list(samples.sampling.caveats)
    refused = scores.refusal(samples, fewest=1)
    if refused is not None:
        return _unscored(samples, "example", refused[0], [refused[1], *notes])
    rows = samples.n_samples // samples.sampling.positions_per_example
    labels = samples.examples[:rows]
    vectors = samples.values[:rows].T.contiguous()
    units = len(vectors)
    if units < scores.MIN_SAMPLES:
        reason = f"{units} units make no sample of view example; at least {scores.MIN_SAMPLES} are needed"
        return _unscored(samples, "example", "none", [reason, *notes])
    sample = order(vectors)
    constant = int(sample.constant.sum())
    if constant == rows:
        return _unscored(samples, "example", "constant", notes)
    if constant:
        notes.append(f"{constant:,} of {rows:,} examples have the same value in all units, left out")

    sizes = effects.effect_sizes(sample)
    over_units = jackknife.leave_out(vectors, np.arange(units))
    summaries: dict[str, Summary] = {}
    for name, left_out in over_units.items():
        interval = two_way(name, left_out, labels)
        worst = torch.nan_to_num(sizes[name], nan=-math.inf, posinf=math.inf)
        column = int(worst.argmax())
        summaries[name] = replace(
            _summary(samples, interval), worst=float(worst[column]), worst_unit=int(labels[column])
        )
    delta = summaries["delta"]
    called = scores.verdict(delta.low, delta.high)
    kinds = departure.kinds(sample, sizes["delta"], negligible=scores.NEAR)
    notes.append(
        f"view example: the values of {units:,} units in one example are a sample, {rows:,} examples are "
        "measured; units are no independent draws, so there is an interval and no p-value"
    )
    if units < ENOUGH_UNITS and called in ("gaussian", "near-gaussian"):
        called = "undetermined"
        notes.append(f"{units} units hide the tails: at least {ENOUGH_UNITS} are needed to decide")
    elif called in ("gaussian", "near-gaussian") and units < scores.FULL_VIEW:
        notes.append(
            f"with {units} units the tails are hardly seen: delta of heavy-tailed laws comes out too small"
        )
    elif math.isnan(delta.low) and samples.grouped:
        notes.append(_no_interval(len(np.unique(labels))))
    elif called == "undetermined" and samples.grouped:
        notes.append(f"the interval of delta spans more than one band at {units:,} units")
    layer = replace(
        scores.blank(samples),
        **_counts(samples, "example"),
        **_medians(sizes),
        delta=summaries["delta"],
        negentropy=summaries["negentropy"],
        tests=_without_pvalues(sample),
        verdict=called,
        departure=scores.layer_departure(kinds, delta),
        notes=tuple(notes),
    )
    indices = tuple(int(label) for label in labels)
    return Scored(score=layer, picture=pictures.draw(layer.site, layer.step, sample, sizes["delta"], indices))


def two_way(name: tables.Effect, over_units: LeftOut, examples: Indices) -> MedianInterval:
    """Median over examples of an effect size, with an interval over examples and over units.

    Both are drawn: the examples from the data, and the values of a vector from the layer's units, which all
    examples share. Each has its jackknife, and the distances of the limits from the median add up as squares.
    Over examples alone, vectors that have one part in common would seem known better than they are.

    Null hypothesis: none; an interval estimate.

    Args:
        name: `delta` or `negentropy`.
        over_units: of each example, with groups of units left out.
        examples: `(E,)` the example, or group of examples, of each vector.

    Returns:
        The interval; NaN limits with fewer than 9 examples or units.

    Reference:
        Owen (2007), Annals of Applied Statistics 1, 386, for variances of crossed samples; Zou & Donner
        (2008), Statistics in Medicine 27, 1693, for limits from limits.
    """
    values = over_units.values
    group, n_groups, n_examples = jackknife.assign_groups(examples, jackknife.GROUPS)
    labels = torch.from_numpy(group)
    kept = range(n_groups if n_examples >= jackknife.MINIMUM_EXAMPLES else 0)
    without = [torch.where(labels == g, math.nan, values) for g in kept]
    left_out = torch.stack(without) if without else values.new_empty((0, len(values)))
    over_examples = LeftOut(values=values, left_out=left_out, n_samples=over_units.n_samples)
    with np.errstate(invalid="ignore"):  # infinite estimates, of values that repeat, have no interval
        one, other = (jackknife.median_interval(name, found) for found in (over_examples, over_units))
    return replace(
        one,
        low=one.median - math.hypot(one.median - one.low, one.median - other.low),
        high=one.median + math.hypot(one.high - one.median, other.high - one.median),
    )


def _no_interval(n_examples: int) -> str:
    if n_examples < jackknife.MINIMUM_EXAMPLES:
        return f"{n_examples} examples give no interval; at least {jackknife.MINIMUM_EXAMPLES} are needed"
    return f"no interval: fewer than {jackknife.MINIMUM_EXAMPLES} units, or values that do not vary"


# -- init: each unit across random initializations


def _score_initializations(samples: Samples) -> Scored:
    found = scores.score(samples, of="initializations")
    if found.score.departure != "constant":
        return found
    why = "no unit varies: what it receives there is 0, or nothing before it is drawn; another input may do"
    return replace(found, score=replace(found.score, notes=(why, *found.score.notes)))


# -- several of them


def _counts(samples: Samples, view: View) -> dict[str, Any]:
    """Values of one tested sample, and those it was drawn from."""
    kept, width = int(samples.values.shape[1]), samples.sampling.num_features
    if view == "example":
        return {"n_tested": kept, "n_seen": width}
    rows = samples.n_samples // samples.sampling.positions_per_example
    return {"n_tested": rows * kept, "n_seen": samples.n_seen * width}


def _unscored(samples: Samples, view: View, kind: Departure, notes: list[str]) -> Scored:
    nothing = scores.unscored(samples, kind, notes)
    return replace(nothing, score=replace(nothing.score, **_counts(samples, view)))


def _summary(samples: Samples, interval: MedianInterval) -> Summary:
    return Summary(
        median=interval.median,
        low=interval.low if samples.grouped else math.nan,
        high=interval.high if samples.grouped else math.nan,
        worst=math.nan,
        worst_unit=None,
    )


def _shape(pool: OrderedSample) -> dict[str, Any]:
    sizes = effects.effect_sizes(pool)
    return {name: float(value[0]) for name, value in sizes.items() if name not in ("delta", "negentropy")}


def _medians(sizes: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    return {
        name: scores.median_of(value) for name, value in sizes.items() if name not in ("delta", "negentropy")
    }


def _without_pvalues(sample: OrderedSample) -> dict[str, GofSummary]:
    return {
        name: GofSummary(statistic=scores.median_of(result.statistic), pvalue=None, rejected_fraction=None)
        for name, result in run_tests(sample, scores.TESTS).items()
    }

"""Whether what is followed at a site goes with a metric of the training, and which of them leads.

Series of a training run trend, and their changes shrink as it goes on: any two of them are correlated, and
so are their changes. What is correlated here is how each change compares with those around it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from gaussprobe.errors import ConstantSampleWarning, TooFewSamplesWarning
from gaussprobe.records import CHARTED, Association, SiteRecord
from gaussprobe.types import LayerScore, Run, Source

Floats: TypeAlias = "npt.NDArray[np.float64]"
_Singles: TypeAlias = "npt.NDArray[np.float32]"

RESAMPLES = 1000
LEVEL = 0.95
# A change is ranked among so many before it and as many after.
NEIGHBOURS = 20
# Changes that are needed; and for each lag. With fewer, what is shifted past the lags has few places to go,
# and p-values come out too small.
FEWEST = 60
FEWEST_PER_LAG = 10

_NEARLY_ONE = 1 - 1e-6  # single precision has no digit beyond

_Getter: TypeAlias = Callable[[SiteRecord, LayerScore], float]
QUANTITIES: dict[str, _Getter] = {
    "delta": lambda _, score: score.delta.median,
    "l_skewness": lambda record, _: record.l_skewness,
    "l_kurtosis": lambda record, _: record.l_kurtosis,
    "log_sd": lambda record, _: record.log_sd,
    "relative_mean": lambda record, _: record.relative_mean,
    "negentropy": lambda _, score: score.negentropy.median,
    "skewness": lambda _, score: score.skewness,
    "excess_kurtosis": lambda _, score: score.excess_kurtosis,
    "mean": lambda record, _: record.mean,
    "sd": lambda record, _: record.sd,
    "l_scale": lambda record, _: record.l_scale,
}


@dataclass(frozen=True)
class _Series:
    """Sites that were recorded at the same steps as each other and the metric.

    Args:
        of: source, site and quantity of each row.
        values: `(rows, records)`.
        metric: `(records,)`.
    """

    of: list[tuple[Source, str, str]]
    values: Floats
    metric: Floats


@dataclass(frozen=True)
class _Found:
    """The numbers of each row of a `_Series`, and what their largest correlations are under the null.

    Args:
        lag, correlation, low, high, n_records: `(rows,)`.
        largest: `(rows,)`, of all lags, in null sds.
        null: `(RESAMPLES, rows)`, the same of resampled metrics.
    """

    lag: npt.NDArray[np.int64]
    correlation: Floats
    low: Floats
    high: Floats
    n_records: npt.NDArray[np.int64]
    largest: Floats
    null: Floats


def associate(
    run: Run,
    metric: str,
    *,
    quantities: Sequence[str] | None = None,
    max_lag: int = 10,
    seed: int = 0,
) -> list[Association]:
    """How each site's series goes with a metric, at the lag where they go together best.

    `r(l) = sum_t u_t v_(t+l) / sqrt(sum_t u_t^2 sum_t v_(t+l)^2)`, u and v the ranks of the changes of the
    site's series and of the metric from record to record, each among the 20 before it and the 20 after it
    (so that neither a trend nor changes that shrink over training correlate), -1 .. 1. Over fewer than 21
    changes this would be Spearman's rank correlation of changes. Reported is the lag l of the largest
    `|r(l)| sqrt(pairs)`; positive, the site leads.

    Null hypothesis: the two series are independent; each may be autocorrelated. The p-value is that of the
    largest over all lags: the metric is cut into 4 blocks at random places, each taken from elsewhere in the
    series, more than the lags asked for away, 1,000 times. Correlations are divided by their sd over these;
    then all rows share one null distribution, so that p-values can be small enough for many rows.

    Args:
        run: with series and metrics.
        metric: name of one of its metrics.
        quantities: names among those of `QUANTITIES`; the charted ones by default.
        max_lag: largest lag looked at, in records, either way.
        seed: of the resampling.

    Returns:
        One for each site, source and quantity, in the order of the run. Low and high are a 95 % interval
        `tanh(artanh r +- t se)` at that lag, se the sd of `artanh r` over 1,000 resamples of blocks of pairs;
        no allowance is made for the lag having been chosen. NaN, with a warning, for constant series and for
        fewer than `max(60, 10 max_lag)`
        changes. Changes from or to a record that is NaN are left out.

    Raises:
        ValueError: if the run has no series, no such metric, or a quantity or `max_lag` cannot be used.

    Reference:
        Spearman (1904), American Journal of Psychology 15; Kuensch (1989), Annals of Statistics 17, the block
        bootstrap; Politis & Romano (1992), in LePage & Billard (eds.), Exploring the Limits of Bootstrap, its
        circular form; Benjamini & Hochberg (1995), JRSS B 57.
    """
    names = _checked(run, metric, quantities, max_lag)
    rng = np.random.default_rng(seed)
    groups = _gathered(run, metric, names)
    found = [_measure(group, max_lag, rng) for group in groups]
    rows = {
        key: (one, index, float(pvalue))
        for group, one, pvalues in zip(groups, found, pvalues_of(found), strict=True)
        for index, (key, pvalue) in enumerate(zip(group.of, pvalues, strict=True))
    }
    _warn(groups, found, metric, max_lag)
    ordered = [(*site, name) for site in _sites(run) for name in names]
    adjusted = _adjusted([rows[key][2] for key in ordered])
    return [_association(key, *rows[key], float(q)) for key, q in zip(ordered, adjusted, strict=True)]


def _adjusted(pvalues: list[float]) -> npt.NDArray[np.float64]:
    """Benjamini and Hochberg's, of those that are known; reports ask for it where there is no torch."""
    from statsmodels.stats.multitest import multipletests

    found = np.array(pvalues, dtype=np.float64)
    known = ~np.isnan(found)
    if known.any():
        found[known] = multipletests(found[known], method="fdr_bh")[1]
    return found


def pvalues_of(found: Sequence[_Found]) -> list[Floats]:
    """P-values of all rows, from the null distribution they share; NaN where a row has no correlation."""
    null = np.sort(np.concatenate([one.null[:, ~np.isnan(one.largest)].ravel() for one in found]))
    return [
        np.where(
            np.isnan(one.largest),
            np.nan,
            (1 + len(null) - np.searchsorted(null, one.largest)) / (1 + len(null)),
        )
        for one in found
    ]


def _association(
    key: tuple[Source, str, str], found: _Found, index: int, pvalue: float, adjusted: float
) -> Association:
    source, site, quantity = key
    return Association(
        site=site,
        source=source,
        quantity=quantity,
        lag=int(found.lag[index]),
        correlation=float(found.correlation[index]),
        low=float(found.low[index]),
        high=float(found.high[index]),
        pvalue=pvalue,
        adjusted_pvalue=adjusted,
        n_records=int(found.n_records[index]),
    )


def _checked(run: Run, metric: str, quantities: Sequence[str] | None, max_lag: int) -> tuple[str, ...]:
    if not run.series:
        raise ValueError("run must have series, as those that watch makes; got one without")
    there = sorted({one.name for one in run.metrics})
    if metric not in there:
        known = ", ".join(there) or "it has none"
        raise ValueError(f"metric must be one of the run's ({known}); got {metric!r}")
    if isinstance(quantities, str):
        raise ValueError(f"quantities must be a sequence of names; got the string {quantities!r}")
    names = tuple(dict.fromkeys(CHARTED if quantities is None else quantities))
    unknown = [name for name in names if name not in QUANTITIES]
    if unknown or not names:
        raise ValueError(f"quantities must be among {', '.join(QUANTITIES)}; got {unknown or 'none'}")
    if isinstance(max_lag, bool) or not isinstance(max_lag, int) or max_lag < 0:
        raise ValueError(f"max_lag must be a whole number, 0 or more; got {max_lag!r}")
    return names


def _sites(run: Run) -> list[tuple[Source, str]]:
    """Source and site of all records, in the order they first come."""
    return list(dict.fromkeys((record.source, record.site) for record in run.series))


def _gathered(run: Run, metric: str, names: tuple[str, ...]) -> list[_Series]:
    """Rows by the steps they have in common with the metric."""
    metrics = {one.step: one.value for one in run.metrics if one.name == metric}
    scores = {(score.source, score.site, score.step): score for score in run.scores}
    records: dict[tuple[Source, str], dict[int, SiteRecord]] = {site: {} for site in _sites(run)}
    for record in run.series:
        records[record.source, record.site][record.step] = record
    by_steps: dict[tuple[int, ...], list[tuple[Source, str]]] = {}
    for site, of_site in records.items():
        steps = tuple(sorted(step for step in of_site if step in metrics and (*site, step) in scores))
        by_steps.setdefault(steps, []).append(site)
    groups = []
    for steps, sites in by_steps.items():
        rows = [
            [QUANTITIES[name](records[site][step], scores[(*site, step)]) for step in steps]
            for site in sites
            for name in names
        ]
        groups.append(
            _Series(
                of=[(*site, name) for site in sites for name in names],
                values=np.array(rows, dtype=np.float64).reshape(len(rows), len(steps)),
                metric=np.array([metrics[step] for step in steps], dtype=np.float64),
            )
        )
    return groups


def local_ranks(values: Floats) -> Floats:
    """Rank of each change among those around it, from -1 to 1.

    `u_t = mean_s sign(d_t - d_s)` over `0 < |s - t| <= 20`, `d_t = x_(t+1) - x_t`; over the changes that are
    known.

    Args:
        values: `(..., records)`; what is not finite is not known.

    Returns:
        `(..., records - 1)`; NaN where a change is not known.
    """
    with np.errstate(invalid="ignore"):
        changes = np.diff(values, axis=-1)
    changes[~np.isfinite(changes)] = np.nan
    known = ~np.isnan(changes)
    total, count = np.zeros_like(changes), np.zeros_like(changes)
    for step in range(1, min(NEIGHBOURS, changes.shape[-1] - 1) + 1):
        sign = np.sign(changes[..., step:] - changes[..., :-step])
        both = known[..., step:] & known[..., :-step]
        sign[~both] = 0.0
        total[..., step:] += sign
        total[..., :-step] -= sign
        count[..., step:] += both
        count[..., :-step] += both
    ranks: Floats = np.where(known, total / np.maximum(count, 1), np.nan)
    return ranks


def _measure(group: _Series, max_lag: int, rng: np.random.Generator) -> _Found:
    rows = len(group.of)
    u, v = local_ranks(group.values), local_ranks(group.metric)
    n_pairs = (~np.isnan(u) & ~np.isnan(v)).sum(axis=1)
    nothing = np.full(rows, np.nan)
    if not _usable(u, v, max_lag).any():
        return _Found(
            lag=np.zeros(rows, dtype=np.int64),
            correlation=nothing,
            low=nothing,
            high=nothing,
            n_records=n_pairs,
            largest=nothing,
            null=np.empty((RESAMPLES, rows)),
        )
    usable = _usable(u, v, max_lag)
    site = _Ranks.of(u[usable])
    metric = _Ranks.of(v[None])
    lags = np.arange(-max_lag, max_lag + 1)
    each, pairs = (
        np.stack(part, axis=-1)[0]
        for part in zip(*(_correlations(site, metric, int(lag)) for lag in lags), strict=True)
    )
    weighted = np.abs(each) * np.sqrt(pairs)
    best = weighted.argmax(axis=1)
    chosen = np.arange(len(best)), best
    sd, null = _null(site, v, max_lag, (weighted**2).mean(axis=1), rng)
    low, high = _intervals(u[usable], v, lags[best], rng)

    def spread(values: npt.NDArray[np.floating]) -> Floats:
        full = nothing.copy()
        full[usable] = values
        return full

    lag = np.zeros(rows, dtype=np.int64)
    lag[usable] = lags[best]
    n_pairs[usable] = pairs[chosen]
    everything = np.full((RESAMPLES, rows), np.nan)
    everything[:, usable] = null / sd
    return _Found(
        lag=lag,
        correlation=spread(each[chosen]),
        low=spread(low),
        high=spread(high),
        n_records=n_pairs,
        largest=spread(weighted[chosen] / sd),
        null=everything,
    )


def _fewest(max_lag: int) -> int:
    return max(FEWEST, FEWEST_PER_LAG * max_lag)


def _usable(u: Floats, v: Floats, max_lag: int) -> npt.NDArray[np.bool_]:
    """Rows with enough pairs of changes, none of them constant."""
    both = ~np.isnan(u) & ~np.isnan(v)
    varied = (np.nan_to_num(u) ** 2 * both).any(axis=1) & (np.nan_to_num(v) ** 2 * both).any(axis=1)
    enough: npt.NDArray[np.bool_] = both.sum(axis=1) >= _fewest(max_lag)
    return enough & varied


@dataclass(frozen=True)
class _Ranks:
    """Local ranks as products need them: 0 where unknown, in single precision; and which are known."""

    values: _Singles
    known: _Singles

    @classmethod
    def of(cls, ranks: Floats) -> _Ranks:
        known = ~np.isnan(ranks)
        return cls(np.nan_to_num(ranks).astype(np.float32), known.astype(np.float32))

    def part(self, start: int, stop: int) -> _Ranks:
        return _Ranks(self.values[:, start:stop], self.known[:, start:stop])


def _correlations(site: _Ranks, metric: _Ranks, lag: int) -> tuple[_Singles, _Singles]:
    """r at a lag, and the number of pairs, `(metrics, sites)` each; 0 where there is nothing to correlate."""
    n = site.values.shape[1]
    u, v = site.part(max(0, -lag), n - max(0, lag)), metric.part(max(0, lag), n - max(0, -lag))
    product = v.values @ u.values.T
    squares_u, squares_v = u.values**2, v.values**2
    if u.known.all() and v.known.all():
        square = squares_v.sum(axis=1)[:, None] * squares_u.sum(axis=1)
        pairs = np.full_like(product, u.values.shape[1])
    else:
        square = (squares_v @ u.known.T) * (v.known @ squares_u.T)
        pairs = v.known @ u.known.T
    smallest = np.finfo(np.float32).tiny
    found: _Singles = product / np.sqrt(np.maximum(square, smallest))
    return found, pairs


def _null(
    site: _Ranks, v: Floats, max_lag: int, observed: npt.NDArray[np.floating], rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Null sd of the weighted correlations of each row, `(rows,)`; the largest of resampled metrics.

    The observed ones count as one resample more, as they are one under the null.
    """
    resampled = _Ranks.of(_elsewhere(v, max_lag, rng))
    largest = np.zeros((RESAMPLES, len(site.values)), dtype=np.float32)
    squares = observed.astype(np.float64)
    for lag in range(-max_lag, max_lag + 1):
        each, pairs = _correlations(site, resampled, lag)
        each *= np.sqrt(pairs)
        squares += np.square(each).sum(axis=0, dtype=np.float64) / (2 * max_lag + 1)
        np.maximum(largest, np.abs(each), out=largest)
    return np.sqrt(squares / (RESAMPLES + 1)), largest.astype(np.float64)


def _elsewhere(v: Floats, max_lag: int, rng: np.random.Generator) -> Floats:
    """`(RESAMPLES, n)` series of 4 blocks (5 where the cut falls so) of v, taken round the end, none of
    them within twice the lags of where it was, so that what leads or follows it is not met again.
    """
    n = len(v)
    length = -(-n // 4)
    at = np.arange(n)
    block = (at + rng.integers(0, length, (RESAMPLES, 1))) // length
    nearest = min(2 * max_lag + 1, n // 2)
    shift = rng.integers(nearest, n - nearest + 1, (RESAMPLES, 5))
    resampled: Floats = v[(at + np.take_along_axis(shift, block, axis=1)) % n]
    return resampled


def _intervals(
    u: Floats, v: Floats, lags: npt.NDArray[np.int64], rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Interval of the correlation at the lag of each row, from blocks of pairs, `(rows,)` each.

    Sums over the pairs of a resample are sums of those of its blocks: one matrix product for all rows.
    """
    low, high = np.empty(len(u)), np.empty(len(u))
    for lag in np.unique(lags):
        rows = np.flatnonzero(lags == lag)
        n = u.shape[1] - abs(int(lag))
        left = u[rows, max(0, -lag) : max(0, -lag) + n]
        right = v[max(0, lag) : max(0, lag) + n]
        known = ~(np.isnan(left) | np.isnan(right))
        left, right = np.where(known, left, 0.0), np.where(known, right, 0.0)
        length = math.ceil(n ** (1 / 3))
        blocks = round(n / length)
        counts = _block_counts(n, blocks, rng)
        sums = (left * right, left**2, right**2)
        product, square_u, square_v = (counts @ _block_sums(values, length).T for values in sums)
        at = _fisher(*(values.sum(axis=1) for values in sums))
        with np.errstate(invalid="ignore"):  # resamples without a change that varies
            se = np.nanstd(_fisher(product, square_u, square_v), axis=0)
        # Blocks are few, and those drawn vary less about their own mean than about what it estimates.
        reach = float(stdtrit(blocks - 1, (1 + LEVEL) / 2)) * math.sqrt(blocks / (blocks - 1)) * se
        low[rows], high[rows] = np.tanh(at - reach), np.tanh(at + reach)
    return low, high


def _fisher(
    product: npt.NDArray[np.floating], square_u: npt.NDArray[np.floating], square_v: npt.NDArray[np.floating]
) -> Floats:
    """Fisher's transform of correlations from their sums; those of 1 kept finite."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = product.astype(np.float64) / np.sqrt(square_u.astype(np.float64) * square_v)
    transformed: Floats = np.arctanh(ratio.clip(-_NEARLY_ONE, _NEARLY_ONE))
    return transformed


def _block_counts(n: int, blocks: int, rng: np.random.Generator) -> _Singles:
    """`(RESAMPLES, n)`: how often the block that starts at each place is drawn."""
    drawn = rng.integers(0, n, (RESAMPLES, blocks))
    cells = (np.arange(RESAMPLES)[:, None] * n + drawn).ravel()
    counts = np.bincount(cells, minlength=RESAMPLES * n).reshape(RESAMPLES, n)
    return counts.astype(np.float32)


def _block_sums(values: Floats, length: int) -> _Singles:
    """`(rows, n)`: sums over the `length` values from each place on, round the end."""
    sums = np.cumsum(np.concatenate([values, values[:, :length]], axis=1), axis=1)
    before = np.concatenate([np.zeros((len(values), 1)), sums[:, :-1]], axis=1)
    n = values.shape[1]
    found: _Singles = (sums[:, length - 1 : length - 1 + n] - before[:, :n]).astype(np.float32)
    return found


def _warn(groups: list[_Series], found: list[_Found], metric: str, max_lag: int) -> None:
    """Name the rows without a result, and why."""
    few: list[str] = []
    constant: list[str] = []
    for group, one in zip(groups, found, strict=True):
        for index in np.flatnonzero(np.isnan(one.largest)):
            _, site, quantity = group.of[index]
            rare = one.n_records[index] < _fewest(max_lag)
            (few if rare else constant).append(f"{quantity} of {site}")
    if few:
        warnings.warn(
            f"{_listed(few)}: fewer than {_fewest(max_lag)} changes together with {metric}; no association",
            TooFewSamplesWarning,
            stacklevel=3,
        )
    if constant:
        warnings.warn(
            f"{_listed(constant)}: constant, or {metric} is; no association",
            ConstantSampleWarning,
            stacklevel=3,
        )


def _listed(names: list[str], most: int = 4) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"

"""Interval of a layer's median effect size: a jackknife over groups of examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import stdtrit

from gaussprobe.stats import effects, entropy, ordered, tables, workers
from gaussprobe.stats.interval import FEWEST_DF, OFFSET, stretched
from gaussprobe.stats.ordered import OrderedSample

# Corrected for their mean under the null at the n at hand, so that estimates with fewer rows are comparable.
STATISTICS: dict[tables.Effect, Callable[[OrderedSample], torch.Tensor]] = {
    "delta": effects.corrected_delta,
    "negentropy": entropy.corrected,
}

MINIMUM_EXAMPLES = 9  # without one of them, 8 are left: the fewest that effect sizes are corrected for
GROUPS = 20


@dataclass(frozen=True, kw_only=True)
class MedianInterval:
    """Median over units of an effect size, with its interval.

    Args:
        values: `(C,)` estimates from the full sample, NaN where there is none.
        median: over the units that have one; NaN when none has.
        low, high: its interval; NaN with fewer than 9 examples or an infinite median.
    """

    values: torch.Tensor
    median: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Effect sizes of each unit, of all rows and without each group of examples.

    Args:
        values: `(C,)`.
        left_out: `(G, C)`; without rows where a group less leaves too few examples.
        n_samples: rows of x.
    """

    values: torch.Tensor
    left_out: torch.Tensor
    n_samples: int

    def of(self, units: slice | torch.Tensor) -> LeftOut:
        """The same for some of the units."""
        return LeftOut(values=self.values[units], left_out=self.left_out[:, units], n_samples=self.n_samples)


def median_intervals(
    x: torch.Tensor,
    examples: npt.NDArray[np.int64] | torch.Tensor,
    statistics: Iterable[tables.Effect] = ("delta", "negentropy"),
    *,
    groups: int = GROUPS,
    level: float = 0.95,
    replicates: int = 1,
) -> dict[str, MedianInterval]:
    """Median over units of effect sizes, with a confidence interval over examples.

    With G groups of examples left out in turn, the median T and the medians T_(g) without group g:
    `se^2 = (G-1)/G sum_g (T_(g) - mean T_(.))^2`. The limits are those of T +- q se, but symmetric in
    `ln(max(T, 0) + 3 null sd)`: standard errors of delta and negentropy grow with them. q is the quantile of
    Student's t with `2 G / (kurtosis of the T_(g) - 1)` degrees of freedom, at least 2, at most G - 1: under
    heavy tails a few examples make up most of se. Units of a layer share their examples, so that only leaving
    out examples, never units, shows how the median would change.

    Null hypothesis: none; an interval estimate.

    Args:
        x: `(n, C)` tensor, one row per sample.
        examples: `(n,)` index of the example of each row; an example may have several rows.
        statistics: names among `delta`, `negentropy`.
        groups: G, or the number of examples if that is smaller.
        level: of the interval.
        replicates: R, where x holds R dependent samples of each unit, as R blocks of C / R columns: an
            estimate of a unit is then the mean of its R estimates.

    Returns:
        Name to `MedianInterval`, of C / R units.

    Raises:
        ValueError: for an unknown name, `x` not `(n, C)`, `examples` not `(n,)`, `groups` below 2, or `level`
            outside 0 .. 1.

    Reference:
        Kott (2001), Journal of Official Statistics 17, the delete-a-group jackknife; Tukey (1958),
        Annals of Mathematical Statistics 29, 614; Satterthwaite (1946), Biometrics Bulletin 2.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}")
    found = leave_out(x, examples, statistics, groups=groups)
    if replicates < 1 or x.shape[1] % replicates:
        raise ValueError(f"replicates must divide the {x.shape[1]} columns of x; got {replicates}")
    return {
        name: median_interval(name, one, level=level, replicates=replicates) for name, one in found.items()
    }


def leave_out(
    x: torch.Tensor,
    examples: npt.NDArray[np.int64] | torch.Tensor,
    statistics: Iterable[tables.Effect] = ("delta", "negentropy"),
    *,
    groups: int = GROUPS,
) -> dict[tables.Effect, LeftOut]:
    """Effect sizes of each unit, of all rows and without each group of examples: see `median_intervals`."""
    names = tuple(statistics)
    for name in names:
        if name not in STATISTICS:
            raise ValueError(f"statistics must be among {', '.join(STATISTICS)}; got {name!r}")
    if not isinstance(x, torch.Tensor) or x.ndim != 2 or x.numel() == 0:
        got = tuple(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
        raise ValueError(f"x must be a tensor of shape (n, C), not empty; got {got}")
    labels = np.asarray(examples.cpu() if isinstance(examples, torch.Tensor) else examples)
    if labels.shape != (x.shape[0],):
        raise ValueError(f"examples must have shape ({x.shape[0]},), one per row of x; got {labels.shape}")
    if groups < 2:
        raise ValueError(f"groups must be at least 2; got {groups}")
    group, n_groups, n_examples = assign_groups(labels, groups)
    kept_groups = range(n_groups if n_examples >= MINIMUM_EXAMPLES else 0)
    rows = _ascending(x, group)
    n, units = x.shape

    def part(start: int) -> torch.Tensor:
        values, owners = rows(slice(start, start + step))
        sample = ordered.standardise(values)
        found = [[STATISTICS[name](sample) for name in names]]
        for g in kept_groups:
            # Every unit loses the same rows: what stays is rectangular and still sorted.
            kept = torch.masked_select(values, owners != g).view(values.shape[0], -1)
            sample = ordered.standardise(kept)
            found.append([STATISTICS[name](sample) for name in names])
        return torch.stack([torch.stack(one) for one in found])

    step = workers.units_per_chunk(n, x.device)
    table = torch.cat(workers.each(part, range(0, units, step)), dim=2)  # (1 + G, names, C)
    return {
        name: LeftOut(values=table[0, k], left_out=table[1:, k], n_samples=n) for k, name in enumerate(names)
    }


def assign_groups(examples: npt.NDArray[np.int64], groups: int) -> tuple[npt.NDArray[np.int16], int, int]:
    """Group of each row, how many groups, how many examples.

    Examples are shuffled with a fixed seed, then dealt out in turn.

    The shuffle keeps an order in the data (by class, by time) out of the groups; dealing keeps their sizes
    within one example of each other.
    """
    distinct, which = np.unique(examples, return_inverse=True)
    n_groups = min(groups, len(distinct))
    shuffled = np.random.default_rng(0).permutation(len(distinct))
    return (shuffled % n_groups)[which].astype(np.int16), n_groups, len(distinct)


def _ascending(
    x: torch.Tensor, group: npt.NDArray[np.int16]
) -> Callable[[slice], tuple[torch.Tensor, torch.Tensor]]:
    """A function from some units to their rows, sorted, and the group of each value."""
    values = x.detach()
    if values.dtype not in (torch.float32, torch.float64):
        values = values.to(torch.float64)
    labels = torch.from_numpy(group).to(x.device)

    def sort(part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        rows = values[:, part].t().contiguous()
        if rows.device.type == "cpu":
            # numpy's argsort is the faster of the two on the CPU.
            order = torch.from_numpy(rows.numpy().argsort(axis=1))
            return rows.gather(1, order), labels[order]
        result = torch.sort(rows, dim=1)
        return result.values, labels[result.indices]

    return sort


def median_interval(
    name: tables.Effect, found: LeftOut, *, level: float = 0.95, replicates: int = 1
) -> MedianInterval:
    """The interval of `median_intervals` from what was left out."""
    values = found.values.view(replicates, -1).mean(0)
    estimates = values.cpu().numpy()
    usable = ~np.isnan(estimates)
    median = _median(estimates[usable])
    low = high = math.nan
    n_groups = len(found.left_out)
    if n_groups and math.isfinite(median):
        left_out = found.left_out.view(n_groups, replicates, -1).mean(1).cpu().numpy()
        medians = _medians(left_out[:, usable])
        if np.isfinite(medians).all():  # not where leaving a group out makes half the units atomic
            offset = OFFSET * tables.null_sd(name, found.n_samples)
            se_and_quantile = spread(medians, level)
            at, se, quantile = torch.tensor([median, *se_and_quantile], dtype=torch.float64, device="cpu")
            low, high = (float(limit) for limit in stretched(at, se, quantile, offset))
    return MedianInterval(values=values, median=median, low=low, high=high)


def spread(estimates: npt.NDArray[np.float64], level: float) -> tuple[float, float]:
    """Standard error from the estimates without each group, and the quantile of Student's t for it.

    Args:
        estimates: `(G,)`.
        level: of the interval that the quantile is for.
    """
    n_groups = len(estimates)
    square = (estimates - estimates.mean()) ** 2
    total = float(square.sum())
    df = float(n_groups - 1)
    if total > 0:
        excess = n_groups * float(square @ square) / total**2 - 1
        df = min(df, max(FEWEST_DF, 2 * n_groups / excess)) if excess > 0 else df
    return math.sqrt((n_groups - 1) / n_groups * total), float(stdtrit(df, (1 + level) / 2))


def _medians(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Median of each row's known values."""
    with np.errstate(invalid="ignore"):
        found: npt.NDArray[np.float64] = np.median(rows, axis=1)
    for row in np.flatnonzero(np.isnan(found)):
        found[row] = _median(rows[row])
    return found


def _median(values: npt.NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else math.nan

"""Interval of a layer's median effect size: a jackknife over groups of examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import t as student

from gaussprobe.stats import effects, entropy, ordered
from gaussprobe.stats.ordered import OrderedSample

# Corrected for their mean under the null at the n at hand, so that estimates with fewer rows are comparable.
STATISTICS: dict[str, Callable[[OrderedSample], torch.Tensor]] = {
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


@ordered.one_thread()
def median_intervals(
    x: torch.Tensor,
    examples: npt.NDArray[np.int64] | torch.Tensor,
    statistics: Iterable[str] = ("delta", "negentropy"),
    *,
    groups: int = GROUPS,
    level: float = 0.95,
    replicates: int = 1,
) -> dict[str, MedianInterval]:
    """Median over units of effect sizes, with a confidence interval over examples.

    With G groups of examples left out in turn, the median T and the medians T_(g) without group g:
    `T +- t(G-1) sqrt((G-1)/G sum_g (T_(g) - mean T_(.))^2)`. Units of a layer share their examples, so
    that only leaving out examples, never units, shows how the median would change.

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
        Annals of Mathematical Statistics 29, 614.
    """
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
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}")
    if replicates < 1 or x.shape[1] % replicates:
        raise ValueError(f"replicates must divide the {x.shape[1]} columns of x; got {replicates}")

    group, n_groups, n_examples = assign_groups(labels, groups)
    enough = n_examples >= MINIMUM_EXAMPLES
    rows = _ascending(x, group)
    n, units = x.shape
    full = {name: torch.empty(units, dtype=torch.float64, device=x.device) for name in names}
    left_out = {name: torch.empty((n_groups, units), dtype=torch.float64, device=x.device) for name in names}
    step = ordered.units_per_chunk(n, x.device)
    for start in range(0, units, step):
        part = slice(start, start + step)
        values, owners = rows(part)
        sample = ordered.standardise(values)
        for name in names:
            full[name][part] = STATISTICS[name](sample)
        for g in range(n_groups if enough else 0):
            # Every unit loses the same rows: what stays is rectangular and still sorted.
            kept = values[owners != g].view(values.shape[0], -1)
            sample = ordered.standardise(kept)
            for name in names:
                left_out[name][g, part] = STATISTICS[name](sample)
    return {
        name: _interval(
            full[name].view(replicates, -1).mean(0),
            left_out[name].view(n_groups, replicates, -1).mean(1),
            level,
            enough=enough,
        )
        for name in names
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


def _interval(values: torch.Tensor, left_out: torch.Tensor, level: float, *, enough: bool) -> MedianInterval:
    n_groups = left_out.shape[0]
    estimates = values.cpu().numpy()
    usable = ~np.isnan(estimates)
    median = _median(estimates[usable])
    low = high = math.nan
    if enough and math.isfinite(median):
        replicates = np.array([_median(row) for row in left_out.cpu().numpy()[:, usable]])
        spread = replicates - replicates.mean()
        se = math.sqrt((n_groups - 1) / n_groups * float(spread @ spread))
        reach = float(student.ppf((1 + level) / 2, n_groups - 1)) * se
        low, high = median - reach, median + reach
    return MedianInterval(values=values, median=median, low=low, high=high)


def _median(values: npt.NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else math.nan

"""What a report draws of a unit: binned counts and Q-Q points, never the sample itself."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy import special

from gaussprobe.stats.ordered import OrderedSample
from gaussprobe.types import SitePicture, UnitPicture

_MAX_BINS = 40
_QQ_POINTS = 81
_RANGE = (0.002, 0.998)  # quantiles between which the histogram runs when the tails are long


def draw(
    site: str, step: int, sample: OrderedSample, delta: torch.Tensor, units: tuple[int, ...] | None = None
) -> SitePicture:
    """The pictures of a site's median and worst unit by delta.

    Args:
        site: its name.
        step: training step.
        sample: the ordered sample, C units.
        delta: `(C,)`, NaN for units that cannot be drawn.
        units: the units' own indices, None when they are 0 to C - 1.

    Returns:
        Two pictures, one when the median and the worst are the same unit, none when no unit has a delta.
    """
    usable = torch.nonzero(torch.isfinite(delta)).flatten()
    if len(usable) == 0:
        return SitePicture(site=site, step=step)
    ranked = usable[torch.argsort(delta[usable], stable=True)]
    worst, median = int(ranked[-1]), int(ranked[(len(ranked) - 1) // 2])
    roles: list[tuple[Literal["median", "worst"], int]] = [("median", median)]
    if worst != median:
        roles.append(("worst", worst))
    return SitePicture(
        site=site,
        step=step,
        units=tuple(
            _draw_unit(sample, column, role, float(delta[column]), units[column] if units else column)
            for role, column in roles
        ),
    )


def _draw_unit(
    sample: OrderedSample, column: int, role: Literal["median", "worst"], delta: float, unit: int
) -> UnitPicture:
    z = sample.z[column].cpu().numpy()
    mean, spread = float(sample.mean[column]), float(sample.sd[column])
    counts, edges, below, above = histogram(z)
    scores, points = qq_points(z)
    n = sample.n_samples
    return UnitPicture(
        unit=unit,
        role=role,
        mean=mean,
        sd=spread * float(np.sqrt(n / (n - 1))),
        delta=delta,
        edges=tuple(float(e) for e in mean + spread * edges),
        counts=tuple(int(c) for c in counts),
        below=below,
        above=above,
        qq_normal=tuple(float(s) for s in scores),
        qq_sample=tuple(float(p) for p in points),
    )


def histogram(
    z: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], int, int]:
    """Bin a sorted, standardised sample by the rule of Freedman & Diaconis (1981), 8 to 40 bins.

    The range is that of the sample unless its tails are long; then the central 99.6 %, with what lies outside
    counted.

    Args:
        z: `(n,)`, ascending.

    Returns:
        Counts, edges, and the numbers of samples below and above the edges.
    """
    low, high = np.quantile(z, _RANGE)
    reach = 0.75 * (high - low)
    low = float(z[0]) if low - z[0] <= reach else float(low)
    high = float(z[-1]) if z[-1] - high <= reach else float(high)
    inside = z[(z >= low) & (z <= high)]
    quartiles = np.quantile(z, [0.25, 0.75])
    width = 2 * float(quartiles[1] - quartiles[0]) * len(z) ** (-1 / 3)
    bins = _MAX_BINS if width <= 0 else int(np.clip(np.ceil((high - low) / width), 8, _MAX_BINS))
    counts, edges = np.histogram(inside, bins=bins, range=(low, high))
    below = int(np.searchsorted(z, low, side="left"))
    above = len(z) - int(np.searchsorted(z, high, side="right"))
    return counts.astype(np.int64), edges, below, above


def qq_points(
    z: npt.NDArray[np.float64], *, most: int = _QQ_POINTS
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points of the Q-Q plot, evenly spaced in normal score: `Phi^-1((i - 3/8) / (n + 1/4))`.

    Args:
        z: `(n,)`, ascending, standardised.
        most: points, the extremes among them.

    Returns:
        Normal scores (Blom 1958) and the sample's values at them.
    """
    n = len(z)
    index = np.arange(n)
    if n > most:
        edge = special.ndtri((n - 0.375) / (n + 0.25))
        wanted = special.ndtr(np.linspace(-edge, edge, most)) * (n + 0.25) + 0.375 - 1
        index = np.unique(np.clip(np.rint(wanted), 0, n - 1).astype(np.int64))
    scores = special.ndtri((index + 1 - 0.375) / (n + 0.25))
    return scores, z[index]

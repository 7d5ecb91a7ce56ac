"""What kind of departure from normality a sample shows: the first rule that applies."""

from __future__ import annotations

import math

import torch

from gaussprobe.stats import effects, moments, ordered, workers
from gaussprobe.stats.ordered import OrderedSample, in_chunks
from gaussprobe.stats.sorting import sort_rows
from gaussprobe.types import Departure

# Below this delta there is nothing to name: the upper end of the band "gaussian".
NEGLIGIBLE = 0.0025

# Discrete: at most this many values, and at most this share of n, cover that share of the sample.
DISCRETE_VALUES = 32
DISCRETE_VALUES_SHARE = 0.25
DISCRETE_COVER = 0.95

# Atoms: the commonest value against the sample and against the tenth commonest. Rounding to bfloat16 makes
# many values common; an atom stands out.
ATOM_SHARE = 0.02
ATOM_COUNT = 5
ATOM_RANK = 10
ATOM_RATIO = 4

# Valleys in a kernel density on a grid.
GRID = 512
GRID_TAIL = 0.005
GRID_PAD = 3.0  # in bandwidths
NARROWEST = 1.5  # bandwidth, in grid spacings
VALLEY_DEPTH = 0.8
VALLEY_Z = 3.0
SIDE = 0.03

# tau4 of a normal law, and what makes the two L-ratios comparable.
NORMAL_TAU4 = 0.1226
TAU3_SCALE = 0.432
TAU4_SCALE = 0.297


@workers.one_thread()
def kinds(
    sample: OrderedSample, delta: torch.Tensor | None = None, *, negligible: float = NEGLIGIBLE
) -> list[Departure]:
    """Kind of departure of each unit: the first of these that holds.

    1. `non-finite`: NaN or infinity among the values.
    2. `constant`: all values equal.
    3. `discrete`: at most min(32, n/4) values cover 95 % of the sample.
    4. `atoms`: the commonest value is 2 % of the sample, 5 times there, and 4 times as common as the tenth.
    5. `none`: `delta < negligible`.
    6. `multimodal`: a valley in a kernel density below .8 of the lower of the peaks beside it, three standard
       errors deep, with 3 % of the sample on either side.
    7. The larger of `|tau3| / .432` and `|tau4 - .1226| / .297`: `right-skewed` or `left-skewed` by the sign
       of the first, `heavy-tailed` or `light-tailed` by that of the second.

    Null hypothesis: none; a description.

    Args:
        sample: the units.
        delta: `(C,)` null-corrected `1 - R^2` if at hand.
        negligible: delta below which a departure is not worth a name.

    Returns:
        One of `gaussprobe.types.Departure` per unit. With fewer than 8 samples delta is unknown and a unit
        that is neither non-finite, constant, discrete nor atomic is `none`.

    Reference:
        Hosking (1990), JRSS B 52, for tau3 and tau4; Silverman (1986), Density Estimation, section 3.3 (the
        variance of a kernel density), equation 3.31 (the bandwidth), section 3.5 (the Fourier transform).
    """
    if delta is None:
        delta = effects.corrected_delta(sample)
    result = plain(sample.nonfinite, sample.constant, repeated(sample))
    open_ = torch.tensor([kind == "none" for kind in result], device=delta.device) & (delta >= negligible)
    departing = torch.nonzero(open_).flatten()
    for unit, kind in zip(departing.tolist(), shapes(sample[departing]), strict=True):
        result[unit] = kind
    return result


def plain(nonfinite: torch.Tensor, constant: torch.Tensor, repeats: torch.Tensor) -> list[Departure]:
    """Kinds that are not of the density, `"none"` for the others.

    Args:
        nonfinite, constant: `(C,)` of a sample.
        repeats: `(C, 2)` as `repeated` gives it.
    """
    result: list[Departure] = ["none"] * len(constant)
    # The later write over the earlier.
    found: tuple[tuple[Departure, torch.Tensor], ...] = (
        ("atoms", repeats[:, 1]),
        ("discrete", repeats[:, 0]),
        ("constant", constant),
        ("non-finite", nonfinite),
    )
    for kind, units in found:
        for unit in torch.nonzero(units).flatten().tolist():
            result[unit] = kind
    return result


@workers.one_thread()
def shapes(sample: OrderedSample) -> list[Departure]:
    """What the density of each unit is like, of those that depart and have no other kind."""
    if not sample.num_features:
        return []
    valley = multimodal(sample)
    shape = moments.l_moments_of(sample)
    skew = shape.tau3 / TAU3_SCALE
    tail = (shape.tau4 - NORMAL_TAU4) / TAU4_SCALE
    by_skew = skew.abs() > tail.abs()
    columns = (one.tolist() for one in (valley, by_skew, skew, tail))
    return [_shape(*numbers) for numbers in zip(*columns, strict=True)]


def _shape(has_valley: bool, by_skew: bool, skew: float, tail: float) -> Departure:
    if has_valley:
        return "multimodal"
    if by_skew:
        return "right-skewed" if skew > 0 else "left-skewed"
    return "heavy-tailed" if tail > 0 else "light-tailed"


def departures(x: torch.Tensor) -> list[Departure]:
    """Kind of departure of each column of `x`, `(n, C)`: see `kinds`."""
    return kinds(ordered.order(x))


@in_chunks(minimum=1)
def repeated(sample: OrderedSample) -> torch.Tensor:
    """Which units are discrete and which have atoms, `(C, 2)` bool; not those without variance."""
    n = sample.n_samples
    found = torch.zeros((sample.num_features, 2), dtype=torch.bool, device=sample.z.device)
    changes = sample.z[:, 1:] != sample.z[:, :-1]  # NaN rows, of units that cannot be used: all differ
    # Only a sample with ties can be either; most have none.
    tied = torch.nonzero(~changes.all(dim=1)).flatten()
    if not tied.numel():
        return found
    allowed = min(DISCRETE_VALUES, math.floor(n * DISCRETE_VALUES_SHARE))
    top = _commonest(changes[tied], min(max(allowed, ATOM_RANK), n))
    first = top[:, 0]
    tenth = top[:, ATOM_RANK - 1] if n >= ATOM_RANK else torch.zeros_like(first)
    found[tied, 0] = top[:, :allowed].sum(dim=1) >= DISCRETE_COVER * n
    found[tied, 1] = (first >= ATOM_SHARE * n) & (first >= ATOM_COUNT) & (first >= ATOM_RATIO * tenth)
    return found


def _commonest(changes: torch.Tensor, most: int) -> torch.Tensor:
    """How often the commonest values of sorted rows occur, `(C, most)`, falling, 0 for want of values.

    Args:
        changes: `(C, n - 1)`, whether a value differs from the one before.
        most: how many.
    """
    units, n = len(changes), changes.shape[1] + 1
    starts = torch.ones((units, n), dtype=torch.bool, device=changes.device)
    starts[:, 1:] = changes
    at = torch.nonzero(starts.view(-1)).flatten()  # no run goes on into the next row
    end = torch.tensor([units * n], device=at.device)
    # Few enough for float32, whose rows are the fastest to sort.
    counts = torch.zeros(units * n, dtype=torch.float32 if n < 2**24 else torch.float64, device=at.device)
    counts[at] = torch.diff(at, append=end).to(counts.dtype)
    return sort_rows(counts.view(units, n))[:, n - most :].flip(1)


@workers.one_thread()
def multimodal(sample: OrderedSample) -> torch.Tensor:
    """Whether the density of each unit has a valley, `(C,)` bool; False for NaN rows."""
    units, n = sample.z.shape
    result = torch.zeros(units, dtype=torch.bool, device=sample.z.device)
    step = min(
        workers.units_per_chunk(n, sample.z.device), workers.units_per_chunk(2 * GRID, sample.z.device)
    )
    for start in range(0, units, step):
        result[start : start + step] = _has_valley(sample.z[start : start + step])
    return result


def _quantile(z: torch.Tensor, q: float) -> torch.Tensor:
    """Linear between order statistics, `(C,)`."""
    at = q * (z.shape[1] - 1)
    i = min(int(at), z.shape[1] - 2)
    return z[:, i] + (at - i) * (z[:, i + 1] - z[:, i])


def _has_valley(z: torch.Tensor) -> torch.Tensor:
    n = z.shape[1]
    low, high = _quantile(z, GRID_TAIL), _quantile(z, 1 - GRID_TAIL)
    spread = torch.clamp((_quantile(z, 0.75) - _quantile(z, 0.25)) / 1.34, max=1.0)  # z has sd 1
    h = 0.9 * spread * n ** (-0.2)
    # The padding widens the grid and with it the narrowest bandwidth: solved for h.
    floor = NARROWEST * (high - low) / (GRID - 1 - 2 * GRID_PAD * NARROWEST)
    h = torch.maximum(h, floor)
    origin = low - GRID_PAD * h
    spacing = (high - low + 2 * GRID_PAD * h) / (GRID - 1)
    density, below = _density(z, origin, spacing, h)

    left = torch.cummax(density, dim=1).values
    right = torch.cummax(density.flip(1), dim=1).values.flip(1)
    lower = torch.minimum(left, right)
    # Var f(x) = f(x) / (2 sqrt(pi) n h) for a Gaussian kernel.
    variance = (lower + density) / (2 * math.sqrt(math.pi)) / (n * h[:, None])
    deep = (density < VALLEY_DEPTH * lower) & (lower - density > VALLEY_Z * torch.sqrt(variance))
    sides = (below >= SIDE * n) & (n - below >= SIDE * n)
    return (deep & sides).any(dim=1)


def _density(
    z: torch.Tensor, origin: torch.Tensor, spacing: torch.Tensor, h: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Kernel density at the grid points and how many samples lie below each, `(C, GRID)` both."""
    rows, n = z.shape
    position = (z - origin[:, None]) / spacing[:, None]
    inside = (position >= 0) & (position < GRID - 1)
    cell = torch.where(inside, position, 0.0).floor()
    fraction = torch.where(inside, position - cell, 0.0)
    index = cell.to(torch.int64)
    # Linear binning: each sample shared between its two neighbours on the grid. As long again for the
    # Fourier transform, which would wrap one end onto the other.
    grid = torch.zeros((rows, 2 * GRID), dtype=z.dtype, device=z.device)
    grid.scatter_add_(1, index, torch.where(inside, 1 - fraction, 0.0))
    grid.scatter_add_(1, index + 1, fraction)
    frequency = 2 * math.pi * torch.fft.rfftfreq(2 * GRID, dtype=z.dtype, device=z.device)
    kernel = torch.exp(-0.5 * (frequency * (h / spacing)[:, None]) ** 2)
    smooth = torch.fft.irfft(torch.fft.rfft(grid, dim=1) * kernel, n=2 * GRID, dim=1)[:, :GRID]
    density = smooth.clamp(min=0.0) / (n * spacing[:, None])

    points = origin[:, None] + spacing[:, None] * torch.arange(GRID, dtype=z.dtype, device=z.device)
    below = torch.searchsorted(z.contiguous(), points)
    return density, below

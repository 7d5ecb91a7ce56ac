"""Numbers made ready for drawing: finite ones only, thinned to what a figure can show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Array: TypeAlias = npt.NDArray[np.float64]
_HUGE = 1e100  # no figure has room for more, and its square must be a number


def clean(values: Iterable[float]) -> _Array:
    """Values as an array in which what cannot be drawn is NaN: infinities, and beyond 1e100."""
    array = np.asarray(list(values), dtype=float)
    array[~(np.abs(array) < _HUGE)] = np.nan
    return array


def limits(*arrays: _Array, least: float = 0.0) -> tuple[float, float]:
    """Limits of an axis around all that is finite, with a margin; `(-1, 1)` around nothing.

    Args:
        arrays: what is to be seen.
        least: the axis is at least so long.

    Returns:
        The lower and the upper limit, always apart.
    """
    both = np.concatenate([np.ravel(array) for array in arrays]) if arrays else np.empty(0)
    both = both[np.isfinite(both)]
    if not len(both):
        return -1.0, 1.0
    low, high = float(both.min()), float(both.max())
    # Ticks closer than the fourth digit of a value would all read alike.
    least = max(least, 2e-3 * max(abs(low), abs(high)), 1e-12)
    if high - low < least:
        middle = (low + high) / 2
        low, high = middle - least / 2, middle + least / 2
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def thinned(x: _Array, y: _Array, most: int) -> tuple[_Array, _Array]:
    """At most about `most` points: of each bin of neighbours the smallest and the largest, in order.

    Args:
        x, y: the points; NaN in `y` is a gap.
        most: points that a line may have.

    Returns:
        Those kept; all of them where there are no more than `most`.
    """
    if len(x) <= most:
        return x, y
    size = -(-len(x) // max(most // 2, 1))
    table = _table(y, size)
    gaps = np.isnan(table)
    starts = size * np.arange(len(table))
    least = starts + np.where(gaps, np.inf, table).argmin(axis=1)
    most_of = starts + np.where(gaps, -np.inf, table).argmax(axis=1)
    kept = np.unique(np.concatenate([least, most_of]))
    return x[kept], y[kept]


def enveloped(x: _Array, low: _Array, high: _Array, most: int) -> tuple[_Array, _Array, _Array]:
    """A band of at most `most` points: of each bin of neighbours the lowest and the highest limit.

    Args:
        x, low, high: the band; NaN is a gap.
        most: points that each side may have.

    Returns:
        Middles of the bins and their limits; all points where there are no more than `most`.
    """
    if len(x) <= most:
        return x, low, high
    size = -(-len(x) // most)
    middles = np.array([x[start : start + size].mean() for start in range(0, len(x), size)])
    return middles, _reduced(np.fmin, low, size), _reduced(np.fmax, high, size)


def tick(value: float, _: object = None) -> str:
    """The label of a tick: four digits at most, without the zero before the point."""
    label = f"{value:.4g}".replace("-", "\N{MINUS SIGN}")
    return label.replace("0.", ".", 1) if label.lstrip("\N{MINUS SIGN}").startswith("0.") else label


def step_tick(value: float, _: object = None) -> str:
    """The label of a step; none between two steps."""
    return f"{round(value):,}" if abs(value - round(value)) < 1e-6 else ""


def _reduced(reduce: np.ufunc, values: _Array, size: int) -> _Array:
    """Of each bin the smallest or largest that is not NaN."""
    reduced: _Array = reduce.reduce(_table(values, size), axis=1)
    return reduced


def _table(values: _Array, size: int) -> _Array:
    """One row for each bin of neighbours, the last filled up with NaN."""
    rows = -(-len(values) // size)
    padded = np.full(rows * size, np.nan)
    padded[: len(values)] = values
    return padded.reshape(rows, size)

"""Where the variance tends to from layer to layer, and the correlation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from gaussprobe.signal.maps import Maps

# Variances beyond which the network is taken to be at 0 or at infinity.
LEAST, MOST = 2.0**-100, 2.0**30
# Layers that are gone through before the fixed point is looked for in the direction they went.
_LAYERS = 64
# Relative change of variance that is none: a hundred times the error of the quadrature.
KEPT = 1e-11
# Steps of a scan to an octave, and steps at once.
_STEPS = 8
_BLOCK = 48


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Where the variance tends to.

    Args:
        variance: 0 and infinity are possible; NaN where it tends to nothing.
        at: the variance at which maps are evaluated: `variance`, or one near 0 or infinity.
        slope: of the variance map there.
        reason: what is special; empty where nothing is.
    """

    variance: float
    at: float
    slope: float
    reason: str = ""


def settled(maps: Maps, start: float = 1.0) -> Settled:
    """The fixed point of the variance map that is reached from a variance.

    A few layers are gone through; from there on, in the direction in which the variance goes, the first
    point is taken at which it is kept. It settles always: `d ln E[phi^2] / d ln v` is
    `E[phi^2 (z^2 - 1)] / (2 E[phi^2])`, at least -1/2, so that no two variances lead to each other, and a
    continuous map of an interval without such a pair leads to a fixed point from everywhere.

    Args:
        maps: of the setting.
        start: the variance.

    Reference:
        Coppel (1955), The solution of equations by iteration, Proc. Cambridge Phil. Soc. 51, theorem 1.
    """
    v = start
    for layer in range(_LAYERS):
        following = maps.next_variance(v)
        if abs(following - v) <= KEPT * v:
            return _nearby(maps, v) if layer else _kept(maps, v)
        if not math.isfinite(following):
            return _lost(maps, v)
        v = following
        if not LEAST < v < MOST:
            return _end(maps, v)
    return _nearby(maps, v)


def at_infinity(here: float, quarter: float) -> float:
    """The limit of what nears it as `1 / sqrt(v)` does or is a power of v, from its values at v and v / 4."""
    if abs(here) > 1.5 * abs(quarter):
        return math.copysign(math.inf, here)
    return 0.0 if abs(here) < abs(quarter) / 1.5 else 2 * here - quarter


def _nearby(maps: Maps, v: float) -> Settled:
    """The fixed point towards which the variance goes from v."""
    change = maps.next_variance(v) / v - 1
    if abs(change) <= KEPT:
        slope = _slope(maps, v)
        # One step of Newton's: the variance may approach slowly.
        root = v + v * change / (1 - slope) if abs(1 - slope) > 1e-3 else v
        return Settled(variance=root, at=root, slope=slope)
    last = v
    for block in _outwards(v, up=change > 0):
        ahead = maps.variance(block) / block - 1
        for one, here in zip(block, ahead, strict=True):
            if math.isnan(here):
                return _lost(maps, last)
            if here * change < 0 and abs(here) > KEPT:
                root = _root(maps, last, float(one))
                return Settled(variance=root, at=root, slope=_slope(maps, root))
            # Where the change is as small as the error of the quadrature its sign tells nothing.
            last = float(one) if here * change > KEPT * abs(change) else last
    return _end(maps, 0.0 if change < 0 else math.inf)


def _root(maps: Maps, one: float, other: float) -> float:
    found = brentq(
        lambda log: maps.next_variance(math.exp(log)) / math.exp(log) - 1,
        math.log(one),
        math.log(other),
        xtol=1e-14,
        rtol=1e-14,
    )
    return math.exp(found)


def _outwards(v: float, *, up: bool) -> Iterator[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Variances from v to the ends of the scale, in blocks."""
    factor = 2.0 ** ((1 if up else -1) / _STEPS)
    while LEAST < v < MOST:
        yield (block := v * factor ** np.arange(1, _BLOCK + 1))
        v = float(block[-1])


def _slope(maps: Maps, v: float) -> float:
    """Of the variance map."""
    return float(maps.sigma_w**2 * maps.quadrature.moments([v]).growth[0]) if maps.sigma_w else 0.0


def _kept(maps: Maps, v: float) -> Settled:
    """The variance that a network was started with, kept."""
    others = v * np.array([2.0**-10, 2.0**-5, 2.0**5, 2.0**10])
    every = bool((abs(maps.variance(others) / others - 1) <= KEPT).all())
    reason = "every variance is kept: the one at the start is the fixed point" if every else ""
    return Settled(variance=v, at=v, slope=_slope(maps, v), reason=reason)


def _end(maps: Maps, v: float) -> Settled:
    """The variance falls or grows beyond the scale."""
    if v < 1.0:
        reason = "the variance falls to 0: numbers are of the limit"
        return Settled(variance=0.0, at=LEAST, slope=_slope(maps, LEAST), reason=reason)
    slope = at_infinity(_slope(maps, MOST), _slope(maps, MOST / 4))
    reason = "the variance grows without bound: numbers are of the limit"
    return Settled(variance=math.inf, at=MOST, slope=slope, reason=reason)


def _lost(maps: Maps, v: float) -> Settled:
    """No variance is had after v."""
    if not maps.notes:
        maps.next_variance(2 * v)
    reason = "; ".join([f"the variance is not had beyond {v:.4g}", *maps.notes])
    return Settled(variance=math.nan, at=math.nan, slope=math.nan, reason=reason)

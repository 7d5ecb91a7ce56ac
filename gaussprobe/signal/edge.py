"""The Edge of Chaos: the weights at which near inputs grow neither alike nor apart."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import numpy as np
from scipy.optimize import brentq

from gaussprobe.errors import GaussprobeWarning
from gaussprobe.phases import Edge
from gaussprobe.signal import activations
from gaussprobe.signal.activations import Activation, Function
from gaussprobe.signal.fixed import KEPT, LEAST, MOST, settled
from gaussprobe.signal.maps import Maps, nonnegative
from gaussprobe.signal.quadrature import Quadrature

# Steps of the scan over fixed points to an octave, and at once.
_STEPS = 4
_BLOCK = 64
# Relative difference of two fixed points that are the same.
_SAME = 1e-6


def edge_of_chaos(activation: str | Function | Activation, *, sigma_b: float = 0.0) -> Edge:
    """The standard deviation of weights at which chi1 is 1, in infinitely wide networks.

    A variance v is the fixed point for `sigma_w^2 = (v - sigma_b^2) / E[phi(sqrt(v) Z)^2]`, with
    `chi1(v) = sigma_w^2 E[phi'(sqrt(v) Z)^2]`: the edge is where chi1(v) = 1. Where that holds at several
    v, the smallest is taken of those that the variance tends to from 1 at their sigma_w; if there is
    none, the smallest, and the reason says so. At `sigma_b = 0` and `phi(0) = 0` the edge may be at v = 0,
    with `sigma_w = 1 / |phi'(0)|`.

    Args:
        activation: a name, a function or a module; see `gaussprobe.signal.activation`.
        sigma_b: standard deviation of biases.

    Returns:
        sigma_w, the fixed point of the variance there and chi1, computed from the two. NaN, with the reason,
        where there is no such sigma_w (a ReLU with biases, an activation that jumps), and for the fixed
        point where every variance is one (a ReLU without).

    Raises:
        ValueError: for an activation that cannot be one, or a number out of range.

    Warns:
        GaussprobeWarning: if moments of the activation cannot be had.

    Reference:
        Poole et al. (2016), NeurIPS; Hayou, Doucet & Rousseau (2019), On the impact of the activation
        function on deep neural networks training, ICML, definition 2.
    """
    sigma_b = nonnegative("sigma_b", sigma_b)
    found, measured = edge_of(Quadrature(activations.activation(activation)), sigma_b)
    if not measured:
        warnings.warn(found.reason, GaussprobeWarning, stacklevel=2)
    return found


def edge_of(quadrature: Quadrature, sigma_b: float) -> tuple[Edge, bool]:
    """The edge, and whether all could be measured that it takes."""
    if (flaw := _flaw(quadrature, sigma_b)) is not None:
        return _none(quadrature, sigma_b, flaw[0]), flaw[1]
    if sigma_b == 0.0 and _is_homogeneous(quadrature):
        sigma_w, chi1 = _at(quadrature, 1.0, sigma_b)
        reason = "every variance is a fixed point"
        edge = _edge(quadrature, sigma_b, sigma_w=sigma_w, fixed_point=math.nan, chi1=chi1, reason=reason)
        return edge, True
    first = None
    for v in _candidates(quadrature, sigma_b):
        edge = _judged(quadrature, v, sigma_b)
        if not edge.reason.startswith(_NOT_REACHED):
            return edge, True
        first = first or edge
    return first or _without(quadrature, sigma_b), True


_NOT_REACHED = "the variance does not tend to"


def _at(quadrature: Quadrature, v: float, sigma_b: float) -> tuple[float, float]:
    """sigma_w for which v is kept, and chi1 there."""
    found = quadrature.moments([v])
    sigma_w = math.sqrt((v - sigma_b**2) / found.second[0])
    return sigma_w, float(sigma_w**2 * found.slope[0])


def _judged(quadrature: Quadrature, v: float, sigma_b: float) -> Edge:
    """The edge with this fixed point, and whether the variance gets there."""
    at = max(v, LEAST)
    sigma_w, chi1 = _at(quadrature, at, sigma_b)
    place = settled(Maps(quadrature=quadrature, sigma_w=sigma_w, sigma_b=sigma_b))
    if v == 0.0:
        reached, reason = place.variance <= 1e-10, "the fixed point is 0"
    else:
        reached, reason = abs(place.variance - v) <= _SAME * v, ""
    if not reached:
        reason = f"{_NOT_REACHED} {v:.6g} from 1, but to {place.variance:.6g}"
    return _edge(quadrature, sigma_b, sigma_w=sigma_w, fixed_point=v, chi1=chi1, reason=reason)


def _above_one(quadrature: Quadrature, extra: np.ndarray, sigma_b: float) -> np.ndarray:
    """chi1 - 1 at the variances `sigma_b^2 + extra`."""
    found = quadrature.moments(sigma_b**2 + extra)
    with np.errstate(all="ignore"):
        return np.asarray(extra * found.slope / found.second - 1)


def _candidates(quadrature: Quadrature, sigma_b: float) -> Iterator[float]:
    """Variances at which chi1(v) = 1, from small to large."""
    least = max(LEAST, sigma_b**2 * 2.0**-20)
    extra = least
    before: tuple[float, float] | None = None
    while extra < MOST:
        block = extra * 2.0 ** (np.arange(_BLOCK) / _STEPS)
        for here, value in zip(block, _above_one(quadrature, block, sigma_b), strict=True):
            if not math.isfinite(value):
                return
            if abs(value) <= KEPT:
                if extra == here == least and sigma_b == 0.0:
                    yield 0.0
                continue
            if before is not None and before[1] * value < 0:
                yield _root(quadrature, before[0], float(here), sigma_b)
            before = float(here), float(value)
        extra = float(block[-1]) * 2.0 ** (1 / _STEPS)


def _root(quadrature: Quadrature, low: float, high: float, sigma_b: float) -> float:
    def above(log: float) -> float:
        return float(_above_one(quadrature, np.array([math.exp(log)]), sigma_b)[0])

    log = brentq(above, math.log(low), math.log(high), xtol=1e-14, rtol=1e-14)
    return sigma_b**2 + math.exp(log)


def _is_homogeneous(quadrature: Quadrature) -> bool:
    """Whether chi1 is 1 at every variance, as of a ReLU without biases."""
    return bool((abs(_above_one(quadrature, 4.0 ** np.arange(-6, 7), 0.0)) <= KEPT).all())


def _flaw(quadrature: Quadrature, sigma_b: float) -> tuple[str, bool] | None:
    """Why no edge is to be looked for, and whether that was measured."""
    v = 1.0 + sigma_b**2
    found = quadrature.moments([v])
    if math.isnan(found.second[0]) or math.isnan(found.slope[0]):
        return found.reasons[0], False
    if found.second[0] == 0.0:
        return f"{quadrature.name}: it is 0 everywhere", True
    if found.slope[0] == 0.0:
        return f"{quadrature.name}: it is constant, chi1 is 0 at every sigma_w", True
    if math.isinf(found.slope[0]):
        return found.reasons[0], True
    return None


def _without(quadrature: Quadrature, sigma_b: float) -> Edge:
    """There is none: the reason."""
    some = _above_one(quadrature, 4.0 ** np.arange(-6, 7), sigma_b)
    some = some[np.isfinite(some)]
    side = "under" if (some < 0).all() else "above"
    reason = f"chi1 is {side} 1 at every finite fixed point: there is no edge at sigma_b = {sigma_b:g}"
    return _none(quadrature, sigma_b, reason)


def _none(quadrature: Quadrature, sigma_b: float, reason: str) -> Edge:
    return _edge(quadrature, sigma_b, sigma_w=math.nan, fixed_point=math.nan, chi1=math.nan, reason=reason)


def _edge(
    quadrature: Quadrature, sigma_b: float, *, sigma_w: float, fixed_point: float, chi1: float, reason: str
) -> Edge:
    return Edge(
        activation=quadrature.name,
        sigma_w=sigma_w,
        sigma_b=sigma_b,
        fixed_point=fixed_point,
        chi1=chi1,
        reason=reason,
    )

"""In which phase a setting lies: whether two inputs grow alike with depth, or apart."""

from __future__ import annotations

import math
import warnings

from gaussprobe.errors import GaussprobeWarning
from gaussprobe.phases import Phase, PhasePoint
from gaussprobe.signal.activations import Activation, Function
from gaussprobe.signal.fixed import KEPT, MOST, Settled, at_infinity, settled
from gaussprobe.signal.maps import Maps, made_maps

# |chi1 - 1| that is the edge. The quadrature is good to 1e-12; a hundred times that on the fixed point,
# which chi1 follows, and a hundred for settings typed with ten digits.
ON_EDGE = 1e-8
# Of a step towards the correlation's fixed point, and of the correlation map from the identity.
_STEP = 1e-10
_SAME = 1e-10
# How well the limit of an infinite variance is known.
_LIMIT = 1e-7
_STEPS = 100


def phase(activation: str | Function | Activation, *, sigma_w: float, sigma_b: float = 0.0) -> PhasePoint:
    """Where a setting lies with respect to the Edge of Chaos, in infinitely wide networks.

    `chi1 = sigma_w^2 E[phi'(sqrt(v) Z)^2]` at the fixed point v of the variance map is the slope of the
    correlation map at 1. Under 1 near inputs grow alike with depth (ordered), above 1 apart (chaotic).

    Args:
        activation: a name, a function or a module; see `gaussprobe.signal.activation`.
        sigma_w, sigma_b: standard deviations of weights (before the division by the root of fan-in) and of
            biases. For a law of weights that is not of variance 1, sigma_w times its standard deviation.

    Returns:
        The fixed point that the variance tends to from 1, chi1 there, what correlations of at least 0 tend
        to, and in how many layers distances to both fall by e: `-1 / ln` of the slope of the map. On the
        edge, `|chi1 - 1| <= 1e-8`, the depth of the correlation is infinite. Where the variance falls to 0
        or grows without bound, all are limits. An activation that jumps has an infinite chi1.

    Raises:
        ValueError: for an activation that cannot be one, or numbers out of range.

    Warns:
        GaussprobeWarning: if the setting's fixed point or chi1 cannot be had.

    Reference:
        Poole et al. (2016), Exponential expressivity in deep neural networks through transient chaos,
        NeurIPS; Schoenholz et al. (2017), Deep information propagation, ICLR, equations 7 and 9.
    """
    maps = made_maps(activation, sigma_w=sigma_w, sigma_b=sigma_b)
    found = phase_of(maps)
    if found.phase == "undetermined":
        warnings.warn(found.reason, GaussprobeWarning, stacklevel=2)
    return found


def phase_of(maps: Maps) -> PhasePoint:
    """The same of maps that are made."""
    place = settled(maps)
    chi1, reason = slope_at_one(maps, place)
    which = named(chi1)
    correlation, slope, said = math.nan, math.nan, ""
    if which != "undetermined":
        correlation, slope, said = _correlation(maps, place, chi1)
    return PhasePoint(
        activation=maps.quadrature.name,
        sigma_w=maps.sigma_w,
        sigma_b=maps.sigma_b,
        fixed_point=place.variance,
        chi1=chi1,
        correlation_fixed_point=correlation,
        variance_depth=depth_scale(place.slope),
        correlation_depth=depth_scale(slope),
        phase=which,
        reason="; ".join(one for one in (place.reason, reason, said) if one),
    )


def named(chi1: float) -> Phase:
    """The phase."""
    if math.isnan(chi1):
        return "undetermined"
    if abs(chi1 - 1) <= ON_EDGE:
        return "edge"
    return "ordered" if chi1 < 1 else "chaotic"


def slope_at_one(maps: Maps, place: Settled) -> tuple[float, str]:
    """chi1, and what is to be said of it."""
    if maps.sigma_w == 0.0:
        return 0.0, ""
    if math.isnan(place.variance):
        return math.nan, ""
    if math.isinf(place.variance):
        found = maps.quadrature.moments([place.at, place.at / 4])
        return float(maps.sigma_w**2 * at_infinity(*found.slope)), found.reasons[0]
    found = maps.quadrature.moments([place.at])
    return float(maps.sigma_w**2 * found.slope[0]), found.reasons[0]


def depth_scale(slope: float) -> float:
    """`-1 / ln |slope|`: layers in which a distance falls by e; NaN above a slope of 1."""
    if math.isnan(slope):
        return math.nan
    if abs(slope) <= KEPT:
        return 0.0
    if abs(abs(slope) - 1) <= ON_EDGE:
        return math.inf
    return -1 / math.log(abs(slope)) if abs(slope) < 1 else math.nan


def _correlation(maps: Maps, place: Settled, chi1: float) -> tuple[float, float, str]:
    """The fixed point of the correlation, the slope of its map there, and what is special."""
    v = place.at
    if maps.next_variance(v) == 0.0:
        return math.nan, math.nan, "every pre-activation is 0"
    at_one = chi1
    if place.variance != v:
        # At 0 and infinity the variance still changes: the map divides by the next one.
        at_one = _normed(maps, v)
    if math.isinf(place.variance):
        at_one = at_infinity(at_one, _normed(maps, v / 4))
        at_one = 1.0 if abs(at_one - 1) <= _LIMIT else at_one
    if _is_identity(maps, v, at_one):
        return math.nan, 1.0, "every correlation is kept"
    if at_one <= 1 + ON_EDGE:
        return 1.0, at_one, ""
    return _from_below(maps, v)


def _map(maps: Maps, v: float, c: float) -> tuple[float, float]:
    """The next correlation and its derivative, at a variance that is kept or in the limit."""
    found = maps.product(v, v, c)
    scale = maps.next_variance(v)
    return (maps.sigma_w**2 * found.value + maps.sigma_b**2) / scale, maps.sigma_w**2 * found.growth / scale


def _is_identity(maps: Maps, v: float, at_one: float) -> bool:
    if abs(at_one - 1) > ON_EDGE:
        return False
    same = _SAME if v < MOST else _LIMIT
    return all(abs(_map(maps, v, c)[0] - c) <= same for c in (0.0, 0.5))


def _normed(maps: Maps, v: float) -> float:
    """Slope of the correlation map at 1, at a variance that is not kept."""
    slope = float(maps.quadrature.moments([v]).slope[0])
    return maps.sigma_w**2 * slope * v / maps.next_variance(v)


def _from_below(maps: Maps, v: float) -> tuple[float, float, str]:
    """The fixed point of the correlation by Newton's method from 0, and the slope there.

    All derivatives of the map are at least 0 on [0, 1], since its power series in c has the squares of
    Hermite coefficients as coefficients: it is convex, and the steps climb to the fixed point.
    """
    c = 0.0
    for _ in range(_STEPS):
        following, slope = _map(maps, v, c)
        if c == 0.0 and following <= _SAME:
            return 0.0, slope, ""
        step = (following - c) / (1 - slope)
        if not math.isfinite(step) or c + step >= 1:
            break
        c += step
        if abs(step) <= _STEP:
            return c, slope, ""
    return 1.0, math.nan, "the correlation's fixed point is too near 1 to be told from it"

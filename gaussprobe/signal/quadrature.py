"""Moments of an activation of a normal variable, by quadrature to a known error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gaussprobe.signal import rule
from gaussprobe.signal.activations import Activation
from gaussprobe.signal.panels import Panels, Resolved, Whole
from gaussprobe.signal.rule import Array

# Standard deviations that are integrated over: beyond, the density is under 1e-313.
REACH = 38.0
# The innermost panel, in standard deviations.
_INNERMOST = 0.25
# Octaves that are taken along, so that near variances share panels.
_AHEAD = 8
# Relative error above which a moment is not told.
TOLERANCE = 1e-6
# Numbers at once.
_AT_ONCE = 2_000_000
# Beyond these standard deviations nothing may be left of a moment that is finite.
_TAIL = 34.0


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Of an activation of `u ~ N(0, v)`, each `(V,)`; NaN where not had to `TOLERANCE`.

    Args:
        variance: v.
        second: `E[phi(u)^2]`.
        slope: `E[phi'(u)^2]`, infinite where phi jumps.
        growth: `d/dv E[phi(u)^2]`.
        error: the largest relative error of the three.
        reasons: why numbers are NaN; empty where none is.
    """

    variance: Array
    second: Array
    slope: Array
    growth: Array
    error: Array
    reasons: tuple[str, ...]


class Quadrature:
    """Moments of an activation, sharing the nodes at which it was evaluated.

    Gauss-Legendre on panels that resolve the activation (`Resolved`) and, being quarters of octaves of |u|,
    any normal density around 0.

    Args:
        made: the activation.
    """

    def __init__(self, made: Activation) -> None:
        self.name = made.name
        self.resolved = Resolved(made)
        self.hermite_squares: dict[float, Array] = {}
        self.at_zero = float(self.resolved.values(np.zeros(1))[0])

    def whole(self, least: float, most: float) -> Whole:
        """Panels for variances between these."""
        low = math.floor(math.log2(_INNERMOST * math.sqrt(least)) / _AHEAD) * _AHEAD
        high = math.ceil(math.log2(REACH * math.sqrt(most)) / 2) * 2
        return self.resolved.whole(low, high)

    def moments(self, variance: npt.ArrayLike) -> Moments:
        """At each variance.

        Args:
            variance: `(V,)` or one; all above 0.
        """
        v = np.atleast_1d(np.asarray(variance, dtype=np.float64))
        whole = self.whole(v.min(), v.max())
        each = max(_AT_ONCE // max(whole.panels.u.size, 1), 1)
        parts = [self._some(whole, v[start : start + each]) for start in range(0, len(v), each)]
        return Moments(
            variance=v,
            second=np.concatenate([one.second for one in parts]),
            slope=np.concatenate([one.slope for one in parts]),
            growth=np.concatenate([one.growth for one in parts]),
            error=np.concatenate([one.error for one in parts]),
            reasons=sum((one.reasons for one in parts), ()),
        )

    def reach(self, v: float, share: float = 1e-15) -> float:
        """Standard deviations within which all but a share of `E[phi(u)^2 (1 + z^4)]` lies, at variance v."""
        panels = self.whole(v, v).panels
        with np.errstate(all="ignore"):
            z, density = _standard(panels, np.array([v]))
            parts = rule.integrate(_weighed(panels.values, density)[0] ** 2 * (1 + z[0] ** 4), panels.width)
        far = np.maximum(abs(panels.left), abs(panels.right)) / math.sqrt(v)
        outwards = np.argsort(far)
        within = np.cumsum(parts[outwards]) < (1 - share) * parts.sum()
        return float(np.clip(far[outwards][min(within.sum(), len(far) - 1)], 7.0, REACH))

    def mean(self, v: float) -> float:
        """`E[phi(u)]` at variance v."""
        panels = self.whole(v, v).panels
        _, density = _standard(panels, np.array([v]))
        with np.errstate(all="ignore"):
            parts = _weighed(_weighed(panels.values, density[0]), density[0])
            return float(rule.integrate(parts, panels.width).sum())

    def _some(self, whole: Whole, v: Array) -> Moments:
        """Of so many variances as fit in memory at once."""
        with np.errstate(all="ignore"):
            return self._measured(whole, v)

    def _measured(self, whole: Whole, v: Array) -> Moments:
        panels = whole.panels
        z, density = _standard(panels, v)
        # Both factors carry half of the density's exponent, so that a large phi may be squared.
        squares = _weighed(panels.values, density) ** 2
        second, second_off, tail = _sums(squares, panels, z)
        slope, slope_off, _ = _sums(_weighed(panels.slopes, density) ** 2, panels, z)
        # d/dv of the density: no derivative of phi, which may jump. E[z^2 - 1] = 0 takes phi(0) out.
        centre = self.at_zero if math.isfinite(self.at_zero) else 0.0
        growing = (squares - (centre * density) ** 2) * (z**2 - 1) / (2 * v[:, None, None])
        growth, growth_off, _ = _sums(growing, panels, z)
        off = np.fmax(second_off, growth_off * v) / np.where(second > 0, second, 1.0)
        steep_off = slope_off / np.where(slope > 0, slope, 1.0)
        jumps = [[u for u in whole.jumps if abs(u) <= REACH * math.sqrt(one)] for one in v]
        jumping = np.array([bool(found) for found in jumps])
        bad = ~np.isfinite(second) | ~(off <= TOLERANCE) | (tail > TOLERANCE * second)
        vague = ~bad & ~jumping & ~(steep_off <= TOLERANCE)
        grows = tail > TOLERANCE * second
        reasons = [""] * len(v)
        for i, one in enumerate(v):
            if bad[i]:
                reasons[i] = self._unmeasured(panels, one, bool(grows[i]), off[i])
            elif jumping[i]:
                reasons[i] = f"it jumps, or is infinitely steep, at {jumps[i][0]:.4g}: chi1 is infinite"
            elif vague[i]:
                reasons[i] = f"the square of its slope is not integrable: off by {steep_off[i]:.1g}"
        return Moments(
            variance=v,
            second=np.where(bad, np.nan, second),
            slope=np.where(bad | vague, np.nan, np.where(jumping, np.inf, slope)),
            growth=np.where(bad, np.nan, growth),
            error=np.where(jumping, off, np.fmax(off, steep_off)),
            reasons=tuple(f"{self.name}: {reason}" if reason else "" for reason in reasons),
        )

    def _unmeasured(self, panels: Panels, v: float, grows: bool, off: float) -> str:
        """Why the second moment at a variance is not had."""
        u = panels.u.ravel()
        lost = u[~np.isfinite(panels.values.ravel()) & (abs(u) <= REACH * math.sqrt(v))]
        if len(lost):
            likely = lost[np.argmin(abs(abs(lost) - math.sqrt(v)))]
            return f"it is not finite at {likely:.4g}, within reach of variance {v:.4g}"
        if grows or not math.isfinite(off):
            return f"E[phi(u)^2] is infinite, or overflows, at variance {v:.4g}"
        return f"quadrature is off by {off:.1g} at variance {v:.4g}"


def _standard(panels: Panels, v: Array) -> tuple[Array, Array]:
    """`z = u / sqrt(v)` and the root of the normal density of u, 0 out of reach: `(V, P, ORDER)` each."""
    z = panels.u / np.sqrt(v)[:, None, None]
    density = np.exp(-0.25 * z**2) / (2 * np.pi * v[:, None, None]) ** 0.25
    return z, np.where(abs(z) <= REACH, density, 0.0)


def _weighed(values: Array, density: Array) -> Array:
    """Values times the root of the density, where the density is not 0."""
    return np.where(density > 0, values * density, 0.0)


def _sums(parts: Array, panels: Panels, z: Array) -> tuple[Array, Array, Array]:
    """Integral of each row, how far it may be off, and what of it lies in the far tail."""
    integrals = rule.integrate(parts, panels.width)
    far = abs(z).min(axis=-1) > _TAIL
    off = rule.doubt(parts, panels.width).sum(axis=-1)
    return integrals.sum(axis=-1), off, (abs(integrals) * far).sum(axis=-1)

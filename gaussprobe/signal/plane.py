"""`E[phi(u1) phi(u2)]` of two correlated normal variables, and how it grows with their correlation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gaussprobe.signal import rule
from gaussprobe.signal.quadrature import Quadrature
from gaussprobe.signal.rule import Array

# Widest panels, in standard deviations.
_WIDEST = 1.5
# Of the root of E[phi(u1)^2] E[phi(u2)^2]: where panels are halved no more.
_ENOUGH = 1e-11
# Halvings of the outer panels, and of all inner ones.
_OUTER = 8
_INNER = 3
# Outer panels in all.
_MOST_PANELS = 400
# Numbers at once.
_AT_ONCE = 2_000_000


@dataclass(frozen=True, kw_only=True)
class Joint:
    """Of `(u1, u2)`, normal with mean 0.

    Args:
        value: `E[phi(u1) phi(u2)]`.
        growth: its derivative by the correlation; NaN at correlations of 1 and -1.
        error: how far value may be off.
    """

    value: float
    growth: float
    error: float


@dataclass(frozen=True, kw_only=True)
class _Plane:
    """The integrand over independent standard normal A and B.

    `u1 = sqrt(v1) (a A + b B)` and `u2 = sign sqrt(v2) (a A - b B)` with `a = sqrt((1+|c|)/2)`,
    `b = sqrt((1-|c|)/2)`: as |c| tends to 1, B drops out and nothing becomes narrow.
    """

    values: Callable[[Array], Array]
    root1: float
    root2: float
    a: float
    b: float
    reach: float
    lines1: Array
    lines2: Array
    corners: Array

    def over_a(self, at: Array, parts: int) -> tuple[Array, Array, Array]:
        """Integrals over A of the integrand, and of it times `A^2 - 1`, for each B, and the doubt.

        Args:
            at: B, `(R,)`.
            parts: into how many each panel is cut.
        """
        shift = self.b * at[:, None]
        grid = np.broadcast_to(_grid(self.reach), (len(at), len(_grid(self.reach))))
        edges = np.concatenate([grid, (self.lines1 - shift) / self.a, (self.lines2 + shift) / self.a], axis=1)
        edges = np.sort(edges.clip(-self.reach, self.reach), axis=1)
        left, right = edges[:, :-1], edges[:, 1:]
        some = (right > left).any(axis=0)
        left, width = left[:, some, None], (right - left)[:, some, None] / parts
        left = (left + width * np.arange(parts)).reshape(len(at), -1)
        width = np.broadcast_to(width, (*width.shape[:2], parts)).reshape(len(at), -1)
        A = rule.nodes(left, left + width)
        with np.errstate(all="ignore"):
            first = self.values(self.root1 * (self.a * A + shift[..., None]))
            second = self.values(self.root2 * (self.a * A - shift[..., None]))
            integrand = first * second * np.exp(-0.5 * A**2) / math.sqrt(2 * math.pi)
            doubt = rule.doubt(integrand, width).sum(axis=1)
            value = rule.integrate(integrand, width).sum(axis=1)
            return value, rule.integrate(integrand * (A**2 - 1), width).sum(axis=1), doubt

    def rows(self, at: Array, enough: float) -> tuple[Array, Array, Array]:
        """`over_a`, in pieces that fit in memory, with panels as narrow as they need be."""
        panels = len(_grid(self.reach)) + len(self.lines1) + len(self.lines2)
        each = max(_AT_ONCE // (panels * rule.ORDER), 1)
        found = [self._piece(at[start : start + each], enough) for start in range(0, len(at), each)]
        value, growth, doubt = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return value, growth, doubt

    def _piece(self, at: Array, enough: float) -> tuple[Array, Array, Array]:
        value, growth, doubt = self.over_a(at, 1)
        for halving in range(1, _INNER + 1):
            poor = np.flatnonzero(doubt * np.exp(-0.5 * at**2) > enough)
            if not len(poor):
                break
            value[poor], growth[poor], doubt[poor] = self.over_a(at[poor], 2**halving)
        return value, growth, doubt


def joint(quadrature: Quadrature, v1: float, v2: float, correlation: float) -> Joint:
    """Of variables with variances `v1` and `v2`.

    Integrated over independent A and B (`_Plane`): the inner integral over A between the lines on which one
    of the factors has a kink, the outer over B between the corners at which two such lines meet, in panels
    that are halved until the integral is had.

    Args:
        quadrature: of the activation.
        v1, v2: above 0.
        correlation: from -1 to 1.
    """
    sign = -1.0 if correlation < 0 else 1.0
    plane = _plane(quadrature, v1, v2, abs(correlation), sign)
    first, second = quadrature.moments([v1]).second[0], quadrature.moments([v2]).second[0]
    scale = math.sqrt(first * second)
    if not math.isfinite(scale):
        return Joint(value=math.nan, growth=math.nan, error=math.nan)
    ends = np.unique(np.concatenate([_grid(plane.reach), plane.corners]))
    if plane.b == 0.0:
        value, _, doubt = plane.rows(np.zeros(1), _ENOUGH * scale)
        return Joint(value=float(value[0]), growth=math.nan, error=float(doubt[0]))
    return _over_b(plane, ends, scale, sign)


def _over_b(plane: _Plane, ends: Array, scale: float, sign: float) -> Joint:
    """The outer integral, and by the derivative of the normal density that of the correlation."""
    middle = plane.rows(np.zeros(1), _ENOUGH * scale)[0][0]
    left, right = ends[:-1], ends[1:]
    value = growth = off = 0.0
    count = 0
    for halving in range(_OUTER + 1):
        B = rule.nodes(left, right)
        found = plane.rows(B.ravel(), _ENOUGH * scale)
        over_a, by_a, inner = (one.reshape(B.shape) for one in found)
        density = np.exp(-0.5 * B**2) / math.sqrt(2 * math.pi)
        # E[B^2 - 1] = 0 takes the value at B = 0 out, which b^2 would blow up as |c| tends to 1.
        by_b = (over_a - middle) * (B**2 - 1) / (4 * plane.b**2)
        growing = (by_a / (4 * plane.a**2) - by_b) * density
        width = right - left
        doubt = np.maximum(
            rule.doubt(over_a * density, width), rule.doubt(growing, width) * min(1.0, 4 * plane.b**2)
        )
        count += len(left)
        fine = (doubt <= _ENOUGH * scale) | (halving == _OUTER) | (count > _MOST_PANELS)
        value += rule.integrate(over_a * density, width)[fine].sum()
        growth += rule.integrate(growing, width)[fine].sum()
        off += doubt[fine].sum() + rule.integrate(inner * density, width)[fine].sum()
        if fine.all():
            break
        cut = 0.5 * (left + right)[~fine]
        left, right = np.concatenate([left[~fine], cut]), np.concatenate([cut, right[~fine]])
    return Joint(value=float(value), growth=float(sign * growth), error=float(off))


def _plane(quadrature: Quadrature, v1: float, v2: float, c: float, sign: float) -> _Plane:
    root1, root2 = math.sqrt(v1), sign * math.sqrt(v2)
    b = math.sqrt((1 - c) / 2)
    reach = max(quadrature.reach(v1), quadrature.reach(v2))
    kinks1, kinks2 = (np.array(quadrature.whole(v, v).kinks) / root for v, root in ((v1, root1), (v2, root2)))
    jumps1, jumps2 = (np.array(quadrature.whole(v, v).jumps) / root for v, root in ((v1, root1), (v2, root2)))
    breaks1, breaks2 = np.union1d(kinks1, jumps1), np.union1d(kinks2, jumps2)
    with np.errstate(all="ignore"):
        corners = ((breaks1[:, None] - breaks2) / (2 * b)).ravel()
    return _Plane(
        values=quadrature.resolved.values,
        root1=root1,
        root2=root2,
        a=math.sqrt((1 + c) / 2),
        b=b,
        reach=reach,
        lines1=np.union1d(breaks1, _octaves(root1, reach)),
        lines2=np.union1d(breaks2, _octaves(abs(root2), reach)),
        corners=corners[abs(corners) < reach],
    )


def _grid(reach: float) -> Array:
    """Ends of panels that resolve the normal density."""
    return np.linspace(-reach, reach, 2 * math.ceil(reach / _WIDEST) + 1)


def _octaves(root: float, reach: float) -> Array:
    """Ends of octaves of |u| in which the activation may bend while the density hardly does."""
    count = max(math.floor(math.log2(root * _WIDEST)) + 1, 0)
    outwards = 0.5 * 2.0 ** np.arange(count + 1) / root
    outwards = outwards[outwards < reach] if count else outwards[:0]
    return np.concatenate([-outwards, outwards])

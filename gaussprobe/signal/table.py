"""Moments of an activation between variances at which they were integrated: for many settings at once."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

from gaussprobe.signal.activations import Activation
from gaussprobe.signal.quadrature import Moments, Quadrature
from gaussprobe.signal.rule import Array

# Nodes to an octave of variance. Moments are analytic in ln v as far as pi / 2 beside the axis or so, of
# which half an octave, .35, is little: the error falls by about 9 with each node.
_NODES = 18
# Relative error up to which the polynomial is taken.
_CLOSE = 1e-12

_AT = chebyshev.chebpts1(_NODES)
_TRIED = np.array([-0.97, -0.31, 0.42, 0.98])


class Tabulated(Quadrature):
    """A quadrature that interpolates by polynomials in ln v, octave by octave.

    An octave is integrated at Chebyshev nodes when it is first asked for, and the polynomial is compared with
    the integral at four other points. Where it is further off than 1e-12, or anything is not finite, the
    octave is integrated at each variance as ever.

    Args:
        made: the activation.
    """

    def __init__(self, made: Activation) -> None:
        super().__init__(made)
        self._octaves: dict[int, tuple[Array, float] | None] = {}

    def moments(self, variance: npt.ArrayLike) -> Moments:
        """At each variance, as `Quadrature.moments`."""
        v = np.atleast_1d(np.asarray(variance, dtype=np.float64))
        octaves = np.floor(np.log2(v)).astype(int)
        if any(self._polynomials(int(k)) is None for k in np.unique(octaves)):
            return super().moments(v)
        found = np.empty((3, len(v)))
        error = np.empty(len(v))
        for k in np.unique(octaves):
            here = octaves == k
            own = self._polynomials(int(k))
            assert own is not None
            coefficients, error[here] = own
            found[:, here] = chebyshev.chebval(2 * (np.log2(v[here]) - k) - 1, coefficients)
        return Moments(
            variance=v,
            second=found[0] * v,
            slope=found[1],
            growth=found[2],
            error=error,
            reasons=("",) * len(v),
        )

    def _polynomials(self, k: int) -> tuple[Array, float] | None:
        """Coefficients of `E[phi^2] / v`, the slope and the growth on an octave, and their error."""
        if k not in self._octaves:
            self._octaves[k] = self._interpolated(k)
        return self._octaves[k]

    def _interpolated(self, k: int) -> tuple[Array, float] | None:
        at = 2.0 ** (k + (np.concatenate([_AT, _TRIED]) + 1) / 2)
        integrated = super().moments(at)
        values = np.stack([integrated.second / at, integrated.slope, integrated.growth])
        if not np.isfinite(values).all():
            return None
        fitted = chebyshev.chebfit(_AT, values[:, :_NODES].T, _NODES - 1)
        coefficients = np.asarray(fitted, dtype=np.float64)
        off = abs(chebyshev.chebval(_TRIED, coefficients) - values[:, _NODES:])
        # The growth may be 0: what counts of it is relative to E[phi^2] / v.
        size = np.stack([values[0], values[1], np.maximum(abs(values[2]), values[0])])[:, _NODES:]
        error = float((off / np.where(size > 0, size, 1.0)).max())
        if not math.isfinite(error) or error > _CLOSE:
            return None
        return coefficients, max(error, float(integrated.error.max()))

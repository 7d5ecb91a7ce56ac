"""Gauss-Legendre on panels: nodes, what tells that a panel is too wide, slopes of what is known at nodes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numpy.polynomial import legendre

Array = npt.NDArray[np.float64]

# Degree 39 is integrated exactly; a function that degree 19 does not hold shows in its last coefficients.
ORDER = 20
_LAST = 4

NODES, WEIGHTS = legendre.leggauss(ORDER)
# Values at nodes to coefficients of Legendre polynomials: c_k = (k + 1/2) sum_j w_j P_k(x_j) f(x_j).
_COEFFICIENTS = (np.arange(ORDER) + 0.5)[:, None] * (
    legendre.legvander(NODES, ORDER - 1) * WEIGHTS[:, None]
).T
_LAST_COEFFICIENTS = _COEFFICIENTS[-_LAST:].T
_SLOPES = legendre.legval(NODES, legendre.legder(np.eye(ORDER))).T @ _COEFFICIENTS


def nodes(left: Array, right: Array) -> Array:
    """Nodes of panels, `(.., ORDER)`.

    Args:
        left, right: ends of the panels, `(..)`.
    """
    return 0.5 * (left + right)[..., None] + 0.5 * (right - left)[..., None] * NODES


def integrate(values: Array, width: Array) -> Array:
    """Integral over each panel.

    Args:
        values: at the nodes, `(.., ORDER)`.
        width: of the panels, `(..)`.
    """
    return np.asarray((values @ WEIGHTS) * (0.5 * width))


def doubt(values: Array, width: Array) -> Array:
    """How far the integral over each panel may be off: what degrees 16 to 19 carry of it, as null rules do.

    Far above the error where the function is smooth, since degree 39 is integrated exactly; of its size at
    kinks and jumps.

    Args:
        values: at the nodes, `(.., ORDER)`.
        width: of the panels, `(..)`.

    Reference:
        Laurie (1985), Practical error estimation in numerical integration, J. Comput. Appl. Math. 12.
    """
    return np.asarray(abs(values @ _LAST_COEFFICIENTS).sum(axis=-1) * (0.5 * width))


def slopes(values: Array, width: Array) -> Array:
    """Derivative at the nodes of the polynomial through the values at the nodes.

    Args:
        values: at the nodes, `(.., ORDER)`.
        width: of the panels, `(..)`.
    """
    return np.asarray((values @ _SLOPES.T) * (2.0 / width)[..., None])

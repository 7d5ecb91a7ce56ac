"""The correlation map as a power series, for many correlations at one variance."""

from __future__ import annotations

import math

import numpy as np

from gaussprobe.signal.plane import Joint
from gaussprobe.signal.quadrature import Quadrature
from gaussprobe.signal.rule import WEIGHTS, Array

# Coefficients that are had: panels of a quarter of an octave resolve the polynomials up to here.
_COUNT = 128


class Series:
    """`E[phi(u1) phi(u2)] = sum_n a_n^2 c^n` for variables of one variance, `a_n = E[phi(sqrt(v) Z) h_n(Z)]`.

    h_n are the Hermite polynomials, normed. By Parseval's identity the squares that are left out add up to
    `E[phi^2]` less those that are not, which bounds what is left out of the series at any c.

    Args:
        quadrature: of the activation.
        v: the variance, above 0.

    Reference:
        Mehler (1866), J. reine angew. Math. 66; Daniely, Frostig & Singer (2016), Toward deeper
        understanding of neural networks, NeurIPS, section 5.
    """

    def __init__(self, quadrature: Quadrature, v: float) -> None:
        self._squares = _coefficients(quadrature, v) ** 2
        second = float(quadrature.moments([v]).second[0])
        # Not under what rounding leaves.
        self._left = max(second - float(self._squares.sum()), 1e-14 * second)

    def joint(self, c: float) -> Joint:
        """At a correlation of at least 0 and under 1.

        Args:
            c: the correlation.
        """
        n = np.arange(_COUNT)
        # The largest n c^(n - 1) of the terms left out.
        largest = max(_COUNT, -1 / math.log(c)) if c > 0 else _COUNT
        error = self._left * largest * c ** (largest - 1)
        return Joint(
            value=float(self._squares @ c**n),
            growth=float(self._squares[1:] @ (n[1:] * c ** n[:-1])),
            error=float(error),
        )


def _coefficients(quadrature: Quadrature, v: float) -> Array:
    """`a_n` for n under `_COUNT`, by the recurrence of Hermite functions at the nodes of the panels."""
    panels = quadrature.whole(v, v).panels
    z = panels.u / math.sqrt(v)
    near = abs(z).min(axis=1) <= quadrature.reach(v)
    z = z[near]
    # Half of the density's exponent goes to the polynomials, which stay bounded so.
    half = np.exp(-0.25 * z**2) / (2 * math.pi * v) ** 0.25
    weighed = panels.values[near] * half * WEIGHTS * (0.5 * panels.width[near])[:, None]
    before, now = np.zeros_like(z), half
    found = np.empty(_COUNT)
    for n in range(_COUNT):
        found[n] = (weighed * now).sum()
        before, now = now, (z * now - math.sqrt(n) * before) / math.sqrt(n + 1)
    return found

"""The correlation map as a power series, for many correlations at one variance."""

from __future__ import annotations

import math

import numpy as np

from gaussprobe.signal.plane import Joint
from gaussprobe.signal.quadrature import Quadrature
from gaussprobe.signal.rule import WEIGHTS, Array

# Coefficients that are had: panels of a quarter of an octave resolve the polynomials up to here.
_COUNT = 128


def series(quadrature: Quadrature, v: float, c: float) -> Joint:
    """`E[phi(u1) phi(u2)] = sum_n a_n^2 c^n` for variables of variance v, `a_n = E[phi(sqrt(v) Z) h_n(Z)]`.

    h_n are the Hermite polynomials, normed. By Parseval's identity the squares that are left out add up to
    `E[phi^2]` less those that are not, which bounds what is left out of the series, and of its derivative.

    Args:
        quadrature: of the activation; it keeps the squares.
        v: the variance, above 0.
        c: the correlation, at least 0 and under 1.

    Reference:
        Mehler (1866), J. reine angew. Math. 66; Daniely, Frostig & Singer (2016), Toward deeper
        understanding of neural networks, NeurIPS, section 5.
    """
    if v not in quadrature.hermite_squares:
        quadrature.hermite_squares[v] = _coefficients(quadrature, v) ** 2
    squares = quadrature.hermite_squares[v]
    second = float(quadrature.moments([v]).second[0])
    # Not under what rounding leaves.
    left = max(second - float(squares.sum()), 1e-14 * second)
    n = np.arange(_COUNT)
    # The largest n c^(n - 1) of the terms left out.
    largest = max(_COUNT, -1 / math.log(c)) if c > 0 else _COUNT
    return Joint(
        value=float(squares @ c**n),
        growth=float(squares[1:] @ (n[1:] * c ** n[:-1])),
        error=float(left * largest * c ** (largest - 1)),
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

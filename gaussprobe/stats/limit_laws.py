"""The law of a test's statistic in the limit of many normal samples, where it is known.

The statistics of the empirical distribution or characteristic function are integrals of a squared process
that tends to a Gaussian one: in the limit a sum of squares of independent normal values times the eigenvalues
of that process's covariance. JB and K2 tend to chi-squared with 2 degrees of freedom.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator
from scipy.special import chdtri, expit, ndtri, roots_hermitenorm

Floats: TypeAlias = "npt.NDArray[np.float64]"

_POINTS = 1000  # of the grids on which covariances are taken: means of the limits within 1e-4
_HERMITE = 80
_LEAST = 1e-6  # of the largest eigenvalue; what is smaller is added as its mean


def eigenvalues(name: str) -> Floats | None:
    """Eigenvalues of the limiting covariance, descending; None where the limit is no sum of squares.

    Reference:
        Stephens (1976), Annals of Statistics 4, equation 3.3, case 3, for A2, W2 and U2;
        Baringhaus & Henze (1988), Metrika 35, theorem 2.1, for the characteristic function.
    """
    if name in ("epps_pulley", "epps_pulley_simple"):
        t, weight = roots_hermitenorm(_HERMITE)
        st = np.outer(t, t)
        both = np.exp(-0.5 * (t[:, None] ** 2 + t**2))
        fitted = 1.0 if name == "epps_pulley_simple" else 1 + st + 0.5 * st**2
        root = np.sqrt(weight / weight.sum())
        return _spectrum(root[:, None] * (both * np.exp(st) - fitted * both) * root)
    if name in ("cramer_von_mises", "watson"):
        covariance = _bridge((np.arange(_POINTS) + 0.5) / _POINTS, 1 - (np.arange(_POINTS) + 0.5) / _POINTS)
        if name == "watson":
            centering = np.eye(_POINTS) - 1 / _POINTS
            covariance = centering @ covariance @ centering
        return _spectrum(covariance / _POINTS)
    if name == "anderson_darling":
        # With logits as the variable the weight 1 / (u (1 - u)) and du cancel.
        logit, step = np.linspace(-16, 16, _POINTS, retstep=True)
        return _spectrum(_bridge(expit(logit), expit(-logit)) * step)
    return None


def _spectrum(covariance: Floats) -> Floats:
    return np.asarray(np.linalg.eigvalsh(covariance)[::-1])


def _bridge(below: Floats, above: Floats) -> Floats:
    """Covariance of the empirical process with mean and sd estimated, at points with these two tails."""
    scores = np.where(below < above, ndtri(np.minimum(below, above)), -ndtri(np.minimum(below, above)))
    density = np.exp(-0.5 * scores**2) / np.sqrt(2 * np.pi)
    uniform = np.minimum.outer(below, below) * np.minimum.outer(above, above)
    return np.asarray(uniform - np.outer(density, density) * (1 + 0.5 * np.outer(scores, scores)))


def exceedance(spectrum: Floats, x: Floats) -> Floats:
    """`P(sum_i spectrum_i Z_i^2 > x)`, `(points,)`, absolute error below 1e-8.

    The sum `1/2 + sum_k Im[phi(t_k) exp(-i t_k x)] / (pi (k + 1/2))`, phi the characteristic function, at
    `t_k = (k + 1/2) step`; it errs by the probability of exceeding `2 pi / step - x`.

    Reference:
        Davies (1973), Biometrika 60, equation 5.
    """
    kept = spectrum[spectrum > _LEAST * spectrum[0]]
    constant = spectrum.sum() - kept.sum()
    step = 2 * np.pi / (2 * x.max() + 30 * kept.sum() + 60 * kept[0])
    total = np.full(len(x), 0.5)
    for start in range(0, 10**6, 1000):
        k = np.arange(start, start + 1000) + 0.5
        log_phi = -0.5 * np.log1p(-2j * np.outer(k * step, kept)).sum(axis=1)
        factor = np.exp(log_phi) / (np.pi * k)
        total += np.imag(np.exp(-1j * np.outer(x - constant, k * step)) @ factor)
        if abs(factor[-1]) < 1e-11:
            break
    return total


def upper_quantiles(name: str, levels: Floats) -> Floats | None:
    """Statistic exceeded with each probability in the limit, `(levels,)`; None where it is not known."""
    if name in ("jarque_bera", "dagostino_pearson"):
        return np.asarray(chdtri(2, levels))
    spectrum = eigenvalues(name)
    if spectrum is None:
        return None
    # Past the mean, exceedances fall off as exp(-x / (2 spectrum_1)).
    x = np.linspace(0.02 * spectrum.sum(), spectrum.sum() + 2 * spectrum[0] * 14, 600)
    p = exceedance(spectrum, x)
    falling = (p > 1e-7) & (p < 1 - 1e-7)
    return np.asarray(PchipInterpolator(-ndtri(p[falling]), x[falling])(-ndtri(levels)))

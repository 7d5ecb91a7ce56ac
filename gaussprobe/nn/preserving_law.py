"""The law that turns a normal variable times Weibull weights into a normal variable again.

`W` has `P(|W| > t) = exp(-t^theta)` and is symmetric; `|Y|` is the law with `|W| |Y| ~ |N(0, 1)|`, so that

    M(s) = E|Y|^s = 2^(s/2) Gamma((s+1)/2) / (sqrt(pi) Gamma(1 + s/theta)).

It has two forms. The poles of M to the left give an entire series,

    F(y) = sum_k 2 (-1)^k / k! * 2^-(2k+1)/2 / (sqrt(pi) Gamma(1 - (2k+1)/theta)) * y^(2k+1) / (2k+1),

and Mellin's inversion gives the tail to relative accuracy, however far out,

    G(y) = P(|Y| > y) = 1/(2 pi i) * integral over Re s = c > 0 of M(s) y^-s / s ds.

Reference:
    Wolinski & Arbel (2025), Gaussian Pre-Activations in Neural Networks: Myth or Reality?, TMLR,
    arXiv:2205.12379, section 4, for the two laws. The inversion is exact where the paper fits a density.
"""

from __future__ import annotations

import math
import numbers
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.interpolate import CubicSpline

Array: TypeAlias = "npt.NDArray[np.float64]"

# Below it the density is all but discontinuous at sqrt(2), and no table of this size is good to 1e-8.
LEAST_THETA = 2.02

# The series serves up to here: no term exceeds 2, and at theta = 2 they fall like (1.3^2 / 2)^k.
SERIES_END = 1.3
_TERMS = 260

# Mellin's integral runs along a hyperbola, `s = c + width (i sinh(tau) - bend (cosh(tau) - 1))`: to the left
# of the line through c, where y^-s falls instead of turning round. At this step of tau the trapezoidal rule
# errs by less than rounding does, at every theta.
_STEP = 0.08
_BEND = 0.5
# Past this many logarithms below its peak an integrand is left out.
_NEGLIGIBLE = 42.0

_NEWTON_STEPS = 12
_ROOT_2_OVER_PI = math.sqrt(2 / math.pi)
_LOG_ROOT_PI = math.log(math.pi) / 2


def check_theta(theta: object) -> float:
    """Theta as a float.

    Raises:
        ValueError: for what is no finite number, or is below `LEAST_THETA`.
    """
    number = isinstance(theta, numbers.Real) and not isinstance(theta, bool | np.bool_)
    value = float(theta) if number else math.nan  # type: ignore[arg-type]
    if not math.isfinite(value) or value < LEAST_THETA:
        raise ValueError(
            "theta must be a finite number above 2, or W times anything has heavier tails than a normal law, "
            f"and at least {LEAST_THETA}, where numerical accuracy ends; got {theta!r}"
        )
    return value


def density_at_zero(theta: float) -> float:
    """`f(0) = sqrt(2/pi) / Gamma(1 - 1/theta)` of |Y|."""
    return float(_ROOT_2_OVER_PI * special.rgamma(1 - 1 / theta))


def limit_at_infinity(theta: float) -> float:
    """`lim phi(x) / x^((theta-2)/theta) = theta^(1/theta) (theta/(theta-2))^((theta-2)/(2 theta))`.

    Of Stirling's formula for M in the saddle point of Mellin's integral.
    """
    power = 1 - 2 / theta
    return math.exp(math.log(theta) / theta - power / 2 * math.log(power))


def series(y: Array, theta: float) -> tuple[Array, Array, Array]:
    """F, its density f and f' by the series, for `0 <= y <= SERIES_END`.

    Args:
        y: any shape.
        theta: of W.

    Returns:
        The three, F to relative accuracy.
    """
    k = np.arange(_TERMS)
    odd = 2 * k + 1.0
    # 1 / Gamma(1 - x) = Gamma(1 + x) sin(pi x) / (pi x), in logarithms for Gamma grows.
    x = odd / theta
    size = special.gammaln(1 + x) - special.gammaln(k + 1.0) - k * math.log(2)
    turn = np.sin(math.pi * np.fmod(x, 2)) / (math.pi * x)
    density = _ROOT_2_OVER_PI * (-1.0) ** k * np.exp(size) * turn
    square = y * y
    slopes = np.polynomial.polynomial.polyval(square, density[1:] * 2 * k[1:])
    return (
        y * np.polynomial.polynomial.polyval(square, density / odd),
        np.polynomial.polynomial.polyval(square, density),
        y * slopes,
    )


def _log_moment(s: npt.NDArray[np.complexfloating], theta: float) -> npt.NDArray[np.complex128]:
    """`log M(s)`."""
    found = s * (math.log(2) / 2) - _LOG_ROOT_PI
    found += special.loggamma((s + 1) / 2) - special.loggamma(1 + s / theta)
    return np.asarray(found, dtype=np.complex128)


def place_of(c: Array, theta: float) -> Array:
    """`log y` whose Mellin integrand has its saddle point at c: `(log M(s) - log s)'` there."""
    found = math.log(2) / 2 + special.digamma((c + 1) / 2) / 2 - special.digamma(1 + c / theta) / theta
    return np.asarray(found - 1 / c)


def _curvature(c: Array, theta: float) -> Array:
    """`(log M(s) - log s)''` at c."""
    found = special.polygamma(1, (c + 1) / 2) / 4 - special.polygamma(1, 1 + c / theta) / theta / theta
    return np.asarray(found + 1 / (c * c))


def tail(c: Array, theta: float) -> tuple[Array, Array, Array]:
    """`log G`, `y f / G` and `y^2 f' / f` at the y of `place_of`, by Mellin's integral through the saddle.

    Args:
        c: saddle points, `(n,)`, above 0.
        theta: of W.

    Returns:
        The three, `(n,)`.
    """
    width = 1 / np.sqrt(_curvature(c, theta))
    # Far up |M(s)| falls like exp(-rate |t|) at least; near, like a normal density.
    rate = math.pi / 2 * (0.5 - 1 / theta)
    reach = np.arcsinh(np.maximum(2 * math.sqrt(_NEGLIGIBLE), _NEGLIGIBLE / (rate * width)))
    tau = np.arange(0, reach.max() + _STEP, _STEP)
    s = c[:, None] + width[:, None] * (1j * np.sinh(tau) - _BEND * (np.cosh(tau) - 1))
    weight = np.cosh(tau) + 1j * _BEND * np.sinh(tau)
    weight[0] /= 2
    log_y = place_of(c, theta)[:, None]
    level = _log_moment(np.asarray(c, dtype=np.complex128), theta).real
    curve = np.exp(_log_moment(s, theta) - level[:, None] - (s - c[:, None]) * log_y) * weight
    survival = (curve / s).real.sum(1)
    density = curve.real.sum(1)
    slope = (curve * (s + 1)).real.sum(1)
    log_survival = level - c * log_y[:, 0] + np.log(survival * width * (_STEP / math.pi))
    return log_survival, density / survival, -slope / density


def quantile(probability: Array, log_survival: Array, theta: float) -> tuple[Array, Array, Array]:
    """`y` with `F(y) = probability`, and `log f(y)`, `f'(y) / f(y)` there.

    Args:
        probability: `(n,)`, to relative accuracy where it is small; 0 gives 0.
        log_survival: `log(1 - probability)`, to relative accuracy where that is large.
        theta: of W.

    Returns:
        The three, `(n,)`.
    """
    y, log_density, ratio = (np.empty_like(probability) for _ in range(3))
    near = probability <= series(np.array(SERIES_END), theta)[0]
    if near.any():
        y[near] = _inverse_of_series(probability[near], theta)
        _, density, slope = series(y[near], theta)
        log_density[near], ratio[near] = np.log(density), slope / density
    if not near.all():
        far = ~near
        c = _inverse_of_tail(log_survival[far], theta)
        log_y = place_of(c, theta)
        found, hazard, relative = tail(c, theta)
        y[far] = np.exp(log_y)
        log_density[far] = np.log(hazard) + found - log_y
        ratio[far] = relative / y[far]
    return y, log_density, ratio


def _inverse_of_series(probability: Array, theta: float) -> Array:
    """y with that F, by Newton's method from a spline through the series."""
    grid = np.linspace(0, SERIES_END, 129)
    start = CubicSpline(series(grid, theta)[0], grid)(probability)
    # F is linear at 0: relative accuracy there.
    y = np.where(probability < 1e-3, probability / density_at_zero(theta), start)
    for _ in range(_NEWTON_STEPS):
        value, density, _ = series(y, theta)
        step = (value - probability) / density
        y = y - step
        if (np.abs(step) <= 1e-15 * y).all():
            break
    return np.asarray(y)


def _inverse_of_tail(log_survival: Array, theta: float) -> Array:
    """Saddle points of the y with that log G, by Newton's method in log c on log(-log G)."""
    wanted = np.log(-log_survival)
    log_c = _guess(wanted, theta)
    for _ in range(_NEWTON_STEPS):
        c = np.exp(log_c)
        found, hazard, _ = tail(c, theta)
        # d log G / d log c = -(y f / G) (d log y / d log c)
        slope = hazard * c * _curvature(c, theta) / found
        step = (np.log(-found) - wanted) / -slope
        log_c = log_c - step
        if (np.abs(step) <= 1e-13).all():
            break
    return np.asarray(np.exp(log_c))


def _guess(wanted: Array, theta: float) -> Array:
    """log c of that log(-log G), by a spline through saddle points around."""
    grid = np.linspace(-3, 60, 600)
    with np.errstate(all="ignore"):
        found = np.log(-tail(np.exp(grid), theta)[0])
    # At either end rounding takes over: left G is 1, right its logarithm is beyond what digamma resolves.
    good = np.isfinite(found)
    first = int(np.argmax(good))
    last = first + int(np.argmin(np.append(good[first:], False)))
    found, grid = found[first:last], grid[first:last]
    rising = np.append(np.diff(found) > 0, True)
    return np.asarray(CubicSpline(found[rising], grid[rising])(wanted))

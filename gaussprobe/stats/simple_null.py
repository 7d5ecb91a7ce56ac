"""Null laws of EDF statistics when mean and sd are known.

Kolmogorov's law is exact to n = 500 and to 2e-7 beyond. The limits of the other three are laws of weighted
sums of chi-squared variables, found by integrating round the branch points of their transform, which keeps
the relative accuracy of the far tail. What n samples add to the limit is exact to order 1/n for
Cramer-von Mises and Watson; the rest was fitted to simulations by `tests.calibration.simple_null`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy.interpolate import CubicSpline, PPoly
from scipy.special import gammaln
from scipy.stats import kstwo

SimpleName: TypeAlias = Literal["kolmogorov", "anderson_darling", "cramer_von_mises", "watson"]
Floats: TypeAlias = "npt.NDArray[np.float64]"
Complexes: TypeAlias = "npt.NDArray[np.complex128]"

MINIMUM = 8  # the fewest samples the fitted terms were checked at

# Kolmogorov. Scaled distances below _NEVER are always exceeded, to 1e-9.
_EXACT_FROM, _EXACT_TO = 8, 500  # n of the tables; fewer samples are not worth one
_NEVER = 0.2
_BREAKS = (1.0, 1.5, 2.0, 2.5, 3.0)  # n D where the exact law bends, visibly so to n = _BENT_TO
_BENT_TO = 32
_BREAK_NODES, _BODY_NODES, _TAIL_NODES = 24, 160, 60
_LAST = 10.0  # D sqrt n of the last node: p of 1e-87
_SERIES_TERMS = 10
_LOG_FORM_FROM = 3.0  # p of 3e-8: beyond, 1 minus the series loses its digits

# Contours: points on each, and what e^-40 of the whole may be left out.
_POINTS = 512
_NEGLIGIBLE = 40.0

# Fitted by tests.calibration.simple_null. Anderson-Darling: n ln(p_n / p) in powers 1 .. 5 of sqrt(-ln p),
# on to -ln p = _FITTED_TO and then along the tangent.
_ANDERSON = (0.107901, -0.787014, 0.892856, -0.312408, 0.0369115)
_FITTED_TO = 14.0
# The other two, of t = x - _JOIN: powers 1 .. 3 of t over n^2, then powers 2 .. 4 over n^3.
_CRAMER = (1.26661, 1.48385, 6.65288, 105.004, -89.1424, 27.6026)
_WATSON = (20.7689, 163.244, -463.701, 4580.78, -11770.6, 43096.6)
# Limiting 5 % points: up to them the expansion to order 1/n is taken as it is, beyond in logarithms.
_CRAMER_JOIN, _WATSON_JOIN = 0.46136, 0.18688

_PI2 = math.pi**2


# ---- Kolmogorov ----


@functools.lru_cache(maxsize=64)
def _kolmogorov_table(n: int) -> PPoly:
    """`ln p - n ln(1 - D)` of the exact law against D."""
    root = math.sqrt(n)
    breaks = [b / n for b in _BREAKS] if n <= _BENT_TO else [_NEVER / root]
    last = min(1 - 1 / n, _LAST / root)
    middle = min(3.0 / root, (breaks[-1] + last) / 2)
    pieces = [np.linspace(low, high, _BREAK_NODES) for low, high in itertools.pairwise(breaks)]
    body = np.linspace(breaks[-1], middle, _BODY_NODES)
    pieces.append(np.concatenate([body, np.linspace(middle, last, _TAIL_NODES)[1:]]))
    splines = [CubicSpline(d, np.log(kstwo.sf(d, n)) - n * np.log1p(-d)) for d in pieces]
    knots = np.concatenate([pieces[0][:1], *(d[1:] for d in pieces)])
    return PPoly(np.concatenate([spline.c for spline in splines], axis=1), knots)


def _kolmogorov_series(z: Floats, n: int) -> Floats:
    """P(D sqrt n > z) to order n^(-3/2): Pelz & Good (1976)."""
    half = (_PI2 * (np.arange(_SERIES_TERMS) + 0.5) ** 2)[:, None]
    whole = (_PI2 * np.arange(1.0, _SERIES_TERMS) ** 2)[:, None]
    a = 2 * np.exp(-half / (2 * z**2))
    b = 2 * np.exp(-whole / (2 * z**2))
    k0 = 2 / z * a.sum(axis=0) / 2
    k1 = ((half - z**2) * a).sum(axis=0) / (6 * z**4)
    k2 = (6 * z**6 + 2 * z**4 + half * (2 * z**4 - 5 * z**2) + half**2 * (1 - 2 * z**2)) * a
    k2 = k2.sum(axis=0) / (72 * z**7) - (whole * b).sum(axis=0) / (36 * z**3)
    k3 = half**3 * (5 - 30 * z**2) + half**2 * (212 * z**4 - 60 * z**2) + half * (135 * z**4 - 96 * z**6)
    k3 = ((k3 - 30 * z**6 - 90 * z**8) * a).sum(axis=0) / (6480 * z**10)
    k3 = k3 + ((3 * whole * z**2 - whole**2) * b).sum(axis=0) / (216 * z**6)
    total: Floats = 1 - math.sqrt(math.pi / 2) * (k0 + k1 / n**0.5 + k2 / n + k3 / n**1.5)
    return total


def _kolmogorov_log_form(z: Floats | float, n: int) -> Floats | float:
    """ln P(D sqrt n > z) far out, to order 1/n."""
    return math.log(2) - 2 * z**2 - 2 * z / (3 * math.sqrt(n)) + 4 * (z**2 - z**4) / (9 * n)


def _kolmogorov_exact(d: Floats, n: int) -> Floats:
    """P(D > d) at an n that has a table."""
    table = _kolmogorov_table(n)
    first, last = float(table.x[0]), float(table.x[-1])
    # Past 1 - 1/n the law is 2 (1 - D)^n.
    log_p = table(np.clip(d, first, last)) + n * np.log(np.clip(1 - d, 1e-300, 1 - first))
    # To 1/n it is a single power too.
    at_start = 1 - np.exp(gammaln(n + 1) + n * np.log(np.clip(2 * d - 1 / n, 1e-300, 1 / n)))
    return np.where(d > first, np.exp(np.minimum(log_p, 0.0)), np.where(d < 1 / n, at_start, 1.0))


def _kolmogorov(d: Floats, n: int) -> Floats:
    """P(D > d)."""
    if n < _EXACT_FROM:
        return np.asarray(kstwo.sf(d, n), dtype=np.float64)
    if n <= _EXACT_TO:
        return _kolmogorov_exact(d, n)
    z = d * math.sqrt(n)
    near = np.clip(z, _NEVER, _LOG_FORM_FROM)
    join = float(np.log(_kolmogorov_series(np.array([_LOG_FORM_FROM]), n))[0])
    beyond = np.maximum(z, _LOG_FORM_FROM)
    far = join + _kolmogorov_log_form(beyond, n) - _kolmogorov_log_form(_LOG_FORM_FROM, n)
    p = np.where(z < _LOG_FORM_FROM, _kolmogorov_series(near, n), np.exp(far))
    return np.where(z <= _NEVER, 1.0, np.where(d >= 1, 0.0, p))


# ---- limits of quadratic statistics ----


@dataclass(frozen=True)
class _Quadratic:
    """A quadratic statistic in the limit: `sum_j Z_j^2 / y_j`, Z_j independent standard normal.

    Args:
        determinant: `prod_j (1 - y / y_j)`; the transform E exp(y Q / 2) is its power -1/2.
        pole: y_j, j = 1, 2, ..; 0 for j = 0.
        first_order: the term of order 1/n of the transform, as a factor; None where it is not known.
        start, end: range of the table; the limit is exceeded always below, and its tail is
            `exp(-y_1 x / 2) / sqrt x` above.
    """

    determinant: Callable[[Complexes], Any]
    pole: Callable[[int], float]
    first_order: Callable[[Complexes], Complexes] | None
    start: float
    end: float


def _cramer_first_order(y: Complexes) -> Complexes:
    """Term of order 1/n in the transform of W2, as a factor.

    With q^2 = -y: `1/12 - (7/288) q coth q - (1/36) q / sinh q - (1/32) q^2 / sinh^2 q - q^2 / 144`. It comes
    from expanding `E exp(-s W2) = E (int exp(i sqrt(2 s / n) e(u)) du)^n`, e the Gaussian process whose
    covariance is the kernel of the statistic; its inverse is psi_1 of Csorgo & Faraway (1996).
    """
    root = np.sqrt(y)
    sine = np.sin(root)
    linear = 7 / 288 * np.cos(root) + 1 / 36
    factor: Complexes = 1 / 12 - linear * root / sine - y / (32 * sine**2) + y / 144
    return factor


_CRAMER_LIMIT = _Quadratic(
    determinant=lambda y: np.sin(np.sqrt(y)) / np.sqrt(y),
    pole=lambda j: _PI2 * j**2,
    first_order=_cramer_first_order,
    start=0.004,
    end=6.0,
)
_ANDERSON_LIMIT = _Quadratic(
    determinant=lambda y: -np.cos(math.pi / 2 * np.sqrt(1 + 4 * y)) / (math.pi * y),
    pole=lambda j: float(j * (j + 1)),
    first_order=None,
    start=0.04,
    end=24.0,
)


def _tails(law: _Quadratic, x: Floats) -> tuple[Floats, Floats]:
    """P(Q > x) in the limit, and the term of order 1/n (0 where it is not known).

    The integral of `exp(-x y / 2) transform(y) / y` along closed curves, one round each pair of
    neighbouring branch points: round a pair the transform comes back to itself. Trapezoids converge
    exponentially there, also where the limit itself is tiny.
    """
    limit, first = np.zeros_like(x), np.zeros_like(x)
    turn = math.pi + 2 * math.pi * np.arange(_POINTS) / _POINTS
    circle = np.exp(1j * turn)
    pair = 0
    while True:
        before, low, high, after = (law.pole(2 * pair + i) for i in range(4))
        needed = low * x / 2 < _NEGLIGIBLE if pair else np.ones(x.shape, dtype=bool)
        if not needed.any():
            return limit, first
        # The first curve passes close to its branch point: there exp(-x y / 2) is largest.
        left = low - (low - before) * (0.5 if pair else 0.2)
        right = (high + after) / 2
        radius = (right - left) / 2
        y = (left + right) / 2 + radius * circle
        determinant = law.determinant(y)
        # The square root that is continuous along the curve, from the crossing of the real axis on.
        phase = np.unwrap(np.angle(determinant))
        phase -= 2 * math.pi * np.round(phase[0] / (2 * math.pi))
        transform = (-1) ** pair * np.exp(-0.5j * phase) / np.sqrt(np.abs(determinant))
        weight = transform * radius * circle / (_POINTS * y)
        decay = np.exp(-np.multiply.outer(x[needed], y) / 2)
        limit[needed] -= (decay @ weight).real
        if law.first_order is not None:
            first[needed] -= (decay @ (weight * law.first_order(y))).real
        pair += 1


@functools.cache
def _limit_table(law: _Quadratic) -> tuple[Any, Any]:
    """ln P(Q > x) and the relative term of order 1/n, as functions of ln x within the table."""
    x = np.geomspace(law.start, law.end, 400)
    limit, first = _tails(law, x)
    return CubicSpline(np.log(x), np.log(limit)), CubicSpline(np.log(x), first / limit)


def _limit(law: _Quadratic, x: Floats) -> tuple[Floats, Floats]:
    """ln P(Q > x) in the limit, and the relative term of order 1/n."""
    log_tail, relative = _limit_table(law)
    end = law.end
    inside = np.log(np.clip(x, law.start, end))
    over = np.maximum(x, end)
    log_p = log_tail(inside) - law.pole(1) / 2 * (over - end) - 0.5 * np.log(over / end)
    log_p = np.where(x <= law.start, 0.0, np.minimum(log_p, 0.0))
    first = relative(inside)
    if law.first_order is not None:
        # Far out the term is a parabola; only its leading coefficient is known (large deviations).
        lead = -(_PI2**2) / 24
        slope = float(relative(math.log(end), 1)) / end - 2 * lead * end
        first = first + lead * (over**2 - end**2) + slope * (over - end)
    return log_p, np.where(x <= law.start, 0.0, first)


# ---- Anderson-Darling ----


def _anderson(a2: Floats, n: int) -> Floats:
    """P(A2 > a2)."""
    log_p, _ = _limit(_ANDERSON_LIMIT, a2)
    held = np.sqrt(np.minimum(-log_p, _FITTED_TO))
    correction = np.polynomial.polynomial.polyval(held, (0.0, *_ANDERSON))
    edge = math.sqrt(_FITTED_TO)
    slope = sum(k * c * edge ** (k - 1) for k, c in enumerate(_ANDERSON, start=1)) / (2 * edge)
    correction = correction + slope * np.maximum(-log_p - _FITTED_TO, 0.0)
    return np.exp(log_p + correction / n)


# ---- Cramer-von Mises and Watson ----


def _beyond(x: Floats, join: float, n: int, *, largest: float, fitted: tuple[float, ...]) -> Floats:
    """Terms of ln p of orders n^-2 and n^-3 at `x`, less those at `join`; -inf where x cannot be reached.

    The statistic is at most `largest * n`, and `n ln(1 - x / (largest n))` is what ln p tends to there; its
    terms of orders 1 and 1/n are in the expansion already.
    """
    top = largest * n
    reachable = x < top
    t = np.where(reachable, x - join, 0.0)

    def near_top(at: Floats | float) -> Floats | float:
        share = at / top
        value: Floats | float = n * (np.log1p(-share) + share + share**2 / 2)
        return value

    a1, a2, a3, b2, b3, b4 = fitted
    terms = near_top(t + join) - near_top(join)
    terms = terms + t * (a1 + t * (a2 + t * a3)) / n**2 + t**2 * (b2 + t * (b3 + t * b4)) / n**3
    return np.where(reachable, terms, -np.inf)


def _cramer(w2: Floats, n: int) -> Floats:
    """P(W2 > w2)."""
    join = np.array([_CRAMER_JOIN])
    log_p, first = _limit(_CRAMER_LIMIT, w2)
    log_join, first_join = _limit(_CRAMER_LIMIT, join)
    body = np.exp(log_p) * (1 + first / n)
    far = log_p - log_join + (first - first_join) / n + np.log1p(first_join / n) + log_join
    over = np.maximum(w2, _CRAMER_JOIN)
    far = far + _beyond(over, _CRAMER_JOIN, n, largest=1 / 3, fitted=_CRAMER)
    return np.where(w2 <= _CRAMER_JOIN, body, np.exp(np.minimum(far, 0.0)))


def _watson_first_order(x: Floats, kappa: Floats | float) -> Floats:
    """Relative term of order 1/n of the summand `exp(-2 kappa x)`, kappa = (k pi)^2, of Watson's series.

    By the residues of `r / sinh r [1 + (1 - r^2 / sinh^2 r - r^2 / 3) / (12 n)]`, r^2 = s / 2: the transform
    of U2, found as that of W2.
    """
    value: Floats = -kappa / 72 + 5 / 6 * kappa * x - 2 / 3 * (kappa * x) ** 2
    return value


def _watson_series(x: Floats, n: int) -> Floats:
    """`2 sum_k (-1)^(k-1) exp(-2 kappa_k x) (1 + first_order / n)`."""
    k = np.arange(1.0, 41.0)[:, None]
    kappa = _PI2 * k**2
    terms = 2 * (-1.0) ** (k - 1) * np.exp(-2 * kappa * x) * (1 + _watson_first_order(x, kappa) / n)
    total: Floats = terms.sum(axis=0)
    return total


def _watson(u2: Floats, n: int) -> Floats:
    """P(U2 > u2)."""
    join = np.array([_WATSON_JOIN])
    # Below .002 the series has not converged; the limit is 1 - 1e-50 there.
    body = np.where(u2 < 0.002, 1.0, _watson_series(np.clip(u2, 0.002, _WATSON_JOIN), n))
    over = np.maximum(u2, _WATSON_JOIN)
    # The limit's second summand still shows at the join.
    second = np.log1p(-np.exp(-6 * _PI2 * over)) - np.log1p(-np.exp(-6 * _PI2 * join))
    far = np.log(_watson_series(join, n)) - 2 * _PI2 * (over - join) + second
    far = far + (_watson_first_order(over, _PI2) - _watson_first_order(join, _PI2)) / n
    far = far + _beyond(over, _WATSON_JOIN, n, largest=1 / 12, fitted=_WATSON)
    return np.where(u2 <= _WATSON_JOIN, body, np.exp(np.minimum(far, 0.0)))


_LAWS: dict[SimpleName, Callable[[Floats, int], Floats]] = {
    "kolmogorov": _kolmogorov,
    "anderson_darling": _anderson,
    "cramer_von_mises": _cramer,
    "watson": _watson,
}


def pvalue(name: SimpleName, statistic: torch.Tensor, n_samples: int) -> torch.Tensor:
    """P-value of a statistic of `n_samples` values whose law is wholly known under the null.

    Null hypothesis: the samples are independent draws of the one law they were compared with.

    Args:
        name: `"kolmogorov"` (the distance D), `"anderson_darling"` (A2), `"cramer_von_mises"` (W2) or
            `"watson"` (U2).
        statistic: its values, any shape and device.
        n_samples: n.

    Returns:
        float64 in the same shape, on the same device; NaN where the statistic is NaN, and for n below 8
        (Kolmogorov: any n from 1 on).

    Raises:
        ValueError: for an unknown name.

    Reference:
        Simard & L'Ecuyer (2011), J. Stat. Soft. 39(11), for D to n = 500, Pelz & Good (1976), JRSS B 38, for
        D beyond; Anderson & Darling (1954), JASA 49, for the limit of A2; Csorgo & Faraway (1996), JRSS B 58,
        for W2 to order 1/n; Watson (1961), Biometrika 48, for the limit of U2.
    """
    if name not in _LAWS:
        raise ValueError(f"name must be one of {', '.join(_LAWS)}; got {name!r}")
    values = statistic.detach().to("cpu", torch.float64).numpy()
    p = np.full(values.shape, np.nan)
    if n_samples >= (1 if name == "kolmogorov" else MINIMUM):
        known = ~np.isnan(values)
        # Far beyond where p is 0 anything does for infinity.
        held = np.clip(values[known], 0.0, 1e30)
        p[known] = np.clip(_LAWS[name](held, n_samples), 0.0, 1.0)
    return torch.from_numpy(p).to(statistic.device)

"""phi_theta as short polynomials: built from the law, and what that costs in accuracy.

Pieces are `1 / PER_UNIT` wide, each about a multiple of it, so that a number is brought into its piece
without rounding. A piece is the quintic that agrees with phi, its slope and its second derivative at both
ends: the whole has two continuous derivatives. Where phi_theta positive is small its logarithm is kept, for
the relative accuracy. Past `END` there is one polynomial for all of the rest, `phi(x) = x^p T(2 END/x - 1)`
with `p = (theta - 2) / theta`, as phi grows like x^p.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from scipy import special

from gaussprobe.nn import preserving_law as law
from gaussprobe.nn.preserving_law import Array

Kind: TypeAlias = Literal["odd", "positive"]
# Numbers of pieces.
Places: TypeAlias = "npt.NDArray[np.int64]"

PER_UNIT = 32
END = 16
# Left of it Phi(x), and with it phi_theta positive, is 0 in float64.
LEFT_END = -39
COEFFICIENTS = 6
TAIL_DEGREE = 18

# Left of it F(y) = f(0) y to the last digit.
_LINEAR = -6.5
# Where between its ends a piece is compared with the law: at t = .1 it is off by .88 of its most.
_BESIDE = 0.1


@dataclass(frozen=True, kw_only=True)
class Table:
    """An interpolant of phi_theta.

    Args:
        theta: of W.
        kind: `"odd"` or `"positive"`.
        pieces: `(rows, COEFFICIENTS)`, ascending powers of `t = PER_UNIT x - k` in [-1/2, 1/2], k from
            `first(kind)` on. Of log phi where kind is `"positive"` and k < 0.
        tail: p, then the coefficients of T in ascending powers.
        interpolation_error: largest absolute difference from the law between the ends of pieces.
        tail_error: largest relative difference past `END`.
        law_error: bound of `sup|F_{W phi(X)} - Phi|` from these.
    """

    theta: float
    kind: Kind
    pieces: Array
    tail: Array
    interpolation_error: float
    tail_error: float
    law_error: float


def check_kind(kind: object) -> Kind:
    """The kind.

    Raises:
        ValueError: for what is none.
    """
    for known in get_args(Kind):
        if isinstance(kind, str) and kind == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f'kind must be "odd" or "positive"; got {kind!r}')


def first(kind: Kind) -> int:
    """k of the first piece."""
    return (-END if kind == "odd" else LEFT_END) * PER_UNIT


def rows(kind: Kind) -> int:
    """How many pieces there are."""
    return END * PER_UNIT - first(kind) + 1


def exact(x: Array, theta: float, kind: Kind) -> tuple[Array, Array, Array]:
    """phi_theta, its slope and its second derivative by the law.

    With F the law of |Y|, `phi(x) = sign(x) F^-1(erf(|x| / sqrt(2)))` where kind is `"odd"`,
    `F^-1(Phi(x))` where it is `"positive"`.

    Args:
        x: `(n,)`, finite; not below -37 where kind is `"positive"`.
        theta: of W.
        kind: of phi.

    Returns:
        The three, `(n,)`.
    """
    at = np.abs(x) if kind == "odd" else x
    log_two = math.log(2) if kind == "odd" else 0.0
    below = special.erf(at / math.sqrt(2)) if kind == "odd" else special.ndtr(at)
    y, log_density, ratio = law.quantile(below, special.log_ndtr(-at) + log_two, theta)
    slope = np.exp(log_two - at * at / 2 - math.log(2 * math.pi) / 2 - log_density)
    second = -slope * (at + ratio * slope)
    if kind == "odd":
        return np.copysign(y, x), slope, second * np.sign(x)
    return y, slope, second


def build(theta: float, kind: Kind) -> Table:
    """The table of a theta and kind that were checked."""
    k = np.arange(first(kind), first(kind) + rows(kind))
    pieces = _pieces(k, theta, kind)
    tail = _tail(theta, kind)
    off, relative = _errors(k, pieces, theta, kind)
    # W phi(X) <= z moves by at most (theta / 2) max(u exp(-u)) |off| / phi at each x.
    weight = np.exp(-((k + _BESIDE) ** 2) / PER_UNIT**2 / 2) / math.sqrt(2 * math.pi) / PER_UNIT
    return Table(
        theta=theta,
        kind=kind,
        pieces=pieces,
        tail=tail,
        interpolation_error=float(off.max()),
        tail_error=_tail_error(tail, theta, kind),
        law_error=min(1.0, float(theta / (2 * math.e) * (weight * relative).sum())),
    )


def tail_value(x: Array, tail: Array) -> Array:
    """phi past `END` by the table's polynomial."""
    return np.asarray(x ** tail[0] * np.polynomial.polynomial.polyval(2 * END / x - 1, tail[1:]))


def _pieces(k: Places, theta: float, kind: Kind) -> Array:
    """Quintics by Hermite's conditions at both ends."""
    if kind == "odd":
        half = _quintics(*_ends(k[k >= 0], theta, kind))
        mirrored = half[:0:-1] * (-1.0) ** (np.arange(COEFFICIENTS) + 1)
        half[0, ::2] = 0  # even powers, at 0
        return np.concatenate((mirrored, half))
    linear = k + 0.5 < _LINEAR * PER_UNIT
    left, right = k[~linear & (k < 0)], k[k >= 0]
    near = _logarithm(_ends(left, theta, kind))
    return np.concatenate(
        (_quintics(*_linear_ends(k[linear], theta)), _quintics(*near), _quintics(*_ends(right, theta, kind)))
    )


def _ends(k: Places, theta: float, kind: Kind) -> tuple[Array, Array, Array]:
    """phi and its derivatives at the ends of adjoining pieces, one more than there are pieces."""
    return exact((np.append(k, k[-1] + 1) - 0.5) / PER_UNIT, theta, kind)


def _logarithm(of: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    """log phi and its derivatives."""
    y, slope, second = of
    return np.log(y), slope / y, second / y - (slope / y) ** 2


def _linear_ends(k: Places, theta: float) -> tuple[Array, Array, Array]:
    """log phi and its derivatives where phi is Phi(x) / f(0)."""
    x = (np.append(k, k[-1] + 1) - 0.5) / PER_UNIT
    log_below = special.log_ndtr(x)
    slope = np.exp(-x * x / 2 - math.log(2 * math.pi) / 2 - log_below)
    return log_below - math.log(law.density_at_zero(theta)), slope, -slope * (x + slope)


def _quintics(value: Array, slope: Array, second: Array) -> Array:
    """`(n, 6)` coefficients in t in [-1/2, 1/2] from what holds at n + 1 ends."""
    slope, second = slope / PER_UNIT, second / PER_UNIT**2
    # A polynomial's value, slope and second derivative at -1/2 and 1/2, solved for its coefficients.
    power = np.arange(COEFFICIENTS)
    conditions = []
    for order in range(3):
        factor = np.array([math.perm(j, order) for j in power], dtype=np.float64)
        for t in (-0.5, 0.5):
            conditions.append(factor * t ** np.maximum(power - order, 0))
    given = np.stack([each[side] for each in (value, slope, second) for side in (np.s_[:-1], np.s_[1:])])
    # Solved for what is left of the value in the middle, which keeps small differences exact.
    middle = (value[:-1] + value[1:]) / 2
    given[:2] -= middle
    found = np.linalg.solve(np.array(conditions), given).T
    found[:, 0] += middle
    return np.ascontiguousarray(found)


def _errors(k: Places, pieces: Array, theta: float, kind: Kind) -> tuple[Array, Array]:
    """Absolute and relative difference from the law within each piece."""
    x = (k + _BESIDE) / PER_UNIT
    found = pieces @ _BESIDE ** np.arange(COEFFICIENTS)
    off, relative = np.zeros(len(k)), np.zeros(len(k))
    # Left of -37 Phi(x) has lost digits; there log phi is smoother than anywhere else.
    seen = (x > -37) & ((x > 0) | (kind == "positive"))
    wanted = exact(x[seen], theta, kind)[0]
    left = k[seen] < 0
    relative[seen] = np.abs(np.where(left, np.expm1(found[seen] - np.log(wanted)), found[seen] / wanted - 1))
    off[seen] = relative[seen] * wanted
    if kind == "odd":
        off, relative = np.maximum(off, off[::-1]), np.maximum(relative, relative[::-1])
    return off, relative


def _tail(theta: float, kind: Kind) -> Array:
    """p, and T from Chebyshev's points, both ends among them."""
    power = 1 - 2 / theta
    place = -np.cos(np.pi * np.arange(TAIL_DEGREE + 1) / TAIL_DEGREE)
    # Right at x = END by construction, and in the limit.
    x = 2 * END / (place[1:] + 1)
    values = np.append(law.limit_at_infinity(theta), exact(x, theta, kind)[0] * x**-power)
    fitted = np.polynomial.chebyshev.chebfit(place, values, TAIL_DEGREE)
    return np.append(power, np.polynomial.chebyshev.cheb2poly(fitted))


def _tail_error(tail: Array, theta: float, kind: Kind) -> float:
    """Largest relative difference from the law between the points."""
    place = -np.cos(np.pi * (np.arange(TAIL_DEGREE) + 0.5) / TAIL_DEGREE)
    x = 2 * END / (place[1:] + 1)
    return float(np.abs(tail_value(x, tail) / exact(x, theta, kind)[0] - 1).max())

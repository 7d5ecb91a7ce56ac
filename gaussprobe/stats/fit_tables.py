"""Smooth simulated quantiles over n: how the tables of the null are made from simulations."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from gaussprobe.stats import limit_laws, tables

Floats: TypeAlias = "npt.NDArray[np.float64]"

# Levels of the simulated quantiles.
LEVELS = (
    *(0.999, 0.995, 0.99, 0.98, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15),
    *(0.125, 0.1, 0.075, 0.05, 0.035, 0.025, 0.02, 0.015, 0.01, 0.0075, 0.005, 0.0035, 0.0025, 0.002, 0.0015),
    *(1e-3, 7e-4, 5e-4, 3.5e-4, 2.5e-4, 2e-4, 1.5e-4, 1e-4, 7e-5, 5e-5, 3.5e-5, 2.5e-5, 2e-5, 1.5e-5, 1e-5),
    *(7e-6, 5e-6),
)
# Those fitted one by one; the tail begins at the last and is measured by how far that is from REACH.
BODY = (
    *(0.999, 0.995, 0.99, 0.98, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.075),
    *(0.05, 0.035, 0.025, 0.015, 0.01, 0.005),
)
REACH = 0.05
# The limit law stands at this n, and counts as so many replicates.
LIMIT, LIMIT_REPLICATES = 10**15, 10**9
# A quantile with fewer values beyond it is not kept, or not used for the tail.
LEAST_KEPT, LEAST_USED = 5, 10


@dataclass(frozen=True)
class Degrees:
    """Of a table's polynomials: over n in the body and in the tail, and over ln p in the tail."""

    body: int
    tail: int
    level: int


# Chosen so that the table's levels are those of the simulated quantiles within the binomial error.
DEGREES: dict[tables.Tested, Degrees] = {
    "shapiro_wilk": Degrees(6, 5, 3),
    "shapiro_francia": Degrees(6, 5, 3),
    "lilliefors": Degrees(8, 3, 3),
    "anderson_darling": Degrees(6, 5, 3),
    "cramer_von_mises": Degrees(6, 5, 3),
    "watson": Degrees(6, 5, 3),
    "jarque_bera": Degrees(10, 8, 4),
    "dagostino_pearson": Degrees(10, 8, 4),
    "epps_pulley": Degrees(6, 5, 3),
    "epps_pulley_simple": Degrees(6, 3, 3),
    "vasicek": Degrees(11, 5, 3),
}


def upper_quantiles(values: npt.NDArray[np.float32]) -> Floats:
    """Values exceeded with each of LEVELS' probabilities, `(levels,)`; NaN where too few are beyond."""
    ascending = np.sort(values)
    count = len(ascending)
    beyond = np.array(LEVELS) * count
    at = np.clip(count - beyond - 0.5, 0, count - 1)
    below = np.minimum(at.astype(np.int64), count - 2)
    low, high = (ascending[below + step].astype(np.float64) for step in (0, 1))
    return np.where(beyond < LEAST_KEPT, np.nan, low + (at - below) * (high - low))


@dataclass(frozen=True)
class Points:
    """Quantiles of one statistic at several n, simulated, and perhaps those of the limit law.

    Args:
        n: `(points,)`, ascending.
        replicates: of each.
        smooth: what is smooth over n, `(points, levels)`.
    """

    n: list[int]
    replicates: Floats
    smooth: Floats


def points_of(name: tables.Tested, simulated: list[tuple[int, int, Floats]]) -> Points:
    """From n, replicates and quantiles of `tables.monotone`; the limit law is added where it is known."""
    form, levels = tables.FORMS[name], np.array(LEVELS)
    points = sorted(simulated, key=lambda point: point[0])
    limit = limit_laws.upper_quantiles(name, levels)
    if limit is not None:
        points.append((LIMIT, LIMIT_REPLICATES, limit))
    rows = []
    for n, _, upper in points:
        factor, shift = tables.scaling(name, n)
        rows.append(tables.quantity(form, upper * factor + shift, levels))
    replicates = np.array([count for _, count, _ in points], dtype=np.float64)
    return Points([n for n, _, _ in points], replicates, np.array(rows))


def fit(name: tables.Tested, found: Points) -> dict[str, Any]:
    """A table: coefficients of functions of n, for each level of the body and each term of the tail.

    The body is fitted level by level. In the tail the distance from the last of them, in units of a distance
    within the body, is one polynomial in ln p and functions of n: all exceedances at all n bear on it. Least
    squares; the weights are those of the counts' binomial variance.
    """
    form, degrees = tables.FORMS[name], DEGREES[name]
    design = np.stack([tables.basis(form.body, n, degrees.body) for n in found.n])
    rows = []
    for column in (LEVELS.index(level) for level in BODY):
        y = found.smooth[:, column]
        weight = np.sqrt(found.replicates) / _rate(form, found.smooth, column)
        rows.append(_least_squares(design, y, np.where(np.isnan(y), 0.0, weight)))
    body = np.array(rows)

    at_n = tables.straight(form, tables.unquantity(form, design @ body.T, np.array(BODY)))
    anchor, unit = at_n[:, -1], at_n[:, -1] - at_n[:, BODY.index(REACH)]
    far = [column for column, level in enumerate(LEVELS) if level < BODY[-1]]
    levels = np.array(LEVELS)[far]
    powers = tables.tail_terms(levels, BODY[-1], degrees.level)
    functions = np.stack([tables.basis(form.tail, n, degrees.tail) for n in found.n])
    beyond = tables.straight(form, tables.unquantity(form, found.smooth[:, far], levels))
    design = (powers[:, :, None] * functions[:, None, None, :]).reshape(
        -1, powers.shape[1] * functions.shape[1]
    )
    ratio = ((beyond - anchor[:, None]) / unit[:, None]).ravel()
    counts = (found.replicates[:, None] * levels).ravel()
    usable = (counts >= LEAST_USED) & ~np.isnan(ratio)
    tail = _least_squares(design, ratio, np.where(usable, np.sqrt(counts), 0.0)).reshape(degrees.level, -1)
    return {
        "degrees": [degrees.body, degrees.tail],
        "reach": REACH,
        "levels": list(BODY),
        "body": body,
        "tail": tail,
    }


def _least_squares(design: Floats, y: Floats, weight: Floats) -> Floats:
    y = np.where(weight > 0, y, 0.0)
    return np.asarray(np.linalg.lstsq(design * weight[:, None], y * weight, rcond=None)[0])


def _rate(form: tables.Form, smooth: Floats, column: int) -> Floats:
    """How fast the quantity rises as the level falls, up to a factor: errors of counts in its terms.

    Scaled quantiles do so alike at every n; JB and K2 do not.
    """
    if form.quantity != "ratio":
        return np.ones(len(smooth))
    near = slice(max(column - 1, 0), column + 2)
    levels = np.array(LEVELS)[near]
    upper = tables.unquantity(form, smooth[:, near], levels)
    odds = levels / (1 - levels)
    rate = np.log(upper[:, -1] / upper[:, 0]) / math.log(odds[0] / odds[-1])
    return np.where(np.isnan(rate), np.nanmedian(rate), rate)


def check(tested: Iterable[tables.Tested] = get_args(tables.Tested)) -> None:
    """Refuse a file in which the quantiles of some n do not rise as the level falls.

    Raises:
        ArithmeticError: naming the table and n.
    """
    for name in tested:
        for n in sorted({*range(tables.MINIMUM, 400), *np.geomspace(400, 1e7, 400).astype(int).tolist()}):
            _, scaled = tables.quantiles(name, n)
            if not (np.diff(scaled) > 0).all():
                raise ArithmeticError(f"{name}: quantiles at n = {n} must rise as the level falls")

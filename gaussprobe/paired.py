"""Two settings on the same seeds: what the difference is, and how sure."""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import stats as laws

from gaussprobe.errors import GaussprobeWarning

Floats: TypeAlias = "npt.NDArray[np.float64]"


@dataclass(frozen=True, kw_only=True)
class OverSeeds:
    """What is known of two settings from their numbers on the same seeds.

    Args:
        low, high: interval of the estimate; NaN where there is none.
        pvalue: of settings that are alike; NaN likewise.
        n_seeds: pairs of numbers.
        adjusted_pvalue: over all that were compared together; None where that was one.
        reason: why there is no interval; empty where there is.
    """

    low: float
    high: float
    pvalue: float
    n_seeds: int
    adjusted_pvalue: float | None = None
    reason: str = ""

    @property
    def corrected_pvalue(self) -> float:
        """The p-value to go by: adjusted where several were compared together."""
        return self.pvalue if self.adjusted_pvalue is None else self.adjusted_pvalue


@dataclass(frozen=True, kw_only=True)
class Difference(OverSeeds):
    """The mean of differences on the same seeds.

    Args:
        mean: of them.
        effect: the mean in standard deviations of the differences, corrected for their number; NaN where
            there are fewer than three.
    """

    mean: float
    effect: float


@dataclass(frozen=True, kw_only=True)
class Ratio(OverSeeds):
    """The geometric mean of ratios on the same seeds.

    Args:
        ratio: it.
    """

    ratio: float


Compared = TypeVar("Compared", Difference, Ratio)


def difference(first: Sequence[float], second: Sequence[float], *, level: float = 0.95) -> Difference:
    """Mean of `second - first` over seeds, with Student's interval.

    `mean(d) -+ t s(d) / sqrt(n)`, t the quantile of Student's law with n - 1 degrees of freedom; effect size
    `(1 - 3 / (4 n - 5)) mean(d) / s(d)`. With six seeds a bootstrap would cover .84 for .95, and no
    permutation of signs has a p-value below .031; Student's holds its level for normal differences, and errs
    on the safe side for heavier tails that are alike on both sides. Of skewed differences it covers the mean
    less often: of six exponential ones in .89 for .95.

    Null hypothesis: the differences have mean 0 (and are independent draws of one normal law).

    Args:
        first, second: one finite number to each seed, seed by seed.
        level: of the interval.

    Returns:
        The difference; without an interval, and with the reason, for one seed or differences that are equal
        up to rounding: that of float32 where float32 holds every number, as of what torch returned.

    Raises:
        ValueError: for sequences of different lengths or of none, numbers that are not finite, or a level
            that is not between 0 and 1.

    Reference:
        Student (1908), Biometrika 6, 1; Hedges (1981), Journal of Educational Statistics 6, 107, for the
        correction.
    """
    a, b = _both(first, second, level)
    return _students(b - a, rounding=_eps(a, b) * float(np.abs([a, b]).max()), level=level)


def _both(first: Sequence[float], second: Sequence[float], level: float) -> tuple[Floats, Floats]:
    """Numbers of both settings, once they have been checked."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level!r}")
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or a.size == 0:
        raise ValueError(
            f"first and second must hold one number to each seed; got shapes {a.shape} and {b.shape}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("first and second must be finite; got " + str([*a, *b]))
    return a, b


def _eps(a: Floats, b: Floats) -> float:
    """Relative rounding of the numbers: that of float32 where they may have come from there."""
    with np.errstate(over="ignore"):
        short = all(np.array_equal(x, x.astype(np.float32).astype(np.float64)) for x in (a, b))
    return float(np.finfo(np.float32 if short else np.float64).eps)


def _students(d: Floats, *, rounding: float, level: float) -> Difference:
    """The mean of differences that are known up to `rounding`."""
    n, mean = len(d), float(d.mean())
    sd = float(d.std(ddof=1)) if n > 1 else 0.0
    if n < 2 or sd <= 4 * rounding:
        reason = "one seed" if n < 2 else "the difference is the same on every seed"
        warnings.warn(f"no interval: {reason}", GaussprobeWarning, stacklevel=3)
        return Difference(
            mean=mean, low=math.nan, high=math.nan, pvalue=math.nan, effect=math.nan, n_seeds=n, reason=reason
        )
    error = sd / math.sqrt(n)
    half = float(laws.t.ppf((1 + level) / 2, n - 1)) * error
    return Difference(
        mean=mean,
        low=mean - half,
        high=mean + half,
        pvalue=float(2 * laws.t.sf(abs(mean) / error, n - 1)),
        # Of two differences s has no mean reciprocal: the factor is 0, whatever they are.
        effect=(1 - 3 / (4 * n - 5)) * mean / sd if n > 2 else math.nan,
        n_seeds=n,
    )


def ratio(first: Sequence[float], second: Sequence[float], *, level: float = 0.95) -> Ratio:
    """Geometric mean of `second / first` over seeds: `difference` of the logarithms.

    Null hypothesis: the logarithms differ by 0 in the mean (and are independent draws of one normal law).

    Args:
        first, second: one positive number to each seed, seed by seed.
        level: of the interval.

    Returns:
        The ratio; without an interval, and with the reason, for one seed or ratios that are equal.

    Raises:
        ValueError: as `difference` does, and for numbers that are not positive.
    """
    a, b = _both(first, second, level)
    if not ((a > 0).all() and (b > 0).all()):
        raise ValueError("first and second must be positive; got " + str([*a, *b]))
    logs = np.log(a), np.log(b)
    # A logarithm is as far off as its number is relatively, and by its own rounding.
    rounding = _eps(a, b) + np.finfo(np.float64).eps * float(np.abs(logs).max())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GaussprobeWarning)  # said in our words
        found = _students(logs[1] - logs[0], rounding=rounding, level=level)
    reason = found.reason.replace("difference", "ratio")
    if reason:
        warnings.warn(f"no interval: {reason}", GaussprobeWarning, stacklevel=2)
    return Ratio(
        ratio=math.exp(found.mean),
        low=math.exp(found.low),
        high=math.exp(found.high),
        pvalue=found.pvalue,
        n_seeds=found.n_seeds,
        reason=reason,
    )


def quietly(
    compare: Callable[[Sequence[float], Sequence[float]], Compared],
    first: Sequence[float],
    second: Sequence[float],
) -> Compared:
    """`difference` or `ratio` for tables that show the reason of a missing interval: without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GaussprobeWarning)
        return compare(first, second)


def adjusted(differences: Sequence[Compared]) -> list[Compared]:
    """Differences, or ratios, with p-values adjusted over all of them, so that any false claim is rare.

    `p~_(i) = max_{j <= i} min(1, (m - j + 1) p_(j))` over the m p-values there are: whatever depends on what,
    the chance that any true null hypothesis has `p~ <= q` is at most q.

    Args:
        differences: that are compared together, as the sites of a model.

    Returns:
        The same with `adjusted_pvalue`; NaN where there was no p-value.

    Reference:
        Holm (1979), Scandinavian Journal of Statistics 6, 65.
    """
    from statsmodels.stats.multitest import multipletests  # about a second

    known = [d.pvalue for d in differences if not math.isnan(d.pvalue)]
    gc.freeze()  # the function collects garbage: a tenth of a second with torch loaded, of every call
    try:
        found = iter(multipletests(known, method="holm")[1] if known else ())
    finally:
        gc.unfreeze()
    return [
        replace(d, adjusted_pvalue=math.nan if math.isnan(d.pvalue) else float(next(found)))
        for d in differences
    ]

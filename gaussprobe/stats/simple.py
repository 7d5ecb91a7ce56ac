"""The Kolmogorov-Smirnov test against one wholly known normal law: nothing is estimated.

The other tests on the empirical distribution function take `null="simple"`.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from gaussprobe.stats import edf, simple_null
from gaussprobe.stats.batch import ArrayLike, check, measure
from gaussprobe.stats.ordered import OrderedSample, in_chunks
from gaussprobe.types import GofResult

# The law of D is exact at any n, but one value is no sample.
MINIMUM = 2

_LARGEST = float(np.finfo(np.float64).max)


@in_chunks(minimum=MINIMUM)
def statistic(sample: OrderedSample) -> torch.Tensor:
    """D of each unit, `(C,)`, against the standard normal law if the sample was not standardised."""
    return edf.largest_gap(sample)


def pvalue(d: torch.Tensor, n_samples: int) -> torch.Tensor:
    """P-value of D at `n_samples`."""
    if n_samples < MINIMUM:
        return torch.full_like(d, torch.nan)
    return simple_null.pvalue("kolmogorov", d, n_samples)


def _parameter(name: str, value: float, *, positive: bool) -> float:
    """`value` as a float.

    Raises:
        ValueError: if it is no finite number, or not positive where it must be.
    """
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    came = repr(value)[:40]
    try:
        number = float(value) if is_number else math.nan
    except OverflowError:
        number, came = math.inf, "an integer beyond the range of float64"
    if not math.isfinite(number) or (positive and number <= 0):
        requirement = "a finite number above 0" if positive else "a finite number"
        raise ValueError(f"{name} must be {requirement}; got {came}")
    return number


def _in_units_of(x: ArrayLike, loc: float, scale: float) -> ArrayLike:
    """`(x - loc) / scale` in float64; of a finite value it is finite, if need be the largest there is."""
    if isinstance(x, torch.Tensor):
        values = x.detach().to(torch.float64)
        z = (values - loc) / scale
        return torch.where(torch.isfinite(values), z.clamp(-_LARGEST, _LARGEST), z)
    array = np.asarray(x).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (array - loc) / scale
    return np.where(np.isfinite(array), np.clip(scaled, -_LARGEST, _LARGEST), scaled)


def kstest(x: ArrayLike, loc: float = 0.0, scale: float = 1.0, dim: int = 0) -> GofResult:
    """Kolmogorov-Smirnov test against a normal law of known mean and sd.

    `D = sup_x |F_n(x) - Phi((x - loc) / scale)|`. Large D speaks against the law.

    Null hypothesis: the samples are independent draws of N(loc, scale^2), its parameters known beforehand.
    With parameters estimated from the same samples it hardly ever rejects: use `lilliefors`.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers.
        loc: mean of the law, in the unit of `x`.
        scale: its standard deviation, in the unit of `x`, above 0.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        `statistic` D and `pvalue` in the batch's shape; a constant sample has both. NaN with a warning for
        samples that hold non-finite values, or are fewer than 2. The p-value is within 2e-7 of the exact one:
        from its table to n = 500, beyond from an expansion to order n^(-3/2).

    Raises:
        ValueError: for an `x`, a `dim`, a `loc` or a `scale` that cannot be used.

    Reference:
        Simard & L'Ecuyer (2011), J. Stat. Soft. 39(11); Pelz & Good (1976), JRSS B 38.
    """
    loc = _parameter("loc", loc, positive=False)
    scale = _parameter("scale", scale, positive=True)
    if (loc, scale) != (0.0, 1.0):
        check(x, dim)
        x = _in_units_of(x, loc, scale)
    batch, found = measure(x, dim, {"d": statistic}, name="kstest", minimum=MINIMUM, null="simple")
    return batch.gof(found["d"], pvalue(found["d"], batch.n_samples))

"""Univariate tests over random directions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import torch

from gaussprobe.errors import ConstantSampleWarning, NonFiniteSampleWarning, TooFewSamplesWarning
from gaussprobe.stats import anderson, cramer, epps, jarque, slices_null, watson_u2, workers
from gaussprobe.stats.batch import ArrayLike, known_name, known_null
from gaussprobe.stats.battery import TESTS
from gaussprobe.stats.multivariate import BLOCK, Points, points
from gaussprobe.stats.ordered import Null, order_piece
from gaussprobe.types import GofResult

# Tests that know of mean 0 and variance 1, by the functions that give their p-values.
SIMPLE: dict[str, Callable[[torch.Tensor, int, Null], torch.Tensor]] = {
    "anderson_darling": anderson.pvalue,
    "cramer_von_mises": cramer.pvalue,
    "watson": watson_u2.pvalue,
    "epps_pulley": epps.pvalue,
}

# Statistics of the columns of `(n, K)`, standardised or as they stand, that carry gradients.
DIFFERENTIABLE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "epps_pulley": epps.differentiable,
    "jarque_bera": jarque.differentiable,
}


def directions(num_features: int, num_slices: int, *, seed: int) -> torch.Tensor:
    """`(d, K)` independent uniform unit vectors, from a generator of their own; on the CPU, float64."""
    generator = torch.Generator(device="cpu").manual_seed(seed)
    raw = torch.randn((num_features, num_slices), generator=generator, dtype=torch.float64, device="cpu")
    unit: torch.Tensor = raw / torch.linalg.vector_norm(raw, dim=0)
    return unit


def _check(test: str, num_slices: int, seed: int, null: str) -> None:
    known_null(null)
    known_name("test", test, TESTS)
    if null == "simple" and test not in SIMPLE:
        raise ValueError(f"test must be among {', '.join(SIMPLE)} if null is 'simple'; got {test!r}")
    for name, value, least in (("num_slices", num_slices, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name} must be an integer from {least} on; got {value!r}")
        if value >= 2**63:
            raise ValueError(f"{name} must be below 2^63; got {value!r}")


def _usable(sample: Points, minimum: int, null: Null) -> bool:
    """Whether there is anything to test; warns if not."""
    x = sample.values.detach()
    n, d = x.shape
    level = 3  # the caller of the public function
    if n < minimum:
        warnings.warn(
            f"sliced needs at least {minimum} samples; got {n}: the result is NaN",
            TooFewSamplesWarning,
            stacklevel=level,
        )
        return False
    if not bool(torch.isfinite(x).all()):
        count = int((~torch.isfinite(x)).any(dim=0).sum())
        warnings.warn(
            f"sliced: {count} of {d} features have NaN or infinite values: the result is NaN",
            NonFiniteSampleWarning,
            stacklevel=level,
        )
        return False
    if null == "composite" and bool((x == x[0]).all()):
        warnings.warn(
            f"sliced: {d} of {d} features have no variance: the result is NaN",
            ConstantSampleWarning,
            stacklevel=level,
        )
        return False
    return True


def _project(x: torch.Tensor, vectors: torch.Tensor, test: str, null: Null) -> torch.Tensor:
    """The statistic of each slice, `(K,)`, a few slices at a time."""
    step = workers.units_per_chunk(len(x), x.device)
    statistic = TESTS[test].statistic

    def part(start: int) -> torch.Tensor:
        return statistic(order_piece(x @ vectors[:, start : start + step], null=null))

    return torch.cat(workers.each(part, range(0, vectors.shape[1], step), x.device))


def correlations(x: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """`(K, K)` correlations of the projections of centred `x` `(n, d)`, in blocks of rows."""
    d = x.shape[1]
    few = d <= vectors.shape[1]  # cheaper through the features' covariance
    width = d if few else vectors.shape[1]
    total = torch.zeros((width, width), dtype=x.dtype, device=x.device)
    step = max(1, BLOCK // max(d, width))
    for start in range(0, len(x), step):
        part = x[start : start + step]
        part = part if few else part @ vectors
        total.addmm_(part.T, part)
    if few:
        total = vectors.T @ total @ vectors
    length = total.diagonal().clamp(min=0).sqrt()
    return torch.nan_to_num(total / length[:, None] / length).clamp(-1, 1)


def _with_gradient(sample: Points, vectors: torch.Tensor, test: str, null: Null) -> torch.Tensor:
    """The mean statistic, through operations that carry gradients."""
    z = sample.values @ vectors
    if null == "composite":
        z = z - z.mean(dim=0)
        z = z / z.square().mean(dim=0).sqrt()
    return DIFFERENTIABLE[test](z).mean()


def sliced(
    x: ArrayLike,
    test: str = "epps_pulley",
    num_slices: int = 256,
    dim: int = 0,
    *,
    null: Null = "composite",
    seed: int = 0,
) -> GofResult:
    """A univariate test of normality over random directions of a multivariate sample.

    `(1/K) sum_k T(x theta_k)` with K unit vectors theta_k, independent and uniform on the sphere, and T the
    statistic of the test. By the theorem of Cramer and Wold a law is normal if all its projections are.

    Null hypothesis: the samples are independent draws of one multivariate normal law of unknown mean and
    covariance (of any rank); if `null` is `"simple"`, of the standard normal law with independent features.

    Args:
        x: `(n, d)`, samples along `dim`, features along the other; tensor or array of real numbers, computed
            in float64. n may be smaller than d. If it requires a gradient and the test is `epps_pulley` or
            `jarque_bera`, so does the statistic, which can then serve as a loss.
        test: name of a test as in `battery`; under the simple null `epps_pulley`, `anderson_darling`,
            `cramer_von_mises` or `watson`.
        num_slices: K.
        dim: dimension of the samples.
        null: `"composite"` or `"simple"`.
        seed: of the directions, which come from a generator of their own. A loss should have another one at
            each step.

    Returns:
        `statistic` and `pvalue`, single numbers. NaN with a warning for samples that are constant, hold
        non-finite values, or are fewer than the test needs. With features of unequal variance the slices see
        little but the largest: standardise or whiten them first if that is not meant.

        The p-value is that of the slices' mean evidence `-2 ln p`. Slices share their samples, and by how
        much is known: from the correlations of the projections, which under normality say all there is to
        say, follow the mean's variance and skewness, and a gamma law with these gives p. It holds its level
        whatever the covariance and however many slices (docs/multivariate.md has the rates). Other ways of
        combining, measured on the same samples, do not: the Cauchy combination rejects up to 7.1 % at .05 and
        1.5 % at .01, the harmonic mean up to 9.8 %, Simes 1.8 to 5.3 %.

    Raises:
        ValueError: for an `x`, a `dim`, a `null`, a `num_slices` or a `seed` that cannot be used, or an
            unknown name.

    Reference:
        Balestriero & LeCun (2025), arXiv:2511.08544, for the sliced Epps-Pulley statistic as a loss; Brown
        (1975), Biometrics 31, and Kost & McDermott (2002), Statistics & Probability Letters 60, for the
        evidence of dependent tests.
    """
    _check(test, num_slices, seed, null)
    sample = points(x, dim)
    n, d = sample.n_samples, sample.num_features
    if not _usable(sample, TESTS[test].minimum, null):
        return sample.gof(math.nan, math.nan)
    vectors = directions(d, int(num_slices), seed=int(seed)).to(sample.values.device)
    values = sample.values.detach()
    few = vectors[:, : slices_null.MOST]
    if null == "composite":
        values = values / values.abs().amax()
        # Centred twice: the second time removes what rounding left of a mean far from zero.
        values = values - values.mean(dim=0)
        values = values - values.mean(dim=0)
        rho = correlations(values, few)
        found = _project(values, vectors, test, null)
        p = TESTS[test].pvalue(found, n)
    else:
        rho = few.T @ few
        found = _project(values, vectors, test, null)
        p = SIMPLE[test](found, n, null)
    statistic = found.mean()
    if sample.values.requires_grad and test in DIFFERENTIABLE:
        statistic = _with_gradient(sample, vectors, test, null)
    return sample.gof(statistic, slices_null.combine(p, rho, test=test, null=null, n_samples=n))

"""From the p-values of dependent slices to one p-value.

The evidence `-2 ln p` of a slice is chi-squared with 2 degrees of freedom. That of two slices is correlated,
by what depends on the test and on the correlation rho of the two projections alone: `h(rho)`, tabulated by
`gaussprobe.stats.build_multivariate`. The mean over slices then has a known mean and variance; its skewness
is that of a sum of chi-squared variables weighted by the eigenvalues of the matrix `h(rho)^q`, q near 1/2
and fitted for each test. A gamma law with an origin of its own has all three.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from scipy.special import gammaincc

from gaussprobe.stats import multivariate_null, workers

Null: TypeAlias = Literal["composite", "simple"]

# Slices whose dependence is looked at pair by pair; more of them are drawn from the same law.
MOST = 1024

_POWERS_FROM = 16


@dataclass(frozen=True)
class Law:
    """How the evidence of two slices is correlated.

    Args:
        degrees: of the polynomials in rho.
        weights: of the polynomials; they add up to 1.
        exponent: q.
        ambient: dimension of the sphere that the standardised projections lie on; None if they lie on none.
    """

    degrees: tuple[int, ...]
    weights: tuple[float, ...]
    exponent: float
    ambient: int | None


@functools.lru_cache(maxsize=256)
def law(test: str, null: Null, n_samples: int) -> Law:
    """From the table, whose weights are linear in n^-1/2 between the tabulated n."""
    table = multivariate_null.load()["slices"][null]
    entry = table["tests"][test]
    grid = np.asarray(table["n"], dtype=np.float64) ** -0.5
    columns = np.asarray(entry["weights"], dtype=np.float64).T
    # np.interp wants an ascending grid; n ascends.
    here = np.array([np.interp(n_samples**-0.5, grid[::-1], column[::-1]) for column in columns])
    return Law(
        degrees=tuple(table["degrees"]),
        weights=tuple((here / here.sum()).tolist()),
        exponent=float(entry["exponent"]),
        ambient=n_samples - 1 if null == "composite" else None,
    )


def polynomials(rho: torch.Tensor, degrees: Sequence[int], ambient: int | None) -> Iterator[torch.Tensor]:
    """Polynomials of even degree in rho, 1 at 1, whose mixtures are the correlations that can be.

    Standardised projections are points on a sphere in n - 1 dimensions, and a correlation that depends on the
    angle between two of them is a mixture of that sphere's Gegenbauer polynomials (Schoenberg 1942, Duke
    Mathematical Journal 9). From degree 16 on, and without a sphere, powers: the difference is gone.
    """
    square = rho.square().clamp(max=1.0)
    log = torch.log(square.clamp(min=1e-300)) / 2
    before, here, at = torch.ones_like(rho), rho, 1
    for degree in degrees:
        if ambient is None or degree >= _POWERS_FROM:
            yield torch.exp(degree * log)
            continue
        while at < degree:
            after = ((2 * at + ambient - 2) * rho * here - at * before) / (at + ambient - 2)
            before, here, at = here, after, at + 1
        yield here


def correlation_of_evidence(rho: torch.Tensor, which: Law) -> torch.Tensor:
    """`h(rho)` of matrices of correlations; 1 on their diagonals."""
    total = torch.zeros_like(rho)
    kept = [(d, w) for d, w in zip(which.degrees, which.weights, strict=True) if w > 0]
    values = polynomials(rho, [degree for degree, _ in kept], which.ambient)
    for (_, weight), value in zip(kept, values, strict=True):
        total += weight * value
    torch.diagonal(total, dim1=-2, dim2=-1).fill_(1.0)
    return total


@workers.one_thread()
def combine(
    pvalues: torch.Tensor, rho: torch.Tensor, *, test: str, null: Null, n_samples: int
) -> torch.Tensor:
    """P-value of the mean evidence of all slices.

    Args:
        pvalues: `(.., K)`.
        rho: `(.., k, k)` correlations of the projections, of all slices or of the first k of them.
        test, null, n_samples: what gave the p-values.

    Returns:
        `(..)`; NaN where a p-value is.
    """
    slices, pairs = pvalues.shape[-1], rho.shape[-1]
    mean = (-2 * torch.log(pvalues.clamp(min=1e-300))).mean(dim=-1)
    which = law(test, null, n_samples)
    h = correlation_of_evidence(rho, which)
    root = h.clamp(min=0) ** which.exponent
    two = h.sum(dim=(-2, -1)) - pairs
    square = root.square().sum(dim=(-2, -1)) - pairs
    # Triples of distinct slices: all, less those in which two or three are the same.
    three = (root @ root * root).sum(dim=(-2, -1)) - 3 * square - pairs
    if pairs > 1:
        two, square = two / (pairs * (pairs - 1)), square / (pairs * (pairs - 1))
    if pairs > 2:
        three = three / (pairs * (pairs - 1) * (pairs - 2))
    variance = (1 + (slices - 1) * two).clamp(min=1e-12) / slices
    third = (1 + 3 * (slices - 1) * square + (slices - 1) * (slices - 2) * three) / slices**2
    # A single slice's evidence has variance 4 and skewness 2; the mean's is no larger.
    skewness = (2 * third / variance**1.5).clamp(max=2.0)
    score = (mean - 2) / (2 * variance.sqrt())
    shape = 4 / skewness**2
    found = gammaincc(*(v.cpu().numpy() for v in (shape, (shape + score * shape.sqrt()).clamp(min=0))))
    return torch.as_tensor(found, dtype=torch.float64, device=pvalues.device)

"""Negentropy by tapered digamma spacings."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
from scipy.special import digamma

from gaussprobe.stats import tables
from gaussprobe.stats.ordered import ArrayLike, OrderedSample, in_chunks, prepare

MINIMUM = 8
METHODS = ("spacing",)

# Equal values this many, and this share of the sample, are an atom and not coarse rounding.
ATOM_COUNT = 5
ATOM_SHARE = 0.02

_NORMAL_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)


@functools.lru_cache(maxsize=8)
def _windows(
    n_samples: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Half-width m_i, first and last index of each window, and psi(k_i), `(n,)`; not to be written to."""
    n = n_samples
    i = np.arange(1, n + 1)
    widest = max(1, int(n ** (1 / 3) + 1e-9))  # a cube must not fall just short of its root
    m = np.clip(np.ceil(np.minimum(i, n + 1 - i) / 4).astype(np.int64), 1, widest)
    low = np.maximum(i - m, 1) - 1
    high = np.minimum(i + m, n) - 1
    parts = (m, low, high, digamma((high - low).astype(np.float64)))
    half, first, last, psi = (torch.from_numpy(part).to(device) for part in parts)
    return half, first, last, psi


@in_chunks(minimum=MINIMUM)
def raw(sample: OrderedSample) -> torch.Tensor:
    """Negentropy of each unit before the mean under the null is subtracted, `(C,)` in nats."""
    n = sample.n_samples
    _, low, high, psi = _windows(n, sample.z.device)
    spacing = sample.z.index_select(1, high) - sample.z.index_select(1, low)
    tied = spacing <= 0
    log_spacing = spacing.log_()
    ties = bool(tied.any())
    if ties:
        log_spacing[tied] = 0.0
    # mean log f(x_i) with log f(x_i) = psi(k) - psi(n + 1) - log spacing, minus that of a normal law of sd 1.
    total = psi.sum() - log_spacing.sum(dim=1)
    if ties:
        total += _tied_terms(sample.z, tied)
    return _NORMAL_ENTROPY + total / n - float(digamma(n + 1))


def _tied_terms(z: torch.Tensor, tied: torch.Tensor) -> torch.Tensor:
    """What the tied points add to `sum psi(k) - log spacing` once their windows are wide enough, per row.

    A window without width is doubled until it has some. One that still has none when it holds an atom makes
    the density, and the sum, infinite.
    """
    n = z.shape[1]
    atom = max(ATOM_COUNT, ATOM_SHARE * n)
    half, low, high, psi = _windows(n, z.device)
    row, point = torch.nonzero(tied, as_tuple=True)
    # psi(k) of the first window was counted already.
    total = torch.zeros(z.shape[0], dtype=z.dtype, device=z.device)
    total.index_add_(0, row, -psi[point])
    m, k = half[point], (high - low)[point]
    while row.numel():
        infinite = k >= atom
        total.index_fill_(0, row[infinite], torch.inf)
        go_on = ~infinite
        row, point, m = row[go_on], point[go_on], 2 * m[go_on]
        first, last = (point - m).clamp(min=0), (point + m).clamp(max=n - 1)
        k = last - first
        spacing = z[row, last] - z[row, first]
        wide = spacing > 0
        total.index_add_(0, row[wide], torch.special.digamma(k[wide].to(z.dtype)) - torch.log(spacing[wide]))
        row, point, m, k = row[~wide], point[~wide], m[~wide], k[~wide]
    return total


def corrected(sample: OrderedSample) -> torch.Tensor:
    """Negentropy of each unit, `(C,)` in nats, minus its mean under the null at that n."""
    return raw(sample) - tables.null_mean("negentropy", sample.n_samples)


def negentropy(x: ArrayLike, dim: int = 0, *, method: str = "spacing") -> Any:
    """Negentropy: how many nats the entropy falls short of that of a normal law of equal variance.

    `J = ln(sd sqrt(2 pi e)) + (1/n) sum_i ln f(x_(i)) - null mean`, with
    `ln f(x_(i)) = psi(k_i) - psi(n + 1) - ln(x_(i+m) - x_(i-m))`, half-width
    `m_i = clip(ceil(min(i, n+1-i) / 4), 1, floor(n^(1/3)))`, indices held within 1 .. n, and k_i the
    difference of the two indices. The null mean at each n comes from simulation.

    Null hypothesis: none; an estimate. J is 0 for a normal law and positive for any other; its estimate
    scatters around 0 under normality and may be negative.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers, computed in float64.
        dim: dimension of the samples; every other dimension is batch.
        method: `"spacing"`.

    Returns:
        J in nats in the batch's shape. A window of equal values is widened until it has a width; if it has
        none when k reaches 5 and 2 % of n, the sample has an atom and J is `inf`. NaN with a
        warning for samples that are constant, hold non-finite values, or are fewer than 8.

    Raises:
        ValueError: for an `x`, a `dim` or a `method` that cannot be used.

    Reference:
        Vasicek (1976), JRSS B 38, for spacings; Ebrahimi, Pflughoeft & Soofi (1994), Statistics & Probability
        Letters 20, for windows that shrink at the ends. A spacing of order k of n uniform values is
        Beta(k, n + 1 - k), whose logarithm has mean psi(k) - psi(n + 1).
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    batch, sample = prepare(x, dim, name="negentropy", minimum=MINIMUM)
    return batch.give_back(corrected(sample))

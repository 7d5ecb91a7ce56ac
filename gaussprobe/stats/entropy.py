"""Negentropy by tapered digamma spacings."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from scipy.special import digamma

from gaussprobe.stats import contrasts, tables, workers
from gaussprobe.stats.batch import ArrayLike, measure
from gaussprobe.stats.ordered import OrderedSample, in_chunks

MINIMUM = 8
Method: TypeAlias = Literal["spacing", "logcosh", "exp", "cumulant"]

# Equal values this many, and this share of the sample, are an atom and not coarse rounding.
ATOM_COUNT = 5
ATOM_SHARE = 0.02

_NORMAL_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)


@workers.constant(8)
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


def _spacings(sample: OrderedSample) -> torch.Tensor:
    """Width of the window of each point, `(C, n)`."""
    z, n = sample.z, sample.n_samples
    spacing = sample.buffer("first")
    half, low, high, _ = _windows(n, z.device)
    widest = int(half.max())
    end = min(4 * widest, n // 2)  # from here on windows have their full width, and lie within the sample
    torch.sub(
        z[:, end + widest : n - end + widest],
        z[:, end - widest : n - end - widest],
        out=spacing[:, end : n - end],
    )
    for part in (slice(0, end), slice(n - end, n)):
        spacing[:, part] = z.index_select(1, high[part]) - z.index_select(1, low[part])
    return spacing


@in_chunks(minimum=MINIMUM)
def raw(sample: OrderedSample) -> torch.Tensor:
    """Negentropy of each unit before the mean under the null is subtracted, `(C,)` in nats."""
    n = sample.n_samples
    psi = _windows(n, sample.z.device)[3]
    spacing = _spacings(sample)
    # A width of nothing has no logarithm; NaN rows pass.
    tied = spacing <= 0 if bool((spacing.amin(dim=1) <= 0).any()) else None
    log_spacing = spacing.log_()
    if tied is not None:
        log_spacing.masked_fill_(tied, 0.0)
    # mean log f(x_i) with log f(x_i) = psi(k) - psi(n + 1) - log spacing, minus that of a normal law of sd 1.
    # The null sd of the mean comes near what a sum in float32 rounds away.
    total = psi.sum() - log_spacing.sum(dim=1, dtype=torch.float64)
    if tied is not None:
        # Where a window without width is wide enough from the first, nothing else matters.
        _, low, high, _ = _windows(n, sample.z.device)
        infinite = (tied & (high - low >= _atom(n))).sum(dim=1) > 0  # any() takes nine times as long
        tied[infinite] = False
        total += _tied_terms(sample.z, tied)
        total[infinite] = torch.inf
    return _NORMAL_ENTROPY + total / n - float(digamma(n + 1))


def _atom(n_samples: int) -> float:
    """As many equal values as are an atom."""
    return max(ATOM_COUNT, ATOM_SHARE * n_samples)


def _tied_terms(z: torch.Tensor, tied: torch.Tensor) -> torch.Tensor:
    """What the tied points add to `sum psi(k) - log spacing` once their windows are wide enough, per row.

    A window without width is doubled until it has some. One that still has none when it holds an atom makes
    the density, and the sum, infinite.
    """
    n = z.shape[1]
    atom = _atom(n)
    half, low, high, psi = _windows(n, z.device)
    row, point = torch.nonzero(tied, as_tuple=True)
    # psi(k) of the first window was counted already.
    total = torch.zeros(z.shape[0], dtype=torch.float64, device=z.device)
    total.index_add_(0, row, -psi[point])
    m, k = half[point], (high - low)[point]
    while row.numel():
        infinite = k >= atom
        total.index_fill_(0, row[infinite], torch.inf)
        go_on = ~infinite
        row, point, m = row[go_on], point[go_on], 2 * m[go_on]
        first, last = (point - m).clamp(min=0), (point + m).clamp(max=n - 1)
        k = last - first
        spacing = (z[row, last] - z[row, first]).to(torch.float64)
        wide = spacing > 0
        total.index_add_(
            0, row[wide], torch.special.digamma(k[wide].to(torch.float64)) - torch.log(spacing[wide])
        )
        row, point, m, k = row[~wide], point[~wide], m[~wide], k[~wide]
    return total


def corrected(sample: OrderedSample) -> torch.Tensor:
    """Negentropy of each unit, `(C,)` in nats, minus its mean under the null at that n."""
    return raw(sample) - tables.null_mean("negentropy", sample.n_samples)


def negentropy(x: ArrayLike, dim: int = 0, *, method: Method = "spacing") -> Any:
    """Negentropy: how many nats the entropy falls short of that of a normal law of equal variance.

    `J = ln(sd sqrt(2 pi e)) + (1/n) sum_i ln f(x_(i)) - null mean`, with
    `ln f(x_(i)) = psi(k_i) - psi(n + 1) - ln(x_(i+m) - x_(i-m))`, half-width
    `m_i = clip(ceil(min(i, n+1-i) / 4), 1, floor(n^(1/3)))`, indices held within 1 .. n, and k_i the
    difference of the two indices. The null mean at each n comes from simulation.

    The other methods are contrasts, not estimates of J: half the squared length of the departure along one or
    two functions of the standardised z, nu standard normal. `"exp"`: `k1 (E z exp(-z^2/2))^2 +
    k2 (E exp(-z^2/2) - sqrt(1/2))^2`, k1 = 36 / (8 sqrt 3 - 9), k2 = 24 / (16 sqrt 3 - 27); `"logcosh"`:
    `(E ln cosh z - E ln cosh nu)^2 / .0126557`, blind to skewness; `"cumulant"`: `g1^2 / 12 + g2^2 / 48`,
    which grows with n under heavy tails. For the exponential law J is .419, the three .270, .156 and 1.08;
    for t(5) J is .047, they .052, .078 and .75.

    Null hypothesis: none; an estimate. J is 0 for a normal law and positive for any other; its estimate
    scatters around 0 under normality and may be negative. The contrasts are not negative, and not corrected
    for n.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers.
        dim: dimension of the samples; every other dimension is batch.
        method: `"spacing"`, `"logcosh"`, `"exp"` or `"cumulant"`.

    Returns:
        J in nats, or the contrast, in the batch's shape. A window of equal values is widened until it has a
        width; if it has none when k reaches 5 and 2 % of n, the sample has an atom and J is `inf`. NaN with a
        warning for samples that are constant, hold non-finite values, or are fewer than 8 (2 for a contrast).

    Raises:
        ValueError: for an `x`, a `dim` or a `method` that cannot be used.

    Reference:
        Vasicek (1976), JRSS B 38, for spacings; Ebrahimi, Pflughoeft & Soofi (1994), Statistics & Probability
        Letters 20, for windows that shrink at the ends. A spacing of order k of n uniform values is
        Beta(k, n + 1 - k), whose logarithm has mean psi(k) - psi(n + 1). For the contrasts Hyvarinen (1998),
        NIPS 10; Hyvarinen & Oja (2000), Neural Networks 13; Jones & Sibson (1987), JRSS A 150.
    """
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}; got {method!r}")
    function = corrected if method == "spacing" else contrasts.CONTRASTS[method]
    minimum = MINIMUM if method == "spacing" else contrasts.MINIMUM
    batch, found = measure(x, dim, {"j": function}, name="negentropy", minimum=minimum)
    return batch.give_back(found["j"])

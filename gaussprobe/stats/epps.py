"""The Epps-Pulley test: empirical characteristic function against the normal one."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from gaussprobe.stats import tables, workers
from gaussprobe.stats.batch import ArrayLike, measure
from gaussprobe.stats.ordered import Null, OrderedSample, in_chunks
from gaussprobe.types import GofResult

MINIMUM = 8

BINS_PER_SD = 4
SHORTEST_PERIOD = 16  # in sd
LONGEST_PERIOD = 4096

# Two values this far apart add e^(-18) / n to the statistic.
_APART = 6.0
# The weight of the characteristic function is 5e-11 beyond.
_LARGEST_T = 6.75

# Moments within a bin: errors of the next order are below what rounding of z leaves.
_ORDER = {torch.float32: 4, torch.float64: 8}


@workers.constant(64)
def nodes(
    period: int, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Nodes t_j = 2 pi j / period above 0, weights of the integral over both signs, `exp(-t_j^2 / 2)`."""
    count = math.ceil(_LARGEST_T * period / (2 * math.pi))
    t = 2 * math.pi / period * torch.arange(1, count + 1, dtype=torch.float64)
    normal = torch.exp(-0.5 * t * t)
    weight = 2 * (2 * math.pi / period) * normal / math.sqrt(2 * math.pi)
    return t.to(device, dtype), weight.to(device), normal.to(device, dtype)


def periods(lowest: torch.Tensor, highest: torch.Tensor) -> torch.Tensor:
    """Period of the sum over nodes for rows of that range, `(C,)` int64: so long that no pair meets twice.

    A sum over equally spaced nodes is the integral for values taken modulo the period.
    """
    widest = 2 * torch.maximum(lowest.abs(), highest.abs()) + _APART
    exponent = torch.ceil(
        torch.log2(torch.nan_to_num(widest, nan=0.0).clamp(SHORTEST_PERIOD, LONGEST_PERIOD))
    )
    return (2**exponent).to(torch.int64)


def of_rows(z: torch.Tensor) -> torch.Tensor:
    """The statistic of ascending rows `z` `(C, n)` as they stand, `(C,)` float64; NaN for rows of NaN."""
    lowest, highest = z[:, 0].to(torch.float64), z[:, -1].to(torch.float64)
    period = periods(lowest, highest)
    result = lowest + highest  # NaN where the row is
    for length in torch.unique(period).tolist():
        rows = torch.nonzero((period == length) & ~result.isnan()).flatten()
        if len(rows):
            result[rows] = _binned(z if len(rows) == len(z) else z[rows], length)
    return result


def _binned(z: torch.Tensor, period: int) -> torch.Tensor:
    """The statistic from the values' moments in narrow bins, about each bin's centre.

    `sum_i exp(-i t z_i) = sum_k (-i t)^k / k! sum_b exp(-i t c_b) sum_{i in b} (z_i - c_b)^k`, the sums over
    bins by Fourier transform.
    """
    n = z.shape[1]
    if period == LONGEST_PERIOD:
        half = period / 2
        z = torch.remainder(z + half, period).sub_(half).sort(dim=1).values
    t, weight, normal = nodes(period, z.device, z.dtype)
    # The grid of bins begins half a period below zero.
    start = 1.0 - 2.0 * (torch.arange(1, len(t) + 1, device=z.device) % 2)
    total = torch.zeros((len(z), len(t)), dtype=z.dtype.to_complex(), device=z.device)
    for k, moment in enumerate(_bin_moments(z, BINS_PER_SD * period)):
        factor = (-1j) ** k / math.factorial(k) * t**k * start
        total += torch.fft.rfft(moment, dim=1)[:, 1 : len(t) + 1] * factor.to(total.dtype)
    distance = torch.view_as_real(total / n - normal).to(torch.float64).square().sum(dim=2)
    return n * (distance @ weight)


def _bin_moments(z: torch.Tensor, count: int) -> Iterator[torch.Tensor]:
    """Sums of `(z - c)^k` over the values of each bin, c its centre, for k from 0 on, `(C, count)` each.

    The rows are sorted, so that a bin is a stretch of them: sums are differences of running sums, which stay
    small because they are about the centres.
    """
    units, n = z.shape

    def buffer(slot: str, width: int) -> torch.Tensor:
        if z.device.type == "cpu":
            return workers.workspace(slot, (units, width), z.dtype)
        return torch.empty((units, width), dtype=z.dtype, device=z.device)

    offset = torch.mul(z, BINS_PER_SD, out=buffer("first", n)).round_()
    edges = torch.arange(1, count, dtype=z.dtype, device=z.device) - (count // 2 + 0.5)
    first = torch.nn.functional.pad(torch.searchsorted(offset, edges.expand(units, -1).contiguous()), (1, 1))
    first[:, -1] = n
    yield torch.diff(first).to(z.dtype)
    torch.sub(z, offset.mul_(1 / BINS_PER_SD), out=offset)
    before = buffer("running", n + 1)
    before[:, 0] = 0
    power = buffer("second", n).copy_(offset)
    order = _ORDER[z.dtype]
    for k in range(1, order + 1):
        torch.cumsum(power, dim=1, out=before[:, 1:])
        yield torch.diff(before.gather(1, first))
        if k < order:
            power.mul_(offset)


@in_chunks(minimum=MINIMUM)
def statistic(sample: OrderedSample) -> torch.Tensor:
    """T of each unit, `(C,)`."""
    return of_rows(sample.z)


def pvalue(t: torch.Tensor, n_samples: int, null: Null = "composite") -> torch.Tensor:
    """P-value of T at `n_samples`, from the Monte Carlo table."""
    return tables.pvalue("epps_pulley" if null == "composite" else "epps_pulley_simple", t, n_samples)


def differentiable(z: torch.Tensor) -> torch.Tensor:
    """The statistic of the columns of `z` `(n, C)`, in any order, through operations that carry gradients.

    The same sum over nodes as for sorted values, directly: several times the time and memory.
    """
    lowest, highest = z.detach().amin().to(torch.float64), z.detach().amax().to(torch.float64)
    period = int(periods(lowest[None], highest[None]))
    t, weight, normal = nodes(period, z.device, z.dtype)
    angle = z[..., None] * t
    distance = (torch.cos(angle).mean(dim=0) - normal).square() + torch.sin(angle).mean(dim=0).square()
    return len(z) * (distance.to(torch.float64) @ weight)


def epps_pulley(x: ArrayLike, dim: int = 0, *, null: Null = "composite") -> GofResult:
    """Epps-Pulley test of normality.

    `T = n int |phi_n(t) - exp(-t^2 / 2)|^2 phi(t) dt`, phi_n the empirical characteristic function of the
    sample standardised with divisor n and phi the standard normal density; in closed form
    `(1/n) sum_ij exp(-(z_i - z_j)^2 / 2) - sqrt(2) sum_i exp(-z_i^2 / 4) + n / sqrt(3)`. Large T speaks
    against normality.

    Null hypothesis: the samples are independent draws of one normal law of unknown mean and variance; of the
    standard normal law if `null` is `"simple"`: the samples then stand for z themselves.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers. If it requires a gradient, so does
            the statistic.
        dim: dimension of the samples; every other dimension is batch.
        null: `"composite"` or `"simple"`.

    Returns:
        `statistic` T and `pvalue` in the batch's shape. NaN with a warning for samples that are constant,
        hold non-finite values, or are fewer than 8. The p-value comes from a table of simulated quantiles.
        Under the simple null values beyond 2,000 are taken modulo 4,096, which moves a T of that size, about
        n / sqrt(3), by a hundredth or two.

    Raises:
        ValueError: for an `x`, a `dim` or a `null` that cannot be used.

    Reference:
        Epps & Pulley (1983), Biometrika 70; Baringhaus & Henze (1988), Metrika 35, equation 2.3 with d = 1
        and beta = 1.
    """
    batch, found = measure(x, dim, {"t": statistic}, name="epps_pulley", minimum=MINIMUM, null=null)
    t = batch.with_gradient(found["t"], differentiable, null)
    return batch.gof(t, pvalue(found["t"], batch.n_samples, null))

"""The one shared pass: a batch of samples, checked, sorted and standardised once.

Every statistic of this package is a pure function of an `OrderedSample`. Only the public functions
look at what the user gave, and only they warn.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from gaussprobe.errors import ConstantSampleWarning, NonFiniteSampleWarning, TooFewSamplesWarning
from gaussprobe.types import GofResult

ArrayLike: TypeAlias = "torch.Tensor | npt.NDArray[Any]"
RowFunction: TypeAlias = "Callable[[OrderedSample], torch.Tensor]"

# Elements a statistic works on at once: a few such temporaries stay in a CPU core's cache; a GPU wants more.
CHUNK_CPU = 2**16
CHUNK_CUDA = 2**26

# frexp reaches 1024 and -1073; two to these powers and their inverses are still finite.
_MAX_EXPONENT = 1000


@dataclass(frozen=True, kw_only=True)
class OrderedSample:
    """A batch of samples, sorted and standardised.

    Args:
        z: `(C, n)` float64; each row ascending, mean 0 and biased sd 1, NaN where the sample cannot be used.
        mean: `(C,)` float64, in the unit of the data.
        sd: `(C,)` float64, biased (divided by n), in the unit of the data; 0 for a constant sample.
        constant: `(C,)` bool, all values equal.
        nonfinite: `(C,)` bool, NaN or infinity among the values.
        n_samples: n.
    """

    z: torch.Tensor
    mean: torch.Tensor
    sd: torch.Tensor
    constant: torch.Tensor
    nonfinite: torch.Tensor
    n_samples: int

    def __getitem__(self, units: slice | torch.Tensor) -> OrderedSample:
        """The same for some of the units."""
        return OrderedSample(
            z=self.z[units],
            mean=self.mean[units],
            sd=self.sd[units],
            constant=self.constant[units],
            nonfinite=self.nonfinite[units],
            n_samples=self.n_samples,
        )

    @property
    def num_features(self) -> int:
        """Number of samples in the batch: units."""
        return int(self.z.shape[0])


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch's CPU operations on the calling thread, then put the number of threads back.

    Work is cut into pieces that fit the cache. With several threads every operation on a piece ends in a
    barrier, which costs milliseconds whenever another process has one of the cores.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def order(x: torch.Tensor) -> OrderedSample:
    """Sort and standardise each column of `x`, which is left as it was.

    A column that is constant or holds a non-finite value becomes a row of NaN and disturbs no other.

    Args:
        x: `(n, C)`, any real dtype, on any device that has float64.
    """
    values = x.detach()
    if values.dtype not in (torch.float32, torch.float64):
        values = values.to(torch.float64)
    rows = values.t().clone(memory_format=torch.contiguous_format)
    return standardise(sort_rows(rows))


def sort_rows(rows: torch.Tensor) -> torch.Tensor:
    """`rows` `(C, n)`, contiguous, sorted ascending; NaN come last. On the CPU in place.

    torch.sort also moves int64 indices, which costs several times numpy's sort on the CPU.
    """
    if rows.device.type == "cpu":
        rows.numpy().sort(axis=1)
        return rows
    return torch.sort(rows, dim=1).values


@one_thread()
def standardise(ascending: torch.Tensor) -> OrderedSample:
    """`OrderedSample` of rows `(C, n)` that are sorted already; float32 is widened, which is exact."""
    n = ascending.shape[1]
    lowest = ascending[:, 0].to(torch.float64)
    highest = ascending[:, -1].to(torch.float64)
    nonfinite = ~(torch.isfinite(lowest) & torch.isfinite(highest))
    # Rounding leaves the sd of a constant column above zero; its extremes are equal exactly.
    constant = (lowest == highest) & ~nonfinite
    bad = nonfinite | constant

    # A power of two changes no digit and keeps squares of very large or small values in range.
    largest = torch.maximum(lowest.abs(), highest.abs())
    largest = torch.where(bad | (largest == 0), 1.0, largest)
    exponent = torch.frexp(largest).exponent.clamp(-_MAX_EXPONENT, _MAX_EXPONENT)
    scale = torch.ldexp(torch.ones_like(largest), exponent)
    z = ascending.to(torch.float64, copy=True)
    z.div_(scale[:, None])
    if bool(nonfinite.any()):
        z[nonfinite] = torch.nan
    mean = z.mean(dim=1)
    z.sub_(mean[:, None])
    # The second centring removes what rounding left of the first when the mean is far from zero.
    rest = z.mean(dim=1)
    z.sub_(rest[:, None])
    mean = mean + rest
    sd = torch.linalg.vecdot(z, z).div_(n).sqrt_()
    # Differences of subnormal size may still square to zero.
    constant = constant | (sd == 0)
    z.div_(sd[:, None])
    if bool(constant.any()):
        z[constant] = torch.nan
        sd = torch.where(constant, 0.0, sd)
        mean = torch.where(constant, lowest / scale, mean)
    return OrderedSample(
        z=z, mean=mean * scale, sd=sd * scale, constant=constant, nonfinite=nonfinite, n_samples=n
    )


def in_chunks(*, minimum: int) -> Callable[[RowFunction], RowFunction]:
    """Make a function of an `OrderedSample` work through the units in pieces that fit the cache.

    With fewer than `minimum` samples the result is NaN.
    """

    def decorate(function: RowFunction) -> RowFunction:
        @functools.wraps(function)
        @one_thread()
        def chunked(sample: OrderedSample) -> torch.Tensor:
            units, n = sample.z.shape
            if n < minimum:
                return torch.full((units,), torch.nan, dtype=torch.float64, device=sample.z.device)
            step = units_per_chunk(n, sample.z.device)
            if units <= step:
                return function(sample)
            return torch.cat([function(sample[i : i + step]) for i in range(0, units, step)])

        return chunked

    return decorate


def units_per_chunk(n_samples: int, device: torch.device) -> int:
    """How many units of `n_samples` to work on at once."""
    return max(1, (CHUNK_CPU if device.type == "cpu" else CHUNK_CUDA) // n_samples)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a user gave, as columns, and how to hand results back.

    Args:
        values: `(n, C)`.
        shape: shape of the batch: the input's without `dim`.
        is_array: whether results go back as numpy arrays.
    """

    values: torch.Tensor
    shape: tuple[int, ...]
    is_array: bool

    def give_back(self, result: torch.Tensor) -> Any:
        """`(C,)` in the batch's shape, as a tensor or an array (a scalar for a batch of one)."""
        shaped = result.reshape(self.shape)
        return shaped.cpu().numpy()[()] if self.is_array else shaped

    def gof(self, statistic: torch.Tensor, pvalue: torch.Tensor) -> GofResult:
        """A test's result in the batch's shape."""
        return GofResult(
            statistic=self.give_back(statistic),
            pvalue=self.give_back(pvalue),
            n_samples=int(self.values.shape[0]),
        )


def check(x: ArrayLike, dim: int) -> Batch:
    """Columns of `x`, samples along `dim`.

    Raises:
        ValueError: if `x` is not a tensor or an array of real numbers with at least one value, or `dim` is
            not one of its dimensions.
    """
    is_array = not isinstance(x, torch.Tensor)
    tensor = x.detach() if isinstance(x, torch.Tensor) else _from_array(x)
    if tensor.layout != torch.strided:
        raise ValueError(f"x must be a dense tensor; got layout {tensor.layout}")
    if tensor.dtype == torch.bool or tensor.dtype.is_complex:
        raise ValueError(f"x must hold real numbers; got dtype {tensor.dtype}")
    if tensor.ndim == 0:
        raise ValueError("x must have at least one dimension; got a single number")
    if tensor.numel() == 0:
        raise ValueError(f"x must not be empty; got shape {tuple(tensor.shape)}")
    if isinstance(dim, bool) or not isinstance(dim, int | np.integer):
        raise ValueError(f"dim must be an integer; got {dim!r}")
    if not -tensor.ndim <= dim < tensor.ndim:
        raise ValueError(
            f"dim must be from {-tensor.ndim} to {tensor.ndim - 1} "
            f"for x of shape {tuple(tensor.shape)}; got {dim}"
        )
    front = tensor.movedim(int(dim), 0)
    return Batch(values=front.reshape(front.shape[0], -1), shape=tuple(front.shape[1:]), is_array=is_array)


def _from_array(x: npt.NDArray[Any]) -> torch.Tensor:
    if isinstance(x, np.ma.MaskedArray):
        raise ValueError("x must not be a masked array: drop the masked values first; got a masked array")
    array = np.asarray(x)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"x must hold real numbers; got dtype {array.dtype}")
    if array.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        array = array.astype(np.float64)
    # torch takes neither negative strides nor, without a warning, read-only memory.
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def prepare(x: ArrayLike, dim: int, *, name: str, minimum: int) -> tuple[Batch, OrderedSample]:
    """Check, sort, and warn of what will be NaN: the first line of every public statistic.

    Raises:
        ValueError: as `check`.
    """
    batch = check(x, dim)
    sample = order(batch.values)
    n = sample.n_samples
    level = 3  # the caller of the public function
    if n < minimum:
        warnings.warn(
            f"{name} needs at least {minimum} samples; got {n}: the result is NaN",
            TooFewSamplesWarning,
            stacklevel=level,
        )
        return batch, sample
    for flags, what, category in (
        (sample.nonfinite, "NaN or infinite values", NonFiniteSampleWarning),
        (sample.constant, "no variance", ConstantSampleWarning),
    ):
        count = int(flags.sum())
        if count:
            warnings.warn(
                f"{name}: {count} of {sample.num_features} samples have {what}: their result is NaN",
                category,
                stacklevel=level,
            )
    return batch, sample

"""The one shared pass: a batch of samples, checked, sorted and standardised once.

Every statistic of this package is a pure function of an `OrderedSample`. Only the public functions
look at what the user gave, and only they warn.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from gaussprobe.stats import workers
from gaussprobe.stats.sorting import sort_rows
from gaussprobe.stats.workers import one_thread as one_thread
from gaussprobe.stats.workers import units_per_chunk as units_per_chunk

Floats: TypeAlias = "npt.NDArray[np.float64]"
Null: TypeAlias = Literal["composite", "simple"]
RowFunction: TypeAlias = "Callable[[OrderedSample], torch.Tensor]"

# float32 data are computed in float32 up to this many samples; beyond, its rounding shows in spacings.
SINGLE_MAXIMUM = 2**14

# frexp reaches 1024 and -1073; two to these powers and their inverses are still finite.
_MAX_EXPONENT = 1000

# Products added up in the precision of the data.
_DOT = 4096

# Magnitudes whose squares, and sums of them, are in range.
_SAFE_EXPONENT = {torch.float32: 30, torch.float64: 400}


@dataclass(frozen=True, kw_only=True)
class OrderedSample:
    """A batch of samples, sorted and standardised.

    Args:
        z: `(C, n)` float64, or float32 if made so; each row ascending, mean 0 and biased sd 1, NaN where the
            sample cannot be used.
        mean: `(C,)` float64, in the unit of the data.
        sd: `(C,)` float64, biased (divided by n), in the unit of the data; 0 for a constant sample.
        constant: `(C,)` bool, all values equal.
        nonfinite: `(C,)` bool, NaN or infinity among the values.
        n_samples: n.
        passing: whether it is let go before this thread takes the next piece, so that memory can be shared
            between the two.
        fitted: whether z was standardised; if not, it holds the values as they stand, mean 0 and sd 1.
    """

    z: torch.Tensor
    mean: torch.Tensor
    sd: torch.Tensor
    constant: torch.Tensor
    nonfinite: torch.Tensor
    n_samples: int
    passing: bool = False
    fitted: bool = True
    _shared: dict[RowFunction, torch.Tensor] = field(default_factory=dict, repr=False, compare=False)

    def __getitem__(self, units: slice | torch.Tensor) -> OrderedSample:
        """The same for some of the units."""
        return self._part(units, passing=False)

    def _part(self, units: slice | torch.Tensor, *, passing: bool) -> OrderedSample:
        return OrderedSample(
            z=self.z[units],
            mean=self.mean[units],
            sd=self.sd[units],
            constant=self.constant[units],
            nonfinite=self.nonfinite[units],
            n_samples=self.n_samples,
            passing=passing,
            fitted=self.fitted,
        )

    def pieces(self) -> list[OrderedSample]:
        """The sample in pieces that fit the cache, each for one call of a function or of several in a row."""
        step = workers.units_per_chunk(self.n_samples, self.z.device)
        return [
            self._part(slice(i, i + step), passing=True) for i in range(0, max(1, self.num_features), step)
        ]

    def buffer(self, slot: str) -> torch.Tensor:
        """Memory of the size of z. What two functions share has a slot of its own."""
        if self.passing and self.z.device.type == "cpu":
            return workers.workspace(slot, tuple(self.z.shape), self.z.dtype)
        return torch.empty_like(self.z, memory_format=torch.contiguous_format)

    @property
    def num_features(self) -> int:
        """Number of samples in the batch: units."""
        return int(self.z.shape[0])


def shared(function: RowFunction) -> RowFunction:
    """Make several statistics of one `OrderedSample` share what `function` gives: it is kept with the sample.

    For samples of a piece's size; the result is not to be written to.
    """

    @functools.wraps(function)
    def once(sample: OrderedSample) -> torch.Tensor:
        if once not in sample._shared:
            sample._shared[once] = function(sample)
        return sample._shared[once]

    return once


def constant(sample: OrderedSample) -> torch.Tensor:
    """Which units have all their values equal, `(C,)` bool."""
    return sample.constant


def nonfinite(sample: OrderedSample) -> torch.Tensor:
    """Which units hold NaN or infinity, `(C,)` bool."""
    return sample.nonfinite


def working_dtype(dtype: torch.dtype, n_samples: int) -> torch.dtype:
    """Precision that statistics of `n_samples` values of `dtype` are computed in."""
    short = _sorting_dtype(dtype) == torch.float32
    return torch.float32 if short and n_samples <= SINGLE_MAXIMUM else torch.float64


def _sorting_dtype(dtype: torch.dtype) -> torch.dtype:
    """The shortest type that holds every value of `dtype` and that is fast to sort."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16, torch.float32) else torch.float64


def order(x: torch.Tensor) -> OrderedSample:
    """Sort and standardise each column of `x`, in float64; `x` is left as it was.

    A column that is constant or holds a non-finite value becomes a row of NaN and disturbs no other.

    Args:
        x: `(n, C)`, any real dtype, on any device that has float64.
    """
    values = x.detach()
    n, units = values.shape
    z = torch.empty((units, n), dtype=torch.float64, device=values.device)
    step = workers.units_per_chunk(n, values.device)

    def part(start: int) -> OrderedSample:
        return order_piece(values[:, start : start + step], out=z[start : start + step])

    parts = workers.each(part, range(0, units, step), values.device)
    return OrderedSample(
        z=z,
        mean=torch.cat([p.mean for p in parts]),
        sd=torch.cat([p.sd for p in parts]),
        constant=torch.cat([p.constant for p in parts]),
        nonfinite=torch.cat([p.nonfinite for p in parts]),
        n_samples=n,
    )


def order_piece(
    values: torch.Tensor,
    *,
    out: torch.Tensor | None = None,
    null: Null = "composite",
    in_order: bool = True,
    dtype: torch.dtype | None = None,
) -> OrderedSample:
    """`OrderedSample` of the columns of `values` `(n, c)`, computed in the dtype of `out`.

    Args:
        values: `(n, c)`, any real dtype.
        out: `(c, n)` memory for z; without it z is in memory that a worker writes over with its next piece.
        null: `"simple"` leaves the values as they are.
        in_order: False for functions that do not need z ascending.
        dtype: of z where there is no `out`; None for `working_dtype`.
    """
    rows = _rows(values)
    nonfinite = _nonfinite(rows)
    if in_order:
        rows = sort_rows(rows)
    ends = _Ends(nonfinite, *_extremes(rows, in_order=in_order))
    passing = out is None
    z = _as(dtype or working_dtype(values.dtype, len(values)), rows) if out is None else out.copy_(rows)
    return _standardised(z, ends, passing=passing) if null == "composite" else _as_it_stands(z, ends)


def _as(dtype: torch.dtype, rows: torch.Tensor) -> torch.Tensor:
    """`rows` in that type, themselves if they have it."""
    if rows.dtype == dtype or rows.device.type != "cpu":
        return rows.to(dtype)
    return workers.workspace("z", tuple(rows.shape), dtype).copy_(rows)


class _Ends(NamedTuple):
    """Which rows held what is not finite, and the least and largest value of each, `(c,)`.

    What there is one of to a unit is worked out in numpy: an operation of torch on so few numbers costs as
    much as a pass over thousands, and gives the interpreter away to the other worker each time.
    """

    nonfinite: npt.NDArray[np.bool_]
    lowest: Floats
    highest: Floats


def _numbers(values: torch.Tensor) -> Floats:
    return values.cpu().numpy().astype(np.float64)


def _tensor(numbers: npt.NDArray[Any], like: torch.Tensor) -> torch.Tensor:
    """On the device of `like`; even what copies nothing gives the interpreter away."""
    tensor = torch.from_numpy(numbers)
    return tensor if like.device.type == "cpu" else tensor.to(like.device)


def _nonfinite(rows: torch.Tensor) -> npt.NDArray[np.bool_]:
    """Which rows hold NaN or infinity; their values are set to 0."""
    suspect: npt.NDArray[np.bool_] = ~np.isfinite(_numbers(rows.mean(dim=1)))
    if not suspect.any():
        return suspect
    found = ~torch.isfinite(rows).all(dim=1)  # finite values may be too large to add
    rows[found] = 0.0
    return found.cpu().numpy()


def _extremes(rows: torch.Tensor, *, in_order: bool) -> tuple[Floats, Floats]:
    if in_order:
        return _numbers(rows[:, 0]), _numbers(rows[:, -1])
    return _numbers(rows.amin(dim=1)), _numbers(rows.amax(dim=1))


def _as_it_stands(z: torch.Tensor, ends: _Ends) -> OrderedSample:
    nonfinite = _tensor(ends.nonfinite, z)
    if ends.nonfinite.any():
        z[nonfinite] = torch.nan
    units = len(nonfinite)
    return OrderedSample(
        z=z,
        mean=torch.zeros(units, dtype=torch.float64, device=z.device),
        sd=torch.ones(units, dtype=torch.float64, device=z.device),
        constant=torch.zeros_like(nonfinite),
        nonfinite=nonfinite,
        n_samples=int(z.shape[1]),
        passing=True,
        fitted=False,
    )


def _rows(values: torch.Tensor) -> torch.Tensor:
    """The columns of `values` as contiguous rows, in memory of their own."""
    n, c = values.shape
    dtype = _sorting_dtype(values.dtype)
    if values.device.type != "cpu":
        return values.t().to(dtype, copy=True, memory_format=torch.contiguous_format)
    rows = workers.workspace("rows", (c, n), dtype)
    if values.stride(0) > values.stride(1):
        # Rows of a wide matrix are far apart: the transposition is five times as fast from a dense copy.
        values = workers.workspace("first", (n, c), dtype).copy_(values)
    return rows.copy_(values.t())


@workers.one_thread()
def standardise(ascending: torch.Tensor) -> OrderedSample:
    """`OrderedSample` of rows `(C, n)` that are sorted already, in float64; float32 is widened, exactly."""
    z = ascending.to(torch.float64, copy=True)
    nonfinite = _nonfinite(z)
    return _standardised(z, _Ends(nonfinite, *_extremes(z, in_order=True)), passing=False)


def _standardised(z: torch.Tensor, ends: _Ends, *, passing: bool) -> OrderedSample:
    """`OrderedSample` of rows `z` `(c, n)`, which are written over; those not finite were set to 0."""
    n = z.shape[1]

    narrow = np.float32 if z.dtype == torch.float32 else np.float64

    def column(numbers: Floats) -> torch.Tensor:
        return _tensor(numbers[:, None].astype(narrow), z)

    scale = _scale(np.maximum(ends.highest, -ends.lowest), z.dtype)
    if scale is not None:
        z.div_(column(scale))
    first = z.mean(dim=1, keepdim=True)
    z.sub_(first)
    # The second centring removes what rounding left of the first when the mean is far from zero.
    rest = _numbers(z.mean(dim=1))
    square = _numbers(squares(z))
    left = rest * rest > (4 * torch.finfo(z.dtype).eps) ** 2 / n * square
    if left.any():
        z.sub_(column(np.where(left, rest, 0.0)))
        square = np.where(left, _numbers(squares(z)), square)
    center = _numbers(first[:, 0]) + rest
    sd = np.sqrt(square / n)
    with np.errstate(divide="ignore", over="ignore"):
        z.mul_(column(1 / sd))
    # Rounding leaves the sd of a constant column above zero; its extremes are equal exactly. Differences of
    # subnormal size may square to zero.
    constant = (ends.lowest == ends.highest) | (sd == 0)
    if constant.any():
        z[_tensor(constant, z)] = torch.nan
        sd[constant] = 0.0
        center[constant] = (ends.lowest if scale is None else ends.lowest / scale)[constant]
        constant &= ~ends.nonfinite
    if scale is not None:
        center, sd = center * scale, sd * scale
    if ends.nonfinite.any():
        center[ends.nonfinite] = sd[ends.nonfinite] = np.nan
    return OrderedSample(
        z=z,
        mean=_tensor(center, z),
        sd=_tensor(sd, z),
        constant=_tensor(constant, z),
        nonfinite=_tensor(ends.nonfinite, z),
        n_samples=n,
        passing=passing,
    )


def _scale(largest: Floats, dtype: torch.dtype) -> Floats | None:
    """A power of two for each row, which changes no digit and keeps squares in range; None if all are 1."""
    bound = 2.0 ** _SAFE_EXPONENT[dtype]
    extreme = (largest > bound) | (largest < 1 / bound)
    if not extreme.any():
        return None
    exponent = np.frexp(np.where(extreme & (largest > 0), largest, 0.5))[1]
    scale: Floats = np.ldexp(1.0, exponent.clip(-_MAX_EXPONENT, _MAX_EXPONENT))
    return scale


def dots(rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Inner product of each of `rows` `(c, n)` with its fellow, or with the one vector `(n,)`, float64."""
    if rows.device.type != "cpu":
        return (rows * others).sum(dim=1, dtype=torch.float64)
    left, right = rows.numpy(), others.numpy()
    total = np.zeros(len(left))
    # One call of BLAS to a row, without a temporary; it adds in the given precision, in a few lanes.
    for start in range(0, left.shape[1], _DOT):
        part = slice(start, start + _DOT)
        total += np.vecdot(left[:, part], right[..., part])
    return torch.from_numpy(total)


def squares(rows: torch.Tensor) -> torch.Tensor:
    """Sum of squares of each row, `(C,)` float64."""
    return dots(rows, rows)


def in_chunks(*, minimum: int) -> Callable[[RowFunction], RowFunction]:
    """Make a function of an `OrderedSample` work through the units in pieces that fit the cache.

    With fewer than `minimum` samples the result is NaN.
    """

    def decorate(function: RowFunction) -> RowFunction:
        @functools.wraps(function)
        def chunked(sample: OrderedSample) -> torch.Tensor:
            units, n = sample.z.shape
            if n < minimum:
                return torch.full((units,), torch.nan, dtype=torch.float64, device=sample.z.device)
            if sample.passing:
                return function(sample)
            parts = workers.each(function, sample.pieces(), sample.z.device)
            return parts[0] if len(parts) == 1 else torch.cat(parts)

        return chunked

    return decorate

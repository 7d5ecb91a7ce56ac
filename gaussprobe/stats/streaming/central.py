"""Central moments to order four of a matrix, and of parts put together.

float32 data are summed in float32 about the mean of their own block and pooled in float64: subtracting the
mean of a few hundred rows leaves no offset to lose digits to, and sums over a block stay short. Blocks whose
fourth powers leave the range of float32 are done again in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

from gaussprobe.stats import workers

# Elements of a block: with workspaces of its size it stays in a core's caches.
_BLOCK_CPU = 2**17
_BLOCK_CUDA = 2**24
# Columns of a block: fewer would make reductions over rows slow, more would leave it few rows to share what
# pooling costs.
_WIDTH = 256
# Rows of a block of a matrix whose columns are contiguous.
_LENGTH = 1024
# Rows that each column of a widened matrix keeps, or widening costs more than it saves.
_NARROW = 64
# Blocks that are pooled at once.
_POOLED = 16
# Below this mean fourth power, fourth powers near the float32 minimum (1e-38) would lose digits.
_SMALLEST_M4 = 1e-30


@dataclass(frozen=True, kw_only=True)
class CentralMoments:
    """Sums of powers of deviations from the mean, per unit.

    Args:
        n: number of samples.
        mean: `(C,)` float64, as all below but the counts; NaN for units with non-finite values.
        m2: sum of squared deviations.
        m3: sum of cubed deviations.
        m4: sum of their fourth powers.
        low: smallest value.
        high: largest value.
        nan: `(C,)` int64, number of NaN.
        inf: `(C,)` int64, number of infinities.
    """

    n: int
    mean: torch.Tensor
    m2: torch.Tensor
    m3: torch.Tensor
    m4: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    nan: torch.Tensor
    inf: torch.Tensor

    def tensors(self) -> dict[str, torch.Tensor]:
        """All but `n`, by name."""
        return {name: getattr(self, name) for name in NAMES}

    def to(self, device: torch.device) -> CentralMoments:
        """The same on a device."""
        return CentralMoments(n=self.n, **{name: part.to(device) for name, part in self.tensors().items()})


NAMES = tuple(field.name for field in fields(CentralMoments) if field.name != "n")


def pool(parts: Sequence[CentralMoments]) -> CentralMoments:
    """Moments of all samples of the parts, at least one, each with samples.

    With `d_i = mean_i - mean`, expanding `sum (x - mean)^k` about each part's own mean gives
    `m2 = sum_i m2_i + n_i d_i^2`, `m3 = sum_i m3_i + 3 d_i m2_i + n_i d_i^3`,
    `m4 = sum_i m4_i + 4 d_i m3_i + 6 d_i^2 m2_i + n_i d_i^4`.

    Reference:
        Pébay (2008), SAND2008-6212: the pairwise update of any order, here for any number of parts; Chan,
        Golub & LeVeque (1983), Am. Stat. 37 for m2.
    """
    if len(parts) == 1:
        return parts[0]
    stacked = {name: torch.stack([getattr(part, name) for part in parts]) for name in NAMES}
    return _pool([part.n for part in parts], stacked)


def _pool(counts: list[int], parts: dict[str, torch.Tensor]) -> CentralMoments:
    """`pool` of parts stacked in `(K, C)` tensors."""
    total = sum(counts)
    if len(counts) == 1:
        return CentralMoments(n=total, **{name: part[0] for name, part in parts.items()})
    mean, m2, m3, m4 = parts["mean"], parts["m2"], parts["m3"], parts["m4"]
    n = _numbers(counts, mean.device)
    # Relative to the first mean, so that equal means are kept to the last digit.
    centre = mean[0] + ((mean - mean[0]) * n).sum(dim=0) / total
    delta = mean - centre
    square = delta * delta
    between = square * n
    return CentralMoments(
        n=total,
        mean=centre,
        m2=(m2 + between).sum(dim=0),
        m3=(m3 + delta * (3 * m2 + between)).sum(dim=0),
        m4=(m4 + 4 * delta * m3 + square * (6 * m2 + between)).sum(dim=0),
        low=parts["low"].amin(dim=0),
        high=parts["high"].amax(dim=0),
        nan=parts["nan"].sum(dim=0),
        inf=parts["inf"].sum(dim=0),
    )


def _numbers(counts: list[int], device: torch.device) -> torch.Tensor | float:
    """The counts as `(K, 1)`, or one number where all are equal: making a tensor costs as much as a sum."""
    if min(counts) == max(counts):
        return float(counts[0])
    return torch.tensor(counts, dtype=torch.float64, device=device)[:, None]


def moments_of(x: torch.Tensor) -> CentralMoments:
    """Moments of each column of `x`.

    Args:
        x: `(n, C)`, at least one row, any real dtype, on any device that has float64.
    """
    n, width = x.shape
    lanes = _WIDTH // width
    if lanes < 2 or n < _NARROW * lanes or not x.is_contiguous():
        return _by_pieces(x)
    # A narrow matrix is taken as a wide one in which every unit has several columns.
    whole = n // lanes * lanes
    wide = _by_pieces(x[:whole].view(-1, lanes * width))
    columns = {name: tensor.view(lanes, width) for name, tensor in wide.tensors().items()}
    moments = _pool([wide.n] * lanes, columns)
    return moments if whole == n else pool([moments, _by_pieces(x[whole:])])


def _by_pieces(x: torch.Tensor) -> CentralMoments:
    """Moments of each column, from pieces for the workers, each of many blocks."""
    n, columns = x.shape
    size = _BLOCK_CPU if x.device.type == "cpu" else _BLOCK_CUDA
    if _lies_along_samples(x):
        rows = min(n, max(_LENGTH, 2 * size // columns))
        width = max(1, 2 * size // rows)
    else:
        width = min(columns, max(_WIDTH, 2 * size // n))
        rows = max(1, size // width)
    lefts = range(0, columns, width)
    tops = range(0, n, rows * _POOLED)
    pieces = [x[i : i + rows * _POOLED, j : j + width] for j in lefts for i in tops]
    if x.device.type == "cpu":
        parts = workers.each(lambda piece: _by_blocks(piece, rows), pieces)
    else:  # on the caller's stream, which other threads do not share
        parts = [_by_blocks(piece, rows) for piece in pieces]
    strips = [pool(parts[i : i + len(tops)]) for i in range(0, len(parts), len(tops))]
    if len(strips) == 1:
        return strips[0]
    tensors = {name: torch.cat([getattr(strip, name) for strip in strips]) for name in NAMES}
    return CentralMoments(n=n, **tensors)


def _lies_along_samples(x: torch.Tensor) -> bool:
    n, columns = x.shape
    return n > 1 and columns > 1 and x.stride(0) == 1


def _by_blocks(x: torch.Tensor, rows: int) -> CentralMoments:
    """Moments of each column of a piece, `rows` rows at a time."""
    short = x.dtype in (torch.float16, torch.bfloat16, torch.float32)
    dtype = torch.float32 if short else torch.float64
    blocks = torch.split(x, rows)
    counts = [len(block) for block in blocks]
    first, second = _space("first", blocks[0], dtype), _space("second", blocks[0], dtype)
    sums = [
        part for block in blocks for part in _sums(block.to(dtype), first[: len(block)], second[: len(block)])
    ]
    stacked = torch.stack(sums).to(torch.float64).view(len(blocks), -1, x.shape[1])
    centre, s1, s2, s3, s4, low, high = stacked.unbind(dim=1)
    n = _numbers(counts, x.device)

    # NaN and infinity end in s4, and what overflows does so first there.
    unsafe = ~torch.isfinite(s4)
    # The mean of equal values may differ from them by rounding.
    same = low == high
    if short:
        unsafe |= (s4 < n * _SMALLEST_M4) & ~same
    stacked[:, 1:5].masked_fill_(same[:, None], 0.0)
    centre = torch.where(same, low, centre)

    # From sums about the centre to sums about the block's mean, which lies within rounding of it.
    delta = s1 / n
    between = s1 * delta
    none = torch.zeros_like(low, dtype=torch.int64)
    parts = {
        "mean": centre + delta,
        "m2": s2 - between,
        "m3": s3 - delta * (3 * s2 - 2 * between),
        "m4": s4 - delta * (4 * s3 - delta * (6 * s2 - 3 * between)),
        "low": low,
        "high": high,
        "nan": none,
        "inf": none,
    }
    moments = _pool(counts, parts)
    return _redone(moments, x, unsafe.any(dim=0), rows) if bool(unsafe.any()) else moments


def _space(slot: str, block: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Memory laid out as the block is, or every operation would go across one of the two."""
    n, width = block.shape
    if block.device.type != "cpu":
        return torch.empty_like(block, dtype=dtype)
    if _lies_along_samples(block):
        return workers.workspace(slot, (width, n), dtype).t()
    return workers.workspace(slot, (n, width), dtype)


def _sums(block: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Centre, sums of the first four powers of deviations from it, and extremes of each column.

    `first` and `second` are memory of the block's shape and type to be written over.
    """
    low, high = block.amin(dim=0), block.amax(dim=0)
    centre = block.mean(dim=0)
    deviation = torch.sub(block, centre, out=first)
    s1 = deviation.sum(dim=0)
    square = torch.mul(deviation, deviation, out=second)
    s2 = square.sum(dim=0)
    s3 = deviation.mul_(square).sum(dim=0)
    s4 = square.mul_(square).sum(dim=0)
    return centre, s1, s2, s3, s4, low, high


def _redone(moments: CentralMoments, x: torch.Tensor, columns: torch.Tensor, rows: int) -> CentralMoments:
    """`moments` of `x` with some columns done in float64, and non-finite values counted."""
    chosen = x[:, columns]
    if x.dtype != torch.float64:
        again = _by_blocks(chosen.to(torch.float64), rows).tensors()
    else:
        again = {name: tensor[columns] for name, tensor in moments.tensors().items()}
        again["nan"] = torch.isnan(chosen).sum(dim=0)
        again["inf"] = torch.isinf(chosen).sum(dim=0)
        bad = (again["nan"] + again["inf"]) > 0
        for name in ("mean", "m2", "m3", "m4", "low", "high"):
            again[name] = torch.where(bad, torch.nan, again[name])
    mended = {name: tensor.clone() for name, tensor in moments.tensors().items()}
    for name, tensor in again.items():
        mended[name][columns] = tensor
    return CentralMoments(n=moments.n, **mended)

"""Which rows of the tensors that pass are kept: random positions into a bottom-k reservoir of rows.

Pixels of one image and tokens of one sequence are dependent, so a row is one random position of one example,
and a second position of an example is used only where there are too few examples to score. Everything random
is a hash of (seed, example, grid): it does not depend on how examples are cut into batches, all sites with
the same grid of positions see the same ones, and no generator is touched.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from gaussprobe.stats.streaming.hashing import Indices, Keys, hash_words, row_keys

__all__ = [
    "ENOUGH_EXAMPLES",
    "MAX_POSITIONS",
    "Indices",
    "Keys",
    "all_finite",
    "count_nonfinite",
    "flat",
    "middle",
    "places",
    "positions",
    "row_keys",
    "take",
    "unit_subset",
    "valid_positions",
]

# From this many examples on, one position per example: the verdict's error rates were measured from here.
ENOUGH_EXAMPLES = 200
MAX_POSITIONS = 8


def positions(seed: int, examples: Indices, grid: tuple[int, ...], count: int) -> tuple[Indices, ...]:
    """Distinct random positions of each example.

    The r-th of an example is `(start + r * stride) mod P` with a random start and a random stride coprime to
    P: each is uniform, none repeats, and no fixed stride runs along the structure of an image.

    Args:
        seed: of the sampling.
        examples: `(n,)` indices of the examples.
        grid: sizes of the position dimensions.
        count: positions wanted, at most their number.

    Returns:
        One index array `(n, count)` for each dimension of the grid.
    """
    total = math.prod(grid)
    if total == 1:
        return tuple(np.zeros((len(examples), count), dtype=np.int64) for _ in grid)
    words = hash_words(seed, 2, *grid, examples)
    start = (words % np.uint64(total)).astype(np.int64)
    # P - 1 and 1 are always coprime to P; a few random candidates are cheaper than listing the units of Z/P.
    stride = np.full(len(examples), total - 1, dtype=np.int64)
    if count > 1:
        for attempt in range(8):
            candidate = 1 + (hash_words(words, 3, attempt) % np.uint64(total - 1)).astype(np.int64)
            stride = np.where(np.gcd(candidate, total) == 1, candidate, stride)
    flat = (start[:, None] + np.arange(count) * stride[:, None]) % total
    # Not numpy.unravel_index: it is wrong beyond row 8,192 of an (m, 1) array (numpy 2.4.6).
    parts: list[Indices] = []
    for size in reversed(grid):
        flat, part = np.divmod(flat, size)
        parts.append(part)
    return tuple(reversed(parts))


def valid_positions(seed: int, examples: Indices, valid: npt.NDArray[np.bool_], count: int) -> Indices:
    """Distinct random positions of each example among those that are no padding.

    As `positions`, with the number of valid positions of the example for P: how far a batch was padded makes
    no difference.

    Args:
        seed: of the sampling.
        examples: `(n,)` indices of the examples.
        valid: `(n, positions)`, at least `count` of them in each row.
        count: positions wanted.

    Returns:
        Indices into the positions, `(n, count)`.
    """
    total = valid.sum(axis=1).astype(np.int64)
    words = hash_words(seed, 5, examples)
    start = (words % total.astype(np.uint64)).astype(np.int64)
    stride = np.maximum(total - 1, 1)
    if count > 1:
        for attempt in range(8):
            candidate = 1 + (hash_words(words, 3, attempt) % stride.astype(np.uint64)).astype(np.int64)
            stride = np.where(np.gcd(candidate, total) == 1, candidate, stride)
    rank = (start[:, None] + np.arange(count) * stride[:, None]) % total[:, None]
    first = np.argsort(~valid, axis=1, kind="stable")  # the valid ones, in order
    return np.take_along_axis(first, rank, axis=1).astype(np.int64)


def middle(
    n_examples: int, grid: tuple[int, ...], valid: npt.NDArray[np.bool_] | None = None
) -> tuple[Indices, ...]:
    """The middle position of each example, `size // 2` along each dimension.

    Args:
        n_examples: how many there are.
        grid: sizes of the position dimensions.
        valid: `(n, positions)` False where a position is padding: the middle one of the others is then taken.

    Returns:
        One index array `(n, 1)` for each dimension of the grid.
    """
    if valid is None:
        return tuple(np.full((n_examples, 1), size // 2, dtype=np.int64) for size in grid)
    first = np.argsort(~valid, axis=1, kind="stable")  # the valid ones, in order
    rank = valid.sum(axis=1, keepdims=True).astype(np.int64) // 2
    return (np.take_along_axis(first, rank, axis=1).astype(np.int64),)


@functools.lru_cache(maxsize=256)
def unit_subset(seed: int, num_features: int, max_units: int) -> Indices | None:
    """Random units of a wide site, sorted, not to be written to; None when all are kept."""
    if num_features <= max_units:
        return None
    keys = hash_words(seed, 4, np.arange(num_features))
    units = np.sort(np.argsort(keys, kind="stable")[:max_units]).astype(np.int64)
    units.flags.writeable = False
    return units


def places(rows: Indices, where: tuple[Indices, ...], strides: Sequence[int]) -> Indices:
    """Where the first unit of each position lies in a tensor's memory.

    Args:
        rows: `(m,)` which examples.
        where: `(m, count)` for each position dimension.
        strides: of the dimensions (examples, positions..., units).

    Returns:
        `(m, count)` offsets from the tensor's first value.
    """
    offsets = rows[:, None] * strides[0]
    for index, stride in zip(where, strides[1:-1], strict=True):
        offsets = offsets + index * stride
    return offsets.astype(np.int64)


def flat(tensor: torch.Tensor, span: int) -> torch.Tensor:
    """The values of a tensor as they lie in memory, and whatever lies between them; no copy.

    Args:
        tensor: dense, of any strides.
        span: values from its first to its last in memory.
    """
    return tensor.as_strided((span,), (1,))


def take(tensor: torch.Tensor, span: int, offsets: torch.Tensor) -> torch.Tensor:
    """Copy values out of a tensor, by where they lie in its memory.

    Args:
        tensor: dense, of any strides.
        span: values from its first to its last in memory.
        offsets: from its first value, on its device.

    Returns:
        A fresh tensor of the offsets' shape, float64 where the tensor is, float32 otherwise.
    """
    taken = torch.take(flat(tensor, span), offsets)
    return taken if taken.dtype in (torch.float32, torch.float64) else taken.to(torch.float32)


def all_finite(tensor: torch.Tensor) -> bool:
    """Whether all values of a real floating-point tensor are known to be finite.

    A finite sum proves it at a fraction of the cost of looking at each value; a sum that overflows proves
    nothing, and `count_nonfinite` then looks.
    """
    wide = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    return math.isfinite(tensor.sum(dtype=wide).item())


def count_nonfinite(tensor: torch.Tensor) -> tuple[int, int, torch.Tensor]:
    """Count NaN and infinities of a tensor (examples, positions..., units), all values of it.

    Args:
        tensor: of a real floating-point type.

    Returns:
        The numbers of NaN and of infinities, and which units have any.
    """
    nan, inf = torch.isnan(tensor), torch.isinf(tensor)
    units = (nan | inf).reshape(-1, tensor.shape[-1]).any(0).cpu()
    return int(nan.sum()), int(inf.sum()), units

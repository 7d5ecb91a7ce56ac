"""Which rows of the tensors that pass are kept: random positions into a bottom-k reservoir of rows.

Pixels of one image and tokens of one sequence are dependent, so a row is one random position of one example,
and a second position of an example is used only where there are too few examples to score. Everything random
is a hash of (seed, example, grid): it does not depend on how examples are cut into batches, all sites with
the same grid of positions see the same ones, and no generator is touched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

# From this many examples on, one position per example: the verdict's error rates were measured from here.
ENOUGH_EXAMPLES = 200
MAX_POSITIONS = 8

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))

Keys = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]


def hash_words(*words: int | Keys | Indices) -> Keys:
    """Mix integers into uniform 64-bit words (the finaliser of splitmix64, applied word by word).

    Args:
        words: integers or arrays that broadcast together.

    Returns:
        Words of the broadcast shape, at least one-dimensional.
    """
    state: Keys = np.zeros(1, dtype=np.uint64)
    with np.errstate(over="ignore"):  # wrapping is the algorithm
        for word in words:
            added = np.atleast_1d(np.asarray(word)).astype(np.uint64)
            state = (state ^ added) + _GOLDEN
            state = (state ^ (state >> np.uint64(30))) * _MIX[0]
            state = (state ^ (state >> np.uint64(27))) * _MIX[1]
            state = state ^ (state >> np.uint64(31))
    return state


def row_keys(seed: int, examples: Indices) -> Keys:
    """The random key by which an example is kept or not: the smallest keys stay."""
    return hash_words(seed, 1, examples)


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


def unit_subset(seed: int, num_features: int, max_units: int) -> Indices | None:
    """Random units of a wide site, sorted; None when all are kept."""
    if num_features <= max_units:
        return None
    keys = hash_words(seed, 4, np.arange(num_features))
    return np.sort(np.argsort(keys, kind="stable")[:max_units]).astype(np.int64)


def gather(
    tensor: torch.Tensor, rows: Indices, where: tuple[Indices, ...], units: Indices | None
) -> torch.Tensor:
    """Copy rows out of a tensor of dimensions (examples, positions..., units).

    Args:
        tensor: as `layout.Axes` has it.
        rows: `(m,)` indices along the first dimension.
        where: `(m, count)` indices for each position dimension.
        units: units to keep, None for all.

    Returns:
        A fresh tensor `(m, count, num_units)`, float64 where the tensor is, float32 otherwise.
    """
    device = tensor.device
    first = torch.from_numpy(rows).to(device)[:, None]
    rest = [torch.from_numpy(index).to(device) for index in where]
    if units is None:
        taken = tensor[(first, *rest)]
    else:
        chosen = torch.from_numpy(units).to(device)
        taken = tensor[(first[..., None], *(r[..., None] for r in rest), chosen)]
    dtype = torch.float64 if taken.dtype == torch.float64 else torch.float32
    return taken.to(dtype)


def count_nonfinite(tensor: torch.Tensor) -> tuple[int, int, torch.Tensor] | None:
    """Count NaN and infinities of a tensor (examples, positions..., units), all values of it.

    A finite sum proves that all values are finite at a fraction of the cost of looking at each.

    Args:
        tensor: of a real floating-point type.

    Returns:
        None when all are finite, else the numbers of NaN and of infinities, and which units have any.
    """
    wide = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    if math.isfinite(float(tensor.sum(dtype=wide))):
        return None
    nan, inf = torch.isnan(tensor), torch.isinf(tensor)
    units = (nan | inf).reshape(-1, tensor.shape[-1]).any(0).cpu()
    return int(nan.sum()), int(inf.sum()), units


@dataclass
class Reservoir:
    """The rows with the smallest keys, up to a number of examples; mergeable and of bounded memory.

    Args:
        max_samples: rows to keep.
    """

    max_samples: int
    keys: Keys | None = None
    examples: Indices | None = None
    values: torch.Tensor | None = None

    def wanted(self, keys: Keys) -> Indices:
        """Indices of the offered keys that would be among the smallest, in their order."""
        kept = self.keys if self.keys is not None else np.empty(0, dtype=np.uint64)
        merged = np.concatenate([kept, keys])
        if len(merged) <= self.max_samples:
            return np.arange(len(keys), dtype=np.int64)
        threshold = np.partition(merged, self.max_samples - 1)[self.max_samples - 1]
        return np.flatnonzero(keys <= threshold).astype(np.int64)

    def add(self, keys: Keys, examples: Indices, values: torch.Tensor) -> None:
        """Merge rows in and cut back to the smallest keys.

        Args:
            keys: `(m,)`, examples: `(m,)`, values: `(m, ...)` with one entry for each example.
        """
        if self.keys is None or self.examples is None or self.values is None:
            self.keys, self.examples, self.values = keys, examples, values
        else:
            self.keys = np.concatenate([self.keys, keys])
            self.examples = np.concatenate([self.examples, examples])
            self.values = torch.cat([self.values, values])
        if len(self.keys) > self.max_samples:
            keep = np.sort(np.argsort(self.keys, kind="stable")[: self.max_samples])
            self.keys, self.examples = self.keys[keep], self.examples[keep]
            self.values = self.values[torch.from_numpy(keep)]

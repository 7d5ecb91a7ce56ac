"""The rows kept of one site: those with the smallest keys, in memory that is allocated once."""

from __future__ import annotations

import numpy as np
import torch

from gaussprobe.stats.streaming.hashing import Indices, Keys
from gaussprobe.stats.streaming.reservoir import smallest

# Rows that are given memory at once; larger reservoirs grow by doubling.
_AT_ONCE = 4096
# Columns that are put in order at once: no second copy of all.
_COLUMNS = 256


class Rows:
    """A bottom-k reservoir that replaces rows in place.

    The rows are those that `stats.Reservoir` keeps for the same keys. Joining arrays for every batch would
    leave holes in memory as large as what is kept.

    Args:
        max_samples: rows to keep.
    """

    def __init__(self, max_samples: int) -> None:
        self.max_samples = max_samples
        self.count = 0
        self._keys = np.empty(0, dtype=np.uint64)
        self._examples = np.empty(0, dtype=np.int64)
        self._values: torch.Tensor | None = None

    def wanted(self, keys: Keys) -> Indices:
        """Indices of the offered keys that would be among the smallest, in their order."""
        return smallest(self._keys[: self.count], keys, self.max_samples)

    def add(self, keys: Keys, examples: Indices, values: torch.Tensor) -> None:
        """Take rows in, in place of those with larger keys.

        Args:
            keys: `(m,)`.
            examples: `(m,)` which example each row is of.
            values: `(m, num_features)`, copied.
        """
        count, room = self.count, min(len(keys), self.max_samples - self.count)
        self._make_room(count + room, values)
        self._put(slice(count, count + room), keys[:room], examples[:room], values[:room])
        self.count = count + room
        if room == len(keys):
            return
        merged = np.concatenate([self._keys[: self.count], keys[room:]])
        kept = np.zeros(len(merged), dtype=bool)
        kept[np.argsort(merged, kind="stable")[: self.max_samples]] = True
        slots, taken = np.flatnonzero(~kept[: self.count]), room + np.flatnonzero(kept[self.count :])
        self._put(slots, keys[taken], examples[taken], values[torch.from_numpy(taken)])

    def in_order(self) -> tuple[torch.Tensor, Indices]:
        """The rows in the order of their examples, and these; views that the next `add` changes."""
        assert self._values is not None
        examples, values = self._examples[: self.count], self._values[: self.count]
        if (np.diff(examples) < 0).any():
            order = np.argsort(examples, kind="stable")
            index = torch.from_numpy(order)
            for columns in torch.split(values, _COLUMNS, dim=1):
                columns.copy_(columns[index])
            examples[:] = examples[order]
            self._keys[: self.count] = self._keys[: self.count][order]
        return values, examples

    def _put(self, slots: slice | Indices, keys: Keys, examples: Indices, values: torch.Tensor) -> None:
        assert self._values is not None
        self._keys[slots], self._examples[slots] = keys, examples
        self._values[slots if isinstance(slots, slice) else torch.from_numpy(slots)] = values

    def _make_room(self, count: int, values: torch.Tensor) -> None:
        known = self._values
        dtype = values.dtype if known is None else torch.promote_types(known.dtype, values.dtype)
        if known is not None and len(known) >= count and dtype == known.dtype:
            return
        size = min(self.max_samples, max(_AT_ONCE, 2 * count))
        larger = torch.empty((size, *values.shape[1:]), dtype=dtype)
        keys, examples = np.empty(size, dtype=np.uint64), np.empty(size, dtype=np.int64)
        if known is not None:
            larger[: self.count] = known[: self.count]
            keys[: self.count] = self._keys[: self.count]
            examples[: self.count] = self._examples[: self.count]
        self._values, self._keys, self._examples = larger, keys, examples

"""The rows kept of one site: those with the smallest keys, in memory that is allocated once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gaussprobe.stats.streaming.hashing import Indices, Keys

# Rows that are given memory at once; larger reservoirs grow by doubling.
_AT_ONCE = 4096
# Columns that are put in order at once: no second copy of all.
_COLUMNS = 256


@dataclass(frozen=True, kw_only=True)
class Change:
    """What offering rows to a reservoir changes; the same for every site that was offered the same before.

    Args:
        before: the keys of all slots before, which `Rows.state` goes by.
        taken: which of the offered rows are kept.
        slots: where each of those goes.
        keys, examples: of all slots afterwards.
    """

    before: Keys
    taken: Indices
    slots: Indices
    keys: Keys
    examples: Indices


class Rows:
    """A bottom-k reservoir that replaces rows in place.

    The rows are those that `stats.Reservoir` keeps for the same keys. Joining arrays for every batch would
    leave holes in memory as large as what is kept.

    Args:
        max_samples: rows to keep.
    """

    def __init__(self, max_samples: int) -> None:
        self.max_samples = max_samples
        self._keys = np.empty(0, dtype=np.uint64)
        self._examples = np.empty(0, dtype=np.int64)
        self._values: torch.Tensor | None = None

    @property
    def count(self) -> int:
        """Rows kept so far."""
        return len(self._keys)

    @property
    def state(self) -> tuple[int, int]:
        """Equal for reservoirs that hold the same examples in the same slots, as long as these are held."""
        return self.max_samples, id(self._keys) if self.count else 0

    def change(self, keys: Keys, examples: Indices) -> Change:
        """What offering rows with these keys, of these examples, would change."""
        known, total = self.count, self.count + len(keys)
        merged = np.concatenate([self._keys, keys])
        if total <= self.max_samples:
            taken, slots = np.arange(len(keys)), np.arange(known, total)
        else:
            kept = np.zeros(total, dtype=bool)
            kept[np.argsort(merged, kind="stable")[: self.max_samples]] = True
            taken = np.flatnonzero(kept[known:])
            slots = np.concatenate([np.flatnonzero(~kept[:known]), np.arange(known, self.max_samples)])
        size = min(total, self.max_samples)
        after, whose = merged[:size].copy(), np.concatenate([self._examples, examples])[:size]
        after[slots], whose[slots] = keys[taken], examples[taken]
        return Change(before=self._keys, taken=taken, slots=slots, keys=after, examples=whose)

    def apply(self, change: Change) -> None:
        """Take a change of this reservoir in; the values of its rows are then to be `put`."""
        self._keys, self._examples = change.keys, change.examples

    def put(self, slots: Indices, values: torch.Tensor) -> None:
        """Copy `values` `(m, num_features)` into slots, ascending."""
        self._make_room(values)
        assert self._values is not None
        if not len(slots):
            return
        first = int(slots[0])
        if int(slots[-1]) - first == len(slots) - 1:  # in a row, as they are until it is full
            self._values[first : first + len(slots)] = values
        else:
            self._values[torch.from_numpy(slots)] = values.to("cpu", self._values.dtype)

    def in_order(self) -> tuple[torch.Tensor, Indices]:
        """The rows in the order of their examples, and these; views that the next `put` changes."""
        assert self._values is not None
        values = self._values[: self.count]
        if (np.diff(self._examples) < 0).any():
            order = np.argsort(self._examples, kind="stable")
            index = torch.from_numpy(order)
            for columns in torch.split(values, _COLUMNS, dim=1):
                columns.copy_(columns[index])
            self._keys, self._examples = self._keys[order], self._examples[order]
        return values, self._examples

    def _make_room(self, values: torch.Tensor) -> None:
        known = self._values
        dtype = values.dtype if known is None else torch.promote_types(known.dtype, values.dtype)
        if known is not None and len(known) >= self.count and dtype == known.dtype:
            return
        size = min(self.max_samples, max(_AT_ONCE, 2 * self.count))
        larger = torch.empty((size, *values.shape[1:]), dtype=dtype)
        if known is not None:
            larger[: len(known)] = known
        self._values = larger

"""The rows kept of one site: those with the smallest keys, in memory that is allocated once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gaussprobe.stats.streaming.hashing import Indices, Keys

# Rows that are given memory at once; larger reservoirs grow by doubling.
_AT_ONCE = 4096
# What values are kept as.
_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}
_AS_THEY_ARE = frozenset(_NUMPY)
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
        self._make_room(values.dtype, int(values.shape[1]))
        assert self._values is not None
        if not len(slots):
            return
        first = int(slots[0])
        if int(slots[-1]) - first == len(slots) - 1:  # in a row, as they are until it is full
            self._values[first : first + len(slots)] = values
        else:
            self._values[torch.from_numpy(slots)] = values.to("cpu", self._values.dtype)

    def room(self, first: int, count: int, like: torch.Tensor, num_features: int) -> torch.Tensor | None:
        """Where a run of slots is in memory, to be written straight into; None where `put` must convert.

        Args:
            first: of the slots.
            count: of them.
            like: what the values will come from.
            num_features: how many each row has.
        """
        if like.dtype not in _AS_THEY_ARE or like.device.type != "cpu":
            return None
        self._make_room(like.dtype, num_features)
        values = self._values
        assert values is not None
        return values[first : first + count] if values.dtype == like.dtype else None

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

    def _make_room(self, dtype: torch.dtype, num_features: int) -> None:
        known = self._values
        if known is not None and len(known) >= self.count and dtype == known.dtype:
            return
        dtype = dtype if known is None else torch.promote_types(known.dtype, dtype)
        size = min(self.max_samples, max(_AT_ONCE, 2 * self.count))
        # Memory of numpy comes in large pages: a first write of torch's own costs five times the copy.
        larger = torch.from_numpy(np.empty((size, num_features), dtype=_NUMPY[dtype]))
        if known is not None:
            larger[: len(known)] = known
        self._values = larger

"""A uniform sample of the rows of batches that pass: those with the smallest hashed keys."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from gaussprobe.stats.batch import ArrayLike
from gaussprobe.stats.streaming.hashing import Indices, Keys, row_keys
from gaussprobe.stats.streaming.state import LARGEST, Kind, State, read_entries, read_integer, read_shape


@dataclass
class SmallestKeys:
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
        """Merge rows in and cut back to the smallest keys; rows that stay keep their order.

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


class RowSample(NamedTuple):
    """What a `Reservoir` holds.

    Args:
        rows: `(k, ...)`, k of the rows that passed, in the order of their ids, each in the units' shape.
        ids: `(k,)` int64, which rows they are.
        n_seen: how many rows passed.
    """

    rows: torch.Tensor
    ids: torch.Tensor
    n_seen: int


class Reservoir(State[RowSample]):
    """A uniform sample without replacement of rows that pass in batches.

    Row i has the key `h(seed, i)`, h a hash into 64 bits, and the `max_samples` rows with the smallest keys
    stay. Which those are depends on seed and ids alone: not on how rows are cut into batches, nor on the
    order in which parts are merged, and two reservoirs that saw the same ids keep the same ones.

    Null hypothesis: none; a sample.

    An id names one row of all that pass anywhere. Rows that come without ids are numbered on from the largest
    id known; parts that are merged later, such as one for each process, need a `start` each, far enough apart
    (`rank << 40`), or their own ids. An id that comes twice is refused where its row is still kept: taking it
    twice would count one row double, taking it once would hide that parts were numbered alike.

    Args:
        max_samples: rows to keep.
        seed: of the keys; parts that are to be merged need the same one.
        start: id of the first row that comes without one.

    Raises:
        ValueError: if `max_samples` is no positive integer, or `seed` or `start` none from 0 to 2^63 - 1.

    Reference:
        Cohen & Kaplan (2007), PODC: bottom-k sketches.
    """

    minimum = 1

    def __init__(self, max_samples: int, seed: int = 0, *, start: int = 0) -> None:
        self.max_samples = read_integer("max_samples", max_samples, 1)
        self.seed = read_integer("seed", seed, 0)
        self.start = read_integer("start", start, 0)
        self._device: torch.device | None = None
        self.reset()

    def reset(self) -> Self:
        """Forget all rows and their shape, and number from `start` again; returns the state itself."""
        self._shape = None
        self._n_seen = 0
        self._next = self.start
        self._kept = SmallestKeys(self.max_samples)
        return self

    def update(self, x: ArrayLike, dim: int = 0, *, ids: ArrayLike | Sequence[int] | None = None) -> Self:
        """Offer a batch of rows; `x` is left as it was and no reference to it is kept.

        Args:
            x: rows along `dim`, any unit; tensor or array of real numbers. The other dimensions must have one
                shape in all batches. Types shorter than float32 are kept as float32, integers as float64.
            dim: dimension of the rows.
            ids: an integer for each row that no other row has, from 0; by default the numbers that follow
                the largest so far.

        Returns:
            The state itself.

        Raises:
            ValueError: for an `x`, a `dim` or `ids` that cannot be used, another shape, or an id that comes
                twice.
        """
        batch = self._admit(x, dim)
        n = len(batch.values)
        numbers = self._number(n) if ids is None else _read_ids(ids, n)
        keys = row_keys(self.seed, numbers)
        wanted = self._kept.wanted(keys)
        kept = replace(self._kept)
        values = batch.values
        # Indexing copies: what happens to x afterwards does not matter.
        rows = values[torch.from_numpy(wanted).to(values.device)].to(_kept_dtype(values.dtype))
        self._add(kept, keys[wanted], numbers[wanted], rows)
        self._kept = kept
        self._n_seen += n
        self._next = max(self._next, int(numbers.max()) + 1)
        self._shape = batch.shape
        return self

    def _number(self, n: int) -> Indices:
        if self._next > LARGEST - n:
            raise ValueError(f"ids must be given: none are left from {self._next} on")
        return np.arange(self._next, self._next + n, dtype=np.int64)

    def _add(self, kept: SmallestKeys, keys: Keys, ids: Indices, rows: torch.Tensor) -> None:
        known = ids if kept.examples is None else np.concatenate([kept.examples, ids])
        values, counts = np.unique(known, return_counts=True)
        if counts.max(initial=1) > 1:
            raise ValueError(
                f"ids must differ between all rows (give each part its own start, or ids); "
                f"{int((counts > 1).sum())} came twice, such as {int(values[counts > 1][0])}"
            )
        device = self._device if kept.values is None else kept.values.device
        # Joined rows have the type that holds every batch's, whichever of them stay.
        kept.add(keys, ids, rows.to(device or rows.device))

    def _merge(self, parts: Sequence[Self]) -> None:
        # All parts are looked at before anything changes.
        for part in parts:
            for name in ("max_samples", "seed"):
                own, other = getattr(self, name), getattr(part, name)
                if own != other:
                    raise ValueError(f"others must have {name} {own}; got {other}")
        kept = replace(self._kept)
        for part in parts:
            theirs = part._kept
            if theirs.keys is not None and theirs.examples is not None and theirs.values is not None:
                self._add(kept, theirs.keys, theirs.examples, theirs.values)
        seen = [part for part in parts if part._n_seen]
        self._kept = kept
        self._next = max([self._next, *(part._next for part in seen)])
        self._n_seen += sum(part._n_seen for part in seen)

    def compute(self) -> RowSample:
        """The rows kept so far, on the device of the state.

        Returns:
            `RowSample`; without rows it is empty, of shape `(0,)`, with a warning.
        """
        kept = self._kept
        if kept.examples is None or kept.values is None:
            self._warn_too_few(0, "the result is empty")
            return RowSample(
                rows=torch.zeros(0, device=self._device),
                ids=torch.zeros(0, dtype=torch.int64, device=self._device),
                n_seen=0,
            )
        order = torch.from_numpy(np.argsort(kept.examples))
        assert self._shape is not None
        device = kept.values.device
        return RowSample(
            rows=kept.values[order.to(device)].reshape(-1, *self._shape),
            ids=torch.from_numpy(kept.examples)[order].to(device),
            n_seen=self._n_seen,
        )

    def state_dict(self) -> dict[str, Any]:
        """What was seen, as tensors and plain numbers that `torch.load(weights_only=True)` accepts."""
        ids, rows = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 0)
        if self._kept.examples is not None and self._kept.values is not None:
            ids, rows = torch.from_numpy(self._kept.examples), self._kept.values
        return {
            "max_samples": self.max_samples,
            "seed": self.seed,
            "n_seen": self._n_seen,
            "next_id": self._next,
            "shape": None if self._shape is None else list(self._shape),
            "ids": ids.clone(),
            "rows": rows.clone(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Self:
        """Go on from a `state_dict()`, replacing what was seen.

        Raises:
            ValueError: for a dict that no state of this kind, `max_samples` and `seed` gives.
        """
        kinds: dict[str, Kind] = {
            **dict.fromkeys(("max_samples", "seed", "n_seen", "next_id"), int),
            "shape": (list, tuple, type(None)),
            **dict.fromkeys(("ids", "rows"), torch.Tensor),
        }
        max_samples, seed, n_seen, following, shape, ids, rows = read_entries(state_dict, kinds)
        for name, own, other in (("max_samples", self.max_samples, max_samples), ("seed", self.seed, seed)):
            if own != other:
                raise ValueError(f"state_dict[{name!r}] must be {own}, as in this reservoir; got {other}")
        shape = read_shape(shape)
        if (n_seen > 0) != (shape is not None) or n_seen < 0:
            raise ValueError(f"state_dict['n_seen'] does not go with shape {shape}; got {n_seen}")
        if shape is None:
            return self.reset()
        count = min(max_samples, n_seen)
        if rows.dtype not in (torch.float32, torch.float64) or rows.shape != (count, math.prod(shape)):
            raise ValueError(
                f"state_dict['rows'] must be float32 or float64 of shape {(count, math.prod(shape))}; "
                f"got {rows.dtype} of shape {tuple(rows.shape)}"
            )
        examples = _read_ids(ids, count)
        if len(np.unique(examples)) != count or following <= int(examples.max()):
            raise ValueError("state_dict['ids'] must differ from each other and be below 'next_id'")
        self._kept = SmallestKeys(
            max_samples,
            keys=row_keys(seed, examples),
            examples=examples,
            values=rows.detach().to(self._device or rows.device, copy=True),
        )
        self._shape, self._n_seen, self._next = shape, n_seen, following
        return self

    def to(self, device: torch.device | str) -> Self:
        """Move the rows to a device, where they stay; returns the state itself.

        Without this they stay where the first batch was.
        """
        self._device = torch.device(device)
        if self._kept.values is not None:
            self._kept = replace(self._kept, values=self._kept.values.to(self._device))
        return self


def _kept_dtype(dtype: torch.dtype) -> torch.dtype:
    short = dtype in (torch.float16, torch.bfloat16, torch.float32)
    return torch.float32 if short else torch.float64


def _read_ids(ids: ArrayLike | Sequence[int], n: int) -> Indices:
    """Ids of n rows, in memory of their own.

    Raises:
        ValueError: if they are not n integers from 0 to 2^63 - 1.
    """
    array = ids.detach().cpu().numpy() if isinstance(ids, torch.Tensor) else np.asarray(ids)
    if array.dtype.kind not in "iu" or array.shape != (n,):
        raise ValueError(
            f"ids must be integers, one for each of {n} rows; got {array.dtype} of shape {array.shape}"
        )
    if int(array.min()) < 0 or int(array.max()) > LARGEST:
        raise ValueError(f"ids must be from 0 to 2^63 - 1; got {array.min()} to {array.max()}")
    return array.astype(np.int64)

"""What is kept of one site while batches pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from gaussprobe.capture import sampling
from gaussprobe.capture.layout import Axes, read_axes
from gaussprobe.capture.rows import Change, Rows
from gaussprobe.types import KINDS, Kind, NonFinite, Samples, Sampling, Site

Made = TypeVar("Made")

_UNREAD_PADDING = "which of its positions are padding could not be told: they are among its samples"
# Values that are copied at once on the way to the reservoir.
_AT_ONCE = 2**20
_SMALL_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a capture samples.

    Args:
        seed: of everything random.
        max_samples: rows kept per site.
        max_units: units kept per site.
    """

    seed: int = 0
    max_samples: int = 2048
    max_units: int = 4096


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The batch that is passing.

    Args:
        first: number of its first example among all.
        n_examples: how many it has.
        dim: the dimension they run along in the model's input.
        mask: `(n_examples, positions)` bool, False where a position is padding; None where all are data.
        groups: `(n_examples,)` which examples belong together, as crops of one photograph do; None for none.
        memo: what is the same for all sites of the batch, by what it depends on.
    """

    first: int
    n_examples: int
    dim: int = 0
    mask: torch.Tensor | None = None
    groups: sampling.Indices | None = None
    memo: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """What `make` gives, made for the first site that asks."""
        if key not in self.memo:
            self.memo[key] = make()
        made: Made = self.memo[key]
        return made


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Rows that are copied at once: where they are in a tensor, which slots they go to, whose they are."""

    index: tuple[torch.Tensor, ...]
    slots: sampling.Indices
    examples: sampling.Indices


@dataclass(kw_only=True)
class SiteAccumulator:
    """Samples and counts of one site.

    Args:
        site: its identity; kinds are added as they are learnt.
        plan: how to sample.
        sampled: False for a site that was seen but not selected.
    """

    site: Site
    plan: Plan
    sampled: bool = True
    kinds: set[Kind] = field(default_factory=set)
    n_seen: int = 0
    n_rows: int = 0
    num_features: int | None = None
    failure: str | None = None
    independent: bool = True
    grouped: bool = True
    caveats: list[str] = field(default_factory=list)
    positions_available: int = 1
    calls: int = 0
    overwritten: int = 0
    recomputed: int = 0
    last_finite: bool = False  # whether all values of the tensor that passed last are known to be finite
    _n_values: int = 0
    _nan: int = 0
    _inf: int = 0
    _bad_units: torch.Tensor | None = None
    _example_dim: int = 0
    _units: sampling.Indices | None = None
    _unit_index: torch.Tensor | None = None
    _rows: Rows | None = None
    _spare: int = sampling.MAX_POSITIONS - 1
    _spares: list[tuple[sampling.Indices, torch.Tensor]] = field(default_factory=list)

    def update(self, tensor: torch.Tensor, unit_dim: int, batch: Batch, *, finite: bool = False) -> None:
        """Take rows of a tensor now: what happens to the tensor afterwards does not matter.

        Args:
            tensor: as it stands at the site.
            unit_dim: dimension of the units.
            batch: the batch that is passing.
            finite: whether its values are known to be finite, and need not be looked at.
        """
        self.last_finite = False
        if not self.sampled or self.failure is not None:
            return
        if tensor.is_quantized:
            tensor = tensor.dequantize()
        self.failure = _unusable(tensor)
        if self.failure is not None:
            return
        # What was read as the examples in the first batch stays so: sizes may agree by chance in another.
        batch_dim = max(batch.dim, self._example_dim)
        axes = read_axes(tensor.detach(), unit_dim, batch.n_examples, batch_dim)
        mask = _padding(axes, batch.mask)
        rows, width = int(axes.tensor.shape[0]), int(axes.tensor.shape[-1])
        if self.num_features is None:
            self.num_features = width
            self._example_dim = axes.example_dim
            self._units = sampling.unit_subset(self.plan.seed, width, self.plan.max_units)
            self._unit_index = None if self._units is None else torch.from_numpy(self._units)
            self._rows = Rows(self.plan.max_samples)
        elif width != self.num_features:
            self.failure = f"its number of units changed from {self.num_features} to {width} between batches"
            return
        unread = batch.mask is not None and mask is None and batch.mask.shape[1] in axes.grid
        for caveat in (axes.caveat, _UNREAD_PADDING if unread else None):
            if caveat is not None and caveat not in self.caveats:
                self.caveats.append(caveat)
        self.independent &= axes.examples == "known"
        self.grouped &= axes.examples != "unknown"
        self._count(axes.tensor, mask, finite=finite)
        # Where rows are examples they carry the batch's numbering, so that all sites keep the same examples.
        first = self.n_rows if axes.examples == "unknown" else batch.first
        examples, valid = np.arange(first, first + rows), None
        available = math.prod(axes.grid)
        self.n_seen += rows * available
        if mask is not None:
            valid = mask.cpu().numpy()
            self.n_seen -= int((~valid).sum())
            available = int(valid.sum(axis=1).max())
        self.positions_available = max(self.positions_available, available)
        self.n_rows += self._take(axes.tensor, axes.grid, examples, valid, batch)

    def _take(
        self,
        tensor: torch.Tensor,
        grid: tuple[int, ...],
        examples: sampling.Indices,
        valid: npt.NDArray[np.bool_] | None,
        batch: Batch,
    ) -> int:
        """Offer one row or more of each example to the reservoir; returns how many examples have any."""
        assert self._rows is not None
        least = math.prod(grid)
        if valid is not None:
            some = valid.any(axis=1)
            if not some.any():
                return 0
            if not some.all():  # examples of nothing but padding
                tensor, examples, valid = tensor[torch.from_numpy(some)], examples[some], valid[some]
            least = int(valid.sum(axis=1).min())
        few = self.n_rows + len(examples) < min(sampling.ENOUGH_EXAMPLES, self.plan.max_samples)
        count = min(sampling.MAX_POSITIONS, least) if few else 1
        # Every example has as many positions as the one with the fewest.
        self._spare = min(self._spare, count - 1)
        if not self._spare:
            self._spares.clear()
        rows, units = self._rows, self._unit_index
        width = count * int(tensor.shape[-1] if units is None else len(units))
        step, device = min(max(1, _AT_ONCE // width), len(examples)), tensor.device
        if units is not None and units.device != device:
            units = self._unit_index = units.to(device)
        which = (int(examples[0]), int(examples[-1]), len(examples), valid is None, grid, count)
        change, parts = batch.once(
            (*rows.state, *which, step, device),
            lambda: self._plan(batch, examples, valid, grid, count, step, device),
        )
        rows.apply(change)
        for part in parts:
            values = sampling.gather(tensor, part.index, units)
            rows.put(part.slots, values[:, 0])
            if self._spare:
                self._spares.append((part.examples, values[:, 1:].cpu()))
        return len(examples)

    def _plan(
        self,
        batch: Batch,
        examples: sampling.Indices,
        valid: npt.NDArray[np.bool_] | None,
        grid: tuple[int, ...],
        count: int,
        step: int,
        device: torch.device,
    ) -> tuple[Change, list[_Part]]:
        """Which rows of the batch are kept, where they are and where they go.

        The same for all sites that have the same grid and hold the same examples.
        """
        assert self._rows is not None
        rows, seed = self._rows, self.plan.seed
        which = (int(examples[0]), int(examples[-1]), len(examples))
        keys = batch.once(("keys", *which), lambda: sampling.row_keys(seed, examples))
        change = batch.once(("change", *rows.state, *which), lambda: rows.change(keys, examples))
        if valid is None:
            where = sampling.positions(seed, examples, grid, count)
        else:
            where = (sampling.valid_positions(seed, examples, valid, count),)
        parts = []
        for start in range(0, len(change.taken), step):
            taken = change.taken[start : start + step]
            index = sampling.places(taken, tuple(part[taken] for part in where), device)
            slots = change.slots[start : start + step]
            parts.append(_Part(index=index, slots=slots, examples=examples[taken]))
        return change, parts

    def _count(self, tensor: torch.Tensor, mask: torch.Tensor | None, *, finite: bool) -> None:
        found = None if finite else sampling.count_nonfinite(tensor)
        self.last_finite = found is None
        if mask is None:
            self._n_values += tensor.numel()
        else:
            self._n_values += int(mask.sum()) * int(tensor.shape[-1])
            if found is not None:
                found = sampling.count_nonfinite(tensor[mask.to(tensor.device)])
        if found is None:
            return
        nan, inf, units = found
        self._nan, self._inf = self._nan + nan, self._inf + inf
        self._bad_units = units if self._bad_units is None else self._bad_units | units

    @property
    def positions_per_example(self) -> int:
        """How many positions of each example are kept."""
        if not self._spares:
            return 1
        return 1 + min(self._spare, self.plan.max_samples // self.n_rows - 1)

    def compute(self, step: int = 0, groups: sampling.Indices | None = None) -> Samples | None:
        """The samples so far, None when there are none.

        Args:
            step: to be recorded with them.
            groups: which examples belong together, by their number; None for none.
        """
        if self.failure is not None or self._rows is None or not self._rows.count:
            return None
        assert self.num_features is not None
        values, examples = self._rows.in_order()
        caveats, independent = list(self.caveats), self.independent
        if groups is not None and self.grouped:
            rows, examples = len(examples), groups[examples]
            count = len(np.unique(examples))
            if count < rows:
                independent = False
                caveats.append(
                    f"{rows:,} examples of {count:,} groups: those of one group are dependent, so intervals "
                    "leave out whole groups and there are no p-values"
                )
        per_example = self.positions_per_example
        if per_example > 1:
            # Rank by rank: each block of rows is one position of every example, in one order.
            spare = torch.cat([extra[:, : per_example - 1] for _, extra in self._spares])
            values = torch.cat([values, *spare.unbind(1)])
            examples = np.tile(examples, per_example)
            independent = False
            caveats.append(
                f"only {self.n_rows} examples: {per_example} positions of each were scored, each by itself, "
                "and averaged; positions of one example are dependent, so there are no p-values"
            )
        if self._units is not None:
            caveats.append(f"{len(self._units)} of {self.num_features} units were drawn at random and scored")
        return Samples(
            site=replace(self.site, kinds=tuple(k for k in KINDS if k in self.kinds)),
            step=step,
            values=values,
            examples=examples,
            n_seen=self.n_seen,
            sampling=Sampling(
                n_examples=self.n_rows,
                positions_available=self.positions_available,
                positions_per_example=per_example,
                num_features=self.num_features,
                units=None if self._units is None else tuple(int(u) for u in self._units),
                caveats=tuple(caveats),
            ),
            nonfinite=NonFinite(
                nan=self._nan,
                inf=self._inf,
                total=self._n_values,
                units=0 if self._bad_units is None else int(self._bad_units.sum()),
            ),
            independent=independent,
            grouped=self.grouped,
        )


def _padding(axes: Axes, mask: torch.Tensor | None) -> torch.Tensor | None:
    """The batch's mask where it tells a site's positions apart, `(examples, positions)`, else None."""
    if mask is None or axes.examples == "unknown":
        return None
    return mask if axes.grid == tuple(mask.shape[1:]) and len(mask) == axes.tensor.shape[0] else None


def _unusable(tensor: torch.Tensor) -> str | None:
    """Why a tensor cannot be scored, None when it can."""
    if tensor.is_meta:
        return "its tensor is on the meta device and holds no values"
    if tensor.layout != torch.strided:
        return f"its tensor is {str(tensor.layout).removeprefix('torch.')}, not dense"
    if tensor.dtype not in _SMALL_FLOATS:
        return f"its tensor is {str(tensor.dtype).removeprefix('torch.')}, not real floating point"
    if tensor.ndim == 0:
        return "its tensor is a single number without dimensions"
    if tensor.numel() == 0:
        return "its tensor is empty"
    return None

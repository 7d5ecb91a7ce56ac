"""What is kept of one site while batches pass."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from gaussprobe.capture import sampling
from gaussprobe.capture.layout import read_axes
from gaussprobe.types import KINDS, Kind, NonFinite, Samples, Sampling, Site

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
    """The batch that is passing: its first example among all, how many it has, and along which dimension."""

    first: int
    n_examples: int
    dim: int = 0


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
    _n_values: int = 0
    _nan: int = 0
    _inf: int = 0
    _bad_units: torch.Tensor | None = None
    _example_dim: int = 0
    _units: sampling.Indices | None = None
    _rows: sampling.Reservoir | None = None
    _spare: int = sampling.MAX_POSITIONS - 1
    _spares: list[tuple[sampling.Indices, torch.Tensor]] = field(default_factory=list)

    def update(self, tensor: torch.Tensor, unit_dim: int, batch: Batch) -> None:
        """Take rows of a tensor now: what happens to the tensor afterwards does not matter.

        Args:
            tensor: as it stands at the site.
            unit_dim: dimension of the units.
            batch: the batch that is passing.
        """
        if not self.sampled or self.failure is not None:
            return
        self.failure = _unusable(tensor)
        if self.failure is not None:
            return
        # What was read as the examples in the first batch stays so: sizes may agree by chance in another.
        batch_dim = max(batch.dim, self._example_dim)
        axes = read_axes(tensor.detach(), unit_dim, batch.n_examples, batch_dim)
        rows, width = int(axes.tensor.shape[0]), int(axes.tensor.shape[-1])
        if self.num_features is None:
            self.num_features = width
            self._example_dim = axes.example_dim
            self._units = sampling.unit_subset(self.plan.seed, width, self.plan.max_units)
            self._rows = sampling.Reservoir(self.plan.max_samples)
        elif width != self.num_features:
            self.failure = f"its number of units changed from {self.num_features} to {width} between batches"
            return
        if axes.caveat is not None and axes.caveat not in self.caveats:
            self.caveats.append(axes.caveat)
        self.independent &= axes.examples == "known"
        self.grouped &= axes.examples != "unknown"
        self._count(axes.tensor)
        available = math.prod(axes.grid)
        self.positions_available = max(self.positions_available, available)
        self.n_seen += rows * available
        # Where rows are examples they carry the batch's numbering, so that all sites keep the same examples.
        first = self.n_rows if axes.examples == "unknown" else batch.first
        self._take(axes.tensor, axes.grid, np.arange(first, first + rows))
        self.n_rows += rows

    def _take(self, tensor: torch.Tensor, grid: tuple[int, ...], examples: sampling.Indices) -> None:
        assert self._rows is not None
        seed = self.plan.seed
        few = self.n_rows + len(examples) < min(sampling.ENOUGH_EXAMPLES, self.plan.max_samples)
        count = min(sampling.MAX_POSITIONS, math.prod(grid)) if few else 1
        # Every example has as many positions as the one with the fewest.
        self._spare = min(self._spare, count - 1)
        if not self._spare:
            self._spares.clear()
        keys = sampling.row_keys(seed, examples)
        wanted = self._rows.wanted(keys)
        if len(wanted) == 0:
            return
        chosen = examples[wanted]
        where = sampling.positions(seed, chosen, grid, count)
        values = sampling.gather(tensor, wanted, where, self._units).cpu()
        self._rows.add(keys[wanted], chosen, values[:, 0].contiguous())
        if self._spare:
            self._spares.append((chosen, values[:, 1:]))

    def _count(self, tensor: torch.Tensor) -> None:
        self._n_values += tensor.numel()
        found = sampling.count_nonfinite(tensor)
        if found is None:
            return
        nan, inf, units = found
        self._nan, self._inf = self._nan + nan, self._inf + inf
        self._bad_units = units if self._bad_units is None else self._bad_units | units

    def compute(self, step: int = 0) -> Samples | None:
        """The samples so far, None when there are none."""
        if self.failure is not None or self._rows is None or self._rows.values is None:
            return None
        assert self._rows.examples is not None
        assert self.num_features is not None
        values, examples = self._rows.values, self._rows.examples
        caveats, independent, per_example = list(self.caveats), self.independent, 1
        if self._spares:
            per_example = 1 + min(self._spare, self.plan.max_samples // self.n_rows - 1)
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

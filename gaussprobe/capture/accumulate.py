"""What is kept of one site while batches pass."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from gaussprobe.capture import reading, sampling
from gaussprobe.capture.plan import Batch, Plan
from gaussprobe.capture.reading import Form, Reading
from gaussprobe.capture.rows import Rows
from gaussprobe.types import KINDS, Kind, NonFinite, Samples, Sampling, Site

_UNREAD_PADDING = "which of its positions are padding could not be told: they are among its samples"
_SMALL_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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
    _form: tuple[tuple[Hashable, ...], Form] | None = None  # by what tensors of it look like
    _rows: Rows = field(init=False)
    _spare: int = sampling.MAX_POSITIONS - 1
    _spares: list[tuple[sampling.Indices, torch.Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rows = Rows(self.plan.max_samples)

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
        padded = None if batch.mask is None else batch.mask.shape
        looks = (tensor.shape, tensor.stride(), tensor.device, unit_dim, batch.n_examples, batch_dim, padded)
        known, rows = self._form, self._rows
        form = known[1] if known is not None and known[0] == looks else None
        if form is None:
            form = reading.form(tensor, unit_dim, batch, batch_dim, self.plan)
            if not self._accept(form, batch):
                return
            self._form = (looks, form)
        kept = batch.once(
            ("reading", looks, self.n_rows, *rows.state),
            lambda: reading.read(form, batch, self.plan, rows, self.n_rows),
        )
        tensor = tensor.detach()
        self._count(tensor, form, kept, finite=finite)
        self._take(tensor, form, kept)

    def _accept(self, form: Form, batch: Batch) -> bool:
        """Learn from a tensor of a form that is new here; False where it cannot belong to this site."""
        axes = form.axes
        if self.num_features is None:
            self.num_features, self._example_dim = form.num_features, axes.example_dim
        elif form.num_features != self.num_features:
            now = form.num_features
            self.failure = f"its number of units changed from {self.num_features} to {now} between batches"
            return False
        masked = batch.mask is not None and batch.mask.shape[1] in axes.grid
        unread = masked and reading.padding(form, batch.mask) is None
        for caveat in (axes.caveat, _UNREAD_PADDING if unread else None):
            if caveat is not None and caveat not in self.caveats:
                self.caveats.append(caveat)
        self.independent &= axes.examples == "known"
        self.grouped &= axes.examples != "unknown"
        return True

    def _count(self, tensor: torch.Tensor, form: Form, kept: Reading, *, finite: bool) -> None:
        """Count what passes, and look for values that are not finite."""
        self.n_seen += kept.n_seen
        self.n_rows += kept.n_rows
        self.positions_available = max(self.positions_available, kept.available)
        self._n_values += kept.n_seen * form.num_features
        self.last_finite = finite or sampling.all_finite(tensor)
        if self.last_finite:
            return
        data = form.axes.arrange(tensor)
        if kept.mask is not None:
            data = data[kept.mask.to(tensor.device)]
        nan, inf, units = sampling.count_nonfinite(data)
        self._nan, self._inf = self._nan + nan, self._inf + inf
        self._bad_units = units if self._bad_units is None else self._bad_units | units

    def _take(self, tensor: torch.Tensor, form: Form, kept: Reading) -> None:
        """Keep what the reading says of a tensor."""
        if kept.change is None:
            return
        # Every example has as many positions as the one with the fewest.
        if self._spare:
            self._spare = min(self._spare, kept.count - 1)
            if not self._spare:
                self._spares.clear()
        self._rows.apply(kept.change)
        for part in kept.parts:
            more = part.move(tensor, form.span, self._rows)
            if self._spare and more is not None:
                self._spares.append((part.examples, more))

    @property
    def grid(self) -> tuple[int, ...]:
        """Sizes of the position dimensions of the tensor that passed last; empty where there are none."""
        return () if self._form is None else self._form[1].axes.grid

    @property
    def nonfinite_units(self) -> torch.Tensor | None:
        """`(num_features,)` which units had NaN or infinity, None where none had."""
        return self._bad_units

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
        if self.failure is not None or not self._rows.count:
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
            caveats.append(positions_caveat(self.n_rows, per_example))
        units = sampling.unit_subset(self.plan.seed, self.num_features, self.plan.max_units)
        if units is not None:
            caveats.append(f"{len(units)} of {self.num_features} units were drawn at random and scored")
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
                units=None if units is None else tuple(units.tolist()),
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


def positions_caveat(n_examples: int, per_example: int) -> str:
    """What a reader must know where several positions of each example were kept."""
    return (
        f"only {n_examples} examples: {per_example} positions of each were scored, each by itself, "
        "and averaged; positions of one example are dependent, so there are no p-values"
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

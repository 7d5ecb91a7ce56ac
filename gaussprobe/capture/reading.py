"""What is to be kept of a tensor: how it lies in memory, and what of that goes where.

The first is the same for every batch, the second for every site that holds the same examples: a model of
many small layers would otherwise spend more on deciding than on copying.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from gaussprobe.capture import sampling
from gaussprobe.capture.layout import Axes, read_axes
from gaussprobe.capture.plan import Batch, Plan
from gaussprobe.capture.rows import Change, Rows
from gaussprobe.capture.sampling import Indices

# Values that are copied at once on the way to the reservoir.
_AT_ONCE = 2**17
# Values so few that the place of each is kept for the sites that follow.
_FEW = 2**16


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a tensor is read, by its shape alone.

    Args:
        axes: its dimensions.
        num_features: its units.
        rows: what is read as its examples.
        strides: of the dimensions (examples, positions..., units), in values.
        span: values from its first to its last in memory.
        units: `(k,)` where the units that are kept lie, from the first unit of a position.
    """

    axes: Axes
    num_features: int
    rows: int
    strides: tuple[int, ...]
    span: int
    units: torch.Tensor

    @property
    def available(self) -> int:
        """Positions of each example."""
        return math.prod(self.axes.grid)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows that are copied at once.

    Args:
        places: `(m, count, 1)` where each position lies in a tensor, `(m, count, k)` each value if few.
        units: `(k,)` what is to be added to that, None if it has been.
        slots: `(m,)` where the first position of each goes.
        examples: `(m,)` whose they are.
        run: the first slot where they follow each other and each example has one position, else None.
    """

    places: torch.Tensor
    units: torch.Tensor | None
    slots: Indices
    examples: Indices
    run: int | None

    def move(self, tensor: torch.Tensor, span: int, rows: Rows) -> torch.Tensor | None:
        """Copy values out of a tensor of the form that this is for into the slots.

        Returns:
            `(m, count - 1, k)` the further positions, None where there are none.
        """
        places = self.places if self.units is None else self.places + self.units
        if self.run is not None:
            room = rows.room(self.run, len(places), tensor, int(places.shape[-1]))
            if room is not None:
                torch.take(sampling.flat(tensor, span), places[:, 0], out=room)
                return None
        values = sampling.take(tensor, span, places)
        rows.put(self.slots, values[:, 0])
        return values[:, 1:].cpu() if values.shape[1] > 1 else None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is kept of tensors of one form, of one batch, by sites that hold the same examples.

    Args:
        mask: `(examples, positions)` False where a position is padding, None where none is or cannot be told.
        n_seen: how many positions are data.
        n_rows: how many examples have any.
        available: positions of the example that has most.
        count: positions taken of each example.
        change: to the rows kept, None where no example has any data.
        parts: what is copied.
    """

    mask: torch.Tensor | None
    n_seen: int
    n_rows: int
    available: int
    count: int = 1
    change: Change | None = None
    parts: tuple[Part, ...] = ()


def form(tensor: torch.Tensor, unit_dim: int, batch: Batch, batch_dim: int, plan: Plan) -> Form:
    """How a tensor is read.

    Args:
        tensor: dense, of one dimension at least.
        unit_dim: dimension of the units.
        batch: the batch that is passing.
        batch_dim: dimension of the examples in the model's input.
        plan: how to sample.
    """
    looks = (tensor.shape, tensor.stride(), tensor.device)
    return _form(*looks, unit_dim, batch.n_examples, batch_dim, plan.seed, plan.max_units)


@functools.lru_cache(maxsize=1024)
def _form(
    shape: torch.Size,
    stride: tuple[int, ...],
    device: torch.device,
    unit_dim: int,
    n_examples: int,
    batch_dim: int,
    seed: int,
    max_units: int,
) -> Form:
    """Many layers look alike, and all look the same in the next recorded step."""
    axes = read_axes(shape, unit_dim, n_examples, batch_dim)
    with torch.inference_mode(False):
        view = axes.arrange(torch.empty_strided(shape, stride, device="meta"))
        kept = sampling.unit_subset(seed, int(view.shape[-1]), max_units)
        units = np.arange(view.shape[-1]) if kept is None else kept
        return Form(
            axes=axes,
            num_features=int(view.shape[-1]),
            rows=int(view.shape[0]),
            strides=view.stride(),
            span=1 + sum((size - 1) * stride for size, stride in zip(view.shape, view.stride(), strict=True)),
            units=torch.from_numpy(units * view.stride(-1)).to(device),
        )


def read(form: Form, batch: Batch, plan: Plan, rows: Rows, n_rows: int) -> Reading:
    """What is to be kept of tensors of a form.

    Args:
        form: of the tensors.
        batch: the batch that is passing.
        plan: how to sample.
        rows: what is kept so far.
        n_rows: examples offered so far.
    """
    mask = padding(form, batch.mask)
    # Where rows are examples they carry the batch's numbering, so that all sites keep the same examples.
    first = n_rows if form.axes.examples == "unknown" else batch.first
    numbers, valid, available = np.arange(form.rows), None, form.available
    least, n_seen = available, form.rows * available
    if mask is not None:
        valid = mask.cpu().numpy()
        counts = valid.sum(axis=1)
        n_seen, available = int(counts.sum()), int(counts.max())
        numbers = np.flatnonzero(counts)  # the others are nothing but padding
        if not len(numbers):
            return Reading(mask=mask, n_seen=0, n_rows=0, available=0)
        valid, least = valid[numbers], int(counts[numbers].min())
    # Other processes are taken to have as many examples as this one.
    so_far = plan.ranks * (n_rows + len(numbers))
    few = not plan.middle and so_far < min(sampling.ENOUGH_EXAMPLES, plan.max_samples)
    count = min(sampling.MAX_POSITIONS, least, plan.max_samples // so_far) if few else 1
    examples = plan.numbers(first + numbers)
    change, where = _chosen(examples, valid, form.axes.grid, count, batch, plan, rows)
    places = sampling.places(numbers[change.taken], where, form.strides)
    return Reading(
        mask=mask,
        n_seen=n_seen,
        n_rows=len(examples),
        available=available,
        count=count,
        change=change,
        parts=_parts(places, form.units, change.slots, examples[change.taken]),
    )


def padding(form: Form, mask: torch.Tensor | None) -> torch.Tensor | None:
    """The batch's mask where it tells a site's positions apart, `(examples, positions)`, else None."""
    if mask is None or form.axes.examples == "unknown":
        return None
    return mask if (form.rows, *form.axes.grid) == tuple(mask.shape) else None


def _chosen(
    examples: Indices,
    valid: npt.NDArray[np.bool_] | None,
    grid: tuple[int, ...],
    count: int,
    batch: Batch,
    plan: Plan,
    rows: Rows,
) -> tuple[Change, tuple[Indices, ...]]:
    """Which examples are kept, and which positions of those: the same for all sites of the same grid."""
    which: tuple[Hashable, ...] = (int(examples[0]), int(examples[-1]), len(examples))
    keys = batch.once(("keys", *which), lambda: sampling.row_keys(plan.row_seed, examples))
    change = batch.once(("change", *rows.state, *which), lambda: rows.change(keys, examples))
    taken = change.taken

    def positions() -> tuple[Indices, ...]:
        if plan.middle:
            return sampling.middle(len(taken), grid, None if valid is None else valid[taken])
        if valid is None:
            return sampling.positions(plan.row_seed, examples[taken], grid, count)
        return (sampling.valid_positions(plan.row_seed, examples[taken], valid[taken], count),)

    where = batch.once(("where", *rows.state, *which, grid, count, valid is None), positions)
    return change, where


def _parts(places: Indices, units: torch.Tensor, slots: Indices, examples: Indices) -> tuple[Part, ...]:
    """Cut what is to be copied into parts of some `_AT_ONCE` values."""
    step, few = max(1, _AT_ONCE // (places.shape[1] * len(units))), places.size * len(units) <= _FEW
    found = []
    for start in range(0, len(places), step):
        part = slice(start, start + step)
        first = torch.from_numpy(places[part, :, None]).to(units.device)
        into = slots[part]
        follow = places.shape[1] == 1 and int(into[-1]) - int(into[0]) == len(into) - 1
        found.append(
            Part(
                places=first + units if few else first,
                units=None if few else units,
                slots=into,
                examples=examples[part],
                run=int(into[0]) if follow else None,
            )
        )
    return tuple(found)

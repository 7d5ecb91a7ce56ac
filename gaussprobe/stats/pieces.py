"""Statistics of many columns, piece by piece: each piece is sorted once, measured, and let go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from gaussprobe.stats import workers
from gaussprobe.stats.ordered import Null, OrderedSample, RowFunction, order_piece


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be measured of some columns.

    Args:
        values: `(n, C)`, any real dtype.
        functions: of an `OrderedSample`, `(c,)` or `(c, k)` each; those of one piece share what they compute.
        null: `"simple"` leaves the values as they are.
        in_order: False for functions that do not need sorted samples.
        dtype: precision of the work; None for that which the values call for.
        light: whether few temporaries are needed, so that pieces may be larger.
    """

    values: torch.Tensor
    functions: Mapping[str, RowFunction]
    null: Null = "composite"
    in_order: bool = True
    dtype: torch.dtype | None = None
    light: bool = False

    def split(self) -> Sequence[torch.Tensor]:
        """Pieces of its columns that fit the cache, as even as can be."""
        n, units = self.values.shape
        step = workers.units_per_chunk(n, self.values.device, light=self.light)
        return torch.tensor_split(self.values, max(1, -(-units // step)), dim=1)

    def measure(self, piece: torch.Tensor) -> list[torch.Tensor]:
        """What the functions give of one piece."""
        sample = order_piece(piece, null=self.null, in_order=self.in_order, dtype=self.dtype)
        return [function(sample) for function in self.functions.values()]


def measure_all(asked: Sequence[Asked]) -> list[dict[str, torch.Tensor]]:
    """What the functions of each give of all its columns, `(C,)` or `(C, k)`, by name.

    All on one device. Nothing of the size of the values is kept, and workers meet once, at the end.
    """
    if not asked:
        return []
    turns = [(which, piece) for which, one in enumerate(asked) for piece in one.split()]
    parts = workers.each(lambda turn: asked[turn[0]].measure(turn[1]), turns, asked[0].values.device)
    found: list[list[list[torch.Tensor]]] = [[] for _ in asked]
    for (which, _), part in zip(turns, parts, strict=True):
        found[which].append(part)
    return [_joined(one.functions, own) for one, own in zip(asked, found, strict=True)]


def measure_sample(sample: OrderedSample, functions: Mapping[str, RowFunction]) -> dict[str, torch.Tensor]:
    """The same of a sample that is in order already."""
    if sample.passing:
        return {name: function(sample) for name, function in functions.items()}

    def part(piece: OrderedSample) -> list[torch.Tensor]:
        return [function(piece) for function in functions.values()]

    return _joined(functions, workers.each(part, sample.pieces(), sample.z.device))


def _joined(functions: Mapping[str, RowFunction], parts: list[list[torch.Tensor]]) -> dict[str, torch.Tensor]:
    columns = (torch.cat(column) if len(column) > 1 else column[0] for column in zip(*parts, strict=True))
    return dict(zip(functions, columns, strict=True))

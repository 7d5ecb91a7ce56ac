"""Means over the groups of several processes, as `torch.nn.SyncBatchNorm` takes them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from gaussprobe.nn.transform import Mean


@dataclass(frozen=True, kw_only=True)
class Across:
    """How to take a mean over several processes.

    Args:
        mean: of each group, over all of its values; its gradient goes to every process.
        n_values: of a group, in all.
    """

    mean: Mean
    n_values: int


def across(x: torch.Tensor, dims: tuple[int, ...], process_group: Any) -> Across | None:
    """Means over `dims` of what x is in every process; None where there is but one.

    Args:
        x: this process's part; parts may differ in their number of examples.
        dims: dimensions that are normalized over.
        process_group: the processes; None for all.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size(process_group) == 1:
        return None
    count = torch.tensor([math.prod(x.shape[d] for d in dims)], dtype=torch.int64, device=x.device)
    dist.all_reduce(count, group=process_group)
    n_values = int(count)

    def mean(values: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = _Sum.apply(values.sum(dims, keepdim=True), process_group)  # type: ignore[no-untyped-call]
        return total / n_values

    return Across(mean=mean, n_values=n_values)


class _Sum(torch.autograd.Function):
    """The sum over processes, of each what its own loss says of the sum."""

    @staticmethod
    def forward(ctx: Any, part: torch.Tensor, process_group: Any) -> torch.Tensor:
        ctx.process_group = process_group
        whole = part.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(whole, group=process_group)
        return whole

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _Sum.apply(grad, ctx.process_group), None  # type: ignore[no-untyped-call]

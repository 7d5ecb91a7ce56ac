"""Which values of a tensor are normalized together: every way to group them, seen as one strided view."""

from __future__ import annotations

import math

import torch


def as_groups(x: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor | None:
    """`(outer, groups, inner)` of a tensor: each group is what has one index in the middle.

    Args:
        x: any layout.
        dims: not negative, ascending: dimensions that are normalized over.

    Returns:
        A view, None where there is none. Of a contiguous tensor there is one where `dims`, or the others,
        follow each other.
    """
    others = tuple(d for d in range(x.ndim) if d not in dims)
    # As the dimensions come: one run of others, with normalized ones before and after it.
    if others and others == tuple(range(others[0], others[-1] + 1)):
        split = (others[0], others[-1] + 1)
        shape = [math.prod(x.shape[a:b]) for a, b in ((0, split[0]), split, (split[1], x.ndim))]
        found = _view(x, shape)
        if found is not None and (shape[2] > 1 or shape[0] == 1):
            return found
    found = _view(x.permute(*others, *dims), [1, math.prod(x.shape[d] for d in others), -1])
    if found is not None:
        return found
    # As channels-last memory has them: groups innermost.
    found = _view(x.permute(*dims, *others), [-1, math.prod(x.shape[d] for d in others)])
    return None if found is None else found.t().unsqueeze(0)


def dense(x: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor | None:
    """x, or its copy in contiguous memory, where that and what is made like it have that view; else None."""
    if _usable(x, dims):
        return x
    if _usable(torch.empty(x.shape, device="meta"), dims):
        return x.clone(memory_format=torch.contiguous_format)
    return None


def _usable(x: torch.Tensor, dims: tuple[int, ...]) -> bool:
    like = torch.empty_like(x)
    steps = zip(x.shape, x.stride(), like.stride(), strict=True)
    if any(size > 1 and a != b for size, a, b in steps):
        return False
    found, other = as_groups(x, dims), as_groups(like, dims)
    return found is not None and other is not None and found.shape == other.shape


def _view(x: torch.Tensor, shape: list[int]) -> torch.Tensor | None:
    try:
        return x.view(shape)
    except RuntimeError:
        return None


def per_group(shape: torch.Size, dims: tuple[int, ...]) -> list[int]:
    """Shape of what there is one of to a group, broadcast against a tensor of `shape`."""
    return [1 if d in dims else size for d, size in enumerate(shape)]

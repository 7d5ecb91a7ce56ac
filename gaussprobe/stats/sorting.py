"""Sorting the rows of a matrix, by the fastest way the device has."""

from __future__ import annotations

import itertools

import torch

# numpy sorts rows of up to this many float32 values in vector registers; longer rows cost several times as
# much a value on processors whose compressed stores are slow.
IN_REGISTERS = 512

# Exchanges that sort that many sorted blocks, in order; Knuth (1998), section 5.3.4.
_EXCHANGES = {
    2: ((0, 1),),
    3: ((0, 1), (1, 2), (0, 1)),
    4: ((0, 1), (2, 3), (0, 2), (1, 3), (1, 2)),
}


def sort_rows(rows: torch.Tensor) -> torch.Tensor:
    """`rows` `(C, n)`, contiguous, sorted ascending. On the CPU in place.

    Where a row holds NaN its NaN come in no fixed place.

    torch.sort also moves int64 indices, which costs several times numpy's sort on the CPU.
    """
    if rows.device.type != "cpu":
        return torch.sort(rows, dim=1).values
    n = rows.shape[1]
    blocks = -(-n // IN_REGISTERS)
    if rows.dtype == torch.float32 and blocks in _EXCHANGES:
        _sort_blocks(rows, blocks)
    else:
        rows.numpy().sort(axis=1)
    return rows


def _sort_blocks(rows: torch.Tensor, count: int) -> None:
    """Sort each row as `count` blocks, then exchange between pairs of blocks.

    Of two ascending blocks a and b of equal length, the elementwise minimum of a and b reversed holds the
    smaller half of all their values, the maximum the larger; each is sorted again.
    """
    n = rows.shape[1]
    length = -(-n // count)
    bounds = [min(i * length, n) for i in range(count + 1)]
    blocks = [rows[:, a:b] for a, b in itertools.pairwise(bounds)]
    for block in blocks:
        block.numpy().sort(axis=1)
    for i, j in _EXCHANGES[count]:
        # Only the last block may be shorter. Its missing values count as infinite: they would meet the first
        # values of the other block, which stay where they are.
        short = blocks[j].shape[1]
        low, high = blocks[i][:, blocks[i].shape[1] - short :], blocks[j]
        reverse = high.flip(1)
        torch.maximum(low, reverse, out=high)
        torch.minimum(low, reverse, out=low)
        blocks[i].numpy().sort(axis=1)
        blocks[j].numpy().sort(axis=1)

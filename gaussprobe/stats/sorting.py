"""Sorting the rows of a matrix, by the fastest way the device has."""

from __future__ import annotations

import torch

from gaussprobe.stats import workers

# numpy sorts rows of up to this many values in vector registers; longer rows cost several times as much a
# value on processors whose compressed stores are slow.
IN_REGISTERS = {torch.float32: 512, torch.float64: 256}

# From so many blocks on merging them costs as much as numpy's own sort.
_MOST_BLOCKS = 64


def sort_rows(rows: torch.Tensor) -> torch.Tensor:
    """`rows` `(C, n)`, contiguous, sorted ascending. On the CPU in place.

    Where a row holds NaN its NaN come in no fixed place.

    torch.sort also moves int64 indices, which costs several times numpy's sort on the CPU.
    """
    if rows.device.type != "cpu":
        return torch.sort(rows, dim=1).values
    n = rows.shape[1]
    count = -(-n // IN_REGISTERS.get(rows.dtype, n))
    if 1 < count <= _MOST_BLOCKS:
        _sort_as_blocks(rows, count)
    else:
        rows.numpy().sort(axis=1)
    return rows


def _sort_as_blocks(rows: torch.Tensor, count: int) -> None:
    """Sort each row as `count` blocks of equal length and merge them."""
    units, n = rows.shape
    length = -(-n // count)
    whole = rows
    if count * length > n:
        whole = workers.workspace("padded", (units, count * length), rows.dtype)
        whole[:, :n] = rows
        whole[:, n:] = torch.inf
    blocks = whole.view(units, count, length)
    blocks.numpy().sort(axis=2)
    _merge_sort(blocks)
    if whole is not rows:
        rows.copy_(whole[:, :n])


def _merge_sort(blocks: torch.Tensor) -> None:
    """Sort the values of all blocks of a row, `(units, count, length)`, each block of which is sorted.

    Batcher's bitonic merges, on whole blocks: of two ascending runs a and b, the elementwise minimum of a and
    b reversed holds the smaller half of all their values, the maximum the larger. Both are bitonic: they rise
    and fall at most once each, cyclically, and so are the minimum and maximum of the halves of a bitonic run.
    What is left of it once the halves are single blocks, numpy sorts.

    Reference:
        Batcher (1968), Sorting networks and their applications; Knuth (1998), section 5.3.4.
    """
    count = blocks.shape[1]
    even = _power_of_two(count)
    run = 1
    while run < even:
        _exchange(*_halves(blocks[:, :even], run), reverse=True)
        _halve(blocks[:, :even], run)
        run *= 2
    if even == count:
        return
    # The rest is a shorter run. Values it lacks count as infinite: they would meet the first values of the
    # longer run, which stay where they are.
    rest = blocks[:, even:]
    _merge_sort(rest)
    _exchange(blocks[:, even - rest.shape[1] : even], rest, reverse=True)
    _halve(blocks[:, :even], even)
    _halve(rest, rest.shape[1])


def _halve(blocks: torch.Tensor, run: int) -> None:
    """Sort bitonic runs of `run` blocks each: halves against halves, then each block by itself.

    A run whose length is no power of two must fall before it rises, so that infinite values after its end
    leave it bitonic.
    """
    even = _power_of_two(run)
    if run == even:
        half = run // 2
        while half:
            _exchange(*_halves(blocks, half))
            half //= 2
        blocks.numpy().sort(axis=2)
    else:
        _exchange(blocks[:, : run - even], blocks[:, even:])
        _halve(blocks[:, :even], even)
        _halve(blocks[:, even:], run - even)


def _halves(blocks: torch.Tensor, half: int) -> tuple[torch.Tensor, torch.Tensor]:
    """First and second half of each run of twice `half` blocks, `(units, runs, half, length)` each."""
    units, count, length = blocks.shape
    runs, skip = count // (2 * half), blocks.stride(1)
    shape, stride = (units, runs, half, length), (blocks.stride(0), 2 * half * skip, skip, 1)
    start = blocks.storage_offset()
    return blocks.as_strided(shape, stride, start), blocks.as_strided(shape, stride, start + half * skip)


def _power_of_two(count: int) -> int:
    """The greatest power of two that is at most `count`."""
    return 1 << (count.bit_length() - 1)


def _exchange(low: torch.Tensor, high: torch.Tensor, *, reverse: bool = False) -> None:
    """Put the smaller of each pair of values into `low`, the larger into `high`, in place.

    Args:
        low, high: `(.., blocks, length)` of equal shape.
        reverse: whether a value of `low` meets the one as far from the end of `high`.
    """
    other = high.flip((-2, -1)) if reverse else high
    least = workers.workspace("least", tuple(low.shape), low.dtype)
    torch.minimum(low, other, out=least)
    torch.maximum(low, other, out=high)
    low.copy_(least)

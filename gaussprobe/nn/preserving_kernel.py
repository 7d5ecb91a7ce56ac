"""phi_theta from its table: as plain operations for autograd and compilers, and in blocks on the CPU."""

from __future__ import annotations

from typing import NamedTuple

import torch

from gaussprobe.nn import preserving_table
from gaussprobe.nn.preserving_table import END, PER_UNIT, Table

# Values worked on at once. Two threads meet after each of some twenty operations on a block, and wait for
# whatever else the other core is doing, so that fewer blocks do better where it is busy. A million values
# cost 5 times tanh in blocks of 2^19, 6 in blocks of 2^17, and 10 in blocks of 2^14, which one thread does.
BLOCK = 2**19


class Constants(NamedTuple):
    """A table as tensors.

    Args:
        pieces: `(COEFFICIENTS, rows)`, ascending powers.
        tail: p, then ascending powers.
        first: k of the first piece.
        positive: whether pieces with k < 0 are of log phi.
    """

    pieces: torch.Tensor
    tail: torch.Tensor
    first: int
    positive: bool

    def to(self, device: torch.device) -> Constants:
        """On that device."""
        return self._replace(pieces=self.pieces.to(device), tail=self.tail.to(device))


def constants(table: Table, dtype: torch.dtype, device: torch.device) -> Constants:
    """Of a table."""
    pieces = torch.from_numpy(table.pieces).to(device=device, dtype=dtype).t().contiguous()
    tail = torch.from_numpy(table.tail).to(device=device, dtype=dtype)
    return Constants(pieces, tail, preserving_table.first(table.kind), table.kind == "positive")


def evaluate(x: torch.Tensor, of: Constants) -> torch.Tensor:
    """phi of every element, by operations that can be traced, mapped and differentiated as often as wished.

    Args:
        x: any shape, of the dtype of the table.
        of: the table.

    Returns:
        The same shape. The limit at an infinity, with slope 0; NaN of NaN.
    """
    u = x.clamp(of.first / PER_UNIT, float(END)) * PER_UNIT
    k = u.detach().round()
    t = u - k
    index = k.nan_to_num(0.0).to(torch.int64) - of.first
    columns = [column[index] for column in of.pieces.unbind()]
    y = columns[-1]
    for column in columns[-2::-1]:
        y = y * t + column
    if of.positive:
        y = torch.where(k < 0, y.exp(), y)
        far = x >= END
    else:
        far = x.abs() >= END
    infinite = far & x.isinf()
    beyond = _beyond(torch.where(far & ~infinite, x.abs(), END), of)
    y = torch.where(far, beyond if of.positive else beyond * x.detach().sign(), y)
    return torch.where(infinite, x.detach(), y)


def _beyond(x: torch.Tensor, of: Constants) -> torch.Tensor:
    """phi of what is past `END`."""
    place = 2 * END / x - 1
    power, *coefficients = of.tail.unbind()
    y = coefficients[-1].expand_as(x)
    for coefficient in coefficients[-2::-1]:
        y = y * place + coefficient
    return y * x**power


def value_and_slope(x: torch.Tensor, of: Constants) -> tuple[torch.Tensor, torch.Tensor]:
    """`evaluate` and its derivative, without a graph."""
    with torch.enable_grad():
        given = x.detach().requires_grad_()
        y = evaluate(given, of)
        (slope,) = torch.autograd.grad(y, given, torch.ones_like(y))
    return y.detach(), slope


class Room:
    """Buffers of a block, used again by the next."""

    def __init__(self, size: int, dtype: torch.dtype) -> None:
        self._values = torch.empty((3, size), dtype=dtype)
        self._index = torch.empty(size, dtype=torch.int32)

    def of(self, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Three of values and one of numbers of pieces."""
        one, two, three = self._values[:, :size].unbind()
        return one, two, three, self._index[:size]


def by_blocks(x: torch.Tensor, of: Constants, *, slope: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The same as `evaluate` and, if asked for, its derivative, on the CPU and without a graph.

    Args:
        x: contiguous, of the dtype of the table.
        of: the table.
        slope: whether the derivative is asked for.

    Returns:
        Both.
    """
    y, found = torch.empty_like(x), torch.empty_like(x) if slope else None
    flat, out, slopes = x.view(-1), y.view(-1), None if found is None else found.view(-1)
    room = Room(min(BLOCK, x.numel()), x.dtype)
    for start in range(0, x.numel(), BLOCK):
        part = slice(start, start + BLOCK)
        _block(flat[part], out[part], None if slopes is None else slopes[part], of, room)
    return y, found


def _block(x: torch.Tensor, y: torch.Tensor, slope: torch.Tensor | None, of: Constants, room: Room) -> None:
    t, k, value, index = room.of(x.numel())
    torch.clamp(x, of.first / PER_UNIT, END, out=t).mul_(PER_UNIT)
    torch.round(t, out=k)
    t.sub_(k)
    index.copy_(k).sub_(of.first).clamp_(0, of.pieces.shape[1] - 1)  # NaN may become any integer
    columns = of.pieces.unbind()
    torch.index_select(columns[-1], 0, index, out=y)
    if slope is not None:
        slope.zero_()
    for column in columns[-2::-1]:
        torch.index_select(column, 0, index, out=value)
        if slope is not None:
            torch.addcmul(y, slope, t, out=slope)
        torch.addcmul(value, y, t, out=y)
    if slope is not None:
        slope.mul_(PER_UNIT)
    if of.positive:
        # 1 where logarithms are kept, else 0: lerp takes one or the other as it is, faster than where does.
        left = k.clamp_(-1, 0).neg_()
        torch.exp(y, out=value)
        torch.lerp(y, value, left, out=y)
        if slope is not None:
            torch.lerp(slope, value.mul_(slope), left, out=slope)
    _set_ends(x, y, slope, of)


def _set_ends(x: torch.Tensor, y: torch.Tensor, slope: torch.Tensor | None, of: Constants) -> None:
    """Put right what the pieces do not reach, if there is any."""
    low, high = torch.aminmax(x)
    if bool(low > of.first / PER_UNIT) and bool(high < END):  # neither, if one is NaN
        return
    outside = (x <= of.first / PER_UNIT) | (x >= END)
    beyond, rise = value_and_slope(x[outside], of)
    y[outside] = beyond
    if slope is not None:
        slope[outside] = rise

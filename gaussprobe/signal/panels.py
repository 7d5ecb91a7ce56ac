"""An activation on panels that resolve it, found once and used for every variance."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gaussprobe.signal import rule
from gaussprobe.signal.activations import Activation
from gaussprobe.signal.rule import Array

# Panels to an octave [a, 2a] of |u|: on a quarter of one, every Gaussian centred at 0 is resolved.
_QUARTERS = 4
# Halvings of a panel around a kink, and panels to a call in all, after which the rest is left as it is.
_DEEPEST = 46
_MOST_PANELS = 8_192
# Of the square's integral, and of the slope's square, over a quarter of an octave.
_RESOLVED = 1e-13
# Panels halved so often surround a kink.
_KINK_DEPTH = 12
# A jump is a change by so much of the function's size nearby, within so small a part of a panel.
_NEAR = 2.0**-40
_JUMP = 4e-6
# Share of the largest value nearer to 0 that errors are relative to where the function is small: tanh's
# slope is 1 - tanh^2, exact to 1e-16 of 1, not of itself.
_FLOOR = 0.03
# The same of the integral of the slope: enough to find a kink or a jump.
_CHANGE = 1e-7
# Slopes of a polynomial through values with rounding errors.
_NOISE = 4e-12
_ROUNDING = 2e-14
# Where a gradient is compared with the slope of the function.
_COMPARED = (2.0**-4, 2.0**5)


@dataclass(frozen=True, kw_only=True)
class Panels:
    """Values of a function and its slope at the nodes of panels.

    Args:
        left, right: ends, `(P,)`.
        values, slopes: at the nodes, `(P, ORDER)`.
        depth: how often each was halved.
        size, steepness: of the function and its slope on the panel that each was cut from, `(P,)`.
        cut: width of the panel that each was cut from.
    """

    left: Array
    right: Array
    values: Array
    slopes: Array
    depth: Array
    size: Array
    steepness: Array
    cut: Array

    @cached_property
    def u(self) -> Array:
        """Nodes, `(P, ORDER)`."""
        return rule.nodes(self.left, self.right)

    @cached_property
    def width(self) -> Array:
        """Of each panel."""
        return self.right - self.left

    def taken(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Panels:
        """Some of the panels."""
        return Panels(**{one.name: getattr(self, one.name)[which] for one in fields(self)})


def joined(parts: list[Panels]) -> Panels:
    """All panels of several, from left to right."""
    names = [one.name for one in fields(Panels)]
    together = Panels(**{name: np.concatenate([getattr(one, name) for one in parts]) for name in names})
    return together.taken(np.argsort(together.left))


@dataclass(frozen=True, kw_only=True)
class Whole:
    """Panels from end to end.

    Args:
        panels: of them all.
        jumps: where the function jumps.
        kinks: those told of, and those around which panels had to be halved again and again.
    """

    panels: Panels
    jumps: tuple[float, ...]
    kinks: tuple[float, ...]


class Resolved:
    """An activation in double precision, on panels that resolve it.

    Panels are quarters of octaves of |u|, split at the kinks that are known and halved until the square of
    the function and of its slope are integrated to 1e-13 of them and the slope's integral is the change of
    the function. Kinks that nobody told of are found so, and jumps.

    Args:
        made: the activation.
    """

    def __init__(self, made: Activation) -> None:
        self.name = made.name
        self.told_kinks = made.kinks
        self._function = _in_double(made.function) if isinstance(made.function, nn.Module) else made.function
        self._whole: dict[tuple[int, int], Whole] = {}
        self.slope_note = ""
        self._by_gradient = self._gradient_is_the_slope()

    def values(self, u: Array) -> Array:
        """The function of each element, in one call."""
        with torch.no_grad():
            return self._called(torch.from_numpy(np.ascontiguousarray(u))).numpy()

    def whole(self, low: int, high: int) -> Whole:
        """Panels from `-2**high` to `2**high`, of which the innermost reach from 0 to `2**low`."""
        if (low, high) not in self._whole:
            octaves = [_quarters(sign, k) for sign in (-1.0, 1.0) for k in range(low, high)]
            ends = self._split_at_told([*octaves, np.array([-(2.0**low), 0.0, 2.0**low])])
            with np.errstate(all="ignore"):
                panels = self._resolve(*ends)
                jumps = self._jumps(panels)
            kinks = np.union1d([one for one in self.told_kinks if abs(one) < 2.0**high], _clusters(panels))
            self._whole[low, high] = Whole(panels=panels, jumps=jumps, kinks=tuple(map(float, kinks)))
        return self._whole[low, high]

    def _called(self, u: torch.Tensor) -> torch.Tensor:
        """Of a double tensor; by way of single precision where the function takes nothing else."""
        try:
            return self._function(u).to(torch.float64)
        except RuntimeError:
            return self._function(u.float()).to(torch.float64)

    def _gradient(self, u: Array) -> Array:
        at = torch.from_numpy(np.ascontiguousarray(u)).requires_grad_()
        with torch.enable_grad():
            (found,) = torch.autograd.grad(self._called(at).sum(), at)
        return found.numpy()

    def _gradient_is_the_slope(self) -> bool:
        """Whether autograd gives the slope: not where a function has no gradient or one of its own."""
        low, high = (round(np.log2(end)) for end in _COMPARED)
        left, right = self._split_at_told([_quarters(sign, k) for sign in (-1, 1) for k in range(low, high)])
        u, width = rule.nodes(left, right), right - left
        try:
            gradient = self._gradient(u)
        except (RuntimeError, NotImplementedError):
            self.slope_note = f"{self.name} has no gradient: slopes are of polynomials through it"
            return False
        with np.errstate(all="ignore"):
            values = self.values(u)
            measured = rule.slopes(values, width)
            size = abs(values).max(axis=1) / width + abs(measured).max(axis=1)
            clear = rule.doubt(measured, width) < 1e-10 * size * width
            wrong = abs(gradient - measured).max(axis=1) > 1e-5 * size
        if (clear & wrong).any():
            self.slope_note = f"the gradient of {self.name} is not its slope: that of polynomials is taken"
        return not self.slope_note

    def _split_at_told(self, edges: list[Array]) -> tuple[Array, Array]:
        """Ends of panels between neighbouring edges of each run, split at the kinks that are known."""
        runs = [np.union1d(run, [one for one in self.told_kinks if run[0] < one < run[-1]]) for run in edges]
        return np.concatenate([run[:-1] for run in runs]), np.concatenate([run[1:] for run in runs])

    def _measured(self, left: Array, right: Array) -> tuple[Array, Array]:
        """Values and slopes at the nodes."""
        u = rule.nodes(left, right)
        values = self.values(u)
        return values, self._gradient(u) if self._by_gradient else rule.slopes(values, right - left)

    def _resolve(self, left: Array, right: Array) -> Panels:
        """Halve panels until the function is resolved on each, or is seen not to be."""
        values, steep = self._measured(left, right)
        found = Panels(
            left=left,
            right=right,
            values=values,
            slopes=steep,
            depth=np.zeros(len(left)),
            size=_sizes(left, right, values),
            steepness=_sizes(left, right, steep),
            cut=right - left,
        )
        done: list[Panels] = []
        halved = 0
        while (coarse := self._unresolved(found)).any() and halved < _MOST_PANELS:
            halved += int(coarse.sum())
            done.append(found.taken(~coarse))
            found = self._halved(found.taken(coarse))
        return joined([*done, found])

    def _halved(self, panels: Panels) -> Panels:
        middle = 0.5 * (panels.left + panels.right)
        left = np.concatenate([panels.left, middle])
        right = np.concatenate([middle, panels.right])
        values, steep = self._measured(left, right)
        return Panels(
            left=left,
            right=right,
            values=values,
            slopes=steep,
            depth=np.tile(panels.depth + 1, 2),
            size=np.tile(panels.size, 2),
            steepness=np.tile(panels.steepness, 2),
            cut=np.tile(panels.cut, 2),
        )

    def _unresolved(self, found: Panels) -> npt.NDArray[np.bool_]:
        """Which panels are to be halved. One with a value that is not finite is not."""
        # u itself is exact to 1e-16 of it: so much are the values of a steep function off.
        far = np.maximum(abs(found.left), abs(found.right))
        share = _RESOLVED + _ROUNDING * far * found.steepness / np.where(found.size > 0, found.size, 1.0)
        noise = np.zeros(len(far))
        if not self._by_gradient:
            rough = _NOISE * found.size / found.width
            noise = rough * (found.steepness + rough) * found.width
        slope_off = rule.doubt(found.slopes**2, found.width)
        off = abs(rule.integrate(found.slopes, found.width) - self._change(found))
        coarse = (
            (rule.doubt(found.values**2, found.width) > share * found.size**2 * found.cut)
            | (
                slope_off
                > share * found.steepness**2 * found.cut + noise * (found.steepness + noise) * found.width
            )
            | (off > _CHANGE * (found.size + found.steepness * found.cut))
        )
        return np.asarray(coarse & (found.depth < _DEEPEST) & ~_narrow(found, 0))

    def _change(self, panels: Panels) -> Array:
        """Of the function from one end of each panel to the other, as seen from within."""
        step = _NEAR * panels.width
        return self.values(panels.right - step) - self.values(panels.left + step)

    def _jumps(self, panels: Panels) -> tuple[float, ...]:
        """Where the function jumps: at an end of a panel, or within one as narrow as can be."""
        ends, step = panels.right[:-1], _NEAR * np.minimum(panels.width[1:], panels.width[:-1])
        between = abs(self.values(ends + step) - self.values(ends - step))
        at_ends = ends[between > _JUMP * np.maximum(panels.size[1:], panels.size[:-1])]
        within = abs(self._change(panels)) > _JUMP * panels.size
        inside = panels.u[within & (_narrow(panels, 2) | (panels.depth >= _DEEPEST))].mean(axis=1)
        return tuple(float(u) for u in np.concatenate([at_ends, inside]))


def _quarters(sign: float, k: int) -> Array:
    """Ends of the panels of an octave, from left to right."""
    return np.asarray(np.sort(sign * np.linspace(2.0**k, 2.0 ** (k + 1), _QUARTERS + 1)))


def _narrow(panels: Panels, halvings: int) -> npt.NDArray[np.bool_]:
    """Which panels are within so many halvings of as narrow as can be."""
    far = np.maximum(abs(panels.left), abs(panels.right))
    return np.asarray(panels.width <= 2.0 ** (halvings - _DEEPEST) * far)


def _sizes(left: Array, right: Array, values: Array) -> Array:
    """The largest value on each panel, not under a share of the largest nearer to 0 on its side."""
    largest: Array = abs(values).max(axis=1)
    middle = 0.5 * (left + right)
    sizes = np.zeros(len(largest))
    for side in (middle < 0, middle >= 0):
        outwards = np.flatnonzero(side)[np.argsort(abs(middle[side]))]
        nearer = np.maximum.accumulate(np.nan_to_num(largest[outwards], posinf=0.0))
        sizes[outwards] = np.maximum(largest[outwards], _FLOOR * nearer)
    return sizes


def _clusters(panels: Panels) -> list[float]:
    """Where panels were halved again and again: in the narrowest of neighbouring ones."""
    deep = np.flatnonzero(panels.depth >= _KINK_DEPTH)
    runs = [run for run in np.split(deep, np.flatnonzero(np.diff(deep) > 1) + 1) if len(run)]
    return [_kink(panels, int(run[np.argmax(panels.depth[run])])) for run in runs]


def _kink(panels: Panels, narrowest: int) -> float:
    """Where the tangents from both sides of a narrow panel meet, if they do within; else its middle."""
    before, after = narrowest - 1, narrowest + 1
    u1, y1, s1 = (one[before, -1] for one in (panels.u, panels.values, panels.slopes))
    u2, y2, s2 = (one[after, 0] for one in (panels.u, panels.values, panels.slopes))
    if abs(s1 - s2) > _CHANGE * panels.steepness[narrowest]:
        meeting = u1 + (y2 - y1 - s2 * (u2 - u1)) / (s1 - s2)
        if u1 < meeting < u2:
            return float(meeting)
    return float(panels.u[narrowest].mean())


def _in_double(module: nn.Module) -> nn.Module:
    """A copy: the user's module keeps its precision."""
    return copy.deepcopy(module).to(torch.float64)

"""An activation that, with the right weights, leaves the law of pre-activations as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import nn

from gaussprobe.nn import preserving_cache, preserving_kernel, preserving_law, preserving_table
from gaussprobe.nn.functional import check_floating, fused
from gaussprobe.nn.preserving_kernel import Constants
from gaussprobe.nn.preserving_table import Kind
from gaussprobe.nn.transform import working


class GaussianPreserving(nn.Module):
    """phi_theta, exact: `W phi(X)` is N(0, 1) if X is, and W is Weibull.

    With `P(|W| > t) = exp(-t^theta)`, W symmetric and independent of `X ~ N(0, 1)`, and F the law of |Y| for
    which `|W| |Y| ~ |N(0, 1)|`,

        phi(x) = sign(x) F^-1(erf(|x| / sqrt(2)))    where kind is "odd",
        phi(x) = F^-1(Phi(x))                        where kind is "positive".

    What it guarantees: with weights of `gaussprobe.nn.init.symmetric_weibull_`, divided by the root of
    fan-in, and pre-activations of one layer that are N(0, 1) and independent of each other, each
    pre-activation of the next is N(0, 1), whatever the width. So it is in the second layer of a network
    without biases whose first has normal weights and an input of mean square 1.

    What it does not: from the third layer on the terms of a sum share the inputs of all of them. They are
    uncorrelated, no longer independent, and in narrow networks the law of a sum drifts away from normal with
    depth. Networks of width 1 keep it exactly.

    The module has no parameters and nothing in its `state_dict`. It is made from a table, kept in the folder
    of `GAUSSPROBE_CACHE`, else of `XDG_CACHE_HOME` or the platform; without a folder that can be written it
    is made anew in each process, in well under a second.

    Args:
        theta: shape of the law of weights, finite, at least 2.02.
        kind: `"odd"`, or `"positive"` and increasing.

    Raises:
        ValueError: for a theta or kind that is none.

    Reference:
        Wolinski & Arbel (2025), Gaussian Pre-Activations in Neural Networks: Myth or Reality?, TMLR,
        arXiv:2205.12379, section 4. Theirs is a fit, off by 2e-3 to 1e-2 in the law of `W phi(X)`.
    """

    theta: float
    kind: Kind

    def __init__(self, theta: float, kind: Kind = "odd") -> None:
        super().__init__()
        self.theta, self.kind = preserving_law.check_theta(theta), preserving_table.check_kind(kind)
        default = torch.get_default_device()
        self._place(torch.device("cpu") if default.type == "meta" else default)

    @property
    def interpolation_error(self) -> float:
        """Largest difference between phi_theta and the float64 value here, between the nodes, |x| <= 16."""
        return preserving_cache.table_of(self.theta, self.kind).interpolation_error

    @property
    def tail_error(self) -> float:
        """The same past 16, relative to phi_theta."""
        return preserving_cache.table_of(self.theta, self.kind).tail_error

    @property
    def law_error(self) -> float:
        """What that comes to in the law: a bound of `sup|P(W phi(X) <= z) - Phi(z)|` over z."""
        return preserving_cache.table_of(self.theta, self.kind).law_error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of every element.

        Args:
            x: any shape, floating-point.

        Returns:
            The same shape and dtype; worked out in float64 for float64, and in float32 for the rest.

        Raises:
            ValueError: for what is no floating-point tensor.
        """
        check_floating(x)
        of = self._constants(x)
        if torch.compiler.is_compiling() or type(x) not in (torch.Tensor, nn.Parameter) or not fused(x):
            return preserving_kernel.evaluate(x.to(of.pieces.dtype), of).to(x.dtype)
        if torch.is_grad_enabled() and x.requires_grad:
            found: torch.Tensor = _Preserve.apply(x, of)  # type: ignore[no-untyped-call]
            return found
        return _values(x, of, slope=False)[0]

    def extra_repr(self) -> str:
        """Of what it was made."""
        return f"theta={self.theta!r}, kind={self.kind!r}"

    def _place(self, device: torch.device) -> None:
        """Have the tables on a device, in float32, and in float64 where the device knows it."""
        table = preserving_cache.table_of(self.theta, self.kind)
        self._single = preserving_kernel.constants(table, torch.float32, device)
        double = torch.device("cpu") if device.type == "mps" else device
        self._double = preserving_kernel.constants(table, torch.float64, double)

    def _constants(self, x: torch.Tensor) -> Constants:
        of = self._double if working(x.dtype) is torch.float64 else self._single
        return of if of.pieces.device == x.device else of.to(x.device)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Follow to another device; the tables keep their precision."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = fn(torch.empty(1, device=self._single.pieces.device)).device
        if device.type != "meta" and device != self._single.pieces.device:
            self._place(device)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """All but the tables, which theta and kind determine."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_single", "_double")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.theta = preserving_law.check_theta(self.theta)
        self.kind = preserving_table.check_kind(self.kind)
        self._place(torch.device("cpu"))


class _Preserve(torch.autograd.Function):
    """phi with the slope kept, not the steps that led to it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, of: Constants) -> torch.Tensor:
        y, slope = _values(x, of, slope=True)
        ctx.save_for_backward(x, slope)
        ctx.of = of
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        x, slope = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return grads[0] * slope, None
        # Asked for derivatives of the derivative: those of the formula.
        y = preserving_kernel.evaluate(x.to(ctx.of.pieces.dtype), ctx.of).to(x.dtype)
        (found,) = torch.autograd.grad(y, x, grads[0], create_graph=True)
        return found, None


def _values(x: torch.Tensor, of: Constants, *, slope: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    """phi and, if asked for, its slope, in dtype and memory format of x."""
    wide = x.detach().to(of.pieces.dtype)
    if x.device.type != "cpu":
        if not slope:
            with torch.no_grad():
                return preserving_kernel.evaluate(wide, of).to(x.dtype), None
        y, found = preserving_kernel.value_and_slope(wide, of)
        return y.to(x.dtype), found.to(x.dtype)
    strides = wide.stride()
    order = sorted(range(x.ndim), key=lambda d: -strides[d])
    back = [order.index(d) for d in range(x.ndim)]
    value, rise = preserving_kernel.by_blocks(wide.permute(order).contiguous(), of, slope=slope)
    return value.permute(back).to(x.dtype), None if rise is None else rise.permute(back).to(x.dtype)

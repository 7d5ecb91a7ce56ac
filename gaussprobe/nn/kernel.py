"""Normality normalization on the CPU: forward and backward by hand, block by block.

A block of whole groups stays in the cache while it is standardised, transformed, and made noisy; nothing of
its size is kept for the backward pass but the input, and, where a weight has to learn from noisy values,
these. The formulas are those of `transform`.
"""

from __future__ import annotations

from typing import Any

import torch

from gaussprobe.nn import blockwise, transform
from gaussprobe.nn.blockwise import Settings
from gaussprobe.nn.layout import as_groups
from gaussprobe.nn.transform import Kept, Known, Statistics


class Normalize(torch.autograd.Function):
    """Standardise, transform, add noise, scale and shift; see `normalize`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        dims: tuple[int, ...],
        settings: Settings,
    ) -> tuple[torch.Tensor, ...]:
        """As `normalize`."""
        out = torch.empty_like(x)
        learns = weight is not None and ctx.needs_input_grad[1]
        noisy = torch.empty_like(x) if settings.noise and learns else None
        groups, into = _groups(x, dims), _groups(out, dims)
        keeping = None if noisy is None else _groups(noisy, dims)
        found: list[tuple[torch.Tensor, ...]] = []
        blocks = blockwise.split_groups(groups)
        room = blockwise.Room(5, groups[:, blocks[0]].shape, transform.working(x.dtype))
        for block in blocks:
            values = groups[:, block]
            h, t, length, one, two = room.shaped(tuple(values.shape))
            center, var, scale = blockwise.standardise(values, settings, h, one)
            profile, product, mean_a = blockwise.profile_of(h, t, length, one, two)
            lmbda, held = transform.newton(profile, settings.strength)
            y = blockwise.bend(h, length, lmbda, one, two)
            if settings.noise:
                blockwise.add_noise(y, settings, two)
            if keeping is not None:
                keeping[:, block].copy_(y)
            into[:, block].copy_(_affine(y, weight, bias, block, settings.inner))
            count = values.shape[0] * values.shape[2]
            pull = torch.where(held, 0.0, -settings.strength / (count * profile.curvature))
            ratio = torch.where(held, 0.0, profile.slope / profile.curvature)
            found.append((center, var, lmbda, held, scale, pull, ratio, product, mean_a))
        center, var, lmbda, held, *rest = (torch.cat(each, dim=1) for each in zip(*found, strict=True))
        scale, pull, ratio, product, mean_a = rest
        kept = Kept(center, scale, lmbda, pull, ratio, product, mean_a)
        ctx.save_for_backward(x, weight, bias, noisy, *kept)
        ctx.dims, ctx.settings = dims, settings
        ctx.mark_non_differentiable(center, var, lmbda, held)
        return out, center, var, lmbda, held

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """By hand; through `transform` where the gradient is itself to be differentiated."""
        x, weight, bias, noisy, *kept = ctx.saved_tensors
        dims, settings = ctx.dims, ctx.settings
        if torch.is_grad_enabled():
            found = transform.again(
                x,
                weight,
                bias,
                noisy,
                _like(grad, x),
                (transform.means_over((0, 2)), settings.eps, settings.strength),
                view=lambda values: _groups(values, dims),
                fit=lambda values: _of_block(values, slice(None), settings.inner),
            )
            return (*found, None, None)
        grad_x, grad_weight, grad_bias = _backward(
            x, weight, noisy, grad, Kept(*kept), dims, settings, bias is not None
        )
        return grad_x, grad_weight, grad_bias, None, None


def _groups(x: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    found = as_groups(x, dims)
    assert found is not None  # `layout.dense` sees to it
    return found


def _of_block(values: torch.Tensor, block: slice, inner: bool) -> torch.Tensor:
    """Weight or bias, broadcast against a block."""
    return values[None, None, :] if inner else values[block][None, :, None]


def _affine(
    y: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, block: slice, inner: bool
) -> torch.Tensor:
    if weight is not None:
        y.mul_(_of_block(weight, block, inner))
    if bias is not None:
        y.add_(_of_block(bias, block, inner))
    return y


def _backward(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    noisy: torch.Tensor | None,
    grad: torch.Tensor,
    kept: Kept,
    dims: tuple[int, ...],
    settings: Settings,
    with_bias: bool,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Gradients of input, weight and bias."""
    grad = _like(grad, x)
    out = torch.empty_like(x)
    groups, given, into = (_groups(each, dims) for each in (x, grad, out))
    learnt = None if noisy is None else _groups(noisy, dims)
    blocks = blockwise.split_groups(groups)
    room = blockwise.Room(7, groups[:, blocks[0]].shape, transform.working(x.dtype))
    weights: list[torch.Tensor] = []
    biases: list[torch.Tensor] = []
    for block in blocks:
        values = groups[:, block]
        h, g, t, length, eta, e, spare = room.shaped(tuple(values.shape))
        mean, scale, lmbda, pull, ratio, product, center = (each[:, block] for each in kept)
        torch.sub(values, mean, out=h)
        h.mul_(scale)
        g.copy_(given[:, block])
        torch.abs(h, out=t)
        torch.log1p(t, out=length)
        blockwise.eta_of(h, lmbda, eta)
        torch.exp(torch.mul(eta, length, out=e), out=e)
        if with_bias:
            biases.append(_summed(g, settings.inner))
        if weight is not None:
            if learnt is None:
                blockwise.bend_again(h, e, eta, lmbda, spare)
            else:
                spare.copy_(learnt[:, block])
            weights.append(_summed(spare.mul_(g), settings.inner))
            g.mul_(_of_block(weight, block, settings.inner))
        slope = blockwise.slope_of(h, length, lmbda, eta, e, spare)
        by_lmbda = pull * (blockwise.mean_product(g, slope, spare) * (values.shape[0] * values.shape[2]))
        g.mul_(e).div_(torch.add(t, 1, out=e))  # by d psi / d h = e / (1 + t)
        blockwise.add_pull(g, by_lmbda, h, t, length, ratio, product, center, (eta, e, spare))
        first, second = blockwise.mean_of(g), blockwise.mean_product(g, h, spare)
        g.sub_(first).sub_(h.mul_(second)).mul_(scale)
        into[:, block].copy_(g)
    return out, _joined(weights, settings.inner), _joined(biases, settings.inner)


def _summed(values: torch.Tensor, inner: bool) -> torch.Tensor:
    """What a block adds to the gradient of weight or bias."""
    return values.sum((0, 1)) if inner else values.sum(2).sum(0)


def _joined(parts: list[torch.Tensor], inner: bool) -> torch.Tensor | None:
    """That gradient from what the blocks add, None where there is none."""
    if not parts:
        return None
    return torch.stack(parts).sum(0) if inner else torch.cat(parts)


class Apply(torch.autograd.Function):
    """Standardise and transform by statistics that are given, scale and shift; see `apply_known`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        mean: torch.Tensor,
        scale: torch.Tensor,
        lmbda: torch.Tensor,
        dims: tuple[int, ...],
        inner: bool,
    ) -> torch.Tensor:
        """As `apply_known`."""
        out = torch.empty_like(x)
        groups, into = _groups(x, dims), _groups(out, dims)
        blocks = blockwise.split_groups(groups)
        room = blockwise.Room(4, groups[:, blocks[0]].shape, transform.working(x.dtype))
        for block in blocks:
            h, length, one, two = room.shaped(tuple(groups[:, block].shape))
            torch.sub(groups[:, block], mean[:, block], out=h)
            torch.log1p(torch.abs(h.mul_(scale[:, block]), out=one), out=length)
            y = blockwise.bend(h, length, lmbda[:, block], one, two)
            into[:, block].copy_(_affine(y, weight, bias, block, inner))
        ctx.save_for_backward(x, weight, bias, mean, scale, lmbda)
        ctx.dims, ctx.inner = dims, inner
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Through `transform`: evaluation is rarely differentiated."""
        x, weight, bias, mean, scale, lmbda = ctx.saved_tensors
        again = torch.is_grad_enabled()
        with torch.enable_grad():
            given = _groups(_like(grad, x), ctx.dims)
            x, weight, bias = transform.aliases(x, weight, bias, detached=not again)
            h = (_groups(x, ctx.dims) - mean) * scale
            y = _scaled(transform.yeo_johnson(h, lmbda), weight, bias, ctx.inner)
            found = transform.gradients(y, (x, weight, bias), given, again)
        return (*found, None, None, None, None, None)


def _like(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A gradient in the type and layout of what it is of."""
    if grad.stride() == x.stride() and grad.dtype == x.dtype:
        return grad
    return torch.empty_like(x).copy_(grad)


def _scaled(
    y: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, inner: bool
) -> torch.Tensor:
    everything = slice(None)
    if weight is not None:
        y = y * _of_block(weight, everything, inner)
    if bias is not None:
        y = y + _of_block(bias, everything, inner)
    return y


def normalize(
    x: torch.Tensor,
    dims: tuple[int, ...],
    settings: Settings,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> tuple[torch.Tensor, Statistics]:
    """Standardise, transform, add noise, scale and shift.

    Args:
        x: on the CPU, floating point, with a view of its groups (`layout.dense`).
        dims: not negative, ascending: dimensions that are normalized over.
        settings: how.
        weight, bias: one value to each group, or to each place within one: see `Settings`.

    Returns:
        In the type and memory format of x, and what was found of each group, `(1, G, 1)` each.
    """
    out, *found = Normalize.apply(x, weight, bias, dims, settings)  # type: ignore[no-untyped-call]
    return out, Statistics(*found)


def apply_known(
    x: torch.Tensor,
    dims: tuple[int, ...],
    known: Known,
    eps: float,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    inner: bool = False,
) -> torch.Tensor:
    """Standardise and transform by statistics that are given, scale and shift.

    Args:
        x, dims, weight, bias, inner: as for `normalize`.
        known: `(G,)` each, without a gradient.
        eps: added to the variance.
    """
    dtype = transform.working(x.dtype)
    # Copies: running averages may be updated before the backward pass.
    mean, var, lmbda = (each.detach().to(dtype, copy=True).view(1, -1, 1) for each in known)
    scale = torch.rsqrt(var + eps)
    given = (x, weight, bias, mean, scale, lmbda, dims, inner)
    found: torch.Tensor = Apply.apply(*given)  # type: ignore[no-untyped-call]
    return found

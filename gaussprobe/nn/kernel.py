"""Normality normalization on the CPU: forward and backward by hand, block by block.

A block of whole groups stays in the cache while it is standardised, transformed, and made noisy; nothing of
its size is kept for the backward pass but the input, and, where a weight has to learn from noisy values,
these. The formulas are those of `transform`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from gaussprobe.nn import transform
from gaussprobe.nn.layout import as_groups
from gaussprobe.nn.transform import Profile, Statistics

# Values worked on at once: a handful of buffers of as many float32 values stay in the cache.
BLOCK = 2**19

# Groups where eta may come below these get quotients of differences from their series.
_SMALL_MAP, _SMALL_SLOPE = 0.05, 0.25
_TERMS = 12


class Settings(NamedTuple):
    """How to normalize.

    Args:
        eps: added to the variance.
        strength: share of the Newton step that is taken.
        noise: its sd in units of the mean absolute deviation, 0 for none.
        scaled: whether that is the group's own; if not, it is that of the standard normal law.
        inner: whether weight and bias have one value to each place within a group, not to each group.
    """

    eps: float
    strength: float
    noise: float = 0.0
    scaled: bool = True
    inner: bool = False


class _Room:
    """Buffers of a block, used again by the next."""

    def __init__(self, count: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self._all = [torch.empty(math.prod(shape), dtype=dtype) for _ in range(count)]

    def shaped(self, shape: tuple[int, ...]) -> list[torch.Tensor]:
        size = math.prod(shape)
        return [one[:size].view(shape) for one in self._all]


def _working(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _blocks(groups: torch.Tensor) -> list[slice]:
    """Slices of the groups of `(outer, groups, inner)`."""
    outer, count, inner = groups.shape
    step = max(1, BLOCK // max(1, outer * inner))
    return [slice(start, min(count, start + step)) for start in range(0, count, step)]


def _mean(values: torch.Tensor) -> torch.Tensor:
    """Mean of each group of a block, `(1, g, 1)`."""
    return values.mean(2, keepdim=True).mean(0, keepdim=True)


def _mean_product(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    return _mean(torch.mul(a, b, out=out))


def _standardise(
    values: torch.Tensor, settings: Settings, h: torch.Tensor, spare: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Standardise a block into `h`; its mean, variance, and `1 / sqrt(var + eps)`."""
    h.copy_(values)
    first = _mean(h)
    h.sub_(first)
    rest = _mean(h)
    var = _mean_product(h, h, spare)
    # What rounding left of the mean shows only where that is far from zero.
    if bool((rest * rest > torch.finfo(h.dtype).eps ** 2 * 16 * var).any()):
        h.sub_(rest)
        var = _mean_product(h, h, spare)
    else:
        rest = torch.zeros_like(rest)
    scale = torch.rsqrt(var + settings.eps)
    h.mul_(scale)
    return first + rest, var, scale


def _profile(
    h: torch.Tensor, t: torch.Tensor, length: torch.Tensor, one: torch.Tensor, two: torch.Tensor
) -> tuple[Profile, torch.Tensor, torch.Tensor]:
    """As `transform.profile`, and the means of `h a` and of `a`; `t`, `length` become |h|, log(1 + |h|)."""
    torch.abs(h, out=t)
    torch.log1p(t, out=length)
    grown = torch.addcmul(length, t, length, out=one)  # (1 + t) log(1 + t)
    # With a = grown - t: hb = t (grown length - 2 a).
    square = _mean_product(t, t, two)
    cross = _mean_product(t, grown, two)
    torch.mul(grown, length, out=two)
    second = _mean(two.mul_(t)) - 2 * (cross - square)
    a = grown.sub_(t)
    center = _mean(a)
    spread = _mean_product(a, a, two) - center * center
    product = _mean_product(h, a, two)
    signed = _mean(torch.copysign(length, h, out=two))
    return Profile(product - signed, second + spread - 2 * product * product), product, center


def _eta(h: torch.Tensor, lmbda: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """lambda where h is not negative, 2 - lambda where it is."""
    torch.copysign(torch.ones((), dtype=h.dtype), h, out=out)
    return out.mul_(lmbda - 1).add_(1)


def _delicate(lmbda: torch.Tensor, limit: float) -> torch.Tensor | None:
    """Places of the groups of a block where eta comes near 0 for some sign of h; None for none."""
    flat = lmbda.flatten()
    least = torch.minimum(flat.abs(), (2 - flat).abs())
    found = torch.nonzero(least < limit).flatten()
    return found if found.numel() else None


def _transform(
    h: torch.Tensor, length: torch.Tensor, lmbda: torch.Tensor, one: torch.Tensor, two: torch.Tensor
) -> torch.Tensor:
    """`psi(h; lambda)` in place of `one`; `length` is log(1 + |h|)."""
    eta = _eta(h, lmbda, one)
    torch.mul(eta, length, out=two)
    torch.expm1(two, out=two)
    torch.copysign(two.div_(eta), h, out=one)
    delicate = _delicate(lmbda, _SMALL_MAP)
    if delicate is not None:
        one[:, delicate] = transform.yeo_johnson(h[:, delicate], lmbda[:, delicate])
    return one


def _add_noise(values: torch.Tensor, settings: Settings, spare: torch.Tensor) -> None:
    """`values + noise * s * z`, s the mean absolute deviation of each group."""
    if settings.scaled:
        torch.sub(values, _mean(values), out=spare)
        size = _mean(spare.abs_()) * settings.noise
    else:
        size = torch.full((), settings.noise * math.sqrt(2 / math.pi), dtype=values.dtype)
    values.addcmul_(spare.normal_(), size)


class _Kept(NamedTuple):
    """What a backward pass needs of each group, `(1, G, 1)` each.

    Args:
        mean, scale, lmbda: of the forward pass; scale is `1 / sqrt(var + eps)`.
        pull: `-strength / (N curvature)`, 0 where lambda was held.
        ratio: `slope / curvature`, 0 where it was held.
        product: `mean(h a)`.
        center: `mean(a)`.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    lmbda: torch.Tensor
    pull: torch.Tensor
    ratio: torch.Tensor
    product: torch.Tensor
    center: torch.Tensor


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
        noisy = torch.empty_like(x) if settings.noise and weight is not None else None
        groups, into = _groups(x, dims), _groups(out, dims)
        keeping = None if noisy is None else _groups(noisy, dims)
        found: list[tuple[torch.Tensor, ...]] = []
        blocks = _blocks(groups)
        room = _Room(5, groups[:, blocks[0]].shape, _working(x.dtype))
        for block in blocks:
            values = groups[:, block]
            h, t, length, one, two = room.shaped(tuple(values.shape))
            center, var, scale = _standardise(values, settings, h, one)
            profile, product, mean_a = _profile(h, t, length, one, two)
            lmbda, held = transform.newton(profile, settings.strength)
            y = _transform(h, length, lmbda, one, two)
            if settings.noise:
                _add_noise(y, settings, two)
            if keeping is not None:
                keeping[:, block].copy_(y)
            into[:, block].copy_(_affine(y, weight, bias, block, settings.inner))
            count = values.shape[0] * values.shape[2]
            pull = torch.where(held, 0.0, -settings.strength / (count * profile.curvature))
            ratio = torch.where(held, 0.0, profile.slope / profile.curvature)
            found.append((center, var, lmbda, held, scale, pull, ratio, product, mean_a))
        center, var, lmbda, held, *rest = (torch.cat(each, dim=1) for each in zip(*found, strict=True))
        scale, pull, ratio, product, mean_a = rest
        kept = _Kept(center, scale, lmbda, pull, ratio, product, mean_a)
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
            return (*_again(x, weight, bias, noisy, grad, dims, settings), None, None)
        grad_x, grad_weight, grad_bias = _backward(
            x, weight, noisy, grad, _Kept(*kept), dims, settings, bias is not None
        )
        return grad_x, grad_weight, grad_bias, None, None


def _groups(x: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    found = as_groups(x, dims)
    assert found is not None  # `normalize` sees to it
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
    kept: _Kept,
    dims: tuple[int, ...],
    settings: Settings,
    with_bias: bool,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Gradients of input, weight and bias."""
    if grad.stride() != x.stride() or grad.dtype != x.dtype:
        grad = torch.empty_like(x).copy_(grad)
    out = torch.empty_like(x)
    groups, given, into = (_groups(each, dims) for each in (x, grad, out))
    learnt = None if noisy is None else _groups(noisy, dims)
    blocks = _blocks(groups)
    room = _Room(7, groups[:, blocks[0]].shape, _working(x.dtype))
    sums = _Sums(weight, with_bias, settings.inner)
    for block in blocks:
        values = groups[:, block]
        h, g, t, length, eta, e, spare = room.shaped(tuple(values.shape))
        mean, scale, lmbda, pull, ratio, product, center = (each[:, block] for each in kept)
        torch.sub(values, mean, out=h)
        h.mul_(scale)
        g.copy_(given[:, block])
        torch.abs(h, out=t)
        torch.log1p(t, out=length)
        _eta(h, lmbda, eta)
        torch.exp(torch.mul(eta, length, out=e), out=e)
        if sums.wanted:
            if learnt is not None:
                spare.copy_(learnt[:, block])
            elif weight is not None:
                _map_of(h, e, eta, lmbda, spare)
            sums.add(g, spare, block)
        if weight is not None:
            g.mul_(_of_block(weight, block, settings.inner))
        slope = _slope(h, length, lmbda, eta, e, spare)
        by_lmbda = pull * (_mean_product(g, slope, spare) * (values.shape[0] * values.shape[2]))
        g.mul_(e).div_(torch.add(t, 1, out=e))  # by d psi / d h = e / (1 + t)
        _add_pull(g, by_lmbda, h, t, length, ratio, product, center, (eta, e, spare))
        first, second = _mean(g), _mean_product(g, h, spare)
        g.sub_(first).sub_(h.mul_(second)).mul_(scale)
        into[:, block].copy_(g)
    return out, *sums.found()


def _map_of(
    h: torch.Tensor, e: torch.Tensor, eta: torch.Tensor, lmbda: torch.Tensor, out: torch.Tensor
) -> None:
    """`psi(h; lambda)` from `e = exp(eta log(1 + t))`, good enough for a sum over a group."""
    torch.sub(e, 1, out=out).div_(eta)
    torch.copysign(out, h, out=out)
    delicate = _delicate(lmbda, _SMALL_MAP)
    if delicate is not None:
        out[:, delicate] = transform.yeo_johnson(h[:, delicate], lmbda[:, delicate])


def _slope(
    h: torch.Tensor,
    length: torch.Tensor,
    lmbda: torch.Tensor,
    eta: torch.Tensor,
    e: torch.Tensor,
    out: torch.Tensor,
) -> torch.Tensor:
    """`d psi / d lambda = R (e (L - R) + R)` with `R = 1 / eta`; `eta` is written over."""
    delicate = _delicate(lmbda, _SMALL_SLOPE)
    inverse = eta.reciprocal_()
    torch.sub(length, inverse, out=out).mul_(e).add_(inverse).mul_(inverse)
    if delicate is not None:
        out[:, delicate] = _slope_by_series(h[:, delicate], lmbda[:, delicate])
    return out


def _slope_by_series(h: torch.Tensor, lmbda: torch.Tensor) -> torch.Tensor:
    """The same where eta may be 0: `L^2 (z e - e + 1) / z^2` with `z = eta L`."""
    length = torch.log1p(h.abs())
    z = torch.where(h >= 0, lmbda, 2 - lmbda) * length
    near = z.abs() < _SMALL_SLOPE
    close, far = torch.where(near, z, 0.0), torch.where(near, 1.0, z)
    series = torch.full_like(z, 1 / (math.factorial(_TERMS) * (_TERMS + 2)))
    for k in range(_TERMS - 1, -1, -1):
        series = series * close + 1 / (math.factorial(k) * (k + 2))
    e = torch.exp(far)
    return length * length * torch.where(near, series, (far * e - e + 1) / (far * far))


def _add_pull(
    g: torch.Tensor,
    by_lmbda: torch.Tensor,
    h: torch.Tensor,
    t: torch.Tensor,
    length: torch.Tensor,
    ratio: torch.Tensor,
    product: torch.Tensor,
    center: torch.Tensor,
    spares: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    """Add what h does through lambda, `by_lmbda * (N d slope / dh - ratio * N d curvature / dh)`.

    With `u = 1 + 2 t`: `N d slope / dh = u L - t - 1 / (1 + t)` and
    `N d curvature / dh = -4 mean(h a) (u L - t) + sign(h) (L (L (1 + 2 u) - 2 (u + mean a)) + 2 t)`.
    """
    one, two, three = spares
    u = torch.add(t, 1, out=one).add_(t)
    torch.mul(u, 2, out=two).add_(1).mul_(length)  # L (1 + 2 u)
    two.sub_(u, alpha=2).sub_(2 * center).mul_(length).add_(t, alpha=2)
    torch.copysign(torch.ones((), dtype=h.dtype), h, out=three)
    two.mul_(three).mul_(-ratio)
    u.mul_(length).sub_(t)
    two.addcmul_(u, 1 + 4 * ratio * product)
    two.sub_(torch.add(t, 1, out=three).reciprocal_())
    g.addcmul_(two, by_lmbda)


class _Sums:
    """Gradients of weight and bias, block by block."""

    def __init__(self, weight: torch.Tensor | None, with_bias: bool, inner: bool) -> None:
        self.with_weight, self.with_bias, self.inner = weight is not None, with_bias, inner
        self.dtype = None if weight is None else weight.dtype
        self.weights: list[torch.Tensor] = []
        self.biases: list[torch.Tensor] = []
        self.wanted = self.with_weight or with_bias

    def add(self, g: torch.Tensor, y: torch.Tensor, block: slice) -> None:
        """What a block says; `y` is written over."""
        del block
        if self.with_bias:
            self.biases.append(self._sum(g))
        if self.with_weight:
            self.weights.append(self._sum(y.mul_(g)))

    def _sum(self, values: torch.Tensor) -> torch.Tensor:
        return values.sum((0, 1)) if self.inner else values.sum(2).sum(0)

    def found(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Both, None for what there is none of."""
        return self._joined(self.weights), self._joined(self.biases)

    def _joined(self, parts: list[torch.Tensor]) -> torch.Tensor | None:
        if not parts:
            return None
        return torch.stack(parts).sum(0) if self.inner else torch.cat(parts)


def _again(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    noisy: torch.Tensor | None,
    grad: torch.Tensor,
    dims: tuple[int, ...],
    settings: Settings,
) -> tuple[torch.Tensor | None, ...]:
    """The same gradients with a graph of their own."""
    with torch.enable_grad():
        groups, into = _groups(x, dims), _groups(grad, dims)
        y, _ = transform.normalize(groups, transform.means_over((0, 2)), settings.eps, settings.strength)
        if noisy is not None:
            y = y + (_groups(noisy, dims) - y).detach()
        y = _scaled(y, weight, bias, settings.inner)
        return transform.gradients(y, (x, weight, bias), into, again=True)


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
        blocks = _blocks(groups)
        room = _Room(4, groups[:, blocks[0]].shape, _working(x.dtype))
        for block in blocks:
            h, length, one, two = room.shaped(tuple(groups[:, block].shape))
            torch.sub(groups[:, block], mean[:, block], out=h)
            torch.log1p(torch.abs(h.mul_(scale[:, block]), out=one), out=length)
            y = _transform(h, length, lmbda[:, block], one, two)
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
            x, weight, bias = (
                each if again or each is None else each.detach().requires_grad_(each.requires_grad)
                for each in (x, weight, bias)
            )
            h = (_groups(x, ctx.dims) - mean) * scale
            y = _scaled(transform.yeo_johnson(h, lmbda), weight, bias, ctx.inner)
            found = transform.gradients(y, (x, weight, bias), _groups(grad, ctx.dims), again)
        return (*found, None, None, None, None, None)


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
        x: on the CPU, floating point.
        dims: not negative, ascending: dimensions that are normalized over.
        settings: how.
        weight, bias: one value to each group, or to each place within one: see `Settings`.

    Returns:
        In the type and memory format of x, and what was found of each group, `(1, G, 1)` each.
    """
    dense = _dense(x, dims)
    out, *found = Normalize.apply(dense, weight, bias, dims, settings)  # type: ignore[no-untyped-call]
    return out, Statistics(*found)


def apply_known(
    x: torch.Tensor,
    dims: tuple[int, ...],
    known: Statistics,
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
    dtype = _working(x.dtype)
    mean, var, lmbda = (each.detach().to(dtype).view(1, -1, 1) for each in known[:3])
    scale = torch.rsqrt(var + eps)
    given = (_dense(x, dims), weight, bias, mean, scale, lmbda, dims, inner)
    found: torch.Tensor = Apply.apply(*given)  # type: ignore[no-untyped-call]
    return found


def _dense(x: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    """x, or a copy of which each group can be seen."""
    dense = torch.empty_like(x).stride() == x.stride()
    return x if dense and as_groups(x, dims) is not None else x.contiguous()

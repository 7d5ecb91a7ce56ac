"""The steps of normality normalization on a block of groups, in place, by the formulas of `transform`."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from gaussprobe.nn import transform
from gaussprobe.nn.transform import Profile

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


class Room:
    """Buffers of a block, used again by the next."""

    def __init__(self, count: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self._all = [torch.empty(math.prod(shape), dtype=dtype) for _ in range(count)]

    def shaped(self, shape: tuple[int, ...]) -> list[torch.Tensor]:
        size = math.prod(shape)
        return [one[:size].view(shape) for one in self._all]


def split_groups(groups: torch.Tensor) -> list[slice]:
    """Slices of the groups of `(outer, groups, inner)`."""
    outer, count, inner = groups.shape
    step = max(1, BLOCK // max(1, outer * inner))
    return [slice(start, min(count, start + step)) for start in range(0, count, step)]


def mean_of(values: torch.Tensor) -> torch.Tensor:
    """Mean of each group of a block, `(1, g, 1)`."""
    return values.mean(2, keepdim=True).mean(0, keepdim=True)


def mean_product(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    return mean_of(torch.mul(a, b, out=out))


def standardise(
    values: torch.Tensor, settings: Settings, h: torch.Tensor, spare: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Standardise a block into `h`; its mean, variance, and `1 / sqrt(var + eps)`."""
    h.copy_(values)
    first = mean_of(h)
    h.sub_(first)
    rest = mean_of(h)
    var = mean_product(h, h, spare)
    # What rounding left of the mean shows only where that is far from zero.
    if bool((rest * rest > torch.finfo(h.dtype).eps ** 2 * 16 * var).any()):
        h.sub_(rest)
        var = mean_product(h, h, spare)
    else:
        rest = torch.zeros_like(rest)
    scale = torch.rsqrt(var + settings.eps)
    h.mul_(scale)
    return first + rest, var, scale


def profile_of(
    h: torch.Tensor, t: torch.Tensor, length: torch.Tensor, one: torch.Tensor, two: torch.Tensor
) -> tuple[Profile, torch.Tensor, torch.Tensor]:
    """As `transform.profile`, and the means of `h a` and of `a`; `t`, `length` become |h|, log(1 + |h|)."""
    torch.abs(h, out=t)
    torch.log1p(t, out=length)
    grown = torch.addcmul(length, t, length, out=one)  # (1 + t) log(1 + t)
    # With a = grown - t: hb = t (grown length - 2 a).
    square = mean_product(t, t, two)
    cross = mean_product(t, grown, two)
    torch.mul(grown, length, out=two)
    second = mean_of(two.mul_(t)) - 2 * (cross - square)
    a = grown.sub_(t)
    center = mean_of(a)
    spread = mean_product(a, a, two) - center * center
    product = mean_product(h, a, two)
    signed = mean_of(torch.copysign(length, h, out=two))
    return Profile(product - signed, second + spread - 2 * product * product), product, center


def eta_of(h: torch.Tensor, lmbda: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """lambda where h is not negative, 2 - lambda where it is."""
    torch.copysign(torch.ones((), dtype=h.dtype), h, out=out)
    return out.mul_(lmbda - 1).add_(1)


def _delicate(lmbda: torch.Tensor, limit: float) -> torch.Tensor | None:
    """Places of the groups of a block where eta comes near 0 for some sign of h; None for none."""
    flat = lmbda.flatten()
    least = torch.minimum(flat.abs(), (2 - flat).abs())
    found = torch.nonzero(least < limit).flatten()
    return found if found.numel() else None


def bend(
    h: torch.Tensor, length: torch.Tensor, lmbda: torch.Tensor, one: torch.Tensor, two: torch.Tensor
) -> torch.Tensor:
    """`psi(h; lambda)` in place of `one`; `length` is log(1 + |h|)."""
    eta = eta_of(h, lmbda, one)
    torch.mul(eta, length, out=two)
    torch.expm1(two, out=two)
    torch.copysign(two.div_(eta), h, out=one)
    delicate = _delicate(lmbda, _SMALL_MAP)
    if delicate is not None:
        one[:, delicate] = transform.yeo_johnson(h[:, delicate], lmbda[:, delicate])
    return one


def add_noise(values: torch.Tensor, settings: Settings, spare: torch.Tensor) -> None:
    """`values + noise * s * z`, s the mean absolute deviation of each group."""
    if settings.scaled:
        torch.sub(values, mean_of(values), out=spare)
        size = mean_of(spare.abs_()) * settings.noise
    else:
        size = torch.full((), settings.noise * math.sqrt(2 / math.pi), dtype=values.dtype)
    values.addcmul_(spare.normal_(), size)


def bend_again(
    h: torch.Tensor, e: torch.Tensor, eta: torch.Tensor, lmbda: torch.Tensor, out: torch.Tensor
) -> None:
    """`psi(h; lambda)` from `e = exp(eta log(1 + t))`, good enough for a sum over a group."""
    torch.sub(e, 1, out=out).div_(eta)
    torch.copysign(out, h, out=out)
    delicate = _delicate(lmbda, _SMALL_MAP)
    if delicate is not None:
        out[:, delicate] = transform.yeo_johnson(h[:, delicate], lmbda[:, delicate])


def slope_of(
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


def add_pull(
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

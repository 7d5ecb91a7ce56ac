"""Normality normalization for a compiler: whole tensors, nothing that depends on the data.

The formulas of `kernel`, forward and backward, as operations that a compiler fuses into a few loops. What is
kept for the backward pass is the input, the noisy values where a weight learns from them, and numbers of each
group.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch

from gaussprobe.nn import transform
from gaussprobe.nn.transform import Kept, Mean, Profile, Statistics, means_over

# Calls a function of tensors, or what a compiler made of it.
Runner: TypeAlias = "Callable[..., Any]"

_ROOT_2_OVER_PI = math.sqrt(2 / math.pi)
# Below this |eta log(1 + t)| quotients come from their series.
_SMALL = 0.25
# Terms of the series of cosine and sine within half a turn of 0.
_TURNS = 10


def hashed_noise(x: torch.Tensor) -> torch.Tensor:
    """Standard normal values of the shape of x: a hash of places and of two seeds, by Box and Muller.

    A compiler makes loops of it; its own generator of random numbers takes several times as long as the rest
    of the layer. Seeds come from torch's generator. `|z| < 5.9`.

    Reference:
        Box & Muller (1958), Annals of Mathematical Statistics 29, 610.
    """
    seeds = torch.randint(-(2**31), 2**31 - 1, (2,), dtype=torch.int64, device=x.device).to(torch.int32)
    seeds = _written(seeds)
    place = torch.arange((x.numel() + 1) // 2, dtype=torch.int32, device=x.device)
    first = _mixed(place ^ seeds[0])
    second = _mixed(first ^ seeds[1])
    # 24 bits, the middle of each cell: never 0.
    radius = ((first >> 8) & 0xFFFFFF).to(torch.float32).add(0.5).mul(2.0**-24).log().mul(-2).sqrt()
    # Within half a turn of 0 Taylor's series err by less than 1e-6, and are faster than cos and sin.
    turns = (second >> 8).to(torch.float32).mul(2.0**-24)
    square = turns * turns
    cosine = _series(
        square, [(-1) ** k * (2 * math.pi) ** (2 * k) / math.factorial(2 * k) for k in range(_TURNS)]
    )
    sine = turns * _series(
        square, [(-1) ** k * (2 * math.pi) ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(_TURNS)]
    )
    both = torch.cat((radius * cosine, radius * sine))
    return both[: x.numel()].view(x.shape).to(x.dtype)


def _written(values: torch.Tensor) -> torch.Tensor:
    """The same, which a compiler works out once and not again in every loop that reads it."""
    return values.as_strided(values.shape, values.stride())


def _mixed(bits: torch.Tensor) -> torch.Tensor:
    """A hash of 32 bits: shifts, exclusive ors and products that wrap around."""
    bits = bits ^ ((bits >> 16) & 0xFFFF)
    bits = bits * 0x7FEB352D
    bits = bits ^ ((bits >> 15) & 0x1FFFF)
    bits = bits * -2073254261  # 0x846CA68B
    return bits ^ ((bits >> 16) & 0xFFFF)


class How(NamedTuple):
    """How to normalize: what a compiler may take for constant.

    Args:
        dims: not negative, ascending: dimensions that are normalized over.
        eps: added to the variance.
        strength: share of the Newton step that is taken.
        noise: its sd in units of the mean absolute deviation, 0 for none.
        scaled: whether that is the group's own; if not, it is that of the standard normal law.
    """

    dims: tuple[int, ...]
    eps: float
    strength: float
    noise: float
    scaled: bool


def forward(
    x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, how: How
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor]:
    """Result, the noisy values that a weight learns from, numbers of each group, whether lambda was held.

    The numbers are those of `Kept` and the variance, one after the other in a dimension in front: one tensor
    costs a call less than eight do.
    """
    mean = means_over(how.dims)
    wide = x.to(transform.working(x.dtype))
    first = _written(mean(wide))
    # What rounding left of the mean, and the variance, in one pass.
    rest = _written(mean(wide - first))
    var = (mean((wide - first).square()) - rest.square()).clamp(min=0)
    scale = _written(torch.rsqrt(var + how.eps))
    h = (wide - first - rest) * scale
    length = _log(h.abs())
    profile, product, center = _profile(h, length, mean)
    lmbda, held = transform.newton(profile, how.strength)
    lmbda = _written(lmbda)
    eta = 1 + _signed(lmbda - 1, h)
    y = _signed(_size(length, eta, torch.exp(eta * length)), h)
    if how.noise:
        size = _written(mean((y - _written(mean(y))).abs())) if how.scaled else _ROOT_2_OVER_PI
        y = y + hashed_noise(y) * (how.noise * size)
    curvature = torch.where(held, 1.0, profile.curvature)
    pull = torch.where(held, 0.0, -how.strength / (_count(x, how) * curvature))
    ratio = torch.where(held, 0.0, profile.slope / curvature)
    numbers = torch.stack((*Kept(first + rest, scale, lmbda, pull, ratio, product, center), var))
    noisy = y.to(x.dtype) if how.noise and weight is not None else None
    if weight is not None:
        y = y * weight
    if bias is not None:
        y = y + bias
    return y.to(x.dtype), noisy, numbers, held


def backward(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    noisy: torch.Tensor | None,
    grad: torch.Tensor,
    numbers: torch.Tensor,
    how: How,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Gradients of input, weight and bias."""
    *parts, _ = numbers.unbind()
    kept = Kept(*parts)
    mean, dtype = means_over(how.dims), transform.working(x.dtype)
    h, g = (x.to(dtype) - kept.mean) * kept.scale, grad.to(dtype)
    t = h.abs()
    length = _log(t)
    eta = 1 + _signed(kept.lmbda - 1, h)
    e = torch.exp(eta * length)
    grad_weight = grad_bias = None
    if bias is not None:
        grad_bias = g.sum_to_size(bias.shape).to(bias.dtype)
    if weight is not None:
        learnt = _signed(_size(length, eta, e), h) if noisy is None else noisy.to(dtype)
        grad_weight = (g * learnt).sum_to_size(weight.shape).to(weight.dtype)
        g = g * weight
    # All that is summed is summed in one pass: means of what comes through lambda need not know by how much.
    by_lmbda = _written(kept.pull * _count(x, how) * mean(g * _slope(length, eta, e)))
    u = 1 + 2 * t
    bend = length * (length * (1 + 2 * u) - 2 * (u + kept.center)) + 2 * t
    through = (
        (1 + 4 * kept.ratio * kept.product) * (u * length - t) - 1 / (1 + t) - _signed(kept.ratio * bend, h)
    )
    g = g * e / (1 + t)
    level = _written(mean(g) + by_lmbda * mean(through))
    tilt = _written(mean(g * h) + by_lmbda * mean(through * h))
    found = kept.scale * (g + by_lmbda * through - level - h * tilt)
    return found.to(x.dtype), grad_weight, grad_bias


class Normalize(torch.autograd.Function):
    """`forward` and `backward` joined."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        how: How,
        run: Runner,
    ) -> tuple[torch.Tensor, ...]:
        """As `normalize`."""
        out, noisy, numbers, held = run(forward, x, weight, bias, how)
        ctx.save_for_backward(x, weight, bias, noisy, numbers)
        ctx.how, ctx.run = how, run
        ctx.mark_non_differentiable(numbers, held)
        return out, numbers, held

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """By hand; through `transform` where the gradient is itself to be differentiated."""
        x, weight, bias, noisy, numbers = ctx.saved_tensors
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            how = (means_over(ctx.how.dims), ctx.how.eps, ctx.how.strength)
            return (*transform.again(x, weight, bias, noisy, grad, how), None, None)
        return (*ctx.run(backward, x, weight, bias, noisy, grad, numbers, ctx.how), None, None)


def plainly(function: Callable[..., Any], *given: Any) -> Any:
    """A function as it is."""
    return function(*given)


def normalize(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    how: How,
    run: Runner = plainly,
) -> tuple[torch.Tensor, Statistics]:
    """Standardise, transform, add noise, scale and shift.

    Args:
        x: floating point.
        weight, bias: broadcast against x.
        how: to do it.
        run: calls `forward` and `backward`, or what a compiler made of them.

    Returns:
        In the type of x, and what was found of each group, with `dims` kept as 1.
    """
    out, numbers, held = Normalize.apply(x, weight, bias, how, run)  # type: ignore[no-untyped-call]
    *parts, var = numbers.unbind()
    kept = Kept(*parts)
    return out, Statistics(kept.mean, var, kept.lmbda, held)


def _count(x: torch.Tensor, how: How) -> int:
    count = 1
    for d in how.dims:  # a compiler follows no generator
        count *= x.shape[d]
    return count


def _signed(size: torch.Tensor | float, h: torch.Tensor) -> torch.Tensor:
    """A size with the sign of h; faster than copysign."""
    return torch.where(h >= 0, size, -size)


def _log(t: torch.Tensor) -> torch.Tensor:
    """`log(1 + t)`; of float32 to its rounding at 1, which is that of all that comes of it."""
    return torch.log1p(t) if t.dtype == torch.float64 else torch.log(1 + t)


def _profile(h: torch.Tensor, length: torch.Tensor, mean: Mean) -> tuple[Profile, torch.Tensor, torch.Tensor]:
    """As `transform.profile`, and the means of `h a` and of `a`, in one pass over the values."""
    t = h.abs()
    grown = length + t * length
    a = grown - t
    product, mean_a, square = mean(h * a), mean(a), mean(a * a)
    signed = mean(_signed(length, h))
    second = mean(t * (grown * length - 2 * a))
    curvature = second + square - mean_a * mean_a - 2 * product * product
    return Profile(product - signed, curvature), product, mean_a


def _size(length: torch.Tensor, eta: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
    """`|psi| = (e - 1) / eta` with `e = exp(eta L)`, from its series where `eta L` is small."""
    z = eta * length
    near = z.abs() < _SMALL
    terms = _terms(e.dtype)
    series = _series(z, [1 / math.factorial(k + 1) for k in range(terms)])
    return torch.where(near, length * series, (e - 1) / torch.where(near, 1.0, eta))


def _slope(length: torch.Tensor, eta: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
    """`d psi / d lambda`, from its series where `eta L` is small."""
    z = eta * length
    near = z.abs() < _SMALL
    terms = _terms(e.dtype)
    series = _series(z, [1 / (math.factorial(k) * (k + 2)) for k in range(terms)])
    inverse = 1 / torch.where(near, 1.0, eta)
    far = inverse * (e * (length - inverse) + inverse)
    return torch.where(near, length * length * series, far)


def _terms(dtype: torch.dtype) -> int:
    """How many terms of either series leave less than rounding does."""
    return 13 if dtype == torch.float64 else 6


def _series(z: torch.Tensor, coefficients: list[float]) -> torch.Tensor:
    """A polynomial in z, the constant first."""
    found = torch.full_like(z, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        found = found * z + coefficient
    return found

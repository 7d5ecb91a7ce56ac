"""The Yeo-Johnson map and its Newton step, in plain operations of torch: differentiable as often as wanted.

What the fused kernel computes is defined here. It is also what runs where the kernel cannot: under a second
derivative, within a traced graph, across processes, for tensors that are not on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch

# A Newton step beyond these is not followed, nor differentiated.
LOWEST, HIGHEST = -1.0, 3.0

# Below this |eta log(1 + t)| quotients of differences are taken from their series.
SMALL = 0.25
_TERMS = 12

View: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"

# The mean over each group, broadcast against what it is the mean of.
Mean: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"


class Statistics(NamedTuple):
    """What a forward pass found of each group: mean, biased variance, lambda, and whether lambda was held."""

    mean: torch.Tensor
    var: torch.Tensor
    lmbda: torch.Tensor
    held: torch.Tensor


class Known(NamedTuple):
    """What evaluation goes by: running mean, variance and lambda of each group."""

    mean: torch.Tensor
    var: torch.Tensor
    lmbda: torch.Tensor


class Profile(NamedTuple):
    """First and second derivative at lambda = 1 of each group's negative log-likelihood, per value."""

    slope: torch.Tensor
    curvature: torch.Tensor


class Kept(NamedTuple):
    """What a backward pass needs of each group, broadcast against it.

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


def _itself(values: torch.Tensor) -> torch.Tensor:
    return values


def working(dtype: torch.dtype) -> torch.dtype:
    """The precision of the work on values of a type: float32, of float64 float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def means_over(dims: tuple[int, ...]) -> Mean:
    """Means over `dims`, which are kept as 1."""
    return lambda values: values.mean(dims, keepdim=True)


def _quotient(z: torch.Tensor) -> torch.Tensor:
    """`(exp(z) - 1) / z`, 1 at 0, with its derivatives."""
    near = z.abs() < SMALL
    far = torch.where(near, 1.0, z)
    close = torch.where(near, z, 0.0)
    series = torch.full_like(z, 1 / math.factorial(_TERMS))
    for k in range(_TERMS - 1, 0, -1):
        series = series * close + 1 / math.factorial(k)
    return torch.where(near, series, torch.expm1(far) / far)


def yeo_johnson(h: torch.Tensor, lmbda: torch.Tensor | float) -> torch.Tensor:
    """`psi(h; lambda)`, lambda broadcast against h."""
    positive = h >= 0
    t = torch.where(positive, h, -h)
    length = torch.log1p(t)
    eta = torch.where(positive, lmbda, 2 - lmbda)
    size = length * _quotient(eta * length)
    return torch.where(positive, size, -size)


def profile(h: torch.Tensor, mean: Mean) -> Profile:
    """Derivatives of the profile likelihood of standardised values.

    With `t = |h|`, `a = (1 + t) log(1 + t) - t`, `hb = t ((1 + t) log(1 + t)^2 - 2 a)`:
    `slope = mean(h a) - mean(sign(h) log(1 + t))`, `curvature = -2 mean(h a)^2 + mean(hb) + var(a)`.
    """
    positive = h >= 0
    t = torch.where(positive, h, -h)
    length = torch.log1p(t)
    grown = length + t * length
    a = grown - t
    product = mean(h * a)
    signed = mean(torch.where(positive, length, -length))
    second = mean(t * (grown * length - 2 * a))
    centred = a - mean(a)
    return Profile(product - signed, second + mean(centred * centred) - 2 * product * product)


def newton(found: Profile, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
    """`lambda = 1 - strength * slope / curvature`, held within -1 and 3, and where it was held.

    Without a minimum to step to (curvature that is not positive, as in a constant group) lambda is 1.
    """
    slope, curvature = (each.detach() for each in found)
    # Squares of lesser values, which the gradient needs, leave the range of the type.
    usable = curvature > math.sqrt(torch.finfo(curvature.dtype).tiny)  # False for NaN
    raw = 1 - strength * torch.where(usable, slope, 0.0) / torch.where(usable, curvature, 1.0)
    free = usable & (raw >= LOWEST) & (raw <= HIGHEST)
    ratio = torch.where(free, found.slope, 0.0) / torch.where(free, found.curvature, 1.0)
    return torch.where(free, 1 - strength * ratio, raw.clamp(LOWEST, HIGHEST)), ~free


def standardise(x: torch.Tensor, mean: Mean, eps: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`(x - mean) / sqrt(var + eps)` with the biased variance; the mean and that variance."""
    first = mean(x)
    centred = x - first
    # What rounding left of the mean when it is far from zero.
    rest = mean(centred)
    centred = centred - rest
    var = mean(centred * centred)
    return centred * torch.rsqrt(var + eps), first + rest, var


def normalize(x: torch.Tensor, mean: Mean, eps: float, strength: float) -> tuple[torch.Tensor, Statistics]:
    """Standardise, take the Newton step, transform."""
    h, center, var = standardise(x, mean, eps)
    lmbda, held = newton(profile(h, mean), strength)
    return yeo_johnson(h, lmbda), Statistics(center, var, lmbda, held)


def apply_known(x: torch.Tensor, known: Known, eps: float) -> torch.Tensor:
    """Transform by statistics that are given, as in evaluation."""
    h = (x - known.mean) * torch.rsqrt(known.var + eps)
    return yeo_johnson(h, known.lmbda)


def again(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    noisy: torch.Tensor | None,
    grad: torch.Tensor,
    how: tuple[Mean, float, float],
    *,
    view: View = _itself,
    fit: View = _itself,
) -> tuple[torch.Tensor | None, ...]:
    """Gradients of `weight * normalize(x) + bias` with a graph of their own, for second derivatives.

    Args:
        x, weight, bias: what the gradients are of; None for what there is none of.
        noisy: `normalize(x)` with its noise, None where no gradient goes by it.
        grad: of the result, in the layout of x.
        how: mean, eps and strength, as for `normalize`.
        view: of x, noisy and grad, in which the mean is to be taken.
        fit: makes weight and bias broadcast against that.
    """
    mean, eps, strength = how
    with torch.enable_grad():
        x, weight, bias = aliases(x, weight, bias)
        y, _ = normalize(view(x).to(working(x.dtype)), mean, eps, strength)
        if noisy is not None:
            y = y + (view(noisy) - y).detach()
        y = y if weight is None else y * fit(weight)
        y = y if bias is None else y + fit(bias)
        return gradients(y, (x, weight, bias), view(grad), again=True)


def aliases(*tensors: torch.Tensor | None, detached: bool = False) -> tuple[Any, ...]:
    """Tensors that are none of those given and stand for them, at the root of a graph if detached.

    A gradient with respect to an alias counts what comes through it, and not what comes to the same tensor
    another way, as through a weight that was computed from the input.
    """
    return tuple(
        None
        if each is None
        else each.detach().requires_grad_(each.requires_grad)
        if detached
        else each.view_as(each)
        for each in tensors
    )


def gradients(
    y: torch.Tensor, of: tuple[torch.Tensor | None, ...], given: torch.Tensor, again: bool
) -> tuple[torch.Tensor | None, ...]:
    """Gradients of a graph's end, of those tensors that want one, None for the others.

    Args:
        y: the end.
        of: what may want a gradient.
        given: that of y.
        again: whether they are to be differentiated themselves.
    """
    inputs = [each for each in of if each is not None and each.requires_grad]
    found = iter(torch.autograd.grad(y, inputs, given.to(y.dtype), create_graph=again))
    return tuple(next(found) if each is not None and each.requires_grad else None for each in of)

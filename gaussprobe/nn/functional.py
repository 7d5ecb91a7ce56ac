"""Normality normalization as pure functions over any dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch

from gaussprobe.nn import compiled, kernel, traced, transform
from gaussprobe.nn.blockwise import Settings
from gaussprobe.nn.layout import as_groups, dense, per_group
from gaussprobe.nn.transform import Known, Mean, Statistics

NoiseKind: TypeAlias = Literal["scaled", "unscaled", "gaussian_dropout"]
Dim: TypeAlias = "int | Sequence[int]"

_ROOT_2_OVER_PI = 0.7978845608028654


class How(NamedTuple):
    """Everything but the tensors that a normalization goes by.

    Args:
        eps: added to the variance.
        strength: alpha, the share of the Newton step that is taken.
        noise: xi, 0 for none.
        kind: of noise.
    """

    eps: float = 1e-5
    strength: float = 1.0
    noise: float = 0.0
    kind: NoiseKind = "scaled"


def check(how: How) -> None:
    """Refuse what is out of range.

    Raises:
        ValueError: naming the argument, the requirement and what came.
    """
    if not how.eps >= 0:
        raise ValueError(f"eps must not be negative; got {how.eps!r}")
    if not 0 <= how.strength <= 1:
        raise ValueError(f"strength must lie between 0 and 1; got {how.strength!r}")
    if not 0 <= how.noise < float("inf"):
        raise ValueError(f"noise must be finite and not negative; got {how.noise!r}")
    if how.kind not in get_args(NoiseKind):
        raise ValueError(f"noise_kind must be one of {', '.join(get_args(NoiseKind))}; got {how.kind!r}")


def yeo_johnson(x: torch.Tensor, lmbda: torch.Tensor | float) -> torch.Tensor:
    """Yeo-Johnson power transform, element by element.

    `psi(x; lambda) = ((1 + x)^lambda - 1) / lambda` for x >= 0, `log(1 + x)` where lambda is 0;
    `-((1 - x)^(2 - lambda) - 1) / (2 - lambda)` for x < 0, `-log(1 - x)` where lambda is 2.

    At lambda = 1 the identity. It is smooth in x and lambda, also where they meet 0 and 2, and so computed:
    `log(1 + |x|)` times a quotient whose series is used near 0.

    Args:
        x: any shape, floating point; float16 and bfloat16 are computed in float32.
        lmbda: a number, or a tensor that broadcasts against x.

    Returns:
        psi, in the shape the two broadcast to and in the type of x; differentiable twice and more.

    Raises:
        ValueError: for an x that is not floating point.

    Reference:
        Yeo & Johnson (2000), Biometrika 87, equation 2.1.
    """
    check_floating(x)
    wide = x.to(transform.working(x.dtype))
    lmbda = torch.as_tensor(lmbda, dtype=wide.dtype, device=wide.device)
    return transform.yeo_johnson(wide, lmbda).to(x.dtype)


def newton_lambda(h: torch.Tensor, dim: Dim, *, strength: float = 1.0, keepdim: bool = False) -> torch.Tensor:
    """One Newton step towards the lambda under which standardised values look most normal.

    `lambda = 1 - alpha L'(1) / L''(1)`, L the negative log-likelihood of lambda per value, mean and variance
    profiled out. With `t = |h|`, `a = (1 + t) log(1 + t) - t` and
    `h b = t ((1 + t) log(1 + t)^2 - 2 a)`, means over the group:
    `L'(1) = mean(h a) - mean(sign(h) log(1 + t))`, `L''(1) = -2 mean(h a)^2 + mean(h b) + var(a)`.

    Held within -1 and 3, where it has no gradient; 1 where L'' is not positive, as in a constant group.

    Args:
        h: standardised over `dim` (mean 0, biased variance 1).
        dim: one dimension or several: those of a group.
        strength: alpha, from 0 to 1.
        keepdim: whether `dim` is kept as 1.

    Returns:
        lambda of each group, float32, or float64 for a float64 h; differentiable.

    Raises:
        ValueError: for an h that is not floating point, or a `dim` or `strength` out of range.

    Reference:
        Eftekhari & Papyan (2025), ICML, arXiv:2505.00685, section 3.
    """
    check_floating(h)
    check(How(strength=strength))
    dims = dimensions(h, dim)
    mean = transform.means_over(dims)
    lmbda, _ = transform.newton(transform.profile(h.to(transform.working(h.dtype)), mean), strength)
    return lmbda if keepdim else lmbda.squeeze(dims)


def normality_normalize(
    x: torch.Tensor,
    dim: Dim,
    *,
    eps: float = 1e-5,
    strength: float = 1.0,
    noise: float = 0.0,
    noise_kind: NoiseKind = "scaled",
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Standardise each group of values, bring it nearer to normal, add noise, scale and shift.

    1. `h = (x - mean) / sqrt(var + eps)`, biased variance, over `dim`.
    2. `lambda = newton_lambda(h)`, `y = psi(h; lambda)`.
    3. `y + noise * s * z`, z standard normal and s without a gradient: `mean |y - mean(y)|` of the group
       (`"scaled"`) or `sqrt(2 / pi)`, what that is for a standard normal law (`"unscaled"`); or
       `y (1 + noise * z)` (`"gaussian_dropout"`: noise is `sqrt((1 - p) / p)` for a keeping probability p).
    4. `weight * y + bias`.

    Args:
        x: any shape and memory format, floating point; float16 and bfloat16 are computed in float32.
        dim: one dimension or several: those of a group.
        eps: added to the variance.
        strength: alpha, from 0 to 1; 0 leaves step 2 out.
        noise: xi.
        noise_kind: `"scaled"`, `"unscaled"` or `"gaussian_dropout"`.
        weight, bias: broadcast against x; None for none.

    Returns:
        A tensor of the shape, type and memory format of x. On the CPU its graph keeps x, and with both noise
        and weight one more tensor of that size.

    Raises:
        ValueError: for an x that is not floating point, or an argument out of range.

    Reference:
        Eftekhari & Papyan (2025), ICML, arXiv:2505.00685, algorithm 1; figure 7 for the kinds of noise.
    """
    check_floating(x)
    how = How(eps, strength, noise, noise_kind)
    check(how)
    return normalize(x, dimensions(x, dim), how, weight, bias)[0]


def normalize(
    x: torch.Tensor,
    dims: tuple[int, ...],
    how: How,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    mean: Mean | None = None,
    compile: bool = False,
) -> tuple[torch.Tensor, Statistics]:
    """`normality_normalize` of arguments that were checked, and what was found of each group.

    Args:
        x, how, weight, bias: as there.
        dims: not negative, ascending.
        mean: of each group, where that is more than a mean over `dims`.
        compile: whether to use what `torch.compile` makes of the formulas.

    Returns:
        The result, and statistics with `dims` kept as 1.
    """
    if how.noise and how.kind == "gaussian_dropout":
        y, statistics = normalize(x, dims, how._replace(noise=0.0), mean=mean, compile=compile)
        return like(affine(noisy(y, how), weight, bias).to(x.dtype), x), statistics
    if mean is not None or not fused(x):
        mean = mean or transform.means_over(dims)
        y, statistics = transform.normalize(x.to(transform.working(x.dtype)), mean, how.eps, how.strength)
        return affine(noisy(y, how, mean), weight, bias).to(x.dtype), statistics
    compile = compile and compiled.works()
    if compile or not by_hand(x):
        settings = traced.How(dims, how.eps, how.strength, how.noise, how.kind == "scaled")
        run = compiled.run if compile and not torch.compiler.is_compiling() else traced.plainly
        return traced.normalize(x, weight, bias, settings, run)
    return _by_hand(x, dims, how, weight, bias)


def _by_hand(
    x: torch.Tensor,
    dims: tuple[int, ...],
    how: How,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
) -> tuple[torch.Tensor, Statistics]:
    """By the kernel."""
    packed = dense(x, dims)
    if packed is None:
        order, last = _dims_last(x, dims)
        moved = [None if each is None else _full(each, x).permute(order) for each in (weight, bias)]
        y, statistics = _by_hand(x.permute(order).contiguous(), last, how, *moved)
        back = tuple(order.index(d) for d in range(x.ndim))
        return like(y.permute(back), x), Statistics(*(each.permute(back) for each in statistics))
    fits = _fits(weight, bias, packed, dims)
    settings = Settings(how.eps, how.strength, how.noise, how.kind == "scaled", fits == "inner")
    inside = (None, None) if fits is None else (_flat(weight), _flat(bias))
    y, found = kernel.normalize(packed, dims, settings, *inside)
    shape = per_group(x.shape, dims)
    if fits is None:
        y = affine(y, weight, bias).to(x.dtype)
    return like(y, x), Statistics(*(each.view(shape) for each in found))


def apply_known(
    x: torch.Tensor,
    dims: tuple[int, ...],
    known: Known,
    eps: float,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """The same by statistics that are given, `(G,)` each, without noise: evaluation.

    Args:
        x, dims, weight, bias: as for `normalize`.
        known: of each group.
        eps: added to the variance.
    """
    check_floating(x)
    packed = dense(x, dims) if by_hand(x) else None
    if packed is not None:
        fits = _fits(weight, bias, packed, dims)
        inside = (None, None) if fits is None else (_flat(weight), _flat(bias))
        y = kernel.apply_known(packed, dims, known, eps, *inside, inner=fits == "inner")
        return like(y if fits is not None else affine(y, weight, bias).to(x.dtype), x)
    shape, dtype = per_group(x.shape, dims), transform.working(x.dtype)
    shaped = Known(*(each.detach().to(dtype).view(shape) for each in known))
    return affine(transform.apply_known(x.to(dtype), shaped, eps), weight, bias).to(x.dtype)


def by_hand(x: torch.Tensor) -> bool:
    """Whether the kernel can take a tensor: a real one on the CPU, not a stand-in while a graph is traced."""
    return (
        x.device.type == "cpu"
        and type(x) in (torch.Tensor, torch.nn.Parameter)
        and not torch.compiler.is_compiling()
        and fused(x)
    )


def fused(x: torch.Tensor) -> bool:
    """Whether forward and backward by hand will do: not for an export, vmap and its like, or no values."""
    return not (
        torch.compiler.is_exporting()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
        or x.numel() == 0
    )


def dimensions(x: torch.Tensor, dim: Dim) -> tuple[int, ...]:
    """`dim` as distinct dimensions of x, not negative, ascending.

    Raises:
        ValueError: for what is none.
    """
    given = (dim,) if isinstance(dim, int) else tuple(dim)
    dims = sorted({d % x.ndim for d in given if -x.ndim <= d < x.ndim})
    if not given or len(dims) != len(given):
        raise ValueError(f"dim must be distinct dimensions of x of shape {tuple(x.shape)}; got {dim!r}")
    return tuple(dims)


def check_floating(x: torch.Tensor) -> None:
    """Refuse what is no floating-point tensor.

    Raises:
        ValueError: saying what came.
    """
    if not isinstance(x, torch.Tensor) or not x.is_floating_point():
        got = x.dtype if isinstance(x, torch.Tensor) else type(x).__name__
        raise ValueError(f"x must be a floating-point tensor; got {got}")


def _fits(
    weight: torch.Tensor | None, bias: torch.Tensor | None, x: torch.Tensor, dims: tuple[int, ...]
) -> str | None:
    """`"group"` for one value of weight and bias to each, `"inner"` to each place within, else None."""
    group = per_group(x.shape, dims)
    inner = [size if d in dims else 1 for d, size in enumerate(x.shape)]
    shapes = [[1] * (x.ndim - each.ndim) + list(each.shape) for each in (weight, bias) if each is not None]
    if all(shape == group for shape in shapes):
        return "group"
    groups = as_groups(x, dims)
    whole = groups is not None and groups.shape[0] == 1  # else a place within a group is not one index
    return "inner" if whole and all(shape == inner for shape in shapes) else None


def _dims_last(x: torch.Tensor, dims: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The order of dimensions that puts `dims` last, and where these are then."""
    others = tuple(d for d in range(x.ndim) if d not in dims)
    return (*others, *dims), tuple(range(len(others), x.ndim))


def _full(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """With as many dimensions as x."""
    return values.reshape([1] * (x.ndim - values.ndim) + list(values.shape))


def _flat(values: torch.Tensor | None) -> torch.Tensor | None:
    return None if values is None else values.flatten()


def like(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """y in the memory format of x."""
    kept = torch.empty_like(x)
    return y if y.stride() == kept.stride() else kept.copy_(y)


def affine(y: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None) -> torch.Tensor:
    """`weight * y + bias`, as far as there are any."""
    if weight is not None:
        y = y * weight
    return y if bias is None else y + bias


def by_channel(values: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor | None:
    """What each channel has one of, broadcast against `(N, C, ...)`."""
    return None if values is None else values.view(1, -1, *[1] * (x.ndim - 2))


def noisy(y: torch.Tensor, how: How, mean: Mean | None = None) -> torch.Tensor:
    """y with the noise of its kind, whose size has no gradient.

    Args:
        y: transformed.
        how: much.
        mean: of each group; for noise that is scaled.
    """
    if not how.noise:
        return y
    if how.kind == "gaussian_dropout":
        return y * (1 + how.noise * torch.randn_like(y))
    fixed = y.detach()
    if how.kind == "unscaled" or mean is None:
        return y + torch.randn_like(fixed) * (how.noise * _ROOT_2_OVER_PI)
    return y + torch.randn_like(fixed) * (how.noise * mean((fixed - mean(fixed)).abs()))

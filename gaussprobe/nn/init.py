"""Initial weights whose law goes with an activation."""

from __future__ import annotations

import math
import numbers

import torch


@torch.no_grad()
def symmetric_weibull_(
    tensor: torch.Tensor, theta: float, scale: float = 1.0, *, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Fill with draws of the symmetric Weibull law, `P(|W| > t) = exp(-(t / scale)^theta)`.

    `|W| = scale E^(1/theta)` with E exponential, and a sign of equal odds; no factor of fan-in. The variance
    is `scale^2 Gamma(1 + 2/theta)`, which is not 1.

    Args:
        tensor: floating-point, filled in place.
        theta: the shape, above 0; above 2 tails are lighter than normal.
        scale: above 0.
        generator: of random numbers, on the device of the tensor; torch's own for None.

    Returns:
        `tensor`.

    Raises:
        ValueError: for an argument that is none of these.

    Reference:
        Wolinski & Arbel (2025), TMLR, arXiv:2205.12379, section 4.
    """
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
        got = tensor.dtype if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise ValueError(f"tensor must be a floating-point tensor; got {got}")
    shape, size = _positive("theta", theta), _positive("scale", scale)
    dtype = torch.float64 if tensor.dtype is torch.float64 else torch.float32
    exponential = torch.empty(tensor.shape, dtype=dtype, device=tensor.device)
    exponential.exponential_(generator=generator)
    info = torch.finfo(tensor.dtype)
    sizes = exponential.clamp_(min=torch.finfo(dtype).tiny).pow_(1 / shape).mul_(size)
    signs = torch.empty_like(sizes).bernoulli_(generator=generator).mul_(2).sub_(1)
    # Rounding to the dtype makes neither 0 nor infinity of a draw.
    tensor.copy_(sizes.clamp_(info.tiny, info.max).mul_(signs))
    return tensor


def _positive(name: str, value: object) -> float:
    """A finite number above 0.

    Raises:
        ValueError: for what is none.
    """
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    found = float(value) if number else math.nan  # type: ignore[arg-type]
    if not math.isfinite(found) or found <= 0:
        raise ValueError(f"{name} must be a finite number above 0; got {value!r}")
    return found

"""Laws that the weights of random networks are drawn from."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from gaussprobe.errors import first_line
from gaussprobe.signal.arguments import finite
from gaussprobe.stats.batch import known_name

Shape: TypeAlias = "tuple[int, ...]"
Sampler: TypeAlias = "Callable[[Shape, torch.Generator], torch.Tensor]"

_ROOT_3 = math.sqrt(3)

# `uniform_` gives -1 itself once in 2^24 draws, whose weight would be infinite: it counts as the number next
# to it.
_BELOW_ONE = 1 - 2**-24


@dataclass(frozen=True, kw_only=True)
class WeightLaw:
    """A law of weights.

    Args:
        name: what it is called.
        sampler: a tensor of a shape, with the generator it is drawn from, on whose device it lies.
        sd: of a weight, by which sigma_w is multiplied in infinitely wide networks; None where unknown.
    """

    name: str
    sampler: Sampler
    sd: float | None = None

    def draw(self, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        """Independent weights, float32.

        Raises:
            ValueError: if a sampler of one's own fails, or gives anything but finite numbers in that shape.
        """
        return self.sampler(shape, generator)


def normal(shape: Shape, generator: torch.Generator) -> torch.Tensor:
    """From N(0, 1)."""
    return _empty(shape, generator).normal_(generator=generator)


def uniform(shape: Shape, generator: torch.Generator) -> torch.Tensor:
    """From the uniform law on -sqrt 3 .. sqrt 3, of variance 1."""
    return _empty(shape, generator).uniform_(-_ROOT_3, _ROOT_3, generator=generator)


def weibull(shape: Shape, generator: torch.Generator, *, theta: float) -> torch.Tensor:
    """From the symmetric Weibull law: `P(|W| > t) = exp(-t^theta)`, either sign alike."""
    return weibull_of(_empty(shape, generator).uniform_(-1.0, 1.0, generator=generator), theta)


def weibull_of(u: torch.Tensor, theta: float) -> torch.Tensor:
    """`sign(U) (-ln(1 - |U|))^(1/theta)` of U uniform on -1 .. 1, float32."""
    return u.abs().clamp_(max=_BELOW_ONE).neg_().log1p_().neg_().pow_(1 / theta).copysign_(u)


def weibull_sd(theta: float) -> float:
    """Sd of the symmetric Weibull law of scale 1, `sqrt(Gamma(1 + 2 / theta))`."""
    return math.exp(0.5 * math.lgamma(1 + 2 / theta))


def _empty(shape: Shape, generator: torch.Generator) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.float32, device=generator.device)


_NAMED: Mapping[str, Sampler] = {"normal": normal, "uniform": uniform}

NORMAL = WeightLaw(name="normal", sampler=normal, sd=1.0)


def weight_law(given: str | tuple[str, float] | Sampler | WeightLaw) -> WeightLaw:
    """A law of weights by name, or a sampler of one's own.

    Args:
        given: `"normal"`, N(0, 1); `"uniform"`, on +-sqrt 3, of variance 1; `("weibull", theta)`, symmetric
            with `P(|W| > t) = exp(-t^theta)`, of scale 1 and so of variance Gamma(1 + 2 / theta), not 1; or
            a function of a shape and a `torch.Generator` that gives a tensor of independent weights.
            The function is called on several threads at once.

    Returns:
        It. What a function gives is checked whenever it is called.

    Raises:
        ValueError: for an unknown name, or a theta that is no finite number above 0.

    Reference:
        Wolinski & Arbel (2025), TMLR, arXiv:2205.12379, for the symmetric Weibull law.
    """
    if isinstance(given, WeightLaw):
        return given
    if isinstance(given, tuple | list):
        return _weibull_law(given)
    if callable(given):
        name = str(getattr(given, "__name__", type(given).__name__))
        return WeightLaw(name=name, sampler=_checked(name, given))
    if isinstance(given, str) and given == "weibull":
        raise ValueError("weight must be ('weibull', theta) for that law; got 'weibull' without a theta")
    if not isinstance(given, str):
        raise _no_law(given)
    known_name("weight", given, (*_NAMED, _WEIBULL))
    return WeightLaw(name=given, sampler=_NAMED[given], sd=1.0)


def _weibull_law(given: Any) -> WeightLaw:
    if len(given) != 2 or given[0] != "weibull":
        raise _no_law(given)
    theta = finite(given[1])
    if theta is None or theta <= 0:
        raise ValueError(
            "weight must be ('weibull', theta) with a theta that is a finite number above 0; "
            f"got {given[1]!r}"
        )
    sampler = functools.partial(weibull, theta=theta)
    return WeightLaw(name=f"weibull({theta:g})", sampler=sampler, sd=weibull_sd(theta))


_WEIBULL = "('weibull', theta)"


def _no_law(given: Any) -> ValueError:
    return ValueError(
        f"weight must be {', '.join(map(repr, _NAMED))}, {_WEIBULL} or a function of a shape and a "
        f"generator; got {given!r}"
    )


def _checked(name: str, function: Sampler) -> Sampler:
    """The function of a user, what it gives checked."""

    def sampler(shape: Shape, generator: torch.Generator) -> torch.Tensor:
        try:
            drawn = function(shape, generator)
        except Exception as error:  # whatever a function of a user may raise
            raise ValueError(
                f"weight must be a function of a shape and a generator; {name} raised "
                f"{type(error).__name__}: {first_line(error)}"
            ) from error
        if not isinstance(drawn, torch.Tensor) or drawn.shape != torch.Size(shape):
            came = tuple(drawn.shape) if isinstance(drawn, torch.Tensor) else type(drawn).__name__
            raise ValueError(f"weight must give a tensor of the shape asked for, {shape}; {name} gave {came}")
        if not drawn.is_floating_point():
            raise ValueError(f"weight must give real numbers; {name} gave {drawn.dtype}")
        single = drawn.detach().to(generator.device, torch.float32)
        if not bool(torch.isfinite(single).all()):
            raise ValueError(f"weight must give finite numbers; {name} gave NaN or infinity")
        return single

    return sampler

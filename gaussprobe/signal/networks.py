"""Random networks as they are asked for: arguments checked, and what one network takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from gaussprobe.errors import first_line
from gaussprobe.signal.activations import Activation, Function, activation
from gaussprobe.signal.arguments import finite, integer
from gaussprobe.signal.weights import Sampler, WeightLaw, weight_law

Input: TypeAlias = "float | Sequence[Any] | npt.NDArray[Any] | torch.Tensor | None"

# What a layer of one network may take: draws are worked on in chunks, but a network is never cut.
_LARGEST = 2**30  # bytes
# float32 values kept of a whole call: first units of all layers and draws.
_MOST_KEPT = 2**31

FEWEST_DRAWS = 8  # the tests of the battery are tabulated from here on


@dataclass(frozen=True, kw_only=True)
class Networks:
    """A law of networks, and what goes in.

    Args:
        activation: between layers.
        weight: law of the weights after the first layer's, which are normal.
        widths: outputs of each layer, units or channels.
        kernel_size: of convolutions; 1 for dense layers, which are convolutions of one position.
        sigma_w, sigma_b: of weights, before the division by the root of fan-in, and of biases.
        inputs: `(channels, inputs, height, width)` float32; of one or two inputs.
        is_image: whether they are more than one position.
        seed: of the draws.
    """

    activation: Activation
    weight: WeightLaw
    widths: tuple[int, ...]
    kernel_size: int
    sigma_w: float
    sigma_b: float
    inputs: torch.Tensor
    is_image: bool
    seed: int

    @property
    def device(self) -> torch.device:
        """Where they run."""
        return self.inputs.device

    @property
    def n_inputs(self) -> int:
        """1 or 2."""
        return int(self.inputs.shape[1])

    @property
    def input_shape(self) -> tuple[int, ...]:
        """As it was given: with a first dimension of 2 for two inputs."""
        channels, inputs, *places = self.inputs.shape
        shape = (channels, *places) if self.is_image else (channels,)
        return shape if inputs == 1 else (inputs, *shape)

    @property
    def fans(self) -> tuple[int, ...]:
        """Terms that each layer's pre-activations are sums of."""
        channels = (int(self.inputs.shape[0]), *self.widths[:-1])
        return tuple(count * self.kernel_size**2 for count in channels)

    @property
    def values_per_network(self) -> int:
        """float32 values that the largest layer of one network takes: weights, terms and pre-activations."""
        places = math.prod(self.inputs.shape[1:])
        pairs = zip(self.widths, self.fans, strict=True)
        return max(width * fan + (fan + 3 * width) * places for width, fan in pairs)


def networks(
    given: str | Function | Activation,
    *,
    widths: Sequence[int],
    draws: int,
    sigma_w: float,
    sigma_b: float,
    weight: str | tuple[str, float] | Sampler | WeightLaw,
    seed: int,
    x: Input,
    kernel_size: int | None,
    device: str | torch.device | None,
) -> Networks:
    """Arguments of `gaussprobe.signal.propagate`, checked.

    Raises:
        ValueError: naming the argument that cannot be used.
        FactoryError: if an activation `pkg.mod:fn` cannot be had.
    """
    made, law = activation(given), weight_law(weight)
    outputs = _widths(widths)
    integer("draws", draws, least=FEWEST_DRAWS)
    if draws * len(outputs) > _MOST_KEPT:
        raise ValueError(
            f"draws must be at most {_MOST_KEPT // len(outputs):,} for {len(outputs)} layers; got {draws:,}"
        )
    integer("seed", seed, least=0)
    if seed >= 2**63:
        raise ValueError(f"seed must be below 2**63; got {seed}")
    if kernel_size is not None:
        integer("kernel_size", kernel_size, least=1)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that layers keep their size; got {kernel_size}")
    where = _device(device, made)
    found = Networks(
        activation=made,
        weight=law,
        widths=outputs,
        kernel_size=1 if kernel_size is None else int(kernel_size),
        sigma_w=_scale("sigma_w", sigma_w),
        sigma_b=_scale("sigma_b", sigma_b),
        inputs=_inputs(x, is_image=kernel_size is not None).to(where),
        is_image=kernel_size is not None,
        seed=int(seed),
    )
    if 4 * found.values_per_network > _LARGEST:
        raise ValueError(
            f"widths must let one layer of one network fit 1 GiB; its largest takes "
            f"{4 * found.values_per_network / 2**30:.1f} GiB of widths {_shown(outputs)}"
        )
    return found


def _shown(widths: tuple[int, ...]) -> str:
    text = ", ".join(map(str, widths[:6]))
    return f"[{text}{', ...' if len(widths) > 6 else ''}]"


def _widths(given: object) -> tuple[int, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray) or len(given) == 0:
        raise ValueError(f"widths must be a sequence of positive integers, one a layer; got {given!r}")
    return tuple(integer("each of widths", width, least=1) for width in given)


def _scale(name: str, value: object) -> float:
    number = finite(value)
    if number is None or not 0 <= number <= torch.finfo(torch.float32).max:
        raise ValueError(f"{name} must be a finite number of at least 0, in float32; got {value!r}")
    return number


def _device(given: object, made: Activation) -> torch.device:
    """The device, tried with the activation, which may have parameters elsewhere."""
    try:
        device: torch.device = torch.device("cpu" if given is None else given)  # type: ignore[call-overload]
        tried = torch.zeros(2, dtype=torch.float32, device=device)
        if tried.is_meta:
            raise RuntimeError("it holds no values")
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ValueError(
            f"device must be one that this machine has; got {given!r}: {first_line(error)}"
        ) from error
    try:
        with torch.no_grad():
            made(tried)
    except Exception as error:  # whatever a function of a user may raise
        raise ValueError(
            f"activation must work on the device, {device}; {made.name} raised "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    return device


def _inputs(x: Input, *, is_image: bool) -> torch.Tensor:
    """`(channels, inputs, height, width)` float32."""
    if x is None:
        if is_image:
            raise ValueError("x must be given for convolutions: (C, H, W), or (2, C, H, W); got None")
        return torch.ones(1, 1, 1, 1, dtype=torch.float32, device="cpu")
    values = _numbers(x)
    one = 3 if is_image else 1
    shapes = "(C, H, W), or (2, C, H, W)" if is_image else "a number, (d,), or (2, d)"
    is_pair = values.ndim == one + 1
    is_number = values.ndim == 0 and not is_image
    if values.ndim != one and not is_number and not (is_pair and len(values) == 2):
        how = "with" if is_image else "without"
        raise ValueError(
            f"x must be {shapes} for two inputs, {how} a kernel_size; got shape {tuple(values.shape)}"
        )
    if values.numel() == 0:
        raise ValueError(f"x must not be empty; got shape {tuple(values.shape)}")
    if not bool(torch.isfinite(values).all()):
        raise ValueError("x must be finite in float32; got NaN, infinity or numbers out of its range")
    pair = values if is_pair else values[None]
    return pair.reshape(len(pair), -1, *(pair.shape[-2:] if is_image else (1, 1))).transpose(0, 1)


def _numbers(x: Any) -> torch.Tensor:
    """`x` as float32 on the CPU."""
    try:
        values = x.detach() if isinstance(x, torch.Tensor) else torch.from_numpy(np.array(x))
    except (TypeError, ValueError) as error:
        raise ValueError(f"x must hold real numbers; got {type(x).__name__}: {first_line(error)}") from error
    if values.dtype == torch.bool or values.dtype.is_complex or values.is_meta:
        raise ValueError(f"x must hold real numbers; got dtype {values.dtype} on {values.device}")
    return values.to("cpu", torch.float32)

"""Mean, variance, skewness and excess kurtosis of samples that pass in batches."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import torch

from gaussprobe.errors import ConstantSampleWarning, NonFiniteSampleWarning
from gaussprobe.stats.batch import ArrayLike
from gaussprobe.stats.streaming import central
from gaussprobe.stats.streaming.central import CentralMoments
from gaussprobe.stats.streaming.state import Kind, State, read_entries, read_integer, read_shape

# Below this square of a variance, the fourth powers it is compared with have lost digits.
_SMALLEST_M2_SQUARED = 1e-290


class Moments(NamedTuple):
    """What `StreamingMoments` has seen; tensors in the units' shape, float64 but for the counts.

    Args:
        n_samples: samples of each unit, non-finite ones included.
        mean: in the unit of the data.
        variance: biased (divided by n).
        sd: its root.
        skewness: g1, biased.
        excess_kurtosis: g2, biased.
        minimum: smallest value.
        maximum: largest value.
        nan: int64, how many values of the unit were NaN.
        inf: int64, how many were infinite.
    """

    n_samples: int
    mean: torch.Tensor
    variance: torch.Tensor
    sd: torch.Tensor
    skewness: torch.Tensor
    excess_kurtosis: torch.Tensor
    minimum: torch.Tensor
    maximum: torch.Tensor
    nan: torch.Tensor
    inf: torch.Tensor


class StreamingMoments(State[Moments]):
    """Moments of each unit to order four, of samples that pass in batches.

    `g1 = m3 / m2^(3/2)`, `g2 = m4 / m2^2 - 3` with central moments `m_k = (1/n) sum_i (x_i - mean)^k`.

    Null hypothesis: none; estimates. Under a normal law g1 and g2 are 0 but for sampling.

    Each block of a batch is summed about its own mean, in float32 for float32 and shorter types, and pooled
    in float64, so that an offset costs no digits. The state is 64 bytes for each unit.

    Args:
        num_features: number of units, None to learn it from the first batch.

    Raises:
        ValueError: if `num_features` is no positive integer.

    Reference:
        Pébay (2008), SAND2008-6212; Chan, Golub & LeVeque (1983), Am. Stat. 37; Joanes & Gill
        (1998), The Statistician 47 for g1 and g2.
    """

    minimum = 2

    def __init__(self, num_features: int | None = None) -> None:
        self.num_features = None if num_features is None else read_integer("num_features", num_features, 1)
        self._device: torch.device | None = None
        self._moments: CentralMoments | None = None

    def update(self, x: ArrayLike, dim: int = 0) -> Self:
        """Take a batch of samples; `x` is left as it was and no reference to it is kept.

        A NaN or an infinity makes all moments of its unit NaN from then on, is counted, and disturbs no other
        unit.

        Args:
            x: samples along `dim`, any unit; tensor or array of real numbers. The other dimensions, the
                units, must have one shape in all batches, of `num_features` units where that was given.
            dim: dimension of the samples.

        Returns:
            The state itself.

        Raises:
            ValueError: for an `x` or a `dim` that cannot be used, or another shape or number of units.
        """
        batch = self._admit(x, dim)
        self._check_units(batch.shape, "x")
        self._take([central.moments_of(batch.values)])
        self._shape = batch.shape
        return self

    def _check_units(self, shape: tuple[int, ...], what: str) -> None:
        if self.num_features is not None and math.prod(shape) != self.num_features:
            raise ValueError(
                f"{what} must have {self.num_features} features; got {math.prod(shape)} (shape {shape})"
            )

    def _take(self, new: list[CentralMoments]) -> None:
        known = [] if self._moments is None else [self._moments]
        device = self._device or (known + new)[0].mean.device
        self._moments = central.pool([part.to(device) for part in known + new])

    def _merge(self, parts: Sequence[Self]) -> None:
        for part in parts:
            if part._shape is not None:
                self._check_units(part._shape, "others")
        new = [part._moments for part in parts if part._moments is not None]
        if new:
            self._take(new)

    def compute(self) -> Moments:
        """Moments of all samples so far.

        Returns:
            `Moments`. Units that had a NaN or an infinity are NaN throughout but for their counts. Skewness
            and kurtosis are NaN for constant units, where there are fewer than 2 samples, and for float64
            data whose fourth powers leave the range of float64, variance and sd are infinite where squares
            do; without samples everything is NaN. Each
            comes with a warning.
        """
        moments = self._moments
        if moments is None:
            self._warn_too_few(0, "the result is NaN")
            shape = self._shape or (self.num_features or 0,)
            values = torch.full((7, *shape), torch.nan, dtype=torch.float64, device=self._device)
            counts = torch.zeros((2, *shape), dtype=torch.int64, device=self._device)
            return Moments._make([0, *values, *counts])
        n = moments.n
        variance = moments.m2 / n
        sd = torch.sqrt(variance)
        g1 = moments.m3 / n / (variance * sd)
        g2 = moments.m4 / n / (variance * variance) - 3
        bad = (moments.nan + moments.inf) > 0
        constant = (moments.low == moments.high) & ~bad
        in_range = torch.isfinite(moments.m4) & (variance * variance > _SMALLEST_M2_SQUARED)
        unusable = ~in_range | constant
        if n < self.minimum:
            self._warn_too_few(n, "skewness and excess kurtosis are NaN")
        else:
            self._warn(constant, "no variance: their skewness and kurtosis are NaN", ConstantSampleWarning)
            beyond = ~(in_range | constant | bad)
            self._warn(
                beyond,
                "powers out of float64's range: their skewness and kurtosis are NaN",
                NonFiniteSampleWarning,
            )
        self._warn(bad, "NaN or infinite values: their result is NaN", NonFiniteSampleWarning)
        fields = (
            *(moments.mean, variance, sd),
            *(torch.where(unusable, torch.nan, g1), torch.where(unusable, torch.nan, g2)),
            *(moments.low, moments.high, moments.nan, moments.inf),
        )
        assert self._shape is not None
        # Clones: what the caller does with a result must not reach the state.
        return Moments._make([n, *(field.clone().reshape(self._shape) for field in fields)])

    def _warn(self, flags: torch.Tensor, what: str, category: type[Warning]) -> None:
        count = int(flags.sum())
        if count:
            warnings.warn(
                f"StreamingMoments: {count} of {len(flags)} samples have {what}", category, stacklevel=3
            )

    def reset(self) -> Self:
        """Forget all samples, and the shape of the units; returns the state itself."""
        self._moments = self._shape = None
        return self

    def state_dict(self) -> dict[str, Any]:
        """What was seen, as tensors and plain numbers that `torch.load(weights_only=True)` accepts."""
        moments = self._moments
        empty = torch.zeros(0, dtype=torch.float64)
        tensors = dict.fromkeys(central.NAMES, empty) if moments is None else moments.tensors()
        return {
            "n_samples": 0 if moments is None else moments.n,
            "shape": None if self._shape is None else list(self._shape),
            **{name: tensor.clone() for name, tensor in tensors.items()},
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Self:
        """Go on from a `state_dict()`, replacing what was seen.

        Raises:
            ValueError: for a dict that no state of this kind and this number of units gives.
        """
        kinds: dict[str, Kind] = {
            "n_samples": int,
            "shape": (list, tuple, type(None)),
            **dict.fromkeys(central.NAMES, torch.Tensor),
        }
        n, shape, *tensors = read_entries(state_dict, kinds)
        shape = read_shape(shape)
        if (n > 0) != (shape is not None) or n < 0:
            raise ValueError(f"state_dict['n_samples'] does not go with shape {shape}; got {n}")
        if shape is None:
            return self.reset()
        self._check_units(shape, "state_dict['shape']")
        columns = {}
        for name, tensor in zip(central.NAMES, tensors, strict=True):
            dtype = torch.int64 if name in ("nan", "inf") else torch.float64
            if tensor.dtype != dtype or tensor.shape != (math.prod(shape),):
                raise ValueError(
                    f"state_dict[{name!r}] must be {dtype} of shape ({math.prod(shape)},); "
                    f"got {tensor.dtype} of shape {tuple(tensor.shape)}"
                )
            columns[name] = tensor.detach().to(self._device or tensor.device, copy=True)
        self._moments, self._shape = CentralMoments(n=n, **columns), shape
        return self

    def to(self, device: torch.device | str) -> Self:
        """Move the state to a device, where it stays; returns the state itself.

        Without this it stays where the first batch was. Batches are summed where they are.
        """
        self._device = torch.device(device)
        if self._moments is not None:
            self._moments = self._moments.to(self._device)
        return self

"""What every streaming state is: a thin shell over values that are replaced, never written to."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar

import numpy as np
import torch

from gaussprobe.errors import TooFewSamplesWarning
from gaussprobe.stats.batch import ArrayLike, Batch, check

Result = TypeVar("Result")
Kind: TypeAlias = "type | tuple[type, ...]"

LARGEST = 2**63 - 1


class State(ABC, Generic[Result]):
    """State of a statistic of samples that pass in batches.

    The tensors of a state are replaced and never written to, so that a copy, also a shallow one, is a state
    of its own. Whatever raises leaves the state as it was.
    """

    minimum: ClassVar[int]
    _shape: tuple[int, ...] | None = None

    @abstractmethod
    def update(self, x: ArrayLike, dim: int = 0) -> Self:
        """Take a batch of samples; `x` is left as it was and no reference to it is kept.

        Args:
            x: samples along `dim`, any unit; tensor or array of real numbers. The other dimensions, the
                units, must have one shape in all batches.
            dim: dimension of the samples.

        Returns:
            The state itself.

        Raises:
            ValueError: for an `x` or a `dim` that cannot be used, or units of another shape.
        """

    def merge(self, others: Iterable[Self]) -> Self:
        """Take in what other states of the same kind have seen; they are left as they were.

        Args:
            others: states that saw other samples, such as those of other processes.

        Returns:
            The state itself.

        Raises:
            ValueError: for what is not a state of this class, or one that does not fit.
        """
        if isinstance(others, State) or not isinstance(others, Iterable):
            raise ValueError(f"others must be an iterable of states; got {type(others).__name__}")
        parts = list(others)
        for part in parts:
            if type(part) is not type(self):
                raise ValueError(f"others must hold only {type(self).__name__}; got {type(part).__name__}")
        shape = self._shape
        for part in parts:
            if shape is None:
                shape = part._shape
            elif part._shape is not None and part._shape != shape:
                raise ValueError(f"others must have units of shape {shape}; got {part._shape}")
        self._merge(parts)
        self._shape = shape
        return self

    @abstractmethod
    def _merge(self, parts: Sequence[Self]) -> None:
        """Take in parts of the right class and shape, all or none."""

    @abstractmethod
    def compute(self) -> Result:
        """The statistic of all samples so far; the state is left as it was."""

    @abstractmethod
    def reset(self) -> Self:
        """Forget all samples; returns the state itself."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What was seen, as tensors and plain numbers that `torch.load(weights_only=True)` accepts."""

    @abstractmethod
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Self:
        """Go on from a `state_dict()`, replacing what was seen.

        Raises:
            ValueError: for a dict that no state of this kind and these options gives.
        """

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """Move the state to a device, where it stays; returns the state itself."""

    def _admit(self, x: ArrayLike, dim: int) -> Batch:
        """`x` as columns, once it is known that its units are those of this state."""
        batch = check(x, dim)
        if self._shape is not None and batch.shape != self._shape:
            raise ValueError(f"x must have units of shape {self._shape} in every batch; got {batch.shape}")
        return batch

    def _warn_too_few(self, n: int, result: str) -> None:
        """To be called by `compute`, whose caller it names."""
        warnings.warn(
            f"{type(self).__name__} needs at least {self.minimum} samples; got {n}: {result}",
            TooFewSamplesWarning,
            stacklevel=3,
        )


def read_integer(name: str, value: object, least: int) -> int:
    """An option that is a number of something.

    Raises:
        ValueError: if it is no integer from `least` to 2^63 - 1.
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and least <= value <= LARGEST:
        return int(value)
    raise ValueError(f"{name} must be an integer from {least} to 2^63 - 1; got {value!r}")


def read_entries(state_dict: Mapping[str, Any], kinds: Mapping[str, Kind]) -> list[Any]:
    """Entries of a state_dict in the order of `kinds`, each of its type.

    Raises:
        ValueError: if one is missing, too many, or of another type.
    """
    if not isinstance(state_dict, Mapping) or set(state_dict) != set(kinds):
        got = sorted(map(str, state_dict)) if isinstance(state_dict, Mapping) else type(state_dict).__name__
        raise ValueError(f"state_dict must have the keys {', '.join(sorted(kinds))}; got {got}")
    for name, kind in kinds.items():
        value = state_dict[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"state_dict[{name!r}] cannot be a {type(value).__name__}")
    return [state_dict[name] for name in kinds]


def read_shape(value: Sequence[int] | None) -> tuple[int, ...] | None:
    """Shape of the units as a state_dict holds it: a list, or None before the first batch.

    Raises:
        ValueError: if it is no shape.
    """
    if value is None:
        return None
    if not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in value):
        raise ValueError(f"state_dict['shape'] must be a list of positive integers; got {value}")
    return tuple(value)

"""What a user gives and gets: arrays and tensors checked, results in their shape, warnings."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch

from gaussprobe.errors import ConstantSampleWarning, NonFiniteSampleWarning, TooFewSamplesWarning
from gaussprobe.stats.ordered import Null, OrderedSample, RowFunction, constant, nonfinite, order
from gaussprobe.stats.pieces import Asked, measure_all
from gaussprobe.types import GofResult

ArrayLike: TypeAlias = "torch.Tensor | npt.NDArray[Any]"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a user gave, as columns, and how to hand results back.

    Args:
        values: `(n, C)`.
        shape: shape of the batch: the input's without `dim`.
        is_array: whether results go back as numpy arrays.
        tracked: the columns with their graph, if the input requires a gradient.
    """

    values: torch.Tensor
    shape: tuple[int, ...]
    is_array: bool
    tracked: torch.Tensor | None = None

    @property
    def n_samples(self) -> int:
        """n."""
        return int(self.values.shape[0])

    def give_back(self, result: torch.Tensor) -> Any:
        """`(C,)` in the batch's shape, as a tensor or an array (a scalar for a batch of one)."""
        shaped = result.reshape(self.shape)
        return shaped.cpu().numpy()[()] if self.is_array else shaped

    def gof(self, statistic: torch.Tensor, pvalue: torch.Tensor) -> GofResult:
        """A test's result in the batch's shape."""
        return GofResult(
            statistic=self.give_back(statistic),
            pvalue=self.give_back(pvalue),
            n_samples=self.n_samples,
        )

    def with_gradient(
        self, result: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor], null: Null = "composite"
    ) -> torch.Tensor:
        """`result`, or `function` of the standardised columns if the input requires a gradient: it has one.

        Args:
            result: `(C,)`.
            function: of `(n, C)`, standardised with divisor n, gives `(C,)`.
            null: if simple, the columns are taken as they stand.
        """
        if self.tracked is None:
            return result
        z = self.tracked
        if z.dtype not in (torch.float32, torch.float64):
            z = z.to(torch.float32)
        if null == "composite":
            z = z - z.mean(dim=0)
            z = z / z.square().mean(dim=0).sqrt()
        return torch.where(result.isnan(), torch.nan, function(z).to(torch.float64))


def check(x: ArrayLike, dim: int) -> Batch:
    """Columns of `x`, samples along `dim`.

    Raises:
        ValueError: if `x` is not a tensor or an array of real numbers with at least one value, or `dim` is
            not one of its dimensions.
    """
    is_array = not isinstance(x, torch.Tensor)
    tensor = x if isinstance(x, torch.Tensor) else _from_array(x)
    if tensor.layout != torch.strided or tensor.is_nested:
        raise ValueError(f"x must be a dense tensor; got layout {tensor.layout}")
    if tensor.is_meta or tensor.is_quantized:
        what = "one without values, on the meta device" if tensor.is_meta else f"dtype {tensor.dtype}"
        raise ValueError(f"x must hold real numbers; got {what}")
    if tensor.dtype == torch.bool or tensor.dtype.is_complex:
        raise ValueError(f"x must hold real numbers; got dtype {tensor.dtype}")
    if tensor.ndim == 0:
        raise ValueError("x must have at least one dimension; got a single number")
    if tensor.numel() == 0:
        raise ValueError(f"x must not be empty; got shape {tuple(tensor.shape)}")
    if isinstance(dim, bool) or not isinstance(dim, int | np.integer):
        raise ValueError(f"dim must be an integer; got {dim!r}")
    if not -tensor.ndim <= dim < tensor.ndim:
        raise ValueError(
            f"dim must be from {-tensor.ndim} to {tensor.ndim - 1} "
            f"for x of shape {tuple(tensor.shape)}; got {dim}"
        )
    front = tensor.movedim(int(dim), 0)
    columns = front.reshape(front.shape[0], -1)
    return Batch(
        values=columns.detach(),
        shape=tuple(front.shape[1:]),
        is_array=is_array,
        tracked=columns if columns.requires_grad else None,
    )


def _from_array(x: npt.NDArray[Any]) -> torch.Tensor:
    if isinstance(x, np.ma.MaskedArray):
        raise ValueError("x must not be a masked array: drop the masked values first; got a masked array")
    try:
        array = np.asarray(x)
    except ValueError as error:  # lists of unequal length
        raise ValueError(f"x must be a tensor or an array; got what makes no array: {error}") from None
    if array.dtype.kind not in "fiu":
        raise ValueError(f"x must hold real numbers; got dtype {array.dtype}")
    if array.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        array = array.astype(np.float64)
    # torch takes neither negative strides nor, without a warning, read-only memory.
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def known_name(argument: str, value: object, known: Collection[str]) -> None:
    """Refuse what is none of the names there are.

    Raises:
        ValueError: naming the argument, the names, what came, and the name nearest to it.
    """
    if not isinstance(value, str):
        came = repr(value) if value is None else f"a {type(value).__name__}"
        raise ValueError(f"{argument} must be among {', '.join(known)}; got {came}")
    if value not in known:
        near = difflib.get_close_matches(value, known, n=1, cutoff=0.0)[0]
        raise ValueError(
            f"{argument} must be among {', '.join(known)}; got {value!r}: did you mean {near!r}?"
        )


def known_null(null: str) -> None:
    """Refuse what is not a null hypothesis.

    Raises:
        ValueError: if `null` is neither `"composite"` nor `"simple"`.
    """
    if null not in get_args(Null):
        raise ValueError(f"null must be one of {', '.join(get_args(Null))}; got {null!r}")


def prepare(x: ArrayLike, dim: int, *, name: str, minimum: int) -> tuple[Batch, OrderedSample]:
    """Check, sort the whole, and warn of what will be NaN.

    Raises:
        ValueError: as `check`.
    """
    batch = check(x, dim)
    sample = order(batch.values)
    _warn(sample.constant, sample.nonfinite, sample.n_samples, name=name, minimum=minimum)
    return batch, sample


def measure(
    x: ArrayLike,
    dim: int,
    functions: Mapping[str, RowFunction],
    *,
    name: str,
    minimum: int,
    null: Null = "composite",
    in_order: bool = True,
) -> tuple[Batch, dict[str, torch.Tensor]]:
    """Check, compute piece by piece, and warn of what is NaN: the first line of every public statistic.

    Nothing of the size of `x` is kept: a piece is sorted, `functions` are taken of it, and it is let go.

    Args:
        x, dim, null: as the user gave them.
        functions: of an `OrderedSample`, `(c,)` float64 each; those given here may share what they compute.
        name: of the public function, for warnings.
        minimum: fewest samples it takes.
        in_order: False for functions that do not need sorted samples.

    Returns:
        The batch, and what each of `functions` gives, `(C,)`.

    Raises:
        ValueError: as `check`; for an unknown `null`.
    """
    known_null(null)
    batch = check(x, dim)
    asked = Asked(
        values=batch.values,
        functions={**functions, "constant": constant, "nonfinite": nonfinite},
        null=null,
        in_order=in_order,
        light=len(functions) == 1,
    )
    found = measure_all([asked])[0]
    _warn(found.pop("constant"), found.pop("nonfinite"), batch.n_samples, name=name, minimum=minimum)
    return batch, found


def _warn(
    constant: torch.Tensor, nonfinite: torch.Tensor, n_samples: int, *, name: str, minimum: int
) -> None:
    level = 4  # the caller of the public function
    if n_samples < minimum:
        warnings.warn(
            f"{name} needs at least {minimum} samples; got {n_samples}: the result is NaN",
            TooFewSamplesWarning,
            stacklevel=level,
        )
        return
    for flags, what, category in (
        (nonfinite, "NaN or infinite values", NonFiniteSampleWarning),
        (constant, "no variance", ConstantSampleWarning),
    ):
        count = int(flags.sum())
        if count:
            warnings.warn(
                f"{name}: {count} of {len(flags)} samples have {what}: their result is NaN",
                category,
                stacklevel=level,
            )

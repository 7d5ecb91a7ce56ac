"""Inputs: batches that can be walked, what they are, and how whole datasets are cast and split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from gaussprobe.errors import DataError, GaussprobeError
from gaussprobe.models.archive import first_line
from gaussprobe.models.batches import leaves, map_tensors, unwrapped

DEFAULT_BATCH_SIZE = 128


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Batches for a model, and what a report must say about them.

    Args:
        batches: walked once per scan; walked again only when the source allows it.
        n_examples: examples in all batches, None when not known beforehand.
        description: the `data` object of `scan --json`.
    """

    batches: Iterable[Any]
    n_examples: int | None
    description: dict[str, Any] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know about the inputs."""
        return tuple(self.description.get("notes", ()))


def describe(
    source: str,
    kind: str,
    *,
    n_examples: int | None,
    batch_size: int | None,
    notes: Iterable[str],
    synthetic: bool = False,
) -> dict[str, Any]:
    """The `data` object of `scan --json`."""
    return {
        "source": source,
        "kind": kind,
        "synthetic": synthetic,
        "n_examples": n_examples,
        "batch_size": batch_size,
        "notes": list(notes),
    }


def checked_batch_size(batch_size: int | None) -> int:
    """The batch size, or the default for None.

    Raises:
        ValueError: if it is not a positive integer.
    """
    if batch_size is None:
        return DEFAULT_BATCH_SIZE
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer; got {batch_size!r}")
    return batch_size


class SplitDataset:
    """A whole dataset, split along its leading dimension; can be walked any number of times.

    Args:
        data: tensors in plain containers, all with the same leading dimension.
        batch_size: examples per batch; the last batch may be smaller.
    """

    def __init__(self, data: Any, batch_size: int) -> None:
        self.data = data
        self.batch_size = batch_size
        self.n_examples = int(next(leaves(data)).shape[0])

    def __len__(self) -> int:
        return -(-self.n_examples // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, self.n_examples, self.batch_size):
            yield map_tensors(lambda tensor, start=start: tensor[start : start + self.batch_size], self.data)  # type: ignore[misc]


class CheckedBatches:
    """An iterable of batches, in which emptiness and exceptions become errors that name the source.

    Args:
        batches: the iterable; a generator can be walked once.
        source: how messages name it.
        wrap: whether exceptions other than gaussprobe's become `DataError`.
        convert: applied to each batch.
    """

    def __init__(
        self, batches: Iterable[Any], source: str, *, wrap: bool, convert: Callable[[Any], Any] | None = None
    ) -> None:
        self.batches = batches
        self.source = source
        self.wrap = wrap
        self.convert = convert
        self._walked = False

    def __iter__(self) -> Iterator[Any]:
        if self._walked and isinstance(self.batches, Iterator):
            raise DataError(
                f"{self.source}: a generator can be walked only once: give a list or a DataLoader"
            )
        self._walked = True
        count = 0
        try:
            for batch in self.batches:
                count += 1
                yield batch if self.convert is None else self.convert(batch)
        except GaussprobeError as error:
            raise type(error)(f"{self.source}: batch {count}: {error}") from error
        except Exception as error:
            if not self.wrap:
                raise
            raise DataError(
                f"{self.source}: reading batch {count + 1} failed: {first_line(error)}"
            ) from error
        if not count:
            raise DataError(f"{self.source}: gave no batches")


def check_dataset(data: Any, source: str) -> int:
    """The number of examples of a whole dataset.

    Raises:
        DataError: if it is empty, has no leading dimension, or its parts differ in length.
    """
    parts = list(leaves(data))
    if not parts:
        raise DataError(f"{source}: holds no tensor")
    if any(part.dim() == 0 for part in parts):
        raise DataError(
            f"{source}: holds a single number (a 0-d tensor): give examples along the first dimension"
        )
    lengths = [int(part.shape[0]) for part in parts]
    if len(set(lengths)) > 1:
        raise DataError(f"{source}: its parts differ in length ({', '.join(map(str, lengths))} examples)")
    if lengths[0] == 0 or any(part.numel() == 0 for part in parts):
        raise DataError(f"{source}: holds no examples (shape {tuple(parts[0].shape)})")
    if any(part.layout is not torch.strided or part.is_quantized for part in parts):
        raise DataError(f"{source}: holds a sparse or quantized tensor: give a dense one")
    return lengths[0]


def float_dtype(module: nn.Module) -> torch.dtype:
    """The dtype of the model's first floating parameter or buffer, float32 when it has none."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            return tensor.dtype
    return torch.get_default_dtype()


def first_parametric(module: nn.Module) -> nn.Module | None:
    """The first module in registration order that has parameters of its own."""
    for child in unwrapped(module).modules():
        if any(parameter is not None for parameter in child._parameters.values()):
            return child
    return None


def sequence_first(module: nn.Module) -> bool:
    """Whether the model begins with a recurrent or attention layer that keeps the batch second."""
    first = first_parametric(module)
    return isinstance(first, nn.RNNBase | nn.MultiheadAttention) and not first.batch_first


def takes_ids(module: nn.Module) -> bool:
    """Whether the model's first parametric layer looks up integers."""
    return isinstance(first_parametric(module), nn.Embedding | nn.EmbeddingBag)


def cast(data: Any, module: nn.Module) -> tuple[Any, list[str]]:
    """Data from a file in the dtypes the model takes.

    Floating inputs take the dtype of the model's first floating parameter. Integers stay integers (as int64)
    for a model that begins with an Embedding, and become floats for any other. A model that begins with an
    Embedding is given floats without a fraction as int64.

    Args:
        data: tensors in plain containers.
        module: the model.

    Returns:
        The data, and notes on what was changed beyond the precision of floats, NaN and infinity counted.
    """
    wanted = float_dtype(module)
    ids = takes_ids(module)
    notes: dict[str, None] = {}
    nan = inf = total = 0

    def convert(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal nan, inf, total
        if tensor.dtype == torch.bool or tensor.is_complex():
            return tensor
        if not tensor.is_floating_point():
            if ids:
                return tensor if tensor.dtype in (torch.int32, torch.int64) else tensor.to(torch.int64)
            notes[f"integers ({_name(tensor.dtype)}) were cast to {_name(wanted)}, unscaled"] = None
            return tensor.to(wanted)
        finite = torch.isfinite(tensor)
        missing = int(torch.isnan(tensor).sum())
        nan += missing
        inf += tensor.numel() - int(finite.sum()) - missing
        total += tensor.numel()
        if ids and bool(finite.all()) and bool((tensor == tensor.round()).all()):
            notes["whole numbers were cast to int64, as the model begins with an Embedding"] = None
            return tensor.to(torch.int64)
        return tensor.to(wanted)

    converted = map_tensors(convert, data)
    for count, name in ((nan, "NaN"), (inf, "infinite")):
        if count:
            notes[f"{count:,} of {total:,} values are {name}"] = None
    return converted, list(notes)


def split_dataset(
    data: Any, module: nn.Module, *, source: str, kind: str, batch_size: int | None, notes: Iterable[str] = ()
) -> Inputs:
    """Inputs from a whole dataset: checked, cast and split.

    Raises:
        DataError: as `check_dataset`.
        ValueError: if `batch_size` is not a positive integer.
    """
    size = checked_batch_size(batch_size)
    n_examples = check_dataset(data, source)
    converted, more = cast(data, module)
    return Inputs(
        batches=SplitDataset(converted, min(size, n_examples)),
        n_examples=n_examples,
        description=describe(
            source, kind, n_examples=n_examples, batch_size=min(size, n_examples), notes=[*notes, *more]
        ),
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

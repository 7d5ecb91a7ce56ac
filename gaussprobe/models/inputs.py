"""Inputs: batches that can be walked, what they are, and how whole datasets are cast and split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from gaussprobe.errors import DataError, GaussprobeError
from gaussprobe.models.batches import leaves, map_tensors
from gaussprobe.models.dtypes import Caster
from gaussprobe.models.layers import misfit
from gaussprobe.models.wording import first_line

DEFAULT_BATCH_SIZE = 128


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Batches for a model, and what a report must say about them.

    Args:
        batches: walked once per scan; walked again only when the source allows it.
        n_examples: examples in all batches, None when not known beforehand.
        groups: a label for each example where the source has them, as crops of one photograph share one.
        description: the `data` object of `scan --json`.
    """

    batches: Iterable[Any]
    n_examples: int | None
    groups: Any = None
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
        batches = None
        while True:
            # Nothing is yielded inside: what is raised here is the data's own doing, not the walker's.
            try:
                batches = iter(self.batches) if batches is None else batches
                batch = next(batches)
            except StopIteration:
                break
            except GaussprobeError as error:
                raise type(error)(f"{self.source}: batch {count + 1}: {error}") from error
            except (Exception, SystemExit, GeneratorExit) as error:
                if not self.wrap and not isinstance(error, GeneratorExit):
                    raise
                raise DataError(
                    f"{self.source}: reading batch {count + 1} failed: {first_line(error)}"
                ) from error
            count += 1
            try:
                converted = batch if self.convert is None else self.convert(batch)
            except GaussprobeError as error:
                raise type(error)(f"{self.source}: batch {count}: {error}") from error
            yield converted
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


def whole_batches(data: Any, module: nn.Module, batch_size: int | None) -> tuple[Any, int, list[str]]:
    """A dataset and the size of its batches; a program for one batch size gets nothing but such batches.

    Args:
        data: a checked dataset.
        module: the model; a program says `fixed_batch` where it takes no other.
        batch_size: what the user asked for, None for the program's own, else the default.

    Returns:
        The dataset, without the surplus such a program cannot take, the batch size, and a note on it.

    Raises:
        ValueError: if `batch_size` is not a positive integer.
    """
    fixed = getattr(module, "fixed_batch", None)
    size = checked_batch_size(fixed if batch_size is None else batch_size)
    n_examples = int(next(leaves(data)).shape[0])
    surplus = n_examples % size if size == fixed and n_examples > size else 0
    if not surplus:
        return data, size, []
    kept = map_tensors(lambda tensor: tensor[: n_examples - surplus], data)
    return kept, size, [f"the last {surplus} examples were left out: the program takes batches of {fixed}"]


def split_dataset(
    data: Any, module: nn.Module, *, source: str, kind: str, batch_size: int | None, notes: Iterable[str] = ()
) -> Inputs:
    """Inputs from a whole dataset: checked, cast and split.

    Raises:
        DataError: as `check_dataset`, or if they surely do not fit the model's first layer.
        ValueError: if `batch_size` is not a positive integer.
    """
    check_dataset(data, source)
    data, size, left_out = whole_batches(data, module, batch_size)
    notes = [*notes, *left_out]
    n_examples = check_dataset(data, source)
    converted, more = Caster(module)(data)
    problem = misfit(converted, module, source=source, batch_size=min(size, n_examples))
    if problem is not None:
        raise DataError(problem)
    return Inputs(
        batches=SplitDataset(converted, min(size, n_examples)),
        n_examples=n_examples,
        description=describe(
            source, kind, n_examples=n_examples, batch_size=min(size, n_examples), notes=[*notes, *more]
        ),
    )

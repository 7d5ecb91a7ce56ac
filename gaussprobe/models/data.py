"""A file, a `pkg.mod:fn` or a Python object in, batches out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from gaussprobe.errors import DataError
from gaussprobe.models import factory as factories
from gaussprobe.models import readers
from gaussprobe.models.batches import TARGET_NAMES, ForwardParameters, as_tensors
from gaussprobe.models.companions import GROUP_NAMES, split_groups
from gaussprobe.models.dtypes import Caster, number_bytes
from gaussprobe.models.images import ImageOptions, open_images
from gaussprobe.models.inputs import (
    CheckedBatches,
    Inputs,
    SplitDataset,
    check_dataset,
    checked_batch_size,
    describe,
    split_dataset,
    whole_batches,
)
from gaussprobe.models.layers import certain_first, first_parametric, title_of
from gaussprobe.models.sniff import FileKind, sniff
from gaussprobe.models.texts import has_tokenizer, open_texts
from gaussprobe.models.wording import listed, printable

INPUT_NAMES = ("x", "X", "inputs", "input", "images", "image", "data", "features")
_ACCEPTED = "give a .pt, .npy, .npz or numeric .csv file, a folder of images, or pkg.mod:fn"
_TABLES = (".csv", ".tsv")
_WAYS_OUT = {
    FileKind.MISSING: f"there is no such file, and it is not of the form pkg.mod:fn: {_ACCEPTED}",
    FileKind.UNREADABLE: "cannot be read: check its permissions",
    FileKind.SPECIAL: f"is not a regular file: {_ACCEPTED}",
    FileKind.EMPTY: "is an empty file: was the download or the copy cut short?",
    FileKind.PICKLE: "is a plain Python pickle, which runs code: save tensors with torch.save or numpy.save",
    FileKind.LFS_POINTER: "is a git-lfs pointer, not the file itself: run git lfs pull",
    FileKind.GZIP: "is a gzip file: unpack it first",
    FileKind.ZIP: f"is truncated, or a zip archive that holds no arrays: {_ACCEPTED}",
}


def open_data(
    source: str | Path,
    *,
    module: nn.Module,
    batch_size: int | None = None,
    folder: Path | None = None,
    images: ImageOptions | None = None,
) -> Inputs:
    """Batches from a file, a folder or `pkg.mod:fn`.

    Args:
        source: a `.pt`, `.npy`, `.npz` or numeric CSV file, told by its content; a folder of images; lines of
            text for a model with a tokenizer; or `pkg.mod:fn` whose function returns a tensor, a dict of
            tensors, or an iterable of batches. A column of a CSV file named y, label, labels, target or
            targets is the target, and is dropped.
        module: the model the batches are for: it decides dtypes and names.
        batch_size: examples per batch for whole datasets, 128 when None (32 for images and texts).
        folder: the model's own directory, with its tokenizer and settings; None when it has none.
        images: how a folder of images is prepared.

    Returns:
        The inputs.

    Raises:
        DataError: if they cannot be read, are empty, or do not fit the model's `forward`.
        FactoryError: if `pkg.mod:fn` cannot be imported or called.
        MissingExtraError: if the package that reads them is not installed.
        ValueError: if an argument is out of its range.
    """
    checked_batch_size(batch_size)
    if not isinstance(source, str | Path) or not str(source):
        raise ValueError(f"source must be a path or 'pkg.mod:fn'; got {type(source).__name__}")
    name = str(source)
    path = Path(source)
    kind = sniff(source)
    if kind in (FileKind.DIRECTORY, FileKind.HUGGINGFACE):
        return open_images(
            path, module=module, source=name, batch_size=batch_size, options=images, folder=folder
        )
    if images is not None and images.given:
        raise DataError(f"{name}: --image-size, --mean and --std are for a folder of images, which it is not")
    finish = partial(split_dataset, module=module, source=name, batch_size=batch_size)
    if kind is FileKind.MISSING and factories.is_reference(name):
        return _from_function(name, module=module, batch_size=batch_size)
    if kind is FileKind.NPY:
        return finish(as_tensors(readers.read_npy(path, name)), kind="npy")
    if kind is FileKind.NPZ:
        arrays = as_tensors(readers.read_npz(path, name, width=number_bytes(module)))
        return _named(arrays, module, name, partial(finish, kind="npz"))
    if kind is FileKind.TEXT and path.suffix.lower() not in _TABLES and has_tokenizer(folder):
        assert folder is not None
        return open_texts(path, folder=folder, module=module, source=name, batch_size=batch_size)
    if kind is FileKind.TEXT:
        data, notes = _numbers(path, name, module)
        return finish(data, kind="csv", notes=notes)
    if kind in (FileKind.TORCH_ZIP, FileKind.TORCH_LEGACY):
        content = readers.read_pt(path, kind, name, width=number_bytes(module))
        return _from_content(content, module, name, batch_size)
    raise DataError(f"{name}: {_WAYS_OUT.get(kind, f'is {kind}, which holds no inputs: {_ACCEPTED}')}")


def from_python(batches: Any, *, module: nn.Module, batch_size: int | None = None) -> Inputs:
    """Batches handed in from Python.

    Args:
        batches: a tensor, an array, or a dict or tuple of tensors (a whole dataset, split); a DataLoader, a
            list or any iterable of batches (taken as they are).
        module: the model the batches are for.
        batch_size: examples per batch for whole datasets, 128 when None.

    Returns:
        The inputs.

    Raises:
        DataError: if there is nothing in them.
        ValueError: if `batches` is none of these, or `batch_size` is not a positive integer.
    """
    checked_batch_size(batch_size)
    if isinstance(batches, str | Path):
        return open_data(batches, module=module, batch_size=batch_size)
    if isinstance(batches, Inputs):
        return batches
    return _from_object(batches, module, "Python", batch_size, wrap=False)


def _from_function(reference: str, *, module: nn.Module, batch_size: int | None) -> Inputs:
    returned = factories.call(reference)
    try:
        return _from_object(returned, module, reference, batch_size, wrap=True)
    except ValueError as error:
        raise DataError(f"{reference}: returned {type(returned).__name__!r}: {_RETURNS}") from error


_RETURNS = "it must return a tensor, a dict of tensors, or an iterable of batches"


def _from_object(value: Any, module: nn.Module, source: str, batch_size: int | None, *, wrap: bool) -> Inputs:
    """Inputs from a live object; its tensors keep their dtypes, arrays are cast to the model's."""
    if _is_array(value) or _is_dataset(value, module):
        kind = (
            "tensor"
            if torch.is_tensor(value)
            else "array"
            if isinstance(value, np.ndarray)
            else type(value).__name__
        )
        tensors, notes = Caster(module, arrays_only=True)(value)
        if isinstance(tensors, dict):
            tensors, more = _without_targets(tensors, module)
            notes = [*notes, *more]
        return _split_as_is(tensors, module, source, kind, batch_size, notes)
    if isinstance(value, Mapping | str | bytes | type) or not isinstance(value, Iterable):
        if isinstance(value, Dataset):
            raise DataError(
                f"{source}: is a Dataset of single examples: wrap it in torch.utils.data.DataLoader"
            )
        if isinstance(value, Mapping):
            raise DataError(
                f"{source}: a dict must hold tensors only; got {', '.join(_kinds(value)) or 'nothing'}"
            )
        raise ValueError(
            f"batches must be a tensor, an array, a dict of tensors or an iterable of batches; "
            f"got {type(value).__name__}"
        )
    if isinstance(value, list | tuple) and not value:
        raise DataError(f"{source}: gave no batches")
    known = getattr(value, "batch_size", None) if isinstance(value, DataLoader) else None
    description = describe(source, "batches", n_examples=None, batch_size=known, notes=())
    caster = Caster(module, arrays_only=True)

    def convert(batch: Any) -> Any:
        converted, notes = caster(batch)
        # Counts of NaN differ from batch to batch; a cast is the same for all.
        said = description["notes"]
        said.extend(note for note in notes if "cast" in note and note not in said)
        return converted

    return Inputs(
        batches=CheckedBatches(value, source, wrap=wrap, convert=convert),
        n_examples=None,
        description=description,
    )


def _split_as_is(
    tensors: Any, module: nn.Module, source: str, kind: str, batch_size: int | None, notes: list[str]
) -> Inputs:
    check_dataset(tensors, source)
    tensors, size, left_out = whole_batches(tensors, module, batch_size)
    n_examples, notes = check_dataset(tensors, source), [*notes, *left_out]
    size = min(size, n_examples)
    return Inputs(
        batches=SplitDataset(tensors, size),
        n_examples=n_examples,
        description=describe(source, kind, n_examples=n_examples, batch_size=size, notes=notes),
    )


def _from_content(content: Any, module: nn.Module, name: str, batch_size: int | None) -> Inputs:
    """Inputs from what a torch file holds."""
    finish = partial(split_dataset, module=module, source=name, kind="pt", batch_size=batch_size)
    if torch.is_tensor(content):
        return finish(content.detach())
    if isinstance(content, Mapping):
        if content and all(isinstance(key, str) and torch.is_tensor(each) for key, each in content.items()):
            return _named({key: each.detach() for key, each in content.items()}, module, name, finish)
        raise DataError(
            f"{name}: holds a dict of {', '.join(_kinds(content)) or 'nothing'}: save a dict of tensors"
        )
    if isinstance(content, list | tuple):
        if not content:
            raise DataError(f"{name}: holds an empty {type(content).__name__}")
        if not all(torch.is_tensor(each) for each in content):
            raise DataError(f"{name}: holds a {type(content).__name__} of {_plural(content)}: save tensors")
        parts = tuple(each.detach() for each in content)
        if isinstance(content, list) and not _is_positional(parts, module):
            total = sum(check_dataset(part, name) for part in parts)
            caster = Caster(module)
            cast = [caster(part) for part in parts]
            batches = [batch for batch, _ in cast]
            notes = [f"a list of {len(parts)} tensors was taken as that many batches"]
            notes += dict.fromkeys(note for _, more in cast for note in more)
            kind = describe(name, "pt", n_examples=total, batch_size=None, notes=notes)
            return Inputs(batches=batches, n_examples=total, description=kind)
        return finish(parts)
    raise DataError(f"{name}: holds {type(content).__name__!r}: save a tensor, or a dict or tuple of them")


def _is_positional(parts: tuple[torch.Tensor, ...], module: nn.Module) -> bool:
    """Whether tensors are the arguments of `forward` (and a target) rather than batches."""
    takes = ForwardParameters(module)
    if any(part.dim() == 0 for part in parts) or len({part.shape[0] for part in parts}) > 1:
        return False
    return takes.any_positional or len(parts) <= len(takes.positional) + 1


def _named(
    arrays: dict[str, torch.Tensor], module: nn.Module, name: str, finish: Callable[..., Inputs]
) -> Inputs:
    """Inputs from named arrays, one of which may be labels of groups."""
    takes = ForwardParameters(module)
    rest, groups = (arrays, None) if set(GROUP_NAMES) & set(takes.keywords) else split_groups(arrays)
    data, notes = _chosen(rest, module, name)
    inputs = finish(data, notes=notes)
    if groups is None:
        return inputs
    if groups.ndim != 1 or len(groups) != inputs.n_examples:
        what = f"groups must hold one label for each of {inputs.n_examples} examples"
        raise DataError(f"{name}: {what}; its shape is {tuple(groups.shape)}")
    return replace(inputs, groups=groups)


def _chosen(arrays: dict[str, torch.Tensor], module: nn.Module, name: str) -> tuple[Any, list[str]]:
    """Which named arrays are the inputs: forward's parameters, a usual name, or the only one there is."""
    if not arrays:
        raise DataError(f"{name}: holds no arrays")
    takes = ForwardParameters(module)
    inputs = {key: each for key, each in arrays.items() if key not in TARGET_NAMES or key in takes.keywords}
    if inputs and all(key in takes.keywords for key in inputs):
        return _without_targets(arrays, module)
    dropped = [key for key in arrays if key not in inputs]
    if len(inputs) > 1:
        usual = [key for key in INPUT_NAMES if key in inputs]
        if not usual:
            raise DataError(
                f"{name}: holds several arrays ({listed(arrays)}): name them as the model takes them "
                f"({takes.describe()}), or one of them x"
            )
        dropped = [key for key in arrays if key != usual[0]]
        inputs = {usual[0]: inputs[usual[0]]}
    if not inputs:
        (key,) = list(arrays)[:1]
        if len(arrays) > 1:
            raise DataError(f"{name}: holds only targets ({listed(arrays)}): name the inputs x")
        inputs, dropped = {key: arrays[key]}, []
    notes = [f"{listed(dropped)} was dropped"] if dropped else []
    ((key, value),) = inputs.items()
    return value, ([f"{key!r} was taken as the input", *notes] if dropped else [])


def _without_targets(
    arrays: dict[str, torch.Tensor], module: nn.Module
) -> tuple[dict[str, torch.Tensor], list[str]]:
    takes = ForwardParameters(module)
    dropped = [
        key for key in arrays if key in TARGET_NAMES and key not in takes.keywords and not takes.any_keyword
    ]
    kept = {key: each for key, each in arrays.items() if key not in dropped}
    if not kept:
        raise DataError(f"holds only targets ({listed(arrays)}): the model takes {takes.describe()}")
    return kept, [f"{listed(dropped)} was taken as the target and dropped"] if dropped else []


def _numbers(path: Path, name: str, module: nn.Module) -> tuple[torch.Tensor, list[str]]:
    try:
        return _table(path, name, module)
    except DataError as error:
        if path.suffix.lower() in _TABLES:
            raise
        raise DataError(
            f"{error}\nAs text it needs the model's tokenizer: "
            "give a Hugging Face directory as MODEL, or pkg.mod:fn that yields token ids"
        ) from error


def _table(path: Path, name: str, module: nn.Module) -> tuple[torch.Tensor, list[str]]:
    """The inputs in a table: all columns but those named as targets."""
    values, header = readers.read_csv(path, name)
    columns = [index for index, title in enumerate(header or ()) if title.lower() in TARGET_NAMES]
    if columns and len(columns) < values.shape[1]:
        titles = ", ".join((header or [])[index] for index in columns)
        notes = [f"the column {titles} was taken as the target and dropped"]
        return torch.from_numpy(np.delete(values, columns, axis=1)), notes
    found = certain_first(module)
    layer = found[1] if found else first_parametric(module)
    if not isinstance(layer, nn.Linear) or values.shape[1] != layer.in_features + 1:
        return torch.from_numpy(values), []
    title = title_of(found[0], layer) if found else type(layer).__name__
    said = (
        f"the table has {values.shape[1]} columns ({_likely_target(values, header)}), the first layer, "
        f"{title}, takes {layer.in_features}: remove the target column or name it label"
    )
    if found:
        raise DataError(f"{name}: {said}")
    return torch.from_numpy(values), [said]


def _likely_target(values: np.ndarray[Any, Any], header: list[str] | None) -> str:
    """The only column of whole numbers, else the last."""
    whole = np.flatnonzero((values == np.round(values)).all(axis=0))
    index, what = (int(whole[0]), "the only whole numbers") if len(whole) == 1 else (values.shape[1] - 1, "")
    what = "last" if index == values.shape[1] - 1 else what
    return f"{what}: {printable(header[index])!r}" if header else f"{what}: column {index + 1}"


def _is_array(value: Any) -> bool:
    return torch.is_tensor(value) or isinstance(value, np.ndarray)


def _is_dataset(value: Any, module: nn.Module) -> bool:
    """Whether a live object is a whole dataset in named or positional parts."""
    if isinstance(value, Mapping):
        return bool(value) and all(_is_array(each) for each in value.values())
    if type(value) is tuple and value and all(_is_array(each) for each in value):
        return _is_positional(tuple(as_tensors(each) for each in value), module)
    return False


def _kinds(content: Mapping[Any, Any]) -> list[str]:
    return sorted({type(each).__name__ for each in content.values()})


def _plural(content: list[Any] | tuple[Any, ...]) -> str:
    return ", ".join(sorted({type(each).__name__ for each in content}))

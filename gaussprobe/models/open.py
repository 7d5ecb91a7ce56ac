"""A path, a `pkg.mod:fn` or a module in, a callable model out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gaussprobe.errors import DataError, FactoryError, ModelFileError
from gaussprobe.models import factory as factories
from gaussprobe.models import readers
from gaussprobe.models.activations import Activations, find_activations
from gaussprobe.models.archive import (
    DamagedFileError,
    pickle_globals,
    read_torch,
    read_trusted,
)
from gaussprobe.models.batches import as_tensors, unwrapped
from gaussprobe.models.huggingface import open_directory
from gaussprobe.models.partial import PartialCheckpoint, read_weights
from gaussprobe.models.programs import PROGRAMS, open_program
from gaussprobe.models.sniff import FileKind, sniff
from gaussprobe.models.stock import UnknownGlobalsError, UnsafeContentError
from gaussprobe.models.weights import (
    find_weights,
    is_state_dict,
    load_weights,
    looks_like_weights,
    read_safetensors,
)
from gaussprobe.models.wording import first_line, listed, printable

_TRUST = "pass --trust-pickle (runs code from the file)"
_FACTORY = "--factory pkg.mod:fn"
_RESAVE = f"save a state_dict and pass {_FACTORY}"
_ORIGINAL = f"give the PyTorch model it came from, as pkg.mod:fn or with {_FACTORY}"
_TORCH_KINDS = (FileKind.TORCH_ZIP, FileKind.TORCH_LEGACY)
_TENSOR_KINDS = (FileKind.SAFETENSORS, FileKind.NPY, FileKind.NPZ)
# What to do about every kind that is not opened.
_WAYS_OUT = {
    FileKind.MISSING: "there is no such file, and it is not of the form pkg.mod:fn",
    FileKind.UNREADABLE: "cannot be read: check its permissions",
    FileKind.SPECIAL: "is not a regular file: name a model file",
    FileKind.EMPTY: "is an empty file: was the download or the copy cut short?",
    FileKind.TORCH_TAR: "is a tar archive: unpack it, or save the model again with a current torch",
    FileKind.TORCH_PACKAGE: f"is a torch.package archive, which carries code: {_RESAVE}",
    FileKind.ONNX: f"is an ONNX model: {_ORIGINAL}",
    FileKind.GGUF: f"is a GGUF model: {_ORIGINAL}",
    FileKind.HDF5: f"is an HDF5 file (Keras?): convert it to a torch state_dict and pass {_FACTORY}",
    FileKind.TFLITE: f"is a TFLite model: {_ORIGINAL}",
    FileKind.LFS_POINTER: "is a git-lfs pointer, not the file itself: run git lfs pull",
    FileKind.DIRECTORY: "is a directory without a config.json: name the model file in it",
    FileKind.ZIP: "is a truncated torch file, or a zip archive that is no model",
    FileKind.GZIP: "is a gzip file: unpack it first",
    FileKind.TEXT: "is a text file, not a model: save one with torch.save(model, path)",
    FileKind.UNKNOWN: "is of no known format: save a model with torch.save(model, path)",
}


@dataclass(frozen=True, kw_only=True)
class OpenedModel:
    """A model ready to be called.

    Args:
        module: the model, in the training mode it was saved or made in.
        name: the model as the user named it.
        notes: what a reader must know about how it was opened.
        folder: where its tokenizer and settings lie, for a Hugging Face directory.
    """

    module: nn.Module
    name: str
    notes: tuple[str, ...] = ()
    folder: Path | None = None


def open_model(
    source: nn.Module | str | Path,
    *,
    factory: str | None = None,
    trust_pickle: bool = False,
    device: str | torch.device = "cpu",
) -> OpenedModel:
    """Open a model without running code from its file.

    Args:
        source: a module (taken as it is), a file, or `pkg.mod:fn`; an existing file wins over the latter.
        factory: `pkg.mod:fn` that makes the architecture for a file of weights.
        trust_pickle: load pickles of custom classes, which runs whatever code they ask for.
        device: where the model is moved; a module given as `source` stays where it is.

    Returns:
        The model.

    Raises:
        ModelFileError: if the file cannot be opened or is refused, with the way out.
        FactoryError: if `pkg.mod:fn` cannot be imported or called, or is not wanted.
        ValueError: if an argument is of the wrong type.
    """
    opened = open_any(source, factory=factory, trust_pickle=trust_pickle, device=device)
    if isinstance(opened, Activations):
        raise ModelFileError(f"{opened.name}: {_no_model(opened.content)}")
    return opened


def open_any(
    source: nn.Module | str | Path,
    *,
    factory: str | None = None,
    trust_pickle: bool = False,
    device: str | torch.device = "cpu",
) -> OpenedModel | Activations:
    """Open a model, or a file of saved activations in place of one; as `open_model` in all else.

    Returns:
        The model; or the tensors of a file that holds nothing but tensors which are not named as weights.
    """
    if isinstance(source, nn.Module):
        _check_eager(source, type(source).__name__)
        if factory is not None:
            raise FactoryError(
                "--factory makes the architecture for a file of weights; the model is a module already"
            )
        return OpenedModel(module=source, name=type(source).__name__)
    if not isinstance(source, str | Path) or not str(source):
        raise ValueError(
            f"source must be a torch.nn.Module, a path or 'pkg.mod:fn'; got {type(source).__name__}"
        )
    target = _device(device)
    notes: tuple[str, ...] = ()
    folder: Path | None = None
    name = str(source)
    kind = sniff(source)
    if kind is FileKind.MISSING and factories.is_reference(name):
        if factory is not None:
            raise FactoryError(
                f"{name}: makes the model itself; --factory {factory} is for a file of weights"
            )
        module = factories.build(name)
    elif kind in _TORCH_KINDS or (kind is FileKind.PICKLE and trust_pickle):
        content = _read(Path(source), name, kind, trust_pickle=trust_pickle)
        if factory is None and (activations := _activations_of(content, name)) is not None:
            return activations
        module, notes = _model_of(content, name, factory)
    elif kind in _TENSOR_KINDS:
        content = _read_tensors(Path(source), name, kind)
        if factory is None and (activations := _activations_of(content, name)) is not None:
            return activations
        module, notes = _model_of(content, name, factory)
    elif kind in PROGRAMS:
        if factory is not None:
            raise FactoryError(f"{name}: is {kind}, a whole model; --factory {factory} is for weights")
        module, notes = open_program(Path(source), name, kind)
    elif kind is FileKind.HUGGINGFACE:
        if factory is not None:
            raise FactoryError(f"{name}: says its architecture itself; --factory {factory} is not wanted")
        folder = Path(source)
        found = open_directory(folder, name=name)
        module, notes = found.module, found.notes
    elif kind is FileKind.PICKLE:
        raise ModelFileError(f"{name}: {_refused_pickle(Path(source))}")
    else:
        raise ModelFileError(f"{name}: {_WAYS_OUT[kind]}")
    _check_eager(module, name)
    try:
        return OpenedModel(module=module.to(target), name=name, notes=notes, folder=folder)
    except Exception as error:  # a device's driver, or a module's own `to`, may raise anything
        raise ModelFileError(f"{name}: cannot be moved to {target}: {first_line(error)}") from error


def _check_eager(module: nn.Module, name: str) -> None:
    """Refuse TorchScript modules inside of others: they take no hooks, and are seen only as a whole.

    Raises:
        ModelFileError: naming the module.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return
    for path, child in unwrapped(module).named_modules():
        if isinstance(child, torch.jit.ScriptModule):
            which = f"its {printable(path)}" if path else "what it wraps"
            raise ModelFileError(
                f"{name}: {which} is a TorchScript module inside of another: give that by itself, "
                "or the eager module in its place"
            )


def _device(device: str | torch.device) -> torch.device:
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device must be a torch device such as 'cpu' or 'cuda:0'; got {device!r}"
        ) from error


def _read(path: Path, name: str, kind: FileKind, *, trust_pickle: bool) -> Any:
    if trust_pickle:
        return _read_trusted(path, name, kind)
    legacy = kind is FileKind.TORCH_LEGACY
    try:
        return read_torch(path, kind)
    except UnknownGlobalsError as error:
        if kind is FileKind.TORCH_ZIP and (weights := _read_partly(path, name)) is not None:
            return weights
        named = listed(error.names)
        if legacy and any("." in each and each not in ("builtins.set",) for each in error.names):
            again = f"; it is {kind}: save it again with a current torch"
        else:
            again = ""
        raise ModelFileError(
            f"{name}: holds more than weights and torch.nn modules ({named}){again}.\n"
            f"Loading that runs code: {_TRUST}, or save a state_dict and pass {_FACTORY}."
        ) from error
    except UnsafeContentError as error:
        again = ", or save it again with a current torch" if legacy else ""
        raise ModelFileError(
            f"{name}: refused: {error}.\nIf you know where it comes from, {_TRUST}{again}."
        ) from error
    except (DamagedFileError, OSError) as error:
        raise ModelFileError(f"{name}: is not a whole torch.save file: {error}") from error


def _read_partly(path: Path, name: str) -> PartialCheckpoint | None:
    try:
        return read_weights(path)
    except UnsafeContentError as error:
        raise ModelFileError(f"{name}: refused: {error}.") from error


def _read_trusted(path: Path, name: str, kind: FileKind) -> Any:
    try:
        with factories.importable_cwd():
            return read_trusted(path, kind)
    except (ImportError, AttributeError) as error:
        raise ModelFileError(
            f"{name}: a class it needs cannot be imported: {first_line(error)}.\n"
            f"Searched the current directory ({Path.cwd()}) and the Python path; "
            f"a class of a script (__main__) needs {_FACTORY} and a state_dict."
        ) from error
    except (Exception, SystemExit, GeneratorExit) as error:
        raise ModelFileError(f"{name}: cannot be loaded: {first_line(error)}") from error


def _read_tensors(path: Path, name: str, kind: FileKind) -> Any:
    """What a file of plain tensors or arrays holds.

    Raises:
        ModelFileError: if it is damaged.
    """
    if kind is FileKind.SAFETENSORS:
        return read_safetensors(path, name)
    try:
        read = readers.read_npy if kind is FileKind.NPY else readers.read_npz
        return as_tensors(read(path, name))
    except DataError as error:
        raise ModelFileError(str(error)) from error


def _activations_of(content: Any, name: str) -> Activations | None:
    """Saved activations, None where the names are those of weights or there is more than tensors."""
    named = isinstance(content, Mapping) and all(isinstance(key, str) for key in content)
    if isinstance(content, Mapping) and (not named or looks_like_weights(content)):
        return None
    return find_activations(content, name=name)


def _refused_pickle(path: Path) -> str:
    named = listed(pickle_globals(path))
    return (
        f"is a plain Python pickle{f' ({named})' if named else ''}; loading it runs code.\n"
        f"Save a model with torch.save(model, path), or {_TRUST}."
    )


def _model_of(content: Any, name: str, factory: str | None) -> tuple[nn.Module, tuple[str, ...]]:
    found = find_weights(content)
    if found is None:
        raise ModelFileError(f"{name}: {_no_model(content)}")
    weights, key = found
    notes: tuple[str, ...] = (f"taken from {key!r} of the checkpoint",) if key else ()
    if isinstance(content, PartialCheckpoint):
        notes += (f"the rest of the checkpoint was not read, as it needs {listed(content.unread)}",)
    if isinstance(weights, nn.Module):
        if factory is not None:
            raise FactoryError(f"{name}: holds a whole model; --factory {factory} is for a file of weights")
        return _unwrapped(weights, notes)
    if factory is None:
        if not key and not looks_like_weights(weights):
            raise ModelFileError(f"{name}: {_no_model(content)}")
        raise ModelFileError(
            f"{name}: holds weights but no architecture ({len(weights)} tensors"
            f"{f' in {key!r}' if key else ''}): pass {_FACTORY}"
        )
    module = factories.build(factory)
    return module, notes + load_weights(module, weights, source=name, factory=factory)


def _unwrapped(module: nn.Module, notes: tuple[str, ...]) -> tuple[nn.Module, tuple[str, ...]]:
    # DataParallel remembers the devices it was saved on; the module inside runs anywhere.
    if type(module) is nn.DataParallel and isinstance(inner := module._modules.get("module"), nn.Module):
        return _unwrapped(inner, (*notes, "taken out of its DataParallel wrapper"))
    return module, notes


def _no_model(content: Any) -> str:
    """Why what a file holds is no model."""
    if torch.is_tensor(content):
        return f"holds a tensor {tuple(content.shape)}, not a model; as inputs, pass it as --data"
    if is_state_dict(content):
        return (
            f"holds {len(content)} tensors that are not named as weights ({listed(content)}); "
            f"if they are, pass {_FACTORY}; as inputs, pass it as --data"
        )
    if isinstance(content, Mapping):
        keys = listed(content)
        return f"holds a dict without weights ({keys or 'empty'}): save a model with torch.save(model, path)"
    kind = type(content)
    if isinstance(content, list | tuple):
        return (
            f"holds a {kind.__name__} of {len(content)}, not a model: save one with torch.save(model, path)"
        )
    return f"holds {kind.__name__!r}, not a model: save one with torch.save(model, path)"

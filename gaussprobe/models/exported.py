"""Files of torch.export (`.pt2`): the graph is text, the weights are bytes, and nothing needs unpickling.

`torch.export.load` unpickles objects, imports modules, evaluates expressions and compiles names of the file.
Here the graph is read as JSON into a `Program` of operators from the allow-list, the weights as plain bytes,
and a file that needs more than that is refused.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gaussprobe.models.archive import DamagedFileError, read_stream
from gaussprobe.models.graphs import DTYPES, STRIDED, MalformedGraphError, read_graph
from gaussprobe.models.members import read_members
from gaussprobe.models.program import ExportedModel
from gaussprobe.models.sniff import FileKind
from gaussprobe.models.stock import UnknownGlobalsError, UnsafeContentError
from gaussprobe.models.wording import listed, printable

_WEIGHTS, _CONSTANTS, _MODELS = "data/weights/", "data/constants/", "models/"
_COMPILED = ("data/aotinductor/", "data/executorch/", "data/mtia/")
_OBJECTS = ("custom_obj_", "opaque_obj_")
_VIEW_ALLOWANCE = 2**24  # numbers an expanded weight may pretend to hold beyond its bytes
_MAX_SIDE = 2**40


def read_exported(path: Path) -> ExportedModel:
    """The program of a file of torch.export, without having run anything in it.

    Args:
        path: the file.

    Returns:
        A module that runs it, on the CPU, with the inputs it was exported with as `example_inputs`.

    Raises:
        DamagedArchiveError: if the zip archive is damaged or absurdly large.
        MalformedGraphError: if the graph or the weights are not as torch.export writes them.
        UnsafeContentError: if it holds pickled objects or compiled code, or calls what is not allowed.
        OSError: if the file cannot be read.
    """
    members = read_members(path)
    if "serialized_exported_program.json" in members:
        return _read_old(members)
    for name in members:
        if name.startswith(_COMPILED):
            raise UnsafeContentError(
                f"it holds compiled code ({printable(name)}): export it without compiling"
            )
        if name.rpartition("/")[2].startswith(_OBJECTS):
            raise UnsafeContentError(f"it holds a pickled object ({printable(name)})")
    models = [name for name in members if name.startswith(_MODELS) and name.endswith(".json")]
    if not models:
        raise MalformedGraphError("it has no models/*.json")
    if len(models) > 1 and f"{_MODELS}model.json" not in models:
        raise MalformedGraphError(f"it holds {len(models)} programs ({listed(models)}): save one by itself")
    chosen = f"{_MODELS}model.json" if f"{_MODELS}model.json" in models else models[0]
    title = chosen[len(_MODELS) : -len(".json")]
    tensors: dict[str, torch.Tensor] = {}
    for folder, kind in ((_WEIGHTS, "weights"), (_CONSTANTS, "constants")):
        if f"{folder}{title}.pt" in members:
            tensors |= _named(members[f"{folder}{title}.pt"], kind)
            continue
        config = _json(members, f"{folder}{title}_{kind}_config.json").get("config")
        tensors |= _payload(config, folder, members)
    example = _example(members.get(f"data/sample_inputs/{title}.pt", b""))
    return _model(_json(members, chosen), tensors, example)


def _read_old(members: Mapping[str, bytes]) -> ExportedModel:
    """The layout that torch wrote before 2.8: three files of torch.save beside the graph."""
    found: dict[str, bytes] = {}
    for part in ("state_dict", "constants", "example_inputs"):
        for ending in ("pt", "json"):
            found.setdefault(part, members.get(f"serialized_{part}.{ending}", b""))
            found[part] = found[part] or members.get(f"serialized_{part}.{ending}", b"")
    tensors = _named(found["state_dict"], "weights") | _named(found["constants"], "constants")
    graph = _json(members, "serialized_exported_program.json")
    return _model(graph, tensors, _example(found["example_inputs"]))


def _model(graph: dict[str, Any], tensors: Mapping[str, torch.Tensor], example: Any) -> ExportedModel:
    program = read_graph(graph)
    wanted = {each.source: each for each in program.inputs if each.source is not None}
    missing = [path for path in wanted if path not in tensors]
    if missing:
        raise MalformedGraphError(f"the numbers of {listed(missing)} are missing from it")
    try:
        return ExportedModel(program, {path: tensors[path] for path in wanted}, example)
    except ValueError as error:
        raise MalformedGraphError(str(error)) from error


def _json(members: Mapping[str, bytes], name: str) -> dict[str, Any]:
    if name not in members:
        raise MalformedGraphError(f"it has no {printable(name)}")
    try:
        content = json.loads(members[name])
    except (ValueError, RecursionError) as error:
        raise MalformedGraphError(f"its {printable(name)} is damaged") from error
    if not isinstance(content, dict):
        raise MalformedGraphError(f"its {printable(name)} is damaged")
    return content


# -- tensors


def _payload(config: Any, folder: str, members: Mapping[str, bytes]) -> dict[str, torch.Tensor]:
    """Tensors that are kept as plain bytes, by path; several may be views of the same bytes."""
    if not isinstance(config, dict):
        raise MalformedGraphError(f"the list of its {folder} is damaged")
    flat: dict[tuple[str, torch.dtype], torch.Tensor] = {}
    found: dict[str, torch.Tensor] = {}
    for path, entry in config.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("path_name"), str):
            raise MalformedGraphError(f"the list of its {folder} is damaged")
        if entry.get("use_pickle") is not False:
            raise UnsafeContentError(f"{printable(path)} is a pickled object")
        try:
            found[path] = _tensor(path, entry, folder, members, flat)
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise MalformedGraphError(f"{printable(path)}: its size or type is damaged") from error
    return found


def _tensor(
    path: str,
    entry: dict[str, Any],
    folder: str,
    members: Mapping[str, bytes],
    flat: dict[tuple[str, torch.dtype], torch.Tensor],
) -> torch.Tensor:
    name, meta = entry["path_name"], entry["tensor_meta"]
    data = members.get(folder + name)
    if data is None:
        raise MalformedGraphError(f"the numbers of {printable(path)} are missing from it")
    dtype = DTYPES[meta["dtype"]]
    size, stride = (tuple(each["as_int"] for each in meta[key]) for key in ("sizes", "strides"))
    offset = meta["storage_offset"]["as_int"]
    if meta["layout"] != STRIDED or len(size) != len(stride) or len(size) > 64:
        raise ValueError("layout")
    if any(type(each) is not int or not 0 <= each <= _MAX_SIDE for each in (*size, *stride, offset)):
        raise ValueError("size")
    held = len(data) // dtype.itemsize
    numel = prod(size)
    reach = offset + 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if numel else 0
    if reach > held or numel > held + _VIEW_ALLOWANCE:
        raise MalformedGraphError(
            f"{printable(path)} claims {max(numel, reach):,} numbers, {held:,} are stored"
        )
    if not numel:
        tensor = torch.empty(size, dtype=dtype)
    else:
        if (name, dtype) not in flat:
            flat[name, dtype] = torch.frombuffer(bytearray(data), dtype=dtype, count=held)
        tensor = flat[name, dtype].as_strided(size, stride, offset)
    if entry.get("is_param") is not True:
        return tensor
    return nn.Parameter(tensor, requires_grad=tensor.is_floating_point() and bool(meta["requires_grad"]))


def _named(data: bytes, what: str) -> dict[str, torch.Tensor]:
    """Tensors by path that are kept as one file of torch.save."""
    content = _unpickled(data, what) if data else {}
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in content.items()
    ):
        raise UnsafeContentError(f"its {what} are not plain tensors")
    return content


def _example(data: bytes) -> Any:
    """A batch it was exported with: the positional inputs, or the keywords where there are only such."""
    if not data:
        return None
    content = _unpickled(data, "sample inputs")
    if not (isinstance(content, tuple) and len(content) == 2) or not _is_plain(content):
        raise UnsafeContentError("its sample inputs are not plain tensors")
    args, kwargs = content
    if not isinstance(args, tuple | list) or not isinstance(kwargs, dict) or (args and kwargs):
        return None
    return tuple(args) or kwargs or None


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, torch.Tensor | int | float | bool | str)


def _unpickled(data: bytes, what: str) -> Any:
    try:
        return read_stream(io.BytesIO(data), FileKind.TORCH_ZIP)
    except UnknownGlobalsError as error:
        raise UnsafeContentError(
            f"its {what} hold pickled objects ({listed(error.names, shown=3)})"
        ) from error
    except UnsafeContentError as error:
        raise UnsafeContentError(f"its {what}: {error}") from error
    except DamagedFileError as error:
        raise MalformedGraphError(f"its {what}: {error}") from error

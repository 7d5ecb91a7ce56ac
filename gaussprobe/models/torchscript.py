"""TorchScript files: judged member by member, then loaded from a copy of what was judged.

`torch.jit.load` compiles the source in the file and may run some of it (a `__setstate__`). So the source is
read by Python's parser first and every operator in it looked up, the pickles are followed without building
anything, and torch is given an archive written anew from the judged members: no second reading of the file
can differ from the first.
"""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gaussprobe.models import judge, pickles
from gaussprobe.models.members import read_members
from gaussprobe.models.pickles import Global, Made
from gaussprobe.models.scriptcode import RefusedCodeError, check_source
from gaussprobe.models.stock import STORAGES, TENSOR_MAKERS, UnsafeContentError, dtype_of, storage_bytes
from gaussprobe.models.wording import first_line, listed, printable

_PICKLES = ("data.pkl", "constants.pkl")
# What the copy keeps; the rest (debugging tables, extra files, traced inputs) is not needed to run.
_KEPT = re.compile(r"(code/.*\.py|(data|constants)(\.pkl|/\d+)|(\.data/)?version|byteorder)")
_MAX_PICKLE = 2**28
_MAX_TYPE = 2_000
_MAX_TYPE_DEPTH = 30
_TYPE_TAG = "torch.jit._pickle.restore_type_tag"
_LISTS = {f"torch.jit._pickle.build_{kind}list" for kind in ("int", "tensor", "double", "bool")}
_PARAMETER = "torch._utils._rebuild_parameter"


class DamagedProgramError(Exception):
    """A TorchScript file is incomplete, or torch cannot compile it; the message says how."""


def read_script(path: Path) -> nn.Module:
    """The module of a TorchScript file, without having run anything that is not on the allow-list.

    Args:
        path: the file.

    Returns:
        The `torch.jit.ScriptModule`, on the CPU, in the training mode it was saved in.

    Raises:
        DamagedArchiveError: if the zip archive is damaged or absurdly large.
        DamagedProgramError: if it lacks something, or torch cannot compile it.
        UnsafeContentError: if its code calls, or its pickles name, what is not on the allow-list.
        OSError: if the file cannot be read.
    """
    members = {name: data for name, data in read_members(path).items() if _KEPT.fullmatch(name)}
    for needed in _PICKLES:
        if needed not in members:
            raise DamagedProgramError(f"it has no {needed}")
    for name, data in members.items():
        if name.endswith(".py"):
            try:
                check_source(data)
            except RefusedCodeError as error:
                raise UnsafeContentError(str(error)) from error
    for name in _PICKLES:
        try:
            _check_pickle(members[name], name.removesuffix(".pkl"), members)
        except pickles.MalformedPickleError as error:
            raise DamagedProgramError(f"{name}: {error}") from error
        except pickles.UnsupportedPickleError as error:
            raise UnsafeContentError(f"{name}: {error}") from error
    copy = _archive(members)
    members.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, which is no news to its user
        try:
            module: nn.Module = torch.jit.load(copy, map_location="cpu")  # type: ignore[no-untyped-call]
        except Exception as error:  # the compiler may raise anything
            raise DamagedProgramError("torch cannot load it: " + first_line(error)) from error
    return module


def _archive(members: dict[str, bytes]) -> io.BytesIO:
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(f"archive/{name}", data)
    copy.seek(0)
    return copy


def _check_pickle(data: bytes, folder: str, members: dict[str, bytes]) -> None:
    """Refuse a pickle that names anything but the file's own classes, tensors and containers."""
    if len(data) > _MAX_PICKLE:
        raise DamagedProgramError(f"its pickle is absurdly large ({len(data):,} bytes)")
    tree = pickles.read_tree(io.BytesIO(data))
    foreign = sorted(name for name in tree.globals if not _is_known(name))
    if foreign:
        raise UnsafeContentError(
            f"it names {listed(foreign, shown=3)}, which a TorchScript file has no use for"
        )
    judge._measured(tree)
    for node in tree.made:
        _check_made(node)
    for storage in tree.storages:
        held = members.get(f"{folder}/{storage.key}")
        if storage.type not in STORAGES:
            raise UnsafeContentError(f"a tensor of kind {storage.type} is not read")
        if held is None:
            raise DamagedProgramError("a tensor's numbers are missing from it")
        if storage_bytes(storage) > len(held):
            raise DamagedProgramError(
                f"a tensor claims {storage_bytes(storage):,} bytes where it has {len(held):,}"
            )


def _is_known(name: str) -> bool:
    if name.startswith("__torch__."):
        return not name.startswith("__torch__.torch.classes")
    known = {*TENSOR_MAKERS, *_LISTS, _TYPE_TAG, _PARAMETER, "collections.OrderedDict", "torch.device"}
    return name in known or name in STORAGES or dtype_of(name) is not None


def _check_made(node: Made) -> None:
    name = node.func.name if isinstance(node.func, Global) else ""
    if name.startswith("__torch__."):
        good = not node.items
    elif name in TENSOR_MAKERS and isinstance(node.args, tuple) and not node.new:
        judge._check_tensor(node, name)
        good = not node.items and not node.states
    elif name == _TYPE_TAG:
        good = isinstance(node.args, tuple) and len(node.args) == 2 and _is_type(node.args[1])
    else:
        good = name in _LISTS | {_PARAMETER, "collections.OrderedDict", "torch.device"} and not node.new
    if not good:
        raise UnsafeContentError(
            f"it makes {printable(name) or 'an object'} in a way TorchScript never writes"
        )


def _is_type(text: Any) -> bool:
    """Whether text is a type as TorchScript writes it, of the file's own classes, and not nested absurdly."""
    if not isinstance(text, str) or len(text) > _MAX_TYPE or "torch.classes" in text:
        return False
    depth = most = 0
    for character in text:
        depth += (character in "[(") - (character in "])")
        most = max(most, depth)
    return most <= _MAX_TYPE_DEPTH and re.fullmatch(r"[\w.\[\](), :*]*", text) is not None

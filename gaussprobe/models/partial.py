"""The weights of a checkpoint whose other contents are of foreign classes; these are left unread.

Training scripts save their settings beside the weights: an `argparse.Namespace`, paths, a dict of some
framework's own class. torch's safe reader builds all or nothing. Here the pickle is read as text, the dict of
weights is found in it and judged as any other, and its tensors alone are made, from the bytes of the file.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from gaussprobe.models import judge, pickles
from gaussprobe.models.pickles import DictNode, Global, ListNode, Made, Storage, Tree
from gaussprobe.models.stock import (
    PARAMETER_MAKERS,
    STORAGES,
    TENSOR_MAKERS,
    UnknownGlobalsError,
    UnsafeContentError,
    dtype_of,
    storage_bytes,
    unknown,
)
from gaussprobe.models.weights import CHECKPOINT_KEYS
from gaussprobe.models.wording import printable

# Calls by which harmless settings are pickled. A foreign class may be named, or made without its constructor;
# any other call in the file is a reason to refuse all of it.
_PLAIN_CALLS = frozenset(
    "pathlib.PosixPath pathlib.WindowsPath pathlib.PurePosixPath pathlib.PureWindowsPath "
    "pathlib._local.PosixPath pathlib._local.WindowsPath collections.defaultdict copyreg._reconstructor "
    "numpy.dtype numpy.core.multiarray.scalar numpy._core.multiarray.scalar".split()
)
_MAX_PICKLE = 2**28


class PartialCheckpoint(dict[str, Any]):
    """The weights of a checkpoint under the key they were found by.

    Args:
        key: the key.
        weights: tensors by name.
        unread: foreign classes that the rest of the file names.
    """

    def __init__(self, key: str, weights: dict[str, torch.Tensor], unread: tuple[str, ...]) -> None:
        super().__init__({key: weights})
        self.unread = unread


def read_weights(path: Path) -> PartialCheckpoint | None:
    """The weights of a torch zip file that holds foreign classes too; nothing foreign is made.

    Args:
        path: a file whose container has been judged, and refused for the classes it names alone.

    Returns:
        The weights, or None where there is no plain dict of them beside harmless settings.

    Raises:
        UnsafeContentError: if a tensor is one that `torch.save` never writes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
            root = next(iter(sizes), "").partition("/")[0]
            if sizes.get(f"{root}/data.pkl", _MAX_PICKLE + 1) > _MAX_PICKLE:
                return None
            if f"{root}/byteorder" in sizes and archive.read(f"{root}/byteorder") != b"little":
                return None
            tree = pickles.read_tree(io.BytesIO(archive.read(f"{root}/data.pkl")))
            foreign = unknown(tree.globals)
            found = _find(tree.root)
            if found is None or not all(map(_is_harmless, tree.made)):
                return None
            key, nodes = found
            judge.check_tree(_tree_of(nodes))
            read: dict[str, torch.Tensor] = {}
            weights = {}
            for name, node in nodes.items():
                weights[name] = _tensor(node, archive, f"{root}/data/", sizes, read)
            return PartialCheckpoint(key, weights, tuple(foreign))
    except (
        UnknownGlobalsError,
        pickles.MalformedPickleError,
        pickles.UnsupportedPickleError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        ValueError,
        KeyError,
        EOFError,
        OSError,
        struct.error,
        IndexError,
    ):
        return None


def _name(node: Any) -> str:
    return node.func.name if isinstance(node, Made) and isinstance(node.func, Global) else ""


def _is_harmless(node: Made) -> bool:
    name = _name(node)
    return bool(name) and (node.new or name in _PLAIN_CALLS or not unknown(frozenset({name})))


def _find(root: Any) -> tuple[str, dict[str, Made]] | None:
    """The first of the usual keys under which there is a dict of named tensors, and nothing else."""
    if not isinstance(root, DictNode):
        return None
    items = {key: value for key, value in root.items if isinstance(key, str)}
    for key in CHECKPOINT_KEYS:
        value = items.get(key)
        ordered = _name(value) == "collections.OrderedDict"
        if not isinstance(value, DictNode | Made) or not (isinstance(value, DictNode) or ordered):
            continue
        if (isinstance(value, Made) and value.args != ()) or not value.items:
            continue
        if all(isinstance(name, str) and _is_tensor(each) for name, each in value.items):
            return key, {name: _inner(each) for name, each in value.items}
    return None


def _is_tensor(node: Any) -> bool:
    inner = _inner(node)
    return _name(inner) in TENSOR_MAKERS and isinstance(inner.args, tuple) and len(inner.args) >= 4


def _inner(node: Any) -> Any:
    """The tensor that a parameter wraps."""
    wraps = _name(node) in PARAMETER_MAKERS and isinstance(node.args, tuple) and node.args
    return node.args[0] if wraps else node


def _tree_of(nodes: dict[str, Made]) -> Tree:
    """The dict of weights as a pickle of its own, to be judged."""
    made: list[Made] = []
    storages: list[Storage] = []
    names: set[str] = set()
    for node in nodes.values():
        made.append(node)
        for part in node.args:
            if isinstance(part, Storage):
                storages.append(part)
            elif isinstance(part, Made):  # the empty dict of its hooks
                made.append(part)
            elif isinstance(part, Global):
                names.add(part.name)
            elif isinstance(part, DictNode | ListNode):
                raise UnsafeContentError("a tensor in it carries something torch.save never writes")
    names |= {_name(node) for node in made}
    root = DictNode(list(nodes.items()))
    return Tree(root, tuple(made), tuple(storages), frozenset(names))


def _tensor(
    node: Made, archive: zipfile.ZipFile, folder: str, sizes: dict[str, int], read: dict[str, torch.Tensor]
) -> torch.Tensor:
    """One judged tensor from the bytes of its storage, which several may share."""
    storage, offset, size, stride = node.args[:4]
    if sizes.get(folder + storage.key, -1) < storage_bytes(storage):
        raise UnsafeContentError(f"a tensor in it ({printable(storage.key)}) claims more than is stored")
    if storage.key not in read:
        data = bytearray(archive.read(folder + storage.key))
        read[storage.key] = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0).byte()
    if _name(node).endswith("_v3"):
        dtype = dtype_of(node.args[6].name)
    else:
        assert storage.type in STORAGES
        dtype = getattr(torch, storage.type.removeprefix("torch."))._dtype
    assert dtype is not None
    whole = read[storage.key]
    usable = whole[: len(whole) // dtype.itemsize * dtype.itemsize].view(dtype)
    return usable.as_strided(size, stride, offset).clone()

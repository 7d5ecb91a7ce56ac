"""Safe reading of `torch.save` files: the container first, then the pickle as text, only then the objects."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

from gaussprobe.models import judge, pickles, stock
from gaussprobe.models.sniff import FileKind
from gaussprobe.models.wording import first_line, printable

_MAX_PICKLE = 256 * 2**20
_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_PREAMBLE = 3  # magic number, protocol version, system information


class DamagedFileError(Exception):
    """A torch file is truncated, or not as `torch.save` writes it; the message says how."""


def read_torch(path: Path, kind: FileKind) -> Any:
    """What a torch file holds, without running anything from it.

    Args:
        path: the file.
        kind: `TORCH_ZIP` or `TORCH_LEGACY`.

    Returns:
        Tensors, plain containers of them, or a module of stock classes; on the CPU.

    Raises:
        DamagedFileError: if the file is truncated, or says it holds more than it does.
        UnknownGlobalsError: if it names functions or classes that are not stock.
        UnsafeContentError: if it would do more than make tensors, plain data and stock modules.
    """
    # One opened file is checked and loaded: another put in its place meanwhile is never seen.
    with path.open("rb") as file:
        return read_stream(file, kind)


def read_stream(file: BinaryIO, kind: FileKind) -> Any:
    """As `read_torch`, of a file that is open, or of a member of another file."""
    try:
        with _quiet():
            if kind is FileKind.TORCH_ZIP:
                _check_zip(file)
            else:
                _check_legacy(file)
    except pickles.MalformedPickleError as error:
        raise DamagedFileError(str(error)) from error
    except pickles.UnsupportedPickleError as error:
        raise stock.UnsafeContentError(str(error)) from error
    loaded = _load(file)
    for module in _modules(loaded):
        stock.check_module(module)
    return loaded


def _load(file: BinaryIO) -> Any:
    already = set(map(_identity, torch.serialization.get_safe_globals()))
    # What the caller had allowed before must still be allowed after: safe_globals removes all it was given.
    added = [each for each in stock.allowed_globals() if _identity(each) not in already]
    file.seek(0)
    try:
        with _quiet(), torch.serialization.safe_globals(added):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes torch raise
        raise DamagedFileError("torch cannot read it: " + first_line(error)) from error


def read_trusted(path: Path, kind: FileKind) -> Any:
    """What a torch file or pickle holds, running whatever code it asks for.

    Args:
        path: the file.
        kind: `TORCH_ZIP`, `TORCH_LEGACY` or `PICKLE`.

    Raises:
        Exception: whatever the file's code raises.
    """
    with _quiet():
        if kind is FileKind.PICKLE:
            import pickle

            with path.open("rb") as file:
                return pickle.load(file)  # noqa: S301
        return torch.load(path, map_location="cpu", weights_only=False)


def pickle_globals(path: Path) -> tuple[str, ...]:
    """Functions and classes a plain pickle names; empty when it cannot be followed."""
    try:
        with _quiet(), path.open("rb") as file:
            return tuple(pickles.named_globals(file))
    except (pickles.MalformedPickleError, OSError):
        return ()


@contextmanager
def _quiet() -> Iterator[None]:
    # torch warns of its own deprecated storages and of changed sources, pickletools of odd escapes in
    # strings; none of it is about what the user did.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _identity(allowed: Any) -> Any:
    return allowed[1] if isinstance(allowed, tuple) else f"{allowed.__module__}.{allowed.__qualname__}"


def _check_zip(file: BinaryIO) -> None:
    # torch tells a zip by its first bytes only, and would take anything else for the legacy format.
    if file.read(len(_ZIP_MAGIC)) != _ZIP_MAGIC:
        raise DamagedFileError("it does not begin as a zip archive")
    sizes = _member_sizes(file)
    roots = {name.partition("/")[0] for name in sizes}
    if len(roots) != 1:
        raise DamagedFileError("its members do not lie in one folder")
    root = roots.pop()
    declared = sizes.get(f"{root}/data.pkl")
    if declared is None:
        raise DamagedFileError("it has no data.pkl")
    if declared > _MAX_PICKLE:
        raise DamagedFileError(f"its pickle is absurdly large ({declared:,} bytes)")
    # The pickle is taken through torch's own zip reader, so that what is judged is what will be loaded.
    file.seek(0)
    try:
        reader = torch._C.PyTorchFileReader(file)
        _check_same_members(reader, sizes, root)
        data: bytes = reader.get_record("data.pkl")
    except DamagedFileError:
        raise
    except Exception as error:  # of a member that is no text, no number, ..: whatever the reader makes of it
        raise DamagedFileError("torch cannot read it: " + first_line(error)) from error
    tree = _judged(io.BytesIO(data))
    for storage in tree.storages:
        held = sizes.get(f"{root}/data/{storage.key}")
        if held is None:
            raise DamagedFileError("a tensor's numbers are missing from it")
        # torch takes the size from the pickle without looking at the member, and would read beyond it.
        if stock.storage_bytes(storage) > held:
            raise DamagedFileError(
                f"a tensor claims {stock.storage_bytes(storage):,} bytes where it has {held:,}"
            )


def _check_same_members(reader: Any, sizes: dict[str, int], root: str) -> None:
    """Refuse a file in which Python's zip reader and torch's see different members."""
    seen = {f"{root}/{name}" for name in reader.get_all_records()}
    measure = getattr(reader, "get_record_size", None)  # torch 2.6 has none
    for name, size in sizes.items():
        inner = name.partition("/")[2]
        if name not in seen or (measure is not None and measure(inner) != size):
            raise DamagedFileError("its directory contradicts itself")
    if len(seen) != len(sizes):
        raise DamagedFileError("its directory contradicts itself")


def _member_sizes(file: BinaryIO) -> dict[str, int]:
    """Sizes of a zip's members, after checking that they are stored plainly and inside the file."""
    length = file.seek(0, os.SEEK_END)
    sizes: dict[str, int] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        ValueError,
        OSError,
        EOFError,
        struct.error,
        IndexError,
    ) as error:
        raise DamagedFileError("it is truncated or damaged") from error
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise DamagedFileError("its members are compressed, which torch.save never does")
        if member.flag_bits & 0x1:
            raise DamagedFileError("its members are encrypted, which torch.save never does")
        if member.filename in sizes:
            raise DamagedFileError(f"it has two members named {printable(member.filename)!r}")
        if member.header_offset < 0 or member.header_offset + member.file_size > length:
            raise DamagedFileError("a member claims to be larger than the file")
        sizes[member.filename] = member.file_size
    if sum(sizes.values()) > length:
        raise DamagedFileError("its members claim to be larger than the file")
    return sizes


def _check_legacy(file: BinaryIO) -> None:
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    for _ in range(_LEGACY_PREAMBLE):
        _check_bare(file)
    tree = _judged(file)
    _check_bare(file)  # the list of storages
    claimed: dict[str, int] = {}
    for storage in tree.storages:
        claimed[storage.key] = max(claimed.get(storage.key, 0), stock.storage_bytes(storage))
    if sum(claimed.values()) > length:
        raise DamagedFileError("its tensors claim to be larger than the file")


def _check_bare(file: BinaryIO) -> None:
    """Refuse a pickle beside the main one that is more than numbers, strings, lists and dicts."""
    tree = pickles.read_tree(file)
    if tree.made or tree.globals or tree.storages:
        raise stock.UnsafeContentError("its header holds more than numbers, which torch.save never writes")
    judge.check_tree(tree)


def _judged(file: BinaryIO) -> pickles.Tree:
    """The tree of a pickle, after judging it; names every foreign global before any other objection."""
    start = file.tell()
    try:
        tree = pickles.read_tree(file)
    except (pickles.MalformedPickleError, pickles.UnsupportedPickleError):
        file.seek(start)
        foreign = stock.unknown(pickles.named_globals(file))
        if foreign:
            raise stock.UnknownGlobalsError(foreign) from None
        raise
    judge.check_tree(tree)
    return tree


def _modules(loaded: Any) -> Iterator[torch.nn.Module]:
    """Modules in nested containers, however they share or contain each other."""
    todo, seen = [loaded], set()
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, torch.nn.Module):
            yield node
        elif isinstance(node, dict):
            todo.extend(node.values())
        elif isinstance(node, list | tuple):
            todo.extend(node)

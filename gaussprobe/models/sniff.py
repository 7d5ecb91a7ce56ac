"""What a file is, told by its content: magic bytes and zip members, never by the extension alone."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

_HEAD = 512
_LEGACY_MAGIC = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # torch.serialization.MAGIC_NUMBER, little endian
_MAX_PROTOBUF_FIELDS = 24


class FileKind(StrEnum):
    """Kinds of files a user may point at; the value is how a message names it."""

    MISSING = "missing"
    UNREADABLE = "unreadable"
    SPECIAL = "not a regular file"
    EMPTY = "an empty file"
    TORCH_ZIP = "a torch.save file"
    TORCH_LEGACY = "a legacy (before torch 1.6) torch.save file"
    TORCH_TAR = "a tar archive"
    PICKLE = "a plain Python pickle"
    TORCHSCRIPT = "a TorchScript program"
    TORCH_EXPORT = "a torch.export program"
    TORCH_PACKAGE = "a torch.package archive"
    SAFETENSORS = "a safetensors file"
    ONNX = "an ONNX model"
    GGUF = "a GGUF model"
    HDF5 = "an HDF5 file"
    TFLITE = "a TFLite model"
    NPY = "a NumPy array (.npy)"
    NPZ = "a NumPy archive (.npz)"
    LFS_POINTER = "a git-lfs pointer"
    HUGGINGFACE = "a Hugging Face directory"
    DIRECTORY = "a directory"
    ZIP = "a zip archive"
    GZIP = "a gzip file"
    TEXT = "a text file"
    UNKNOWN = "of no known format"


def sniff(path: str | Path) -> FileKind:
    """The kind of the file or directory at `path`; nothing in it is executed.

    Args:
        path: file or directory.

    Returns:
        The kind; `MISSING`, `UNREADABLE` and `SPECIAL` (a pipe or device) included.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 (Path refuses some names with other exceptions)
    except PermissionError:
        return FileKind.UNREADABLE
    except (OSError, ValueError):
        return FileKind.MISSING
    if stat.S_ISDIR(status.st_mode):
        return FileKind.HUGGINGFACE if (Path(path) / "config.json").is_file() else FileKind.DIRECTORY
    if not stat.S_ISREG(status.st_mode):
        return FileKind.SPECIAL
    if status.st_size == 0:
        return FileKind.EMPTY
    try:
        with Path(path).open("rb") as file:
            return _sniff_content(file, status.st_size)
    except OSError:
        return FileKind.UNREADABLE


def _sniff_content(file: BinaryIO, size: int) -> FileKind:
    head = file.read(_HEAD)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):  # the second begins an empty archive
        return _sniff_zip(file)
    # Before pickles: the length of a header may begin with the bytes of theirs, but is never absurd.
    if len(head) > 8 and head[8:9] == b"{" and 2 <= struct.unpack("<Q", head[:8])[0] <= size - 8:
        return FileKind.SAFETENSORS
    if head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return FileKind.TORCH_LEGACY if _LEGACY_MAGIC in head[:32] else FileKind.PICKLE
    for magic, kind in (
        (b"\x93NUMPY", FileKind.NPY),
        (b"GGUF", FileKind.GGUF),
        (b"\x89HDF\r\n\x1a\n", FileKind.HDF5),
        (b"version https://git-lfs", FileKind.LFS_POINTER),
        (b"\x1f\x8b", FileKind.GZIP),
    ):
        if head.startswith(magic):
            return kind
    if head[4:8] == b"TFL3":
        return FileKind.TFLITE
    if head[257:262] == b"ustar":
        return FileKind.TORCH_TAR
    if _is_onnx(file, size):
        return FileKind.ONNX
    if _is_text(head, whole=size <= _HEAD):
        return FileKind.TEXT
    return FileKind.UNKNOWN


def _sniff_zip(file: BinaryIO) -> FileKind:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError, struct.error, IndexError):
        return FileKind.ZIP
    inner = {name.partition("/")[2] for name in names if "/" in name}
    leaves = {name.rpartition("/")[2] for name in names}
    if ".data/extern_modules" in inner or ".data/python_version" in inner:
        return FileKind.TORCH_PACKAGE
    if "constants.pkl" in inner:
        return FileKind.TORCHSCRIPT
    if "archive_format" in leaves or "serialized_exported_program.json" in leaves:
        return FileKind.TORCH_EXPORT
    if "data.pkl" in leaves:
        return FileKind.TORCH_ZIP
    if names and all(name.endswith(".npy") for name in names):
        return FileKind.NPZ
    return FileKind.ZIP


def _is_text(head: bytes, *, whole: bool) -> bool:
    if b"\0" in head:
        return False
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # A character may be cut in two at the end of the head.
        if whole or error.start < len(head) - 4:
            return False
        text = head[: error.start].decode("utf-8-sig")
    printable = sum(character.isprintable() or character in "\r\n\t\f" for character in text)
    return printable == len(text) > 0


def _is_onnx(file: BinaryIO, size: int) -> bool:
    """Whether the top-level protobuf fields are those of an ONNX `ModelProto`.

    `ir_version` (1, a small varint) and `graph` (7, a message) must be there, and every field before the
    graph must have a number ModelProto knows and end inside the file.
    """
    known = {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}
    file.seek(0)
    versioned = False
    for _ in range(_MAX_PROTOBUF_FIELDS):
        key = _varint(file)
        if key is None:
            return False
        number, wire = key >> 3, key & 7
        if number not in known or wire not in (0, 2):
            return False
        value = _varint(file)
        if value is None:
            return False
        if wire == 0:
            versioned = versioned or (number == 1 and 1 <= value <= 64)
            continue
        if number == 1 or file.tell() + value > size:
            return False
        if number == 7:
            return versioned
        file.seek(value, os.SEEK_CUR)
    return False


def _varint(file: BinaryIO) -> int | None:
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None

"""Kinds of files are told by content, whatever they are called."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gaussprobe.models import FileKind, sniff


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    return buffer.getvalue()


def _npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.ones(3))
    return buffer.getvalue()


def _torch(*, zipped: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(nn.Linear(2, 2), buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


# ModelProto: ir_version 8, producer_name "pytorch", graph of two bytes.
_ONNX = b"\x08\x08\x12\x07pytorch\x3a\x02\x0a\x00"
CONTENTS: dict[FileKind, Callable[[], bytes]] = {
    FileKind.EMPTY: bytes,
    FileKind.TORCH_ZIP: lambda: _torch(zipped=True),
    FileKind.TORCH_LEGACY: lambda: _torch(zipped=False),
    FileKind.PICKLE: lambda: b"\x80\x04N.",
    FileKind.TORCHSCRIPT: lambda: _zip("m/data.pkl", "m/constants.pkl", "m/code/x.py"),
    FileKind.TORCH_EXPORT: lambda: _zip("m/archive_format", "m/models/model.json"),
    FileKind.TORCH_PACKAGE: lambda: _zip("m/.data/extern_modules", "m/data.pkl"),
    FileKind.SAFETENSORS: lambda: struct.pack("<Q", 2) + b"{}",
    FileKind.ONNX: lambda: _ONNX,
    FileKind.GGUF: lambda: b"GGUF\x03\0\0\0",
    FileKind.HDF5: lambda: b"\x89HDF\r\n\x1a\n" + bytes(20),
    FileKind.TFLITE: lambda: b"\x1c\0\0\0TFL3" + bytes(20),
    FileKind.NPY: _npy,
    FileKind.NPZ: _npz,
    FileKind.LFS_POINTER: lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    FileKind.ZIP: lambda: _zip("readme.txt"),
    FileKind.GZIP: lambda: b"\x1f\x8b\x08" + bytes(20),
    FileKind.TEXT: lambda: "a,b\n1,2\nµ,3\n".encode(),
    FileKind.UNKNOWN: lambda: b"\0\1\2\3" * 20,
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_kind_is_told_by_content(folder: Path, kind: FileKind) -> None:
    """Each kind is recognised under a misleading name."""
    path = folder / "model.weird"
    path.write_bytes(CONTENTS[kind]())
    assert sniff(path) is kind


def test_directories_and_missing_paths(folder: Path) -> None:
    """A directory is a Hugging Face model if it has a config.json; odd paths are missing, not exceptions."""
    assert sniff(folder) is FileKind.DIRECTORY
    (folder / "config.json").write_text("{}")
    assert sniff(folder) is FileKind.HUGGINGFACE
    assert sniff(folder / "none") is FileKind.MISSING
    assert sniff("a\0b") is FileKind.MISSING
    assert sniff("x" * 5_000) is FileKind.MISSING


def test_pipes_are_not_opened(folder: Path) -> None:
    """A named pipe, whose reading would wait forever, is told without opening it."""
    os.mkfifo(folder / "pipe")
    assert sniff(folder / "pipe") is FileKind.SPECIAL


def test_real_torchscript_and_export_are_told(folder: Path) -> None:
    """Programs written by torch itself are recognised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), folder / "a.bin")
        torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), folder / "b.pt2")
    assert sniff(folder / "a.bin") is FileKind.TORCHSCRIPT
    assert sniff(folder / "b.pt2") is FileKind.TORCH_EXPORT

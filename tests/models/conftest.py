"""Fixtures for models and data: files that would leave a mark if anything in them were run."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch


class Hostile:
    """Creates the file `marker` when it is unpickled by an unsafe reader."""

    def __init__(self, marker: Path) -> None:
        self.command = f"touch {marker}"

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


class Calls:
    """Pickles as a call of `function`, with an optional state set on the result."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """A path outside the folder of the files; the test fails if anything creates it."""
    path = tmp_path / "outside" / "marker"
    path.parent.mkdir()
    yield path
    assert not path.exists(), "code from the file was run"
    assert list(path.parent.iterdir()) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a test's files lie."""
    path = tmp_path / "files"
    path.mkdir()
    return path


@pytest.fixture
def torch_zip(folder: Path) -> Callable[..., Path]:
    """Writes a torch zip file around a pickle given as bytes."""

    def write(data: bytes, records: dict[str, bytes] | None = None, *, name: str = "crafted.pt") -> Path:
        path = folder / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("archive/data.pkl", data)
            archive.writestr("archive/byteorder", b"little")
            for key, value in (records or {}).items():
                archive.writestr(f"archive/{key}", value)
            archive.writestr("archive/version", b"3\n")
        return path

    return write


@pytest.fixture
def saved(folder: Path) -> Callable[..., Path]:
    """Saves an object with torch.save."""

    def write(value: Any, *, name: str = "saved.pt", **options: Any) -> Path:
        path = folder / name
        torch.save(value, path, **options)
        return path

    return write


def pickled(value: Any) -> bytes:
    """A protocol 2 pickle, as torch writes."""
    buffer = io.BytesIO()
    pickle.dump(value, buffer, protocol=2)
    return buffer.getvalue()


def listing(folder: Path) -> list[tuple[str, int]]:
    """Names and sizes under a folder."""
    return sorted((str(path.relative_to(folder)), path.stat().st_size) for path in folder.rglob("*"))

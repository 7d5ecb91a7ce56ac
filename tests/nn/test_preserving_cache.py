"""Tables kept in a folder."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gaussprobe.nn import preserving_cache as cache
from gaussprobe.nn import preserving_table
from gaussprobe.nn.preserving_table import Kind, Table

THETA = 2.75


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of its own, and nothing in memory."""
    monkeypatch.setenv("GAUSSPROBE_CACHE", str(tmp_path / "deep" / "cache"))
    cache.table_of.cache_clear()
    yield tmp_path / "deep" / "cache"
    cache.table_of.cache_clear()


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, Kind]]:
    """What was built."""
    made: list[tuple[float, Kind]] = []
    build = preserving_table.build

    def count(theta: float, kind: Kind) -> Table:
        made.append((theta, kind))
        return build(theta, kind)

    monkeypatch.setattr(preserving_table, "build", count)
    return made


def again(theta: float = THETA, kind: Kind = "odd") -> Table:
    """As a new process would have it."""
    cache.table_of.cache_clear()
    return cache.table_of(theta, kind)


def same(a: Table, b: Table) -> bool:
    """Number by number."""
    return all(
        np.array_equal(x, y) for x, y in zip(dataclasses.astuple(a), dataclasses.astuple(b), strict=True)
    )


@pytest.mark.parametrize("kind", ["odd", "positive"])
def test_read_again(kind: Kind, folder: Path, built: list[tuple[float, Kind]]) -> None:
    """A table comes back from its file bit by bit, and is built once; nothing else is left in the folder."""
    first = cache.table_of(THETA, kind)
    assert same(again(kind=kind), first)
    assert built == [(THETA, kind)]
    assert len(list(folder.iterdir())) == 1


def test_each_theta_has_its_own(folder: Path) -> None:
    """Also those that differ in the last digit, and both kinds."""
    for theta in (3.0, float(np.nextafter(3, 4)), 1e308):
        cache.table_of(theta, "odd"), cache.table_of(theta, "positive")
    assert len(list(folder.iterdir())) == 6


def damages() -> dict[str, object]:
    """What may have become of a file."""
    return {
        "empty": lambda good, other: b"",
        "short": lambda good, other: good[:-1],
        "head alone": lambda good, other: good[: good.index(b"\n") + 1],
        "long": lambda good, other: good + b"\0",
        "huge": lambda good, other: good * 40,
        "a bit": lambda good, other: good[:5000] + bytes([good[5000] ^ 1]) + good[5001:],
        "another theta": lambda good, other: other,
        "older": lambda good, other: good.replace(b'"version": 1', b'"version": 0'),
        "a pickle": lambda good, other: b"cos\nsystem\n(S'false'\ntR.",
        "numbers that are none": _with_nan,
    }


def _with_nan(good: bytes, other: bytes) -> bytes:
    """Right in every sum, of values that cannot be."""
    numbers = good.split(b"\n", 1)[1]
    numbers = np.full(8, np.nan).tobytes() + numbers[64:]
    return cache._head(THETA, "odd", numbers) + numbers


@pytest.mark.parametrize("damage", damages())
def test_damaged_files(damage: str, folder: Path, built: list[tuple[float, Kind]]) -> None:
    """What is not the file that was written is built anew, and written over."""
    good = cache.table_of(THETA, "odd")
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    cache.table_of(4.5, "odd")
    (other,) = set(folder.iterdir()) - {path}
    path.write_bytes(damages()[damage](whole, other.read_bytes()))  # type: ignore[operator]
    built.clear()
    assert same(again(), good)
    assert len(built) == 1
    assert path.read_bytes() == whole


@pytest.mark.parametrize("what", ["file", "folder in its place", "pipe", "nul", "link to itself"])
def test_folders_that_cannot_be(what: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder, no cache, no error; nothing that is waited for."""
    folder.parent.mkdir()
    if what == "file":
        folder.write_text("mine")
    elif what == "nul":
        monkeypatch.setenv("GAUSSPROBE_CACHE", "/dev/null/x")
    elif what == "link to itself":
        folder.symlink_to(folder)
    else:
        folder.mkdir()
        path = cache._path(THETA, "odd")
        assert path is not None
        path.mkdir() if what == "folder in its place" else os.mkfifo(path)
    assert cache.table_of(THETA, "odd").theta == THETA
    if what == "file":
        assert folder.read_text() == "mine"


def test_a_folder_that_is_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure to write leaves nothing, and is none."""

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert cache.table_of(THETA, "odd").theta == THETA
    assert list(folder.iterdir()) == []


def test_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable of our own, that of the platform if it is absolute, the folder at home, or none."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.folder() == tmp_path / "deep" / "cache"
    monkeypatch.setenv("GAUSSPROBE_CACHE", "")
    assert cache.folder() == tmp_path / "xdg" / "gaussprobe"
    for ignored in ("", "here"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache.folder() == tmp_path / "home" / ".cache" / "gaussprobe"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.folder() == tmp_path / "home" / "Library" / "Caches" / "gaussprobe"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache.folder() == tmp_path / "local" / "gaussprobe"
    monkeypatch.setattr(sys, "platform", "linux")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert cache.folder() is None
    assert again().theta == THETA


def test_two_processes_at_once(folder: Path) -> None:
    """Both have the table, and one whole file is left."""
    code = (
        "from gaussprobe.nn.preserving_cache import table_of\n"
        f"print(table_of({THETA}, 'odd').pieces.sum().hex())"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = {each.communicate()[0] for each in both}
    assert [each.returncode for each in both] == [0, 0]
    assert len(said) == 1
    (path,) = folder.iterdir()
    assert cache._read(path, THETA, "odd") is not None


@pytest.mark.parametrize("theta", [2.02, 2.05, 2.5, 10, 1e4, sys.float_info.max])
@pytest.mark.parametrize("kind", ["odd", "positive"])
def test_seconds_to_build(theta: float, kind: Kind) -> None:
    """Less than 2 s of a processor."""
    start = time.process_time()
    preserving_table.build(theta, kind)
    assert time.process_time() - start < 2

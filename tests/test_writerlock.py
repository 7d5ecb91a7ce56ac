"""gaussprobe.writerlock: one writer, known to readers, gone with its process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gaussprobe import writerlock
from gaussprobe.errors import StoreError
from gaussprobe.writerlock import WriterLock, is_held
from tests.crashes import ROOT


def test_held_until_released(tmp_path: Path) -> None:
    """A lock is seen by whoever asks, keeps a second one away and leaves nothing behind."""
    path = tmp_path / "run.sqlite"
    assert not is_held(path)
    lock = WriterLock(path)
    assert is_held(path)
    assert [found.name for found in tmp_path.iterdir()] == ["run.sqlite-lock"]
    with pytest.raises(StoreError, match="being written by another"):
        WriterLock(path)
    assert is_held(path)
    lock.release()
    lock.release()
    assert not is_held(path)
    assert list(tmp_path.iterdir()) == []
    WriterLock(path).release()


def test_gone_with_its_process(tmp_path: Path) -> None:
    """A process that ended without a word holds nothing, though the lock's file is there."""
    path = tmp_path / "run.sqlite"
    code = (
        "import sys, os, pathlib\nfrom gaussprobe.writerlock import WriterLock\n"
        "lock = WriterLock(pathlib.Path(sys.argv[1]))\nprint('held', flush=True)\nsys.stdin.read()\n"
        "os._exit(0)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert is_held(path)
        process.kill()
    assert (tmp_path / "run.sqlite-lock").exists()
    assert not is_held(path)
    WriterLock(path).release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"notes of mine", b"SQLite format 3\0" + bytes(100)])
def test_something_else_in_its_place(tmp_path: Path, content: bytes) -> None:
    """A file that is no lock is neither believed nor touched."""
    path = tmp_path / "run.sqlite"
    other = tmp_path / "run.sqlite-lock"
    other.write_bytes(content)
    assert not is_held(path)
    with pytest.raises(StoreError, match="no lock beside it") as caught:
        WriterLock(path)
    assert len(str(caught.value).splitlines()) == 2
    assert other.read_bytes() == content


def test_ours_is_what_this_process_has_open(tmp_path: Path) -> None:
    """A run counts as this process's own from the moment it says so to its release, by any name."""
    path, link = tmp_path / "run.sqlite", tmp_path / "link"
    path.touch()
    link.symlink_to(path)
    lock = WriterLock(link)
    assert not writerlock.is_ours(path)
    lock.claim()
    assert writerlock.is_ours(path)
    assert writerlock.is_ours(link)
    lock.release()
    assert not writerlock.is_ours(path)

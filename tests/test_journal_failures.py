"""gaussprobe.journal: disks that fill, files that go, processes that end, programs that interfere."""

from __future__ import annotations

import dataclasses
import errno
import os
import sqlite3
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from gaussprobe import schema, store, walfile
from gaussprobe.errors import GaussprobeWarning, StoreError
from gaussprobe.journal import Journal
from tests.crashes import ROOT, crashes
from tests.stored import (
    METADATA,
    SITES,
    append,
    append_many,
    message,
    names,
    of_steps,
    step_series,
    whole,
)


def test_a_disk_that_is_full_from_the_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that cannot be opened for writing leaves nothing behind."""

    def full(path: Path) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(walfile, "connect", full)
    with pytest.raises(StoreError, match="disk full") as caught:
        Journal.open(path, METADATA)
    message(caught)
    assert names(path) == []


def abandoned(path: Path, steps: int) -> None:
    """Leave a run as a killed process leaves it."""
    code = (
        "import sys, os, pathlib\nfrom tests.crashes import write\n"
        "from gaussprobe.journal import Journal\nJournal.close = lambda *_: os._exit(0)\n"
        "write(pathlib.Path(sys.argv[1]), int(sys.argv[2]))\n"
    )
    arguments = [sys.executable, "-c", code, str(path), str(steps)]
    subprocess.run(arguments, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def test_a_killed_run_says_so_until_it_is_resumed(path: Path) -> None:
    """A run whose process ended loads with a warning; resumed and closed it is a run as any other."""
    abandoned(path, 3)
    assert "run.sqlite-wal" in names(path)
    run = store.load(path)
    assert len(run.metrics) == 3
    assert run.warnings == (
        "not closed: its process ended before the run was closed, "
        "or the file was copied while it was written",
    )
    with Journal.open(path, METADATA, resume=True) as journal:
        assert journal.last_step == 2
        assert journal.resumed is not None
        assert journal.resumed.warnings == ()
        append(journal, 3)
        assert store.load(path).warnings == ()
    assert store.load(path).warnings == ()
    assert len(store.load(path).metrics) == 4
    assert names(path) == ["run.sqlite"]


def test_save_replaces_a_killed_run_and_its_log(path: Path) -> None:
    """A run saved over a killed one is not mixed with the log of that."""
    abandoned(path, 3)
    store.save(of_steps(1), path)
    assert whole(store.load(path)) == whole(of_steps(1))
    assert [name for name in names(path) if name != "run.sqlite-lock"] == ["run.sqlite"]


@pytest.mark.parametrize("journal", [False, True], ids=["log", "rollback journal"])
def test_killed_writers(journal: bool) -> None:
    """Killed at random moments, a run keeps every step that was written, whole, and goes on from there."""
    found = crashes(5, 20260201 + journal, journal=journal, resumed=3)
    assert len(found) == 5
    assert all(one.sound for one in found), found


def smaller_disk(journal: Journal, pages: int) -> None:
    """Let the file grow by so many pages only."""
    assert journal._connection is not None
    (now,) = journal._connection.execute("PRAGMA page_count").fetchone()
    journal._connection.execute(f"PRAGMA max_page_count = {now + pages}")


def test_a_full_disk(path: Path, either: str) -> None:
    """Training goes on: one warning, no exception, what was written stays, and the run says what happened."""
    with Journal.open(path, METADATA) as journal:
        append(journal, 0)
        smaller_disk(journal, 20)
        with pytest.warns(GaussprobeWarning, match="disk full; the training goes on") as caught:
            append_many(journal, range(1, 200))
        assert len(caught) == 1
        assert journal.failed is not None
        assert journal.failed.endswith(": disk full")
        last = int(journal.failed.split(" at step ")[1].split(":")[0]) - 1
        assert 0 < last < 100
    expected = of_steps(last + 1, warnings=(f"incomplete: writing failed at step {last + 1}: disk full",))
    assert whole(store.load(path)) == whole(expected)
    assert names(path) == ["run.sqlite"]
    with Journal.open(path, METADATA, resume=True) as journal:
        assert journal.last_step == last
        append(journal, last + 1)
    assert store.load(path).warnings == expected.warnings


def test_a_file_that_may_not_grow() -> None:
    """A limit of the system on the size of files, the nearest to a full disk, ends the same way."""
    code = (
        "import resource, sys, tempfile, warnings, pathlib\n"
        "from gaussprobe import store\nfrom gaussprobe.journal import Journal\n"
        "from tests.stored import METADATA, step_scores, step_series\n"
        "warnings.simplefilter('always')\n"
        "with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:\n"
        "    path = pathlib.Path(folder, 'run.sqlite')\n"
        "    with Journal.open(path, METADATA) as journal:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "        for step in range(400):\n"
        "            journal.append(step=step, scores=step_scores(step), series=step_series(step))\n"
        "    run = store.load(path)\n"
        "    print(len(caught), journal.failed, run.warnings, run.scores == tuple(\n"
        "        score for step in range(run.scores[-1].step + 1) for score in step_scores(step)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 writing failed at step "), done.stdout
    assert "('incomplete: writing failed at step " in done.stdout, done.stdout
    assert done.stdout.endswith("True\n"), done.stdout


@pytest.mark.parametrize("how", ["moved", "deleted", "replaced"])
def test_a_file_that_is_gone(path: Path, how: str) -> None:
    """A file that is moved, deleted or replaced under its writer: one warning, no other file touched."""
    with Journal.open(path, METADATA) as journal:
        append(journal, 0)
        if how == "moved":
            path.rename(path.with_name("elsewhere"))
        else:
            path.unlink()
        if how == "replaced":
            path.write_bytes(b"another's")
        with pytest.warns(GaussprobeWarning, match="the file was moved or deleted") as caught:
            append_many(journal, range(1, 3))
        assert len(caught) == 1
    if how == "replaced":
        assert path.read_bytes() == b"another's"


def test_what_cannot_be_stored_ends_the_run_not_the_training(path: Path) -> None:
    """A record that the file has no place for is a failure of writing like any other."""
    with Journal.open(path, METADATA) as journal:
        append(journal, 0)
        with pytest.warns(GaussprobeWarning, match="writing failed at step 1: there is a standard error of"):
            journal.append(step=1, series=[dataclasses.replace(step_series(1)[0], errors={"sd": 1.0})])
    assert store.load(path).warnings[-1].startswith("incomplete: writing failed at step 1")


def test_a_run_does_not_outgrow_what_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing ends at the number of rows, and at the size, that a reader would refuse to go beyond."""
    monkeypatch.setitem(schema.MAX_ROWS, "scores", 5 * len(SITES))
    with (
        Journal.open(path, METADATA) as journal,
        pytest.warns(GaussprobeWarning, match="scores has more than 20 rows"),
    ):
        append_many(journal, range(10))
    assert store.load(path).scores[-1].step == 4
    monkeypatch.undo()
    monkeypatch.setattr(schema, "MAX_FILE", 300_000)
    with (
        Journal.open(path.with_name("next"), METADATA) as journal,
        pytest.warns(GaussprobeWarning, match="disk full"),
    ):
        append_many(journal, range(200))
    assert 10 < store.load(path.with_name("next")).scores[-1].step < 199


def test_a_locked_file_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps wait in memory while another program locks the file, in their order, and none is lost."""
    monkeypatch.setattr(walfile, "_BUSY_SECONDS", 0.01)
    with Journal.open(path, METADATA) as journal:
        append(journal, 0)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for step in (1, 2, 3):
            append(journal, step)
        assert len(store.load(path).metrics) == 1
        other.execute("ROLLBACK")
        other.close()
        append(journal, 4)
        assert len(store.load(path).metrics) == 5
    assert whole(store.load(path)) == whole(of_steps(5))


def test_a_file_locked_for_good(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps do not wait in memory without end."""
    monkeypatch.setattr(walfile, "_BUSY_SECONDS", 0.0)
    monkeypatch.setattr(walfile, "_CLOSE_SECONDS", 0.0)
    with Journal.open(path, METADATA) as journal:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.warns(GaussprobeWarning, match="writing failed at step 0: database is locked"):
            append_many(journal, range(70))
        other.close()
    assert store.load(path).warnings == ("incomplete: writing failed at step 0: database is locked",)


class Interrupting:
    """A connection that is interrupted from the keyboard right after one kind of statement."""

    def __init__(self, connection: sqlite3.Connection, statement: str) -> None:
        self._connection, self._statement = connection, statement

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *arguments: Any) -> Any:
        done = self._connection.execute(sql, *arguments)
        if sql.startswith(self._statement):
            self._statement = "none any more"
            raise KeyboardInterrupt
        return done


@pytest.mark.parametrize("statement", ["BEGIN", "DELETE", "COMMIT"])
def test_an_interrupt_loses_and_doubles_nothing(path: Path, statement: str) -> None:
    """Ctrl-C while a step is written: the step is there once, written before it or when the run is closed."""
    journal = Journal.open(path, METADATA)
    append(journal, 0)
    journal._connection = Interrupting(journal._connection, statement)  # type: ignore[assignment, arg-type]
    with pytest.raises(KeyboardInterrupt):
        append(journal, 1, capture=[])
    journal.close()
    assert journal.failed is None
    assert whole(store.load(path)) == whole(of_steps(2))


def test_a_log_where_shared_memory_cannot_be_had(path: Path) -> None:
    """Where the log's index cannot be made, a rollback journal takes its place, for old runs and new."""
    index = path.with_name("run.sqlite-shm")
    for resume in (False, True):
        index.mkdir()
        with Journal.open(path, METADATA, resume=resume) as journal:
            step = 0 if journal.last_step is None else journal.last_step + 1
            append(journal, step)
            assert journal._connection is not None
            assert journal._connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
            assert len(store.load(path).metrics) == step + 1
        index.rmdir()
    assert whole(store.load(path)) == whole(of_steps(2))
    assert names(path) == ["run.sqlite"]


def test_closing_waits_for_readers(path: Path) -> None:
    """A reader that is still there when the run is closed does not keep it from becoming one plain file."""
    journal = Journal.open(path, METADATA)
    append(journal, 0)
    reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, check_same_thread=False)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM scores").fetchall()
    timer = threading.Timer(0.3, reader.close)
    timer.start()
    journal.close()
    timer.join()
    assert names(path) == ["run.sqlite"]
    assert whole(store.load(path)) == whole(of_steps(1))


def test_a_reader_that_does_not_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing does not wait for ever; the run is whole and closed all the same."""
    monkeypatch.setattr(walfile, "_BUSY_SECONDS", 0.01)
    monkeypatch.setattr(walfile, "_CLOSE_SECONDS", 0.05)
    journal = Journal.open(path, METADATA)
    append(journal, 0)
    reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM scores").fetchall()
    journal.close()
    assert whole(store.load(path)) == whole(of_steps(1))
    reader.close()
    assert whole(store.load(path)) == whole(of_steps(1))
    with Journal.open(path, METADATA, resume=True) as journal:
        append(journal, 1)
    assert names(path) == ["run.sqlite"]


def test_a_forked_child_leaves_it_alone(path: Path) -> None:
    """A worker that was forked from the training process neither writes nor closes the run."""
    journal = Journal.open(path, METADATA)
    append(journal, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking beside threads
        child = os.fork()
    if child == 0:
        append(journal, 1)
        journal.close()
        os._exit(0)
    os.waitpid(child, 0)
    append(journal, 1)
    assert journal.failed is None
    journal.close()
    assert whole(store.load(path)) == whole(of_steps(2))


def test_a_failing_look_at_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that stops answering is a failure of writing, not of the training."""
    with Journal.open(path, METADATA) as journal:
        append(journal, 0)

        def gone(self: Path, **_: Any) -> None:
            raise OSError(errno.ESTALE, "Stale file handle")

        with monkeypatch.context() as patched:
            patched.setattr(Path, "stat", gone)
            with pytest.warns(GaussprobeWarning, match="writing failed at step 1"):
                append(journal, 1)
    assert len(store.load(path).metrics) == 1

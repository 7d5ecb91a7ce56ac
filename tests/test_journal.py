"""gaussprobe.journal: a run written step by step, read at any moment, resumed."""

from __future__ import annotations

import dataclasses
import gc
import os
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from gaussprobe import schema, store
from gaussprobe.errors import StoreError
from gaussprobe.journal import Journal
from gaussprobe.types import CaptureRecord, NotCaptured
from tests.crashes import ROOT
from tests.stored import (
    METADATA,
    SITES,
    TESTS,
    append,
    append_many,
    message,
    names,
    of_steps,
    step_scores,
    step_series,
    whole,
)


def test_what_is_appended_is_loaded(path: Path, either: str) -> None:
    """A closed run is one plain file that loads, and was saved, as any other of the same content."""
    with Journal.open(path, METADATA) as journal:
        for step in range(4):
            append(journal, step)
    assert names(path) == ["run.sqlite"]
    assert whole(store.load(path)) == whole(of_steps(4))
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_it_is_read_at_any_moment(path: Path, either: str) -> None:
    """Before the first step and after each, the file holds exactly what was appended, and says nothing."""
    with Journal.open(path, METADATA) as journal:
        assert ("run.sqlite-wal" in names(path)) == (either == "log")
        assert whole(store.load(path)) == whole(of_steps(0))
        for step in range(3):
            append(journal, step)
            assert whole(store.load(path)) == whole(of_steps(step + 1))


def test_another_process_reads_it_while_it_is_written(path: Path, either: str) -> None:
    """A reader without torch, elsewhere, sees whole steps only, and the writer does not wait for it."""
    code = (
        "import sys, pathlib\nfrom gaussprobe import store\nfrom tests.stored import SITES\n"
        "for _ in range(20):\n"
        "    run = store.load(pathlib.Path(sys.argv[1]))\n"
        "    steps = run.scores[-1].step + 1\n"
        "    assert len(run.scores) == len(run.series) == steps * len(SITES), run\n"
        "    assert len(run.metrics) == steps and run.warnings == (), run.warnings\n"
        "    print(steps)\n"
    )
    with Journal.open(path, METADATA) as journal:
        append(journal, 0)
        arguments = [sys.executable, "-c", code, str(path)]
        with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as reader:
            step = 1
            while reader.poll() is None:
                append(journal, step)
                step += 1
                time.sleep(0.01)
            said, _ = reader.communicate()
        assert reader.returncode == 0
        assert journal.failed is None
    seen = [int(line) for line in said.split()]
    assert len(seen) == 20
    assert seen == sorted(seen)
    assert store.load(path).scores[-1].step == step - 1
    assert names(path) == ["run.sqlite"]


def test_capture_replaces_and_warnings_append(path: Path) -> None:
    """What was captured is as of the last step that says so; warnings add up."""
    first = CaptureRecord(site="a", kind=("affine",), calls=1, sampled=True)
    missed = NotCaptured(site="b", reason="never called")
    with Journal.open(path, METADATA) as journal:
        append(journal, 0, capture=[first, first], not_captured=[missed, missed], warnings=["one"])
        append(journal, 1, capture=[dataclasses.replace(first, calls=2)], warnings=["two", "three"])
        append(journal, 2, not_captured=[])
        append(journal, 3)
    run = store.load(path)
    assert [record.calls for record in run.capture] == [2]
    assert run.not_captured == ()
    assert run.warnings == ("one", "two", "three")


def test_close_takes_the_final_metadata(path: Path) -> None:
    """What is known only at the end replaces what was stored at the start; closing again is harmless."""
    journal = Journal.open(path, METADATA)
    append(journal, 0)
    final = dataclasses.replace(METADATA, seconds=12.5, data={"every": 1, "steps": 1})
    journal.close(final)
    journal.close()
    append(journal, 1)
    assert store.load(path).metadata == final


def test_resume_appends(path: Path, either: str) -> None:
    """A run goes on after its last step, and becomes the run that was never interrupted."""
    with Journal.open(path, METADATA, resume=True) as journal:
        assert (journal.last_step, journal.resumed) == (None, None)
        for step in range(3):
            append(journal, step, warnings=["kept"] if step == 0 else [])
    with Journal.open(path, METADATA, resume=True) as journal:
        assert journal.last_step == 2
        assert journal.resumed is not None
        assert whole(journal.resumed) == whole(of_steps(3, warnings=("kept",)))
        append(journal, 3)
        assert journal.resumed is None
        append(journal, 4)
    assert whole(store.load(path)) == whole(of_steps(5, warnings=("kept",)))


def test_steps_ascend(path: Path) -> None:
    """A step that is not after the last one is refused, in a resumed run too."""
    with Journal.open(path, METADATA) as journal:
        append(journal, 5)
        with pytest.raises(ValueError, match="step must be after the last recorded one, 5, got 5"):
            append(journal, 5)
    with (
        Journal.open(path, METADATA, resume=True) as journal,
        pytest.raises(ValueError, match="the last recorded one, 5, got 3"),
    ):
        append(journal, 3)


def test_starting_over_is_refused(path: Path) -> None:
    """A run that is there is neither overwritten nor appended to without `resume`."""
    with Journal.open(path, METADATA) as journal:
        append(journal, 0)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="holds a run already") as caught:
        Journal.open(path, METADATA)
    assert "resume=True" in message(caught)[1]
    assert path.read_bytes() == before
    assert names(path) == ["run.sqlite"]


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("content", [b"precious", b"SQLite format 3\0" + bytes(200)])
def test_what_is_no_run_is_left(path: Path, content: bytes, resume: bool) -> None:
    """A file that is no run is refused, whatever was asked."""
    path.write_bytes(content)
    with pytest.raises(StoreError, match="is not a gaussprobe run") as caught:
        Journal.open(path, METADATA, resume=resume)
    assert "left as it is" in message(caught)[1]
    assert path.read_bytes() == content
    assert names(path) == ["run.sqlite"]


def test_an_empty_file_is_no_run_yet(path: Path) -> None:
    """A name that was only reserved is taken."""
    path.touch()
    with Journal.open(path, METADATA) as journal:
        append(journal, 0)
    assert len(store.load(path).scores) == len(SITES)


@pytest.mark.parametrize(("key", "other"), [("model", "Other"), ("view", "layer"), ("mode", "eval")])
def test_another_run_is_not_resumed(path: Path, key: str, other: str) -> None:
    """A run of another model, view or mode is refused by name and left as it is."""
    with Journal.open(path, METADATA) as journal:
        append(journal, 0)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"its {key} is '.*', not '{other}'") as caught:
        Journal.open(path, dataclasses.replace(METADATA, **{key: other}), resume=True)
    message(caught)
    assert path.read_bytes() == before
    assert names(path) == ["run.sqlite"]


def test_an_older_schema_is_not_resumed(path: Path) -> None:
    """A file of the schema before this one is read but not written, and says so."""
    connection = schema.create(2)
    path.write_bytes(connection.serialize())
    connection.close()
    with pytest.raises(StoreError, match="schema 2, this one reads 3") as caught:
        Journal.open(path, METADATA, resume=True)
    message(caught)


def test_a_foreign_schema_is_not_resumed(path: Path) -> None:
    """A run with a trigger in it is refused before anything is written to it."""
    Journal.open(path, METADATA).close()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TRIGGER t AFTER INSERT ON scores BEGIN DELETE FROM warnings; END")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="other tables or views"):
        Journal.open(path, METADATA, resume=True)
    assert path.read_bytes() == before
    assert names(path) == ["run.sqlite"]


def test_a_path_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing folder, a folder, a device and a read-only file are refused when the run is opened."""
    for bad in (tmp_path / "no" / "run", tmp_path, Path("/dev/null"), tmp_path / "nul\0"):
        with pytest.raises(StoreError, match="Cannot write") as caught:
            Journal.open(bad, METADATA)
        message(caught)
    assert list(tmp_path.iterdir()) == []
    with Journal.open(tmp_path / "run", METADATA) as journal:
        append(journal, 0)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    for resume in (False, True):
        with pytest.raises(StoreError, match="Permission denied"):
            Journal.open(tmp_path / "run", METADATA, resume=resume)
    with pytest.raises(StoreError, match="Permission denied"):
        Journal.open(tmp_path / "new", METADATA)
    assert names(tmp_path / "run") == ["run"]


def test_data_that_json_has_not(path: Path) -> None:
    """Metadata that cannot be stored is refused before training starts."""
    with pytest.raises(StoreError, match="not JSON serializable"):
        Journal.open(path, dataclasses.replace(METADATA, data={"x": object()}))
    assert names(path) == []


def test_a_log_of_a_run_that_is_gone(path: Path) -> None:
    """A log without its run is not silently mixed into a new one."""
    path.with_name("run.sqlite-wal").write_bytes(b"older")
    with pytest.raises(StoreError, match=r"run\.sqlite-wal is left of a run that is gone"):
        Journal.open(path, METADATA)
    assert names(path) == ["run.sqlite-wal"]


def test_the_second_writer_is_refused(path: Path, either: str) -> None:
    """Two writers at once are one too many, in one process and in two; `save` keeps away as well."""
    with Journal.open(path, METADATA) as journal:
        append(journal, 0)
        with pytest.raises(StoreError, match="is being written by another `watch`") as caught:
            Journal.open(path, METADATA, resume=True)
        message(caught)
        with pytest.raises(StoreError, match="is being written by a `watch`"):
            store.save(of_steps(1), path)
        code = (
            "import sys, pathlib\nfrom gaussprobe.journal import Journal\n"
            "from gaussprobe.errors import StoreError\nfrom tests.stored import METADATA\n"
            "try:\n    Journal.open(pathlib.Path(sys.argv[1]), METADATA, resume=True)\n"
            "except StoreError as error:\n    print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert "is being written by another `watch`" in done.stdout
        append(journal, 1)
        assert journal.failed is None
    assert whole(store.load(path)) == whole(of_steps(2))
    store.save(of_steps(1), path)


def test_memory_does_not_grow(path: Path) -> None:
    """Nothing of a step is kept once it is written."""
    with Journal.open(path, METADATA) as journal:
        for step in range(50):
            append(journal, step)
        tracemalloc.start()
        try:
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            append_many(journal, range(50, 350))
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
    assert grown < 20_000


def test_size_is_linear(path: Path) -> None:
    """A site and step take what `gaussprobe.schema` says, with four tests, whatever the number of steps."""
    sizes = []
    for steps in (200, 400):
        one = path.with_name(f"{steps}")
        with Journal.open(one, METADATA) as journal:
            for step in range(steps):
                journal.append(step=step, scores=step_scores(step), series=step_series(step))
        sizes.append(one.stat().st_size)
    per_site = (sizes[1] - sizes[0]) / 200 / len(SITES)
    said = 215 + 52 * len(TESTS) + (241 + 315) / 2
    assert per_site == pytest.approx(said, rel=0.02)

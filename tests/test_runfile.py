"""gaussprobe.runfile: files that nobody vouches for, with a log or a journal beside them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from gaussprobe import runfile, schema, store, walfile
from gaussprobe.errors import StoreError
from gaussprobe.journal import Journal
from tests.stored import METADATA, SITES, step_scores, step_series, watched_run, whole


def killed(folder: Path, script: str = "", *, steps: int = 3) -> Path:
    """A run as a killed writer leaves it, altered in its log only: the file itself is as it was made."""
    made = folder / "made.sqlite"
    left = folder / "left" / "run.sqlite"
    left.parent.mkdir()
    with Journal.open(made, METADATA) as journal:
        for step in range(steps):
            journal.append(step=step, scores=step_scores(step))
        other = sqlite3.connect(made, isolation_level=None)
        other.executescript(script)
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{made}{suffix}", f"{left}{suffix}")
        other.close()
    return left


def torn(folder: Path) -> Path:
    """A run as a writer with a rollback journal leaves it when it is killed in a transaction."""
    made = folder / "made.sqlite"
    left = folder / "left" / "run.sqlite"
    left.parent.mkdir()
    store.save(watched_run(steps=20), made)
    connection = sqlite3.connect(made, isolation_level=None)
    connection.execute("PRAGMA cache_size = 2")
    connection.execute("PRAGMA cache_spill = 1")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE scores SET verdict = 'torn', notes = printf('%.*c', 3000, 'x')")
    for suffix in ("", "-journal"):
        shutil.copyfile(f"{made}{suffix}", f"{left}{suffix}")
    connection.execute("ROLLBACK")
    connection.close()
    assert left.read_bytes() != made.read_bytes()
    return left


def test_a_log_is_part_of_the_run(tmp_path: Path) -> None:
    """Steps that are only in the log of a killed writer are read."""
    left = killed(tmp_path)
    assert store.load(left).scores == tuple(score for step in range(3) for score in step_scores(step))
    assert left.with_name("run.sqlite-wal").exists()


def test_a_log_in_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite can make no index beside the log, file and log are read from copies."""
    left = killed(tmp_path)
    left.with_name("run.sqlite-shm").mkdir()
    assert len(store.load(left).scores) == 3 * len(SITES)


def test_a_journal_is_rolled_back_in_a_copy(tmp_path: Path) -> None:
    """A transaction that was killed half-way is undone for the reader; the files are left as they are."""
    left = torn(tmp_path)
    before = {path.name: path.read_bytes() for path in left.parent.iterdir()}
    assert whole(store.load(left)) == whole(watched_run(steps=20))
    assert {path.name: path.read_bytes() for path in left.parent.iterdir()} == before


def test_a_journal_that_names_another_file(tmp_path: Path) -> None:
    """A journal that would have SQLite delete the file it names is not played back."""
    left = torn(tmp_path)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    name = str(victim).encode()
    page = (2**30 // 4096 + 1).to_bytes(4, "big")
    superior = page + name + len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big")
    with left.with_name("run.sqlite-journal").open("ab") as journal:
        journal.write(superior + runfile._JOURNAL_MAGIC)
    with pytest.raises(StoreError, match="its journal names another file"):
        store.load(left)
    assert victim.read_bytes() == b"precious"


ENDLESS = "WITH RECURSIVE r (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM r) SELECT id, 'w' FROM r"


@pytest.mark.parametrize(
    "script",
    [
        f"DROP TABLE warnings; CREATE VIEW warnings (id, warning) AS {ENDLESS}",
        "CREATE TRIGGER t AFTER INSERT ON warnings BEGIN DELETE FROM scores; END",
        "CREATE TABLE more (id)",
        "DROP TABLE warnings; CREATE VIRTUAL TABLE warnings USING fts5 (id, warning)",
        f"BEGIN;{''.join(f'CREATE TABLE more{index} (id);' for index in range(2_000))}COMMIT",
        "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = "
        "'CREATE TABLE warnings (id, warning) -- ' || printf('%.*c', 3000000, 'x') WHERE name = 'warnings'",
        "PRAGMA user_version = 2",
    ],
    ids=["endless view", "trigger", "table", "virtual table", "many tables", "long text", "version"],
)
def test_a_log_cannot_bring_another_schema(tmp_path: Path, script: str) -> None:
    """What a log would make of a sound file is held to the schema too, before any of it can run."""
    left = killed(tmp_path, script)
    runfile.check_header(left)
    started = time.perf_counter()
    with pytest.raises(StoreError, match="is damaged and cannot be read") as caught:
        store.load(left)
    assert time.perf_counter() - started < 2
    assert len(str(caught.value)) < 500
    with pytest.raises(StoreError):
        Journal.open(left, METADATA, resume=True)


def test_a_log_cannot_bring_other_values(tmp_path: Path) -> None:
    """Rows from a log are checked as all rows are."""
    left = killed(tmp_path, "UPDATE scores SET verdict = 'a' || char(27) WHERE id = 2")
    with pytest.raises(StoreError, match=r"verdict 'a\\x1b' is unknown"):
        store.load(left)


def test_a_log_cannot_make_a_run_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that counts more pages than there are is given up on, not allocated."""
    left = killed(tmp_path)
    log = left.with_name("run.sqlite-wal")
    content = bytearray(log.read_bytes())
    # Both say how many pages the file has: the frames that commit, and the file's header.
    pages = (2**22).to_bytes(4, "big")
    for frame in range(32, len(content), 24 + 4096):
        if content[frame + 4 : frame + 8] != bytes(4):
            content[frame + 4 : frame + 8] = pages
    log.write_bytes(_mended(content))
    with left.open("r+b") as file:
        file.seek(28)
        file.write(pages)
    monkeypatch.setattr(runfile, "_GROWTH", 2**20)
    started = time.perf_counter()
    with pytest.raises(StoreError, match="is full"):
        store.load(left)
    assert time.perf_counter() - started < 2


def _mended(log: bytearray) -> bytes:
    """The log with the checksums of its frames computed again (https://sqlite.org/fileformat2.html#walformat)."""

    def summed(data: bytes, s0: int, s1: int) -> tuple[int, int]:
        order = "big" if log[3] & 1 else "little"
        for at in range(0, len(data), 8):
            s0 = (s0 + int.from_bytes(data[at : at + 4], order) + s1) & 0xFFFFFFFF
            s1 = (s1 + int.from_bytes(data[at + 4 : at + 8], order) + s0) & 0xFFFFFFFF
        return s0, s1

    sums = summed(log[:24], 0, 0)
    assert log[24:32] == b"".join(value.to_bytes(4, "big") for value in sums)
    for frame in range(32, len(log), 24 + 4096):
        sums = summed(log[frame : frame + 8], *sums)
        sums = summed(log[frame + 24 : frame + 24 + 4096], *sums)
        log[frame + 16 : frame + 24] = b"".join(value.to_bytes(4, "big") for value in sums)
    return bytes(log)


def test_a_damaged_log_loses_its_end_only(tmp_path: Path) -> None:
    """Whatever a machine that failed left at the end of the log, the whole steps before it are read."""
    left = killed(tmp_path)
    log = left.with_name("run.sqlite-wal")
    whole_log = log.read_bytes()
    seen = set()
    for cut in range(0, len(whole_log), 2_000):
        log.write_bytes(whole_log[:cut] + bytes(len(whole_log) - cut))
        left.with_name("run.sqlite-shm").unlink(missing_ok=True)
        scores = store.load(left).scores
        steps = len(scores) // len(SITES)
        assert scores == tuple(score for step in range(steps) for score in step_scores(step))
        seen.add(steps)
    assert {0, 1, 2} <= seen


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_what_is_no_log(tmp_path: Path, kind: str) -> None:
    """A link or a folder in the log's place is refused by name."""
    left = killed(tmp_path)
    log = left.with_name("run.sqlite-wal")
    if kind == "link":
        log.rename(tmp_path / "elsewhere")
        log.symlink_to(tmp_path / "elsewhere")
    else:
        log.unlink()
        log.mkdir()
    with pytest.raises(StoreError, match=r"run\.sqlite-wal is no log of a run"):
        store.load(left)


def test_a_log_of_an_older_run_is_not_read(tmp_path: Path) -> None:
    """A finished run beside which a log was left is what it is without."""
    left = killed(tmp_path)
    content = watched_run(steps=2)
    store.save(content, tmp_path / "other")
    shutil.copyfile(tmp_path / "other", left)
    assert whole(store.load(left)) == whole(content)


def test_a_file_without_its_log(tmp_path: Path) -> None:
    """A file that was copied while it was written loads with what is in it, says so, and stays alone."""
    left = killed(tmp_path)
    left.with_name("run.sqlite-wal").unlink()
    run = store.load(left)
    assert run.scores == ()
    assert "copied while it was written" in run.warnings[0]
    assert [path.name for path in left.parent.iterdir()] == ["run.sqlite"]


def test_a_lock_that_is_never_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader does not wait for ever for a writer that hangs in a transaction."""
    monkeypatch.setattr(runfile, "_BUSY_SECONDS", 0.1)
    monkeypatch.setattr(walfile, "is_on_network", lambda path: True)
    path = tmp_path / "run.sqlite"
    with Journal.open(path, METADATA) as journal:
        journal.append(step=0, series=step_series(0))
        assert journal._connection is not None
        journal._connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked"):
            store.load(path)
        journal._connection.execute("ROLLBACK")


def test_other_page_sizes(tmp_path: Path) -> None:
    """A log beside a file whose pages are not those of a run is refused."""
    path = tmp_path / "run.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(
        f"PRAGMA page_size = 8192; PRAGMA application_id = {schema.APPLICATION_ID}; "
        f"PRAGMA user_version = 3; {schema.SCHEMAS[3]}; PRAGMA journal_mode = WAL"
    )
    connection.execute("INSERT INTO warnings VALUES (0, 'w')")
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{path}{suffix}", f"{tmp_path / 'left'}{suffix}")
    connection.close()
    with pytest.raises(StoreError, match="its pages have 8,192 bytes"):
        store.load(tmp_path / "left")
    assert not os.path.lexists(tmp_path / "left-shm")

"""gaussprobe.store: a run to one SQLite file and back."""

from __future__ import annotations

import dataclasses
import math
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaussprobe import store
from gaussprobe.errors import StoreError
from gaussprobe.types import VERDICTS, Run
from tests.runs import build_run, runs


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "run.sqlite"
    store.save(build_run(), path)
    return path


@given(run=runs)
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_round_trip_is_exact(tmp_path_factory: pytest.TempPathFactory, run: Run) -> None:
    """Every run comes back as it was: order, None, NaN, infinities and the sign of zero too."""
    path = tmp_path_factory.mktemp("run") / "run.sqlite"
    store.save(run, path)
    assert repr(store.load(path)) == repr(run)


def test_realistic_run_comes_back(saved: Path) -> None:
    """A run of every verdict, with withheld p-values and pictures, comes back as it was."""
    assert repr(store.load(saved)) == repr(build_run())


def test_lone_surrogates_come_back(tmp_path: Path) -> None:
    """A file name that is not UTF-8, as Python holds it, survives."""
    run = build_run()
    metadata = dataclasses.replace(run.metadata, model="caf\udce9.pt")
    odd = dataclasses.replace(run, metadata=metadata, warnings=("caf\udce9", "nul \0 inside"))
    store.save(odd, tmp_path / "run.sqlite")
    assert repr(store.load(tmp_path / "run.sqlite")) == repr(odd)


def test_a_person_can_query_it(saved: Path) -> None:
    """Plain SQL finds the worst layer, a withheld p-value as NULL and NaN as text."""
    with sqlite3.connect(saved) as connection:
        worst = connection.execute(
            "SELECT site FROM scores WHERE kind <> 'activation' AND typeof(delta_median) = 'real' "
            "ORDER BY delta_median DESC LIMIT 1"
        ).fetchone()
        assert worst == ("encoder.layers.11.self_attention.output.dense#2",)
        withheld = "SELECT DISTINCT site FROM site_tests WHERE pvalue IS NULL ORDER BY site"
        assert connection.execute(withheld).fetchall() == [
            ("layers.0.attention.q_proj",),
            ("layers.0:gelu:input",),
        ]
        nan = "SELECT delta_median FROM scores WHERE site = 'heads.aux'"
        assert connection.execute(nan).fetchone() == ("NaN",)
        assert connection.execute("PRAGMA application_id").fetchone() == (store.APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (store.SCHEMA_VERSION,)
    connection.close()


def test_save_is_deterministic(tmp_path: Path) -> None:
    """The same run gives the same bytes."""
    for name in ("a", "b"):
        store.save(build_run(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_save_replaces_a_run_and_keeps_its_mode(saved: Path) -> None:
    """A run is replaced by a run, with the mode of the older file and nothing left beside it."""
    saved.chmod(0o640)
    store.save(build_run(scores=()), saved)
    assert store.load(saved).scores == ()
    assert saved.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in saved.parent.iterdir()] == ["run.sqlite"]


def test_save_follows_a_link(saved: Path) -> None:
    """A symbolic link stays a link, and what it names is replaced."""
    link = saved.with_name("latest")
    link.symlink_to(saved)
    store.save(build_run(scores=()), link)
    assert link.is_symlink()
    assert store.load(saved).scores == ()


@pytest.mark.parametrize(
    "content", [b"", b"precious", b"SQLite format 3\0", b"SQLite format 3\0" + bytes(200)]
)
def test_save_keeps_what_is_not_a_run(tmp_path: Path, content: bytes) -> None:
    """A file that is no run is left as it is."""
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="not a gaussprobe run"):
        store.save(build_run(), path)
    assert path.read_bytes() == content


def test_save_needs_a_folder(tmp_path: Path) -> None:
    """A missing folder, a folder in the file's place and a name no file can have are said in two lines."""
    for path in (tmp_path / "no" / "run", tmp_path, Path("/dev/null"), tmp_path / "nul\0"):
        with pytest.raises(StoreError, match="Cannot write") as caught:
            store.save(build_run(), path)
        assert len(str(caught.value).splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


def test_save_onto_a_read_only_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that its owner made read-only is not replaced through its folder."""
    before = saved.read_bytes()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StoreError, match="Permission denied"):
        store.save(build_run(scores=()), saved)
    assert saved.read_bytes() == before


def test_interrupted_save_leaves_the_old_run(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure while writing leaves the old run whole and no temporary file."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        store.save(build_run(scores=()), saved)
    assert repr(store.load(saved)) == repr(build_run())
    assert [path.name for path in saved.parent.iterdir()] == ["run.sqlite"]


def test_data_that_json_has_not(tmp_path: Path) -> None:
    """A run whose `data` holds an object is refused and nothing is written."""
    run = build_run()
    odd = dataclasses.replace(run, metadata=dataclasses.replace(run.metadata, data={"x": object()}))
    with pytest.raises(StoreError, match="not JSON serializable"):
        store.save(odd, tmp_path / "run.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_load_writes_nothing(saved: Path) -> None:
    """Reading changes neither the file nor its folder."""
    before = saved.stat().st_mtime_ns, saved.read_bytes()
    store.load(saved)
    assert (saved.stat().st_mtime_ns, saved.read_bytes()) == before
    assert [path.name for path in saved.parent.iterdir()] == ["run.sqlite"]


def test_load_takes_any_name(tmp_path: Path) -> None:
    """Characters that mean something in a URI are part of the name."""
    path = tmp_path / "a run?mode=rw#1 %41.sqlite"
    store.save(build_run(), path)
    assert repr(store.load(path)) == repr(build_run())


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE scores (id INTEGER)")
    connection.close()


def edited(path: Path, script: str) -> None:
    store.save(build_run(), path)
    with sqlite3.connect(path) as connection:
        connection.executescript(script)
    connection.close()


def cut(path: Path, size: int) -> None:
    store.save(build_run(), path)
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "No such file"),
        (Path.mkdir, "it is a folder"),
        (lambda path: os.mkfifo(path), "not a regular file"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"PK\3\4" + bytes(500)), "is not a gaussprobe run"),
        (foreign, "is not a gaussprobe run"),
        (lambda path: cut(path, 50), "is cut short"),
        (lambda path: cut(path, 9_000), "is cut short"),
        (lambda path: edited(path, "PRAGMA user_version = 99"), "schema 99, this one reads 1"),
        (lambda path: edited(path, "DROP TABLE tests"), "is damaged"),
        (lambda path: edited(path, "DELETE FROM meta"), "is damaged"),
        (lambda path: edited(path, "UPDATE meta SET value = '[1]' WHERE key = 'data'"), "is damaged"),
        (lambda path: edited(path, "UPDATE scores SET verdict = 'fine'"), "verdict 'fine' is unknown"),
        (lambda path: edited(path, "UPDATE scores SET delta_low = 'many'"), "expected a number"),
        (lambda path: edited(path, "UPDATE scores SET n_seen = 'many'"), "expected an integer"),
        (lambda path: edited(path, "UPDATE scores SET notes = '3'"), "expected a list"),
        (lambda path: edited(path, "UPDATE scores SET notes = 'x'"), "is damaged"),
        (lambda path: edited(path, "UPDATE not_captured SET site = x'ff'"), "is damaged"),
        (lambda path: edited(path, "UPDATE picture_units SET edges = '[1.0]'"), "has 1 edges"),
        (lambda path: edited(path, "UPDATE picture_units SET qq_normal = '[]'"), "0 normal scores"),
    ],
)
def test_load_refuses_what_is_not_a_whole_run(tmp_path: Path, make: Any, message: str) -> None:
    """Whatever is wrong with a file is said in one or two lines that name it."""
    path = tmp_path / "run.sqlite"
    make(path)
    with pytest.raises(StoreError, match=message) as caught:
        store.load(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


@given(flips=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=20))
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_damaged_bytes_never_escape(saved: Path, flips: list[tuple[int, int]]) -> None:
    """A file with any bytes changed loads or is refused; nothing else can happen."""
    content = bytearray(saved.read_bytes())
    for place, value in flips:
        content[place % len(content)] = value
    path = saved.with_name("damaged.sqlite")
    path.write_bytes(content)
    try:
        run = store.load(path)
    except StoreError:
        return
    assert all(math.isnan(score.qq_r2) or score.verdict in VERDICTS for score in run.scores)

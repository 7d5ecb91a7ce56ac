"""gaussprobe.store: a run to one SQLite file and back."""

from __future__ import annotations

import dataclasses
import math
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaussprobe import runfile, schema, store
from gaussprobe.errors import StoreError
from gaussprobe.records import Metric
from gaussprobe.types import VERDICTS, NotCaptured, Run
from tests.runs import build_run, many_sites
from tests.stored import any_run, watched_run, whole


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "run.sqlite"
    store.save(build_run(), path)
    return path


@given(run=any_run)
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_round_trip_is_exact(tmp_path_factory: pytest.TempPathFactory, run: Run) -> None:
    """Every run comes back as it was: order, None, NaN, infinities and the sign of zero too."""
    path = tmp_path_factory.mktemp("run") / "run.sqlite"
    store.save(run, path)
    assert whole(store.load(path)) == whole(run)


def test_realistic_run_comes_back(saved: Path) -> None:
    """A run of every verdict, with withheld p-values and pictures, comes back as it was."""
    assert whole(store.load(saved)) == whole(build_run())


def test_watched_run_comes_back(tmp_path: Path) -> None:
    """Series, metrics, events and the source of scores come back as they were."""
    path = tmp_path / "run.sqlite"
    store.save(watched_run(steps=3), path)
    assert whole(store.load(path)) == whole(watched_run(steps=3))


def test_lone_surrogates_come_back(tmp_path: Path) -> None:
    """A file name that is not UTF-8, as Python holds it, survives."""
    run = build_run()
    metadata = dataclasses.replace(run.metadata, model="caf\udce9.pt")
    odd = dataclasses.replace(run, metadata=metadata, warnings=("caf\udce9", "nul \0 inside"))
    store.save(odd, tmp_path / "run.sqlite")
    assert whole(store.load(tmp_path / "run.sqlite")) == whole(odd)


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
        assert connection.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA_VERSION,)
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
    with pytest.raises(StoreError, match="not a gaussprobe run"):
        store.check_replaceable(path)
    assert path.read_bytes() == content


def test_save_needs_a_folder(tmp_path: Path) -> None:
    """A missing folder, a folder in the file's place and a name no file can have are said in two lines."""
    long = tmp_path / ("x" * 300)
    for path in (tmp_path / "no" / "run", tmp_path, Path("/dev/null"), tmp_path / "nul\0", long):
        with pytest.raises(StoreError, match="Cannot write"):
            store.check_replaceable(path)
        with pytest.raises(StoreError, match="Cannot write") as caught:
            store.save(build_run(), path)
        assert len(str(caught.value).splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


def test_save_onto_a_read_only_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that its owner made read-only is not replaced through its folder."""
    before = saved.read_bytes()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    for refuse in (lambda: store.save(build_run(scores=()), saved), lambda: store.check_replaceable(saved)):
        with pytest.raises(StoreError, match="Permission denied"):
            refuse()
    assert saved.read_bytes() == before


def test_check_replaceable_allows_what_save_does(saved: Path) -> None:
    """A run and a name that is free may be written to, and asking changes nothing."""
    before = saved.read_bytes()
    store.check_replaceable(saved)
    store.check_replaceable(saved.with_name("new.sqlite"))
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["run.sqlite"]


def test_interrupted_save_leaves_the_old_run(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure while writing leaves the old run whole and no temporary file."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        store.save(build_run(scores=()), saved)
    assert whole(store.load(saved)) == whole(build_run())
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
    assert whole(store.load(path)) == whole(build_run())


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE scores (id INTEGER)")
    connection.close()


def edited(path: Path, script: str) -> None:
    store.save(watched_run(steps=2), path)
    with sqlite3.connect(path) as connection:
        connection.executescript(script)
    connection.close()


def in_place_of_warnings(select: str) -> str:
    return f"DROP TABLE warnings; CREATE VIEW warnings (id, warning) AS {select};"


ENDLESS = "WITH RECURSIVE r (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM r) SELECT id, 'w' FROM r"
HUGE = "SELECT 1, printf('%.*c', 900000000, 'x')"
WARNINGS = "CREATE TABLE warnings (id INTEGER PRIMARY KEY, warning TEXT NOT NULL"


def schema_text(new: str) -> str:
    """A script that puts another text, for the table of warnings, into the schema."""
    return f"PRAGMA writable_schema = ON; UPDATE sqlite_master SET {new} WHERE name = 'warnings';"


@pytest.mark.parametrize(
    "script",
    [
        in_place_of_warnings(ENDLESS),
        in_place_of_warnings(HUGE),
        f"DROP VIEW site_tests; CREATE VIEW site_tests AS {ENDLESS}",
        "CREATE TRIGGER t AFTER INSERT ON warnings BEGIN DELETE FROM scores; END",
        "CREATE TABLE more (id)",
        "CREATE INDEX more ON scores (site)",
        f"DROP TABLE warnings; {WARNINGS} AS (printf('%.*c', 9, 'x')))",
        f"DROP TABLE warnings; {WARNINGS} CHECK (length(printf('%.*c', 900000000, 'x'))))",
        "DROP TABLE warnings; CREATE VIRTUAL TABLE warnings USING fts5 (id, warning)",
        "DROP TABLE warnings; CREATE TABLE warnings (id INTEGER PRIMARY KEY, warning TEXT)",
        "DROP TABLE warnings",
        f"BEGIN;{''.join(f'CREATE TABLE more{index} (id);' for index in range(500))}COMMIT",
        schema_text(r"""sql = 'CREATE TABLE "warn' || char(7) || 'x" (', name = 'a' || char(7)"""),
        schema_text("sql = 'CREATE TABLE warnings (id, warning) -- ' || printf('%.*c', 3000000, 'x')"),
    ],
)
def test_load_reads_no_schema_but_its_own(tmp_path: Path, script: str) -> None:
    """Views, triggers, generated columns and any other schema are refused at once, before they can run."""
    path = tmp_path / "run.sqlite"
    edited(path, script)
    started = time.perf_counter()
    with pytest.raises(StoreError, match="is damaged and cannot be read") as caught:
        store.load(path)
    assert time.perf_counter() - started < 2
    assert len(str(caught.value)) < 500
    assert all(line.isprintable() for line in str(caught.value).splitlines())


def test_load_does_not_work_without_end(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged pages that keep SQLite busy are given up on."""
    monkeypatch.setattr(runfile, "_LEAST_STEPS", 50)
    monkeypatch.setattr(runfile, "_STEPS_PER_BYTE", 0)
    monkeypatch.setattr(runfile, "_STRIDE", 10)
    with pytest.raises(StoreError, match="more work than a run can need"):
        store.load(saved)


@pytest.mark.parametrize(
    "run",
    [
        many_sites(200),
        build_run(metrics=(Metric(step=0, name="", value=0.0),) * 20_000),
        build_run(not_captured=(NotCaptured(site="", reason=""),) * 20_000),
    ],
    ids=["drawn", "short rows", "shortest rows"],
)
def test_any_run_is_within_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """A run of large rows, and one of the smallest there are, take a fifth of what its size allows."""
    store.save(run, tmp_path / "run.sqlite")
    monkeypatch.setattr(runfile, "_LEAST_STEPS", 0)
    monkeypatch.setattr(runfile, "_STEPS_PER_BYTE", runfile._STEPS_PER_BYTE // 5)
    assert whole(store.load(tmp_path / "run.sqlite")) == whole(run)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("UPDATE scores SET n_seen = printf('%.*c', 900000, 'x')", "got 'x{199}\\.\\.\\."),
        ("UPDATE scores SET n_seen = printf('%.*c', 50000000, 'x')", "too big"),
        ("UPDATE scores SET verdict = 'a' || char(27) || '[2J'", r"verdict 'a\\x1b\[2J' is unknown"),
        ("UPDATE scores SET verdict = printf('%.*c', 900000, 'x')", "x{199}\\.\\.\\. is unknown"),
        ("UPDATE scores SET site = printf('%.*c', 4097, 'x')", "4,097 characters, more than 4,096"),
        ("UPDATE scores SET kind = 'affine+affine'", "kind 'affine\\+affine' repeats itself"),
        (
            "UPDATE picture_units SET counts = '[' || printf('%.*c', 4000, '9') || ']'",
            "of 64 bits, got 9{200}\\.\\.\\.",
        ),
        ("UPDATE picture_units SET below = 1.5", "expected an integer"),
        ("UPDATE meta SET value = printf('%.*c', 4000, '9') WHERE key = 'seed'", "at most 40 digits"),
        ("UPDATE meta SET value = printf('%.*c', 30, '9') WHERE key = 'max_samples'", "64 bits"),
        ("DELETE FROM meta WHERE key = 'data'", "'data' is missing"),
        ("UPDATE meta SET value = 'a' || char(27) WHERE key = 'state'", r"state 'a\\x1b' is unknown"),
        ("UPDATE scores SET source = 'backward'", "source 'backward' is unknown"),
        ("UPDATE series SET quantiles = 'none'", "expected packed numbers, got 'none'"),
        ("UPDATE series SET quantiles = x'6401'", "2 bytes are no list of at most 512 numbers"),
        ("UPDATE series SET quantiles = x'66' || zeroblob(4000)", "expected packed numbers"),
        ("UPDATE series SET quantiles = CAST(x'66' || zeroblob(4000) AS BLOB)", "4,001 bytes are no list"),
        ("UPDATE series SET delta_error = 'much'", "expected a number, got 'much'"),
        ("UPDATE series SET verdict99 = 'fine'", "verdict 'fine' is unknown"),
        ("UPDATE series SET silent_units = -1", "expected a count, got -1"),
        ("UPDATE metrics SET value = NULL WHERE 0; UPDATE metrics SET value = 'NAN'", "expected a number"),
        ("UPDATE events SET kind = 'jumped'", "event 'jumped' is unknown"),
        ("UPDATE events SET quantity = 'mean'", "quantity 'mean' is unknown"),
        ("DELETE FROM scores WHERE id = 3", "there are tests for 3, which is not there"),
        ("DELETE FROM pictures WHERE id = 3", "there are units drawn for 3, which is not there"),
    ],
)
def test_load_says_what_is_wrong_in_few_words(tmp_path: Path, script: str, message: str) -> None:
    """Content of the file is repeated in a message only shortened and escaped."""
    path = tmp_path / "run.sqlite"
    edited(path, script)
    with pytest.raises(StoreError, match=message) as caught:
        store.load(path)
    assert len(str(caught.value)) < 500
    assert all(line.isprintable() for line in str(caught.value).splitlines())


def test_file_name_in_a_message_is_escaped(tmp_path: Path) -> None:
    """A name with a line break or an escape sequence adds no line and does not steer the terminal."""
    path = tmp_path / "a\n\x1b[2J"
    for refuse in (store.load, store.check_replaceable):
        path.write_bytes(b"no run")
        with pytest.raises(StoreError, match=r"a\\n\\x1b\[2J") as caught:
            refuse(path)
        assert len(str(caught.value).splitlines()) == 2


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
        (lambda path: edited(path, "PRAGMA user_version = 99"), "schema 99, this one reads 2 to 3"),
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

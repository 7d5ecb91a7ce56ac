"""gaussprobe.schema: versions and limits, which hold for what is written and for what is read."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest

from gaussprobe import cells, schema, store
from gaussprobe.errors import StoreError
from gaussprobe.types import Run
from tests.runs import build_run, renamed
from tests.stored import watched_run, whole


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "run.sqlite"
    store.save(build_run(), path)
    return path


def older(path: Path, run: Run, script: str = "") -> None:
    """The run as the schema before this one kept it."""
    newer = path.with_name("newer.sqlite")
    store.save(run, newer)
    connection = schema.create(2)
    connection.execute("ATTACH ? AS newer", (str(newer),))
    for table in schema.MAX_ROWS.keys() - {"series", "metrics", "events"}:
        names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        columns = ", ".join(names)
        connection.execute(f"INSERT INTO {table} SELECT {columns} FROM newer.{table}")
    connection.execute("DELETE FROM meta WHERE key = 'state'")
    connection.executescript(script)
    path.write_bytes(connection.serialize())
    connection.close()
    newer.unlink()


def test_an_older_run_is_read(tmp_path: Path) -> None:
    """A file of schema 2 gives the run that was saved in it, and may be replaced."""
    path = tmp_path / "run.sqlite"
    older(path, build_run())
    assert whole(store.load(path)) == whole(build_run())
    store.save(build_run(scores=()), path)
    assert store.load(path).scores == ()


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TRIGGER t AFTER INSERT ON warnings BEGIN DELETE FROM scores; END",
        "ALTER TABLE scores ADD COLUMN source TEXT",
        "PRAGMA user_version = 3",
    ],
)
def test_an_older_run_has_its_own_schema(tmp_path: Path, script: str) -> None:
    """A file of schema 2 is held to the text of schema 2."""
    path = tmp_path / "run.sqlite"
    older(path, build_run(), script)
    with pytest.raises(StoreError, match="other tables or views than a run has"):
        store.load(path)


def test_schema_changes_with_its_version() -> None:
    """The text of the schema is what a file is held to: whoever edits it raises SCHEMA_VERSION too."""
    digests = {
        version: hashlib.sha256(repr(sorted(map(repr, schema.expected(version)))).encode()).hexdigest()[:16]
        for version in schema.SCHEMAS
    }
    assert max(digests) == schema.SCHEMA_VERSION
    assert digests == {2: "4a3db4a80136cd9e", 3: "404ee89b61a980d8"}


def with_unit(**changes: Any) -> Run:
    run = build_run()
    picture = run.pictures[0]
    unit = dataclasses.replace(picture.units[0], **changes)
    return dataclasses.replace(run, pictures=(dataclasses.replace(picture, units=(unit,)),))


def with_data(data: Any) -> Run:
    run = build_run()
    return dataclasses.replace(run, metadata=dataclasses.replace(run.metadata, data={"x": data}))


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


RECORD = watched_run(steps=1).series[0]
TOO_LARGE = [
    (with_unit(edges=(0.0,) * 514, counts=(1,) * 513), "513 bins, more than 512"),
    (with_unit(edges=(0.0, 1.0), counts=(10**3999,)), "expected an integer of 64 bits, got 10{199}"),
    (with_unit(qq_normal=(0.0,) * 2001, qq_sample=(0.0,) * 2001), "2,001 points, more than 2,000"),
    (with_data(nested(40)), "nests deeper than 32"),
    (with_data("x" * (2**20 + 1)), "too big"),
    (build_run(warnings=("x" * (2**20 + 1),)), "too big"),
    (renamed(build_run(), "heads.aux", "x" * 4_097), "4,097 characters"),
    (
        build_run(series=(dataclasses.replace(RECORD, quantiles=(0.5,) * 513),)),
        "quantiles|no list of at most",
    ),
]


@pytest.mark.parametrize(("run", "message"), TOO_LARGE, ids=[message for _, message in TOO_LARGE])
def test_what_is_too_large_is_neither_stored_nor_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, message: str
) -> None:
    """Save refuses what load would refuse; a file that holds it all the same is refused by load."""
    path = tmp_path / "run.sqlite"
    with pytest.raises(StoreError, match=message):
        store.save(run, path)
    with monkeypatch.context() as patched:
        for name in ("MAX_VALUE", "MAX_BINS", "MAX_QQ_POINTS", "MAX_DEPTH", "MAX_NAME", "MAX_QUANTILES"):
            patched.setattr(schema, name, 2**26)
        patched.setattr(cells, "INT64", 10**4000)
        store.save(run, path)
    with pytest.raises(StoreError, match=message):
        store.load(path)


@pytest.mark.parametrize("table", schema.MAX_ROWS)
def test_rows_are_capped(saved: Path, monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    """More rows than a run can have are neither read nor stored."""
    store.save(watched_run(steps=2), saved)
    monkeypatch.setitem(schema.MAX_ROWS, table, 0)
    with pytest.raises(StoreError, match=f"{table} has more than 0 rows"):
        store.load(saved)
    with pytest.raises(StoreError, match=f"{table} has more than 0 rows"):
        store.save(watched_run(steps=2), saved)


def test_file_size_is_capped(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file larger than the largest run is refused by its size alone, and none is written."""
    monkeypatch.setattr(schema, "MAX_FILE", 1_000)
    with pytest.raises(StoreError, match="larger than a run can be"):
        store.load(saved)
    with pytest.raises(StoreError, match="more than 1,000"):
        store.save(build_run(), saved.with_name("new"))


@pytest.mark.parametrize(
    ("field", "item"),
    [
        ("series", dataclasses.replace(RECORD, errors={"mean": 0.1})),
        ("series", dataclasses.replace(RECORD, source="sideways")),
        ("events", dataclasses.replace(watched_run(steps=2).events[0], kind="burst")),
    ],
)
def test_what_has_no_place_is_not_stored(tmp_path: Path, field: str, item: Any) -> None:
    """What a file could not give back is refused when it is saved."""
    with pytest.raises(StoreError, match="The run cannot be stored"):
        store.save(build_run(**{field: (item,)}), tmp_path / "run.sqlite")
    assert list(tmp_path.iterdir()) == []

"""A `Run` to and from one SQLite file that a person can also read with the `sqlite3` shell.

One row per step and site in `scores`, one per test in `tests`, one per drawn unit in `picture_units`; the
view `site_tests` joins tests with their sites; `series`, `metrics` and `events` are of a watched run. The
tables and their limits are in `gaussprobe.schema`; a run is written step by step by `gaussprobe.journal`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from gaussprobe import cells, files, rows, runfile, schema, writerlock
from gaussprobe.errors import StoreError
from gaussprobe.records import Event, Metric, SiteRecord
from gaussprobe.rows import Rows
from gaussprobe.types import LayerScore, Metadata, Run

# The row of `meta` that says whether a run was written to its end.
STATE = "state"
FINISHED, OPEN, INCOMPLETE = "finished", "open", "incomplete: "

_NOT_CLOSED = (
    "not closed: its process ended before the run was closed, or the file was copied while it was written"
)


def save(run: Run, path: str | Path) -> None:
    """Write a run to one SQLite file, replacing an older run there whole or not at all.

    Args:
        run: the run. `run.metadata.data` must be made of what JSON has; tuples in it come back as lists.
        path: where to; its folder must exist. A symbolic link is followed.

    Raises:
        StoreError: if `path` cannot be written, holds something other than a run, is being written, or `run`
            cannot be stored.
    """
    check_replaceable(path)
    try:
        content = serialized(run, FINISHED)
    except cells.BAD_CONTENT as error:
        raise StoreError(
            f"The run cannot be stored: {cells.detail(error)}.\nNothing was written to {_shown(path)}."
        ) from error
    files.replace_file(path, content)
    # Logs that the replaced run had beside it; the header of the new one says that it has none.
    for suffix in ("-wal", "-shm", "-journal"):
        log = Path(path).resolve()
        with contextlib.suppress(OSError):
            log.with_name(log.name + suffix).unlink()


def check_replaceable(path: str | Path) -> None:
    """Refuse a path that `save` would refuse, without writing anything: to be asked before a long scan.

    Args:
        path: where a run is to be saved.

    Raises:
        StoreError: if it holds something other than a run, is being written, is a folder or a device, its
            folder is missing, or permission is.
    """
    files.check_replaceable(path)
    path = Path(path)
    if not path.exists():
        return
    if writerlock.is_held(path):
        raise StoreError(
            f"{_shown(path)} is being written by a `watch`: left as it is.\n"
            "Choose another name, or wait until it has ended."
        )
    try:
        runfile.check_header(path)
    except StoreError as error:
        raise StoreError(
            f"{_shown(path)} exists and is not a gaussprobe run that this version can replace: "
            "left as it is.\n"
            "Choose another name, or delete it first."
        ) from error


def load(path: str | Path) -> Run:
    """Read a run, at any moment: also while it is written, and what a killed process left of it.

    The file is opened read-only. Nothing is written beside a finished run.

    Args:
        path: a file written by `save` or by `watch`.

    Returns:
        The run, equal to the one that was saved. One whose writing failed says so as its last warning, and so
        does one that was not closed, unless its writer is alive.

    Raises:
        StoreError: if `path` is missing, unreadable, damaged, from a newer gaussprobe, or not a run.
    """
    # Asked first: a writer that ends while the run is read has closed it.
    return _load(Path(path), written=writerlock.is_held(path), noted=True)


def load_locked(path: Path) -> Run:
    """Read a run as whoever holds its lock and has not opened it yet; its not being closed is no news.

    Raises:
        StoreError: as `load`.
    """
    return _load(path, written=False, noted=False)


def serialized(run: Run, state: str) -> bytes:
    """The bytes of a run's file.

    Args:
        run: the run.
        state: `FINISHED`, or `OPEN` where more will follow.

    Raises:
        cells.BAD_CONTENT: if it cannot be stored.
    """
    with contextlib.closing(schema.create()) as connection:
        insert(connection, "meta", [*rows.meta_rows(run.metadata), (STATE, state)])
        batch = {
            **step_rows(run.scores, run.series, run.metrics, run.events, run.warnings, first_score=0),
            "pictures": rows.picture_rows(run.pictures),
            "picture_units": rows.unit_rows(run.pictures),
            "capture": rows.capture_rows(run.capture),
            "not_captured": rows.missed_rows(run.not_captured),
        }
        for table, added in batch.items():
            insert(connection, table, added, first=0)
        connection.commit()
        content = connection.serialize()
    if len(content) > schema.MAX_FILE:
        raise ValueError(f"it takes {len(content):,} bytes, more than {schema.MAX_FILE:,}")
    return content


def step_rows(
    scores: Sequence[LayerScore],
    series: Iterable[SiteRecord],
    metrics: Iterable[Metric],
    events: Iterable[Event],
    warnings: Iterable[str],
    *,
    first_score: int,
) -> dict[str, Rows]:
    """The rows of what comes with every step, by table; the first score has the id `first_score`."""
    return {
        "scores": rows.score_rows(scores),
        "tests": rows.gof_rows(scores, first_score),
        "series": rows.record_rows(series),
        "metrics": rows.metric_rows(metrics),
        "events": rows.event_rows(events),
        "warnings": rows.warning_rows(warnings),
    }


def insert(connection: sqlite3.Connection, table: str, content: Rows, *, first: int | None = None) -> None:
    """Add rows to a table.

    Args:
        connection: of the run.
        table: its name.
        content: the rows.
        first: id of the first of them; None where rows have no id.

    Raises:
        ValueError: if the table would have more rows than a run can have.
    """
    if not content:
        return
    schema.require_rows(table, (first or 0) + len(content))
    if first is not None:
        content = [(index, *row) for index, row in enumerate(content, first)]
    marks = ", ".join("?" * len(content[0]))
    connection.executemany(f"INSERT INTO {table} VALUES ({marks})", content)  # noqa: S608  table names are ours


def _read_metadata(connection: sqlite3.Connection) -> tuple[Metadata, str]:
    """Where a run came from, and its state."""
    found = _fetched(connection, "meta", "SELECT key, value FROM meta")
    meta = {cells.as_text(row["key"]): cells.as_text(row["value"]) for row in found}
    return rows.as_metadata(meta), meta.get(STATE, FINISHED).rstrip()


def _load(path: Path, *, written: bool, noted: bool) -> Run:
    runfile.check_header(path)
    try:
        with runfile.opened(path, written=written) as (connection, version):
            run, state = _read(connection, version)
            notes = _state_warnings(state, written)
    except cells.BAD_CONTENT as error:
        raise StoreError(
            f"{_shown(path)} is damaged and cannot be read ({cells.detail(error)}).\n"
            "Copy it again, or make the run again."
        ) from error
    return dataclasses.replace(run, warnings=(*run.warnings, *notes)) if noted and notes else run


def _read(connection: sqlite3.Connection, version: int) -> tuple[Run, str]:
    def table(name: str) -> Iterator[sqlite3.Row]:
        if name in ("series", "metrics", "events") and version < 3:
            return iter(())
        return _fetched(connection, name, f"SELECT * FROM {name} ORDER BY id")  # noqa: S608  table names are ours

    metadata, state = _read_metadata(connection)
    tests = rows.as_tests(table("tests"))
    scores = {row["id"]: rows.as_score(row, tests.get(row["id"], {}), version) for row in table("scores")}
    units = rows.as_units(table("picture_units"))
    pictures = {row["id"]: rows.as_picture(row, units.get(row["id"], ())) for row in table("pictures")}
    _require_owners("tests", tests, scores)
    _require_owners("units drawn", units, pictures)
    run = Run(
        metadata=metadata,
        scores=tuple(scores.values()),
        pictures=tuple(pictures.values()),
        capture=tuple(map(rows.as_capture, table("capture"))),
        not_captured=tuple(map(rows.as_missed, table("not_captured"))),
        warnings=tuple(cells.as_text(row["warning"]) for row in table("warnings")),
        series=tuple(map(rows.as_record, table("series"))),
        metrics=tuple(map(rows.as_metric, table("metrics"))),
        events=tuple(map(rows.as_event, table("events"))),
    )
    return run, state


def _state_warnings(state: str, written: bool) -> list[str]:
    if state.startswith(INCOMPLETE):
        return [files.printable(cells.shorten(state))]
    if state not in (FINISHED, OPEN):
        raise ValueError(f"state {cells.quoted(state)} is unknown")
    return [_NOT_CLOSED] if state == OPEN and not written else []


def _require_owners(what: str, children: Iterable[object], owners: Mapping[object, object]) -> None:
    """Nothing is dropped silently: what belongs to no row that is there makes the file a damaged one."""
    if strays := set(children) - owners.keys():
        raise ValueError(f"there are {what} for {cells.quoted(next(iter(strays)))}, which is not there")


def _fetched(connection: sqlite3.Connection, table: str, query: str) -> Iterator[sqlite3.Row]:
    """Rows one by one: a long run has millions."""
    for count, row in enumerate(connection.execute(query), 1):
        schema.require_rows(table, count)
        yield row


def _shown(path: str | Path) -> str:
    return files.printable(str(path))

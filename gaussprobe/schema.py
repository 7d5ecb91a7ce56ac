"""The tables of a run file, its limits, and how a file that nobody vouches for is opened.

A run is data, but an SQLite schema can hold programs: a view in place of a table, a generated column, a
trigger, a virtual table. Nothing is read from a file whose schema is not, letter for letter, the one below,
and nothing in it may be larger than a run can need. What `save` writes is held to the same limits.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gaussprobe import files
from gaussprobe.errors import StoreError

APPLICATION_ID = 0x67617573  # "gaus"
SCHEMA_VERSION = 2  # to be raised with any change to SCHEMA, comments included: SQLite keeps its text

MAX_FILE = 2**30
MAX_VALUE = 2**20  # bytes of one text or row
MAX_NAME = 4_096  # characters of the name of a site or a test
MAX_BINS = 512
MAX_QQ_POINTS = 2_000
MAX_DEPTH = 32  # of what `metadata.data` nests
MAX_ROWS = {
    "meta": 64,
    "scores": 100_000,
    "tests": 1_600_000,
    "pictures": 100_000,
    "picture_units": 400_000,
    "capture": 100_000,
    "not_captured": 100_000,
    "warnings": 10_000,
}

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE scores (
    id INTEGER PRIMARY KEY,  -- step order, then execution order
    step INTEGER NOT NULL, site TEXT NOT NULL, kind TEXT NOT NULL,
    n_seen INTEGER NOT NULL, n_tested INTEGER NOT NULL, num_features INTEGER NOT NULL,
    verdict TEXT NOT NULL, departure TEXT NOT NULL,
    delta_median NOT NULL, delta_low NOT NULL, delta_high NOT NULL,
    delta_worst NOT NULL, delta_worst_unit INTEGER,
    negentropy_median NOT NULL, negentropy_low NOT NULL, negentropy_high NOT NULL,
    negentropy_worst NOT NULL, negentropy_worst_unit INTEGER,
    qq_r2 NOT NULL, ks_distance NOT NULL, wasserstein NOT NULL, skewness NOT NULL, excess_kurtosis NOT NULL,
    notes TEXT NOT NULL  -- a JSON list
);
CREATE TABLE tests (
    id INTEGER PRIMARY KEY, score INTEGER NOT NULL REFERENCES scores (id), name TEXT NOT NULL,
    statistic NOT NULL, pvalue, rejected_fraction
);
CREATE TABLE pictures (id INTEGER PRIMARY KEY, step INTEGER NOT NULL, site TEXT NOT NULL);
CREATE TABLE picture_units (
    id INTEGER PRIMARY KEY, picture INTEGER NOT NULL REFERENCES pictures (id),
    unit INTEGER NOT NULL, role TEXT NOT NULL, mean NOT NULL, sd NOT NULL, delta NOT NULL,
    below INTEGER NOT NULL, above INTEGER NOT NULL,
    edges TEXT NOT NULL, counts TEXT NOT NULL, qq_normal TEXT NOT NULL, qq_sample TEXT NOT NULL  -- JSON lists
);
CREATE TABLE capture (
    id INTEGER PRIMARY KEY, site TEXT NOT NULL, kind TEXT NOT NULL, calls INTEGER NOT NULL,
    sampled INTEGER NOT NULL, positions_available INTEGER NOT NULL, positions_per_example INTEGER NOT NULL,
    overwritten INTEGER NOT NULL, recomputed INTEGER NOT NULL
);
CREATE TABLE not_captured (id INTEGER PRIMARY KEY, site TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TABLE warnings (id INTEGER PRIMARY KEY, warning TEXT NOT NULL);
CREATE VIEW site_tests AS
    SELECT step, site, name, statistic, pvalue, rejected_fraction
    FROM tests JOIN scores ON scores.id = tests.score ORDER BY tests.id;
"""

_MAGIC = b"SQLite format 3\0"
_HEADER_SIZE = 100
_LEAF = 0x0D  # the type of a table's b-tree page that has no pages below
# Steps of SQLite's machine; 220 a site are usual, so that the largest run takes a tenth of this.
_BUDGET = 250_000_000
_STRIDE = 100_000


class _Budget:
    """A progress handler that stops SQLite when a file keeps it busier than any run can."""

    def __init__(self) -> None:
        self.left = _BUDGET

    def __call__(self) -> int:
        self.left -= _STRIDE
        return int(self.left < 0)


def check_header(path: Path) -> None:
    """Say from the first 100 bytes whether this is a run that this version reads.

    Raises:
        StoreError: if it is not, or cannot be read.
    """
    name = files.printable(str(path))
    try:
        files.require_regular(path)
        with path.open("rb") as file:
            header = file.read(_HEADER_SIZE)
            size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:
        raise StoreError(
            f"Cannot read {name}: {files.printable(files.why(error))}.\n"
            "Name a run written by `gaussprobe scan --out`."
        ) from error
    if not header:
        raise StoreError(
            f"{name} is empty, not a gaussprobe run.\nMake one with `gaussprobe scan MODEL --out RUN`."
        )
    application_id = int.from_bytes(header[68:72], "big")
    if not header.startswith(_MAGIC) or (len(header) == _HEADER_SIZE and application_id != APPLICATION_ID):
        raise StoreError(f"{name} is not a gaussprobe run.\nMake one with `gaussprobe scan MODEL --out RUN`.")
    page_size = int.from_bytes(header[16:18], "big")
    expected = (65536 if page_size == 1 else page_size) * int.from_bytes(header[28:32], "big")
    if len(header) < _HEADER_SIZE or size < expected:
        raise StoreError(
            f"{name} is cut short: {size:,} bytes.\nCopy it again, or run `gaussprobe scan` again."
        )
    if size > MAX_FILE:
        raise StoreError(
            f"{name} is larger than a run can be: {size:,} bytes, more than {MAX_FILE:,}.\n"
            "Scan fewer sites or steps at a time."
        )
    version = int.from_bytes(header[60:64], "big")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{name} was written by another gaussprobe: schema {version}, this one reads {SCHEMA_VERSION}.\n"
            "Upgrade gaussprobe, or make the run again."
        )


def create() -> sqlite3.Connection:
    """An empty run in memory, held to the limits; SQLite then refuses a value that is too long."""
    connection = sqlite3.connect(":memory:")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
    connection.executescript(
        f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; {SCHEMA}"
    )
    return connection


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A run file opened for reading only, once its schema and its pages are known to be sound.

    Nothing is written beside it: a run is replaced whole and never changed in place, so that SQLite needs
    no lock and no sidecar file.

    Args:
        path: a file whose header is that of a run.

    Raises:
        ValueError: if the file holds another schema, is damaged, or keeps SQLite too busy.
        sqlite3.Error: if SQLite cannot read it.
    """
    _check_first_page(path)
    budget = _Budget()
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
            connection.set_progress_handler(budget, _STRIDE)
            connection.execute("PRAGMA trusted_schema = OFF")
            # The schema first: even a check of the pages evaluates what a foreign one says.
            if _entries(connection) != _expected():
                raise ValueError("it holds other tables or views than a run has")
            (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise ValueError(state)
            yield connection
    except sqlite3.OperationalError as error:
        if budget.left >= 0:
            raise
        raise ValueError("reading it takes more work than a run can need") from error


def require_rows(table: str, count: int) -> None:
    """Refuse more rows than a run can have."""
    if count > MAX_ROWS[table]:
        raise ValueError(f"{table} has more than {MAX_ROWS[table]:,} rows")


def require_shallow(value: Any, depth: int = 0) -> None:
    """Refuse data that a report would have to go down into too deep."""
    if depth > MAX_DEPTH:
        raise ValueError(f"`data` nests deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    for item in value:
        require_shallow(item, depth + 1)


def _check_first_page(path: Path) -> None:
    """Refuse a schema of another size before SQLite parses it: a file has room for millions of tables."""
    with path.open("rb") as file:
        start = file.read(105)
    if start[100:101] != bytes([_LEAF]) or int.from_bytes(start[103:105], "big") != len(_expected()):
        raise ValueError("it holds other tables or views than a run has")


@functools.cache
def _expected() -> frozenset[tuple[str | None, ...]]:
    with contextlib.closing(create()) as connection:
        return _entries(connection)


def _entries(connection: sqlite3.Connection) -> frozenset[tuple[str | None, ...]]:
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    return frozenset(tuple(row) for row in rows)

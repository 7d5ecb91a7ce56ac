"""The tables of a run file and its limits.

One row per step and site in `scores`, with its tests in `tests`, and, of a watched run, in `series`;
`metrics` and `events` beside them. Number columns have no declared type, so that SQLite keeps every double
bit for bit (a REAL column loses the sign of -0.0). NULL means withheld; SQLite has no NaN, so NaN is the text
'NaN'.

A watched run takes, for each site and recorded step, 215 bytes for the score, 52 for each test, and 241 for
the record (315 where its quantiles need double precision), with a site's name of 14 characters; longer names
count twice, notes once. With four tests that is .66 kB: 83 MB for 5,000 recorded steps of 25 sites.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from typing import Any

APPLICATION_ID = 0x67617573  # "gaus"
SCHEMA_VERSION = 3  # to be raised with any change to the text below, comments included: SQLite keeps it

# A whole run is copied in memory when it is saved, or read while it is written: SQLite copies up to 2 GiB.
MAX_FILE = 2**31 - 2**20
MAX_VALUE = 2**20  # bytes of one text or row
MAX_NAME = 4_096  # characters of the name of a site, a test or a metric
MAX_BINS = 512
MAX_QQ_POINTS = 2_000
MAX_QUANTILES = 512
MAX_DEPTH = 32  # of what `metadata.data` nests
MAX_ROWS = {
    "meta": 64,
    "scores": 1_500_000,  # 5,000 recorded steps of 100 sites, training and probe batch, are a million
    "tests": 12_000_000,
    "series": 1_500_000,
    "metrics": 1_000_000,
    "events": 1_000_000,
    "pictures": 100_000,
    "picture_units": 400_000,
    "capture": 100_000,
    "not_captured": 100_000,
    "warnings": 100_000,
}

_META = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

_SCORES = """
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
    notes TEXT NOT NULL"""

_NOTES = "  -- a JSON list\n"
_SOURCE = f",{_NOTES}    source TEXT NOT NULL  -- 'forward': training; 'probe': the fixed batch beside it\n"

_REST = """
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

_FOLLOWED = """
CREATE TABLE series (
    id INTEGER PRIMARY KEY, step INTEGER NOT NULL, site TEXT NOT NULL, source TEXT NOT NULL,
    mean NOT NULL, sd NOT NULL, l_scale NOT NULL, l_skewness NOT NULL, l_kurtosis NOT NULL,
    log_sd NOT NULL, relative_mean NOT NULL,
    delta_error, l_skewness_error, l_kurtosis_error, log_sd_error, relative_mean_error,
    verdict99 TEXT NOT NULL, constant_units INTEGER NOT NULL, silent_units INTEGER NOT NULL,
    quantiles BLOB NOT NULL  -- 'f' or 'd', then that many little-endian floats or doubles
);
CREATE TABLE metrics (id INTEGER PRIMARY KEY, step INTEGER NOT NULL, name TEXT NOT NULL, value NOT NULL);
CREATE TABLE events (
    id INTEGER PRIMARY KEY, step INTEGER NOT NULL, site TEXT NOT NULL, source TEXT NOT NULL,
    kind TEXT NOT NULL, quantity TEXT NOT NULL, before NOT NULL, after NOT NULL, z NOT NULL,
    text TEXT NOT NULL
);
"""

# Every schema that is read, letter for letter, by its version; the last one is written.
SCHEMAS = {
    2: f"{_META.rstrip()}{_SCORES}{_NOTES});{_REST}",
    3: f"{_META.rstrip()}{_SCORES}{_SOURCE});{_REST}{_FOLLOWED}",
}


def create(version: int = SCHEMA_VERSION) -> sqlite3.Connection:
    """An empty run in memory, held to the limits; SQLite then refuses a value that is too long."""
    connection = sqlite3.connect(":memory:")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
    connection.executescript(
        f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}; {SCHEMAS[version]}"
    )
    return connection


def entries(connection: sqlite3.Connection) -> frozenset[tuple[str | None, ...]]:
    """What a file says its tables are: type, name and text of each."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    return frozenset(tuple(row) for row in rows)


@functools.cache
def expected(version: int) -> frozenset[tuple[str | None, ...]]:
    """What the file of a run says its tables are."""
    with contextlib.closing(create(version)) as connection:
        return entries(connection)


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

"""A `Run` to and from one SQLite file that a person can also read with the `sqlite3` shell.

One row per step and site in `scores`, one per test in `tests`, one per drawn unit in `picture_units`; the
view `site_tests` joins tests with their sites. Number columns have no declared type, so that SQLite keeps
every double bit for bit (a REAL column loses the sign of -0.0). NULL means withheld; SQLite has no NaN, so
NaN is the text 'NaN'.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import secrets
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

from gaussprobe.errors import StoreError
from gaussprobe.types import (
    KINDS,
    VERDICTS,
    Departure,
    GofSummary,
    LayerScore,
    Metadata,
    Mode,
    NotCaptured,
    Run,
    SitePicture,
    Summary,
    UnitPicture,
    View,
)

APPLICATION_ID = 0x67617573  # "gaus"
SCHEMA_VERSION = 1

_MAGIC = b"SQLite format 3\0"
_HEADER_SIZE = 100
_SUMMARY = ("median", "low", "high", "worst")
_SINGLE = ("qq_r2", "ks_distance", "wasserstein", "skewness", "excess_kurtosis")
_META_TEXT = ("gaussprobe", "model", "view", "mode", "command", "created", "device")
_ROLES = ("median", "worst")

_SCHEMA = """
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
CREATE TABLE not_captured (id INTEGER PRIMARY KEY, site TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TABLE warnings (id INTEGER PRIMARY KEY, warning TEXT NOT NULL);
CREATE VIEW site_tests AS
    SELECT step, site, name, statistic, pvalue, rejected_fraction
    FROM tests JOIN scores ON scores.id = tests.score ORDER BY tests.id;
"""

_T = TypeVar("_T")


def save(run: Run, path: str | Path) -> None:
    """Write a run to one SQLite file, replacing an older run there whole or not at all.

    Args:
        run: the run. `run.metadata.data` must be made of what JSON has; tuples in it come back as lists.
        path: where to; its folder must exist. A symbolic link is followed.

    Raises:
        StoreError: if `path` cannot be written, holds something other than a run, or `run` cannot be stored.
    """
    path = Path(path)
    if path.is_file():
        try:
            _check_header(path)
        except StoreError as error:
            raise StoreError(
                f"{path} exists and is not a gaussprobe run that this version can replace: left as it is.\n"
                "Choose another name, or delete it first."
            ) from error
    try:
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            _write(connection, run)
            content = connection.serialize()
    except (TypeError, ValueError, OverflowError, RecursionError, sqlite3.Error) as error:
        raise StoreError(f"The run cannot be stored: {error}.\nNothing was written to {path}.") from error
    replace_file(path, content)


def load(path: str | Path) -> Run:
    """Read a run; the file is opened read-only and nothing is written beside it.

    Args:
        path: a file written by `save`.

    Returns:
        The run, equal to the one that was saved.

    Raises:
        StoreError: if `path` is missing, unreadable, damaged, from a newer gaussprobe, or not a run.
    """
    path = Path(path)
    _check_header(path)
    # A run is replaced whole and never changed in place, so that SQLite needs no lock and no sidecar file.
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA trusted_schema = OFF")
            (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise ValueError(state)
            return _read(connection)
    except (
        sqlite3.Error,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        OverflowError,
        RecursionError,
    ) as error:
        detail = " ".join(str(error).split())
        raise StoreError(
            f"{path} is damaged and cannot be read ({detail}).\nCopy it again, or make the run again."
        ) from error


def replace_file(path: str | Path, content: bytes) -> None:
    """Put `content` at `path` whole or not at all: a temporary file in the same folder, then a rename.

    Args:
        path: where to; its folder must exist. A symbolic link is followed, an older file's mode is kept.
        content: the bytes.

    Raises:
        StoreError: if it cannot be written; whatever was at `path` is then untouched.
    """
    path = Path(path)
    try:
        target = Path(os.path.realpath(path))
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
        _require_regular(target)
        if mode is not None and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, "Permission denied")
        temporary = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if mode is not None:
                temporary.chmod(mode)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise StoreError(f"Cannot write {path}: {_why(error)}.\n{_advice(error)}") from error


def _require_regular(path: Path) -> None:
    """Refuse a folder, and a device or pipe: replacing /dev/null would break more than a report."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file")


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _advice(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "Make its folder first, or choose another name."
    if isinstance(error, IsADirectoryError):
        return "Name a file in that folder."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "Free some space, or choose another disk."
    return "Choose a name that can be written."


def _check_header(path: Path) -> None:
    """Say from the first 100 bytes whether this is a run that this version reads."""
    try:
        _require_regular(path)
        with path.open("rb") as file:
            header = file.read(_HEADER_SIZE)
            size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:
        raise StoreError(
            f"Cannot read {path}: {_why(error)}.\nName a run written by `gaussprobe scan --out`."
        ) from error
    if not header:
        raise StoreError(
            f"{path} is empty, not a gaussprobe run.\nMake one with `gaussprobe scan MODEL --out RUN`."
        )
    application_id = int.from_bytes(header[68:72], "big")
    if not header.startswith(_MAGIC) or (len(header) == _HEADER_SIZE and application_id != APPLICATION_ID):
        raise StoreError(f"{path} is not a gaussprobe run.\nMake one with `gaussprobe scan MODEL --out RUN`.")
    page_size = int.from_bytes(header[16:18], "big")
    expected = (65536 if page_size == 1 else page_size) * int.from_bytes(header[28:32], "big")
    if len(header) < _HEADER_SIZE or size < expected:
        raise StoreError(
            f"{path} is cut short: {size:,} bytes.\nCopy it again, or run `gaussprobe scan` again."
        )
    version = int.from_bytes(header[60:64], "big")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{path} was written by another gaussprobe: schema {version}, this one reads {SCHEMA_VERSION}.\n"
            "Upgrade gaussprobe, or make the run again."
        )


def _write(connection: sqlite3.Connection, run: Run) -> None:
    connection.executescript(
        f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; {_SCHEMA}"
    )
    metadata = run.metadata
    meta = {key: getattr(metadata, key) for key in _META_TEXT}
    meta |= {"seed": str(int(metadata.seed)), "max_samples": str(int(metadata.max_samples))}
    meta |= {"seconds": repr(float(metadata.seconds))}
    meta |= {"data": json.dumps(dict(metadata.data)), "versions": json.dumps(dict(metadata.versions))}
    _insert(connection, "meta", [(key, _text(value)) for key, value in meta.items()])
    _insert(connection, "scores", [(index, *_score_row(score)) for index, score in enumerate(run.scores)])
    tests = [
        (index, _text(name), _number(test.statistic), _number(test.pvalue), _number(test.rejected_fraction))
        for index, score in enumerate(run.scores)
        for name, test in score.tests.items()
    ]
    _insert(connection, "tests", list(_numbered(tests)))
    pictures = [(index, picture.step, _text(picture.site)) for index, picture in enumerate(run.pictures)]
    _insert(connection, "pictures", pictures)
    units = [
        (index, *_unit_row(unit)) for index, picture in enumerate(run.pictures) for unit in picture.units
    ]
    _insert(connection, "picture_units", list(_numbered(units)))
    missed = [(_text(item.site), _text(item.reason)) for item in run.not_captured]
    _insert(connection, "not_captured", list(_numbered(missed)))
    _insert(connection, "warnings", list(_numbered([(_text(warning),) for warning in run.warnings])))
    connection.commit()


def _numbered(rows: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    return ((index, *row) for index, row in enumerate(rows))


def _insert(connection: sqlite3.Connection, table: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608  table names are ours


def _score_row(score: LayerScore) -> tuple[Any, ...]:
    def summary(value: Summary) -> list[Any]:
        worst_unit = None if value.worst_unit is None else int(value.worst_unit)
        return [*(_number(getattr(value, name)) for name in _SUMMARY), worst_unit]

    return (
        int(score.step),
        _text(score.site),
        "+".join(score.kind),
        int(score.n_seen),
        int(score.n_tested),
        int(score.num_features),
        score.verdict,
        score.departure,
        *summary(score.delta),
        *summary(score.negentropy),
        *(_number(getattr(score, name)) for name in _SINGLE),
        json.dumps(list(score.notes)),
    )


def _unit_row(unit: UnitPicture) -> tuple[Any, ...]:
    lists = (unit.edges, [int(count) for count in unit.counts], unit.qq_normal, unit.qq_sample)
    numbers = (_number(unit.mean), _number(unit.sd), _number(unit.delta))
    dumped = (
        json.dumps([value if isinstance(value, int) else float(value) for value in one]) for one in lists
    )
    return (int(unit.unit), unit.role, *numbers, int(unit.below), int(unit.above), *dumped)


def _number(value: float | None) -> float | str | None:
    """A double as SQLite keeps it; NaN, which SQLite would turn into NULL, as text."""
    if value is None:
        return None
    value = float(value)
    return "NaN" if math.isnan(value) else value


def _text(value: str) -> str | bytes:
    """Text, or bytes where it holds a lone surrogate (a file name that is not UTF-8): SQLite text cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
    return value


def _read(connection: sqlite3.Connection) -> Run:
    def rows(table: str) -> list[sqlite3.Row]:
        return connection.execute(f"SELECT * FROM {table} ORDER BY id").fetchall()  # noqa: S608  table names are ours

    meta = {row["key"]: _as_text(row["value"]) for row in connection.execute("SELECT key, value FROM meta")}
    tests: dict[int, dict[str, GofSummary]] = {}
    for row in rows("tests"):
        tests.setdefault(row["score"], {})[_as_text(row["name"])] = GofSummary(
            statistic=_as_number(row["statistic"]),
            pvalue=_optional(_as_number, row["pvalue"]),
            rejected_fraction=_optional(_as_number, row["rejected_fraction"]),
        )
    units: dict[int, list[UnitPicture]] = {}
    for row in rows("picture_units"):
        units.setdefault(row["picture"], []).append(_as_unit(row))
    return Run(
        metadata=_as_metadata(meta),
        scores=tuple(_as_score(row, tests.get(row["id"], {})) for row in rows("scores")),
        pictures=tuple(
            SitePicture(
                step=_as_int(row["step"]), site=_as_text(row["site"]), units=tuple(units.get(row["id"], ()))
            )
            for row in rows("pictures")
        ),
        not_captured=tuple(
            NotCaptured(site=_as_text(row["site"]), reason=_as_text(row["reason"]))
            for row in rows("not_captured")
        ),
        warnings=tuple(_as_text(row["warning"]) for row in rows("warnings")),
    )


def _as_metadata(meta: dict[str, str]) -> Metadata:
    data, versions = json.loads(meta["data"]), json.loads(meta["versions"])
    if not isinstance(data, dict) or not isinstance(versions, dict):
        raise TypeError("`data` and `versions` must be JSON objects")
    return Metadata(
        gaussprobe=meta["gaussprobe"],
        model=meta["model"],
        view=_one_of(meta["view"], get_args(View), "view"),
        mode=_one_of(meta["mode"], get_args(Mode), "mode"),
        seed=int(meta["seed"]),
        max_samples=int(meta["max_samples"]),
        data=data,
        command=meta["command"],
        created=meta["created"],
        seconds=float(meta["seconds"]),
        versions={key: _as_text(value) for key, value in versions.items()},
        device=meta["device"],
    )


def _as_score(row: sqlite3.Row, tests: dict[str, GofSummary]) -> LayerScore:
    def summary(name: str) -> Summary:
        numbers = {key: _as_number(row[f"{name}_{key}"]) for key in _SUMMARY}
        return Summary(**numbers, worst_unit=_optional(_as_int, row[f"{name}_worst_unit"]))

    kinds = _as_text(row["kind"])
    return LayerScore(
        site=_as_text(row["site"]),
        kind=tuple(_one_of(kind, KINDS, "kind") for kind in kinds.split("+")) if kinds else (),
        step=_as_int(row["step"]),
        n_seen=_as_int(row["n_seen"]),
        n_tested=_as_int(row["n_tested"]),
        num_features=_as_int(row["num_features"]),
        delta=summary("delta"),
        negentropy=summary("negentropy"),
        **{key: _as_number(row[key]) for key in _SINGLE},
        tests=tests,
        verdict=_one_of(row["verdict"], VERDICTS, "verdict"),
        departure=_one_of(row["departure"], get_args(Departure), "departure"),
        notes=tuple(_as_list(row["notes"], _as_text)),
    )


def _as_unit(row: sqlite3.Row) -> UnitPicture:
    edges, counts = _as_list(row["edges"], _as_number), _as_list(row["counts"], _as_int)
    qq_normal, qq_sample = _as_list(row["qq_normal"], _as_number), _as_list(row["qq_sample"], _as_number)
    if (counts or edges) and len(edges) != len(counts) + 1:
        raise ValueError(f"a histogram of {len(counts)} bins has {len(edges)} edges")
    if len(qq_normal) != len(qq_sample):
        raise ValueError(f"a Q-Q plot has {len(qq_normal)} normal scores and {len(qq_sample)} quantiles")
    return UnitPicture(
        unit=_as_int(row["unit"]),
        role=_one_of(row["role"], _ROLES, "role"),
        mean=_as_number(row["mean"]),
        sd=_as_number(row["sd"]),
        delta=_as_number(row["delta"]),
        edges=tuple(edges),
        counts=tuple(counts),
        below=_as_int(row["below"]),
        above=_as_int(row["above"]),
        qq_normal=tuple(qq_normal),
        qq_sample=tuple(qq_sample),
    )


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogatepass")
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    return value


def _as_int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected an integer, got {value!r}")
    return value


def _as_number(value: object) -> float:
    if value == "NaN":
        return math.nan
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"expected a number, got {value!r}")
    return float(value)


def _optional(read: Callable[[object], _T], value: object) -> _T | None:
    return None if value is None else read(value)


def _as_list(value: object, read: Callable[[object], _T]) -> list[_T]:
    items = json.loads(_as_text(value))
    if not isinstance(items, list):
        raise TypeError(f"expected a list, got {items!r}")
    return [read(item) for item in items]


def _one_of(value: object, allowed: tuple[Any, ...], name: str) -> Any:
    if value not in allowed:
        raise ValueError(f"{name} {value!r} is unknown")
    return value

"""A `Run` to and from one SQLite file that a person can also read with the `sqlite3` shell.

One row per step and site in `scores`, one per test in `tests`, one per drawn unit in `picture_units`; the
view `site_tests` joins tests with their sites. Number columns have no declared type, so that SQLite keeps
every double bit for bit (a REAL column loses the sign of -0.0). NULL means withheld; SQLite has no NaN, so
NaN is the text 'NaN'. The tables and their limits are in `gaussprobe.schema`.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

from gaussprobe import files, schema
from gaussprobe.errors import StoreError
from gaussprobe.types import (
    KINDS,
    VERDICTS,
    CaptureRecord,
    Departure,
    GofSummary,
    Kind,
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

_SUMMARY = ("median", "low", "high", "worst")
_SINGLE = ("qq_r2", "ks_distance", "wasserstein", "skewness", "excess_kurtosis")
_META_TEXT = ("gaussprobe", "model", "view", "mode", "command", "created", "device")
_RECORD_COUNTS = ("calls", "positions_available", "positions_per_example", "overwritten", "recomputed")
_ROLES = ("median", "worst")
_INT64 = 2**63
_MOST_DIGITS = 40  # of a seed
_QUOTED = 200  # characters of a file's content that an error message repeats
_BAD_CONTENT = (
    sqlite3.Error,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    RecursionError,
)

_T = TypeVar("_T")


def save(run: Run, path: str | Path) -> None:
    """Write a run to one SQLite file, replacing an older run there whole or not at all.

    Args:
        run: the run. `run.metadata.data` must be made of what JSON has; tuples in it come back as lists.
        path: where to; its folder must exist. A symbolic link is followed.

    Raises:
        StoreError: if `path` cannot be written, holds something other than a run, or `run` cannot be stored.
    """
    check_replaceable(path)
    try:
        with contextlib.closing(schema.create()) as connection:
            _write(connection, run)
            content = connection.serialize()
        if len(content) > schema.MAX_FILE:
            raise ValueError(f"it takes {len(content):,} bytes, more than {schema.MAX_FILE:,}")
    except _BAD_CONTENT as error:
        raise StoreError(
            f"The run cannot be stored: {_detail(error)}.\nNothing was written to {_shown(path)}."
        ) from error
    files.replace_file(path, content)


def check_replaceable(path: str | Path) -> None:
    """Refuse a path that `save` would refuse, without writing anything: to be asked before a long scan.

    Args:
        path: where a run is to be saved.

    Raises:
        StoreError: if it holds something other than a run, is a folder or a device, its folder is missing,
            or permission is.
    """
    files.check_replaceable(path)
    path = Path(path)
    if not path.exists():
        return
    try:
        schema.check_header(path)
    except StoreError as error:
        raise StoreError(
            f"{_shown(path)} exists and is not a gaussprobe run that this version can replace: "
            "left as it is.\n"
            "Choose another name, or delete it first."
        ) from error


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
    schema.check_header(path)
    try:
        with schema.opened(path) as connection:
            return _read(connection)
    except _BAD_CONTENT as error:
        raise StoreError(
            f"{_shown(path)} is damaged and cannot be read ({_detail(error)}).\n"
            "Copy it again, or make the run again."
        ) from error


def _detail(error: Exception) -> str:
    """What an error says, in one short line of what prints: a file's own content may be in it."""
    said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return _short(files.printable(" ".join(said.split())), 2 * _QUOTED)


def _short(text: str, most: int = _QUOTED) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def _quoted(value: object) -> str:
    """A value from the file as a message may repeat it."""
    return _short(repr(value))


def _shown(path: str | Path) -> str:
    return files.printable(str(path))


def _write(connection: sqlite3.Connection, run: Run) -> None:
    metadata = run.metadata
    schema.require_shallow(metadata.data)
    meta = {key: getattr(metadata, key) for key in _META_TEXT}
    meta |= {
        "seed": _digits_of(str(int(metadata.seed))),
        "max_samples": str(_as_int(int(metadata.max_samples))),
    }
    meta |= {"seconds": repr(float(metadata.seconds))}
    meta |= {"data": json.dumps(dict(metadata.data)), "versions": json.dumps(dict(metadata.versions))}
    _insert(connection, "meta", [(key, _text(value)) for key, value in meta.items()])
    _insert(connection, "scores", [(index, *_score_row(score)) for index, score in enumerate(run.scores)])
    tests = [
        (index, _name(name), _number(test.statistic), _number(test.pvalue), _number(test.rejected_fraction))
        for index, score in enumerate(run.scores)
        for name, test in score.tests.items()
    ]
    _insert(connection, "tests", list(_numbered(tests)))
    pictures = [(index, picture.step, _name(picture.site)) for index, picture in enumerate(run.pictures)]
    _insert(connection, "pictures", pictures)
    units = [
        (index, *_unit_row(unit)) for index, picture in enumerate(run.pictures) for unit in picture.units
    ]
    _insert(connection, "picture_units", list(_numbered(units)))
    _insert(connection, "capture", list(_numbered([_record_row(record) for record in run.capture])))
    missed = [(_name(item.site), _text(item.reason)) for item in run.not_captured]
    _insert(connection, "not_captured", list(_numbered(missed)))
    _insert(connection, "warnings", list(_numbered([(_text(warning),) for warning in run.warnings])))
    connection.commit()


def _numbered(rows: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    return ((index, *row) for index, row in enumerate(rows))


def _insert(connection: sqlite3.Connection, table: str, rows: list[tuple[Any, ...]]) -> None:
    schema.require_rows(table, len(rows))
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608  table names are ours


def _score_row(score: LayerScore) -> tuple[Any, ...]:
    def summary(value: Summary) -> list[Any]:
        worst_unit = None if value.worst_unit is None else int(value.worst_unit)
        return [*(_number(getattr(value, name)) for name in _SUMMARY), worst_unit]

    return (
        int(score.step),
        _name(score.site),
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
    _require_sound(unit)
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


def _name(value: str) -> str | bytes:
    return _text(_as_name(value))


def _text(value: str) -> str | bytes:
    """Text, or bytes where it holds a lone surrogate (a file name that is not UTF-8): SQLite text cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
    return value


def _read(connection: sqlite3.Connection) -> Run:
    def rows(table: str) -> list[sqlite3.Row]:
        return _fetched(connection, table, f"SELECT * FROM {table} ORDER BY id")  # noqa: S608  table names are ours

    stored = _fetched(connection, "meta", "SELECT key, value FROM meta")
    meta = {_as_text(row["key"]): _as_text(row["value"]) for row in stored}
    tests: dict[int, dict[str, GofSummary]] = {}
    for row in rows("tests"):
        tests.setdefault(row["score"], {})[_as_name(row["name"])] = GofSummary(
            statistic=_as_number(row["statistic"]),
            pvalue=_optional(_as_number, row["pvalue"]),
            rejected_fraction=_optional(_as_number, row["rejected_fraction"]),
        )
    units: dict[int, list[UnitPicture]] = {}
    for row in rows("picture_units"):
        units.setdefault(row["picture"], []).append(_as_unit(row))
    scores, pictures = rows("scores"), rows("pictures")
    _require_owners("tests", tests, scores)
    _require_owners("units drawn", units, pictures)
    return Run(
        metadata=_as_metadata(meta),
        scores=tuple(_as_score(row, tests.get(row["id"], {})) for row in scores),
        pictures=tuple(
            SitePicture(
                step=_as_int(row["step"]), site=_as_name(row["site"]), units=tuple(units.get(row["id"], ()))
            )
            for row in pictures
        ),
        capture=tuple(_as_record(row) for row in rows("capture")),
        not_captured=tuple(
            NotCaptured(site=_as_name(row["site"]), reason=_as_text(row["reason"]))
            for row in rows("not_captured")
        ),
        warnings=tuple(_as_text(row["warning"]) for row in rows("warnings")),
    )


def _as_metadata(meta: dict[str, str]) -> Metadata:
    data, versions = json.loads(meta["data"]), json.loads(meta["versions"])
    if not isinstance(data, dict) or not isinstance(versions, dict):
        raise TypeError("`data` and `versions` must be JSON objects")
    schema.require_shallow(data)
    return Metadata(
        gaussprobe=meta["gaussprobe"],
        model=meta["model"],
        view=_one_of(meta["view"], get_args(View), "view"),
        mode=_one_of(meta["mode"], get_args(Mode), "mode"),
        seed=int(_digits_of(meta["seed"])),
        max_samples=_as_int(int(_digits_of(meta["max_samples"]))),
        data=data,
        command=meta["command"],
        created=meta["created"],
        seconds=float(meta["seconds"]),
        versions={key: _as_text(value) for key, value in versions.items()},
        device=meta["device"],
    )


def _record_row(record: CaptureRecord) -> tuple[Any, ...]:
    counts = (
        *(record.calls, int(record.sampled), record.positions_available, record.positions_per_example),
        *(record.overwritten, record.recomputed),
    )
    return _name(record.site), "+".join(record.kind), *(_as_int(int(count)) for count in counts)


def _as_record(row: sqlite3.Row) -> CaptureRecord:
    counts = {key: _as_int(row[key]) for key in _RECORD_COUNTS}
    if min(counts.values()) < 0:
        raise ValueError("a count of `capture` is negative")
    sampled = bool(_one_of(row["sampled"], (0, 1), "sampled"))
    return CaptureRecord(site=_as_name(row["site"]), kind=_as_kinds(row["kind"]), sampled=sampled, **counts)


def _as_kinds(value: object) -> tuple[Kind, ...]:
    kinds = _as_text(value)
    if len(set(kinds.split("+"))) < len(kinds.split("+")):
        raise ValueError(f"kind {_quoted(kinds)} repeats itself")
    return tuple(_one_of(kind, KINDS, "kind") for kind in kinds.split("+")) if kinds else ()


def _as_score(row: sqlite3.Row, tests: dict[str, GofSummary]) -> LayerScore:
    def summary(name: str) -> Summary:
        numbers = {key: _as_number(row[f"{name}_{key}"]) for key in _SUMMARY}
        return Summary(**numbers, worst_unit=_optional(_as_int, row[f"{name}_worst_unit"]))

    return LayerScore(
        site=_as_name(row["site"]),
        kind=_as_kinds(row["kind"]),
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
    unit = UnitPicture(
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
    _require_sound(unit)
    return unit


def _require_sound(unit: UnitPicture) -> None:
    """Refuse what no unit can have been drawn as, and what would take a report too long to draw."""
    bins, edges = len(unit.counts), len(unit.edges)
    if (bins or edges) and edges != bins + 1:
        raise ValueError(f"a histogram of {bins} bins has {edges} edges")
    if bins > schema.MAX_BINS:
        raise ValueError(f"a histogram has {bins:,} bins, more than {schema.MAX_BINS}")
    normal, sample = len(unit.qq_normal), len(unit.qq_sample)
    if normal != sample:
        raise ValueError(f"a Q-Q plot has {normal} normal scores and {sample} quantiles")
    if normal > schema.MAX_QQ_POINTS:
        raise ValueError(f"a Q-Q plot has {normal:,} points, more than {schema.MAX_QQ_POINTS:,}")
    for count in unit.counts:
        _as_int(int(count))


def _require_owners(what: str, children: Iterable[object], owners: Iterable[sqlite3.Row]) -> None:
    """Nothing is dropped silently: what belongs to no row that is there makes the file a damaged one."""
    strays = set(children) - {row["id"] for row in owners}
    if strays:
        raise ValueError(f"there are {what} for {_quoted(next(iter(strays)))}, which is not there")


def _fetched(connection: sqlite3.Connection, table: str, query: str) -> list[sqlite3.Row]:
    rows: list[sqlite3.Row] = connection.execute(query).fetchmany(schema.MAX_ROWS[table] + 1)
    schema.require_rows(table, len(rows))
    return rows


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogatepass")
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {_quoted(value)}")
    return value


def _as_name(value: object) -> str:
    name = _as_text(value)
    if len(name) > schema.MAX_NAME:
        raise ValueError(f"a name has {len(name):,} characters, more than {schema.MAX_NAME:,}")
    return name


def _digits_of(text: str) -> str:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"expected at most {_MOST_DIGITS} digits, got {len(text):,}")
    return text


def _as_int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected an integer, got {_quoted(value)}")
    if not -_INT64 <= value < _INT64:
        raise ValueError(f"expected an integer of 64 bits, got {_quoted(value)}")
    return value


def _as_number(value: object) -> float:
    if value == "NaN":
        return math.nan
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"expected a number, got {_quoted(value)}")
    return float(value)


def _optional(read: Callable[[object], _T], value: object) -> _T | None:
    return None if value is None else read(value)


def _as_list(value: object, read: Callable[[object], _T]) -> list[_T]:
    items = json.loads(_as_text(value))
    if not isinstance(items, list):
        raise TypeError(f"expected a list, got {_quoted(items)}")
    return [read(item) for item in items]


def _one_of(value: object, allowed: tuple[Any, ...], name: str) -> Any:
    if value not in allowed:
        raise ValueError(f"{name} {_quoted(value)} is unknown")
    return value

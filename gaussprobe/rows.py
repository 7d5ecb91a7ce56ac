"""What a `Run` is made of, to and from rows of the tables of `gaussprobe.schema`.

Reading holds every value to what it may be: a file is not to be believed.
"""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, get_args

from gaussprobe import schema
from gaussprobe.cells import (
    as_count,
    as_int,
    as_list,
    as_name,
    as_number,
    as_packed,
    as_text,
    digits_of,
    name,
    number,
    one_of,
    optional,
    packed,
    quoted,
    text,
)
from gaussprobe.records import CHARTED, EVENT_KINDS, Event, Metric, SiteRecord
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
    SitePicture,
    Source,
    Summary,
    UnitPicture,
    View,
)

Rows: TypeAlias = list[tuple[Any, ...]]

_SUMMARY = ("median", "low", "high", "worst")
_SINGLE = ("qq_r2", "ks_distance", "wasserstein", "skewness", "excess_kurtosis")
_META_TEXT = ("gaussprobe", "model", "view", "mode", "command", "created", "device")
_COUNTS = ("calls", "positions_available", "positions_per_example", "overwritten", "recomputed")
_MOMENTS = ("mean", "sd", "l_scale", "l_skewness", "l_kurtosis", "log_sd", "relative_mean")
_ROLES = ("median", "worst")
_SOURCES: tuple[Source, ...] = get_args(Source)
_QUANTITIES = (*CHARTED, "")
_USUAL_NOTES = 2_000  # characters


def meta_rows(metadata: Metadata) -> Rows:
    """The rows of `meta` that say where a run came from."""
    schema.require_shallow(metadata.data)
    meta = {key: getattr(metadata, key) for key in _META_TEXT}
    meta["seed"] = digits_of(str(int(metadata.seed)))
    meta["max_samples"] = str(as_int(int(metadata.max_samples)))
    meta["seconds"] = repr(float(metadata.seconds))
    meta |= {"data": json.dumps(dict(metadata.data)), "versions": json.dumps(dict(metadata.versions))}
    return [(key, text(value)) for key, value in meta.items()]


def as_metadata(meta: Mapping[str, str]) -> Metadata:
    """Where a run came from, of the rows of `meta`."""
    data, versions = json.loads(meta["data"]), json.loads(meta["versions"])
    if not isinstance(data, dict) or not isinstance(versions, dict):
        raise TypeError("`data` and `versions` must be JSON objects")
    schema.require_shallow(data)
    return Metadata(
        gaussprobe=meta["gaussprobe"],
        model=meta["model"],
        view=one_of(meta["view"], get_args(View), "view"),
        mode=one_of(meta["mode"], get_args(Mode), "mode"),
        seed=int(digits_of(meta["seed"])),
        max_samples=as_int(int(digits_of(meta["max_samples"]))),
        data=data,
        command=meta["command"],
        created=meta["created"],
        seconds=float(meta["seconds"]),
        versions={key: as_text(value) for key, value in versions.items()},
        device=meta["device"],
    )


def score_rows(scores: Iterable[LayerScore]) -> Rows:
    """Rows of `scores`, without their ids."""
    return [
        (
            int(score.step),
            name(score.site),
            "+".join(score.kind),
            int(score.n_seen),
            int(score.n_tested),
            int(score.num_features),
            score.verdict,
            score.departure,
            *_summary_cells(score.delta),
            *_summary_cells(score.negentropy),
            *(number(getattr(score, key)) for key in _SINGLE),
            json.dumps(list(score.notes)),
            one_of(score.source, _SOURCES, "source"),
        )
        for score in scores
    ]


def as_score(row: sqlite3.Row, tests: Mapping[str, GofSummary], version: int) -> LayerScore:
    """One row of `scores`, with its tests."""

    def summary(key: str) -> Summary:
        numbers = {part: as_number(row[f"{key}_{part}"]) for part in _SUMMARY}
        return Summary(**numbers, worst_unit=optional(as_int, row[f"{key}_worst_unit"]))

    return LayerScore(
        site=as_name(row["site"]),
        kind=_as_kinds(row["kind"]),
        step=as_int(row["step"]),
        n_seen=as_int(row["n_seen"]),
        n_tested=as_int(row["n_tested"]),
        num_features=as_int(row["num_features"]),
        delta=summary("delta"),
        negentropy=summary("negentropy"),
        **{key: as_number(row[key]) for key in _SINGLE},
        tests=tests,
        verdict=one_of(row["verdict"], VERDICTS, "verdict"),
        departure=one_of(row["departure"], get_args(Departure), "departure"),
        notes=_as_notes(row["notes"]),
        source=one_of(row["source"], _SOURCES, "source") if version > 2 else "forward",
    )


def gof_rows(scores: Iterable[LayerScore], first: int) -> Rows:
    """Rows of `tests`, without their ids; the first score has the id `first`."""
    return [
        (index, name(key), number(test.statistic), number(test.pvalue), number(test.rejected_fraction))
        for index, score in enumerate(scores, first)
        for key, test in score.tests.items()
    ]


def as_tests(rows: Iterable[sqlite3.Row]) -> dict[object, dict[str, GofSummary]]:
    """The rows of `tests`, by the id of their score."""
    tests: dict[object, dict[str, GofSummary]] = {}
    for row in rows:
        tests.setdefault(row["score"], {})[as_name(row["name"])] = GofSummary(
            statistic=as_number(row["statistic"]),
            pvalue=optional(as_number, row["pvalue"]),
            rejected_fraction=optional(as_number, row["rejected_fraction"]),
        )
    return tests


def record_rows(series: Iterable[SiteRecord]) -> Rows:
    """Rows of `series`, without their ids."""
    for record in series:
        if stray := record.errors.keys() - set(CHARTED):
            raise ValueError(f"there is a standard error of {quoted(min(stray))}, which is not charted")
    return [
        (
            int(record.step),
            name(record.site),
            one_of(record.source, _SOURCES, "source"),
            *(number(getattr(record, key)) for key in _MOMENTS),
            *(number(record.errors.get(key)) for key in CHARTED),
            one_of(record.verdict99, VERDICTS, "verdict"),
            int(record.constant_units),
            int(record.silent_units),
            packed(record.quantiles),
        )
        for record in series
    ]


def as_record(row: sqlite3.Row) -> SiteRecord:
    """One row of `series`."""
    errors = {key: row[f"{key}_error"] for key in CHARTED}
    return SiteRecord(
        step=as_int(row["step"]),
        site=as_name(row["site"]),
        source=one_of(row["source"], _SOURCES, "source"),
        **{key: as_number(row[key]) for key in _MOMENTS},
        errors={key: as_number(value) for key, value in errors.items() if value is not None},
        verdict99=one_of(row["verdict99"], VERDICTS, "verdict"),
        constant_units=as_count(row["constant_units"]),
        silent_units=as_count(row["silent_units"]),
        quantiles=as_packed(row["quantiles"]),
    )


def metric_rows(metrics: Iterable[Metric]) -> Rows:
    """Rows of `metrics`, without their ids."""
    return [(int(metric.step), name(metric.name), number(metric.value)) for metric in metrics]


def as_metric(row: sqlite3.Row) -> Metric:
    """One row of `metrics`."""
    return Metric(step=as_int(row["step"]), name=as_name(row["name"]), value=as_number(row["value"]))


def event_rows(events: Iterable[Event]) -> Rows:
    """Rows of `events`, without their ids."""
    return [
        (
            int(event.step),
            name(event.site),
            one_of(event.source, _SOURCES, "source"),
            one_of(event.kind, EVENT_KINDS, "event"),
            one_of(event.quantity, _QUANTITIES, "quantity"),
            *(number(value) for value in (event.before, event.after, event.z)),
            text(event.text),
        )
        for event in events
    ]


def as_event(row: sqlite3.Row) -> Event:
    """One row of `events`."""
    return Event(
        step=as_int(row["step"]),
        site=as_name(row["site"]),
        source=one_of(row["source"], _SOURCES, "source"),
        kind=one_of(row["kind"], EVENT_KINDS, "event"),
        quantity=one_of(row["quantity"], _QUANTITIES, "quantity"),
        before=as_number(row["before"]),
        after=as_number(row["after"]),
        z=as_number(row["z"]),
        text=as_text(row["text"]),
    )


def picture_rows(pictures: Iterable[SitePicture]) -> Rows:
    """Rows of `pictures`, without their ids."""
    return [(int(picture.step), name(picture.site)) for picture in pictures]


def unit_rows(pictures: Sequence[SitePicture]) -> Rows:
    """Rows of `picture_units`, without their ids; pictures are numbered from 0."""
    return [(index, *_unit_cells(unit)) for index, picture in enumerate(pictures) for unit in picture.units]


def as_units(rows: Iterable[sqlite3.Row]) -> dict[object, list[UnitPicture]]:
    """The rows of `picture_units`, by the id of their picture."""
    units: dict[object, list[UnitPicture]] = {}
    for row in rows:
        units.setdefault(row["picture"], []).append(_as_unit(row))
    return units


def as_picture(row: sqlite3.Row, units: Sequence[UnitPicture]) -> SitePicture:
    """One row of `pictures`, with its units."""
    return SitePicture(step=as_int(row["step"]), site=as_name(row["site"]), units=tuple(units))


def capture_rows(capture: Iterable[CaptureRecord]) -> Rows:
    """Rows of `capture`, without their ids."""
    rows = []
    for record in capture:
        calls, *others = (as_int(int(getattr(record, key))) for key in _COUNTS)
        rows.append((name(record.site), "+".join(record.kind), calls, int(record.sampled), *others))
    return rows


def as_capture(row: sqlite3.Row) -> CaptureRecord:
    """One row of `capture`."""
    counts = {key: as_int(row[key]) for key in _COUNTS}
    if min(counts.values()) < 0:
        raise ValueError("a count of `capture` is negative")
    sampled = bool(one_of(row["sampled"], (0, 1), "sampled"))
    return CaptureRecord(site=as_name(row["site"]), kind=_as_kinds(row["kind"]), sampled=sampled, **counts)


def missed_rows(missed: Iterable[NotCaptured]) -> Rows:
    """Rows of `not_captured`, without their ids."""
    return [(name(item.site), text(item.reason)) for item in missed]


def as_missed(row: sqlite3.Row) -> NotCaptured:
    """One row of `not_captured`."""
    return NotCaptured(site=as_name(row["site"]), reason=as_text(row["reason"]))


def warning_rows(warnings: Iterable[str]) -> Rows:
    """Rows of `warnings`, without their ids."""
    return [(text(warning),) for warning in warnings]


def _summary_cells(value: Summary) -> list[Any]:
    worst_unit = None if value.worst_unit is None else int(value.worst_unit)
    return [*(number(getattr(value, key)) for key in _SUMMARY), worst_unit]


def _unit_cells(unit: UnitPicture) -> tuple[Any, ...]:
    _require_sound(unit)
    lists = (unit.edges, [int(count) for count in unit.counts], unit.qq_normal, unit.qq_sample)
    numbers = (number(unit.mean), number(unit.sd), number(unit.delta))
    dumped = (
        json.dumps([value if isinstance(value, int) else float(value) for value in one]) for one in lists
    )
    return (int(unit.unit), unit.role, *numbers, int(unit.below), int(unit.above), *dumped)


def _as_unit(row: sqlite3.Row) -> UnitPicture:
    unit = UnitPicture(
        unit=as_int(row["unit"]),
        role=one_of(row["role"], _ROLES, "role"),
        mean=as_number(row["mean"]),
        sd=as_number(row["sd"]),
        delta=as_number(row["delta"]),
        edges=tuple(as_list(row["edges"], as_number)),
        counts=tuple(as_list(row["counts"], as_int)),
        below=as_int(row["below"]),
        above=as_int(row["above"]),
        qq_normal=tuple(as_list(row["qq_normal"], as_number)),
        qq_sample=tuple(as_list(row["qq_sample"], as_number)),
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
        as_int(int(count))


# Long runs repeat a site's kinds and notes at every step: each is read, and kept, once.
@functools.lru_cache(maxsize=256)
def _as_kinds(value: object) -> tuple[Kind, ...]:
    kinds = as_text(value)
    if len(set(kinds.split("+"))) < len(kinds.split("+")):
        raise ValueError(f"kind {quoted(kinds)} repeats itself")
    return tuple(one_of(kind, KINDS, "kind") for kind in kinds.split("+")) if kinds else ()


def _as_notes(value: object) -> tuple[str, ...]:
    if isinstance(value, str) and len(value) <= _USUAL_NOTES:
        return _usual_notes(value)
    return tuple(as_list(value, as_text))


@functools.lru_cache(maxsize=256)
def _usual_notes(value: str) -> tuple[str, ...]:
    return tuple(as_list(value, as_text))

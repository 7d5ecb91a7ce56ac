"""A run as pandas frames: scores, series, metrics, events."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from gaussprobe.records import CHARTED, LEVELS
from gaussprobe.types import Run, Summary

if TYPE_CHECKING:
    import pandas as pd

What: TypeAlias = Literal["scores", "series", "metrics", "events"]
WHATS: tuple[What, ...] = get_args(What)

_Dtype: TypeAlias = Literal["int64", "Int64", "float64"]
_Columns: TypeAlias = "dict[str, pd.Series[Any]]"

_SUMMARY = ("median", "low", "high", "worst", "worst_unit")
_TEST = ("statistic", "pvalue", "rejected_fraction")
_SINGLE = ("qq_r2", "ks_distance", "wasserstein", "skewness", "excess_kurtosis")
_MOMENTS = ("mean", "sd", "l_scale", "l_skewness", "l_kurtosis", "log_sd", "relative_mean")


def to_frame(run: Run) -> pd.DataFrame:
    """One row per step and site, in step, then execution order.

    Args:
        run: the run.

    Returns:
        Columns `step, site, kind, ..` as the keys of the JSON form, nested ones joined by `_`
        (`delta_median`, `tests_shapiro_wilk_pvalue`). `kind` is joined by `+`, `notes` by `"; "`.
        What was withheld or not run is NaN; a missing worst unit is `<NA>` in an `Int64` column. `source`
        follows `site` where a fixed batch was evaluated beside the training.
    """
    scores = run.scores
    columns = _whole(scores, "step") | _text(scores, "site")
    if any(score.source != "forward" for score in scores):
        columns |= _text(scores, "source")
    columns["kind"] = _column(["+".join(score.kind) for score in scores])
    columns |= _whole(scores, "n_seen", "n_tested", "num_features")
    for effect in ("delta", "negentropy"):
        summaries: list[Summary] = [getattr(score, effect) for score in scores]
        for key in _SUMMARY:
            dtype: _Dtype = "Int64" if key == "worst_unit" else "float64"
            columns[f"{effect}_{key}"] = _column([getattr(one, key) for one in summaries], dtype)
    columns |= _numbers(scores, *_SINGLE)
    for name in dict.fromkeys(name for score in scores for name in score.tests):
        tests = [score.tests.get(name) for score in scores]
        for key in _TEST:
            values = [_number(getattr(one, key, None)) for one in tests]
            columns[f"tests_{name}_{key}"] = _column(values, "float64")
    columns |= _text(scores, "verdict", "departure")
    columns["notes"] = _column(["; ".join(score.notes) for score in scores])
    return _frame(columns)


def series_frame(run: Run) -> pd.DataFrame:
    """One row per step and site of what is followed over training.

    Args:
        run: the run.

    Returns:
        Columns as the attributes of `SiteRecord`, its standard errors as `<name>_error`, its quantiles as
        `quantile_<level>`; NaN where there is none.
    """
    series = run.series
    columns = _whole(series, "step") | _text(series, "site", "source") | _numbers(series, *_MOMENTS)
    for key in CHARTED:
        errors = [_number(record.errors.get(key)) for record in series]
        columns[f"{key}_error"] = _column(errors, "float64")
    columns |= _text(series, "verdict99") | _whole(series, "constant_units", "silent_units")
    for index, level in enumerate(LEVELS):
        # Nothing that can be measured has no quantiles.
        quantiles = [one.quantiles[index] if index < len(one.quantiles) else math.nan for one in series]
        columns[f"quantile_{level:g}"] = _column(quantiles, "float64")
    return _frame(columns)


def metrics_frame(run: Run) -> pd.DataFrame:
    """One row per step and metric: columns `step, name, value`."""
    metrics = run.metrics
    return _frame(_whole(metrics, "step") | _text(metrics, "name") | _numbers(metrics, "value"))


def events_frame(run: Run) -> pd.DataFrame:
    """One row per event: columns as the attributes of `Event`."""
    events = run.events
    columns = _whole(events, "step") | _text(events, "site", "source", "kind", "quantity")
    return _frame(columns | _numbers(events, "before", "after", "z") | _text(events, "text"))


def table(run: Run, what: What) -> pd.DataFrame:
    """The frame of one kind of record.

    Args:
        run: the run.
        what: one of `WHATS`.
    """
    makers: dict[What, Callable[[Run], pd.DataFrame]] = {
        "scores": to_frame,
        "series": series_frame,
        "metrics": metrics_frame,
        "events": events_frame,
    }
    if what not in makers:
        raise ValueError(f"what must be one of {', '.join(WHATS)}, got {what!r}")
    return makers[what](run)


# A column at a time: long runs are too large for a dictionary per row.
def _column(values: list[Any], dtype: _Dtype | None = None) -> pd.Series[Any]:
    """A column; without a type it is what pandas makes of text."""
    import pandas as pd

    if dtype is not None:
        return pd.Series(values, dtype=dtype)
    try:
        "".join(values).encode()
    except UnicodeEncodeError:  # a file name that is not UTF-8, which the text of pandas cannot hold
        return pd.Series(values, dtype="object")
    return pd.Series(values) if values else pd.Series(values, dtype="object")


def _text(items: Sequence[Any], *names: str) -> _Columns:
    return {name: _column([getattr(item, name) for item in items]) for name in names}


def _whole(items: Sequence[Any], *names: str) -> _Columns:
    return {name: _column([getattr(item, name) for item in items], "int64") for name in names}


def _numbers(items: Sequence[Any], *names: str) -> _Columns:
    return {name: _column([_number(getattr(item, name)) for item in items], "float64") for name in names}


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _frame(columns: _Columns) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(columns)

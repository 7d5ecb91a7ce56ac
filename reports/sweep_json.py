"""A sweep as one JSON object: what `compare --sweep --json` prints."""

from __future__ import annotations

import json
from typing import Any

from gaussprobe.reports import comparison_json
from gaussprobe.reports.json_form import strict
from gaussprobe.sweep import Sweep, by_value, r2_measure
from gaussprobe.version import __version__


def to_json(sweep: Sweep, *, metric: str = "accuracy") -> dict[str, Any]:
    """A sweep as an object that strict JSON can hold.

    Args:
        sweep: the comparisons.
        metric: that is held side by side over the values.

    Returns:
        The keys `gaussprobe, sweep, recipe, points, table, warnings`. `points` has `value` and the keys of
        `compare --json` for each value; `table`, for the metric and the Q-Q R^2 of normalization layers, a
        list of `value`, the mean and standard error of each setting, and `difference` with its p-value
        adjusted over the values, None where no seed ended in both.
    """
    r2 = r2_measure([point.found for point in sweep.points])
    return {
        "gaussprobe": __version__,
        "sweep": sweep.name,
        "recipe": sweep.recipe,
        "points": [{"value": point.value, **comparison_json.to_json(point.found)} for point in sweep.points],
        "table": {measure: _table(sweep, measure) for measure in (metric, r2) if measure is not None},
        "warnings": list(sweep.warnings),
    }


def dumps(sweep: Sweep) -> str:
    """The same as text, indented, without a final newline."""
    return json.dumps(to_json(sweep), indent=2, allow_nan=False)


def _table(sweep: Sweep, measure: str) -> list[dict[str, Any]]:
    first, second = sweep.settings
    return [
        {
            "value": point.value,
            first: strict({"mean": row.first.mean, "se": row.first.se}),
            second: strict({"mean": row.second.mean, "se": row.second.se}),
            "difference": None if row.difference is None else comparison_json.difference(row.difference),
        }
        for point, row in zip(sweep.points, by_value(sweep, measure), strict=True)
    ]

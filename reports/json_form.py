"""A run as one JSON object: what `scan --json` prints."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from gaussprobe.reports import series
from gaussprobe.types import LayerScore, Run, Summary


def to_json(run: Run) -> dict[str, Any]:
    """A run as an object that strict JSON can hold.

    Args:
        run: the run.

    Returns:
        The keys `gaussprobe, model, view, seed, data, sites, not_captured, warnings, capture`; `sites` in
        step, then execution order; `capture` says what happened at every site that fired, sampled or not. NaN
        and infinities are the strings `"NaN"`, `"Infinity"` and `"-Infinity"`; what was withheld is None.
        Of a watched run sites have `step`, and `source` where there is a fixed batch too, and the keys
        `series, metrics, events` follow: lists of `SiteRecord`, `Metric` and `Event` with all their fields.
    """
    metadata = run.metadata
    watched = series.is_watched(run)
    both = any(record.source == "probe" for record in run.series)

    def when(score: LayerScore) -> dict[str, Any]:
        """The first keys of a site of a watched run."""
        if not watched:
            return {}
        return {"step": score.step, "source": score.source} if both else {"step": score.step}

    document = {
        "gaussprobe": metadata.gaussprobe,
        "model": metadata.model,
        "view": metadata.view,
        "seed": metadata.seed,
        "data": strict(metadata.data),
        "sites": [{**when(score), **site_to_json(score)} for score in run.scores],
        "not_captured": [{"site": item.site, "reason": item.reason} for item in run.not_captured],
        "warnings": list(run.warnings),
        "capture": [{**asdict(record), "kind": list(record.kind)} for record in run.capture],
    }
    if watched:
        document |= {
            "series": [strict(_fields(record)) for record in run.series],
            "metrics": [strict(_fields(metric)) for metric in run.metrics],
            "events": [strict(_fields(event)) for event in run.events],
        }
    return document


def dumps(run: Run) -> str:
    """A run as the text of one JSON object, indented, without a final newline; the same for the same run.

    Args:
        run: the run.

    Returns:
        ASCII text: other characters are escaped, so that no terminal's encoding can fail on it.

    Raises:
        TypeError: if `run.metadata.data` holds what JSON has not.
    """
    return json.dumps(to_json(run), indent=2, allow_nan=False)


def site_to_json(score: LayerScore) -> dict[str, Any]:
    """One entry of `sites`.

    Args:
        score: the score of one site in one step.

    Returns:
        Its object, with the keys in the documented order.
    """
    return {
        "site": score.site,
        "kind": list(score.kind),
        "n_seen": score.n_seen,
        "n_tested": score.n_tested,
        "num_features": score.num_features,
        "delta": _summary(score.delta),
        "negentropy": _summary(score.negentropy),
        "qq_r2": strict(score.qq_r2),
        "ks_distance": strict(score.ks_distance),
        "wasserstein": strict(score.wasserstein),
        "skewness": strict(score.skewness),
        "excess_kurtosis": strict(score.excess_kurtosis),
        "tests": {
            name: {
                "statistic": strict(test.statistic),
                "pvalue": strict(test.pvalue),
                "rejected_fraction": strict(test.rejected_fraction),
            }
            for name, test in score.tests.items()
        },
        "verdict": score.verdict,
        "departure": score.departure,
        "notes": list(score.notes),
    }


def _fields(record: Any) -> dict[str, Any]:
    """The fields of a record: `dataclasses.asdict` would copy every one of its numbers, slowly."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def strict(value: Any) -> Any:
    """A value with every NaN and infinity in it, however deep, replaced by its name as a string.

    Args:
        value: a number, a string, None, or mappings and lists of them.

    Returns:
        The same for strict JSON; tuples become lists, keys of mappings strings.
    """
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
    elif isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return value


def _summary(value: Summary) -> dict[str, Any]:
    return {
        "median": strict(value.median),
        "low": strict(value.low),
        "high": strict(value.high),
        "worst": strict(value.worst),
        "worst_unit": value.worst_unit,
    }

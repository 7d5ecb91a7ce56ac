"""A run as a pandas frame."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gaussprobe.types import Run, Summary

if TYPE_CHECKING:
    import pandas as pd

_SUMMARY = ("median", "low", "high", "worst", "worst_unit")
_TEST = ("statistic", "pvalue", "rejected_fraction")


def to_frame(run: Run) -> pd.DataFrame:
    """One row per step and site, in step, then execution order.

    Args:
        run: the run.

    Returns:
        Columns `step, site, kind, ..` as the keys of the JSON form, nested ones joined by `_`
        (`delta_median`, `tests_shapiro_wilk_pvalue`). `kind` is joined by `+`, `notes` by `"; "`.
        What was withheld or not run is NaN; a missing worst unit is `<NA>` in an `Int64` column.
    """
    import pandas as pd

    names = list(dict.fromkeys(name for score in run.scores for name in score.tests))
    rows: list[dict[str, Any]] = []
    for score in run.scores:
        row: dict[str, Any] = {
            "step": score.step,
            "site": score.site,
            "kind": "+".join(score.kind),
            "n_seen": score.n_seen,
            "n_tested": score.n_tested,
            "num_features": score.num_features,
            **_summary("delta", score.delta),
            **_summary("negentropy", score.negentropy),
            "qq_r2": score.qq_r2,
            "ks_distance": score.ks_distance,
            "wasserstein": score.wasserstein,
            "skewness": score.skewness,
            "excess_kurtosis": score.excess_kurtosis,
        }
        for name in names:
            for field in _TEST:
                value = getattr(score.tests.get(name), field, None)
                row[f"tests_{name}_{field}"] = math.nan if value is None else value
        row |= {"verdict": score.verdict, "departure": score.departure, "notes": "; ".join(score.notes)}
        rows.append(row)
    frame = pd.DataFrame(rows, columns=_columns(names))
    whole = dict.fromkeys(("step", "n_seen", "n_tested", "num_features"), "int64")
    maybe = dict.fromkeys(("delta_worst_unit", "negentropy_worst_unit"), "Int64")
    text = {"site", "kind", "verdict", "departure", "notes"}
    rest = {name: "float64" for name in frame.columns if name not in text | whole.keys() | maybe.keys()}
    return frame.astype({**whole, **maybe, **rest})


def _summary(name: str, value: Summary) -> dict[str, Any]:
    return {f"{name}_{key}": getattr(value, key) for key in _SUMMARY}


def _columns(tests: list[str]) -> list[str]:
    head = ["step", "site", "kind", "n_seen", "n_tested", "num_features"]
    effects = [f"{name}_{key}" for name in ("delta", "negentropy") for key in _SUMMARY]
    single = ["qq_r2", "ks_distance", "wasserstein", "skewness", "excess_kurtosis"]
    results = [f"tests_{name}_{field}" for name in tests for field in _TEST]
    return [*head, *effects, *single, *results, "verdict", "departure", "notes"]

"""gaussprobe.reports.frame: a run as a pandas frame."""

from __future__ import annotations

import dataclasses
import math

import pandas as pd
import pytest

from gaussprobe.records import LEVELS
from gaussprobe.reports import frame, json_form
from gaussprobe.types import GofSummary
from tests.runs import build_run, renamed
from tests.stored import watched_run


def test_columns_are_the_json_keys() -> None:
    """Each column is a JSON key, nested ones joined by `_`, in the same order, after `step`."""
    run = build_run()
    site = json_form.to_json(run)["sites"][0]
    expected = ["step"]
    for key, value in site.items():
        if key == "tests":
            expected += [f"tests_{name}_{field}" for name, test in value.items() for field in test]
        elif isinstance(value, dict):
            expected += [f"{key}_{field}" for field in value]
        else:
            expected.append(key)
    assert list(run.to_frame().columns) == expected


def test_values() -> None:
    """Values are those of the scores; kinds are joined by `+`, notes by `; `."""
    run = build_run()
    frame = run.to_frame()
    assert frame["site"].tolist() == [score.site for score in run.scores]
    row = frame.set_index("site").loc["layers.0.mlp.up[gate]"]
    assert row["kind"] == "affine+preactivation"
    assert row["delta_worst_unit"] == 17
    assert row["tests_shapiro_wilk_pvalue"] == 2.5e-9
    broken = frame.set_index("site").loc["heads.aux"]
    assert math.isnan(broken["delta_median"])
    assert pd.isna(broken["delta_worst_unit"])
    assert broken["notes"].startswith("37 of 204,800 values are NaN, in 2 of 10 units; p-values")


def test_withheld_is_nan() -> None:
    """A withheld p-value is NaN in a float column."""
    frame = build_run().to_frame().set_index("site")
    assert frame["tests_lilliefors_pvalue"].dtype == "float64"
    assert math.isnan(frame.loc["layers.0:gelu:input", "tests_lilliefors_pvalue"])


def test_types_do_not_depend_on_content() -> None:
    """A run without sites, and one of a single unmeasurable site, have the columns' types of any other."""
    run = build_run()
    types = run.to_frame().dtypes
    single = dataclasses.replace(run, scores=run.scores[9:10]).to_frame().dtypes
    assert single.equals(types)
    empty = build_run(scores=()).to_frame()
    assert len(empty) == 0
    numeric = [
        name for name in empty.columns if name not in ("site", "kind", "verdict", "departure", "notes")
    ]
    assert empty.dtypes[numeric].equals(types[numeric])


def test_sites_with_different_tests_and_steps() -> None:
    """One row per step and site, and a column for every test that any site has."""
    run = build_run()
    first = run.scores[0]
    other = dataclasses.replace(
        first, step=50, tests={"watson": GofSummary(statistic=1.0, pvalue=None, rejected_fraction=None)}
    )
    frame = dataclasses.replace(run, scores=(first, other)).to_frame()
    assert frame["step"].tolist() == [0, 50]
    assert frame["tests_watson_statistic"].isna().tolist() == [True, False]
    assert frame["tests_shapiro_wilk_statistic"].isna().tolist() == [False, True]


def test_source_only_where_there_is_a_probe() -> None:
    """A run with records of a fixed batch says which each row is; others have the columns of a scan."""
    run = watched_run(steps=2)
    found = run.to_frame()
    assert list(found.columns[:3]) == ["step", "site", "source"]
    assert found["source"].tolist() == [score.source for score in run.scores]
    plain = dataclasses.replace(run, scores=tuple(one for one in run.scores if one.source == "forward"))
    assert list(plain.to_frame().columns[:3]) == ["step", "site", "kind"]


def test_series() -> None:
    """One row per record: errors and quantiles each in a column, NaN where there is none."""
    run = watched_run(steps=2)
    bare = dataclasses.replace(run.series[0], errors={"delta": 0.5}, quantiles=())
    found = frame.series_frame(dataclasses.replace(run, series=(bare, *run.series)))
    assert len(found) == 1 + len(run.series)
    assert found["delta_error"].tolist() == [0.5, *(one.errors["delta"] for one in run.series)]
    assert found["quantile_0.5"].tolist()[1:] == [one.quantiles[LEVELS.index(0.5)] for one in run.series]
    assert math.isnan(found["quantile_0.5"][0])
    assert math.isnan(found["log_sd_error"][0])
    assert found["l_kurtosis"].tolist()[1:] == [one.l_kurtosis for one in run.series]
    assert found["verdict99"].tolist() == ["gaussian"] * len(found)


def test_metrics_and_events() -> None:
    """One row per metric and per event, with the attributes as columns."""
    run = watched_run(steps=3)
    assert frame.metrics_frame(run).to_dict("records") == [dataclasses.asdict(one) for one in run.metrics]
    assert frame.events_frame(run).to_dict("records") == [dataclasses.asdict(one) for one in run.events]


def test_a_name_that_is_not_utf8() -> None:
    """A name that Python holds and UTF-8 does not is in the frame as it is."""
    run = renamed(build_run(), "heads.aux", "caf\udce9")
    assert run.to_frame()["site"].tolist() == [score.site for score in run.scores]


def test_tables_by_name() -> None:
    """Each kind of record has its table, empty ones with their columns; another name is refused."""
    for what in frame.WHATS:
        assert len(frame.table(build_run(scores=()), what)) == 0
        assert list(frame.table(build_run(scores=()), what).columns[:1]) == ["step"]
    with pytest.raises(ValueError, match="what must be one of scores, series, metrics, events, got 'all'"):
        frame.table(build_run(), "all")  # type: ignore[arg-type]

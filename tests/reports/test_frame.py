"""gaussprobe.reports.frame: a run as a pandas frame."""

from __future__ import annotations

import dataclasses
import math

import pandas as pd

from gaussprobe.reports import json_form
from gaussprobe.types import GofSummary
from tests.runs import build_run


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

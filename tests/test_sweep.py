"""Comparisons in a row: records and their tables."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as laws

from gaussprobe.comparison import SiteNumbers, Trial
from gaussprobe.sweep import Point, by_setting, by_value, norm_sites, numbers, r2_measure
from gaussprobe.trials.analysis import compared
from tests.sweeps import MEASURED, comparison, made, trial


def test_rows_are_paired_differences_adjusted_over_the_values() -> None:
    """scipy's paired t test at each value, its p-values after Holm's method by hand; means and errors too."""
    sweep = made((0.02, 0.01, 0.05))
    rows = by_value(sweep, "accuracy")
    assert [row.label for row in rows] == ["0.5", "1", "2"]
    tests = []
    for row, point in zip(rows, sweep.points, strict=True):
        a, b = (point.found.metrics[name]["accuracy"].values for name in ("s0", "s1"))
        assert row.first.mean == pytest.approx(np.mean(a))
        assert row.second.se == pytest.approx(np.std(b, ddof=1) / math.sqrt(3))
        assert row.difference is not None
        found = laws.ttest_rel(b, a)
        low, high = found.confidence_interval(0.95)
        assert (row.difference.low, row.difference.high) == pytest.approx((low, high))
        tests.append(found.pvalue)
    by_hand = [0.0] * 3
    largest = 0.0
    for rank, index in enumerate(np.argsort(tests)):
        largest = max(largest, min(1.0, (3 - rank) * tests[index]))
        by_hand[index] = largest
    assert [row.difference.adjusted_pvalue for row in rows if row.difference] == pytest.approx(by_hand)


def test_layers_count_by_the_mean_over_normalization_layers() -> None:
    """The mean Q-Q R^2 of sites of kind `norm`, and of them alone."""
    found = comparison([0.0, 0.1])
    assert numbers(found, "s1", "qq_r2") == pytest.approx({s: 0.8 + 0.0005 * s for s in range(3)})
    (row,) = by_setting(found, "qq_r2")
    assert row.difference is not None
    assert row.difference.mean == pytest.approx(0.1)
    assert row.difference.reason == "the difference is the same on every seed"


def test_settings_against_the_first_and_the_one_before() -> None:
    """Steps add up to the whole, and Holm's method takes all three differences together: by hand."""
    found = comparison([0.0, 0.01, 0.04])
    whole = by_setting(found, "accuracy")
    rows = by_setting(found, "accuracy", steps=True)
    assert [(row.label, row.against) for row in whole] == [("s1", "s0"), ("s2", "s0")]
    assert [(row.label, row.against) for row in rows] == [("s1", "s0"), ("s2", "s0"), ("s2", "s1")]
    one, both, two = [row.difference for row in rows if row.difference]
    assert one.mean + two.mean == pytest.approx(both.mean)
    ordered = sorted((one, both, two), key=lambda each: each.pvalue)
    by_hand = np.maximum.accumulate([(3 - k) * each.pvalue for k, each in enumerate(ordered)])
    assert [each.adjusted_pvalue for each in ordered] == pytest.approx(np.minimum(1, by_hand))


def test_a_site_counts_in_every_trial_or_in_none() -> None:
    """One that is not finite somewhere, or missing, is left out everywhere, and named."""
    trials = [
        trial(setting, seed, 0.9, {"1": 0.5 + seed, "4": math.nan if (setting, seed) == ("b", 1) else 0.9})
        for setting in "ab"
        for seed in range(2)
    ]
    trials.append(trial("a", 2, 0.9, {"1": 0.1, "4": 0.2, "7": 0.3}))
    found = compared("ab", range(3), trials, {})
    assert norm_sites(found, "qq_r2") == (("1",), ("4", "7"))
    assert numbers(found, "a", "qq_r2") == {0: 0.5, 1: 1.5, 2: 0.1}
    (row,) = by_setting(found, "qq_r2")
    assert row.difference is not None
    assert row.difference.n_seeds == 2


def test_which_r2_there_is() -> None:
    """As the paper measures it where it was; else the median over units; else none."""
    found = comparison([0.0, 0.1])
    assert r2_measure([found]) == "qq_r2"
    site = SiteNumbers(site="1", kind=("norm",), **MEASURED, minibatch_qq_r2=0.7)
    better = compared("ab", [0], [Trial(setting=s, seed=0, sites=(site,)) for s in "ab"], {})
    assert r2_measure([better]) == "minibatch_qq_r2"
    assert r2_measure([found, better]) == "qq_r2"
    bare = compared("ab", [0], [Trial(setting=s, seed=0) for s in "ab"], {})
    assert r2_measure([found, bare]) is None


def test_a_point_that_failed() -> None:
    """Its row has no difference, its warnings its value; the others are adjusted among themselves."""
    whole = made((0.02, 0.03))
    trials = [Trial(setting=s, seed=0, failure="Traceback\nE: no") for s in whole.settings]
    failed = compared(whole.settings, [0], trials, {})
    broken = replace(whole, points=(*whole.points, Point(value=4, found=failed)))
    assert (whole.failed, broken.failed) == (False, True)
    assert "width 4: s0, seed 0: E: no" in broken.warnings
    *rows, last = by_value(broken, "accuracy")
    assert last.difference is None
    assert math.isnan(last.first.mean)
    assert rows == list(by_value(whole, "accuracy"))
    assert all(row.difference is None for row in by_value(whole, "nothing"))

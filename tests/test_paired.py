"""Differences over seeds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as laws

from gaussprobe.errors import GaussprobeWarning
from gaussprobe.paired import adjusted, difference, ratio


def test_is_students() -> None:
    """scipy.stats.ttest_rel and its interval."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=6), rng.normal(1, 2, size=6)
    found, theirs = difference(a, b, level=0.9), laws.ttest_rel(b, a)
    interval = theirs.confidence_interval(0.9)
    assert found.pvalue == pytest.approx(theirs.pvalue, rel=1e-12)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    assert found.mean == pytest.approx((b - a).mean(), rel=1e-12)
    # Hedges' correction at 5 degrees of freedom: 1 - 3 / (4 * 5 - 1).
    assert found.effect == pytest.approx((1 - 3 / 19) * (b - a).mean() / (b - a).std(ddof=1), rel=1e-12)
    assert found.n_seeds == 6


def test_coverage_and_level() -> None:
    """4,000 experiments of six seeds: intervals of .95 cover, and nothing is rejected, as often as said."""
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(4000, 6))
    found = [difference(s + rng.normal(size=6), s + 0.3 + rng.normal(size=6)) for s in shared]
    cover = np.mean([d.low <= 0.3 <= d.high for d in found])
    assert abs(cover - 0.95) < 4 * math.sqrt(0.05 * 0.95 / 4000)
    null = [difference(s + rng.normal(size=6), s + rng.normal(size=6)).pvalue for s in shared]
    assert laws.kstest(null, "uniform").pvalue > 1e-3


def test_any_false_claim_is_rare() -> None:
    """1,000 comparisons of 12 sites that move together: one adjusted p below .05 in at most 5 %."""
    rng = np.random.default_rng(2)
    claims = 0
    for _ in range(1000):
        common = rng.normal(size=(2, 6, 1))
        first, second = common + 0.7 * rng.normal(size=(2, 6, 12))
        sites = adjusted([difference(first[:, k], second[:, k]) for k in range(12)])
        claims += any(d.adjusted_pvalue is not None and d.adjusted_pvalue < 0.05 for d in sites)
    assert claims / 1000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


def test_adjustment_by_hand() -> None:
    """Holm: .01, .02, .04 of three become .03, .04, .04; what has none neither gets one nor counts."""
    base = difference([0.0, 0.0, 0.0], [1.0, 2.0, 4.0])
    given = [replace(base, pvalue=p) for p in (0.04, math.nan, 0.01, 0.02)]
    found = [d.adjusted_pvalue for d in adjusted(given)]
    assert found == pytest.approx([0.04, math.nan, 0.03, 0.04], nan_ok=True)
    assert adjusted([]) == []


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ([0.5], [0.7], "one seed"),
        ([0.1, 0.2, 0.3], [0.2, 0.3, 0.4], "the difference is the same on every seed"),
        ([1.0, 1.0], [1.0, 1.0], "the difference is the same on every seed"),
    ],
)
def test_no_interval(first: list[float], second: list[float], reason: str) -> None:
    """The mean stays, the rest is NaN, and the reason is told."""
    with pytest.warns(GaussprobeWarning, match=reason):
        found = difference(first, second)
    assert found.mean == pytest.approx(second[0] - first[0])
    assert all(math.isnan(v) for v in (found.low, found.high, found.pvalue, found.effect))
    assert found.reason == reason


def test_float64_keeps_small_differences() -> None:
    """What differs by less than float32 could hold has an interval where the numbers are finer than that."""
    found = difference([0.1, 0.2, 0.3], [0.1 + 1e-9, 0.2 + 2e-9, 0.3 + 4e-9])
    assert not found.reason
    assert found.mean == pytest.approx(7e-9 / 3, rel=1e-6)


def test_two_seeds_have_no_effect_size() -> None:
    """An interval and a p-value; the corrected mean in standard deviations would be 0 of any two."""
    found = difference([0.0, 0.0], [1.0, 2.0])
    assert math.isnan(found.effect)
    assert found.pvalue == pytest.approx(laws.ttest_1samp([1.0, 2.0], 0).pvalue, rel=1e-12)


def test_skewed_differences_are_covered_less_often() -> None:
    """4,000 times six exponential differences: .89 for .95, as the docstring says."""
    zeros = np.zeros(6)
    found = [difference(zeros, d) for d in np.random.default_rng(3).exponential(size=(4000, 6))]
    cover = np.mean([d.low <= 1 <= d.high for d in found])
    assert abs(cover - 0.89) < 4 * math.sqrt(0.89 * 0.11 / 4000)


def test_differences_equal_but_for_float32() -> None:
    """Accuracies three thousandths apart on every seed, as torch returns them, are no claim of certainty."""
    first, second = (
        [float(np.float32(x)) for x in values] for values in ((0.950, 0.957, 0.961), (0.953, 0.960, 0.964))
    )
    with pytest.warns(GaussprobeWarning, match="the same on every seed"):
        found = difference(first, second)
    assert found.mean == pytest.approx(0.003, abs=1e-7)
    assert math.isnan(found.pvalue)


def test_bad_arguments() -> None:
    """Named, with what came."""
    with pytest.raises(ValueError, match=r"one number to each seed; got shapes \(2,\) and \(3,\)"):
        difference([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="must be finite"):
        difference([1, math.nan], [1, 2])
    with pytest.raises(ValueError, match="level must lie between 0 and 1; got 95"):
        difference([1, 2], [1, 3], level=95)


def test_ratio_is_of_logarithms() -> None:
    """Ratios e^.1, e^.2, e^.3 on three seeds: the interval of the logarithms; scale is nothing."""
    second = [2 * math.exp(0.1), 3 * math.exp(0.2), 5 * math.exp(0.3)]
    found = ratio([2, 3, 5], second)
    half = laws.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    wanted = (math.exp(0.2), math.exp(0.2 - half), math.exp(0.2 + half))
    assert (found.ratio, found.low, found.high) == pytest.approx(wanted, rel=1e-12)
    scaled = ratio([2e6, 3e6, 5e6], [1e6 * one for one in second])
    assert scaled.pvalue == pytest.approx(found.pvalue, rel=1e-9)
    assert adjusted([found, replace(found, pvalue=0.01)])[1].adjusted_pvalue == 0.02


def test_ratio_of_equal_ratios_has_no_interval() -> None:
    """The same ratio on every seed: said, not a claim of certainty."""
    with pytest.warns(GaussprobeWarning, match="the ratio is the same on every seed"):
        found = ratio([1, 2, 4], [2, 4, 8])
    assert found.ratio == pytest.approx(2)
    assert math.isnan(found.low)
    assert found.reason == "the ratio is the same on every seed"
    with pytest.warns(GaussprobeWarning, match="the ratio is the same on every seed"):
        assert math.isnan(ratio([1.0, 1.001, 1.002], [1.001 * x for x in (1.0, 1.001, 1.002)]).pvalue)


@pytest.mark.parametrize("wrong", [0.0, -1.0])
def test_ratio_wants_positive_numbers(wrong: float) -> None:
    """A ratio of what is not positive has no logarithm."""
    with pytest.raises(ValueError, match="must be positive"):
        ratio([1, wrong], [1, 2])

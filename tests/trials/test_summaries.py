"""What trials measured beside their sites, over seeds."""

from __future__ import annotations

import math

import pytest

from gaussprobe.comparison import Trial
from gaussprobe.measured import Carried, Cost, Course
from gaussprobe.trials import summaries


def trials(setting: str, changes: dict[tuple[str, str], list[float]]) -> dict[int, Trial]:
    """One to a seed, with the changes given for each."""
    n = len(next(iter(changes.values())))
    return {
        seed: Trial(
            setting=setting,
            seed=seed,
            robustness=tuple(
                Carried(at=at, site=site, change=values[seed]) for (at, site), values in changes.items()
            ),
        )
        for seed in range(n)
    }


def test_robustness_is_a_ratio_seed_by_seed() -> None:
    """Geometric mean of ratios, in the order of the first setting, only where both were read, adjusted."""
    a = trials("a", {("n1", "n2"): [0.2, 0.4], ("n1", "output"): [0.1, 0.1], ("n1", "gone"): [1.0, 1.0]})
    b = trials("b", {("n1", "output"): [0.1, 0.4], ("n1", "n2"): [0.1, 0.1]})
    said: list[str] = []
    found = summaries.robustness("a", "b", a, b, [0, 1], said)
    assert said == ["noise at 'n1' read at 'gone' is missing from a trial: not compared"]
    assert [(one.at, one.site) for one in found] == [("n1", "n2"), ("n1", "output")]
    assert found[0].ratio.ratio == pytest.approx(math.sqrt(0.5 * 0.25))
    assert found[1].ratio.ratio == pytest.approx(2)
    assert found[0].means == pytest.approx({"a": 0.3, "b": 0.1})
    smallest = min(one.ratio.pvalue for one in found)
    assert min(one.ratio.adjusted_pvalue or 0 for one in found) == pytest.approx(2 * smallest)
    assert summaries.robustness("a", "b", a, b, [], said) == ()


def test_no_change_has_no_ratio() -> None:
    """0 where no path leads, NaN where nothing could be read: means, and the reason for no ratio."""
    a = trials("a", {("n", "dead"): [0.0, 0.0], ("n", "lost"): [math.nan, math.nan]})
    (dead, lost) = summaries.robustness("a", "b", a, a, [0, 1], [])
    assert dead.means == {"a": 0.0, "b": 0.0}
    assert dead.ratio.reason == "no pair of positive numbers"
    assert math.isnan(dead.ratio.ratio)
    assert math.isnan(lost.means["a"])


def test_cost_is_of_both_within_a_trial() -> None:
    """Ratios within each trial of the second setting, the step as the sum; trials without a cost left out."""

    def one(seed: int, cost: Cost | None, first: Cost | None) -> Trial:
        return Trial(setting="b", seed=seed, cost=cost, cost_of_first=first)

    b = {
        0: one(0, Cost(forward=2, backward=4, saved_bytes=30), Cost(forward=1, backward=2, saved_bytes=20)),
        1: one(1, Cost(forward=9, backward=9, saved_bytes=30), Cost(forward=3, backward=1, saved_bytes=20)),
        2: one(2, None, None),
    }
    found = {each.name: each for each in summaries.cost("a", "b", b)}
    assert list(found) == ["forward", "backward", "step", "saved_bytes"]  # no device, no peak
    assert found["forward"].ratio.ratio == pytest.approx(math.sqrt(2 * 3))
    assert found["step"].ratio.ratio == pytest.approx(math.sqrt(6 / 3 * 18 / 4))
    assert found["step"].means == {"a": 3.5, "b": 12}
    assert found["saved_bytes"].ratio.reason == "the ratio is the same on every seed"
    assert summaries.cost("a", "b", {2: b[2]}) == ()


def test_courses_are_over_common_steps() -> None:
    """Mean and standard error at steps that every seed recorded, of sites that every seed has."""

    def one(seed: int, steps: tuple[int, ...], values: tuple[float, ...], *more: Course) -> Trial:
        return Trial(setting="a", seed=seed, courses=(Course(site="n", steps=steps, qq_r2=values), *more))

    other = Course(site="m", steps=(0,), qq_r2=(1.0,))
    (found,) = summaries.courses(
        {0: one(0, (0, 5, 10), (0.5, 0.6, 0.7)), 1: one(1, (0, 10), (0.7, 0.9), other)}
    )
    assert (found.site, found.steps) == ("n", (0, 10))
    assert found.mean == pytest.approx((0.6, 0.8))
    assert found.se == pytest.approx((0.1, 0.1))  # |a - b| / 2
    (alone,) = summaries.courses({0: one(0, (0,), (0.5,))})
    assert math.isnan(alone.se[0])
    assert summaries.courses({}) == ()

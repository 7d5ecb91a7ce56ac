"""What changed between two runs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussprobe.changes import INTERVALS, MEASURES, Changes, change, changes, check_step
from gaussprobe.errors import SelectionError
from gaussprobe.stats import jackknife
from gaussprobe.types import LayerScore, Run, Summary
from tests.calibration.laws import law
from tests.runs import NAN, build_run, runs, score, summary, unmeasured
from tests.stored import of_steps

DRAWS, N = 800, 500
# Standard error of a share of .95 among the draws.
ERROR = math.sqrt(0.95 * 0.05 / DRAWS)


def size(median: float, low: float, high: float) -> Summary:
    return summary(median, low, high, median, 0)


def layer(site: str, delta: float, half: float = 0.004, **others: Any) -> LayerScore:
    """A layer with that delta, give or take."""
    given: dict[str, Any] = {"kind": ("affine",), "verdict": "non-gaussian", "departure": "heavy-tailed"}
    given |= others
    both = size(delta, delta - half, delta + half)
    return score(site, delta=both, negentropy=both, **given)


def run_of(*scores: LayerScore, **metadata: Any) -> Run:
    """A run of real inputs without warnings."""
    run = build_run(synthetic=False, scores=scores, pictures=(), warnings=())
    return dataclasses.replace(run, metadata=dataclasses.replace(run.metadata, **metadata))


def named(found: Changes) -> list[str]:
    return [site.site for site in found.sites]


# -- the interval


def test_mover_by_hand() -> None:
    """The limits of Zou & Donner's square-and-add interval, from right triangles worked out by hand."""
    # 5-12-13: m2 - l2 = .05, u1 - m1 = .12. 8-15-17: u2 - m2 = .08, m1 - l1 = .15. d = .5.
    found = change(size(0.2, 0.05, 0.32), size(0.7, 0.65, 0.78))
    assert (found.first, found.second) == (0.2, 0.7)
    assert found.change == pytest.approx(0.5)
    assert found.low == pytest.approx(0.5 - 0.13)
    assert found.high == pytest.approx(0.5 + 0.17)
    assert found.excludes_zero


def test_mover_of_a_known_number() -> None:
    """Against a number without error the interval is the other's own, shifted."""
    found = change(size(0.1, 0.1, 0.1), size(0.3, 0.25, 0.37))
    assert (found.low, found.high) == pytest.approx((0.15, 0.27))


finite = st.floats(-10, 10)
sizes = st.tuples(finite, finite, finite).map(lambda three: size(*sorted(three)[1:2], *sorted(three)[::2]))


@given(first=sizes, second=sizes)
def test_swapping_flips_signs(first: Summary, second: Summary) -> None:
    """The change the other way round is the negative, limits exchanged; it lies within its limits."""
    there, back = change(first, second), change(second, first)
    assert there.change == -back.change
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-12)
    assert there.low <= there.change <= there.high
    assert there.excludes_zero == back.excludes_zero


@given(first=sizes, second=sizes, excess=st.floats(0.01, 10))
def test_a_limit_beyond_the_median_widens(first: Summary, second: Summary, excess: float) -> None:
    """A lower limit above its median, as of a delta below 0, gives no narrower an interval than none."""
    at = dataclasses.replace(second, low=second.median)
    beyond = dataclasses.replace(second, low=second.median + excess)
    assert change(first, beyond).low <= change(first, at).low
    assert change(first, beyond).high == change(first, at).high


@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [
        (size(NAN, NAN, NAN), size(0.1, 0.0, 0.2), NAN),
        (size(0.1, NAN, NAN), size(0.2, 0.1, 0.3), 0.1),
        (size(0.1, NAN, math.inf), size(0.2, 0.1, 0.3), 0.1),
        (size(math.inf, math.inf, math.inf), size(0.2, 0.1, 0.3), -math.inf),
        (size(math.inf, math.inf, math.inf), size(math.inf, math.inf, math.inf), NAN),
    ],
)
def test_no_interval(first: Summary, second: Summary, difference: float) -> None:
    """Without both intervals, or a finite difference, there is no interval and no claim."""
    found = change(first, second)
    assert found.change == pytest.approx(difference, nan_ok=True)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert not found.excludes_zero


def measured(x: np.ndarray[Any, Any]) -> list[Summary]:
    """delta of each column as of a layer of one unit, with the interval that a scan gives it."""
    found = jackknife.leave_out(torch.from_numpy(x), np.arange(len(x)), ("delta",))["delta"]
    each = (jackknife.median_interval("delta", found.of(slice(k, k + 1))) for k in range(x.shape[1]))
    return [size(one.median, one.low, one.high) for one in each]


@pytest.mark.parametrize(
    ("first", "second"),
    [("uniform", "gamma(10)"), ("normal", "skew-normal(2)"), ("uniform", "uniform")],
)
def test_coverage(first: str, second: str) -> None:
    """Over 800 pairs of independent samples of 500 the interval covers the laws' difference .95 of the time.

    The laws' deltas are integrals (`tests.calibration.laws`); a share of .95 has standard error .0077, and
    four of them are allowed. Of deltas that are equal it is said no oftener that they differ.
    """
    rng = np.random.default_rng(5)
    one, two = (measured(law(name).draw((N, DRAWS), rng)) for name in (first, second))
    truth = law(second).sizes["delta"] - law(first).sizes["delta"]
    found = [change(a, b) for a, b in zip(one, two, strict=True)]
    covered = np.mean([each.low <= truth <= each.high for each in found])
    assert abs(covered - 0.95) < 4 * ERROR
    if first == second:
        assert np.mean([each.excludes_zero for each in found]) < 0.05 + 4 * ERROR


def test_the_same_examples_are_on_the_safe_side() -> None:
    """Two layers whose units go together (correlation .87 before bending) are covered above .99."""
    rng = np.random.default_rng(6)
    x, noise = rng.normal(size=(2, N, 200))
    one = measured(np.exp(0.3 * x))
    two = measured(np.exp(0.3 * (math.sqrt(0.75) * x + 0.5 * noise)))
    covered = [each.low <= 0 <= each.high for each in map(change, one, two)]
    assert np.mean(covered) > 0.99


# -- sites


def test_order_and_claims() -> None:
    """By |change of delta|, NaN last, outputs of nonlinearities after; changed by interval or verdict."""
    first = run_of(
        layer("small", 0.02),
        layer("relu", 0.2, kind=("activation",)),
        layer("broken", 0.02),
        layer("down", 0.3),
        layer("turned", 0.014, verdict="undetermined"),
    )
    second = run_of(
        layer("turned", 0.016),
        layer("relu", 0.5, kind=("activation",)),
        unmeasured(layer("broken", 0.02), departure="non-finite", n_tested=2048, notes=("3 NaN",)),
        layer("small", 0.021),
        layer("down", 0.1),
    )
    found = changes(first, second)
    assert named(found) == ["down", "turned", "small", "broken", "relu"]
    assert [site.changed for site in found.sites] == [True, True, False, True, True]
    assert [site.delta.excludes_zero for site in found.sites] == [True, False, False, False, True]
    assert [site.headline for site in found.sites] == [True, True, True, True, False]
    assert found.sites[0].delta.change == pytest.approx(-0.2)
    assert found.sites[3].notes == ("no delta in the second: 3 NaN",)


def test_every_measure() -> None:
    """Each number of a score has its difference; only delta and negentropy have intervals."""
    found = changes(build_run(), build_run())
    for site in found.sites:
        assert tuple(site.differences) == MEASURES
        for name in MEASURES:
            one = site.differences[name]
            value = getattr(site.first, name)
            assert one.first == pytest.approx(value.median if name in INTERVALS else value, nan_ok=True)
            assert name in INTERVALS or math.isnan(one.low)


def test_a_run_against_itself() -> None:
    """Every change is 0 or, where nothing was measured or it is infinite, NaN; nothing is claimed."""
    found = changes(build_run(), build_run())
    assert len(found.sites) == len(build_run().scores)
    assert (found.only_first, found.only_second) == ((), ())
    for site in found.sites:
        assert not site.changed
        for one in site.differences.values():
            assert one.change == 0 or (math.isnan(one.change) and not math.isfinite(one.first))
    assert [w for w in found.warnings if "differ" in w] == []


def of_few_sites(run: Run) -> Run:
    """The run with sites that another has too."""
    scores = [dataclasses.replace(s, site="cab"[k % 3], step=0) for k, s in enumerate(run.scores)]
    return dataclasses.replace(run, scores=tuple(scores))


few = runs.map(of_few_sites)


@settings(max_examples=40, deadline=None)
@given(first=few, second=few)
def test_any_two_runs(first: Run, second: Run) -> None:
    """Whatever two runs hold: every site is accounted for, and swapping them flips the signs."""
    try:
        there = changes(first, second)
    except SelectionError:
        with pytest.raises(SelectionError):
            changes(second, first)
        return
    back = changes(second, first)
    assert (there.only_first, there.only_second) == (back.only_second, back.only_first)
    assert sorted(named(there)) == sorted(named(back))
    at = {score.site for score in first.scores if score.step == there.step_first}
    assert at == {*named(there), *there.only_first}
    other = {site.site: site for site in back.sites}
    for site in there.sites:
        for name in MEASURES:
            one, two = site.differences[name], other[site.site].differences[name]
            assert one.change == -two.change or math.isnan(one.change)
            assert math.isnan(one.change) == math.isnan(two.change)
            assert one.excludes_zero == two.excludes_zero


BEFORE = run_of(*(layer(f"a.{k}", 0.1) for k in range(6)))
AFTER = run_of(*(layer(f"a.{k}", 0.1 + 0.01 * k) for k in range(6)))


@given(order=st.permutations(range(6)))
def test_the_order_of_sites_does_not_matter(order: list[int]) -> None:
    """The second run's sites in any order give the same changes."""
    found = changes(BEFORE, dataclasses.replace(AFTER, scores=tuple(AFTER.scores[k] for k in order)))
    assert named(found) == ["a.5", "a.4", "a.3", "a.2", "a.1", "a.0"]


def test_sites_in_one_only() -> None:
    """They are listed by name, in execution order; patterns hold for them too."""
    first = run_of(layer("b", 0.1), layer("a", 0.1), layer("both", 0.1))
    second = run_of(layer("both", 0.1), layer("z", 0.1))
    found = changes(first, second)
    assert (named(found), found.only_first, found.only_second) == (["both"], ("b", "a"), ("z",))
    found = changes(first, second, include="b*", exclude=["b"])
    assert (named(found), found.only_first, found.only_second) == (["both"], (), ())


def test_none_in_common() -> None:
    """It is an error that names a few of each; names of any kind are left as they are."""
    first = run_of(*(layer(f"old.{k}", 0.1) for k in range(9)))
    with pytest.raises(SelectionError) as caught:
        changes(first, run_of(layer("new\x1b[31m.0", 0.1)))
    assert str(caught.value).splitlines() == [
        "no site is in both runs",
        "the first has old.0, old.1, old.2, old.3, old.4, ...; the second new\x1b[31m.0",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"include": "lin"}, "include 'lin' matches none of the sites\nnearest: line"),
        ({"include": ["x?", "y"]}, "include 'x?, y' matches none of the sites\nthey are: line, head"),
        ({"exclude": "*"}, "exclude '*' leaves none of the sites"),
        ({"include": "line", "exclude": "l*"}, "exclude 'l*' leaves none of the sites"),
    ],
)
def test_patterns_that_leave_nothing(options: dict[str, Any], message: str) -> None:
    """The pattern is named, and what it might have meant."""
    run = run_of(layer("line", 0.1), layer("head", 0.1))
    with pytest.raises(SelectionError) as caught:
        changes(run, run, **options)
    assert str(caught.value) == message


def test_what_is_unlike_about_a_site() -> None:
    """Other kinds, units and samples are noted; the kinds of both count."""
    first = run_of(layer("a", 0.1, kind=("affine",), num_features=64, n_tested=2048))
    second = run_of(layer("a", 0.1, kind=("activation",), num_features=32, n_tested=256))
    (site,) = changes(first, second).sites
    assert site.kind == ("affine", "activation")
    assert not site.headline
    assert site.notes == (
        "affine in the first, activation in the second: perhaps another layer of the same name",
        "64 units in the first, 32 in the second",
        "2,048 samples tested in the first, 256 in the second: of all numbers delta and negentropy alone are "
        "corrected for that",
    )


def test_constants_and_missing_intervals_are_noted() -> None:
    """A constant site is there with its reason, and so is one whose delta has no interval."""
    constant = unmeasured(layer("a", 0.1), departure="constant", notes=())
    found = changes(run_of(constant), run_of(layer("a", 0.1, half=NAN)))
    (site,) = found.sites
    assert site.notes[1:] == ("no delta in the first: constant", "no interval of delta in the second")
    assert math.isnan(site.delta.change)
    (site,) = changes(run_of(constant), run_of(constant)).sites
    assert site.notes == ("no delta in both: constant",)


# -- runs


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"view": "layer"}, "views differ (unit in the first, layer in the second)"),
        ({"mode": "train"}, "modes differ (evaluation in the first, training in the second)"),
        ({"max_samples": 256}, "max_samples differ (2,048 in the first, 256 in the second)"),
        ({"gaussprobe": "0.0.9"}, "versions of gaussprobe differ (0.1.0 in the first, 0.0.9 in the second)"),
        (
            {"data": {"source": "b.npz", "n_examples": 9}},
            "data differ (source: images.npz, b.npz; kind: image, none; synthetic: False, none; "
            "n_examples: 2048, 9)",
        ),
    ],
)
def test_what_is_not_comparable(changed: dict[str, Any], message: str) -> None:
    """Runs that differ in how they were made are warned of by name; those that do not are not."""
    one = run_of(layer("a", 0.1))
    assert changes(one, run_of(layer("a", 0.2), model="other.pt", seed=8)).warnings == ()
    found = changes(one, run_of(layer("a", 0.1), **changed))
    assert found.warnings == (f"{message}: numbers are not comparable",)


def test_warnings_of_the_runs() -> None:
    """What the runs warn of themselves is passed on, with whose it is."""
    first = dataclasses.replace(run_of(layer("a", 0.1)), warnings=("made up", "one"))
    second = dataclasses.replace(run_of(layer("a", 0.1)), warnings=("made up", "two"))
    assert changes(first, second).warnings == ("both: made up", "the first: one", "the second: two")


def test_steps_of_a_training() -> None:
    """Steps can be chosen; the last recorded is taken without, and a scan has step 0."""
    run = of_steps(4)
    found = changes(run, run)
    assert (found.step_first, found.step_second) == (3, 3)
    assert all(site.delta.change == 0 for site in found.sites)
    found = changes(run, run, step_first=0, step_second=2)
    assert {(site.first.step, site.second.step) for site in found.sites} == {(0, 2)}
    assert any(site.delta.change != 0 for site in found.sites)
    assert found.warnings == ()
    found = changes(run_of(layer(run.scores[0].site, 0.1)), run, step_first=0)
    assert (found.step_first, found.step_second) == (0, 3)


def test_data_of_a_training_are_not_known() -> None:
    """Two trainings are warned of: what they were fed is not in their files."""
    data = {"watched": True, "every": 50, "steps": 9}
    first = run_of(layer("a", 0.1), data=data, created="at noon")
    second = run_of(layer("a", 0.1), data=data | {"steps": 7}, created="later")
    assert changes(first, first).warnings == ()
    assert changes(first, second).warnings == (
        "a watched run does not keep what it was fed: numbers are comparable if that was alike",
    )


def test_a_step_that_was_not_recorded() -> None:
    """It is an error that names the nearest recorded ones."""
    scores = [layer("a", 0.1, step=step) for step in range(0, 5000, 50)]
    run = run_of(*scores)
    with pytest.raises(SelectionError) as caught:
        changes(run, run, step_second=1234)
    assert str(caught.value).splitlines() == [
        "the second run has no step 1,234",
        "nearest of its 100 recorded steps: 1,150, 1,200, 1,250, 1,300, 1,350",
    ]


@pytest.mark.parametrize("step", [True, 1.0, "3"])
def test_a_step_is_an_integer(step: Any) -> None:
    """Anything else is a bad argument, by name."""
    run = of_steps(2)
    with pytest.raises(ValueError, match=r"step_first must be an integer, or None for the last; got"):
        changes(run, run, step_first=step)


def test_a_run_without_scores() -> None:
    """It is an error, also where no step is asked for."""
    with pytest.raises(SelectionError, match="the first run has no scores"):
        check_step(run_of(), None, name="first")


def test_like_is_compared_with_like() -> None:
    """Of a fixed batch its numbers are taken, unless the other run has training forwards alone."""

    def watched(*sources: str) -> Run:
        scores = [layer("a", 0.1, source=source, step=3) for source in sources]
        return run_of(*scores, mode="train")

    both, forward, scan = watched("forward", "probe"), watched("forward"), run_of(layer("a", 0.1))

    def sources(first: Run, second: Run) -> tuple[str, str, bool]:
        found = changes(first, second)
        return found.source_first, found.source_second, any("modes differ" in w for w in found.warnings)

    assert sources(both, both) == ("probe", "probe", False)
    assert sources(both, forward) == ("forward", "forward", False)
    assert sources(both, scan) == ("probe", "forward", False)
    assert sources(forward, scan) == ("forward", "forward", True)


def test_a_site_recorded_twice() -> None:
    """The later record counts, as in the reports."""
    run = run_of(layer("a", 0.1), layer("a", 0.3))
    (site,) = changes(run_of(layer("a", 0.1)), run).sites
    assert site.delta.second == 0.3

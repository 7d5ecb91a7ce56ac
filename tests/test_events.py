"""Events over training: what is one, what is none, and when it is called."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gaussprobe import events
from gaussprobe.events import Monitor, UnitCounts
from gaussprobe.records import CHARTED, Event
from gaussprobe.types import Departure, Run, Verdict
from tests.calibration.events import PLANTED, blank, null, planted, two_in_a_row
from tests.runs import build_run

NOISE = 0.01
GAUSSIAN, NEAR, FAR, OPEN = "gaussian", "near-gaussian", "non-gaussian", "undetermined"


def noise(count: int, seed: int = 0) -> list[float]:
    return list(NOISE * np.random.default_rng(seed).standard_normal(count))


def charted(values: Iterable[float], name: str = "l_skewness", **others: Any) -> list[Event]:
    """Events of one series, others being still."""
    monitor, found = Monitor(), []
    for step, value in enumerate(values):
        given = {"delta": value} if name == "delta" else {name: value}
        found += monitor.update(*blank(step, **given, **others))
    return found


def test_limit_of_few_records() -> None:
    """The limit is 4.5 for 30 records, more for fewer, with one probability of two in a row beyond it."""
    assert events.limit(30) == pytest.approx(4.5)
    limits = [events.limit(m) for m in range(events.FEWEST, 31)]
    assert limits == sorted(limits, reverse=True)
    rates = [two_in_a_row(m, events.limit(m), seed=1) for m in (events.FEWEST, 15, 30)]
    assert all(0.5e-7 < rate < 2.5e-7 for rate in rates)  # 1.2e-7 each, of 200,000 baselines
    assert two_in_a_row(events.FEWEST, 4.5, seed=1) > 1e-5


@pytest.mark.parametrize("name", CHARTED)
@pytest.mark.parametrize("size", [0.5, -0.5, 1e6])
def test_jump(name: str, size: float) -> None:
    """A jump of any charted quantity is called once, at its second record, with its sign, however large."""
    before = noise(12)
    after = [size + value for value in noise(40, seed=1)]
    (event,) = charted(before + after, name)
    assert (event.step, event.kind, event.quantity, event.site) == (13, "jump", name, "layer")
    assert event.before == pytest.approx(np.median(before))
    assert event.after == after[1]
    assert math.copysign(1, event.z) == math.copysign(1, size)
    assert abs(event.z) > events.limit(12)
    assert f"jumped from {event.before:.4g} to {event.after:.4g}" in event.text


@pytest.mark.parametrize(
    "far",
    [[1.0], [1.0, -1.0], [1.0, 0.0, 1.0], [1.0, math.nan, 1.0], [math.nan] * 5],
    ids=["one", "both sides", "apart", "a gap", "unknown"],
)
def test_what_is_no_jump(far: list[float]) -> None:
    """Values far off that are not two in a row on one side are none."""
    assert charted(noise(30) + far + noise(30, seed=1)) == []


def test_a_jump_waits_for_records() -> None:
    """With fewer than 10 records in the baseline nothing is a jump; with 10 it is."""
    assert charted([*noise(events.FEWEST - 1), 5.0, 5.0]) == []
    assert len(charted([*noise(events.FEWEST), 5.0, 5.0])) == 1


def test_standard_error_is_a_scale() -> None:
    """What lies within a few standard errors of the step is no jump, whatever the records' own sd."""
    series = [*noise(30), 0.2, 0.2]
    assert len(charted(series)) == 1
    assert len(charted(series, errors={"l_skewness": math.nan})) == 1
    assert charted(series, errors={"l_skewness": 0.1}) == []


def test_last_digits_are_no_jump() -> None:
    """A series that stands still and then changes by rounding has none."""
    assert charted([0.1] * 40 + [0.1001] * 40) == []
    assert len(charted([0.1] * 40 + [0.1 + 5 * events.SMALLEST_SCALE] * 40)) == 1


def test_drift_is_no_jump() -> None:
    """A steady drift of any slope, and an exponential approach, have none."""
    steps = np.arange(200)
    for trend in (0.001 * steps, 0.1 * steps, 10.0 * steps, np.exp(-steps / 20)):
        assert charted(trend + np.array(noise(200))) == []


def sides(verdicts: Sequence[Verdict], lows: Sequence[float] | None = None) -> list[tuple[int, str]]:
    """Steps and kinds of the events of a series of 99 % verdicts and lower limits of delta."""
    monitor, found = Monitor(), []
    for step, verdict in enumerate(verdicts):
        record, score = blank(step, delta=0.001, verdict99=verdict)
        low = math.nan if lows is None else lows[step]
        found += monitor.update(record, replace(score, delta=replace(score.delta, low=low)))
    return [(event.step, event.kind) for event in found]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([GAUSSIAN, GAUSSIAN, FAR, FAR, FAR], [(3, "left-gaussian")]),
        ([FAR, FAR, GAUSSIAN, GAUSSIAN], [(3, "entered-gaussian")]),
        ([GAUSSIAN] * 2 + [FAR] * 2 + [GAUSSIAN] * 2, [(3, "left-gaussian"), (5, "entered-gaussian")]),
        ([GAUSSIAN, FAR, FAR, FAR], []),  # never established
        ([GAUSSIAN, GAUSSIAN, FAR, OPEN, FAR, GAUSSIAN, FAR], []),  # never two in a row
        ([GAUSSIAN, GAUSSIAN, NEAR, NEAR, NEAR], []),  # may still be below .0025
    ],
)
def test_band(verdicts: list[Verdict], expected: list[tuple[int, str]]) -> None:
    """Two records in a row surely on the other side of the band's edge than before, and only they, count."""
    assert sides(verdicts) == expected


def test_band_by_the_interval() -> None:
    """A near-gaussian or undecided layer has left the band where the interval of delta lies above .0025."""
    verdicts: list[Verdict] = [GAUSSIAN, GAUSSIAN, NEAR, OPEN]
    assert sides(verdicts, [0.0, 0.0, 0.003, 0.003]) == [(3, "left-gaussian")]
    assert sides(verdicts, [0.0, 0.0, 0.003, 0.002]) == []


def counts(positive: list[int], constant: list[bool] | None = None, **others: Any) -> UnitCounts:
    flags = [False] * len(positive) if constant is None else constant
    given = {"units": None, "n": 256} | others
    return UnitCounts(constant=np.array(flags), positive=np.array(positive), **given)


def deaths(series: Iterable[UnitCounts | None], *, rectified: bool = False) -> list[Event]:
    monitor, found = Monitor(), []
    for step, units in enumerate(series):
        record, score = blank(step)
        if rectified:
            score = replace(score, kind=("activation",))
        found += monitor.update(record, score, units)
    return found


def test_units_die() -> None:
    """Units without a positive value, and constant ones, make one event at the second such record."""
    alive = counts([128, 128, 128, 20])
    dead = counts([128, 0, 0, 0], [False, False, True, False])
    (event,) = deaths([alive] * 5 + [dead] * 20)
    assert (event.step, event.kind, event.before, event.after) == (6, "units-died", 0, 3)
    assert event.text == "3 of 4 units died (1 constant, 2 without a positive value): 1, 2, 3"
    assert math.isnan(event.z)


def test_units_are_named_by_their_index() -> None:
    """Where only some of a layer's units are followed, the event names them by their index in the layer."""
    units = (5, 17)
    series = [counts([99, 99], units=units)] * 3 + [counts([99, 0], units=units)] * 2
    assert deaths(series)[0].text.endswith(": 17")


@pytest.mark.parametrize(
    ("series", "rectified"),
    [
        ([counts([0], [True])] * 10, False),
        ([counts([0])] * 10, False),
        ([counts([128]), counts([0]), counts([128]), counts([0]), counts([128])], False),
        ([counts([128]), counts([0]), None, counts([0]), counts([128])], False),
        ([counts([5])] * 5 + [counts([0])] * 5, False),
        (([counts([1])] * 9 + [counts([0], [True])] * 2) * 3, True),
        ([counts([128])] * 5 + [counts([0], units=(1,))] * 5, False),
    ],
    ids=[
        *("constant from the start", "silent from the start", "apart", "a gap", "rarely positive"),
        *("rarely firing after a ReLU", "another unit"),
    ],
)
def test_what_is_no_death(series: list[UnitCounts | None], rectified: bool) -> None:
    """Units that were never alive, that come back, or may be silent by chance, have not died."""
    assert deaths(series, rectified=rectified) == []


def test_rare_values_decide_by_probability() -> None:
    """A unit positive in a share p of n values is missed where (1-p)^n < 1e-6, so from p = .0526 at 256."""
    at = 1 - 1e-6 ** (1 / 256)
    for share, expected in ((0.95 * at, 0), (1.05 * at, 1)):
        rarely = counts([round(100 * 256 * share)], n=25_600)
        assert len(deaths([rarely] * 5 + [counts([0])] * 2)) == expected


def test_a_unit_can_die_again() -> None:
    """A dead unit is no news while it is; one that has lived for two records can die once more."""
    alive, dead = counts([128, 128]), counts([128, 0], [False, True])
    found = deaths([alive] * 3 + [dead] * 3 + [alive] + [dead] * 3 + [alive] * 4 + [dead] * 3)
    assert [(event.step, event.before, event.after) for event in found] == [(4, 0, 1), (15, 0, 1)]


def test_non_finite() -> None:
    """The first record that is not finite is an event at once; the next only after a finite one."""
    kinds: list[Departure] = ["none", "non-finite", "non-finite", "none", "non-finite"]
    monitor, found = Monitor(), []
    for step, kind in enumerate(kinds):
        record, score = blank(step)
        score = replace(score, departure=kind, notes=("3 NaN and 0 infinite",))
        found += monitor.update(record, score, nonfinite=3)
    assert [(event.step, event.kind, event.after) for event in found] == [
        (1, "non-finite", 3),
        (4, "non-finite", 3),
    ]
    assert found[0].text == "3 NaN and 0 infinite"


def test_another_number_of_units() -> None:
    """A layer whose width changes is watched anew, which is noted once."""
    monitor, found = Monitor(), []
    for step, value in enumerate(noise(20) + [5.0] * 20):
        record, score = blank(step, l_skewness=value)
        found += monitor.update(record, replace(score, num_features=16 if step < 20 else 17))
    assert found == []
    assert monitor.notes() == ["layer had 16 units and has 17 from step 20 on: its charts start again"]
    assert monitor.notes() == []


def test_sources_are_watched_apart() -> None:
    """The probe batch of a site has charts of its own."""
    monitor, found = Monitor(), []
    for step, value in enumerate(noise(20) + [5.0] * 2):
        for source, one in (("forward", 0.0), ("probe", value)):
            record, score = blank(step, l_skewness=one)
            found += monitor.update(
                replace(record, source=source),  # type: ignore[arg-type]
                replace(score, source=source),  # type: ignore[arg-type]
            )
    assert [(event.source, event.step) for event in found] == [("probe", 21)]


def recorded(values: Sequence[float]) -> Run:
    pairs = [blank(step, l_skewness=value) for step, value in enumerate(values)]
    return build_run(series=tuple(r for r, _ in pairs), scores=tuple(s for _, s in pairs), pictures=())


@pytest.mark.parametrize("cut", [5, 20, 21, 35])
def test_replay(cut: int) -> None:
    """A monitor replayed from a run calls what one that was there from the beginning calls."""
    run = recorded(noise(20) + [5.0 + v for v in noise(20, seed=1)] + [math.nan, -5.0, -5.0])
    whole, expected = Monitor(), []
    for record, score in zip(run.series, run.scores, strict=True):
        expected += [(record.step, event) for event in whole.update(record, score)]
    again, found = Monitor.replay(replace(run, series=run.series[:cut])), []
    for record, score in zip(run.series[cut:], run.scores[cut:], strict=True):
        found += [(record.step, event) for event in again.update(record, score)]
    assert found == [(step, event) for step, event in expected if step >= cut]
    assert len(expected) == 2


def test_replay_needs_scores() -> None:
    """A record without its score is refused."""
    run = recorded([0.0, 0.0])
    with pytest.raises(ValueError, match="got none of 'layer' at step 1"):
        Monitor.replay(replace(run, scores=run.scores[:1]))


def test_what_does_not_belong_together_is_refused() -> None:
    """A score of another step, and counts of two shapes, raise."""
    record, score = blank(0)
    with pytest.raises(ValueError, match=r"score must be of .* got .*1\)"):
        Monitor().update(record, blank(1)[1])
    bad = UnitCounts(units=None, n=8, constant=np.zeros(3, dtype=bool), positive=np.zeros(2, dtype=np.int64))
    with pytest.raises(ValueError, match=r"one shape \(C,\); got \(3,\) and \(2,\)"):
        Monitor().update(record, score, bad)


def test_state_is_bounded() -> None:
    """A monitor is as large after 400 records as after 100."""
    monitor, sizes = Monitor(), {}
    for step, value in enumerate(noise(400)):
        monitor.update(*blank(step, l_skewness=value), counts([128] * 16))
        sizes[step] = len(pickle.dumps(monitor))
    assert sizes[399] <= sizes[99] + 64


def test_null_networks_have_no_events() -> None:
    """In fixed random networks on fresh examples nothing happens.

    docs/events.md has 168,000 layer-records.
    """
    found = null(seed=3, task=0, steps=16, widths=(8,))
    assert found.records == 640
    assert found.kinds.total() == 0


@pytest.mark.parametrize("change", PLANTED)
def test_planted_changes_are_found(change: str) -> None:
    """A dying unit, a step of the skewness to 1 and a NaN are called within two records in each of 12 runs.

    docs/events.md has 200 runs of each.
    """
    assert planted(change, seed=3, before=12, runs=12) == 1

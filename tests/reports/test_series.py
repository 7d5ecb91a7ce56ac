"""gaussprobe.reports.series: what was recorded, site by site."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaussprobe.reports import glossary, series
from gaussprobe.reports.series import SiteSeries
from gaussprobe.types import Source, Summary
from tests.reports.training_runs import NAMES, build_training
from tests.runs import build_run

RUN = build_training()


def of_delta(*values: float, **replaced: Any) -> SiteSeries:
    """A site whose delta was recorded as given."""
    base = build_training(steps=1, sites=1, probe=False).scores[0]
    scores = tuple(
        dataclasses.replace(
            base, step=step, delta=Summary(median=value, low=value, high=value, worst=value, worst_unit=0)
        )
        for step, value in enumerate(values)
    )
    fields: dict[str, Any] = {
        "site": "a",
        "source": "forward",
        "kind": ("affine",),
        "steps": tuple(range(len(values))),
        "scores": scores,
        "records": (None,) * len(values),
    }
    return SiteSeries(**(fields | replaced))


def test_drift_is_last_level_less_first() -> None:
    """Ten records or more: the median of the last five less that of the first five."""
    rising = of_delta(*[0.01, 0.02, 0.03, 0.04, 9.0], *[0.5] * 3, *[0.2, 0.1, 0.3, 0.25, 0.15])
    assert rising.levels == (0.03, 0.2)
    assert rising.drift == pytest.approx(0.17)


@pytest.mark.parametrize(
    ("values", "drift"),
    [((0.1, 0.3), 0.2), ((0.1, 9, 0.3), 0.2), ((1, 1, 3, 3), 2), ((math.nan, 1, 2, math.nan), 1)],
)
def test_drift_of_few_records(values: tuple[float, ...], drift: float) -> None:
    """Of fewer than ten records the halves are compared; what could not be measured is left out."""
    assert of_delta(*values).drift == pytest.approx(drift)


@pytest.mark.parametrize("values", [(0.1,), (math.nan, 0.1), (0.1, math.nan), (math.nan,) * 12])
def test_no_drift(values: tuple[float, ...]) -> None:
    """A single record, and a level that is missing, give no drift."""
    assert math.isnan(of_delta(*values).drift)


def test_ranking() -> None:
    """What ends non-finite comes first, then the largest drift either way, then none; others come last."""
    nan = math.nan
    broken = of_delta(0.1, nan)
    last = dataclasses.replace(broken.scores[-1], departure="non-finite")  # type: ignore[type-var]
    broken = dataclasses.replace(broken, site="broken", scores=(broken.scores[0], last))
    rows = [
        of_delta(0.1, 0.1, site="still"),
        of_delta(0.1, nan, site="unknown"),
        of_delta(0.1, 0.9, site="relu", kind=("activation",)),
        of_delta(0.5, 0.1, site="down"),
        of_delta(0.1, 0.2, site="up"),
        broken,
    ]
    found = [row.site for row in series.by_drift(rows)]
    assert found == ["broken", "down", "up", "still", "unknown", "relu"]


def test_classes_hold_the_bands() -> None:
    """A class never reaches across a band of the verdict; NaN has none; limits belong to the upper class."""
    assert glossary.BAND_LOW in series.CLASSES
    assert glossary.BAND_HIGH in series.CLASSES
    assert [series.classed(value) for value in (-1.0, 0.0, 0.0025, 0.0149, 0.015, 0.3, math.inf)] == [
        *(0, 0, 2, 3, 4, 7, 7)
    ]
    assert series.classed(math.nan) is None


@given(values=st.lists(st.integers(), max_size=60), most=st.integers(1, 20))
def test_bins_hold_everything_in_order(values: list[int], most: int) -> None:
    """Joined, bins are the values again; there are at most so many, and sizes differ by one at most."""
    bins = series.binned(values, most)
    assert [value for part in bins for value in part] == values
    assert len(bins) == min(most, len(values))
    assert len({len(part) for part in bins}) <= 2


def test_a_gap_is_not_hidden() -> None:
    """The largest of a bin that holds NaN is NaN."""
    assert math.isnan(series.largest([1.0, math.nan, 3.0]))
    assert series.largest([1.0, 3.0]) == 3.0


def test_read() -> None:
    """Both sources are read, the fixed batch first, sites in execution order, what is not counted last."""
    training = series.read(RUN)
    assert training.sources == ("probe", "forward")
    names = [name for name, kind in NAMES if kind != ("activation",)]
    for source in training.sources:
        found = training.sites[source]
        assert [site.site for site in found] == [*names, "layers.0:gelu"]
        assert all(len(site.steps) == 60 for site in found)
    assert list(training.metrics) == ["loss", "accuracy", "learning_rate"]
    assert training.steps == tuple(range(0, 3000, 50))
    assert len(training.events) == len(RUN.events)
    aux = training.sites["probe"][5]
    assert aux.site == "heads.aux"
    assert [event.kind for event in aux.events] == ["non-finite"]
    record = next(r for r in RUN.series if r.site == "heads.aux" and r.source == "probe")
    assert aux.values("mean")[0] == record.mean
    assert aux.errors("l_skewness")[0] == 0.012


def test_later_record_of_a_step_counts() -> None:
    """Where a resumed run recorded a step again, the later record is read."""
    again = dataclasses.replace(RUN.series[0], mean=123.0)
    training = series.read(dataclasses.replace(RUN, series=(*RUN.series, again)))
    assert training.sites["forward"][0].values("mean")[0] == 123.0


def test_sites_that_come_and_go() -> None:
    """A site has the steps it was recorded at, and NaN where it has a record without a score."""
    site = RUN.series[0].site
    scores = tuple(s for s in RUN.scores if s.site != site or s.step > 1000)
    records = tuple(r for r in RUN.series if r.site != site or r.step > 900)
    found = series.read(dataclasses.replace(RUN, scores=scores, series=records)).sites["forward"]
    own = next(one for one in found if one.site == site)
    assert own.steps[0] == 950
    assert math.isnan(own.values("delta")[0])
    assert not math.isnan(own.values("delta")[-1])


@pytest.mark.parametrize(("probe", "source"), [(True, "probe"), (False, "forward")])
def test_shown_source(probe: bool, source: Source) -> None:
    """The fixed batch is shown where there is one."""
    assert series.shown_source(build_training(steps=2, probe=probe)) == source


def test_a_scan_is_not_watched() -> None:
    """A scan has no series, a watched run has."""
    assert not series.is_watched(build_run())
    assert series.is_watched(RUN)

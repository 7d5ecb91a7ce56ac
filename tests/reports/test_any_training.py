"""Every report of every watched run: nothing that its series can hold is too odd to be drawn."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from gaussprobe.records import CHARTED, EVENT_KINDS, LEVELS, Event, Metric, SiteRecord
from gaussprobe.reports import html, json_form, terminal
from gaussprobe.types import VERDICTS, Run, Source
from tests.reports.pages import Checker
from tests.reports.test_json_form import refuse
from tests.runs import runs

names = st.sampled_from(("a", "a.b", "[bold]c[/]\x1b", "d\udcff"))
steps = st.integers(0, 5) | st.integers(0, 2**62)
sources = st.sampled_from(get_args(Source))
anything = st.floats(allow_nan=True, allow_infinity=True)
records = st.builds(
    SiteRecord,
    site=names,
    step=steps,
    source=sources,
    mean=anything,
    sd=anything,
    l_scale=anything,
    l_skewness=anything,
    l_kurtosis=anything,
    log_sd=anything,
    relative_mean=anything,
    errors=st.dictionaries(st.sampled_from(CHARTED), anything),
    quantiles=st.lists(anything, max_size=3).map(tuple)
    | st.lists(anything, min_size=len(LEVELS), max_size=len(LEVELS)).map(tuple),
    verdict99=st.sampled_from(VERDICTS),
)
events = st.builds(
    Event,
    step=steps,
    site=names,
    source=sources,
    kind=st.sampled_from(EVENT_KINDS),
    before=anything,
    after=anything,
    z=anything,
    text=st.text(max_size=12),
)
metrics = st.builds(Metric, step=steps, name=st.text(max_size=4), value=anything)


@st.composite
def watched(draw: st.DrawFn) -> Run:
    """A run with series, some of them of the sites that its scores are of."""
    run = draw(runs)
    series = draw(st.lists(records, min_size=1, max_size=5))
    scores = [
        dataclasses.replace(score, site=draw(names), step=draw(steps), source=draw(sources))
        for score in run.scores
    ]
    return dataclasses.replace(
        run,
        scores=tuple(scores),
        series=tuple(series),
        events=tuple(draw(st.lists(events, max_size=3))),
        metrics=tuple(draw(st.lists(metrics, max_size=5))),
    )


@given(run=watched())
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_watched_run_can_be_reported(run: Run) -> None:
    """Page, table and JSON are made of any series, well formed and without a warning."""
    Checker(html.render(run))
    for width in (20, 40, 80, 160):
        file = io.StringIO()
        terminal.render(run, Console(file=file, width=width, _environ={}))
        assert max(map(cell_len, file.getvalue().splitlines())) <= width
    json.loads(json_form.dumps(run), parse_constant=refuse)


@pytest.mark.parametrize("steps", [1, 5])
def test_the_smallest_and_the_largest_numbers(steps: int) -> None:
    """Numbers at the ends of what a double holds are drawn without a warning."""
    from tests.reports.training_runs import build_training

    for value in (5e-324, -1e-310, 1e99, 1.7e308):
        run = build_training(steps=steps, sites=2, probe=False)
        odd = tuple(
            dataclasses.replace(record, mean=value, sd=value, l_skewness=value) for record in run.series
        )
        Checker(html.render(dataclasses.replace(run, series=odd)))

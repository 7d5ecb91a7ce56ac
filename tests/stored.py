"""Runs as a store is to keep them: watched ones made of literals and steps, and any at all."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from gaussprobe.errors import StoreError
from gaussprobe.journal import Journal
from gaussprobe.records import CHARTED, EVENT_KINDS, LEVELS, Event, Metric, SiteRecord
from gaussprobe.types import GofSummary, LayerScore, Metadata, Run, Summary
from tests.runs import counts, numbers, runs, words

SITES = tuple(f"layers.{index // 2}.conv{index % 2}" for index in range(4))
TESTS = ("shapiro_wilk", "lilliefors", "anderson_darling", "dagostino_pearson")
METADATA = Metadata(
    gaussprobe="0.1.0", model="Net", view="unit", mode="train", seed=0, max_samples=256, data={"every": 1}
)


def whole(run: Run) -> str:
    """Everything in a run, NaN and the sign of zero included; `repr(run)` is a summary."""
    return repr([(field.name, getattr(run, field.name)) for field in dataclasses.fields(run)])


def step_scores(step: int, sites: tuple[str, ...] = SITES) -> tuple[LayerScore, ...]:
    """What a step measured; the numbers follow from the step."""
    draw = random.Random(step).random

    def summary() -> Summary:
        return Summary(median=draw(), low=draw(), high=draw(), worst=draw(), worst_unit=step % 64)

    return tuple(
        LayerScore(
            site=site,
            kind=("affine", "preactivation"),
            step=step,
            n_seen=64,
            n_tested=64,
            num_features=64,
            delta=summary(),
            negentropy=summary(),
            qq_r2=draw(),
            ks_distance=draw(),
            wasserstein=draw(),
            skewness=draw(),
            excess_kurtosis=draw(),
            tests={
                name: GofSummary(statistic=draw(), pvalue=draw(), rejected_fraction=draw()) for name in TESTS
            },
            verdict="non-gaussian",
            departure="heavy-tailed",
        )
        for site in sites
    )


def step_series(step: int, sites: tuple[str, ...] = SITES) -> tuple[SiteRecord, ...]:
    """What is followed of a step; every second site's quantiles are of double precision."""
    draw = random.Random(-1 - step).random
    return tuple(
        SiteRecord(
            site=site,
            step=step,
            mean=draw(),
            sd=draw(),
            l_scale=draw(),
            l_skewness=draw(),
            l_kurtosis=draw(),
            log_sd=draw(),
            relative_mean=draw(),
            errors={key: draw() for key in CHARTED},
            quantiles=tuple(draw() if index % 2 else round(8 * draw()) / 8 for _ in LEVELS),
            verdict99="gaussian",
        )
        for index, site in enumerate(sites)
    )


def step_metrics(step: int) -> tuple[Metric, ...]:
    """The loss of a step."""
    return (Metric(step=step, name="loss", value=1 / (1 + step)),)


def step_events(step: int) -> tuple[Event, ...]:
    """One event at every step but the first."""
    if not step:
        return ()
    return (
        Event(
            step=step,
            site=SITES[0],
            kind="jump",
            quantity="l_skewness",
            before=0.01,
            after=0.25,
            z=7.5,
            text=f"{SITES[0]}: its skewness jumped",
        ),
    )


def watched_run(steps: int) -> Run:
    """A run of so many recorded steps, with the probe batch beside the training at step 0."""
    every = range(steps)
    probed = tuple(dataclasses.replace(score, source="probe") for score in step_scores(0))
    return Run(
        metadata=METADATA,
        scores=(*step_scores(0), *probed, *(score for step in every[1:] for score in step_scores(step))),
        series=tuple(record for step in every for record in step_series(step)),
        metrics=tuple(metric for step in every for metric in step_metrics(step)),
        events=tuple(event for step in every for event in step_events(step)),
        **{key: getattr(_whole_scan(), key) for key in ("pictures", "not_captured", "capture", "warnings")},
    )


def append(journal: Journal, step: int, **others: Any) -> None:
    """Append one step with everything that it has."""
    journal.append(
        step=step,
        scores=step_scores(step),
        series=step_series(step),
        metrics=step_metrics(step),
        events=step_events(step),
        **others,
    )


def append_many(journal: Journal, steps: range) -> None:
    """Append several steps."""
    for step in steps:
        append(journal, step)


def of_steps(count: int, **others: Any) -> Run:
    """The run that so many appended steps make."""
    every = range(count)
    return Run(
        metadata=METADATA,
        scores=tuple(score for step in every for score in step_scores(step)),
        series=tuple(record for step in every for record in step_series(step)),
        metrics=tuple(metric for step in every for metric in step_metrics(step)),
        events=tuple(event for step in every for event in step_events(step)),
        **others,
    )


def names(path: Path) -> list[str]:
    """What is in the folder of a run."""
    return sorted(found.name for found in path.parent.iterdir())


def _whole_scan() -> Run:
    from tests.runs import build_run

    return build_run()


sources = st.sampled_from(("forward", "probe"))
records = st.builds(
    SiteRecord,
    site=words,
    step=counts,
    source=sources,
    **dict.fromkeys(
        ("mean", "sd", "l_scale", "l_skewness", "l_kurtosis", "log_sd", "relative_mean"), numbers
    ),
    errors=st.dictionaries(st.sampled_from(CHARTED), numbers).map(
        lambda errors: {key: errors[key] for key in CHARTED if key in errors}
    ),
    quantiles=st.lists(numbers | st.floats(width=32), max_size=4).map(tuple),
    verdict99=st.sampled_from(("gaussian", "near-gaussian", "non-gaussian", "undetermined")),
    constant_units=counts,
    silent_units=counts,
)
events = st.builds(
    Event,
    step=counts,
    site=words,
    source=sources,
    kind=st.sampled_from(EVENT_KINDS),
    quantity=st.sampled_from((*CHARTED, "")),
    before=numbers,
    after=numbers,
    z=numbers,
    text=words,
)
any_run = st.builds(
    lambda run, source, series, metrics, events: dataclasses.replace(
        run,
        scores=tuple(dataclasses.replace(score, source=source) for score in run.scores),
        series=tuple(series),
        metrics=tuple(metrics),
        events=tuple(events),
    ),
    run=runs,
    source=sources,
    series=st.lists(records, max_size=3),
    metrics=st.lists(st.builds(Metric, step=counts, name=words, value=numbers), max_size=3),
    events=st.lists(events, max_size=3),
)


def message(caught: pytest.ExceptionInfo[StoreError]) -> list[str]:
    """The two printable lines of a refusal."""
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    return lines

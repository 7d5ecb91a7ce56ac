"""Records for the tests of the writers: literal ones with every oddity, and those of a short training."""

from __future__ import annotations

import math

import torch
from torch import nn

import gaussprobe as gp
from gaussprobe.records import LEVELS, Event, Metric, SiteRecord
from gaussprobe.types import LayerScore, Source
from gaussprobe.watch import Listener, Recorded
from tests.runs import score, summary

NAN = math.nan


def site_score(site: str, delta: float, *, step: int, source: Source = "forward") -> LayerScore:
    """A score of which delta says everything."""
    return score(
        site,
        ("affine",),
        "undetermined",
        "none",
        summary(delta, delta / 2, delta * 2, delta * 3, 1),
        summary(delta / 3, NAN, NAN, NAN, None),
        step=step,
        source=source,
        n_tested=100,
    )


def site_record(
    site: str, mean: float, *, step: int, source: Source = "forward", quantiles: bool = True
) -> SiteRecord:
    """A record of which the mean says everything; the quantiles are those of the uniform law on [-1, 1]."""
    return SiteRecord(
        site=site,
        step=step,
        source=source,
        mean=mean,
        sd=mean + 1,
        l_scale=mean + 2,
        l_skewness=mean + 3,
        l_kurtosis=mean + 4,
        log_sd=mean + 5,
        relative_mean=mean + 6,
        quantiles=tuple(2 * level - 1 for level in LEVELS) if quantiles else (),
        constant_units=1,
        silent_units=2,
    )


def odd(step: int) -> Recorded:
    """The model itself as a site, a function's second call, the probe batch, NaN, infinity and two events."""
    return Recorded(
        step=step,
        scores=(
            site_score("", 0.125, step=step),
            site_score("net.0:relu#2", math.inf, step=step),
            site_score("net.0:relu#2", NAN, step=step, source="probe"),
        ),
        series=(
            site_record("", 0.5, step=step),
            site_record("net.0:relu#2", -math.inf, step=step, quantiles=False),
            site_record("net.0:relu#2", NAN, step=step, source="probe", quantiles=False),
        ),
        metrics=(Metric(step=step, name="loss", value=0.75),),
        events=(
            Event(step=step, site="", kind="units-died", before=0.0, after=1.0, z=NAN, text="1 unit died"),
            Event(
                step=step,
                site="net.0:relu#2",
                source="probe",
                kind="non-finite",
                before=0.0,
                after=3.0,
                z=NAN,
                text="3 values are NaN",
            ),
        ),
    )


def train(*listeners: Listener, steps: int = 5, every: int = 2) -> list[Recorded]:
    """What a watch recorded of a short training while the listeners listened."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer, kept = torch.optim.SGD(model.parameters(), lr=0.1), list[Recorded]()
    with gp.watch(model, every=every) as probe:
        for listener in (*listeners, kept.append):
            probe.listen(listener)
        for _ in range(steps):
            loss = model(torch.randn(64, 6)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            probe.step(loss=loss)
    assert [one.step for one in kept] == list(range(0, steps, every))
    return kept


def alike(a: float, b: float) -> bool:
    """Whether two numbers are equal, NaN to NaN."""
    return a == b or (math.isnan(a) and math.isnan(b))

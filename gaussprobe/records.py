"""What is followed over training: numbers of a site at a recorded step, metrics, events, associations.

Frozen, keyword-only, without torch, as everything in `gaussprobe.types`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from gaussprobe.types import Source, Verdict

EventKind: TypeAlias = Literal["left-gaussian", "entered-gaussian", "units-died", "non-finite", "jump"]
Charted: TypeAlias = Literal["delta", "l_skewness", "l_kurtosis", "log_sd", "relative_mean"]

EVENT_KINDS: tuple[EventKind, ...] = (
    "left-gaussian",
    "entered-gaussian",
    "units-died",
    "non-finite",
    "jump",
)
# What events and associations look at, by how it is spoken of; `delta` is that of the score, the others those
# of the record.
CHARTED_NAMES: dict[Charted, str] = {
    "delta": "delta",
    "l_skewness": "L-skewness",
    "l_kurtosis": "L-kurtosis",
    "log_sd": "log sd",
    "relative_mean": "mean / sd",
}
CHARTED: tuple[Charted, ...] = tuple(CHARTED_NAMES)

# Levels of the quantiles that are kept of every record.
LEVELS = (
    *(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4),
    *(0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999),
)


@dataclass(frozen=True, kw_only=True)
class SiteRecord:
    """Numbers of a site at one recorded step, medians over its units where nothing else is said.

    Skewness, excess kurtosis and effect sizes of the same site and step are in its `LayerScore`.

    Args:
        site: its name.
        step: training step, from 0.
        source: `"forward"` for the training forward, `"probe"` for the fixed batch in evaluation mode.
        mean: in the activation's own unit.
        sd: biased (divided by n), in the activation's own unit.
        l_scale: second L-moment, in the activation's own unit.
        l_skewness: tau3, the ratio of the third L-moment to the second; 0 for a normal law.
        l_kurtosis: tau4, likewise of the fourth; .1226 for a normal law.
        log_sd: natural logarithm of the sd.
        relative_mean: mean / sd.
        errors: standard errors over examples of the medians in `CHARTED`; NaN where there are too few.
        quantiles: of the standardised sample, at `LEVELS`; empty when nothing there can be measured.
        verdict99: the verdict by the 99 % interval of delta; `"undetermined"` without one.
        constant_units: units without variance.
        silent_units: units without any positive value.
    """

    site: str
    step: int
    source: Source = "forward"
    mean: float
    sd: float
    l_scale: float
    l_skewness: float
    l_kurtosis: float
    log_sd: float
    relative_mean: float
    errors: Mapping[str, float] = field(default_factory=dict)
    quantiles: tuple[float, ...] = ()
    verdict99: Verdict = "undetermined"
    constant_units: int = 0
    silent_units: int = 0


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that the user gave with a step: loss, accuracy, learning rate."""

    step: int
    name: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a site between recorded steps.

    Args:
        step: the recorded step at which it was called.
        site: its name.
        source: of the records it was seen in.
        kind: what happened.
        quantity: of a `"jump"`, which of `CHARTED`; `"delta"` of the band's, empty for the others.
        before: the baseline of that quantity; of `"units-died"` and `"non-finite"` the count before.
        after: its value now, or the count.
        z: of a jump, how many of its scale it is away; NaN for the others.
        text: one sentence.
    """

    step: int
    site: str
    source: Source = "forward"
    kind: EventKind
    quantity: str = ""
    before: float
    after: float
    z: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Association:
    """How a site's series goes with a metric, at the lag where they go together best.

    Args:
        site: its name.
        source: of its records.
        quantity: which of `CHARTED`.
        lag: in records; positive where the site leads the metric.
        correlation: rank correlation of the changes from record to record, at that lag.
        low, high: its interval.
        pvalue: of the largest correlation over all lags, under no association.
        adjusted_pvalue: after Benjamini-Hochberg over all sites and quantities asked for.
        n_records: pairs it rests on.
    """

    site: str
    source: Source = "forward"
    quantity: str
    lag: int
    correlation: float
    low: float
    high: float
    pvalue: float
    adjusted_pvalue: float
    n_records: int

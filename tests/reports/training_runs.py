"""A watched run for the tests of reports: plausible, made of a seeded generator; and any at all."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from gaussprobe.records import LEVELS, Association, Event, Metric, SiteRecord
from gaussprobe.types import Departure, GofSummary, Kind, LayerScore, Metadata, Run, Source, Summary, Verdict
from tests.runs import build_run, summary

NAMES: tuple[tuple[str, tuple[Kind, ...]], ...] = (
    ("stem.conv", ("affine",)),
    ("stem.norm", ("preactivation", "norm")),
    ("layers.0.attention.q_proj", ("affine",)),
    ("layers.0.mlp.up[gate]", ("affine", "preactivation")),
    ("layers.0:gelu", ("activation",)),
    ("encoder.layers.11.self_attention.output.dense#2", ("affine",)),
    ("heads.aux", ("affine",)),
    ("heads.out", ("affine",)),
)
_NOTHING = Summary(median=math.nan, low=math.nan, high=math.nan, worst=math.nan, worst_unit=None)


def names(count: int) -> list[tuple[str, tuple[Kind, ...]]]:
    """The first eight are those above; a deep network's follow."""
    more = (f"blocks.{index // 4}.mlp.fc{index % 4}" for index in range(max(count - len(NAMES), 0)))
    return [*NAMES, *((name, ("affine", "preactivation")) for name in more)][:count]


def _delta(index: int, share: float, rng: np.random.Generator, source: Source) -> float:
    """Delta of site `index` when `share` of the training is over."""
    start = (0.0004, 0.003, 0.0009, 0.002, 0.19, 0.011, 0.03, 0.0015)[index % 8]
    end = (0.0005, 0.0018, 0.0021, 0.048, 0.24, 0.009, 0.012, 0.15)[index % 8]
    rise = 1 / (1 + math.exp(-14 * (share - 0.3 - 0.05 * (index % 5))))
    noise = 0.12 if source == "forward" else 0.04
    return float(
        math.exp((1 - rise) * math.log(start) + rise * math.log(end) + noise * rng.standard_normal())
    )


def _verdict(low: float, high: float) -> Verdict:
    if high < 0.0025:
        return "gaussian"
    if low >= 0.015:
        return "non-gaussian"
    return "near-gaussian" if high < 0.015 else "undetermined"


def _point(
    site: str, kind: tuple[Kind, ...], index: int, step: int, share: float, source: Source, rng: Any
) -> tuple[LayerScore, SiteRecord]:
    delta = _delta(index, share, rng, source)
    low, high = 0.85 * delta - 0.0002, 1.15 * delta + 0.0002
    broken = index % 8 == 6 and 0.62 < share < 0.72
    skew = 1.6 * math.sqrt(delta) * (1 if index % 2 else -1)
    sd = math.exp(0.5 * share + 0.02 * rng.standard_normal()) * (1 + index % 4)
    mean = sd * (0.1 * (index % 3) - 0.2 * share + 0.01 * rng.standard_normal())
    verdict = "undetermined" if broken else _verdict(low, high)
    departure: Departure = "none" if delta < 0.0025 else ("right-skewed" if index % 2 else "heavy-tailed")
    negentropy = summary(*(value * 1.6 for value in (delta, low, high, 3 * delta)), 4)
    tests = {
        "shapiro_wilk": GofSummary(
            statistic=math.nan if broken else 1 - delta,
            pvalue=math.nan if broken else 0.3,
            rejected_fraction=math.nan if broken else min(delta * 20, 1.0),
        )
    }
    score = LayerScore(
        site=site,
        kind=kind,
        step=step,
        source=source,
        n_seen=4_096,
        n_tested=256,
        num_features=64,
        delta=_NOTHING if broken else summary(delta, low, high, 3 * delta, 4),
        negentropy=_NOTHING if broken else negentropy,
        qq_r2=math.nan if broken else 1 - delta,
        ks_distance=math.nan if broken else math.sqrt(delta) / 4,
        wasserstein=math.nan if broken else math.sqrt(2 * delta),
        skewness=math.nan if broken else 4 * skew,
        excess_kurtosis=math.nan if broken else 40 * delta + 0.1 * float(rng.standard_normal()),
        tests=tests,
        verdict=verdict,
        departure="non-finite" if broken else departure,
        notes=("3 of 262,144 values are NaN, in 1 of 64 units",) if broken else (),
    )
    levels = np.asarray(LEVELS)
    normal = np.log(levels / (1 - levels)) / 1.702
    fan = normal + skew * (normal**2 - 1) / 3
    record = SiteRecord(
        site=site,
        step=step,
        source=source,
        mean=math.nan if broken else mean,
        sd=math.nan if broken else sd,
        l_scale=math.nan if broken else sd / math.sqrt(math.pi),
        l_skewness=math.nan if broken else skew / 2 + 0.01 * float(rng.standard_normal()),
        l_kurtosis=math.nan if broken else 0.1226 + 2 * delta + 0.006 * float(rng.standard_normal()),
        log_sd=math.nan if broken else math.log(sd),
        relative_mean=math.nan if broken else mean / sd,
        errors={
            "delta": 0.1 * delta,
            "l_skewness": 0.012,
            "l_kurtosis": 0.008,
            "log_sd": 0.03,
            "relative_mean": 0.06,
        },
        quantiles=() if broken else tuple(fan.tolist()),
        verdict99=verdict,
        constant_units=int(index == 1 and share > 0.8),
        silent_units=int(2 * share * (index == 3)),
    )
    return score, record


def build_training(
    *, steps: int = 60, sites: int = 8, probe: bool = True, every: int = 50, **replaced: Any
) -> Run:
    """A watched run: drifting layers, one that holds NaN for a while, events and metrics.

    Args:
        steps: recorded steps.
        sites: sites recorded at each.
        probe: whether a fixed batch was evaluated too.
        every: training steps from record to record.
        replaced: fields of `Run` to put in place of the built ones.

    Returns:
        The same run each time.
    """
    rng = np.random.default_rng(20260102)
    sources: tuple[Source, ...] = ("forward", "probe") if probe else ("forward",)
    scores, series, metrics = [], [], []
    for at in range(steps):
        share, step = at / max(steps - 1, 1), at * every
        for source in sources:
            for index, (site, kind) in enumerate(names(sites)):
                score, record = _point(site, kind, index, step, share, source, rng)
                scores.append(score)
                series.append(record)
        noise = float(rng.standard_normal())
        loss = 0.3 + 2 * math.exp(-4 * share) + 0.06 * noise
        for name, value in (
            ("accuracy", 1 - 0.9 * math.exp(-4 * share) - 0.01 * abs(noise)),
            ("loss", loss),
            ("learning_rate", 1e-3 * 0.5 * (1 + math.cos(math.pi * share))),
        ):
            metrics.append(Metric(step=step, name=name, value=value))
    run = Run(
        metadata=_metadata(),
        scores=tuple(scores),
        series=tuple(series),
        metrics=tuple(metrics),
        events=_events(steps, sites, every, sources),
        warnings=("The layer `heads.spare` was never called.",),
    )
    return dataclasses.replace(run, **replaced)


def _metadata() -> Metadata:
    return dataclasses.replace(
        build_run(synthetic=False).metadata,
        model="Classifier",
        mode="train",
        data={"source": "training loop", "every": 50},
        command="",
        max_samples=256,
    )


def _events(steps: int, sites: int, every: int, sources: tuple[Source, ...]) -> tuple[Event, ...]:
    def at(share: float) -> int:
        return round(share * (steps - 1)) * every

    name = [site for site, _ in names(sites)]
    nan = math.nan
    went = "the Gaussian band: delta was 0.0019 and is"
    planned = [
        (0.35, 3, "left-gaussian", "delta", 0.0019, 0.0191, nan, f"left {went} 0.0191"),
        (0.4, 1, "entered-gaussian", "delta", 0.0019, 0.0018, nan, f"entered {went} 0.0018"),
        (0.44, 7, "jump", "l_skewness", 0.03, 0.21, 6.1, "L-skewness jumped from 0.03 to 0.21 (z = 6.1)"),
        (0.63, 6, "non-finite", "", 0.0, 3.0, nan, "3 of 262,144 values are NaN, none before"),
        (0.8, 1, "units-died", "", 0.0, 1.0, nan, "1 of 64 units died (1 constant): 17"),
    ]  # fmt: skip
    events = [
        Event(
            step=at(share),
            site=name[index],
            source=source,
            kind=kind,  # type: ignore[arg-type]
            quantity=quantity,
            before=before,
            after=after,
            z=z,
            text=said,
        )
        for share, index, kind, quantity, before, after, z, said in planned
        if index < len(name)
        for source in (sources if kind == "left-gaussian" else sources[-1:])
    ]
    return tuple(events)


def associations(run: Run, count: int = 24) -> list[Association]:
    """Associations such as `run.association` gives, strongest first, some that rest on nothing."""
    rng = np.random.default_rng(3)
    sites = list(dict.fromkeys((record.site, record.source) for record in run.series))
    quantities = ("delta", "l_skewness", "l_kurtosis", "log_sd", "relative_mean")
    found = []
    for index in range(count):
        site, source = sites[index % len(sites)]
        correlation = 0.8 * math.exp(-index / 6) * (-1) ** index
        missing = index == count - 1
        found.append(
            Association(
                site=site,
                source=source,
                quantity=quantities[index % 5],
                lag=int(rng.integers(-10, 11)),
                correlation=math.nan if missing else correlation,
                low=math.nan if missing else correlation - 0.15,
                high=math.nan if missing else correlation + 0.15,
                pvalue=math.nan if missing else min(1e-5 * 3**index, 1.0),
                adjusted_pvalue=math.nan if missing else min(1e-4 * 3**index, 1.0),
                n_records=58,
            )
        )
    return found

"""How often events are false, and how often changes are found.

`python -m tests.calibration.events --out docs/events.md`; and the same of associations, by
`tests.calibration.association`.
"""

from __future__ import annotations

import datetime
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr

from gaussprobe import events
from gaussprobe.events import BASELINE, FEWEST, LIMIT, Monitor
from gaussprobe.following import follow
from gaussprobe.records import CHARTED, Event, SiteRecord
from gaussprobe.stats import simulation
from gaussprobe.types import Kind, LayerScore, NonFinite, Samples, Sampling, Site, Summary
from tests.calibration import association, pages
from tests.calibration.laws import Floats

SEED = 17
N = 256

# Null networks: each activation at each width, DEPTH layers, each seen before and after its activation.
WIDTHS = (8, 16, 32)
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "ReLU": torch.relu,
    "tanh": torch.tanh,
    "GELU": torch.nn.functional.gelu,
    "identity": lambda x: x,
}
DEPTH = 5
STEPS = 200
TASKS = 7  # of 120 sites and 200 steps: 168,000 layer-records

PLANTED = ("a unit without a positive value", "a constant unit", "skewness steps to 1", "a NaN")
RUNS = 200
RECORDS_BEFORE = (10, 12, 15, 20)
USUAL = 32
CHANGED_UNIT = 3
LOG_SD = 0.314227  # a lognormal law with skewness (e^(s^2) + 2) sqrt(e^(s^2) - 1) = 1

RECORDS = 300
TREND_RUNS = 200
NOISE = 0.006  # sd of a layer's median L-skewness at n = 256

BASELINES = 200_000


@dataclass(frozen=True)
class Found:
    """Of networks in which nothing changes.

    Args:
        records: layer-records.
        kinds: events by kind.
    """

    records: int
    kinds: Counter[str]


def samples(name: str, step: int, values: torch.Tensor, *kinds: Kind) -> Samples:
    """A layer's values `(n, C)`, all independent examples."""
    n, width = values.shape
    bad = ~torch.isfinite(values)
    return Samples(
        site=Site(path=name, kinds=kinds),
        step=step,
        values=values,
        examples=np.arange(n),
        n_seen=n,
        sampling=Sampling(n_examples=n, positions_available=1, positions_per_example=1, num_features=width),
        nonfinite=NonFinite(nan=int(bad.sum()), total=bad.numel(), units=int(bad.any(0).sum())),
    )


class Network:
    (
        *association.paragraph(
            """Fixed random weights: variance 2 / width for a ReLU, 1 / width else, biases of sd .3."""
        ),
    )

    def __init__(self, name: str, width: int, generator: torch.Generator) -> None:
        self.name, self.width, self.generator = name, width, generator
        gain = 2.0 if name == "ReLU" else 1.0
        self.weights = self._normal(DEPTH, width, width) * math.sqrt(gain / width)
        self.biases = 0.3 * self._normal(DEPTH, width)

    def _normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self.generator)

    def sampled(self, label: str, step: int) -> Iterator[Samples]:
        """All its sites, on N fresh normal examples."""
        h = self._normal(N, self.width)
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = h @ weight + bias
            yield samples(f"{label}.{depth}", step, h, "affine", "preactivation")
            h = ACTIVATIONS[self.name](h)
            yield samples(f"{label}.{depth}.activation", step, h, "activation")


def null(seed: int, task: int, steps: int = STEPS, widths: tuple[int, ...] = WIDTHS) -> Found:
    """Events of fixed networks."""
    generator = torch.Generator().manual_seed(1_000 * seed + task)
    networks = [Network(name, width, generator) for name in ACTIVATIONS for width in widths]
    monitor, kinds, records = Monitor(), Counter[str](), 0
    for step in range(steps):
        sampled = [one for index, network in enumerate(networks) for one in network.sampled(str(index), step)]
        records += len(sampled)
        kinds.update(event.kind for event in _watched(monitor, sampled))
    return Found(records, kinds)


def _watched(monitor: Monitor, sampled: list[Samples]) -> list[Event]:
    found = follow(sampled, tests=())
    return [event for one in found for event in monitor.update(one.record, one.score, one.units)]


def planted(change: str, seed: int, before: int = USUAL, runs: int = RUNS) -> float:
    (
        *association.paragraph(
            """Share of runs in which a change after `before` records is called at its first or second "
        "record."""
        ),
    )
    generator = torch.Generator().manual_seed(100_000 * seed + 100 * before + PLANTED.index(change))
    width = 16
    weights = torch.randn(runs, width, width, generator=generator) / math.sqrt(width)
    wanted = {"skewness steps to 1": "l_skewness", "a NaN": "non-finite"}.get(change, "units-died")
    monitor, found = Monitor(), set()
    for step in range(before + 2):
        h = torch.randn(runs, N, width, generator=generator) @ weights
        if step >= before:
            h = _changed(change, h)
        sampled = [samples(str(run), step, one, "affine", "preactivation") for run, one in enumerate(h)]
        for event in _watched(monitor, sampled):
            if step >= before and wanted in (event.kind, event.quantity):
                found.add(event.site)
    return len(found) / runs


def _changed(change: str, h: torch.Tensor) -> torch.Tensor:
    h = h.clone()
    if change == "a unit without a positive value":
        h[..., CHANGED_UNIT] -= 100
    elif change == "a constant unit":
        h[..., CHANGED_UNIT] = 0.5
    elif change == "a NaN":
        h[:, 0, CHANGED_UNIT] = torch.nan
    else:
        z = h / h.std(1, keepdim=True)
        h = torch.exp(LOG_SD * z)
    return h


Trend = Callable[[Floats], Floats]


def _linear(slope: float, start: int = 0) -> Trend:
    return lambda t: slope * np.maximum(0, t - start)


def _approach(size: float, tau: float) -> Trend:
    return lambda t: np.asarray(size * np.exp(-t / tau))


# Means of a series over its records, in sds of its noise.
SLOPES = (0.03, 0.3, 3.0)
TRENDS: dict[str, Trend] = {
    "none": lambda t: 0 * t,
    **{f"linear, {slope:g} a record": _linear(slope) for slope in SLOPES},
    **{
        f"exponential approach over {size:g} with time constant {tau:g}": _approach(size, tau)
        for size, tau in itertools.product((10.0, 100.0), (3.0, 30.0, 100.0))
    },
    **{f"constant for 100 records, then linear, {slope:g} a record": _linear(slope, 100) for slope in SLOPES},
    "step of 10 after 100 records": lambda t: np.where(t >= 100, 10.0, 0.0),
    "cycle of amplitude 10 and period 100": lambda t: np.asarray(10 * np.sin(2 * np.pi * t / 100)),
}


def trend(name: str, seed: int) -> float:
    (
        *association.paragraph(
            """Events a run of a series with a trend, without standard errors within steps."""
        ),
    )
    rng = np.random.default_rng([seed, list(TRENDS).index(name)])
    mean = TRENDS[name](np.arange(RECORDS, dtype=np.float64))
    total = 0
    for _ in range(TREND_RUNS):
        monitor = Monitor()
        values = NOISE * (mean + rng.standard_normal(RECORDS))
        for step, value in enumerate(values):
            total += len(monitor.update(*blank(step, l_skewness=float(value))))
    return total / TREND_RUNS


def blank(step: int, delta: float = 0.0, **values: Any) -> tuple[SiteRecord, LayerScore]:
    (
        *association.paragraph(
            """A record and its score of a layer of 16 units in which nothing happens but what is given."""
        ),
    )
    known: dict[str, Any] = {
        "mean": 0.0,
        "sd": 1.0,
        "l_scale": 0.5642,
        "l_skewness": 0.0,
        "l_kurtosis": 0.1226,
    }
    known |= {"log_sd": 0.0, "relative_mean": 0.0}
    nothing = Summary(median=delta, low=math.nan, high=math.nan, worst=delta, worst_unit=0)
    score = LayerScore(
        site="layer",
        kind=("affine", "preactivation"),
        step=step,
        n_seen=N,
        n_tested=N,
        num_features=16,
        delta=nothing,
        negentropy=nothing,
        qq_r2=1 - delta,
        ks_distance=0.0,
        wasserstein=0.0,
        skewness=0.0,
        excess_kurtosis=0.0,
        tests={},
        verdict="undetermined",
        departure="none",
    )
    return SiteRecord(site="layer", step=step, **(known | values)), score


def two_in_a_row(records: int, at: float, seed: int) -> float:
    """Probability that two normal values in a row are further than `at` scales from a baseline, on one side.

    Given the baseline it is `Q(a)^2 + Q(b)^2`; baselines are drawn.
    """
    x = np.random.default_rng([seed, records]).standard_normal((BASELINES, records))
    center = np.median(x, axis=1)
    differences = np.median(np.abs(np.diff(x, axis=1)), axis=1)
    scale = np.maximum(x.std(axis=1, ddof=1), events._TO_SD * differences)
    return float(np.mean(ndtr(-at * scale - center) ** 2 + ndtr(-at * scale + center) ** 2))


def measure(processes: int, seed: int) -> dict[str, Any]:
    """Everything the page has, by section."""
    with simulation.pool(processes) as workers:
        tasks: dict[tuple[str, Any], Future[Any]] = {}
        for number in range(TASKS):
            tasks["null", number] = workers.submit(null, seed, number)
        for change in PLANTED:
            tasks["planted", change] = workers.submit(planted, change, seed)
        for before in RECORDS_BEFORE:
            tasks["before", before] = workers.submit(planted, "skewness steps to 1", seed, before)
        for name in TRENDS:
            tasks["trend", name] = workers.submit(trend, name, seed)
        for records in (6, 7, 8, FEWEST, 12, 15, 20, 25, BASELINE):
            tasks["at limit", records] = workers.submit(two_in_a_row, records, events.limit(records), seed)
            tasks["at 4.5", records] = workers.submit(two_in_a_row, records, LIMIT, seed)
        for key, task in association.tasks().items():
            tasks["association", key] = workers.submit(task, seed)
        simulation.wait(tasks.values())
        found: dict[str, Any] = {}
        for (section, key), done in tasks.items():
            found.setdefault(section, {})[key] = done.result()
        return found | {"seconds of an association": association.timed(seed)}


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def table(*heading: str) -> list[str]:
    """The head of a table."""
    return [_row(*heading), "|---" * len(heading) + "|"]


def limits(found: dict[str, Any]) -> list[str]:
    """What a baseline of few records asks for."""
    lines = table("records in the baseline", "limit", "two in a row beyond it", "beyond 4.5")
    for records, rate in found["at limit"].items():
        usual = found["at 4.5"][records]
        lines.append(_row(records, f"{events.limit(records):.2f}", f"{rate:.1e}", f"{usual:.1e}"))
    return lines


def page(found: dict[str, Any], *, seed: int, seconds: float) -> str:
    """The document."""
    nulls = found["null"].values()
    records = sum(one.records for one in nulls)
    kinds = sum((one.kinds for one in nulls), Counter[str]())
    named = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "none"
    lines = [
        "# Events and associations over training",
        "",
        *association.paragraph(
            "When `gp.watch` calls an event, what `run.association` computes, and how often either is "
            "wrong. Made by `python -m tests.calibration.events --out docs/events.md`; every number in a "
            "table is measured."
        ),
        "",
        f"- Made on {datetime.datetime.now(datetime.UTC):%Y-%m-%d} in {seconds:.0f} s, seed {seed}.",
        f"- Machine: {pages.machine()}.",
        f"- {pages.versions()}.",
        "",
        *_RULES,
        "",
        "## False events",
        "",
        *association.paragraph(
            f"Fixed random networks on fresh normal examples, {N} a record: {len(ACTIVATIONS)} activations "
            f"({', '.join(ACTIVATIONS)}), widths {', '.join(map(str, WIDTHS))}, {DEPTH} layers, each before "
            f"and after its activation, {STEPS} records of each; units of a layer share their examples."
        ),
        "",
        *association.paragraph(
            f"**{kinds.total()} events in {records:,} layer-records** ({named}), of {len(CHARTED)} "
            f"charts, the band, {sum(WIDTHS) / len(WIDTHS):.1f} units on average and non-finite values each."
        ),
        "",
        "## How many records before a jump can be called",
        "",
        *association.paragraph(
            "For independent normal records: the limit by the size of the baseline, and the probability "
            f"({BASELINES:,} baselines drawn) that the next two values lie beyond it on one side. With 4.5 "
            "throughout, charts that have just begun would make nearly all false alarms."
        ),
        "",
        *limits(found),
        "",
        "## Changes that are found",
        "",
        *association.paragraph(
            f"Share of {RUNS} runs in which the event is called at the first or the second record that has "
            f"the change. Layers of 16 units, n = {N}; {USUAL} records before."
        ),
        "",
        *table("change", "found"),
        *(_row(change, f"{share:.1%}") for change, share in found["planted"].items()),
        "",
        "The step of the skewness, by the number of records before it:",
        "",
        *table("records before", "found"),
        *(_row(before, f"{share:.1%}") for before, share in found["before"].items()),
        "",
        "## Trends",
        "",
        *association.paragraph(
            f"Events in a run of {RECORDS} records of one chart, mean of {TREND_RUNS} runs: independent "
            "normal noise about a trend, sizes in sds of that noise, no standard error known. Events are for "
            "jumps: the baseline follows a trend, and its sd grows with it, so that a chart may drift any "
            "distance unnoticed. Only a drift that begins steeply is called, once, as it begins."
        ),
        "",
        *table("trend", "events a run"),
        *(_row(name, f"{rate:.3f}") for name, rate in found["trend"].items()),
        "",
        *association.section(found["association"], found["seconds of an association"]),
    ]
    return "\n".join(lines).rstrip() + "\n"


_RULES = f"""## Rules

Each site and source (training forward, probe batch) is watched by itself.

**jump.** A chart of each of delta, L-skewness, L-kurtosis, log sd and mean / sd, medians over units. The
baseline is the median of the last {BASELINE} records, the scale the largest of their sd, the sd by the
median absolute difference of neighbours, the standard error within the step, and .0001 (none of the five
has a unit; what changes by less is nobody's news). Two records in a row further than {LIMIT} scales away
on one side are a jump; the chart then starts again from these two. A record that is far off stays out of
the baseline until the next has come. From {FEWEST} records on a chart can call, with a limit that grows
as records are fewer: `t_(m-1)^-1(1 - a) sqrt(1/2 + pi/2m)`, a such that it is {LIMIT} at m = {BASELINE}.

**left-gaussian, entered-gaussian.** A record is *inside* the band if its 99 % verdict is `gaussian`
(delta surely below .0025), *outside* if that verdict is `non-gaussian` or the 95 % interval of delta lies
above .0025, else neither. Two in a row establish a side; the event is a change of the established side.
The verdict `near-gaussian` alone is no evidence of having left: it says that delta is below .015.

**units-died.** Units that became constant, or have no positive value though `(1-p)^n < 1e-6`, p being
their earlier rate of positive values (weights decay by 1/{BASELINE} a record), twice in a row. After an
activation, a unit that is constant because it has no positive value is judged by that rate alone. Units
that are dead at their first record are no news. A dead unit that lives for two records is watched anew.
When a run is resumed, rates are learned anew.

**non-finite.** At the first record with a NaN or an infinity, and again only after a finite one.

If the number of units of a layer changes, all of this starts again, and the run says so.
""".splitlines()


if __name__ == "__main__":
    pages.write(__doc__, SEED, measure, page)

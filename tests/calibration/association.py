"""How often associations are false, how often a lead is found, how often intervals cover."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.signal import lfilter

from gaussprobe import association
from gaussprobe.stats.multiplicity import benjamini_hochberg
from tests.calibration.laws import Floats

LEVEL = 0.05
MAX_LAG = 10
LEAD = 5
ROWS = 5
SIZES = (101, 201, 501)  # records
RUNS = 400
LEAD_RUNS = 200
STRENGTHS = (0.2, 0.4, 0.6)

Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]


def _autoregressive(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """AR(1) of .8, after 100 values to forget where it began."""
    noise = rng.standard_normal((shape[0], shape[1] + 100))
    return np.asarray(lfilter([1.0], [1.0, -0.8], noise))[:, 100:]


def _with(trend: Callable[[Floats], Floats]) -> Draw:
    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
        sign = rng.choice([-1.0, 1.0], (shape[0], 1))
        return rng.standard_normal(shape) + sign * trend(np.arange(shape[1], dtype=np.float64))

    return draw


NULLS: dict[str, Draw] = {
    "independent": lambda rng, shape: rng.standard_normal(shape),
    "AR(1), .8": _autoregressive,
    "random walk": lambda rng, shape: rng.standard_normal(shape).cumsum(axis=1),
    "linear trend": _with(lambda t: 0.05 * t),
    "exponential approach, 30 sds, time constant 20": _with(lambda t: 30 * np.exp(-t / 20)),
    "shrinking noise": lambda rng, shape: (
        rng.standard_normal(shape) * (0.1 + np.exp(-4 * np.arange(shape[1]) / shape[1]))
    ),
    "few values (ties)": lambda rng, shape: np.round(1.5 * rng.standard_normal(shape)),
    "changes AR(1), .8": lambda rng, shape: _autoregressive(rng, shape).cumsum(axis=1),
}


@dataclass(frozen=True)
class Null:
    """Shares of p-values at most .05, and of runs with any after Benjamini-Hochberg."""

    raw: float
    any: float


@dataclass(frozen=True)
class Lead:
    """Share of runs with the right lag, also with an adjusted p of .05 at most; coverage at that lag."""

    lag: float
    found: float
    covered: float


def measured(values: Floats, metric: Floats, rng: np.random.Generator) -> tuple[association._Found, Floats]:
    (*paragraph("""What `associate` finds of rows and a metric, and its p-values."""),)
    of = [("forward", str(row), "delta") for row in range(len(values))]
    found = association._measure(association._Series(of, values, metric), MAX_LAG, rng)  # type: ignore[arg-type]
    return found, association.pvalues_of([found])[0]


def null(name: str, records: int, seed: int) -> Null:
    (*paragraph("""Independent runs of ROWS series and a metric of one kind."""),)
    rng = np.random.default_rng([seed, records, list(NULLS).index(name)])
    pvalues = np.array(
        [
            measured(NULLS[name](rng, (ROWS, records)), NULLS[name](rng, (1, records))[0], rng)[1]
            for _ in range(RUNS)
        ]
    )
    rejected = [benjamini_hochberg(run).min() <= LEVEL for run in pvalues]
    return Null(float(np.mean(pvalues <= LEVEL)), float(np.mean(rejected)))


def exact(correlation: float) -> float:
    """Correlation of local ranks of normal changes: `E uv / E u^2` with 40 neighbours.

    `E sign(X1 - X2) sign(Y1 - Y3)` is `2/pi asin(r/2)`, and `2/pi asin(r)` where the neighbour is the same
    (Sheppard (1899), Philosophical Transactions A 192).
    """
    neighbours = 2 * association.NEIGHBOURS
    same = 1 / neighbours
    product = same * math.asin(correlation) + (1 - same) * math.asin(correlation / 2)
    return 2 / math.pi * product / (same + (1 - same) / 3)


def lead(strength: float, records: int, seed: int) -> Lead:
    (
        *paragraph(
            """Runs in which changes of the metric follow those of the first of ROWS random walks by LEAD "
        "records."""
        ),
    )
    rng = np.random.default_rng([seed, records, round(100 * strength)])
    right, found, covered = [], [], []
    for _ in range(LEAD_RUNS):
        changes = rng.standard_normal((ROWS, records + LEAD))
        noise = math.sqrt(1 - strength**2) * rng.standard_normal(records)
        metric = (strength * changes[0, :records] + noise).cumsum()
        one, pvalues = measured(changes[:, LEAD:].cumsum(axis=1), metric, rng)
        right.append(one.lag[0] == LEAD)
        found.append(right[-1] and benjamini_hochberg(pvalues)[0] <= LEVEL)
        if right[-1]:
            covered.append(one.low[0] <= exact(strength) <= one.high[0])
    return Lead(float(np.mean(right)), float(np.mean(found)), float(np.mean(covered)))


def tasks() -> dict[Any, Callable[[int], Null | Lead]]:
    """What is to be done with a seed."""
    nulls = {("null", name, records): partial(null, name, records) for records in SIZES for name in NULLS}
    leads = {("lead", one, records): partial(lead, one, records) for records in SIZES for one in STRENGTHS}
    return {**nulls, **leads}


def timed(seed: int) -> float:
    """Seconds for 100 sites, 5 quantities, 500 records."""
    rng = np.random.default_rng(seed)
    values, metric = rng.standard_normal((500, 500)), rng.standard_normal(500)
    start = time.perf_counter()
    measured(values, metric, rng)
    return time.perf_counter() - start


def paragraph(text: str) -> list[str]:
    """Lines of the page."""
    return textwrap.wrap(text, 106, break_long_words=False, break_on_hyphens=False)


def section(found: dict[Any, Any], seconds: float) -> list[str]:
    """Of the page."""

    def row(*cells: str) -> str:
        return f"| {' | '.join(cells)} |"

    heads = tuple(f"{records} records" for records in SIZES)
    line = "|---" * (1 + len(SIZES)) + "|"
    error = math.sqrt(LEVEL * (1 - LEVEL) / RUNS)
    return [
        "## Associations",
        "",
        *paragraph(
            "`run.association(metric)` correlates, at lags of up to 10 records either way, how each change "
            "of a site's series from record to record ranks among the 20 before and the 20 after it with "
            "the same of the metric. Levels of two series that trend are correlated whatever they are, and "
            "so are changes that are all large early in training; ranks among neighbours are not. A "
            "positive lag means that the site leads. The p-value is that of the largest correlation over "
            "all lags, from 1,000 resamples of the metric: 4 blocks, cut at random places, each from "
            "elsewhere in the series, at least 21 records away. Correlations are divided by their own null "
            "sd, then all sites and quantities share one null distribution, and Benjamini-Hochberg goes "
            f"over them. At least {association._fewest(MAX_LAG)} changes are needed at {MAX_LAG} lags."
        ),
        "",
        *paragraph(
            f"100 sites x 5 quantities x 21 lags x 1,000 resamples over 500 records: {seconds:.1f} s."
        ),
        "",
        "### Level",
        "",
        *paragraph(
            f"Series and metric independent, of one kind; {RUNS} runs of {ROWS} series. Share of p-values at "
            f"most {LEVEL}, and after the stroke of runs with any adjusted p-value at most {LEVEL}; standard "
            f"error of the second {error:.3f}. Where changes themselves are strongly autocorrelated (the "
            "last row), runs of a few hundred records find too much."
        ),
        "",
        row("kind of series", *heads),
        line,
        *(
            row(
                name,
                *(
                    f"{one.raw:.3f} / {one.any:.3f}"
                    for one in (found["null", name, records] for records in SIZES)
                ),
            )
            for name in NULLS
        ),
        "",
        "### A lead that is found",
        "",
        *paragraph(
            f"Changes of the metric follow those of one of {ROWS} random walks by {LEAD} records, with "
            f"correlation rho (of normal changes); {LEAD_RUNS} runs. Share with the right lag / also with an "
            f"adjusted p-value at most {LEVEL} / coverage of the 95 % interval where the lag is right."
        ),
        "",
        row("rho", *heads),
        line,
        *(
            row(
                str(strength),
                *(
                    f"{one.lag:.3f} / {one.found:.3f} / {one.covered:.3f}"
                    for one in (found["lead", strength, records] for records in SIZES)
                ),
            )
            for strength in STRENGTHS
        ),
        "",
    ]

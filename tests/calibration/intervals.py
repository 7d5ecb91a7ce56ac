"""How often intervals cover: `python -m tests.calibration.intervals --out docs/intervals.md`."""

from __future__ import annotations

import argparse
import datetime
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import log_ndtr, ndtr

from gaussprobe.stats import entropy, jackknife, ordered, simulation
from gaussprobe.stats.interval import EFFECTS, interval_of
from gaussprobe.stats.sorting import sort_rows
from tests.calibration.laws import LAWS, MIXTURE, Floats, Law, law
from tests.calibration.pages import machine, versions

SEED = 13
LEVEL = 0.95
SIZES = (50, 200, 2_000, 20_000)

UNIT_LAWS = (*(one for one in LAWS if one.name != "t(30)"), MIXTURE)
SAMPLES = {50: 4_000, 200: 4_000, 2_000: 2_000, 20_000: 400}
BLOCK = 2**18  # values worked on at once

LAYER_LAWS = tuple(law(name) for name in ("normal", "logistic", "t(5)", "Laplace", "uniform", "exponential"))
LAYOUTS = {"1 unit": 1, "16 units": 16, "16 units, correlated": 16}
LAYERS = {50: 1_000, 200: 600, 2_000: 300, 20_000: 60}
LOADING = 0.95  # of the common factor: units correlate .9
LAYER_EFFECTS: tuple[Any, ...] = ("delta", "negentropy")

EXACT_LAWS = tuple(law(n) for n in ("uniform", "exponential", "Laplace", "logistic", "t(5)", MIXTURE.name))
EXACT_SIZE = 100_000
EXACT_REPLICATES = 200


def units(one: Law, n: int, seed: int) -> dict[str, tuple[float, float]]:
    """By effect size, the shares of intervals that lie above the law's value, and below it."""
    rng = np.random.default_rng([SEED, seed, n])
    count = SAMPLES[n]
    step = max(1, BLOCK // n)
    sides = {name: np.zeros(2) for name in EFFECTS}
    for start in range(0, count, step):
        rows = torch.from_numpy(one.draw((min(step, count - start), n), rng))
        sample = ordered.standardise(sort_rows(rows))
        for name in EFFECTS:
            _, low, high = interval_of(name, sample, LEVEL).unbind(dim=1)
            true = one.sizes[name]
            # The round trip through a root leaves rounding at limits that are 0 or 1 exactly.
            sides[name] += [float((low > true + 1e-12).sum()), float((high < true - 1e-12).sum())]
    return {name: (above / count, below / count) for name, (above, below) in sides.items()}


def correlated(one: Law, n: int, columns: int, width: int, rng: np.random.Generator) -> Floats:
    """`(n, columns)`: layers of `width` units of one law that follow a factor common to the layer."""
    common = rng.normal(size=(n, columns // width, 1))
    y = LOADING * common + math.sqrt(1 - LOADING**2) * rng.normal(size=(n, columns // width, width))
    transforms: dict[str, Callable[[], Floats]] = {
        "normal": lambda: y,
        "logistic": lambda: log_ndtr(y) - log_ndtr(-y),
        # Multivariate t: the units of a layer share their scale too.
        "t(5)": lambda: y / np.sqrt(rng.chisquare(5, size=common.shape) / 5),
        "Laplace": lambda: -np.sign(y) * (math.log(2) + log_ndtr(-np.abs(y))),
        "uniform": lambda: ndtr(y),
        "exponential": lambda: -log_ndtr(-y),
    }
    return np.asarray(transforms[one.name](), dtype=np.float64).reshape(n, columns)


def layers(one: Law, layout: str, n: int, seed: int) -> dict[str, tuple[float, float]]:
    """By effect size, the share of layers whose interval covers the law's value, and the usual median."""
    rng = np.random.default_rng([SEED, seed, n, list(LAYOUTS).index(layout)])
    width, count = LAYOUTS[layout], LAYERS[n]
    step = max(1, 8 * BLOCK // (n * width))
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in LAYER_EFFECTS}
    for start in range(0, count, step):
        columns = width * min(step, count - start)
        x = correlated(one, n, columns, width, rng) if "," in layout else one.draw((n, columns), rng)
        parts = jackknife.leave_out(torch.from_numpy(x), np.arange(n), LAYER_EFFECTS)
        for name in LAYER_EFFECTS:
            for first in range(0, columns, width):
                got = jackknife.median_interval(
                    name, parts[name].of(slice(first, first + width)), level=LEVEL
                )
                found[name].append((got.median, got.low, got.high))
    result = {}
    for name, rows in found.items():
        median, low, high = np.array(rows).T
        cover = [np.mean((low <= at) & (at <= high)) for at in (one.sizes[name], np.median(median))]
        result[name] = (float(cover[0]), float(cover[1]))
    return result


def exact(one: Law, replicates: int, seed: int) -> Floats:
    """Estimates of the negentropy at the largest n."""
    rng = np.random.default_rng([SEED, seed])
    found = []
    for _ in range(replicates):
        rows = torch.from_numpy(one.draw((1, EXACT_SIZE), rng))
        found.append(float(entropy.corrected(ordered.standardise(sort_rows(rows)))))
    return np.array(found)


def measure(processes: int) -> tuple[dict[Any, Any], dict[Any, Any], dict[Any, Any]]:
    """Of units by law and n, of layers by law, layout and n, and estimates of the negentropy by law."""
    for one in (*UNIT_LAWS, *LAYER_LAWS):
        _ = one.sizes  # once, not in every process
    with simulation.pool(processes) as pool:
        # Large n first: its tasks are the longest.
        of_layers = {
            pool.submit(layers, one, layout, n, seed): (one.name, layout, n)
            for n in reversed(SIZES)
            for layout in LAYOUTS
            for seed, one in enumerate(LAYER_LAWS)
        }
        of_units = {
            pool.submit(units, one, n, seed): (one.name, n)
            for n in reversed(SIZES)
            for seed, one in enumerate(UNIT_LAWS)
        }
        of_exact = {
            pool.submit(exact, one, EXACT_REPLICATES, seed): one.name for seed, one in enumerate(EXACT_LAWS)
        }
        simulation.wait(of_layers, of_units, of_exact)
        return (
            {key: task.result() for task, key in of_units.items()},
            {key: task.result() for task, key in of_layers.items()},
            {key: task.result() for task, key in of_exact.items()},
        )


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def unit_table(name: str, found: dict[Any, Any]) -> list[str]:
    """Coverage of the interval of one effect size."""
    lines = [
        f"### {name}",
        "",
        _row("law", "its value", *(f"n = {n:,}" for n in SIZES)),
        "|---" * (2 + len(SIZES)) + "|",
    ]
    for one in UNIT_LAWS:
        cells = []
        for n in SIZES:
            above, below = found[one.name, n][name]
            cells.append(f"{_share(1 - above - below)} ({_share(above)}, {_share(below)})")
        lines.append(_row(one.name, f"{round(one.sizes[name], 4) + 0.0:.4f}", *cells))
    return [*lines, ""]


def layer_table(name: str, found: dict[Any, Any]) -> list[str]:
    """Coverage of the interval of a layer's median."""
    lines = [
        f"### {name}",
        "",
        _row("law", "layer of", *(f"n = {n:,}" for n in SIZES)),
        "|---" * (2 + len(SIZES)) + "|",
    ]
    for one in LAYER_LAWS:
        for layout in LAYOUTS:
            cells = [" / ".join(_share(v) for v in found[one.name, layout, n][name]) for n in SIZES]
            lines.append(_row(one.name, layout, *cells))
    return [*lines, ""]


def exact_table(found: dict[str, Floats]) -> list[str]:
    """Mean estimates of the negentropy against exact values."""
    lines = [_row("law", "exact", "mean", "difference", "standard error"), "|---|---|---|---|---|"]
    for one in EXACT_LAWS:
        values, true = found[one.name], one.sizes["negentropy"]
        mean, se = values.mean(), values.std(ddof=1) / math.sqrt(len(values))
        lines.append(
            _row(one.name, f"{true:.6f}", f"{mean:.6f}", f"{100 * (mean / true - 1):+.2f} %", f"{se:.6f}")
        )
    return [*lines, ""]


def page(
    of_units: dict[Any, Any], of_layers: dict[Any, Any], of_exact: dict[Any, Any], seconds: float
) -> str:
    """The document."""

    def counts(by_n: dict[int, int]) -> str:
        return ", ".join(f"{by_n[n]:,} at n = {n:,}" for n in SIZES)

    def error(count: int) -> str:
        return _share(math.sqrt(LEVEL * (1 - LEVEL) / count))

    lines = [
        "# Intervals",
        "",
        f"How often {LEVEL:.0%} intervals of effect sizes cover the effect size of the law itself. Made by",
        "`python -m tests.calibration.intervals --out docs/intervals.md`; every number below is measured,",
        "but for the laws' own values, which are integrated.",
        "",
        f"- Made on {datetime.datetime.now(datetime.UTC):%Y-%m-%d} in {seconds:.0f} s, seed {SEED}.",
        f"- Machine: {machine()}.",
        f"- {versions()}.",
        "",
        "## Of a unit",
        "",
        "Coverage of `gaussprobe.stats.interval`; in brackets how often the interval lay above the value,",
        "and below it. That of `qq_r2` is 1 less that of delta, and covers when it does.",
        "",
        f"Samples: {counts(SAMPLES)}; standard error of a share of {LEVEL}:",
        f"{error(SAMPLES[50])}, {error(SAMPLES[200])}, {error(SAMPLES[2_000])}, {error(SAMPLES[20_000])}.",
        "",
        "No law has a delta, negentropy or distance below 0, the normal law's: its interval can miss on one",
        "side only. At small n the tails of a heavy-tailed law are hardly seen: the estimate is too small,",
        "and the interval lies below the value too often. The excess kurtosis of a sample of t(5) has no",
        "variance, for want of an eighth moment, and no interval made from one covers as it should.",
        "",
        *(line for name in EFFECTS if name != "qq_r2" for line in unit_table(name, of_units)),
        "## Of a layer's median",
        "",
        "Coverage of `gaussprobe.stats.jackknife.median_intervals`: of the law's own value, and after the",
        "stroke of the median over all layers of the measured medians. The estimate's median over units is",
        "below the law's value where its law is skewed, and for heavy or light tails at small n; the first",
        "number shows that, the second does not. Correlated units follow one factor with a correlation of .9",
        "(as normal values before they are transformed; of t(5), multivariate t).",
        "",
        f"Layers: {counts(LAYERS)}; standard error of a share of {LEVEL}:",
        f"{error(LAYERS[50])}, {error(LAYERS[200])}, {error(LAYERS[2_000])}, {error(LAYERS[20_000])}.",
        "",
        *(line for name in LAYER_EFFECTS for line in layer_table(name, of_layers)),
        f"## Negentropy at n = {EXACT_SIZE:,}",
        "",
        f"Mean of {EXACT_REPLICATES} estimates against the exact value, in nats.",
        "",
        *exact_table(of_exact),
    ]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    started = time.monotonic()
    found = measure(arguments.processes)
    text = page(*found, time.monotonic() - started)
    arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

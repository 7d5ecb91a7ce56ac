"""Rates of multivariate tests: `python -m tests.calibration.multivariate --out docs/multivariate.md`."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import scipy.stats
import torch

from gaussprobe.stats import multivariate_null, simulation, slices_null
from gaussprobe.stats.battery import TESTS
from gaussprobe.stats.build_multivariate import simulate
from gaussprobe.stats.ordered import order_piece
from gaussprobe.stats.sliced import SIMPLE, directions
from tests.calibration.pages import machine, versions, write

Floats = npt.NDArray[np.float64]

SEED = 11
LEVELS = (0.05, 0.01)
SIZES = (20, 30, 50, 100, 200, 500, 1_000)
FEATURES = (1, 2, 5, 10, 20)
# Beside the grid: hardly more samples than features, and more features than the tables have.
FURTHER = ((12, 5), (16, 10), (40, 30), (150, 50), (150, 100), (400, 100))
REPLICATES = 100_000
PAIRS = 600_000_000  # of points, in one cell of n and d
SLICED_VALUES = 25_000_000  # projected, in one setting of `sliced`


@dataclass(frozen=True)
class Setting:
    """What `sliced` is measured on.

    Args:
        n, d, slices: samples, features, directions.
        shrink: ratio of the sd of each feature to that of the one before.
        null: composite or simple.
    """

    n: int
    d: int
    slices: int
    shrink: float
    null: slices_null.Null

    def __str__(self) -> str:
        spread = "equal variances" if self.shrink == 1 else f"each sd {self.shrink:g} times the last"
        return f"{self.null} null, n = {self.n}, {self.d} features ({spread}), {self.slices} slices"


SETTINGS = (
    Setting(50, 2, 64, 1.0, "composite"),
    Setting(50, 5, 64, 1.0, "composite"),
    Setting(50, 5, 64, 0.5, "composite"),
    Setting(20, 10, 64, 1.0, "composite"),
    Setting(200, 10, 256, 1.0, "composite"),
    Setting(50, 100, 64, 0.8, "composite"),
    Setting(50, 5, 64, 1.0, "simple"),
    Setting(50, 50, 256, 1.0, "simple"),
)


def rates(n: int, d: int, replicates: int, seed: np.random.SeedSequence) -> dict[str, list[float]]:
    """How often each test rejects normal samples at each level."""
    found = {}
    for name, values in simulate(n, d, replicates, seed).items():
        if name == "henze_zirkler" and d > multivariate_null.most_features():
            found[name] = [math.nan] * len(LEVELS)
            continue
        p = multivariate_null.upper_tail(name, values, n, d)
        if name == "mardia_kurtosis":
            p = 2 * np.minimum(p, 1 - p)
        found[name] = [float((p <= level).mean()) for level in LEVELS]
    return found


def textbook(n: int, d: int, replicates: int, seed: np.random.SeedSequence) -> dict[str, list[float]]:
    """The same for the laws found in textbooks: chi-squared, normal, lognormal."""
    found = simulate(n, d, replicates, seed)
    freedom = d * (d + 1) * (d + 2) / 6
    corrected = (d + 1) * (n + 1) * (n + 3) / (n * ((n + 1) * (d + 1) - 6))
    law = multivariate_null.moments("henze_zirkler", n, d)
    b2 = multivariate_null.smoothing(n, d) ** 2
    a = 1 + 2 * b2
    mean = 1 - a ** (-d / 2) * (1 + d * b2 / a + d * (d + 2) * b2**2 / (2 * a * a))
    log_variance = math.log1p((law.sd / mean) ** 2)
    log_hz = (np.log1p(found["henze_zirkler"]) - math.log(mean) + log_variance / 2) / math.sqrt(log_variance)
    score = (found["mardia_kurtosis"] - d * (d + 2)) / math.sqrt(8 * d * (d + 2) / n)
    pvalues = {
        "mardia_skewness": scipy.stats.chi2.sf(n * found["mardia_skewness"] / 6 * corrected, freedom),
        "mardia_kurtosis": 2 * scipy.stats.norm.sf(np.abs(score)),
        "henze_zirkler": scipy.stats.norm.sf(log_hz),
    }
    return {name: [float((p <= level).mean()) for level in LEVELS] for name, p in pvalues.items()}


def others(p: Floats) -> dict[str, Floats]:
    """Other ways to one p-value from those of each row: Cauchy combination, harmonic mean, Simes."""
    p = p.clip(1e-15, 1 - 1e-15)
    k = p.shape[1]
    return {
        "Cauchy": 0.5 - np.arctan(np.tan((0.5 - p) * np.pi).mean(axis=1)) / np.pi,
        "harmonic": 1 / (1 / p).mean(axis=1),
        "Simes": (np.sort(p, axis=1) * k / np.arange(1, k + 1)).min(axis=1),
    }


def sliced_rates(setting: Setting, seed: np.random.SeedSequence) -> tuple[dict[str, dict[str, Any]], int]:
    """How often each way of combining rejects at each level, by test; and of how many samples."""
    rng = np.random.default_rng(seed)
    n, d, k, null = setting.n, setting.d, setting.slices, setting.null
    replicates = SLICED_VALUES // (n * k)
    names = list(TESTS if null == "composite" else SIMPLE)
    found: dict[str, dict[str, list[Floats]]] = {name: {} for name in names}
    block = max(1, 2**18 // (n * k))
    for start in range(0, replicates, block):
        size = min(block, replicates - start)
        x = torch.from_numpy(rng.standard_normal((size, n, d)) * setting.shrink ** np.arange(d))
        vectors = torch.stack([directions(d, k, seed=start + i) for i in range(size)])
        y = x @ vectors
        columns = y.transpose(0, 1).reshape(n, -1)
        sample = order_piece(columns, out=torch.empty((size * k, n), dtype=torch.float64), null=null)
        if null == "simple":
            rho = vectors.mT @ vectors
        else:
            z = y - y.mean(dim=1, keepdim=True)
            z = z / torch.linalg.vector_norm(z, dim=1, keepdim=True)
            rho = z.mT @ z
        for name in names:
            value = TESTS[name].statistic(sample)
            p = TESTS[name].pvalue(value, n) if null == "composite" else SIMPLE[name](value, n, null)
            p = p.reshape(size, k)
            combined = slices_null.combine(p, rho, test=name, null=null, n_samples=n)
            ways = {"gaussprobe": combined.numpy(), **others(p.numpy())}
            for way, one in ways.items():
                found[name].setdefault(way, []).append(one)
    return {
        name: {
            way: [float((np.concatenate(p) <= level).mean()) for level in LEVELS] for way, p in ways.items()
        }
        for name, ways in found.items()
    }, replicates


def page(
    cells: dict[tuple[int, int], Any],
    peers: dict[tuple[int, int], Any],
    slices: dict[Setting, Any],
    *,
    seed: int,
    seconds: float,
) -> str:
    """The document."""
    lines = [
        "# Tests of several features",
        "",
        "How often each test rejects samples of independent standard normal features. Made by",
        "`python -m tests.calibration.multivariate --out docs/multivariate.md`; every number is measured.",
        "",
        f"- Made on {datetime.datetime.now(datetime.UTC):%Y-%m-%d} in {seconds:.0f} s, seed {seed}.",
        f"- Machine: {machine()}.",
        f"- {versions()}.",
        "- In a cell: rejected at .05 / at .01. The standard error is that of a test that keeps its level.",
        "",
    ]
    for name, title, peer in (
        ("mardia_skewness", "Mardia's skewness", "chi-squared with Mardia's correction of 1974"),
        ("mardia_kurtosis", "Mardia's kurtosis", "normal, with the asymptotic mean and variance"),
        ("henze_zirkler", "Henze and Zirkler", "lognormal, with the moments of the limit"),
    ):
        lines += [f"## {title}", ""]
        lines += _grid(lambda n, d, name=name: _pair(cells[n, d][0][name]), SIZES)  # type: ignore[misc]
        lines += ["", f"With the usual law ({peer}), on the first quarter of the same samples:", ""]
        lines += _grid(lambda n, d, name=name: _pair(peers[n, d][0][name]), SIZES)  # type: ignore[misc]
        lines += [
            "",
            "Beside the grid:",
            "",
            "| | " + " | ".join(f"n = {n}, d = {d}" for n, d in FURTHER) + " |",
        ]
        lines.append("|---" * (len(FURTHER) + 1) + "|")
        lines.append("| | " + " | ".join(_pair(cells[place][0][name]) for place in FURTHER) + " |")
        lines.append("")
    lines += ["## Standard errors", ""]
    lines += _grid(lambda n, d: _error(cells[n, d][1]), SIZES)
    lines += ["", "| | " + " | ".join(f"n = {n}, d = {d}" for n, d in FURTHER) + " |"]
    lines.append("|---" * (len(FURTHER) + 1) + "|")
    lines.append("| | " + " | ".join(_error(cells[place][1]) for place in FURTHER) + " |")
    lines += [
        "",
        "Replicates: " + "; ".join(f"n = {n}, d = {d}: {cells[n, d][1]:,}" for n, d in cells) + ".",
        "",
        "## Sliced",
        "",
        "One p-value from those of many directions: as `sliced` does it, and by three usual rules.",
        "",
    ]
    for setting, (found, replicates) in slices.items():
        ways = list(next(iter(found.values())))
        lines += [f"### {str(setting)[0].upper()}{str(setting)[1:]}", ""]
        lines += ["| | " + " | ".join(ways) + " |", "|---" * (len(ways) + 1) + "|"]
        for name, by_way in found.items():
            lines.append(f"| {name} | " + " | ".join(_pair(by_way[way]) for way in ways) + " |")
        lines += [
            f"| *standard error, {replicates:,} samples* |" + f" {_error(replicates)} |" * len(ways),
            "",
        ]
    return "\n".join(lines)


def _grid(cell: Any, sizes: tuple[int, ...]) -> list[str]:
    lines = ["| | " + " | ".join(f"n = {n:,}" for n in sizes) + " |", "|---" * (len(sizes) + 1) + "|"]
    for d in FEATURES:
        row = [cell(n, d) if _possible(n, d) else "" for n in sizes]
        lines.append(f"| d = {d} | " + " | ".join(row) + " |")
    return lines


def _possible(n: int, d: int) -> bool:
    return n >= d + 5


def _pair(values: list[float]) -> str:
    return "none" if math.isnan(values[0]) else " / ".join(f"{v:.4f}".removeprefix("0") for v in values)


def _error(replicates: int) -> str:
    return _pair([math.sqrt(level * (1 - level) / replicates) for level in LEVELS])


def measure(processes: int, seed: int) -> tuple[dict[Any, Any], dict[Any, Any], dict[Any, Any]]:
    """Rates by (n, d), those of the usual laws on the same samples, and rates of `sliced` by setting."""
    places = [*((n, d) for n in SIZES for d in FEATURES if _possible(n, d)), *FURTHER]
    roots = np.random.SeedSequence(seed).spawn(2)
    seeds = dict(zip(places, roots[0].spawn(len(places)), strict=True))
    counts = {(n, d): int(min(REPLICATES, PAIRS // (n * n))) for n, d in places}
    with simulation.pool(processes) as pool:
        slices = {
            setting: pool.submit(sliced_rates, setting, s)
            for setting, s in zip(SETTINGS, roots[1].spawn(len(SETTINGS)), strict=True)
        }
        cells = {place: pool.submit(rates, *place, counts[place], seeds[place]) for place in places}
        # On fewer of the same samples: where these laws fail they fail by far.
        fewer = {place: max(1, counts[place] // 4) for place in places if place not in FURTHER}
        peers = {place: pool.submit(textbook, *place, fewer[place], seeds[place]) for place in fewer}
        simulation.wait(slices.values(), cells.values(), peers.values())
    return (
        {place: (task.result(), counts[place]) for place, task in cells.items()},
        {place: (task.result(), fewer[place]) for place, task in peers.items()},
        {setting: task.result() for setting, task in slices.items()},
    )


if __name__ == "__main__":
    write(__doc__, SEED, measure, lambda found, **made: page(*found, **made))

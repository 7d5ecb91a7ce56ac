"""False-positive rates of every p-value: `python -m tests.calibration.run --out docs/calibration.md`."""

from __future__ import annotations

import concurrent.futures
import datetime
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import scipy.stats
import torch
from statsmodels.stats.diagnostic import lilliefors, normal_ad

from gaussprobe import stats
from gaussprobe.stats import simulation
from gaussprobe.stats.battery import TESTS
from gaussprobe.types import GofResult
from tests.calibration.pages import machine, versions, write

Floats = npt.NDArray[np.float64]

SEED = 7
LEVELS = (0.05, 0.01, 0.001, 0.0001)

# Normal samples drawn at each n. Those between the named sizes are in none of the tables.
REPLICATES = {
    **{8: 1_000_000, 12: 1_000_000, 20: 3_000_000, 37: 2_000_000, 50: 2_000_000, 150: 1_000_000},
    **{200: 2_000_000, 700: 600_000, 1_000: 1_000_000, 3_000: 300_000, 5_000: 600_000},
    **{12_000: 20_000, 20_000: 20_000, 100_000: 4_000},
}
SIZES = tuple(REPLICATES)
SIMPLE = ("kstest", "anderson_darling", "cramer_von_mises", "watson", "epps_pulley")
SIMPLE_REPLICATES = {
    n: min(200_000, most) for n, most in REPLICATES.items() if n in (8, 20, 50, 200, 1_000, 5_000)
}

# What a rate may be at each level: at the first two to n = 100,000 with three standard errors of slack from
# 20,000 on, at the others to n = 5,000, with two everywhere.
ALLOWED = {
    0.05: (0.045, 0.055),
    0.01: (0.008, 0.0125),
    0.001: (0.00075, 0.00125),
    0.0001: (0.000075, 0.000125),
}
FAR_LEVELS_UP_TO = 5_000

TASK_VALUES = 10_000_000  # normal values drawn in one task
PEER_SECONDS = 6.0  # spent on each peer at one n


@dataclass(frozen=True)
class Peer:
    """Another implementation: its name, and p-values of the columns of an array."""

    name: str
    pvalues: Callable[[Floats], Floats]


def _shapiro(x: Floats) -> Floats:
    return np.array([scipy.stats.shapiro(column).pvalue for column in x.T])


def _lilliefors(x: Floats) -> Floats:
    return np.array([lilliefors(column)[1] for column in x.T])


def _normal_ad(x: Floats) -> Floats:
    return np.asarray(normal_ad(x)[1], dtype=np.float64)


def _normaltest(x: Floats) -> Floats:
    return np.asarray(scipy.stats.normaltest(x).pvalue, dtype=np.float64)


def _jarque_bera(x: Floats) -> Floats:
    return np.asarray(scipy.stats.jarque_bera(x, axis=0).pvalue, dtype=np.float64)


PEERS = {
    "shapiro_wilk": Peer("scipy shapiro", _shapiro),
    "lilliefors": Peer("statsmodels lilliefors", _lilliefors),
    "anderson_darling": Peer("statsmodels normal_ad", _normal_ad),
    "dagostino_pearson": Peer("scipy normaltest", _normaltest),
    "jarque_bera": Peer("scipy jarque_bera", _jarque_bera),
}
PEER_LEVELS = 0.001  # down to here


def ours(n: int, replicates: int, null: str, seed: np.random.SeedSequence) -> dict[str, Floats]:
    """How often each test rejects at each level."""
    rng = np.random.Generator(np.random.SFC64(seed))
    block = max(1, 2**20 // n)
    names = tuple(TESTS) if null == "composite" else SIMPLE
    counts = {name: np.zeros(len(LEVELS)) for name in names}
    for start in range(0, replicates, block):
        rows = min(block, replicates - start)
        x = torch.from_numpy(rng.standard_normal((rows, n), dtype=np.float32))
        for name, result in _results(x, null).items():
            p = result.pvalue.numpy()
            counts[name] += [(p <= level).sum() for level in LEVELS]
    return counts


def _results(x: torch.Tensor, null: str) -> dict[str, GofResult]:
    if null == "composite":
        return stats.battery(x, dim=1)
    found = {name: getattr(stats, name)(x, dim=1, null="simple") for name in SIMPLE if name != "kstest"}
    return {"kstest": stats.kstest(x, dim=1), **found}


def theirs(name: str, n: int, replicates: int, seed: np.random.SeedSequence) -> tuple[Floats, int]:
    """How often a peer rejects at each level, of how many: as many as its time allows."""
    rng = np.random.default_rng(seed)
    counts, done = np.zeros(len(LEVELS)), 0
    block = max(1, min(1000, 2**20 // n))
    end = time.monotonic() + PEER_SECONDS
    while done < replicates and time.monotonic() < end:
        p = PEERS[name].pvalues(rng.standard_normal((n, block)))
        counts += [(p <= level).sum() for level in LEVELS]
        done += block
    return counts, done


Counts = dict[int, tuple[dict[str, Floats], int]]


def measure(processes: int, seed: int) -> tuple[Counts, Counts, dict[Any, Any]]:
    """Counts of ours by n, composite and simple, and of the peers by name and n, each with its replicates."""
    seeds = iter(np.random.SeedSequence(seed).spawn(10_000))
    with simulation.pool(processes) as pool:
        our_tasks: dict[concurrent.futures.Future[Any], tuple[str, int, int]] = {}
        peer_tasks: dict[concurrent.futures.Future[Any], tuple[str, int]] = {}
        for null, sizes in (("composite", REPLICATES), ("simple", SIMPLE_REPLICATES)):
            for n, replicates in sizes.items():
                pieces = math.ceil(replicates * n / TASK_VALUES)
                for i in range(pieces):
                    size = (i + 1) * replicates // pieces - i * replicates // pieces
                    our_tasks[pool.submit(ours, n, size, null, next(seeds))] = (null, n, size)
        for n in SIZES:
            for name in PEERS:
                peer_tasks[pool.submit(theirs, name, n, min(100_000, REPLICATES[n]), next(seeds))] = (name, n)
        simulation.wait(our_tasks, peer_tasks)
        found: dict[str, Counts] = {"composite": {}, "simple": {}}
        for task, (null, n, size) in our_tasks.items():
            counts, so_far = found[null].get(n, ({}, 0))
            for name, value in task.result().items():
                counts[name] = counts.get(name, np.zeros(len(LEVELS))) + value
            found[null][n] = (counts, so_far + size)
        return found["composite"], found["simple"], {key: task.result() for task, key in peer_tasks.items()}


def page(found: Counts, simple: Counts, peers: dict[Any, Any], *, seed: int, seconds: float) -> str:
    """The document."""
    lines = [
        "# Calibration",
        "",
        "How often each test rejects samples that are normal, against the level it is used at. Made by",
        "`python -m tests.calibration.run --out docs/calibration.md`; every number below is measured.",
        "",
        f"- Made on {datetime.datetime.now(datetime.UTC):%Y-%m-%d} in {seconds:.0f} s, seed {seed}.",
        f"- Machine: {machine()}.",
        f"- {versions()}.",
        "- Samples of independent standard normal values, float32.",
        "- Each peer ran for a limited time at each n, on samples of its own: see its replicates below. A",
        "  rate where fewer than ten rejections are expected is left out.",
        "",
        *_verdict(found, simple),
    ]
    for index, level in enumerate(LEVELS):
        lines += [f"## Rejected at {level:g}, mean and sd estimated", "", *_head(SIZES)]
        for name in TESTS:
            row = [_rate(found[n][0][name][index], found[n][1]) for n in SIZES]
            lines.append(f"| **{name}** | " + " | ".join(row) + " |")
            if name in PEERS and level >= PEER_LEVELS:
                row = [_peer_rate(*peers[name, n], index) for n in SIZES]
                lines.append(f"| {PEERS[name].name} | " + " | ".join(row) + " |")
        errors = [_digits(math.sqrt(level * (1 - level) / found[n][1])) for n in SIZES]
        lines += [f"| *standard error, ours, if exact* | {' | '.join(errors)} |", ""]
    for index, level in enumerate(LEVELS[:3]):
        lines += [f"## Rejected at {level:g}, simple null", "", *_head(simple)]
        for name in SIMPLE:
            row = [_rate(simple[n][0][name][index], simple[n][1]) for n in simple]
            lines.append(f"| **{name}** | " + " | ".join(row) + " |")
        errors = [_digits(math.sqrt(level * (1 - level) / simple[n][1])) for n in simple]
        lines += [f"| *standard error, if exact* | {' | '.join(errors)} |", ""]
    lines += ["## Replicates", "", *_head(SIZES)]
    lines.append("| gaussprobe | " + " | ".join(f"{found[n][1]:,}" for n in SIZES) + " |")
    lines.append(
        "| simple null | " + " | ".join(f"{simple[n][1]:,}" if n in simple else "" for n in SIZES) + " |"
    )
    for name, peer in PEERS.items():
        lines.append(f"| {peer.name} | " + " | ".join(f"{peers[name, n][1]:,}" for n in SIZES) + " |")
    return "\n".join(lines) + "\n"


def _head(sizes: Iterable[int]) -> list[str]:
    cells = [f"n = {n:,}" for n in sizes]
    return ["| | " + " | ".join(cells) + " |", "|---" * (len(cells) + 1) + "|"]


def _verdict(found: Counts, simple: Counts) -> list[str]:
    """Which rates lie outside what is allowed, counted and named."""
    outside, checked = [], 0
    for what, table in (("", found), (" (simple null)", simple)):
        for n, (counts, replicates) in table.items():
            for index, level in enumerate(LEVELS):
                if level < 0.01 and n > FAR_LEVELS_UP_TO:
                    continue
                low, high = ALLOWED[level]
                slack = (3 if n > FAR_LEVELS_UP_TO else 2 if level < 0.01 else 0) * math.sqrt(
                    level / replicates
                )
                for name, count in counts.items():
                    checked += 1
                    rate = count[index] / replicates
                    if not low - slack <= rate <= high + slack:
                        outside.append(f"{name}{what} at n = {n:,}: {_digits(rate)} at {level:g}")
    bands = ", ".join(f"{low:g}-{high:g} at {level:g}" for level, (low, high) in ALLOWED.items())
    return [
        f"Allowed are {bands}; the last two to n = {FAR_LEVELS_UP_TO:,} and with two standard errors of",
        f"slack, the others with three beyond it. Of {checked} rates {len(outside)} lie outside"
        + (": " + "; ".join(outside) + "." if outside else "."),
        "",
    ]


def _rate(count: float, replicates: int) -> str:
    return _digits(count / replicates)


def _peer_rate(counts: Floats, replicates: int, index: int) -> str:
    return _rate(counts[index], replicates) if replicates * LEVELS[index] >= 10 else ""


def _digits(value: float) -> str:
    return f"{value:.5f}".removeprefix("0")


if __name__ == "__main__":
    write(__doc__, SEED, measure, lambda found, **made: page(*found, **made))

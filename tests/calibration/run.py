"""False-positive rates of every p-value: `python -m tests.calibration.run --out docs/calibration.md`."""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import scipy.stats
import statsmodels
import torch
from statsmodels.stats.diagnostic import lilliefors, normal_ad

from gaussprobe.stats import ordered
from gaussprobe.stats.battery import TESTS, run

Floats = npt.NDArray[np.float64]

SEED = 7
SIZES = (8, 12, 20, 50, 200, 1_000, 5_000, 20_000)
LEVELS = (0.05, 0.01, 0.001)
REPLICATES = 100_000
MOST_VALUES = 500_000_000  # normal values drawn at one n: replicates are fewer where this does not suffice
TASK_VALUES = 20_000_000  # of them in one task
PEER_SECONDS = 12.0  # spent on each peer at one n


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


PEERS = {
    "shapiro_wilk": Peer("scipy shapiro", _shapiro),
    "lilliefors": Peer("statsmodels lilliefors", _lilliefors),
    "anderson_darling": Peer("statsmodels normal_ad", _normal_ad),
    "dagostino_pearson": Peer("scipy normaltest", _normaltest),
}


def ours(n: int, replicates: int, seed: np.random.SeedSequence) -> dict[str, Floats]:
    """How often each test rejects at each level."""
    rng = np.random.default_rng(seed)
    block = max(1, 2**18 // n)
    counts = {name: np.zeros(len(LEVELS)) for name in TESTS}
    for start in range(0, replicates, block):
        rows = torch.from_numpy(rng.standard_normal((min(block, replicates - start), n)))
        for name, result in run(ordered.standardise(ordered.sort_rows(rows))).items():
            p = result.pvalue.numpy()
            counts[name] += [(p <= level).sum() for level in LEVELS]
    return counts


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


def measure(processes: int, seed: int) -> tuple[dict[int, tuple[dict[str, Floats], int]], dict[Any, Any]]:
    """Counts of ours by n, and of the peers by name and n, each with its replicates."""
    start = time.monotonic()
    root = np.random.SeedSequence(seed)
    our_seeds, peer_seeds = (s.spawn(len(SIZES)) for s in root.spawn(2))
    with concurrent.futures.ProcessPoolExecutor(
        processes, initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        our_tasks: dict[concurrent.futures.Future[Any], tuple[int, int]] = {}
        peer_tasks: dict[concurrent.futures.Future[Any], tuple[str, int]] = {}
        for n, our_seed, peer_seed in zip(SIZES, our_seeds, peer_seeds, strict=True):
            replicates = min(REPLICATES, MOST_VALUES // n)
            pieces = math.ceil(replicates * n / TASK_VALUES)
            for i, s in enumerate(our_seed.spawn(pieces)):
                size = (i + 1) * replicates // pieces - i * replicates // pieces
                our_tasks[pool.submit(ours, n, size, s)] = (n, size)
            for name, s in zip(PEERS, peer_seed.spawn(len(PEERS)), strict=True):
                peer_tasks[pool.submit(theirs, name, n, replicates, s)] = (name, n)
        total = len(our_tasks) + len(peer_tasks)
        for done, _ in enumerate(concurrent.futures.as_completed([*our_tasks, *peer_tasks]), start=1):
            sys.stderr.write(f"\r{done} of {total} tasks, {time.monotonic() - start:.0f} s")
            sys.stderr.flush()
        sys.stderr.write("\n")
        found: dict[int, tuple[dict[str, Floats], int]] = {}
        for task, (n, size) in our_tasks.items():
            counts, so_far = found.setdefault(n, ({name: np.zeros(len(LEVELS)) for name in TESTS}, 0))
            for name, value in task.result().items():
                counts[name] += value
            found[n] = (counts, so_far + size)
        return found, {key: task.result() for task, key in peer_tasks.items()}


def page(
    found: dict[int, tuple[dict[str, Floats], int]], peers: dict[Any, Any], *, seed: int, seconds: float
) -> str:
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
        "- Samples of independent standard normal values; mean and sd are estimated by every test.",
        "- Each peer ran for a limited time at each n, on samples of its own: see its replicates below.",
        "",
    ]
    for index, level in enumerate(LEVELS):
        lines += [f"## Rejected at {level:g}", "", "| | " + " | ".join(f"n = {n:,}" for n in SIZES) + " |"]
        lines.append("|---" * (len(SIZES) + 1) + "|")
        for name in TESTS:
            row = [_rate(found[n][0][name][index], found[n][1]) for n in SIZES]
            lines.append(f"| **{name}** | " + " | ".join(row) + " |")
            row = [_rate(peers[name, n][0][index], peers[name, n][1]) for n in SIZES]
            lines.append(f"| {PEERS[name].name} | " + " | ".join(row) + " |")
        errors = [_digits(math.sqrt(level * (1 - level) / found[n][1])) for n in SIZES]
        lines += [f"| *standard error, ours, if exact* | {' | '.join(errors)} |", ""]
    lines += ["## Replicates", "", "| | " + " | ".join(f"n = {n:,}" for n in SIZES) + " |"]
    lines.append("|---" * (len(SIZES) + 1) + "|")
    lines.append("| gaussprobe | " + " | ".join(f"{found[n][1]:,}" for n in SIZES) + " |")
    for name, peer in PEERS.items():
        lines.append(f"| {peer.name} | " + " | ".join(f"{peers[name, n][1]:,}" for n in SIZES) + " |")
    return "\n".join(lines) + "\n"


def _rate(count: float, replicates: int) -> str:
    return _digits(count / replicates)


def _digits(value: float) -> str:
    return f"{value:.5f}".removeprefix("0")


def machine() -> str:
    """The CPU and its cores."""
    return f"{_processor()}, {os.cpu_count()} cores"


def versions() -> str:
    """Of Python and the packages that numbers depend on."""
    return (
        f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}, "
        f"statsmodels {statsmodels.__version__}, torch {torch.__version__}"
    )


def _processor() -> str:
    """Name of the CPU, as the operating system has it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    start = time.monotonic()
    found, peers = measure(arguments.processes, arguments.seed)
    text = page(found, peers, seed=arguments.seed, seconds=time.monotonic() - start)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

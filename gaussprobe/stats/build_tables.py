"""Make `data/null.json`: `python -m gaussprobe.stats.build_tables` (about six minutes on two free cores).

Simulates normal samples and keeps, at each n, quantiles of Lilliefors' D and of K2 and the mean and sd of the
effect sizes; and the constants of the p-value of W past the range of the published ones. The result depends
on the seed and on the versions recorded in the file, not on the number of processes: each task draws from its
own stream.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import math
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy
import torch
from scipy.special import chdtri, ndtri

from gaussprobe.stats import dagostino, effects, entropy, kolmogorov, normal_scores, ordered, shapiro, tables

Floats: TypeAlias = "npt.NDArray[np.float64]"

SEED = 20_240_607
TARGET = Path(__file__).parent / "data" / "null.json"

# Levels of the quantiles; the smallest is what Benjamini-Hochberg over 1,000 units looks at.
LEVELS = (
    *(0.999, 0.995, 0.99, 0.98, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3),
    *(0.25, 0.2, 0.15, 0.125, 0.1, 0.075, 0.05, 0.04, 0.03, 0.025, 0.02, 0.015, 0.01, 0.0075, 0.005, 0.0035),
    *(0.002, 0.0015, 0.001, 0.0007, 0.0005, 0.00035, 0.0002, 0.00015, 0.0001, 0.00005),
)

LILLIEFORS_LARGEST = 10_000  # D's scaled quantiles stay as they are from here on

# Where one sort serves D and the effect sizes. The windows of the negentropy widen at every cube, and its
# null mean jumps: both sides of each cube are tabulated as long as the jumps show.
SORTED_GRID = (
    *(8, 9, 10, 11, 12, 13, 14, 16, 18, 20, 23, 26, 27, 32, 40, 50, 63, 64, 80, 100, 124, 125, 160, 215, 216),
    *(280, 342, 343, 420, 511, 512, 610, 728, 729, 850, 999, 1_000, 1_330, 1_331, 1_727, 1_728, 2_196, 2_197),
    *(2_743, 2_744, 3_374, 3_375, 4_095, 4_096, 5_000, 10_000, 20_000, 50_000, 100_000, 300_000, 1_000_000),
)
# Normal values drawn at each n up to the one given ..
SORTED_VALUES = ((500, 100_000_000), (LILLIEFORS_LARGEST, 250_000_000), (1_000_000, 200_000_000))
SORTED_MOST = 2_000_000  # .. in at most so many samples ..
SORTED_LEAST = 200  # .. and at least so many

# K2 needs no sort and converges slowly: sums of powers of one stream, for samples of each of these sizes, of
# twice these sizes, of four times .. (size, doublings)
MOMENT_CHAINS = ((8, 1), (9, 1), (10, 10), (12, 1), (14, 9))
MOMENT_VALUES = 4_000_000_000  # drawn for the long chains
MOMENT_MOST = 2_000_000  # samples kept at each n
MOMENT_TASKS = 32

# Upper quantiles of ln(1 - W) to which a normal law is fitted, where 1 - W is nearly lognormal.
SHAPIRO_GRID = (2_000, 4_000, 10_000, 30_000, 100_000, 300_000)
SHAPIRO_LEVELS = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002)
SHAPIRO_VALUES = 300_000_000  # normal values drawn at each n

# Smoothing over n: the quantiles are polynomials of these degrees in n^-1/2, within the simulation's noise.
LILLIEFORS_DEGREE = 5
DAGOSTINO_DEGREE = 7


def simulate_sorted(n: int, seed: np.random.SeedSequence) -> dict[str, Any]:
    """Replicates of D, and mean and sd of each effect size, at `n`."""
    rng = np.random.default_rng(seed)
    values_at_n = next(most for largest, most in SORTED_VALUES if n <= largest)
    replicates = min(SORTED_MOST, max(SORTED_LEAST, values_at_n // n))
    block = max(1, 2**18 // n)
    kept: dict[str, list[Floats]] = {"delta": [], "negentropy": [], "ks_distance": [], "wasserstein": []}
    for start in range(0, replicates, block):
        rows = torch.from_numpy(rng.standard_normal((min(block, replicates - start), n)))
        sample = ordered.standardise(ordered.sort_rows(rows))
        for name, value in (
            ("delta", effects.raw_delta(sample)),
            ("negentropy", entropy.raw(sample)),
            ("ks_distance", kolmogorov.statistic(sample)),
            ("wasserstein", effects.wasserstein_of(sample)),
        ):
            kept[name].append(value.numpy())
    values = {name: np.concatenate(parts) for name, parts in kept.items()}
    result: dict[str, Any] = {
        name: (float(value.mean()), float(value.std(ddof=1))) for name, value in values.items()
    }
    scaled = values["ks_distance"] * tables.scaling("lilliefors", n)
    result["quantiles"] = np.quantile(scaled, 1 - np.array(LEVELS)) if n <= LILLIEFORS_LARGEST else None
    result["replicates"] = replicates
    return result


def simulate_shapiro(n: int, seed: np.random.SeedSequence) -> tuple[Floats, int]:
    """Quantiles of ln(1 - W) at `n`, of how many replicates."""
    rng = np.random.default_rng(seed)
    replicates = SHAPIRO_VALUES // n
    block = max(1, 2**18 // n)
    weights = shapiro.weights(n, torch.device("cpu"))
    losses: list[Floats] = []
    for start in range(0, replicates, block):
        rows = rng.standard_normal((min(block, replicates - start), n), dtype=np.float32)
        sample = ordered.standardise(ordered.sort_rows(torch.from_numpy(rows)))
        losses.append(normal_scores.correlation_loss(sample.z, weights).numpy())
    return np.quantile(np.log(np.concatenate(losses)), 1 - np.array(SHAPIRO_LEVELS)), replicates


def simulate_moments(size: int, doublings: int, seed: np.random.SeedSequence) -> dict[int, Floats]:
    """Replicates of K2 at `size` times 1, 2, 4 .. 2^doublings, from one stream."""
    rng = np.random.default_rng(seed)
    largest = size * 2**doublings
    most = MOMENT_MOST // MOMENT_TASKS
    wanted = MOMENT_VALUES // MOMENT_TASKS if doublings > 1 else most * size
    block = max(1, 2**18 // largest) * 2**doublings
    blocks = math.ceil(wanted / (block * size))
    kept: dict[int, list[Floats]] = {size * 2**k: [] for k in range(doublings + 1)}
    count = dict.fromkeys(kept, 0)
    for _ in range(blocks):
        x = rng.standard_normal((size, block), dtype=np.float32)
        square = x * x
        # Sums of up to 14 float32 terms; everything that adds them up is float64.
        sums = np.stack([part.sum(axis=0) for part in (x, square, square * x, square * square)], axis=1)
        sums = sums.astype(np.float64)
        n = size
        while True:
            if count[n] < most:
                kept[n].append(_k_square(sums, n))
                count[n] += len(sums)
            if n == largest:
                break
            sums = sums.reshape(-1, 2, 4).sum(axis=1)
            n *= 2
    return {n: np.concatenate(parts)[:most] for n, parts in kept.items()}


def _k_square(sums: Floats, n: int) -> Floats:
    """K2 from sums of powers, of values whose mean is near zero."""
    m1, r2, r3, r4 = (sums / n).T
    m2 = r2 - m1**2
    m3 = r3 - 3 * m1 * r2 + 2 * m1**3
    m4 = r4 - 4 * m1 * r3 + 6 * m1**2 * r2 - 3 * m1**4
    g1 = torch.from_numpy(m3 / m2**1.5)
    g2 = torch.from_numpy(m4 / m2**2 - 3)
    return np.asarray(dagostino.k_square(g1, g2, n).numpy(), dtype=np.float64)


def smooth(grid: list[int], quantiles: Floats, replicates: list[int], degree: int) -> tuple[Floats, float]:
    """Quantiles `(n, levels)` as polynomials in n^-1/2, and the largest residual against the typical one.

    The standard error of a quantile goes as one over the root of the replicates: the weights are that root.
    """
    u = np.asarray(grid, dtype=np.float64) ** -0.5
    design = np.polynomial.chebyshev.chebvander(2 * u / u.max() - 1, degree)
    weights = np.sqrt(np.asarray(replicates, dtype=np.float64))[:, None]
    fit, *_ = np.linalg.lstsq(design * weights, quantiles * weights, rcond=None)
    smoothed = design @ fit
    scaled = (quantiles - smoothed) * weights
    typical = np.sqrt((scaled**2).mean(axis=0))
    return smoothed, float(np.abs(scaled / typical).max())


def build(processes: int, seed: int = SEED) -> dict[str, Any]:
    """Simulate everything and return the content of the file."""
    started = time.monotonic()
    root = np.random.SeedSequence(seed)
    sorted_seeds, *chain_seeds, shapiro_seed = root.spawn(2 + len(MOMENT_CHAINS))
    with concurrent.futures.ProcessPoolExecutor(
        processes, initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        # Large n first: its tasks are the longest.
        by_n = {
            pool.submit(simulate_sorted, n, s): n
            for n, s in reversed(list(zip(SORTED_GRID, sorted_seeds.spawn(len(SORTED_GRID)), strict=True)))
        }
        by_chain: dict[concurrent.futures.Future[dict[int, Floats]], tuple[int, int]] = {
            pool.submit(simulate_moments, size, doublings, s): (size, i)
            for (size, doublings), chain_seed in zip(MOMENT_CHAINS, chain_seeds, strict=True)
            for i, s in enumerate(chain_seed.spawn(MOMENT_TASKS))
        }
        shapiro_tasks = [
            pool.submit(simulate_shapiro, n, s)
            for n, s in zip(SHAPIRO_GRID, shapiro_seed.spawn(len(SHAPIRO_GRID)), strict=True)
        ]
        pending: list[concurrent.futures.Future[Any]] = [*by_n, *by_chain, *shapiro_tasks]
        for done, _ in enumerate(concurrent.futures.as_completed(pending), start=1):
            sys.stderr.write(f"\r{done} of {len(pending)} tasks, {time.monotonic() - started:.0f} s")
            sys.stderr.flush()
        sys.stderr.write("\n")
        sorted_results = {n: task.result() for task, n in by_n.items()}
        k_squares: dict[int, list[Floats]] = {}
        for task, _ in sorted(by_chain.items(), key=lambda item: item[1]):
            for n, values in task.result().items():
                k_squares.setdefault(n, []).append(values)
        shapiro_constants = fit_shapiro([task.result() for task in shapiro_tasks])

    return {
        "made_by": "python -m gaussprobe.stats.build_tables",
        "seed": seed,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
        "quantiles": {
            "lilliefors": _lilliefors(sorted_results),
            "dagostino_pearson": _dagostino(k_squares),
        },
        "shapiro_wilk": shapiro_constants,
        "effects": {
            "n": list(SORTED_GRID),
            "replicates": [sorted_results[n]["replicates"] for n in SORTED_GRID],
            **{
                name: {
                    "mean": [_short(sorted_results[n][name][0]) for n in SORTED_GRID],
                    "sd": [_short(sorted_results[n][name][1]) for n in SORTED_GRID],
                }
                for name in ("delta", "negentropy", "ks_distance", "wasserstein")
            },
        },
    }


def fit_shapiro(results: list[tuple[Floats, int]]) -> dict[str, Any]:
    """Mean and ln sd of the normal law nearest the upper quantiles of ln(1 - W), as parabolas in ln n."""
    scores = -ndtri(np.array(SHAPIRO_LEVELS))
    lines = np.array([np.polynomial.polynomial.polyfit(scores, quantiles, 1) for quantiles, _ in results])
    replicates = [count for _, count in results]
    log_n, weights = np.log(SHAPIRO_GRID), np.sqrt(replicates)
    mean = np.polynomial.polynomial.polyfit(log_n, lines[:, 0], 2, w=weights)
    log_sd = np.polynomial.polynomial.polyfit(log_n, np.log(lines[:, 1]), 2, w=weights)
    return {
        "n": list(SHAPIRO_GRID),
        "replicates": replicates,
        "mean": [_short(value) for value in mean],
        "log_sd": [_short(value) for value in log_sd],
    }


def _lilliefors(results: dict[int, dict[str, Any]]) -> dict[str, Any]:
    grid = [n for n in SORTED_GRID if n <= LILLIEFORS_LARGEST]
    replicates = [int(results[n]["replicates"]) for n in grid]
    quantiles, worst = smooth(
        grid, np.array([results[n]["quantiles"] for n in grid]), replicates, LILLIEFORS_DEGREE
    )
    sys.stderr.write(f"lilliefors: largest residual {worst:.1f} typical ones\n")
    return _table(grid, quantiles, replicates)


def _dagostino(k_squares: dict[int, list[Floats]]) -> dict[str, Any]:
    grid = sorted(k_squares)
    values = {n: np.concatenate(k_squares[n]) for n in grid}
    replicates = [len(values[n]) for n in grid]
    limit = chdtri(2, np.array(LEVELS))
    # Relative to the limit the curves are flat enough for a polynomial.
    relative = np.log(np.array([np.quantile(values[n], 1 - np.array(LEVELS)) for n in grid]) / limit)
    smoothed, worst = smooth(grid, relative, replicates, DAGOSTINO_DEGREE)
    sys.stderr.write(f"dagostino_pearson: largest residual {worst:.1f} typical ones\n")
    return _table(grid, np.exp(smoothed) * limit, replicates)


def _table(grid: list[int], quantiles: Floats, replicates: list[int]) -> dict[str, Any]:
    if not (np.diff(quantiles, axis=1) > 0).all():
        raise ArithmeticError("quantiles must rise as the level falls: too few replicates for these levels")
    return {
        "levels": list(LEVELS),
        "n": grid,
        "replicates": replicates,
        "scaled": [[_short(value) for value in row] for row in quantiles],
    }


def _short(value: float) -> float:
    """Six digits: more than the simulation knows."""
    return float(f"{value:.6g}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    content = build(arguments.processes, arguments.seed)
    temporary = arguments.out.with_suffix(".new")
    temporary.write_text(_readable(content), encoding="utf-8")
    temporary.replace(arguments.out)


def _readable(content: dict[str, Any]) -> str:
    """JSON with one list of numbers to a line."""
    text = json.dumps(content, indent=1)
    inside = False
    lines: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if inside and lines:
            lines[-1] += stripped if stripped.startswith("]") else f" {stripped}"
        else:
            lines.append(line)
        opens = stripped.endswith("[")
        if opens:
            inside = True
        elif stripped.startswith("]"):
            inside = False
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

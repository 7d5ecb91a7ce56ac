"""Constants of `gaussprobe.stats.simple_null`: `python -m tests.calibration.simple_null`.

Simulates A2, W2 and U2 of uniform samples, fits what the expansions leave over, and prints the constants with
the relative errors of the resulting p-values at the simulated n.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from gaussprobe.stats import simple_null as null
from gaussprobe.stats import simulation

Floats = npt.NDArray[np.float64]

SEED = 1
REPLICATES = {
    8: 200_000_000,
    10: 100_000_000,
    12: 100_000_000,
    16: 60_000_000,
    20: 60_000_000,
    30: 30_000_000,
    50: 20_000_000,
}
TASK = 10_000_000  # replicates of one task
BLOCK = 2**19  # uniform values drawn at once
WIDTH = {"anderson_darling": 5e-4, "cramer_von_mises": 1e-4, "watson": 2.5e-5}  # of a histogram's bins
BINS = 60_000
LEVELS = np.exp(-np.concatenate([np.linspace(0.02, 1, 12), np.linspace(1.2, 16.5, 60)]))
FEWEST = 150  # samples beyond a level, for it to be fitted
FLOOR = {"anderson_darling": 3e-5, "cramer_von_mises": 1e-3, "watson": 1e-3}  # relative error not fought over
SHOWN = (0.98, 0.9, 0.5, 0.2, 0.05, 0.02, 0.01, 1e-3, 1e-4, 1e-5, 1e-6)


def statistics(u: Floats) -> dict[str, Floats]:
    """The three statistics of the rows of `u`, each ascending; formulas as the definitions have them."""
    n = u.shape[1]
    odd = 2 * np.arange(1, n + 1) - 1
    a2 = -n - np.log(u) @ (odd / n) - np.log1p(-u) @ (odd[::-1] / n)
    w2 = 1 / (12 * n) + ((u - odd / (2 * n)) ** 2).sum(axis=1)
    return {"anderson_darling": a2, "cramer_von_mises": w2, "watson": w2 - n * (u.mean(axis=1) - 0.5) ** 2}


def simulate(n: int, replicates: int, seed: np.random.SeedSequence) -> dict[str, npt.NDArray[np.int64]]:
    """Histogram of each statistic; the last bin takes all that lies beyond."""
    rng = np.random.default_rng(seed)
    counts = {name: np.zeros(BINS, dtype=np.int64) for name in WIDTH}
    block = BLOCK // n
    for start in range(0, replicates, block):
        u = rng.random((min(block, replicates - start), n))
        u.sort(axis=1)
        for name, value in statistics(u).items():
            bins = np.minimum((value / WIDTH[name]).astype(np.int64), BINS - 1)
            counts[name] += np.bincount(bins, minlength=BINS)
    return counts


def simulate_all(processes: int) -> dict[int, dict[str, npt.NDArray[np.int64]]]:
    """Histograms by n."""
    found: dict[int, dict[str, npt.NDArray[np.int64]]] = {}
    with simulation.pool(processes) as pool:
        tasks = {}
        for n, replicates in REPLICATES.items():
            for seed in np.random.SeedSequence([SEED, n]).spawn(replicates // TASK):
                tasks[pool.submit(simulate, n, TASK, seed)] = n
        for task in simulation.finished(tasks):
            counts = found.setdefault(tasks[task], {name: np.zeros(BINS, dtype=np.int64) for name in WIDTH})
            for name, value in task.result().items():
                counts[name] += value
    return dict(sorted(found.items()))


def tail(counts: npt.NDArray[np.int64], name: str) -> tuple[Floats, Floats, Floats]:
    """Statistic, share of samples at or beyond it, and its relative standard error, near each of LEVELS."""
    total = counts.sum()
    share = np.cumsum(counts[::-1])[::-1] / total
    bins = np.array([np.argmax(share <= level) for level in LEVELS])
    bins = bins[share[bins] * total >= FEWEST]
    p = share[bins]
    return bins * WIDTH[name], p, np.sqrt((1 - p) / (p * total))


def fit(
    name: str, found: dict[int, dict[str, npt.NDArray[np.int64]]], terms: Callable[[Floats, int], Floats]
) -> tuple[float, ...]:
    """Least squares of `ln(p simulated) - ln(p without the fitted terms)` on `terms` of x and n."""
    rows, left = [], []
    for n, counts in found.items():
        x, p, error = tail(counts[name], name)
        keep = np.abs(terms(x, n)).sum(axis=1) > 0
        x, p, error = x[keep], p[keep], np.hypot(error[keep], FLOOR[name])
        without = null._LAWS[name](x, n)  # type: ignore[index]
        rows.append(terms(x, n) / error[:, None])
        left.append((np.log(p) - np.log(without)) / error)
    solution, *_ = np.linalg.lstsq(np.concatenate(rows), np.concatenate(left), rcond=None)
    return tuple(float(f"{value:.6g}") for value in solution)


def anderson_terms(x: Floats, n: int) -> Floats:
    """Powers 1 .. 5 of sqrt(-ln p) over n, p the limit."""
    log_p, _ = null._limit(null._ANDERSON_LIMIT, x)
    return np.stack([np.sqrt(-log_p) ** k / n for k in range(1, 6)], axis=1)


def joined_terms(join: float) -> Callable[[Floats, int], Floats]:
    """Powers of x - join: 1 .. 3 over n^2, 2 .. 4 over n^3; 0 below the join."""

    def terms(x: Floats, n: int) -> Floats:
        t = np.maximum(x - join, 0.0)
        parts = [t**k / n**2 for k in (1, 2, 3)] + [t**k / n**3 for k in (2, 3, 4)]
        return np.stack(parts, axis=1)

    return terms


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    found = simulate_all(parser.parse_args().processes)
    fits = (
        ("_ANDERSON", "anderson_darling", anderson_terms),
        ("_CRAMER", "cramer_von_mises", joined_terms(null._CRAMER_JOIN)),
        ("_WATSON", "watson", joined_terms(null._WATSON_JOIN)),
    )
    for constant, name, terms in fits:
        # Without the constants there are now; p-values look them up when called.
        setattr(null, constant, (0.0,) * len(getattr(null, constant)))
        solution = fit(name, found, terms)
        setattr(null, constant, solution)
        print(f"{constant} = {solution}")
        for n, counts in found.items():
            x, p, error = tail(counts[name], name)
            ours = null._LAWS[name](x, n)  # type: ignore[index]
            at = [int(np.argmin(np.abs(np.log(p / level)))) for level in SHOWN]
            shown = [
                f"{p[i]:.2g}: {ours[i] / p[i] - 1:+.4f} ({error[i]:.4f})"
                for i, level in zip(at, SHOWN, strict=True)
                if abs(math.log(p[i] / level)) < 0.3
            ]
            print(f"  n = {n}, p: error (standard error): " + ", ".join(shown))


if __name__ == "__main__":
    main()

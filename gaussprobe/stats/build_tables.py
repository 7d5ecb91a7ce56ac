"""Make `data/null.json`: `python -m gaussprobe.stats.build_tables` (about 25 minutes on two free cores).

Simulates normal samples and keeps, at each n, quantiles of every test's statistic and the mean and sd of the
effect sizes; then describes the quantiles at each level, and the far tail of all levels at once, as functions
of n (`tables.basis`), which averages the simulation's noise out. The result depends on the seed and on the
versions recorded in the file, not on the number of processes: each task draws from its own stream. With
`--keep DIR` finished tasks are kept there, and a run that was cut off goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import scipy
import torch

from gaussprobe.stats import (
    dagostino,
    effects,
    entropy,
    epps,
    fit_tables,
    kolmogorov,
    ordered,
    simulation,
    tables,
    workers,
)
from gaussprobe.stats.battery import TESTS

Floats: TypeAlias = "npt.NDArray[np.float64]"
Shorts: TypeAlias = "npt.NDArray[np.float32]"
# Upper quantiles at LEVELS and the count of replicates, by name; mean, sd and count of effect sizes.
Quantiles: TypeAlias = "dict[str, tuple[Floats, int]]"

SEED = 20_240_607
TARGET = Path(__file__).parent / "data" / "null.json"

# Where one sort serves every statistic. Vasicek's window widens at m (m - 1) + 1, those of the negentropy at
# every cube: both sides of most, as long as the steps show.
GRID = (
    *(8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 21, 23, 26, 27, 30, 31, 36, 42, 43, 49, 56, 57, 63, 64, 72),
    *(73, 81, 90, 91, 100, 110, 111, 124, 125, 140, 156, 157, 182, 183, 215, 216, 256, 306, 307, 342, 343),
    *(420, 421, 511, 512, 610, 728, 729, 850, 999, 1_000, 1_190, 1_330, 1_331, 1_560, 1_727, 1_728, 2_196),
    *(2_197, 2_743, 2_744, 3_374, 3_375, 4_095, 4_096, 5_000, 7_000, 10_000, 20_000, 50_000, 100_000),
    *(300_000, 1_000_000),
)
# Values drawn at each n up to the one given, for quantiles and, of the same samples, for effect sizes ..
VALUES = ((5_000, 400_000_000, 250_000_000), (1_000_000, 800_000_000, 500_000_000))
# .. in at most so many samples.
MOST, MOST_EFFECTS = 8_000_000, 2_000_000
# The characteristic function costs most, and its quantiles vary least with n.
MOST_EPPS_PULLEY = 600_000
# Beyond this n only what still changes is simulated.
SETTLED = 20_000
DRIFTING = ("shapiro_wilk", "shapiro_francia", "vasicek")

SIMPLE_GRID = GRID[::2]
VALUES_SIMPLE, MOST_SIMPLE = 300_000_000, 1_500_000

# Moments need no sort, and converge slowly: sums of powers of one stream, for samples of each of these sizes,
# of twice these sizes, of four times .. (size, doublings)
CHAINS = ((10, 14), (14, 13))
VALUES_CHAIN, MOST_CHAIN = 10_000_000_000, 4_000_000
CHAIN_TASKS = 20

_TESTS: tuple[tables.Tested, ...] = tuple(name for name in get_args(tables.Tested) if name in TESTS)
EFFECTS: dict[tables.Effect, ordered.RowFunction] = {
    "delta": effects.raw_delta,
    "negentropy": entropy.raw,
    "ks_distance": kolmogorov.statistic,
    "wasserstein": effects.wasserstein_of,
}


def generator(*key: int) -> np.random.Generator:
    """The fastest source of float32 normal values, its stream set by `key`."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(key)))


def simulate_sorted(n: int, seed: int = SEED) -> dict[str, Any]:
    """Quantiles of every test, `q:name`, with replicates `r:name`, and effect sizes, `e:name`, at `n`.

    Quantiles are of `tables.monotone` of the statistic, effect sizes are given as mean, sd and replicates.
    """
    values, effect_values = next(pair for largest, *pair in VALUES if n <= largest)
    replicates = min(MOST, values // n)
    tests = [name for name in _TESTS if n <= SETTLED or name in DRIFTING]
    limits = {
        name: min(replicates, MOST_EPPS_PULLEY) if name == "epps_pulley" else replicates for name in tests
    }
    few = min(MOST_EFFECTS, effect_values // n)
    rng = generator(seed, 1, n)
    block = max(1, 2**17 // n)

    def draw(start: int) -> dict[str, Shorts]:
        rows = rng.standard_normal((min(block, replicates - start), n), dtype=np.float32)
        sample = ordered.order_piece(torch.from_numpy(rows).t())
        found = {
            f"q:{name}": tables.monotone(name, TESTS[name].statistic(sample))
            for name in tests
            if start < limits[name]
        }
        if start < few:
            found.update({f"e:{name}": function(sample) for name, function in EFFECTS.items()})
        return {key: value.numpy().astype(np.float32) for key, value in found.items()}

    parts = workers.each(draw, range(0, replicates, block))
    result: dict[str, Any] = {}
    for key in parts[0]:
        found = np.concatenate([part[key] for part in parts if key in part])
        if key.startswith("q:"):
            result[key], result["r" + key[1:]] = fit_tables.upper_quantiles(found), len(found)
        else:
            result[key] = np.array(
                [found.mean(dtype=np.float64), found.std(ddof=1, dtype=np.float64), len(found)]
            )
    return result


def simulate_simple(n: int, seed: int = SEED) -> dict[str, Any]:
    """Quantiles of the Epps-Pulley statistic of values as they stand, mean 0 and sd 1 known, at `n`."""
    replicates = min(MOST_SIMPLE, VALUES_SIMPLE // n)
    rng = generator(seed, 2, n)
    block = max(1, 2**17 // n)

    def draw(start: int) -> Shorts:
        rows = rng.standard_normal((min(block, replicates - start), n), dtype=np.float32)
        rows.sort(axis=1)
        found: Shorts = epps.of_rows(torch.from_numpy(rows)).numpy().astype(np.float32)
        return found

    found = np.concatenate(workers.each(draw, range(0, replicates, block)))
    return {"q:epps_pulley_simple": fit_tables.upper_quantiles(found), "r:epps_pulley_simple": len(found)}


def simulate_chain(size: int, doublings: int, task: int, seed: int = SEED) -> dict[str, Any]:
    """JB and K2, `(2, replicates)` float32, at `size` times 1, 2, 4 .. 2^doublings, from one stream."""
    rng = generator(seed, 3, size, task)
    largest = size * 2**doublings
    most = MOST_CHAIN // CHAIN_TASKS
    block = max(1, 2**18 // largest) * 2**doublings
    kept: dict[int, list[Shorts]] = {size * 2**k: [] for k in range(doublings + 1)}
    count = dict.fromkeys(kept, 0)
    for _ in range(math.ceil(VALUES_CHAIN // CHAIN_TASKS / (block * size))):
        x = rng.standard_normal((size, block), dtype=np.float32)
        square = x * x
        # Sums of up to 14 float32 terms; everything that adds them up is float64.
        parts = [part.sum(axis=0) for part in (x, square, square * x, square * square)]
        sums = np.stack(parts, axis=1).astype(np.float64)
        n = size
        while True:
            if count[n] < most:
                kept[n].append(_moment_tests(sums, n))
                count[n] += len(sums)
            if n == largest:
                break
            sums = sums.reshape(-1, 2, 4).sum(axis=1)
            n *= 2
    return {str(n): np.concatenate(parts, axis=1)[:, :most] for n, parts in kept.items()}


def _moment_tests(sums: Floats, n: int) -> Shorts:
    """JB and K2 from sums of powers of values whose mean is near zero, `(2, replicates)`."""
    m1, r2, r3, r4 = (sums / n).T
    m2 = r2 - m1**2
    m3 = r3 - 3 * m1 * r2 + 2 * m1**3
    m4 = r4 - 4 * m1 * r3 + 6 * m1**2 * r2 - 3 * m1**4
    g1, g2 = torch.from_numpy(m3 / m2**1.5), torch.from_numpy(m4 / m2**2 - 3)
    both = torch.stack([n / 6 * (g1**2 + g2**2 / 4), dagostino.k_square(g1, g2, n)])
    return both.to(torch.float32).numpy()


def tasks() -> list[tuple[str, Callable[..., dict[str, Any]], tuple[int, ...]]]:
    """Name, function and arguments of everything to simulate, the longest first."""
    jobs: list[tuple[str, Callable[..., dict[str, Any]], tuple[int, ...]]] = [
        (f"sorted_{n}", simulate_sorted, (n,)) for n in reversed(GRID)
    ]
    jobs += [
        (f"chain_{size}_{k}_{i}", simulate_chain, (size, k, i))
        for i in range(CHAIN_TASKS)
        for size, k in CHAINS
    ]
    jobs += [(f"simple_{n}", simulate_simple, (n,)) for n in reversed(SIMPLE_GRID)]
    return jobs


def gather(results: dict[str, dict[str, Any]]) -> dict[tables.Tested, list[tuple[int, int, Floats]]]:
    """N, replicates and quantiles of each test, from the results of all tasks."""
    found: dict[tables.Tested, list[tuple[int, int, Floats]]] = {name: [] for name in get_args(tables.Tested)}
    chains: dict[int, list[Shorts]] = {}
    for task, result in results.items():
        kind, size, *_ = task.split("_")
        if kind == "chain":
            for each, both in result.items():
                chains.setdefault(int(each), []).append(both)
            continue
        for name, points in found.items():
            if f"q:{name}" in result:
                points.append((int(size), int(result[f"r:{name}"]), result[f"q:{name}"]))
    for n, parts in sorted(chains.items()):
        jb, k2 = np.concatenate(parts, axis=1)
        found["jarque_bera"].append((n, len(jb), fit_tables.upper_quantiles(jb)))
        found["dagostino_pearson"].append((n, len(k2), fit_tables.upper_quantiles(k2)))
    return found


def simulate(processes: int, keep: Path | None) -> dict[str, dict[str, Any]]:
    """Results of all tasks by name; those found in `keep` are read, the others go there."""
    jobs = tasks()
    results: dict[str, dict[str, Any]] = {}
    for name, *_ in jobs:
        if keep is not None and (keep / f"{name}.npz").exists():
            results[name] = dict(np.load(keep / f"{name}.npz"))
    with simulation.pool(processes) as pool:
        pending = {
            pool.submit(function, *arguments): name
            for name, function, arguments in jobs
            if name not in results
        }
        for future in simulation.finished(pending):
            name = pending[future]
            results[name] = future.result()
            if keep is not None:
                np.savez(keep / "unfinished.npz", **results[name])
                (keep / "unfinished.npz").replace(keep / f"{name}.npz")
    return {name: results[name] for name, *_ in jobs}


def build(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The content of the file."""
    tests = {}
    for name, simulated in gather(results).items():
        simulated.sort(key=lambda point: point[0])
        table = fit_tables.fit(name, fit_tables.points_of(name, simulated))
        tests[name] = {
            "n": [n for n, *_ in simulated],
            "replicates": [count for _, count, _ in simulated],
            **{key: _short(value) for key, value in table.items()},
        }
    sizes = {n: results[f"sorted_{n}"] for n in GRID}
    return {
        "made_by": "python -m gaussprobe.stats.build_tables",
        "seed": SEED,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "torch": torch.__version__,
        },
        "tests": tests,
        "effects": {
            "n": list(GRID),
            "replicates": [int(sizes[n]["e:delta"][2]) for n in GRID],
            **{
                name: {
                    moment: [_short(sizes[n][f"e:{name}"][i]) for n in GRID]
                    for i, moment in enumerate(("mean", "sd"))
                }
                for name in get_args(tables.Effect)
            },
        },
    }


def _short(value: Any) -> Any:
    """Seven digits: more than the simulation knows."""
    if isinstance(value, np.ndarray):
        return [_short(item) for item in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    content = build(simulate(arguments.processes, arguments.keep))
    temporary = arguments.out.with_suffix(".new")
    temporary.write_text(_readable(content), encoding="utf-8")
    temporary.replace(arguments.out)
    fit_tables.check()


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

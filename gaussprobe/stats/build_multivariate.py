"""Make `data/multivariate.json`: `python -m gaussprobe.stats.build_multivariate` (20 minutes on one core).

Two tables. Of Mardia's and Henze and Zirkler's statistics: frames of normal samples are simulated at each
number d of features and k = n - 1 - d of spare dimensions; kept is what the quantiles differ from those of
their reference laws, smoothed over d and k. For `sliced`: how the evidence of two slices is correlated. Each
cell draws from its own stream, so that the result does not depend on the number of processes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy
import torch
from scipy.optimize import brentq, nnls
from scipy.special import gammainccinv
from scipy.stats import rankdata

from gaussprobe.stats import multivariate_null as null
from gaussprobe.stats import simulation, slices_null
from gaussprobe.stats.battery import TESTS
from gaussprobe.stats.ordered import order_piece
from gaussprobe.stats.sliced import SIMPLE, directions
from gaussprobe.stats.workers import one_thread

Floats: TypeAlias = "npt.NDArray[np.float64]"

SEED = 20_240_611
TARGET = Path(__file__).parent / "data" / "multivariate.json"

D_GRID = (1, 2, 3, 5, 8, 13, 20, 32, 50)
K_GRID = (4, 6, 10, 18, 32, 64, 128, 256, 512)

UPPER = (0.99, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.002, 0.001)
BOTH = (0.999, 0.998, 0.995, 0.99, 0.975, 0.95, 0.9, 0.75, *UPPER[3:])
LEVELS: dict[null.Statistic, tuple[float, ...]] = {
    "mardia_skewness": UPPER,
    "mardia_kurtosis": BOTH,
    "henze_zirkler": UPPER,
}

MOST = 100_000  # samples in a cell ..
PAIRS = 3_000_000_000  # .. of at most so many pairs of points in all
BLOCK = 2**18  # pairs at once

# Smoothing over ln d and ln k: polynomials of this total degree; the differences of HZ from its reference law
# turn too sharply where n is small for d, and are kept as simulated.
DEGREE: dict[null.Statistic, int | None] = {
    "mardia_skewness": 5,
    "mardia_kurtosis": 5,
    "henze_zirkler": None,
}

# Slices: so many random directions in so many dimensions, each turned by so many degrees.
SPREAD, SPAN = 16, 8
TURNS = (0, 5, 10, 15, 20, 25, 30, 35, 40, 45)
BIN = 2.5  # degrees
# Projections simulated at each n; the correlations change little beyond.
SLICED_VALUES = {10: 60_000_000, 20: 60_000_000, 50: 200_000_000, 200: 400_000_000}
# Of the polynomials in rho that make up the correlation of evidence. Under the composite null the sample's
# mean and variance say nothing, and no part is of degree 2.
DEGREES: dict[slices_null.Null, tuple[int, ...]] = {
    "composite": (4, 6, 8, 10, 12, 16, 24, 40, 80, 160, 400),
    "simple": (2, 4, 6, 8, 12, 24, 80, 400),
}
SMALL_IS_EXTREME = ("shapiro_wilk", "shapiro_francia", "vasicek")

# Where the exponent q is fitted: directions in so many dimensions.
FIT_D, FIT_K, FIT_N, FIT_REPLICATES = 5, 64, 50, 40_000
FIT_LEVEL = 0.025


@one_thread()
def simulate(n: int, d: int, replicates: int, seed: np.random.SeedSequence) -> dict[null.Statistic, Floats]:
    """Replicates of Mardia's two statistics and of HZ - 1 for normal samples."""
    rng = np.random.default_rng(seed)
    b2 = null.smoothing(n, d) ** 2
    block = max(1, BLOCK // (n * max(n, d)))
    kept: dict[null.Statistic, list[torch.Tensor]] = {name: [] for name in null.STATISTICS}
    for start in range(0, replicates, block):
        size = min(block, replicates - start)
        x = torch.from_numpy(rng.standard_normal((size, d, n), dtype=np.float32)).double()
        x -= x.mean(dim=2, keepdim=True)
        root = torch.linalg.cholesky(x @ x.mT)
        y = torch.linalg.solve_triangular(root, x, upper=False).mul_(math.sqrt(n))
        length = y.square().sum(dim=1)
        kept["mardia_kurtosis"].append(length.square().mean(dim=1))
        # Single precision from here on: the sums are needed to 1e-4 of their scatter.
        product = y.mT.float() @ y.float()
        cube = (product * product).mul_(product).sum(dim=(1, 2))
        kept["mardia_skewness"].append(cube.double() / n**2)
        half = (-b2 / 2 * length).float()
        product.mul_(b2).add_(half[:, :, None]).add_(half[:, None, :]).exp_()
        torch.diagonal(product, dim1=1, dim2=2).zero_()
        far = product.sum(dim=(1, 2)).double() / n
        central = torch.exp(-b2 / (2 * (1 + b2)) * length).sum(dim=1)
        constant = n * (1 + 2 * b2) ** (-d / 2)
        kept["henze_zirkler"].append(far - 2 * (1 + b2) ** (-d / 2) * central + constant)
    return {name: torch.cat(parts).numpy() for name, parts in kept.items()}


def cell(d: int, k: int, seed: np.random.SeedSequence) -> tuple[int, dict[null.Statistic, Floats]]:
    """Replicates, and standardised quantiles of each statistic."""
    n = d + k + 1
    replicates = int(min(MOST, PAIRS // (n * n)))
    found = {}
    for name, values in simulate(n, d, replicates, seed).items():
        law = null.moments(name, n, d)
        found[name] = np.quantile((values - law.mean) / law.sd, 1 - np.array(LEVELS[name]))
    return replicates, found


def smooth(excess: Floats, replicates: Floats, degree: int | None) -> Floats:
    """`excess` `(d, k, numbers)` as polynomials in ln d and ln k; the weights are the replicates."""
    if degree is None:
        return excess
    axes = []
    for grid in (D_GRID, K_GRID):
        x = np.log(np.asarray(grid, dtype=np.float64))
        axes.append(2 * (x - x[0]) / (x[-1] - x[0]) - 1)
    u, v = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    side = degree + 1
    terms = np.polynomial.chebyshev.chebvander2d(u, v, [degree, degree]).reshape(len(u), side, side)
    design = np.stack([terms[:, i, j] for i in range(side) for j in range(side - i)], axis=1)
    weights = np.sqrt(replicates.ravel())[:, None]
    flat = excess.reshape(len(u), -1)
    fit, *_ = np.linalg.lstsq(design * weights, flat * weights, rcond=None)
    return np.asarray((design @ fit).reshape(excess.shape), dtype=np.float64)


def statistics(columns: torch.Tensor, names: list[str], kind: slices_null.Null) -> dict[str, Floats]:
    """Each test's statistic of the columns, large where it speaks against normality."""
    n, units = columns.shape
    memory = torch.empty((units, n), dtype=torch.float64)
    sample = order_piece(columns, out=memory, null=kind)
    found = {}
    for name in names:
        value = TESTS[name].statistic(sample).numpy()
        found[name] = -value if name in SMALL_IS_EXTREME else value
    return found


def evidence(values: Floats) -> Floats:
    """`-2 ln p` minus its mean, p from the ranks among all."""
    ranks = rankdata(-values, axis=None).reshape(values.shape)
    return np.asarray(-2 * np.log(ranks / (values.size + 1)) - 2, dtype=np.float64)


def fan() -> torch.Tensor:
    """`(SPAN, SPREAD x turns)` directions with pairs at every angle."""
    ways = directions(SPAN, 2 * SPREAD, seed=0)
    base, other = ways[:, :SPREAD], ways[:, SPREAD:]
    other = other - base * (base * other).sum(dim=0)
    other = other / torch.linalg.vector_norm(other, dim=0)
    turned = [math.cos(a) * base + math.sin(a) * other for a in np.deg2rad(TURNS)]
    return torch.cat(turned, dim=1)


def weights(n: int, kind: slices_null.Null, seed: np.random.SeedSequence) -> dict[str, list[float]]:
    """Weights of the polynomials in each test's correlation of evidence."""
    rng = np.random.default_rng(seed)
    vectors = fan()
    k = vectors.shape[1]
    names = list(SIMPLE if kind == "simple" else TESTS)
    parts: dict[str, list[Floats]] = {name: [] for name in names}
    block = max(1, BLOCK // (n * k))
    for _ in range(math.ceil(SLICED_VALUES[n] / (n * k * block))):
        x = torch.from_numpy(rng.standard_normal((block, n, SPAN)))
        if kind == "composite":
            # What the evidence depends on given the correlation that the samples have, which is then exact.
            x = torch.linalg.qr(x - x.mean(dim=1, keepdim=True))[0]
        columns = (x @ vectors).transpose(0, 1).reshape(n, -1)
        for name, value in statistics(columns, names, kind).items():
            parts[name].append(value.reshape(-1, k))
    one, two = np.triu_indices(k, 1)
    rho = (vectors.T @ vectors)[one, two].abs().clamp(max=1.0)
    bins = (torch.rad2deg(torch.arccos(rho)) / BIN).long().numpy()
    count = np.bincount(bins)
    filled = count > 0

    def binned(values: Floats) -> Floats:
        return np.asarray(np.bincount(bins, weights=values)[filled] / count[filled], dtype=np.float64)

    ambient = n - 1 if kind == "composite" else None
    basis = np.stack(
        [binned(p.numpy()) for p in slices_null.polynomials(rho, DEGREES[kind], ambient)], axis=1
    )
    scale = np.sqrt(count[filled])[:, None]
    # A last row, heavy, makes the weights add up to 1.
    heavy = 1e3 * scale.max()
    design = np.vstack([basis * scale, np.full(basis.shape[1], heavy)])
    result = {}
    for name, pieces in parts.items():
        e = evidence(np.concatenate(pieces))
        h = (e.T @ e)[one, two] / (e * e).mean() / len(e)
        found, _ = nnls(design, np.append(binned(h) * scale[:, 0], heavy))
        result[name] = [round(float(w), 5) for w in found / found.sum()]
    return result


def _gamma_score(skewness: float) -> float:
    """The `FIT_LEVEL` quantile of a standardised gamma law."""
    shape = 4 / skewness**2
    return float((gammainccinv(shape, FIT_LEVEL) - shape) / math.sqrt(shape))


def exponents(
    table: dict[str, list[list[float]]], kind: slices_null.Null, seed: np.random.SeedSequence
) -> dict[str, float]:
    """q of each test: the matrix `h^q` gives the skewness that puts the gamma law's .025 quantile right.

    The law of the mean evidence has a somewhat different shape: matching its skewness would put the .05
    quantile too far out.
    """
    rng = np.random.default_rng(seed)
    names = list(table)
    parts: dict[str, list[Floats]] = {name: [] for name in names}
    vectors = directions(FIT_D, FIT_K, seed=0)
    block = max(1, BLOCK // (FIT_N * FIT_K))
    for _ in range(math.ceil(FIT_REPLICATES / block)):
        x = torch.from_numpy(rng.standard_normal((block, FIT_N, FIT_D)))
        if kind == "composite":
            x = torch.linalg.qr(x - x.mean(dim=1, keepdim=True))[0]
        columns = (x @ vectors).transpose(0, 1).reshape(FIT_N, -1)
        for name, value in statistics(columns, names, kind).items():
            parts[name].append(value.reshape(-1, FIT_K))
    rho = vectors.T @ vectors
    result = {}
    for name, pieces in parts.items():
        near = slices_null.Law(
            degrees=DEGREES[kind],
            weights=tuple(table[name][list(SLICED_VALUES).index(FIT_N)]),
            exponent=math.nan,
            ambient=FIT_N - 1 if kind == "composite" else None,
        )
        h = slices_null.correlation_of_evidence(rho, near)

        mean = evidence(np.concatenate(pieces)).mean(axis=1)
        score = float(np.quantile(mean, 1 - FIT_LEVEL)) / (2 * math.sqrt(float(h.mean())))
        wanted = brentq(lambda g, score=score: _gamma_score(g) - score, 1e-3, 2.0)

        def surplus(q: float, h: torch.Tensor = h, wanted: float = wanted) -> float:
            root = h.clamp(min=0) ** q
            cubes = float((root @ root * root).sum())
            return float(2 * cubes / float(h.sum()) ** 1.5 - wanted)

        result[name] = round(float(brentq(surplus, 0.3, 0.9, xtol=1e-4)), 3)
    return result


def build(processes: int, seed: int = SEED) -> dict[str, Any]:
    """Simulate everything and return the content of the file."""
    for_cells, for_weights, for_exponents = np.random.SeedSequence(seed).spawn(3)
    places = [(d, k) for d in D_GRID for k in K_GRID]
    kinds: tuple[slices_null.Null, ...] = ("composite", "simple")
    circles = [(n, kind) for kind in kinds for n in SLICED_VALUES]
    with simulation.pool(processes) as pool:
        # The largest first: they take the longest.
        cells = {
            place: pool.submit(cell, *place, s)
            for place, s in sorted(
                zip(places, for_cells.spawn(len(places)), strict=True), key=lambda item: -sum(item[0])
            )
        }
        found = {
            circle: pool.submit(weights, *circle, s)
            for circle, s in zip(circles, for_weights.spawn(len(circles)), strict=True)
        }
        simulation.wait(cells.values(), found.values())
    by_place = {place: task.result() for place, task in cells.items()}
    by_circle = {circle: task.result() for circle, task in found.items()}
    return {
        "made_by": "python -m gaussprobe.stats.build_multivariate",
        "seed": seed,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "torch": torch.__version__.partition("+")[0],
        },
        "null": null_table(by_place),
        "slices": {
            kind: slices_table(kind, {n: by_circle[n, kind] for n in SLICED_VALUES}, s)
            for kind, s in zip(kinds, for_exponents.spawn(len(kinds)), strict=True)
        },
    }


def null_table(found: dict[tuple[int, int], tuple[int, dict[null.Statistic, Floats]]]) -> dict[str, Any]:
    """Excess of the quantiles' description over the reference law's."""
    replicates = np.array([[found[d, k][0] for k in K_GRID] for d in D_GRID])
    result: dict[str, Any] = {"d": list(D_GRID), "k": list(K_GRID), "replicates": replicates.tolist()}
    for name in null.STATISTICS:
        levels = np.array(LEVELS[name])
        excess = np.array(
            [
                [
                    null.describe(found[d, k][1][name], levels)
                    - null.describe(null.reference(name, d + k + 1, d, levels), levels)
                    for k in K_GRID
                ]
                for d in D_GRID
            ]
        )
        smoothed = smooth(excess, replicates, DEGREE[name])
        result[name] = {"levels": list(LEVELS[name]), "excess": smoothed.round(4).tolist()}
    return result


def slices_table(
    kind: slices_null.Null, found: dict[int, dict[str, list[float]]], seed: np.random.SeedSequence
) -> dict[str, Any]:
    """Weights and exponents of one null hypothesis."""
    table = {name: [found[n][name] for n in SLICED_VALUES] for name in found[next(iter(SLICED_VALUES))]}
    q = exponents(table, kind, seed)
    tests = {name: {"exponent": q[name], "weights": table[name]} for name in table}
    return {"n": list(SLICED_VALUES), "degrees": list(DEGREES[kind]), "tests": tests}


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
    # Innermost lists on a line of their own.
    innermost = re.compile(r"\[\s+([^\[\]]*?)\s+\]")
    text = innermost.sub(lambda m: f"[{' '.join(m[1].split())}]", json.dumps(content, indent=1))
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(arguments.out)


if __name__ == "__main__":
    main()

"""Pre-activations at initialization: what Wolinski & Arbel (2025) draw, done again, and what they leave out.

    python -m docs.examples.preactivations --page docs/preactivations.md

draws networks, some minutes on two cores, and writes the page with its figures beside it. `--quick` takes
one draw in twenty: to see that it runs.

1. How far the law of `W phi(X)` is from normal, by quadrature, for phi_theta.
2. Two layers after a scalar input: the Kolmogorov-Smirnov statistic against the width.
3. Depth: the same by layer, against N(0, 1) and against the fitted normal law.
4. Where finite networks forget how two inputs are correlated, beside the edge of chaos of infinite ones.

Reference: Wolinski & Arbel (2025), Gaussian Pre-Activations in Neural Networks: Myth or Reality?, TMLR,
arXiv:2205.12379.
"""

from __future__ import annotations

import argparse
import math
import resource
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

import gaussprobe as gp
from gaussprobe.errors import GaussprobeWarning
from gaussprobe.phases import FinitePhase
from gaussprobe.propagated import Propagation

THETAS = (2.05, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)
KINDS = ("odd", "positive")
WIDTHS = tuple(range(1, 11))
SHAPES: Mapping[str, Callable[[int], tuple[int, ...]]] = {
    "[1, n, 1]": lambda n: (1, n, 1),
    "[n, 2, 1]": lambda n: (n, 2, 1),
    "[n, n, 1]": lambda n: (n, n, 1),
}
DRAWS, DEEP_DRAWS = 200_000, 10_000
DEPTH, DEEP_WIDTHS = 100, (1, 2, 10)
FINITE_WIDTHS, FINITE_CORRELATION = (3, 10, 100), 0.99
LEVEL_SEEDS, LEVEL_DRAWS, LEVEL_LAYERS = 400, 1_000, (2, 10, 50, 100)
SEED = 0
Law: TypeAlias = "Mapping[str, Any]"

# Weights and biases of each activation: on the edge of chaos, and as the construction of phi asks.
LAWS: Mapping[str, Law] = {
    "relu": {"sigma_w": math.sqrt(2)},
    "tanh": {"sigma_w": math.sqrt(1.46), "sigma_b": math.sqrt(0.013)},
    "phi:3": {"sigma_w": 1.0, "weight": ("weibull", 3.0)},
    "phi:5": {"sigma_w": 1.0, "weight": ("weibull", 5.0)},
    "phi+:3": {"sigma_w": 1.0, "weight": ("weibull", 3.0)},
    "phi+:5": {"sigma_w": 1.0, "weight": ("weibull", 5.0)},
}
TWO_LAYERS = ("relu", "tanh", "phi:3", "phi+:3")
# The two values known without simulation: P(z = 0) = 1/2 in the first, and the law of z is symmetric.
KNOWN = {("relu", (1, 1)): 0.2512, ("relu", (1, 1, 1)): 0.3764}


@dataclass(frozen=True, kw_only=True)
class Deep:
    """A deep network, and what it took.

    Args:
        found: by layer.
        seconds: of the call.
        peak_bytes: most memory its process had.
    """

    found: Propagation
    seconds: float
    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """All that the page shows.

    Args:
        exact: sup |F - Phi| by theta and kind.
        known: D and its networks, of `KNOWN`.
        two_layers: D of the last layer by activation, shape and n.
        critical: of `two_layers`, at the level .05.
        deep: by activation and width.
        levels: by activation, of networks of width 1, the share of seeds with p < .05 at `LEVEL_LAYERS`.
        level_seeds: how many.
        finite: in which direction correlations go in tanh networks, by width.
        draws, deep_draws: networks.
        seconds: of everything.
    """

    exact: Mapping[tuple[float, str], float]
    known: Mapping[tuple[str, tuple[int, ...]], Propagation]
    two_layers: Mapping[tuple[str, str, int], float]
    critical: float
    deep: Mapping[tuple[str, int], Deep]
    levels: Mapping[str, tuple[float, ...]]
    level_seeds: int
    finite: Mapping[int, FinitePhase]
    draws: int
    deep_draws: int
    seconds: float


def law_error(theta: float, kind: str) -> float:
    """`sup_z |P(W phi(X) <= z) - Phi(z)|`, W of the symmetric Weibull law, X standard normal, by quadrature.

    `P(W y > z) = exp(-(z / y)^theta) / 2` for z, y > 0, so that for z > 0, as both laws are symmetric,
    `P(W phi(X) > z) = E exp(-(z / |phi(X)|)^theta) / 2`: Gauss-Legendre over x, in panels that grow with
    the distance from 0, where phi odd is 0 and the integrand of a small z rises within a width of z.

    Args:
        theta, kind: of `gaussprobe.nn.GaussianPreserving`, which is evaluated in float64.
    """
    nodes, weights = np.polynomial.legendre.leggauss(20)
    growing = np.concatenate([np.geomspace(1e-12, 0.1, 200), np.linspace(0.1, 10, 500)[1:]])
    edges = np.concatenate([-growing[::-1], growing])
    half = np.diff(edges)[:, None] / 2
    x = (half * nodes + (edges[:-1, None] + half)).ravel()
    mass = (half * weights).ravel() * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    with torch.no_grad():
        y = gp.nn.GaussianPreserving(theta, kind=kind)(torch.from_numpy(x)).abs().numpy()  # type: ignore[arg-type]
    worst = 0.0
    for z in np.geomspace(1e-4, 8, 400):
        with np.errstate(divide="ignore", over="ignore"):
            above = float(mass @ np.exp(-((z / y) ** theta))) / 2
        worst = max(worst, abs(above - math.erfc(z / math.sqrt(2)) / 2))
    return worst


def propagated(name: str, widths: Sequence[int], draws: int, seed: int = SEED) -> Propagation:
    """An activation with its law of weights, from the scalar input 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GaussprobeWarning)  # ReLU of width 1 dies: the page says so
        return gp.signal.propagate(name, widths=widths, draws=draws, seed=seed, **LAWS[name])


def deep(name: str, width: int, draws: int) -> Deep:
    """A deep network, in a process of its own so that its memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_deep, name, width, draws).result()


def _deep(name: str, width: int, draws: int) -> Deep:
    started = time.perf_counter()
    found = propagated(name, [width] * DEPTH, draws)
    seconds = time.perf_counter() - started
    return Deep(found=found, seconds=seconds, peak_bytes=_peak())


def _peak() -> int:
    """Most memory this process had, in bytes; on Linux without what its parent had, as getrusage has it."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def levels(name: str, seeds: int) -> tuple[float, ...]:
    """Share of seeds at which a network of width 1 is told from N(0, 1), by layer of `LEVEL_LAYERS`."""
    rejected = np.zeros(len(LEVEL_LAYERS))
    for seed in range(seeds):
        found = propagated(name, [1] * DEPTH, LEVEL_DRAWS, seed=1 + seed)
        rejected += found.pvalue[[layer - 1 for layer in LEVEL_LAYERS]] < 0.05
    return tuple((rejected / seeds).tolist())


def finite(width: int, draws: int) -> FinitePhase:
    """Correlations through tanh networks of a width, at nine weights around the edge of infinite width."""
    return gp.signal.finite_phase(
        "tanh",
        width=width,
        sigma_b=LAWS["tanh"]["sigma_b"],
        correlation=FINITE_CORRELATION,
        draws=draws,
        seed=SEED,
    )


def measure(draws: int = DRAWS, deep_draws: int = DEEP_DRAWS, seeds: int = LEVEL_SEEDS) -> Found:
    """Everything but the page."""
    started = time.perf_counter()
    two = {
        (name, shape, n): propagated(name, make(n), draws)
        for name in TWO_LAYERS
        for shape, make in SHAPES.items()
        for n in WIDTHS
    }
    return Found(
        exact={(theta, kind): law_error(theta, kind) for theta in THETAS for kind in KINDS},
        known={(name, widths): propagated(name, widths, draws) for name, widths in KNOWN},
        two_layers={key: float(one[-1].ks_distance) for key, one in two.items()},
        critical=next(iter(two.values())).critical_distance,
        deep={(name, width): deep(name, width, deep_draws) for name in LAWS for width in DEEP_WIDTHS},
        levels={name: levels(name, seeds) for name in LAWS if name.startswith("phi")},
        level_seeds=seeds,
        finite={width: finite(width, max(deep_draws // 5, 100)) for width in FINITE_WIDTHS},
        draws=draws,
        deep_draws=deep_draws,
        seconds=time.perf_counter() - started,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the networks and write the page."""
    from docs.examples import preactivations_page

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--page", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    share = 20 if options.quick else 1
    found = measure(DRAWS // share, DEEP_DRAWS // share, LEVEL_SEEDS // share)
    preactivations_page.write(found, options.page)


if __name__ == "__main__":
    main()

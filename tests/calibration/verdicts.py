"""How often known laws are called what: `python -m tests.calibration.verdicts --out docs/method.md`.

The tables are written between two marks of that page; the rest of it stays as it is.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gaussprobe import scores
from gaussprobe.stats import departure, effects, jackknife, ordered, simulation
from gaussprobe.types import VERDICTS, Departure, Summary, Verdict
from tests.calibration.laws import LAWS, MIXTURE, Floats, law
from tests.calibration.pages import machine, versions

SEED = 11
BEGIN = "<!-- generated: verdicts -->"
END = "<!-- end -->"

SIZES = (50, 200, 500, 2_000, 20_000)
WIDTH = 64
LAYERS = 500
# Distinct units drawn of each law. Where they are fewer than all layers need, a layer is a random choice.
POOL = {n: WIDTH * LAYERS if n <= 2_000 else 1_280 for n in SIZES}
BLOCK_UNITS = 640  # drawn at a time

WORST_UNITS = 512
WORST_LAYERS = 10


@dataclass(frozen=True)
class Pool:
    """Units of one law at one n.

    Args:
        found: delta of each, of all rows and without each group.
        kinds: the departure of each.
    """

    found: jackknife.LeftOut
    kinds: list[Departure]


@dataclass(frozen=True)
class Called:
    """Layers of one law, one n and one width.

    Args:
        verdicts: how many got each.
        wrong: how many a definite verdict that the law's own delta contradicts.
        departures: how many got each.
        delta: median over layers of the median measured.
    """

    verdicts: Counter[Verdict]
    wrong: int
    departures: Counter[Departure]
    delta: float


def is_wrong(verdict: Verdict, delta: float) -> bool:
    """Whether a law of this delta contradicts a verdict; near-gaussian means at most near-gaussian."""
    return {
        "gaussian": delta >= scores.NEAR,
        "near-gaussian": delta >= scores.FAR,
        "non-gaussian": delta < scores.FAR,
        "undetermined": False,
    }[verdict]


def pool(draw: Callable[[tuple[int, ...]], Floats], n: int, count: int) -> Pool:
    """`count` units of `n` samples."""
    parts, kinds = [], []
    for start in range(0, count, BLOCK_UNITS):
        x = torch.from_numpy(draw((n, min(BLOCK_UNITS, count - start))))
        part = jackknife.leave_out(x, np.arange(n), ("delta",))["delta"]
        kinds += departure.kinds(ordered.order(x), part.values, negligible=scores.NEAR)
        parts.append(part)
    found = jackknife.LeftOut(
        values=torch.cat([part.values for part in parts]),
        left_out=torch.cat([part.left_out for part in parts], dim=1),
        n_samples=n,
    )
    return Pool(found, kinds)


def call(units: Pool, chosen: list[torch.Tensor], delta: float) -> Called:
    """What the layers of the chosen units are called."""
    verdicts: Counter[Verdict] = Counter()
    departures: Counter[Departure] = Counter()
    medians, wrong = [], 0
    for layer in chosen:
        got = jackknife.median_interval("delta", units.found.of(layer))
        verdict = scores.verdict(got.low, got.high)
        summary = Summary(median=got.median, low=got.low, high=got.high, worst=math.nan, worst_unit=None)
        verdicts[verdict] += 1
        departures[scores.layer_departure([units.kinds[i] for i in layer], summary)] += 1
        medians.append(got.median)
        wrong += is_wrong(verdict, delta)
    return Called(verdicts, wrong, departures, float(np.median(medians)))


def of_law(name: str, n: int, delta: float) -> tuple[Called, Called, Counter[Departure]]:
    """Layers of WIDTH units of a law, layers of one unit, and the departures of its units."""
    one = law(name)
    rng = np.random.default_rng([SEED, n, [known.name for known in LAWS].index(name)])
    units = pool(lambda shape: one.draw(shape, rng), n, POOL[n])
    if POOL[n] == WIDTH * LAYERS:
        chosen = list(torch.arange(POOL[n]).view(LAYERS, WIDTH))
    else:
        chosen = [torch.from_numpy(rng.permutation(POOL[n])[:WIDTH]) for _ in range(LAYERS)]
    singles = list(torch.arange(LAYERS).view(LAYERS, 1))
    return call(units, chosen, delta), call(units, singles, delta), Counter(units.kinds)


def worst(n: int) -> float:
    """Median over layers of the largest delta measured among normal units."""
    rng = np.random.default_rng([SEED, n])
    layers = (torch.from_numpy(rng.standard_normal((n, WORST_UNITS))) for _ in range(WORST_LAYERS))
    return float(np.median([float(effects.corrected_delta(ordered.order(x)).max()) for x in layers]))


# What is no law of scipy's, and what it is to be called.
SHAPES: dict[str, tuple[Departure, Callable[[np.random.Generator, tuple[int, ...]], Floats]]] = {
    "exponential, reversed": ("left-skewed", lambda rng, shape: -rng.exponential(size=shape)),
    "normals at +-2": ("multimodal", lambda rng, shape: MIXTURE.draw(shape, rng)),
    "tanh(2 x normal)": ("multimodal", lambda rng, shape: np.tanh(2 * rng.normal(size=shape))),
    "ReLU of a normal": ("atoms", lambda rng, shape: np.maximum(rng.normal(size=shape), 0.0)),
    "normal in steps of .5": ("discrete", lambda rng, shape: np.round(2 * rng.normal(size=shape)) / 2),
}
SHAPE_UNITS = 500

RIGHT: dict[str, Departure] = {
    **dict.fromkeys(("normal", "t(30)"), "none"),
    **dict.fromkeys(("t(10)", "logistic", "t(5)", "Laplace"), "heavy-tailed"),
    **dict.fromkeys(("skew-normal(2)", "gamma(10)", "exponential"), "right-skewed"),
    "uniform": "light-tailed",
}


def of_shape(name: str, n: int) -> Counter[Departure]:
    """Departures of units of one of the shapes."""
    rng = np.random.default_rng([SEED, n, 100 + list(SHAPES).index(name)])
    x = torch.from_numpy(SHAPES[name][1](rng, (n, SHAPE_UNITS)))
    return Counter(departure.kinds(ordered.order(x), negligible=scores.NEAR))


def measure(
    processes: int, deltas: dict[str, float]
) -> tuple[dict[Any, Any], dict[Any, Any], dict[int, float]]:
    """Of the laws, of the shapes, by name and n; and the worst normal unit by n."""
    with simulation.pool(processes) as workers:
        large_first = sorted(SIZES, key=lambda n: -n * POOL[n])
        of_laws = {
            workers.submit(of_law, one.name, n, deltas[one.name]): (one.name, n)
            for n in large_first
            for one in LAWS
        }
        of_shapes = {workers.submit(of_shape, name, n): (name, n) for n in large_first for name in SHAPES}
        worsts = {workers.submit(worst, n): n for n in large_first}
        simulation.wait(of_laws, of_shapes, worsts)
        return (
            {key: task.result() for task, key in of_laws.items()},
            {key: task.result() for task, key in of_shapes.items()},
            {key: task.result() for task, key in worsts.items()},
        )


def share(count: int, total: int) -> str:
    """A percentage, nothing for none; never rounded to none or to all."""
    percent = 100 * count / total
    if count == 0:
        return ""
    if percent < 0.5:
        return "< 1 %"
    return "> 99 %" if count < total and percent > 99.5 else f"{percent:.0f} %"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _heading(*cells: str) -> list[str]:
    return [_row(*cells), "|---" * len(cells) + "|"]


def verdict_table(found: dict[Any, Any], which: int, deltas: dict[str, float]) -> list[str]:
    """What layers are called: `which` is 0 for those of many units, 1 for those of one."""
    lines = _heading("law", "its delta", "n", "measured", *VERDICTS, "wrong", "departure named")
    for one in LAWS:
        for n in SIZES:
            called: Called = found[one.name, n][which]
            total = called.verdicts.total()
            named = ", ".join(f"{kind} {share(k, total)}" for kind, k in called.departures.most_common(2))
            lines.append(
                _row(
                    one.name,
                    f"{deltas[one.name]:.4f}",
                    f"{n:,}",
                    f"{round(called.delta, 4) + 0.0:.4f}",
                    *(share(called.verdicts[verdict], total) for verdict in VERDICTS),
                    str(called.wrong),
                    named,
                )
            )
    return lines


def departure_table(of_laws: dict[Any, Any], of_shapes: dict[Any, Any]) -> list[str]:
    """What single units are called."""
    lines = _heading("law", "should be", *(f"n = {n:,}" for n in SIZES))
    rows = {one.name: (RIGHT[one.name], [of_laws[one.name, n][2] for n in SIZES]) for one in LAWS}
    rows |= {name: (right, [of_shapes[name, n] for n in SIZES]) for name, (right, _) in SHAPES.items()}
    for name, (right, counters) in rows.items():
        cells = []
        for kinds in counters:
            others = [(kind, k) for kind, k in kinds.most_common() if kind != right]
            parts = [f"**{share(kinds[right], kinds.total()) or 'never'}**"]
            parts += [f"{kind} {share(k, kinds.total())}" for kind, k in others[:2]]
            cells.append(", ".join(parts))
        lines.append(_row(name, right, *cells))
    return lines


def generated(
    of_laws: dict[Any, Any],
    of_shapes: dict[Any, Any],
    worsts: dict[int, float],
    deltas: dict[str, float],
    seconds: float,
) -> list[str]:
    """What goes between the marks."""
    wrong = {n: sum(of_laws[one.name, n][0].wrong for one in LAWS) for n in SIZES}
    pooled = [n for n in SIZES if POOL[n] < WIDTH * LAYERS]
    return [
        f"Made by `python -m tests.calibration.verdicts --out docs/method.md` on {datetime.date.today()}",
        f"in {seconds:.0f} s, seed {SEED}; {machine()}; {versions()}.",
        "",
        f"Layers of independent units of one law, {LAYERS} layers a row. *Wrong* counts definite verdicts",
        f"that the law's own delta contradicts: gaussian from {scores.NEAR} on, near-gaussian (at most",
        f"near-gaussian) from {scores.FAR} on, non-gaussian below {scores.FAR}. *Measured* is the median",
        "over layers of their median delta. At "
        + " and ".join(f"n = {n:,} layers are chosen from {POOL[n]:,} units of each law" for n in pooled)
        + "; at the other n",
        "every layer has units of its own.",
        "",
        f"### Layers of {WIDTH} units",
        "",
        "Wrong definite verdicts over all laws: "
        + ", ".join(f"{wrong[n]} at n = {n:,}" for n in SIZES)
        + ".",
        "",
        *verdict_table(of_laws, 0, deltas),
        "",
        "### Layers of one unit",
        "",
        *verdict_table(of_laws, 1, deltas),
        "",
        "### Departures of single units",
        "",
        "How often a unit gets the name it should, then the other names. A unit whose measured delta is",
        f"below {scores.NEAR} has none. Units a cell: all of the law's above, {SHAPE_UNITS} of the shapes",
        "at the end.",
        "",
        *departure_table(of_laws, of_shapes),
        "",
        f"### The worst unit of {WORST_UNITS} normal ones",
        "",
        f"The largest delta measured in a layer of normal units, median over {WORST_LAYERS} layers: what a",
        "worst unit may show by chance.",
        "",
        *_heading("n", "largest delta"),
        *(_row(f"{n:,}", f"{worsts[n]:.4f}") for n in SIZES),
    ]


def replaced(page: str, lines: list[str]) -> str:
    """The page with these lines between its marks.

    Raises:
        ValueError: if the page does not have both marks, in order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page must have {BEGIN} and {END} after it; got one without")
    return "\n".join([before + begin, "", *lines, "", end + after])


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    started = time.monotonic()
    page = arguments.out.read_text(encoding="utf-8")
    replaced(page, [])  # fails now rather than after the simulation
    deltas = {one.name: one.sizes["delta"] for one in LAWS}
    found = measure(arguments.processes, deltas)
    lines = generated(*found, deltas, time.monotonic() - started)
    arguments.out.write_text(replaced(page, lines), encoding="utf-8")


if __name__ == "__main__":
    main()

"""How often each law gets each verdict: `python -m tests.calibration.verdicts --out docs/verdicts.md`."""

from __future__ import annotations

import argparse
import datetime
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import integrate, stats

from gaussprobe import scores
from gaussprobe.types import VERDICTS, LayerScore, Samples, Sampling, Site
from tests.calibration.run import machine, versions

SEED = 11
SIZES = (30, 200, 500, 2_000)
WIDTHS = (64, 1)
LAYERS = {64: 40, 1: 100}
WORST_UNITS = 512


@dataclass(frozen=True)
class Law:
    """A law of activations, as scipy has it."""

    name: str
    law: Any

    def delta(self) -> float:
        """`1 - R^2` of the law itself: R the correlation of its quantile function and the normal one."""

        def weighted(z: float, power: int, cross: int) -> float:
            # From the nearer end: Phi(z) has no digits left where it is close to 1.
            quantile = self.law.ppf(stats.norm.cdf(z)) if z < 0 else self.law.isf(stats.norm.sf(z))
            return float(stats.norm.pdf(z) * quantile**power * z**cross)

        mean, square, cross = (
            integrate.quad(weighted, -12, 12, args=powers, limit=400, points=[-6, 0, 6])[0]
            for powers in ((1, 0), (2, 0), (1, 1))
        )
        return float(1 - cross**2 / (square - mean**2))


LAWS = (
    Law("normal", stats.norm()),
    Law("t(30)", stats.t(30)),
    Law("t(10)", stats.t(10)),
    Law("logistic", stats.logistic()),
    Law("skew-normal(2)", stats.skewnorm(2)),
    Law("gamma(10)", stats.gamma(10)),
    Law("t(5)", stats.t(5)),
    Law("Laplace", stats.laplace()),
    Law("uniform", stats.uniform()),
    Law("exponential", stats.expon()),
)


def draw(law: Law, n: int, width: int, rng: np.random.Generator) -> LayerScore:
    """The score of a layer of independent units of one law."""
    values = torch.from_numpy(law.law.rvs(size=(n, width), random_state=rng))
    sampling = Sampling(n_examples=n, positions_available=1, positions_per_example=1, num_features=width)
    site = Site(path=law.name, kinds=("affine",))
    samples = Samples(site=site, step=0, values=values, examples=np.arange(n), n_seen=n, sampling=sampling)
    return scores.score(samples).score


def share(count: int, total: int) -> str:
    """A percentage of whole numbers, nothing for none."""
    return f"{100 * count / total:.0f} %" if count else ""


def table(law: Law, width: int, delta: float) -> list[str]:
    """Rows of the page for one law: one for each n."""
    rows = []
    for n in SIZES:
        rng = np.random.default_rng([SEED, n, width, LAWS.index(law)])
        found = [draw(law, n, width, rng) for _ in range(LAYERS[width])]
        verdicts = Counter(score.verdict for score in found)
        departures = Counter(score.departure for score in found).most_common(2)
        cells = [share(verdicts[verdict], len(found)) for verdict in VERDICTS]
        named = ", ".join(f"{name} {share(count, len(found))}" for name, count in departures)
        median = np.median([score.delta.median for score in found])
        rows.append(f"| {law.name} | {delta:.4f} | {n:,} | {median:.4f} | {' | '.join(cells)} | {named} |")
    return rows


def worst(n: int) -> float:
    """Median over layers of the largest delta measured among normal units."""
    rng = np.random.default_rng([SEED, n])
    normal = LAWS[0]
    return float(np.median([draw(normal, n, WORST_UNITS, rng).delta.worst for _ in range(10)]))


def page() -> str:
    """The page as Markdown."""
    started = time.perf_counter()
    deltas = {law.name: law.delta() for law in LAWS}
    body = []
    for width in WIDTHS:
        body += [
            f"## Layers of {width} unit{'s' if width > 1 else ''}, {LAYERS[width]} layers a row",
            "",
            f"| law | its delta | n | delta measured | {' | '.join(VERDICTS)} | departures named |",
            "|---|---|---|---|---|---|---|---|---|",
            *(row for law in LAWS for row in table(law, width, deltas[law.name])),
            "",
        ]
    largest = [f"| {n:,} | {worst(n):.4f} |" for n in SIZES]
    seconds = time.perf_counter() - started
    head = [
        "# Verdicts",
        "",
        "What layers of independent units of a known law are called. Made by",
        "`python -m tests.calibration.verdicts --out docs/verdicts.md`; every number below is measured, but",
        "for the laws' own delta, which is integrated.",
        "",
        f"- Made on {datetime.date.today().isoformat()} in {seconds:.0f} s, seed {SEED}.",
        f"- Machine: {machine()}.",
        f"- {versions()}.",
        f"- Bands of delta: gaussian below {scores.NEAR}, non-gaussian from {scores.FAR}.",
        "",
    ]
    tail = [
        f"## The worst unit of {WORST_UNITS} normal ones",
        "",
        "The largest delta measured in a layer of normal units, median over ten layers: what a worst unit",
        "may show by chance.",
        "",
        "| n | largest delta |",
        "|---|---|",
        *largest,
        "",
    ]
    return "\n".join([*head, *body, *tail])


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()

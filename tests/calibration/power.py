"""How often each test finds each law not normal: `python -m tests.calibration.power --out docs/power.md`."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats
import torch
from statsmodels.stats.diagnostic import lilliefors, normal_ad

from gaussprobe.stats import simulation
from gaussprobe.stats.battery import TESTS, battery
from tests.calibration.pages import machine, versions, write

Floats = npt.NDArray[np.float64]

SEED = 13
SIZES = (50, 200, 1_000)
LEVELS = (0.05, 0.01)
REPLICATES = 20_000
TASK_VALUES = 4_000_000  # drawn in one task
BLOCK_VALUES = 2**20  # drawn and tested at once
PEER_SIZES = (50, 200)
PEER_REPLICATES = 2_000
PEER_LEVEL = 0.05
NEAR = 2.0  # standard errors of a difference within which two powers count as the same


@dataclass(frozen=True)
class Law:
    """A law of samples: its name, what exactly it is, and draws of a given shape."""

    name: str
    exactly: str
    draw: Callable[[np.random.Generator, tuple[int, int]], Floats]


def _contaminated(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return rng.standard_normal(shape) * np.where(rng.random(shape) < 0.1, 3.0, 1.0)


def _two_peaks(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return rng.standard_normal(shape) + np.where(rng.random(shape) < 0.5, -1.5, 1.5)


LAWS = (
    Law("normal", "the null: what stands in its row is the level", lambda r, s: r.standard_normal(s)),
    Law("t(10)", "Student's t, 10 degrees of freedom", lambda r, s: r.standard_t(10, s)),
    Law("logistic", "logistic", lambda r, s: r.logistic(size=s)),
    Law("t(5)", "Student's t, 5 degrees of freedom", lambda r, s: r.standard_t(5, s)),
    Law("Laplace", "Laplace, the two-sided exponential", lambda r, s: r.laplace(size=s)),
    Law("contaminated", "each value from N(0, 1) with probability .9, from N(0, 9) with .1", _contaminated),
    Law("uniform", "uniform", lambda r, s: r.random(s)),
    Law("two peaks", "each value from N(-1.5, 1) or N(1.5, 1), with probability .5 each", _two_peaks),
    Law("lognormal(.5)", "exp(z / 2), z standard normal", lambda r, s: r.lognormal(0.0, 0.5, s)),
    Law(
        "clipped at -1.5",
        "max(0, z + 1.5), z standard normal: 6.7 % of the values are 0",
        lambda r, s: np.maximum(r.standard_normal(s) + 1.5, 0.0),
    ),
    Law(
        "ReLU",
        "max(0, z), z standard normal: half the values are 0",
        lambda r, s: np.maximum(r.standard_normal(s), 0.0),
    ),
)

# Other implementations whose level is right at these n, one sample at a time.
PEERS: dict[str, tuple[str, Callable[[Floats], float]]] = {
    "shapiro_wilk": ("scipy shapiro", lambda x: float(scipy.stats.shapiro(x).pvalue)),
    "lilliefors": ("statsmodels lilliefors", lambda x: float(lilliefors(x)[1])),
    "anderson_darling": ("statsmodels normal_ad", lambda x: float(normal_ad(x)[1])),
}

Key = tuple[str, int]  # law and n


@dataclass
class Found:
    """Rejections of one law at one n.

    Args:
        ours: by test, for each of LEVELS.
        compared: by test: rejections of ours, of the peer's and of just one of the two, on the same samples.
    """

    ours: dict[str, Floats]
    compared: dict[str, npt.NDArray[np.int64]]


def count(law: int, n: int, replicates: int, peers: int, seed: np.random.SeedSequence) -> Found:
    """Rejections in `replicates` samples, the first `peers` of them given to the peers too."""
    rng = np.random.default_rng(seed)
    found = Found(
        {name: np.zeros(len(LEVELS)) for name in TESTS}, {name: np.zeros(3, dtype=np.int64) for name in PEERS}
    )
    block = max(1, BLOCK_VALUES // n)
    for start in range(0, replicates, block):
        x = LAWS[law].draw(rng, (min(block, replicates - start), n))
        results = battery(torch.from_numpy(x), dim=1)
        for name, result in results.items():
            p = result.pvalue.numpy()
            found.ours[name] += [(p <= level).sum() for level in LEVELS]
        for name, (_, pvalue) in PEERS.items():
            rows = x[: max(0, peers - start)]
            theirs = np.array([pvalue(row) for row in rows], dtype=np.float64) <= PEER_LEVEL
            ours = results[name].pvalue.numpy()[: len(rows)] <= PEER_LEVEL
            found.compared[name] += np.array([ours.sum(), theirs.sum(), (ours != theirs).sum()])
    return found


def measure(processes: int, seed: int) -> dict[Key, Found]:
    """Rejections by law and n."""
    seeds = iter(np.random.SeedSequence(seed).spawn(10_000))
    with simulation.pool(processes) as pool:
        tasks = {}
        for i, law in enumerate(LAWS):
            for n in SIZES:
                pieces = math.ceil(REPLICATES * n / TASK_VALUES)
                for k in range(pieces):
                    size = (k + 1) * REPLICATES // pieces - k * REPLICATES // pieces
                    peers = PEER_REPLICATES if n in PEER_SIZES and k == 0 else 0
                    tasks[pool.submit(count, i, n, size, peers, next(seeds))] = (law.name, n)
        found: dict[Key, Found] = {}
        for task in simulation.finished(tasks):
            part = task.result()
            if tasks[task] in found:
                whole = found[tasks[task]]
                for name, value in part.ours.items():
                    whole.ours[name] += value
                for name, counts in part.compared.items():
                    whole.compared[name] += counts
            else:
                found[tasks[task]] = part
    return found


def _error(power: float) -> float:
    return math.sqrt(power * (1 - power) / REPLICATES)


def best(powers: dict[str, float]) -> list[str]:
    """Tests whose power is the row's largest, not clearly less, or shown the same; all if all are alike."""
    top = max(powers.values())
    return [
        name
        for name, power in powers.items()
        if top - power <= NEAR * math.hypot(_error(top), _error(power)) or _digits(power) == _digits(top)
    ]


def _digits(value: float) -> str:
    text = f"{value:.3f}"
    return text if text.startswith("1") else text.removeprefix("0")


def _powers(found: Found, index: int) -> dict[str, float]:
    return {name: float(counts[index]) / REPLICATES for name, counts in found.ours.items()}


def table(found: dict[Key, Found], n: int, index: int) -> list[str]:
    """Powers at one n and level: a row for each law, the best in bold where not all are alike."""
    lines = ["| | " + " | ".join(TESTS) + " |", "|---" * (len(TESTS) + 1) + "|"]
    for law in LAWS:
        powers = _powers(found[law.name, n], index)
        leaders = best(powers)
        plain = law is LAWS[0] or len(leaders) == len(powers)
        cells = [
            _digits(power) if plain or name not in leaders else f"**{_digits(power)}**"
            for name, power in powers.items()
        ]
        lines.append(f"| {law.name} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _names(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def sentences(found: dict[Key, Found]) -> list[str]:
    """For each law, the best tests at each n, at the first level."""
    lines = []
    for law in LAWS[1:]:
        parts = []
        for n in SIZES:
            powers = _powers(found[law.name, n], 0)
            leaders, top = best(powers), _digits(max(powers.values()))
            worst = min(powers, key=lambda name: powers[name])
            others = [name for name in powers if name not in leaders]
            if not others:
                parts.append(f"at {n:,} all alike ({top})")
            elif len(leaders) > len(others):
                parts.append(f"at {n:,} all ({top}) but {_names(others)} (from {_digits(powers[worst])})")
            else:
                parts.append(
                    f"at {n:,} {_names(leaders)} ({top}), the least {worst} ({_digits(powers[worst])})"
                )
        lines.append(f"- **{law.name}**: best {'; '.join(parts)}.")
    return [*lines, ""]


def comparison(found: dict[Key, Found]) -> list[str]:
    """Rejections of ours and of the peers on the same samples."""
    lines = []
    for n in PEER_SIZES:
        cells = [f"{name} / {peer} (apart)" for name, (peer, _) in PEERS.items()]
        lines += [f"n = {n:,}:", "", "| | " + " | ".join(cells) + " |", "|---" * (len(cells) + 1) + "|"]
        for law in LAWS:
            row = []
            for name in PEERS:
                ours, theirs, apart = found[law.name, n].compared[name] / PEER_REPLICATES
                row.append(f"{_digits(ours)} / {_digits(theirs)} ({_digits(apart)})")
            lines.append(f"| {law.name} | " + " | ".join(row) + " |")
        lines.append("")
    return lines


def page(found: dict[Key, Found], *, seed: int, seconds: float) -> str:
    """The document."""
    largest = _error(0.5)
    lines = [
        "# Power",
        "",
        "How often each test rejects samples of laws that are not normal. Made by",
        "`python -m tests.calibration.power --out docs/power.md`; every number below is measured.",
        "",
        f"- Made on {datetime.datetime.now(datetime.UTC):%Y-%m-%d} in {seconds:.0f} s, seed {seed}.",
        f"- Machine: {machine()}.",
        f"- {versions()}.",
        f"- {REPLICATES:,} samples of independent values for each law and n, the same for every test; mean",
        f"  and sd are estimated by every test. The standard error of a power is at most {_digits(largest)},",
        f"  {_digits(_error(0.1))} at .1 and .9.",
        "- Bold: the largest power of the row, and those within two standard errors of the difference of it;",
        "  none where all are alike.",
        "",
        "The laws:",
        "",
        *(f"- **{law.name}**: {law.exactly}." for law in LAWS),
        "",
        f"## Which test is best where, at {LEVELS[0]:g}",
        "",
        *sentences(found),
    ]
    for index, level in enumerate(LEVELS):
        for n in SIZES:
            lines += [f"## Level {level:g}, n = {n:,}", "", *table(found, n, index)]
    lines += [
        "## Beside other implementations",
        "",
        "No published table of powers could be read when this page was made (Razali & Wah, 2011, Journal of",
        "Statistical Modeling and Analytics 2(1), 21-33, has one for Shapiro-Wilk, Lilliefors and",
        "Anderson-Darling), so that none is quoted. Instead three implementations of others whose level is",
        f"right at these n: the share of {PEER_REPLICATES:,} samples that ours and theirs reject at",
        f"{PEER_LEVEL:g}, the same samples for both, and the share that only one of the two rejects.",
        "",
        *comparison(found),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    write(__doc__, SEED, measure, page)

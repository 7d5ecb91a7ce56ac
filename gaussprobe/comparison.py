"""What a comparison of settings found: records that reports and the command line read."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gaussprobe.measured import Carried, Cost, Course, Quantiles
from gaussprobe.paired import Difference, Ratio
from gaussprobe.types import Kind, is_headline

_FRAME = re.compile(r'  File "(.+)", line (\d+)')
# Numbers of a site that are compared: attributes of `SiteNumbers`.
MEASURES = (
    "qq_r2",
    "negentropy",
    "delta",
    "ks_distance",
    "wasserstein",
    "skewness",
    "excess_kurtosis",
    "minibatch_qq_r2",
    "henze_zirkler",
    "sliced",
    "mutual_information",
    "adjusted_mutual_information",
)


@dataclass(frozen=True, kw_only=True)
class SiteNumbers:
    """A site of one trained model.

    Medians over units, named as in `LayerScore`; then what the paper on normality normalization measures, as
    in `gaussprobe.measured`: NaN where it was not.
    """

    site: str
    kind: tuple[Kind, ...]
    qq_r2: float
    negentropy: float
    delta: float
    ks_distance: float
    wasserstein: float
    skewness: float
    excess_kurtosis: float
    minibatch_qq_r2: float = math.nan
    henze_zirkler: float = math.nan
    sliced: float = math.nan
    mutual_information: float = math.nan
    adjusted_mutual_information: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One setting trained on one seed.

    Args:
        setting: its name.
        seed: of the initial weights, and of everything random in training.
        metrics: what `train` returned.
        sites: the layers of the trained model, in execution order.
        measured: where the numbers of the sites come from, in words.
        quantiles: Q-Q plots of some units on held-out data, the same units in every setting.
        robustness: how far noise carries.
        courses: Q-Q R^2 of the sites over training, in training mode.
        cost: of a training step of this setting.
        cost_of_first: of one of the first setting, timed in turns with it; None in trials of the first.
        seconds: that `train` took.
        steps: training steps it ended.
        threads: that torch worked with; numbers are the same to the last digit only for the same count.
        versions: of Python and the packages numbers depend on.
        machine: the CPU and its cores; the device too where that is another.
        created: UTC time at which it began, ISO 8601.
        command: the command line, empty when run from Python.
        notes: what could not be measured, and why.
        failure: the traceback where `train` raised; empty where it did not.
    """

    setting: str
    seed: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    sites: tuple[SiteNumbers, ...] = ()
    measured: str = ""
    quantiles: tuple[Quantiles, ...] = ()
    robustness: tuple[Carried, ...] = ()
    courses: tuple[Course, ...] = ()
    cost: Cost | None = None
    cost_of_first: Cost | None = None
    seconds: float = 0.0
    steps: int = 0
    threads: int = 1
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    created: str = ""
    command: str = ""
    notes: tuple[str, ...] = ()
    failure: str = ""

    @property
    def raised(self) -> str:
        """What was raised, and in which line of the user's; empty where nothing was."""
        lines = self.failure.strip().splitlines()
        frames = [(at, found) for at, line in enumerate(lines) if (found := _FRAME.match(line))]
        after = lines[frames[-1][0] + 1 :] if frames else lines[-1:]
        # The source of a frame is indented; a message of several lines begins with its exception.
        said = next((line for line in after if not line.startswith(" ")), "".join(lines[-1:]))
        own = [found for _, found in frames if _is_users(Path(found[1]))]
        return f"{said} ({Path(own[-1][1]).name}, line {own[-1][2]})" if own else said


def _is_users(path: Path) -> bool:
    """Whether a frame is of neither an installed package nor this one."""
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return path.is_absolute() and not installed and not path.is_relative_to(Path(__file__).parent)


@dataclass(frozen=True, kw_only=True)
class MetricSummary:
    """A metric of one setting: mean and standard error over seeds, and the values."""

    mean: float
    se: float
    values: tuple[float, ...]
    seeds: tuple[int, ...]


def summarised(values: Mapping[int, float]) -> MetricSummary:
    """Mean and standard error of the finite numbers; NaN of none, and the error of one.

    Args:
        values: by seed.
    """
    kept = {seed: value for seed, value in values.items() if math.isfinite(value)}
    n = len(kept)
    return MetricSummary(
        mean=statistics.fmean(kept.values()) if n else math.nan,
        se=statistics.stdev(kept.values()) / math.sqrt(n) if n > 1 else math.nan,
        values=tuple(kept.values()),
        seeds=tuple(kept),
    )


@dataclass(frozen=True, kw_only=True)
class SiteComparison:
    """A site that both settings of a pair have.

    Args:
        site: its name.
        kind: its kinds.
        means: of each measure, by setting.
        differences: of each measure, with p-values adjusted over the sites that count in headlines, and
            over the others.
    """

    site: str
    kind: tuple[Kind, ...]
    means: Mapping[str, Mapping[str, float]]
    differences: Mapping[str, Difference]

    @property
    def headline(self) -> bool:
        """Whether this site counts in headlines: the output of a nonlinearity does not."""
        return is_headline(self.kind)


@dataclass(frozen=True, kw_only=True)
class RobustnessComparison:
    """How far noise at one site carries to a later one, in both settings of a pair.

    Args:
        at: where the noise was added.
        site: where the change was read; `gaussprobe.measured.OUTPUT` for the model's own output.
        means: relative change by setting, mean over seeds.
        ratio: of the second setting to the first, p-values adjusted over all pairs of sites.
    """

    at: str
    site: str
    means: Mapping[str, float]
    ratio: Ratio


@dataclass(frozen=True, kw_only=True)
class CostComparison:
    """One figure of the cost of a training step, in both settings of a pair.

    Args:
        name: `"forward"`, `"backward"`, `"step"` (their sum), in seconds; `"saved_bytes"`, `"peak_bytes"`.
        means: by setting, over seeds.
        ratio: of the second setting to the first.
    """

    name: str
    means: Mapping[str, float]
    ratio: Ratio


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One setting against the first: differences are its numbers minus those of the first."""

    first: str
    second: str
    metrics: Mapping[str, Difference]
    sites: tuple[SiteComparison, ...]
    robustness: tuple[RobustnessComparison, ...] = ()
    cost: tuple[CostComparison, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CourseSummary:
    """Q-Q R^2 of a site over training: mean and standard error over seeds at each recorded step.

    Args:
        site: its name.
        steps: recorded in every seed.
        mean: over seeds.
        se: its standard error; NaN for one seed.
    """

    site: str
    steps: tuple[int, ...]
    mean: tuple[float, ...]
    se: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison:
    """Settings side by side on the same seeds.

    Args:
        settings: names, in the order given; the others are held against the first.
        seeds: that were asked for.
        trials: one to each setting and seed that was run, failed ones included.
        metrics: summaries by setting and name.
        pairs: each other setting against the first.
        courses: of the sites over training, by setting.
        warnings: what a reader must know.
        description: what was run: the training, its options, the machine, the command.
    """

    settings: tuple[str, ...]
    seeds: tuple[int, ...]
    trials: tuple[Trial, ...]
    metrics: Mapping[str, Mapping[str, MetricSummary]]
    pairs: tuple[Pair, ...]
    courses: Mapping[str, tuple[CourseSummary, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    description: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        names, n = " against ".join(reversed(self.settings)), len(self.seeds)
        return f"<Comparison of {names}: {n} seed{'' if n == 1 else 's'}, {len(self.failed)} trials failed>"

    @property
    def failed(self) -> tuple[Trial, ...]:
        """Trials whose training raised."""
        return tuple(trial for trial in self.trials if trial.failure)

    def report(self, path: str | Path) -> None:
        """Write a self-contained HTML report, replacing it whole or not at all.

        Raises:
            StoreError: if `path` cannot be written.
        """
        from gaussprobe.reports import comparison_html

        comparison_html.write(self, path)

"""What crosses the borders between the rooms of the house: frozen, keyword-only records.

Nothing here imports torch: reports read a finished `Run` on machines that have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    import torch

    from gaussprobe.records import Association, Event, Metric, SiteRecord

Kind: TypeAlias = Literal["affine", "preactivation", "norm", "activation"]
View: TypeAlias = Literal["unit", "layer", "example", "init"]
Mode: TypeAlias = Literal["eval", "train"]
Source: TypeAlias = Literal["forward", "probe"]
Verdict: TypeAlias = Literal["gaussian", "near-gaussian", "non-gaussian", "undetermined"]
Departure: TypeAlias = Literal[
    "none",
    "right-skewed",
    "left-skewed",
    "heavy-tailed",
    "light-tailed",
    "multimodal",
    "atoms",
    "discrete",
    "constant",
    "non-finite",
]

KINDS: tuple[Kind, ...] = ("affine", "preactivation", "norm", "activation")
VERDICTS: tuple[Verdict, ...] = ("gaussian", "near-gaussian", "non-gaussian", "undetermined")


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place in a model where a tensor is seen.

    Args:
        path: dotted path of the owning module, `""` for the model itself.
        function: name of the functional call inside that module, None for the module's own output.
        is_input: True for the tensor a nonlinearity receives where no other site produced it.
        call: which call of the forward pass this is, counted from 1.
        kinds: what the tensor is, in the order of `KINDS`.
    """

    path: str
    function: str | None = None
    is_input: bool = False
    call: int = 1
    kinds: tuple[Kind, ...] = ()

    @property
    def name(self) -> str:
        """`path`, `path:function`, `path:input`, with `#k` from the second call on."""
        name = self.path if self.function is None else f"{self.path}:{self.function}"
        if self.is_input:
            name += ":input"
        return name if self.call == 1 else f"{name}#{self.call}"


def is_headline(kinds: tuple[Kind, ...]) -> bool:
    """Whether a site counts in headline, ranking and `--fail-on`: the output of a nonlinearity does not."""
    return "activation" not in kinds and bool(kinds)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the rows of `Samples` were drawn from the tensors that passed.

    Args:
        n_examples: examples that passed (independent of each other as far as can be known).
        positions_available: positions (pixels, tokens) of each example that could be drawn.
        positions_per_example: how many of them were kept for each example.
        num_features: units of the site before `--max-units` took a random subset.
        units: indices of the units kept, None when all were.
        caveats: sentences a reader must know, such as rows that may be dependent.
    """

    n_examples: int
    positions_available: int
    positions_per_example: int
    num_features: int
    units: tuple[int, ...] | None = None
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NonFinite:
    """Counts of non-finite values among all values that passed a site, not only those sampled."""

    nan: int = 0
    inf: int = 0
    total: int = 0
    units: int = 0

    @property
    def any(self) -> bool:
        return self.nan + self.inf > 0


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The sample taken at one site in one step.

    Args:
        site: where.
        step: training step, 0 for a scan.
        values: `(n_samples, num_features)`, on the CPU, float32 or float64; with several positions per
            example, one block of rows for each, the examples in the same order.
        examples: `(n_samples,)` index of the example each row came from.
        n_seen: samples per unit that passed the site.
        sampling: how the rows were chosen.
        nonfinite: non-finite values seen.
        independent: whether rows are independent under the sampling design, so that p-values mean anything.
        grouped: whether `examples` is to be believed, so that intervals mean anything.
    """

    site: Site
    step: int
    values: torch.Tensor
    examples: npt.NDArray[np.int64]
    n_seen: int
    sampling: Sampling
    nonfinite: NonFinite = NonFinite()
    independent: bool = True
    grouped: bool = True

    @property
    def n_samples(self) -> int:
        """Rows that are tested: samples per unit."""
        return int(self.values.shape[0])


@dataclass(frozen=True, kw_only=True)
class GofResult:
    """Result of a goodness-of-fit test; fields have the batch's shape.

    Args:
        statistic: the test's statistic, tensor or array as the input was.
        pvalue: its p-value under the null hypothesis named by the test.
        n_samples: samples per unit.
    """

    statistic: Any
    pvalue: Any
    n_samples: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """An effect size over the units of a site: the median with its interval, and the worst unit."""

    median: float
    low: float
    high: float
    worst: float
    worst_unit: int | None


@dataclass(frozen=True, kw_only=True)
class GofSummary:
    """A test over the units of a site.

    Args:
        statistic: median over units.
        pvalue: Simes p-value over units; None when the rows have no iid p-value.
        rejected_fraction: share of units rejected at .05 after Benjamini-Hochberg; None likewise.
    """

    statistic: float
    pvalue: float | None
    rejected_fraction: float | None


@dataclass(frozen=True, kw_only=True)
class LayerScore:
    """Everything measured at one site in one step; attributes are named as the keys of `scan --json`."""

    site: str
    kind: tuple[Kind, ...]
    step: int
    n_seen: int
    n_tested: int
    num_features: int
    delta: Summary
    negentropy: Summary
    qq_r2: float
    ks_distance: float
    wasserstein: float
    skewness: float
    excess_kurtosis: float
    tests: Mapping[str, GofSummary]
    verdict: Verdict
    departure: Departure
    notes: tuple[str, ...] = ()
    source: Source = "forward"  # "probe": of the fixed batch that `watch` evaluates beside the training

    @property
    def headline(self) -> bool:
        """Whether this site counts in headline, ranking and `--fail-on`."""
        return is_headline(self.kind)


@dataclass(frozen=True, kw_only=True)
class UnitPicture:
    """What a report draws of one unit: a histogram and a Q-Q plot, as aggregates only.

    Args:
        unit: index of the unit in its layer.
        role: why it is drawn: `"median"` or `"worst"` by delta.
        mean, sd: of the unit's sample, in the activation's own scale; sd with ddof=1.
        delta: null-corrected 1 - R^2 of its Q-Q plot.
        edges: `len(counts) + 1` bin edges, in the activation's own scale.
        counts: samples per bin.
        below, above: samples outside the drawn range.
        qq_normal, qq_sample: normal scores and the standardised sample quantiles at them.
    """

    unit: int
    role: Literal["median", "worst"]
    mean: float
    sd: float
    delta: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    below: int
    above: int
    qq_normal: tuple[float, ...]
    qq_sample: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class SitePicture:
    """The pictures of one site; no units when nothing there can be drawn."""

    site: str
    step: int
    units: tuple[UnitPicture, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NotCaptured:
    """A site that was expected and not measured, and why."""

    site: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class CaptureRecord:
    """What happened at a site that was seen, whether or not it was sampled.

    Args:
        site: its name.
        kind: its kinds, in the order of `KINDS`.
        calls: how many times a tensor passed it, over all batches.
        sampled: whether it was selected and could be read.
        positions_available: positions (pixels, tokens) of an example that could be drawn.
        positions_per_example: how many of them were kept for each example.
        overwritten: how many times its tensor was then changed in place; it was copied before.
        recomputed: how many times it fired again within a backward pass, which is no further sample.
    """

    site: str
    kind: tuple[Kind, ...]
    calls: int
    sampled: bool
    positions_available: int = 1
    positions_per_example: int = 1
    overwritten: int = 0
    recomputed: int = 0


@dataclass(frozen=True, kw_only=True)
class PlantedLaw:
    """What became of one law that a self-test planted: how often it was called what.

    Args:
        law: its name.
        expected: the departure it has, `"none"` for a normal law.
        planted: how many times it was planted.
        right: called by its departure; `gaussian` for a normal law.
        false_alarms: normal, and called something else.
        missed: not normal, and called `gaussian` or `near-gaussian`.
        other_kind: called non-gaussian, but by another departure.
        undecided: called neither right nor wrong, mostly for want of examples.
    """

    law: str
    expected: Departure
    planted: int
    right: int = 0
    false_alarms: int = 0
    missed: int = 0
    other_kind: int = 0
    undecided: int = 0


@dataclass(frozen=True, kw_only=True)
class Selftest:
    """How a pipeline called what was planted in it.

    Args:
        gaussprobe: version of gaussprobe.
        model: as the user named it.
        seed: of the planting and the sampling.
        data: how inputs were had; their number under `n_examples`.
        n_sites: sites of the model that were planted in.
        laws: each law that was planted.
        mistakes: the site, the law and what it was called, for each wrong call.
        notes: what a reader must know.
        level: share of each law to be called right.
    """

    gaussprobe: str
    model: str
    seed: int
    data: Mapping[str, Any]
    n_sites: int
    laws: tuple[PlantedLaw, ...]
    mistakes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    level: float = 0.95

    @property
    def passed(self) -> bool:
        """Whether each law was called right often enough."""
        return all(law.right >= self.level * law.planted for law in self.laws)


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Where a run came from: enough to do it again.

    Args:
        gaussprobe: version of gaussprobe.
        model: the model as the user named it (a file, `pkg.mod:fn`, or a class name).
        view: what counted as one sample.
        mode: whether the model ran in evaluation or training mode.
        seed: seed of the sampling.
        max_samples: rows kept per site.
        data: how inputs were had; `"synthetic": True` when made up.
        command: the command line, empty when run from Python.
        created: UTC time, ISO 8601.
        seconds: wall time of the scan.
        versions: of Python and the packages numbers depend on.
        device: where the model ran.
    """

    gaussprobe: str
    model: str
    view: View
    mode: Mode
    seed: int
    max_samples: int
    data: Mapping[str, Any]
    command: str = ""
    created: str = ""
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True, repr=False)
class Run:
    """A finished run: the one object that capture hands to stores and reports.

    `scores` are in step, then execution order; only displays sort. `series`, `metrics` and `events` are of
    runs that `watch` made; a scan has none.
    """

    metadata: Metadata
    scores: tuple[LayerScore, ...]
    pictures: tuple[SitePicture, ...] = ()
    not_captured: tuple[NotCaptured, ...] = ()
    capture: tuple[CaptureRecord, ...] = ()
    warnings: tuple[str, ...] = ()
    series: tuple[SiteRecord, ...] = ()
    metrics: tuple[Metric, ...] = ()
    events: tuple[Event, ...] = ()

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{count} {verdict}"
            for verdict in VERDICTS
            if (count := sum(s.headline and s.verdict == verdict for s in self.scores))
        )
        steps = len({score.step for score in self.scores})
        sites = len({score.site for score in self.scores})
        over = f" at {steps} steps" if steps > 1 else ""
        return f"<Run of {self.metadata.model}: {sites} sites{over}; {counts or 'none counted'}>"

    def save(self, path: str | Path) -> None:
        """Write the run to one SQLite file, replacing it whole or not at all.

        Raises:
            StoreError: if `path` cannot be written or holds something other than a run.
        """
        from gaussprobe import store

        store.save(self, path)

    def report(self, path: str | Path) -> None:
        """Write a self-contained HTML report, replacing it whole or not at all.

        Raises:
            StoreError: if `path` cannot be written.
        """
        from gaussprobe.reports import html

        html.write(self, path)

    def to_frame(self) -> pd.DataFrame:
        """One row per step and site; nested keys joined by `_`, tests as `tests_<name>_<field>`."""
        from gaussprobe.reports import frame

        return frame.to_frame(self)

    def association(
        self, metric: str, *, quantities: Sequence[str] | None = None, max_lag: int = 10, seed: int = 0
    ) -> list[Association]:
        """How each site's series goes with a metric over training; see `gaussprobe.association.associate`."""
        from gaussprobe.association import associate

        return associate(self, metric, quantities=quantities, max_lag=max_lag, seed=seed)

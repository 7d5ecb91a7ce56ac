"""A recorded step as names and numbers, histograms and lines of text: what every tracker takes.

Names are `gaussprobe/<site>/<quantity>`, and `gaussprobe/probe/<site>/<quantity>` for the fixed probe batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from gaussprobe.records import LEVELS, SiteRecord
from gaussprobe.types import LayerScore, Source

if TYPE_CHECKING:
    from gaussprobe.watch import Recorded

Floats: TypeAlias = npt.NDArray[np.float64]

PREFIX = "gaussprobe"
BINS = 64

_OF_SCORE: Mapping[str, Callable[[LayerScore], float]] = {
    "delta": lambda score: score.delta.median,
    "delta_low": lambda score: score.delta.low,
    "delta_high": lambda score: score.delta.high,
    "delta_worst": lambda score: score.delta.worst,
    "negentropy": lambda score: score.negentropy.median,
    "qq_r2": lambda score: score.qq_r2,
    "ks_distance": lambda score: score.ks_distance,
    "wasserstein": lambda score: score.wasserstein,
    "skewness": lambda score: score.skewness,
    "excess_kurtosis": lambda score: score.excess_kurtosis,
    "n_tested": lambda score: score.n_tested,
}
_OF_RECORD: Mapping[str, Callable[[SiteRecord], float]] = {
    "mean": lambda record: record.mean,
    "sd": lambda record: record.sd,
    "l_scale": lambda record: record.l_scale,
    "l_skewness": lambda record: record.l_skewness,
    "l_kurtosis": lambda record: record.l_kurtosis,
    "log_sd": lambda record: record.log_sd,
    "relative_mean": lambda record: record.relative_mean,
    "constant_units": lambda record: record.constant_units,
    "silent_units": lambda record: record.silent_units,
}
QUANTITIES = (*_OF_SCORE, *_OF_RECORD)

# What is written unless the user says otherwise: each further one is a curve for every site.
DEFAULT = (
    *("delta", "negentropy", "skewness", "excess_kurtosis"),
    *("mean", "sd", "l_skewness", "l_kurtosis", "constant_units", "silent_units"),
)


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts in bins of equal width.

    Args:
        edges: `(BINS + 1,)`, increasing, in standard deviations from the mean.
        counts: `(BINS,)` samples in each; not whole numbers, as they come from quantiles.
    """

    edges: Floats
    counts: Floats


def check_quantities(quantities: Sequence[str] | None) -> tuple[str, ...]:
    """The quantities to write.

    Args:
        quantities: names of `QUANTITIES`; None for `DEFAULT`.

    Raises:
        ValueError: for a name that is none of them.
    """
    if quantities is None:
        return DEFAULT
    unknown = [name for name in quantities if name not in QUANTITIES]
    if unknown or isinstance(quantities, str):
        raise ValueError(f"quantities must be among {', '.join(QUANTITIES)}, got {unknown or quantities!r}")
    return tuple(quantities)


def site_name(prefix: str, site: str, source: Source) -> str:
    """What all names of a site begin with; the model itself, whose name is empty, is `(model)`."""
    middle = "/probe" if source == "probe" else ""
    return f"{prefix}{middle}/{site or '(model)'}"


def numbers(
    recorded: Recorded, *, quantities: Sequence[str] = DEFAULT, prefix: str = PREFIX
) -> dict[str, float]:
    """Every number of a recorded step by its name, NaN and infinity among them.

    Metrics that the user gave are left out: who has a tracker has them there.

    Args:
        recorded: what `watch` recorded.
        quantities: names of `QUANTITIES`.
        prefix: what names begin with.
    """
    found: dict[str, float] = {}
    for score in recorded.scores:
        begin = site_name(prefix, score.site, score.source)
        found |= {
            f"{begin}/{name}": float(_OF_SCORE[name](score)) for name in quantities if name in _OF_SCORE
        }
    for record in recorded.series:
        begin = site_name(prefix, record.site, record.source)
        found |= {
            f"{begin}/{name}": float(_OF_RECORD[name](record)) for name in quantities if name in _OF_RECORD
        }
    found[f"{prefix}/event_count"] = float(len(recorded.events))
    return found


def histograms(recorded: Recorded, *, prefix: str = PREFIX) -> Iterator[tuple[str, Histogram]]:
    """The histogram of each site's standardised sample, as `<site>/standardised`; none without quantiles."""
    tested = {(score.site, score.source): score.n_tested for score in recorded.scores}
    for record in recorded.series:
        found = histogram(record.quantiles, tested.get((record.site, record.source), 1))
        if found is not None:
            yield f"{site_name(prefix, record.site, record.source)}/standardised", found


def histogram(quantiles: Sequence[float], n_samples: int, *, bins: int = BINS) -> Histogram | None:
    """A histogram of what is known by its quantiles at `records.LEVELS`.

    `counts[i] = n_samples (F(edges[i + 1]) - F(edges[i]))`, where F is the inverse of the quantile function,
    linear between levels. An atom, where several quantiles are one value, is a step of F and falls into the
    bin that begins with it. The .1 % beyond the outermost levels are counted in the outermost bins.

    Args:
        quantiles: `(len(LEVELS),)`, not decreasing; empty when nothing could be measured.
        n_samples: what counts add up to.
        bins: how many.

    Returns:
        None where there is no width to divide.
    """
    values = np.asarray(quantiles, dtype=np.float64)
    if len(values) != len(LEVELS) or not np.isfinite(values).all() or not values[-1] > values[0]:
        return None
    edges = np.linspace(values[0], values[-1], bins + 1)
    levels = np.asarray(LEVELS)
    # The last quantile not above an edge; the next is above it, so that no width is zero.
    left = np.clip(np.searchsorted(values, edges, side="right") - 1, 0, len(values) - 2)
    width = values[left + 1] - values[left]
    inside = (edges - values[left]) / np.where(width > 0, width, 1.0)
    below = levels[left] + np.minimum(inside, 1.0) * (levels[left + 1] - levels[left])
    below[0], below[-1] = 0.0, 1.0
    return Histogram(edges=edges, counts=n_samples * np.diff(below))


def lines(recorded: Recorded) -> list[str]:
    """The events of a recorded step, one line each."""
    return [
        f"step {event.step}: {event.site or '(model)'}"
        f"{' (probe batch)' if event.source == 'probe' else ''}: {event.text}"
        for event in recorded.events
    ]


def moments(of: Histogram) -> tuple[float, float, float]:
    """Number, sum and sum of squares of a histogram's samples, each taken to lie in the middle of its bin."""
    middle = (of.edges[1:] + of.edges[:-1]) / 2
    return math.fsum(of.counts), float(of.counts @ middle), float(of.counts @ middle**2)

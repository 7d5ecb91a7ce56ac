"""Events over training: when a layer's shape jumps, leaves the Gaussian band, loses units or is not finite.

Per site and source a chart of each quantity in `CHARTED`, the side of the Gaussian band it is on, and the
rate of positive values of each unit. All of it is of bounded size, and but for the units it is made again by
replaying the records of a run. The rules and how often they are wrong are in docs/events.md.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from gaussprobe.records import CHARTED, CHARTED_NAMES, Event, EventKind, SiteRecord
from gaussprobe.scores import NEAR
from gaussprobe.types import LayerScore, Run, Source

Bools: TypeAlias = "npt.NDArray[np.bool_]"
Floats: TypeAlias = "npt.NDArray[np.float64]"

# A chart's baseline is the median of this many records; with them a jump is LIMIT of its scale.
BASELINE = 30
LIMIT = 4.5
# From so many records on a chart may call a jump. From 7 on `limit` keeps its error rate for independent
# records; those of training may be dependent, and few of them then vary too little.
FEWEST = 10
# Quantities of a chart have no unit. A scale is never taken for smaller than this, or the last digits of a
# layer that does not change at all would jump.
SMALLEST_SCALE = 1e-4

# A unit is missed when its earlier rate of positive values makes a sample without any less likely than this.
DEATH = 1e-6
# Weight that a record keeps with each that follows, in the rate of positive values.
_MEMORY = 1 - 1 / BASELINE

# Median of the absolute difference of two normal values to their sd.
_TO_SD = 1 / (math.sqrt(2) * 0.6744897501960817)
_NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class UnitCounts:
    """What is known of each unit at a recorded step.

    Args:
        units: their indices in the layer; None where they are all of its units, in order.
        n: samples of each.
        constant: `(C,)`, whether they are all equal.
        positive: `(C,)`, how many are above 0.
    """

    units: tuple[int, ...] | None
    n: int
    constant: Bools
    positive: npt.NDArray[np.int64]


@functools.lru_cache(maxsize=BASELINE)
def limit(records: int) -> float:
    """How many of its scale a value must be from a baseline of so many records, twice in a row.

    `t_(m-1)^-1(1 - a) sqrt(1/2 + pi / 2m)`, with `a` such that it is 4.5 for m = 30: the mean of two records
    less the median of m others has variance `1/2 + pi / 2m` of that of one, and the scale is estimated. Two
    in a row beyond it have about the same probability, 1e-7, for every m from 7 on.

    Args:
        records: m, those in the baseline.

    Returns:
        The limit, in units of the chart's scale.

    Reference:
        Student (1908), Biometrika 6; the variance of a median, pi/2 of that of a mean, Laplace (1818).
    """

    def spread(m: int) -> float:
        return math.sqrt(0.5 + math.pi / (2 * m))

    tail = float(stdtr(BASELINE - 1, -LIMIT / spread(BASELINE)))
    return -float(stdtrit(records - 1, tail)) * spread(records)


@dataclass(frozen=True)
class _Jump:
    before: float
    z: float


class _Chart:
    """One quantity of a site: its last records, and the one that may have been the first of a jump."""

    __slots__ = ("_pending", "_sign", "_values")

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=BASELINE)
        self._pending: float | None = None
        self._sign = 0.0

    def update(self, value: float, error: float) -> _Jump | None:
        """Take in a value and its standard error (NaN if unknown); the jump that it confirms, if any.

        A value far off waits outside of the baseline for the next: within, it would hide what follows it.
        """
        if not math.isfinite(value):
            self._settle()
            return None
        before, z = self._distance(value, error)
        far = len(self._values) >= FEWEST and abs(z) > limit(len(self._values))
        if far and self._pending is not None and math.copysign(1.0, z) == self._sign:
            self._values.clear()
            self._values.extend((self._pending, value))
            self._pending = None
            return _Jump(before, z)
        self._settle()
        if far:
            self._pending, self._sign = value, math.copysign(1.0, z)
        else:
            self._values.append(value)
        return None

    def _settle(self) -> None:
        """A value that the next did not confirm is one of the baseline: such values come."""
        if self._pending is not None:
            self._values.append(self._pending)
            self._pending = None

    def _distance(self, value: float, error: float) -> tuple[float, float]:
        """The baseline, and how many scales `value` is from it.

        In plain Python: of 30 numbers it takes a tenth of the time that arrays do.
        """
        values = self._values
        if len(values) < 3:
            return _NAN, 0.0
        center = _median(sorted(values))
        mean = math.fsum(values) / len(values)
        variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
        last = None
        steps = []
        for v in values:
            if last is not None:
                steps.append(abs(v - last))
            last = v
        steps.sort()
        scale = max(math.sqrt(variance), _TO_SD * _median(steps), SMALLEST_SCALE)
        if error > scale:  # not where it is NaN
            scale = error
        return center, (value - center) / scale


def _median(ascending: list[float]) -> float:
    half = len(ascending) // 2
    return ascending[half] if len(ascending) % 2 else (ascending[half - 1] + ascending[half]) / 2


class _Band:
    """Which side of the Gaussian band a site is on, as two records in a row have it."""

    __slots__ = ("_inside", "_last", "_level")

    def __init__(self) -> None:
        self._inside: bool | None = None  # as established; None before
        self._last: bool | None = None  # as the last record has it
        self._level = _NAN  # delta of the last record on the established side

    def update(self, record: SiteRecord, score: LayerScore) -> tuple[EventKind, float] | None:
        """Take in a record; what it establishes, and delta before, if the side has changed."""
        inside = _inside(record, score)
        confirmed = inside is not None and inside == self._last
        self._last = inside
        found: tuple[EventKind, float] | None = None
        if confirmed and inside != self._inside:
            if self._inside is not None:
                found = "entered-gaussian" if inside else "left-gaussian", self._level
            self._inside = inside
        if inside is not None and inside == self._inside:
            self._level = score.delta.median
        return found


def _inside(record: SiteRecord, score: LayerScore) -> bool | None:
    """Whether delta is surely below .0025, or surely not; None where its interval has both.

    A verdict `near-gaussian` says that delta is below .015, not that it is above .0025.
    """
    if record.verdict99 == "gaussian":
        return True
    if record.verdict99 == "non-gaussian" or score.delta.low >= NEAR:
        return False
    return None


class _Units:
    """The units of a site: which of them are dead, and how often each of the others was positive."""

    __slots__ = ("_positive", "_reviving", "_suspect", "_total", "_varied", "dead", "units")

    def __init__(self, counts: UnitCounts) -> None:
        width = len(counts.constant)
        self.units = counts.units
        self.dead = np.zeros(width, dtype=np.bool_)
        self._suspect, self._reviving, self._varied = self.dead.copy(), self.dead.copy(), self.dead.copy()
        # Decaying sums over the records: of positive values, and of all.
        self._positive, self._total = np.zeros(width), np.zeros(width)

    def fits(self, counts: UnitCounts) -> bool:
        """Whether these are the same units."""
        return len(self.dead) == len(counts.constant) and self.units == counts.units

    def update(self, counts: UnitCounts, *, rectified: bool) -> Bools:
        """Take in a record; which units it shows to have died, for the second time in a row.

        Args:
            counts: of the record.
            rectified: whether what does not fire is constant, as after a ReLU: then a rate decides.
        """
        quiet = counts.positive == 0
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where(self._total > 0, self._positive / self._total, 0.0)
            missed = quiet & (counts.n * np.log1p(-rate) < math.log(DEATH))
        frozen = counts.constant & self._varied & ~(quiet & rectified)
        suspect = (missed | frozen) & ~self.dead
        died: Bools = suspect & self._suspect

        # A unit that never was positive is alive again when it varies.
        alive = self.dead & ~counts.constant & (~quiet | (self._positive == 0))
        revived = alive & self._reviving
        self.dead = (self.dead | died) & ~revived
        self._suspect, self._reviving = suspect & ~died, alive & ~revived
        self._varied = (self._varied | ~counts.constant) & ~revived
        self._positive[revived] = self._total[revived] = 0.0

        heard = ~self.dead & ~suspect
        self._positive[heard] = _MEMORY * self._positive[heard] + counts.positive[heard]
        self._total[heard] = _MEMORY * self._total[heard] + counts.n
        return died

    def interrupted(self) -> None:
        """A record without counts: what follows it is not the second in a row."""
        self._suspect[:] = self._reviving[:] = False


@dataclass
class _Site:
    """State of a site."""

    num_features: int
    charts: dict[str, _Chart] = field(default_factory=lambda: {name: _Chart() for name in CHARTED})
    band: _Band = field(default_factory=_Band)
    units: _Units | None = None
    finite: bool = True


class Monitor:
    """Watches the records of a run for events, site by site.

    Rules: a *jump*, when a charted quantity is further than `limit` of its scale from the median of its last
    30 records twice in a row, on one side; then its chart starts again. The scale is the largest of the sd of
    those records, `1.048` times the median absolute difference of neighbours among them (sd by differences),
    the standard error within the step, and `1e-4`. *left-gaussian* and *entered-gaussian*, when two records
    in a row have delta surely on the other side of .0025 than before. *units-died*, when units became
    constant, or have no positive value though their earlier rate p of positive values makes that
    improbable, `(1-p)^n < 1e-6`, twice in a row. *non-finite*, at once, and again after finite records.

    State is kept for each site and source: 5 charts of at most 30 numbers, and 20 bytes for each unit.
    """

    def __init__(self) -> None:
        self._sites: dict[tuple[Source, str], _Site] = {}
        self._changed: dict[tuple[Source, str], str] = {}

    @classmethod
    def replay(cls, run: Run) -> Monitor:
        """The monitor as it was after the last record of a run; of single units nothing is recorded.

        Which units are dead is therefore forgotten: those that were are not reported again, as units that
        are dead from the beginning are not, and each rate of positive values is learned anew.

        Args:
            run: with series, and the score of each record.

        Returns:
            A monitor for what follows.

        Raises:
            ValueError: if a record has no score.
        """
        monitor = cls()
        scores = {(score.source, score.site, score.step): score for score in run.scores}
        for record in run.series:
            score = scores.get((record.source, record.site, record.step))
            if score is None:
                where = f"{record.site!r} at step {record.step}"
                raise ValueError(f"run must have the score of each record; got none of {where}")
            monitor.update(record, score)
        monitor.notes()
        return monitor

    def notes(self) -> list[str]:
        """Sentences on sites whose charts were started again since this was last asked."""
        notes = list(self._changed.values())
        self._changed.clear()
        return notes

    def update(
        self,
        record: SiteRecord,
        score: LayerScore,
        units: UnitCounts | None = None,
        *,
        nonfinite: int | None = None,
    ) -> list[Event]:
        """Take in a site at a recorded step; steps of a site in order.

        Args:
            record: of the site.
            score: of the same site and step.
            units: of its units; None when nothing of them is known.
            nonfinite: how many values were not finite, for the event that says so.

        Returns:
            The events it is cause for, most often none.

        Raises:
            ValueError: if `score` is not of the record's site, step and source, or the counts do not have
                the shape `(C,)`.
        """
        _check(record, score, units)
        site = self._site(record, score)
        bad = score.departure == "non-finite"
        events = []
        if bad and site.finite:
            count = _NAN if nonfinite is None else float(nonfinite)
            text = score.notes[0] if score.notes else "values are no longer finite"
            events.append(_event(record, "non-finite", before=0.0, after=count, text=text))
        site.finite = not bad
        events += _band_events(site, record, score)
        events += _jumps(site, record, score)
        events += _deaths(site, record, score, units)
        return events

    def _site(self, record: SiteRecord, score: LayerScore) -> _Site:
        key = (record.source, record.site)
        known = self._sites.get(key)
        if known is not None and known.num_features == score.num_features:
            return known
        if known is not None:
            self._changed[key] = (
                f"{record.site} had {known.num_features:,} units and has {score.num_features:,} from step "
                f"{record.step:,} on: its charts start again"
            )
        self._sites[key] = _Site(num_features=score.num_features)
        return self._sites[key]


def _check(record: SiteRecord, score: LayerScore, units: UnitCounts | None) -> None:
    wanted, got = ((one.source, one.site, one.step) for one in (record, score))
    if wanted != got:
        raise ValueError(f"score must be of the record's source, site and step {wanted}; got {got}")
    if units is not None and not (units.constant.ndim == 1 and units.constant.shape == units.positive.shape):
        raise ValueError(
            "constant and positive of units must have one shape (C,); "
            f"got {units.constant.shape} and {units.positive.shape}"
        )


def _event(
    record: SiteRecord,
    kind: EventKind,
    *,
    before: float,
    after: float,
    text: str,
    quantity: str = "",
    z: float = _NAN,
) -> Event:
    return Event(
        step=record.step,
        site=record.site,
        source=record.source,
        kind=kind,
        quantity=quantity,
        before=before,
        after=after,
        z=z,
        text=text,
    )


def _jumps(site: _Site, record: SiteRecord, score: LayerScore) -> list[Event]:
    found = []
    for name in CHARTED:
        value = score.delta.median if name == "delta" else getattr(record, name)
        jump = site.charts[name].update(value, record.errors.get(name, _NAN))
        if jump is not None:
            text = f"{CHARTED_NAMES[name]} jumped from {jump.before:.4g} to {value:.4g} (z = {jump.z:.1f})"
            found.append(
                _event(record, "jump", before=jump.before, after=value, text=text, quantity=name, z=jump.z)
            )
    return found


def _band_events(site: _Site, record: SiteRecord, score: LayerScore) -> list[Event]:
    found = site.band.update(record, score)
    if found is None:
        return []
    kind, before = found
    after = score.delta.median
    verb = "left" if kind == "left-gaussian" else "entered"
    text = f"{verb} the Gaussian band: delta was {before:.4g} and is {after:.4g}"
    return [_event(record, kind, before=before, after=after, text=text, quantity="delta")]


def _deaths(site: _Site, record: SiteRecord, score: LayerScore, counts: UnitCounts | None) -> list[Event]:
    if counts is None:
        if site.units is not None:
            site.units.interrupted()
        return []
    if site.units is None or not site.units.fits(counts):
        site.units = _Units(counts)
    before = int(site.units.dead.sum())
    died = np.flatnonzero(site.units.update(counts, rectified="activation" in score.kind))
    if not len(died):
        return []
    names = [int(c) if counts.units is None else counts.units[c] for c in died]
    constant = int(counts.constant[died].sum())
    reasons = [f"{constant:,} constant"] if constant else []
    if constant < len(died):
        reasons.append(f"{len(died) - constant:,} without a positive value")
    text = f"{len(died):,} of {len(counts.constant):,} units died ({', '.join(reasons)}): {_listed(names)}"
    after = int(site.units.dead.sum())
    return [_event(record, "units-died", before=float(before), after=float(after), text=text)]


def _listed(units: list[int], most: int = 8) -> str:
    shown = ", ".join(str(unit) for unit in units[:most])
    return shown if len(units) <= most else f"{shown}, ..."

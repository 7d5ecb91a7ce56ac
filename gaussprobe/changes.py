"""Two runs held side by side: sites matched by name, and what changed from the first to the second.

Nothing here imports torch: runs come from a file, or from a scan that has ended.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from gaussprobe.errors import SelectionError
from gaussprobe.types import KINDS, Kind, LayerScore, Metadata, Mode, Run, Source, Summary, is_headline

# Numbers of a site that are compared: attributes of `LayerScore`. The first two have intervals, and are
# corrected for the number of samples.
INTERVALS = ("delta", "negentropy")
MEASURES = (*INTERVALS, "qq_r2", "ks_distance", "wasserstein", "skewness", "excess_kurtosis")

_SHOWN = 5  # names in a message
# What a description of data says beside which data they are.
_NOT_DATA = frozenset({"notes", "batch_size", "every", "steps"})
_NOT_COMPARABLE = "numbers are not comparable"


@dataclass(frozen=True, kw_only=True)
class Change:
    """A number in both runs, and the second less the first.

    Args:
        first, second: the number; the median over units.
        change: the difference; NaN where either is, or both are infinite.
        low, high: its 95 % interval; NaN where there is none.
    """

    first: float
    second: float
    change: float
    low: float = math.nan
    high: float = math.nan

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and 0 is not in it."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, kw_only=True)
class SiteChange:
    """A site that both runs have.

    Args:
        site: its name.
        kind: its kinds in either run.
        first, second: its scores.
        differences: one to each of `MEASURES`.
        notes: what a reader of the differences must know.
    """

    site: str
    kind: tuple[Kind, ...]
    first: LayerScore
    second: LayerScore
    differences: Mapping[str, Change]
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> bool:
        """Whether this site counts in headlines: the output of a nonlinearity does not."""
        return is_headline(self.kind)

    @property
    def delta(self) -> Change:
        """What the order of sites goes by."""
        return self.differences["delta"]

    @property
    def verdict_changed(self) -> bool:
        """Whether the verdict is another."""
        return self.first.verdict != self.second.verdict

    @property
    def changed(self) -> bool:
        """Whether the interval of the change of delta excludes 0, or the verdict is another."""
        return self.delta.excludes_zero or self.verdict_changed


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What changed from one run to another.

    Args:
        first, second: where the runs came from.
        step_first, step_second: the step that is compared, 0 for a scan.
        source_first, source_second: whether of the forward passes, or of a watch's fixed batch.
        sites: in both: those that count by falling |change of delta|, NaN last, then outputs of
            nonlinearities likewise.
        only_first, only_second: names of sites in one of the runs, in execution order.
        warnings: what keeps the numbers from being comparable, then what the runs themselves warn of.
    """

    first: Metadata
    second: Metadata
    step_first: int
    step_second: int
    source_first: Source
    source_second: Source
    sites: tuple[SiteChange, ...]
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def changes(
    first: Run,
    second: Run,
    *,
    step_first: int | None = None,
    step_second: int | None = None,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
) -> Changes:
    """What changed from the first run to the second, site by site.

    Differences are `second - first` of medians over units; those of delta and negentropy have the interval of
    `change`. Of a watched run with a fixed batch its numbers are taken, unless like is then compared with
    unlike.

    Args:
        first, second: runs of `scan`, of `watch`, or one of each.
        step_first, step_second: a recorded step; None for the last. A scan has step 0.
        include: shell-style patterns of site names to compare, None for all.
        exclude: patterns of site names to leave out.

    Returns:
        The changes, with sites in one of the runs by name, and warnings where numbers are not comparable.

    Raises:
        SelectionError: for a step that was not recorded, naming the nearest, patterns that match nothing, or
            runs without a site in common.
        ValueError: for a step that is no integer.
    """
    for name, run, step in (("first", first, step_first), ("second", second, step_second)):
        check_step(run, step, name=name)
    sources = _sources(first, second, step_first, step_second)
    steps = _step(first, sources[0], step_first), _step(second, sources[1], step_second)
    scores = _scores(first, sources[0], steps[0]), _scores(second, sources[1], steps[1])
    wanted = _selected([*scores[0], *scores[1]], include, exclude)
    one, two = ({name: s for name, s in found.items() if name in wanted} for found in scores)
    both = [name for name in one if name in two]
    if not both:
        raise SelectionError(f"no site is in both runs\nthe first has {_some(one)}; the second {_some(two)}")
    found = [_site(name, one[name], two[name]) for name in both]
    return Changes(
        first=first.metadata,
        second=second.metadata,
        step_first=steps[0],
        step_second=steps[1],
        source_first=sources[0],
        source_second=sources[1],
        sites=tuple(sorted(found, key=_order)),
        only_first=tuple(name for name in one if name not in two),
        only_second=tuple(name for name in two if name not in one),
        warnings=tuple(_warnings(first, second, sources)),
    )


def change(first: Summary, second: Summary) -> Change:
    """The difference of two medians with an interval made from theirs, limit by limit (MOVER).

    With medians m, limits l and u, and d = m2 - m1:
    `L = d - sqrt((m2 - l2)^2 + (u1 - m1)^2)`, `U = d + sqrt((u2 - m2)^2 + (m1 - l1)^2)`.

    Null hypothesis: none; an interval estimate, for independent samples. Where both saw the same examples
    their errors mostly go together, and the interval is on the safe side.

    Args:
        first, second: of one effect size at one site, with intervals of the same level.

    Returns:
        The difference `second - first`; without an interval where either has none or it is not finite.

    Reference:
        Zou & Donner (2008), Statistics in Medicine 27, 1693: the square-and-add limits for a difference.
    """
    m1, m2 = first.median, second.median
    d = m2 - m1
    # A limit on the far side of its median, as delta below 0 has, makes the interval wider, never narrower.
    low = d - math.hypot(m2 - second.low, first.high - m1)
    high = d + math.hypot(second.high - m2, m1 - first.low)
    # hypot(inf, NaN) is inf: each limit is looked at.
    limits = (first.low, first.high, second.low, second.high)
    if not math.isfinite(d) or any(math.isnan(limit) for limit in limits):
        low = high = math.nan
    return Change(first=m1, second=m2, change=d, low=low, high=high)


def check_step(run: Run, step: int | None, *, name: str) -> None:
    """Refuse a step that a run has not recorded: to be asked before a long scan of the other.

    Args:
        run: the run.
        step: the step, None for the last.
        name: `"first"` or `"second"`, for messages.

    Raises:
        SelectionError: naming the nearest recorded steps.
        ValueError: for a step that is no integer.
    """
    if step is not None and (isinstance(step, bool) or not isinstance(step, int)):
        raise ValueError(f"step_{name} must be an integer, or None for the last; got {step!r}")
    recorded = sorted({score.step for score in run.scores})
    if not recorded:
        raise SelectionError(
            f"the {name} run has no scores: there is nothing to compare\n"
            "name a run of scan, or of watch with a recorded step"
        )
    if step is not None and step not in recorded:
        nearest = sorted(sorted(recorded, key=lambda known: abs(known - step))[:_SHOWN])
        has = f"{len(recorded):,} recorded step{'' if len(recorded) == 1 else 's'}"
        raise SelectionError(
            f"the {name} run has no step {step:,}\n"
            f"nearest of its {has}: {', '.join(f'{known:,}' for known in nearest)}"
        )


# -- which numbers of a run


def _sources(
    first: Run, second: Run, step_first: int | None, step_second: int | None
) -> tuple[Source, Source]:
    """A source of each: of one mode where that can be, the fixed batch before the training forward."""
    pairs = [(a, b) for a in _has(first, step_first) for b in _has(second, step_second)]
    return next((p for p in pairs if _mode(first, p[0]) == _mode(second, p[1])), pairs[0])


def _has(run: Run, step: int | None) -> list[Source]:
    """Sources at a step, or at any, the one to look at first."""
    known: tuple[Source, ...] = ("probe", "forward")
    return [
        source for source in known if any(s.source == source and step in (None, s.step) for s in run.scores)
    ]


def _mode(run: Run, source: Source) -> Mode:
    """How the model ran: a fixed batch is evaluated."""
    return "eval" if source == "probe" else run.metadata.mode


def _step(run: Run, source: Source, step: int | None) -> int:
    return max(s.step for s in run.scores if s.source == source) if step is None else step


def _scores(run: Run, source: Source, step: int) -> dict[str, LayerScore]:
    """Scores by site, in execution order; the later one where a site was recorded twice."""
    return {score.site: score for score in run.scores if score.source == source and score.step == step}


def _selected(
    names: Sequence[str], include: str | Sequence[str] | None, exclude: str | Sequence[str] | None
) -> set[str]:
    """Names that patterns leave.

    Raises:
        SelectionError: if that is none of them.
    """
    kept, left = _patterns(include), _patterns(exclude)
    wanted = {name for name in names if kept is None or any(fnmatchcase(name, p) for p in kept)}
    if kept is not None and not wanted:
        near = difflib.get_close_matches(", ".join(kept).strip("*?"), names, n=3, cutoff=0.5)
        nearest = f"nearest: {', '.join(dict.fromkeys(near))}" if near else f"they are: {_some(names)}"
        raise SelectionError(f"include {', '.join(kept)!r} matches none of the sites\n{nearest}")
    wanted = {name for name in wanted if not any(fnmatchcase(name, p) for p in left or ())}
    if not wanted:
        raise SelectionError(f"exclude {', '.join(left or ())!r} leaves none of the sites")
    return wanted


def _patterns(given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    return (given,) if isinstance(given, str) else None if given is None else tuple(given)


def _some(names: Sequence[str] | Mapping[str, Any]) -> str:
    known = list(dict.fromkeys(names))
    return (", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")) or "none"


# -- what became of a site


def _site(name: str, first: LayerScore, second: LayerScore) -> SiteChange:
    differences = {
        measure: change(getattr(first, measure), getattr(second, measure))
        if measure in INTERVALS
        else _plain(getattr(first, measure), getattr(second, measure))
        for measure in MEASURES
    }
    return SiteChange(
        site=name,
        kind=tuple(kind for kind in KINDS if kind in (*first.kind, *second.kind)),
        first=first,
        second=second,
        differences=differences,
        notes=tuple(_notes(first, second)),
    )


def _plain(first: float, second: float) -> Change:
    return Change(first=first, second=second, change=second - first)


def _notes(first: LayerScore, second: LayerScore) -> Iterator[str]:
    """Why the two may be unlike, and why a number is missing."""
    if set(first.kind) != set(second.kind):
        kinds = ("+".join(score.kind) or "of no kind" for score in (first, second))
        yield f"{' in the first, '.join(kinds)} in the second: perhaps another layer of the same name"
    if first.num_features != second.num_features:
        yield f"{first.num_features:,} units in the first, {second.num_features:,} in the second"
    if first.n_tested != second.n_tested:
        yield (
            f"{first.n_tested:,} samples tested in the first, {second.n_tested:,} in the second: "
            "of all numbers delta and negentropy alone are corrected for that"
        )
    reasons = [_missing(score) for score in (first, second)]
    if reasons[0] == reasons[1]:
        yield from (f"{what} in both{why}" for what, why in reasons[:1] if what)
        return
    for name, (what, why) in zip(("first", "second"), reasons, strict=True):
        if what:
            yield f"{what} in the {name}{why}"


def _missing(score: LayerScore) -> tuple[str, str]:
    """What a score lacks, and why; two empty texts where it has a delta with an interval."""
    if math.isnan(score.delta.median):
        return "no delta", f": {score.notes[0] if score.notes else score.departure}"
    if math.isnan(score.delta.low) or math.isnan(score.delta.high):
        return "no interval of delta", ""
    return "", ""


def _order(site: SiteChange) -> tuple[bool, bool, float]:
    """Those that count first, then by falling |change of delta|; NaN last, in execution order."""
    size = abs(site.delta.change)
    return not site.headline, math.isnan(size), 0.0 if math.isnan(size) else -size


# -- what a reader must be told


def _warnings(first: Run, second: Run, sources: tuple[Source, Source]) -> Iterator[str]:
    """Ways in which the runs differ, then their own warnings."""
    one, two = first.metadata, second.metadata
    modes = {"eval": "evaluation", "train": "training"}
    for what, a, b in (
        ("views", one.view, two.view),
        ("modes", modes[_mode(first, sources[0])], modes[_mode(second, sources[1])]),
        ("max_samples", f"{one.max_samples:,}", f"{two.max_samples:,}"),
        ("versions of gaussprobe", one.gaussprobe, two.gaussprobe),
    ):
        if a != b:
            yield f"{what} differ ({a} in the first, {b} in the second): {_NOT_COMPARABLE}"
    if one != two and (said := _of_data(one.data, two.data)):
        yield said
    for warning in dict.fromkeys((*first.warnings, *second.warnings)):
        whose = [name for name, run in (("first", first), ("second", second)) if warning in run.warnings]
        yield f"{'both' if len(whose) == 2 else 'the ' + whose[0]}: {warning}"


def _of_data(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """How descriptions of data differ; empty where they do not."""
    names = [name for name in dict.fromkeys((*first, *second)) if name not in _NOT_DATA]
    unlike = [name for name in names if first.get(name) != second.get(name)]
    if unlike:
        said = "; ".join(f"{n}: {first.get(n, 'none')!s:.60}, {second.get(n, 'none')!s:.60}" for n in unlike)
        return f"data differ ({said}): {_NOT_COMPARABLE}"
    if first.get("watched") is True:
        return "a watched run does not keep what it was fed: numbers are comparable if that was alike"
    return ""

"""From trials to what they show: summaries, and differences on the same seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from gaussprobe.comparison import (
    MEASURES,
    Comparison,
    MetricSummary,
    Pair,
    SiteComparison,
    SiteNumbers,
    Trial,
    summarised,
)
from gaussprobe.paired import Difference, adjusted, difference, quietly
from gaussprobe.trials import summaries
from gaussprobe.trials.summaries import mean_of
from gaussprobe.types import is_headline


def compared(
    settings: Sequence[str], seeds: Sequence[int], trials: Sequence[Trial], description: Mapping[str, str]
) -> Comparison:
    """Settings side by side.

    Args:
        settings: names, the first of which the others are held against.
        seeds: that were asked for.
        trials: that were run.
        description: of what was run.
    """
    said: list[str] = []
    ended = {name: {t.seed: t for t in trials if t.setting == name and not t.failure} for name in settings}
    for trial in trials:
        if trial.failure:
            said.append(f"{trial.setting}, seed {trial.seed}: {trial.raised}")
    for note in dict.fromkeys(note for trial in trials for note in trial.notes):
        where = [f"{t.setting} {t.seed}" for t in trials if note in t.notes]
        said.append(f"{note} (in {_listed(where)})")
    said += _unsteady(ended)
    metrics = {name: _summaries(found) for name, found in ended.items()}
    pairs = [_pair(settings[0], other, ended, said) for other in settings[1:]]
    return Comparison(
        settings=tuple(settings),
        seeds=tuple(seeds),
        trials=tuple(trials),
        metrics=metrics,
        pairs=tuple(pairs),
        courses={name: summaries.courses(found) for name, found in ended.items()},
        warnings=tuple(said),
        description=description,
    )


def _unsteady(ended: Mapping[str, Mapping[int, Trial]]) -> list[str]:
    """Metrics that some trials have and others not, or that are not finite, by name."""
    said = []
    every = [trial for found in ended.values() for trial in found.values()]
    for name in dict.fromkeys(name for trial in every for name in trial.metrics):
        without = [f"{t.setting} {t.seed}" for t in every if name not in t.metrics]
        if without:
            said.append(f"metric {name!r} is missing from {_listed(without)}")
        broken = [f"{t.setting} {t.seed}" for t in every if not math.isfinite(t.metrics.get(name, 0.0))]
        if broken:
            said.append(f"metric {name!r} is not finite in {_listed(broken)}: left out there")
    return said


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _summaries(found: Mapping[int, Trial]) -> dict[str, MetricSummary]:
    names = dict.fromkeys(name for trial in found.values() for name in trial.metrics)
    return {
        name: summarised({seed: t.metrics.get(name, math.nan) for seed, t in found.items()}) for name in names
    }


def _pair(first: str, second: str, ended: Mapping[str, Mapping[int, Trial]], said: list[str]) -> Pair:
    """Differences between two settings over the seeds that ended in both."""
    a, b = ended[first], ended[second]
    seeds = [seed for seed in a if seed in b]
    if not seeds:
        said.append(f"{first} and {second} have no seed in common that ended: nothing is compared")
    names = dict.fromkeys(name for seed in seeds for name in a[seed].metrics if name in b[seed].metrics)
    metrics = {}
    for name in names:
        found = _difference([(a[s].metrics.get(name), b[s].metrics.get(name)) for s in seeds])
        if found is not None:
            metrics[name] = found
            if found.reason:
                said.append(f"{second} against {first}, {name}: no interval, {found.reason}")
    return Pair(
        first=first,
        second=second,
        metrics=metrics,
        sites=_sites(first, second, ended, seeds, said),
        robustness=summaries.robustness(first, second, a, b, seeds, said),
        cost=summaries.cost(first, second, b),
    )


def _difference(values: Sequence[tuple[float | None, float | None]]) -> Difference | None:
    """Of the pairs that are numbers; None where there is none."""
    kept = [
        (x, y) for x, y in values if x is not None and y is not None and math.isfinite(x) and math.isfinite(y)
    ]
    if not kept:
        return None
    return quietly(difference, [x for x, _ in kept], [y for _, y in kept])


def _sites(
    first: str,
    second: str,
    ended: Mapping[str, Mapping[int, Trial]],
    seeds: Sequence[int],
    said: list[str],
) -> tuple[SiteComparison, ...]:
    """Sites that both have, matched by name, in the execution order of the first."""
    if not seeds:
        return ()
    tables = [
        {seed: {one.site: one for one in ended[name][seed].sites} for seed in seeds}
        for name in (first, second)
    ]
    shared = [name for name in tables[0][seeds[0]] if all(name in t[s] for t in tables for s in seeds)]
    if not shared:
        without = [n for n, t in zip((first, second), tables, strict=True) if not any(t[s] for s in seeds)]
        why = f"{' and '.join(without)} measured none" if without else "no name is the same"
        said.append(f"{first} and {second} share no site ({why}): layers are not compared")
    said += _left_out(first, second, [t[s] for t in tables for s in seeds], shared)
    found: dict[str, dict[str, Difference]] = {name: {} for name in shared}
    kinds = {name: tables[0][seeds[0]][name].kind for name in shared}
    for measure in MEASURES:
        of = {
            name: _difference(
                [(_of(tables[0][s][name], measure), _of(tables[1][s][name], measure)) for s in seeds]
            )
            for name in shared
        }
        for counted in (True, False):  # outputs of nonlinearities are a group of their own
            known = {
                name: one
                for name, one in of.items()
                if one is not None and is_headline(kinds[name]) is counted
            }
            for name, one in zip(known, adjusted(list(known.values())), strict=True):
                found[name][measure] = one
    return tuple(
        SiteComparison(
            site=name,
            kind=kinds[name],
            means={
                measure: _means((first, second), [[_of(t[s][name], measure) for s in seeds] for t in tables])
                for measure in MEASURES
                if measure in found[name]  # nothing is said of what was not measured
            },
            differences=found[name],
        )
        for name in shared
    )


def _left_out(
    first: str, second: str, trials: Sequence[Mapping[str, SiteNumbers]], shared: Sequence[str]
) -> Iterator[str]:
    """Sites that count and are not in every trial, and numbers that are not finite in each, by name."""
    counted = {name: None for trial in trials for name, one in trial.items() if is_headline(one.kind)}
    lacking = [name or "(model)" for name in counted if name not in shared]
    if lacking and shared:
        yield f"{second} against {first}: not in every trial, and not compared: {_listed(lacking)}"
    finite = {
        (name, measure): sum(math.isfinite(_of(trial[name], measure)) for trial in trials)
        for name in shared
        if name in counted
        for measure in MEASURES
    }
    some = [key for key, count in finite.items() if 0 < count < len(trials)]
    if some:
        sites, measures = (list(dict.fromkeys(each)) for each in zip(*some, strict=True))
        yield (
            f"{second} against {first}: not finite on some seeds, left out there: "
            f"{_listed(measures)} of {_listed([name or '(model)' for name in sites])}"
        )


def _means(settings: Sequence[str], values: Sequence[Sequence[float]]) -> dict[str, float]:
    """Of both settings over the seeds that their difference is over."""
    kept = [both for both in zip(*values, strict=True) if all(map(math.isfinite, both))]
    return {name: mean_of([both[k] for both in kept]) for k, name in enumerate(settings)}


def _of(site: SiteNumbers, measure: str) -> float:
    return float(getattr(site, measure))

"""What a laboratory says in words: whether layers are normal, down to which, and where the setting lies."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from gaussprobe.laboratory import Laboratory
from gaussprobe.propagated import LayerLaw
from gaussprobe.reports import text

_STEPS = (1, 2, 3, 5)  # and their multiples by powers of ten; 2 and 3 of them from 20 on
_FEW = 12  # layers that are all shown


@dataclass(frozen=True, kw_only=True)
class Null:
    """One of the two null hypotheses, and where it was rejected.

    Args:
        title: what it is called.
        distances: D of each layer.
        adjusted: p of each, adjusted over layers; NaN where there is none.
        level: below which a layer is rejected.
    """

    title: str
    distances: tuple[float, ...]
    adjusted: tuple[float, ...]
    level: float

    @property
    def known(self) -> list[int]:
        """Layers that were tested, counted from 1."""
        return [layer for layer, p in enumerate(self.adjusted, start=1) if not math.isnan(p)]

    @property
    def rejected(self) -> list[int]:
        """Those of them that are rejected."""
        return [layer for layer in self.known if self.adjusted[layer - 1] < self.level]

    @property
    def worst(self) -> int:
        """The layer with the largest distance."""
        return max(self.known, key=lambda layer: self.distances[layer - 1])

    def distance(self, layer: int) -> str:
        """D of a layer, in words."""
        return text.number(self.distances[layer - 1])


def standard(found: Laboratory) -> Null:
    """N(0,1)."""
    run = found.propagation
    return Null(
        title="N(0,1)",
        distances=tuple(run.over_layers("ks_distance").tolist()),
        adjusted=found.adjusted_pvalue,
        level=run.level,
    )


def fitted(found: Laboratory) -> Null:
    """A normal law of any mean and variance."""
    run = found.propagation
    return Null(
        title="a normal law of any mean and variance",
        distances=tuple(run.over_layers("fitted_ks_distance").tolist()),
        adjusted=found.fitted_adjusted_pvalue,
        level=run.level,
    )


def title(found: Laboratory) -> str:
    """What was run, in a line."""
    run = found.propagation
    return (
        f"{run.activation}, {run.weight} weights, {counted(len(run), 'layer')} of {widths(run.widths)}, "
        f"{run.draws:,} networks"
    )


def widths(given: Sequence[int]) -> str:
    """`width 10`; `widths 64, 10 x 32, 1`: neighbours that are alike are counted."""
    groups = [(width, len(list(same))) for width, same in itertools.groupby(given)]
    if len(groups) == 1:
        return f"width {groups[0][0]}"
    return "widths " + ", ".join(f"{width}" if n == 1 else f"{n} x {width}" for width, n in groups)


def counted(number: int, one: str) -> str:
    """`1 layer`, `6 layers`."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def sentences(found: Laboratory) -> tuple[list[str], list[str]]:
    """What to take away: of the laws (what broke, both nulls); of the phase and of two inputs.

    Symbols are written `chi_1`, `sigma_w`, `sigma_b`, numbers in ASCII.
    """
    laws = [_broken(found), _standard(found), _shape(found)]
    others = [_phase(found), _tending(found), _alike(found)]
    return [one for one in laws if one], [one for one in others if one]


def _broken(found: Laboratory) -> str:
    run = found.propagation
    first = run.first_nonfinite
    if first is None:
        return ""
    many = f"{run[first - 1].n_nonfinite:,} of {run.draws:,} networks"
    return f"Values are NaN or infinite from layer {first} on, there in {many}."


def _standard(found: Laboratory) -> str:
    """Whether layers are N(0,1)."""
    null = standard(found)
    if not null.known:
        return "No layer could be tested."
    if not null.rejected:
        return (
            f"{_none(null)} by {found.propagation.draws:,} networks "
            f"(D at most {_between(found, null.worst)}, at layer {null.worst})."
        )
    known = math.isclose(found.predicted_variance[0], 1.0)
    return (
        f"{_where(null)}; D is largest, {_between(found, null.worst)}, at layer {null.worst}."
        f"{_by_chance(null) if known else ''}"
    )


def _shape(found: Laboratory) -> str:
    """Whether layers are normal at all."""
    null = fitted(found)
    if not null.known:
        return ""
    scale = _scale(found) if standard(found).rejected else ""
    if null.rejected:
        return (
            f"{_where(null)}; D is largest, {null.distance(null.worst)}, at layer {null.worst}."
            f"{_by_chance(null)}{scale}"
        )
    if not standard(found).rejected:
        return ""
    return f"{_none(null)} (D at most {null.distance(null.worst)}).{scale}"


def _none(null: Null) -> str:
    """That no layer can be told from a null hypothesis."""
    n = len(null.known)
    which = f"None of the {n} layers" if n > 1 else "The one layer"
    tested = "" if n == len(null.adjusted) else " that could be tested"
    return f"{which}{tested} {'can' if n > 1 else 'cannot'} be told from {null.title}"


def _by_chance(null: Null) -> str:
    """That a null hypothesis known to hold in layer 1, whose weights are normal, was rejected there."""
    return (
        " In layer 1 it holds by construction: there it is rejected by chance." if 1 in null.rejected else ""
    )


def _where(null: Null) -> str:
    """At which layers a null hypothesis is rejected."""
    first, known, rejected = null.rejected[0], null.known, null.rejected
    below = f"(adjusted p below {text.pointed(null.level, 2)})"
    name = null.title[0].upper() + null.title[1:]
    if rejected == known:
        every = "every layer" if len(known) == len(null.adjusted) else "every layer that could be tested"
        return f"{name} is rejected at {every} {below}" if len(known) > 1 else f"{name} is rejected {below}"
    if rejected == known[known.index(first) :]:
        kept = "layer 1" if first == known[0] + 1 == 2 else f"layers {known[0]} to {first - 1}"
        return f"{name} is rejected from layer {first} on {below}, not at {kept}"
    return f"{name} is rejected at {len(rejected)} of {counted(len(known), 'layer')} {below}, first {first}"


def _between(found: Laboratory, layer: int) -> str:
    law = found.propagation[layer - 1]
    return " ".join(text.interval(law.ks_distance, law.ks_low, law.ks_high)).strip()


def _scale(found: Laboratory) -> str:
    """Where layers have another scale than N(0,1): the first, and the last that could be measured."""
    laws = [law for law in found.propagation if math.isfinite(law.sd)]
    ends = list({law.layer: law for law in (laws[0], laws[-1])}.values()) if laws else []
    if not ends:
        return ""
    told = [f"{text.number(law.sd)} at layer {law.layer}" for law in ends]
    return f" The sd, 1 for N(0,1), is {' and '.join(told)}."


def _phase(found: Laboratory) -> str:
    """On which side of the edge the setting lies, and where the edge is."""
    point, edge = found.point, found.edge
    # Maps see the sd of weights: sigma_w is that only for laws of sd 1.
    w = "sigma_w" if found.weight_sd == 1 else "sd of weights"
    at = f"at {w} {_exact(point.sigma_w)}, sigma_b {_exact(point.sigma_b)}"
    if math.isnan(edge.sigma_w):
        where = f"there is no edge at this sigma_b{_because(edge.reason)}"
    else:
        where = f"the edge at this sigma_b is {w} {_exact(edge.sigma_w)}{_because(edge.reason)}"
    if point.phase == "undetermined":
        return f"The phase {at} is undetermined{_because(point.reason)}; {where}."
    name = "On the edge of chaos" if point.phase == "edge" else f"In the {point.phase} phase"
    return f"{name} {at}: chi_1 {_exact(point.chi1)}; {where}."


def _tending(found: Laboratory) -> str:
    """What infinitely wide layers tend to, and how fast."""
    point = found.point
    said = [
        f"{what} tends to {_exact(limit)}{_by_e(depth)}"
        for what, limit, depth in (
            ("the variance", point.fixed_point, point.variance_depth),
            ("the correlation of two inputs", point.correlation_fixed_point, point.correlation_depth),
        )
        # What is kept tends to nothing: the reason says so.
        if not math.isnan(limit)
        and not (what == "the variance" and math.isinf(depth) and 0 < limit < math.inf)
    ]
    if point.reason and point.phase != "undetermined":
        said.append(text.plain(point.reason))
    return f"In infinitely wide layers {'; '.join(said)}." if said else ""


def _by_e(depth: float) -> str:
    if math.isnan(depth):
        return ""
    if math.isinf(depth):
        return ", more slowly than exponentially"
    return f", by a factor e in {text.number(depth)} layers"


def _because(reason: str) -> str:
    return f" ({text.plain(reason)})" if reason else ""


def _exact(value: float) -> str:
    """Four significant digits: sd near the edge differ in the third."""
    return text.number(value, 4)


def _alike(found: Laboratory) -> str:
    """How alike two inputs are in the last layer that could be measured."""
    known = [one for one in found.propagation.correlations if math.isfinite(one.correlation)]
    if not known:
        return ""
    last = known[-1]
    estimate, limits = text.interval(last.correlation, last.low, last.high)
    predicted = found.predicted_correlation[last.layer - 1 : last.layer]
    said = (
        f"Two inputs of correlation {text.number(found.input_correlation)} have {estimate} {limits}".rstrip()
    )
    wide = f"; infinitely wide layers {text.number(predicted[0])}" if predicted else ""
    return f"{said} at layer {last.layer}{wide}."


def level(found: Laboratory) -> str:
    """What D of one layer by itself is held against."""
    run = found.propagation
    share = f"{100 * run.level:g} %"
    return (
        f"One layer alone: D of {run.draws:,} draws from N(0,1) exceeds {text.number(run.critical_distance)} "
        f"in {share} of cases, and {text.number(run.fitted_critical_distance)} where mean and sd are fitted."
    )


def selected(found: Laboratory) -> list[int]:
    """Layers to show where there is no room for all, counted from 1.

    The first few, then 10, 20, 30, 50, 100, .., those where a null is first rejected or values first are not
    finite, and the last.
    """
    n = len(found.propagation)
    if n <= _FEW:
        return list(range(1, n + 1))
    kept = {scale * step for scale in (1, 10, 100, 1000, 10000) for step in _STEPS}
    kept |= {n, *(null.rejected[0] for null in (standard(found), fitted(found)) if null.rejected)}
    kept |= {found.propagation.first_nonfinite or n}
    return sorted(layer for layer in kept if layer <= n)


def unmeasured(found: Laboratory) -> list[tuple[str, str]]:
    """Layers with a reason why numbers are missing, neighbours with the same kind of reason together.

    What is missing of the correlation alone is told too.
    """
    laws = [law for law in found.propagation if law.reason]
    groups: list[list[LayerLaw]] = []
    for law in laws:
        if groups and _follows(groups[-1][-1], law):
            groups[-1].append(law)
        else:
            groups.append([law])
    told = [(_named([law.layer for law in group]), _reason(group)) for group in groups]
    broken = {law.layer for law in laws if law.n_nonfinite}
    alone = [one for one in found.propagation.correlations if one.reason and one.layer not in broken]
    for reason, same in itertools.groupby(alone, key=lambda one: one.reason):
        told.append((f"correlation of {_named([one.layer for one in same])}", reason))
    return told


def _follows(before: LayerLaw, law: LayerLaw) -> bool:
    alike = before.reason == law.reason or bool(before.n_nonfinite and law.n_nonfinite)
    return alike and law.layer == before.layer + 1


def _named(layers: Sequence[int]) -> str:
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]} to {layers[-1]}"


def _reason(group: Sequence[LayerLaw]) -> str:
    if len({law.reason for law in group}) == 1:
        return group[0].reason
    return f"{group[0].reason} at the first, {group[-1].n_nonfinite:,} networks at the last"

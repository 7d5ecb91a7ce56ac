"""Known laws are planted at the sites of the user's model and scored: are they called what they are?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from torch import nn

from gaussprobe import __version__, borrow, models, passes, scores
from gaussprobe import capture as captures
from gaussprobe.capture.kinds import module_kind
from gaussprobe.errors import CaptureError, DataError
from gaussprobe.planting import LAWS, Law, Planter
from gaussprobe.scan import check_arguments
from gaussprobe.types import LayerScore, PlantedLaw, Selftest

Outcome: TypeAlias = Literal["right", "false_alarms", "missed", "other_kind", "undecided"]

# Each law at so many sites at least: below, one wrong call is more than the 5 % allowed.
TIMES = 20

MAX_UNITS = 512
_MOST_MISTAKES = 50
_FEWEST_LAYERS = 5  # counted on: the memory of what is planted stays bounded


def selftest(
    model: nn.Module | str | Path,
    batches: Any = None,
    *,
    max_samples: int = 2048,
    seed: int = 0,
    batch_size: int | None = None,
    device: str | None = None,
    factory: str | None = None,
    trust_pickle: bool = False,
    progress: passes.Progress | None = None,
) -> Selftest:
    """Plant known laws around a model and its data, and count how they are called.

    The model runs on the data as in `scan`. What the sampling sees at a site is replaced by values of the
    same shape, independent over examples, of laws whose verdict is known: normal ones, normal ones whose
    neighbouring positions are alike, and one of each kind of departure. Each site gets one law, or several
    where the model has few sites, in turn; scoring then goes its usual way. What the model computes is not
    touched.

    Args:
        model, batches, max_samples, seed, batch_size, device, factory, trust_pickle, progress: as `scan` has
            them.

    Returns:
        The counts, law by law. Calls that could not be made, mostly for want of examples, are counted apart.

    Raises:
        ValueError: for an argument out of its range.
        ModelFileError, FactoryError, DataError: if the model or the data cannot be had.
        ForwardError: if the model's forward raises.
        CaptureError: if the model has no site that fires.
    """
    check_arguments("unit", max_samples, False, seed, None, "eval", MAX_UNITS)
    report = progress or passes.silent
    target = None if device is None else borrow.open_device(device)
    with borrow.isolated_rng(seed, borrow.cuda_devices(model, target)):
        report("opening the model", 0, None)
        opened = models.open_any(model, factory=factory, trust_pickle=trust_pickle)
        if isinstance(opened, models.Activations):
            raise DataError(f"{opened.name}: holds saved activations; selftest needs the model that runs")
        module = opened.module
        plan = captures.Plan(seed=seed, max_samples=max_samples, max_units=MAX_UNITS)
        planter = Planter(plan=plan, copies=_copies(module))
        # What passes by itself is not looked at: as little of it as can be is kept.
        kept = captures.Plan(seed=seed, max_samples=1, max_units=1)
        capture = captures.of(module, plan=kept, plant=planter)
        with borrow.moved(module, target):
            images = models.image_options(None, None, None)
            inputs = passes.open_inputs(batches, module, batch_size, seed, opened.folder, images)
            n_examples, notes = passes.run(capture, module, inputs, "eval", report, models.Groups(None))
    planted = planter.samples()
    if not planted:
        raise CaptureError(passes.nothing_captured(module, capture.not_captured()))
    calls = []
    for index, (law, samples) in enumerate(planted):
        report(f"scoring {samples.site.name}", index, len(planted))
        calls.append((law, scores.score(samples).score))
    laws = tally(calls)
    wrong = [
        f"{score.site}: {law.name} called {score.verdict}, {score.departure}"
        for law, score in calls
        if outcome(law, score) not in ("right", "undecided")
    ]
    return Selftest(
        gaussprobe=__version__,
        model=opened.name,
        seed=seed,
        data={**inputs.description, "n_examples": n_examples, "notes": notes},
        n_sites=len({samples.site.name for _, samples in planted}),
        laws=tuple(laws),
        mistakes=tuple(wrong[:_MOST_MISTAKES]),
        notes=(*opened.notes, *_notes(laws, min(n_examples, max_samples))),
    )


def _copies(module: nn.Module) -> int:
    """Laws for each site, by the number of layers: enough for each law to be planted often."""
    everything = list(module.modules())
    layers = sum(module_kind(one) is not None for one in everything)
    if not layers:  # a graph's modules have lost their classes
        layers = sum(not any(one.children()) for one in everything)
    return max(1, math.ceil(TIMES * len(LAWS) / max(layers, _FEWEST_LAYERS)))


def outcome(law: Law, score: LayerScore) -> Outcome:
    """How a planted law was called.

    A normal law is right as `gaussian`, without a departure; `near-gaussian` with an interval that reaches
    into that band is undecided, as `undetermined` is; all else is a false alarm. A departure is right by its
    name and as `non-gaussian`; `constant` and `non-finite` have no verdict beside their name.

    Args:
        law: what was planted.
        score: what was made of it.

    Returns:
        The name of the count it goes to.
    """
    if law.departure in ("constant", "non-finite"):
        return "right" if score.departure == law.departure else "missed"
    if law.departure == "none":
        if score.departure != "none":
            return "undecided" if score.verdict == "undetermined" else "false_alarms"
        if score.verdict == "near-gaussian" and score.delta.low < scores.NEAR:
            return "undecided"
        known: dict[str, Outcome] = {"gaussian": "right", "undetermined": "undecided"}
        return known.get(score.verdict, "false_alarms")
    if score.verdict == "undetermined":
        return "undecided"
    if score.verdict != "non-gaussian":
        return "missed"
    return "right" if score.departure == law.departure else "other_kind"


def tally(calls: Iterable[tuple[Law, LayerScore]]) -> list[PlantedLaw]:
    """Counts by law, in the order of `LAWS`, of those that were planted."""
    counts: dict[str, PlantedLaw] = {}
    for law, score in calls:
        count = counts.get(law.name, PlantedLaw(law=law.name, expected=law.departure, planted=0))
        what = outcome(law, score)
        counts[law.name] = replace(count, planted=count.planted + 1, **{what: getattr(count, what) + 1})
    return [counts[law.name] for law in LAWS if law.name in counts]


def _notes(laws: Iterable[PlantedLaw], n_tested: int) -> list[str]:
    undecided = sum(law.undecided for law in laws)
    notes = []
    if n_tested < scores.FULL_VIEW:
        notes.append(
            f"only {n_tested:,} examples: verdicts want {scores.FULL_VIEW} and more; with fewer, many are "
            "undetermined, which is neither a false alarm nor a miss"
        )
    elif undecided:
        notes.append(f"{undecided:,} calls were undecided: more than {n_tested:,} examples may decide them")
    few = [law.law for law in laws if law.planted < TIMES]
    if few:
        notes.append(f"planted fewer than {TIMES} times, so that one wrong call fails: {'; '.join(few)}")
    return notes

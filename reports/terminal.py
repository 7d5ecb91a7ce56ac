"""A run as a table in a terminal, worst layer first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from gaussprobe.reports import glossary, series, text, trust, watched
from gaussprobe.reports.columns import (
    INDENT,
    Column,
    Layout,
    Trimmed,
    column,
    say,
    show_first,
    show_list,
    some_sites,
)
from gaussprobe.reports.glossary import ViewWords
from gaussprobe.types import LayerScore, Run

_NO_PVALUE = "-"


def render(run: Run, console: Console) -> None:
    """Print a run: the headline, the layers worst first, outputs of nonlinearities, notes, gaps, warnings.

    Where there is room each site has one line; else a row is stacked and negentropy left out; below some 60
    columns each site is a short paragraph. Verdict, delta, n tested and, where there is one, the worst unit
    or example are always there, and a
    site's name is folded, never cut.

    Args:
        run: the run; the last recorded step is shown. Of a watched run the layers come by drift, each on
            one line with delta over the steps.
        console: where to print; it decides width and whether there is colour.
    """
    if series.is_watched(run):
        _watched(run, console)
        return
    layers, activations = text.split(text.shown(run))
    words = glossary.VIEW_WORDS[run.metadata.view]
    say(console, text.synthetic_sentence(run), "bold reverse yellow")
    say(console, text.headline(run), "bold")
    say(console, text.step_sentence(run))
    if layers or activations:
        console.print()
    if layers:
        _sites(layers, console, words)
    if activations:
        say(console, "Outputs of nonlinearities, not counted above", "bold")
        _sites(activations, console, words)
    if layers or activations:
        say(console, text.verdict_legend(run.metadata.view), "dim")
        _legend(layers + activations, console)
    show_list(console, "Data", text.data_notes(run))
    notes = [f"{some_sites(sites)}: {note}" for note, sites in text.gathered_notes(layers + activations)]
    show_list(console, "Notes", notes)
    show_list(console, "Capture", trust.sentences(run))
    show_list(console, "Not captured", [f"{item.site}: {item.reason}" for item in run.not_captured])
    show_list(console, "Warnings", run.warnings)
    say(console, _provenance(run), "dim")


def _watched(run: Run, console: Console) -> None:
    """Print a watched run: the headline of the last step, layers by drift, events, notes, warnings."""
    say(console, text.headline(run), "bold")
    say(console, text.step_sentence(run))
    console.print()
    view = watched.View(width=console.width, encoding=console.encoding)
    console.print(Trimmed(watched.summary(run, view)))
    console.print()
    say(console, watched.legend(view), "dim")
    console.print()
    notes = text.gathered_notes(text.shown(run))
    show_list(console, "Notes", [f"{some_sites(sites)}: {note}" for note, sites in notes])
    show_list(console, "Not captured", [f"{item.site}: {item.reason}" for item in run.not_captured])
    show_list(console, "Warnings", run.warnings)
    say(console, _provenance(run), "dim")


def _legend(scores: Sequence[LayerScore], console: Console) -> None:
    say(console, text.name_legend(score.site for score in scores), "dim")
    console.print()


def _sites(scores: Sequence[LayerScore], console: Console, words: ViewWords) -> None:
    """Print the first layout in which names have room."""
    names = [text.plain(score.site, console.encoding) for score in scores]
    kinds = [_kinds(score) for score in scores]
    wide, stacked = _wide_columns(scores, words), _stacked_columns(scores, words)
    kind = Column(header=("kind",), cells=tuple((line,) for line in kinds), right=False)
    layouts = (
        Layout(columns=[kind, *wide], kinds_below=False),
        Layout(columns=wide, room=24),
        Layout(columns=stacked, room=15),
    )
    if show_first(layouts, names, kinds, console):
        return
    for name, score in zip(names, scores, strict=True):
        _paragraph(name, score, console, words)


def _paragraph(name: str, score: LayerScore, console: Console, words: ViewWords) -> None:
    console.print(Trimmed(Text(f"{name} ({_kinds(score)})", style="bold", overflow="fold")))
    said = Text(f"{INDENT}{score.verdict}", style=watched.STYLE[score.verdict])
    console.print(Trimmed(Text.assemble(said, f", {text.departure(score)}; {text.delta_text(score)}")))
    parts = [f"worst {words.one} {' '.join(_worst(score))}"] if words.has_worst else []
    parts += [f"p {_pvalue(score)}"] if words.has_pvalues else []
    parts.append(f"n tested {score.n_tested:,} of {score.n_seen:,}")
    console.print(Trimmed(Text(INDENT + "; ".join(parts))))
    console.print()


def _kinds(score: LayerScore) -> str:
    return "+".join(score.kind) or "no kind"


def _verdicts(scores: Sequence[LayerScore]) -> tuple[str, ...]:
    return tuple(watched.STYLE[score.verdict] for score in scores)


def _intervals(scores: Sequence[LayerScore]) -> list[tuple[str, str]]:
    return [text.interval(s.delta.median, s.delta.low, s.delta.high) for s in scores]


def _wide_columns(scores: Sequence[LayerScore], words: ViewWords) -> list[Column]:
    worst = column(f"worst {words.one}", "(its delta)", cells=(" ".join(_worst(s)) for s in scores))
    tests = [
        column("units", "reject.", cells=(_rejected(s) for s in scores)),
        column("p", cells=(_pvalue(s) for s in scores)),
    ]
    return [
        Column(
            header=("verdict",),
            cells=tuple((s.verdict,) for s in scores),
            styles=_verdicts(scores),
            right=False,
        ),
        Column(header=("departure",), cells=tuple((text.departure(s),) for s in scores), right=False),
        column("delta [95% interval]", cells=(" ".join(pair).strip() for pair in _intervals(scores))),
        column("J", "(nats)", cells=(text.number(s.negentropy.median) for s in scores)),
        *([worst] if words.has_worst else []),
        *(tests if words.has_pvalues else []),
        column("n", "tested", cells=(f"{s.n_tested:,}" for s in scores)),
        column("of n", "seen", cells=(f"{s.n_seen:,}" for s in scores)),
    ]


def _stacked_columns(scores: Sequence[LayerScore], words: ViewWords) -> list[Column]:
    worst = Column(header=("worst", words.one), cells=tuple(_worst(s) for s in scores))
    test = Column(header=("p", "rej."), cells=tuple((_pvalue(s), _rejected(s)) for s in scores))
    return [
        Column(
            header=("verdict", "departure"),
            cells=tuple((s.verdict, text.departure(s)) for s in scores),
            styles=_verdicts(scores),
            right=False,
        ),
        Column(header=("delta", "[95%]"), cells=tuple((first, rest) for first, rest in _intervals(scores))),
        *([worst] if words.has_worst else []),
        *([test] if words.has_pvalues else []),
        Column(header=("n", "tested"), cells=tuple((f"{s.n_tested:,}", f"of {s.n_seen:,}") for s in scores)),
    ]


def _worst(score: LayerScore) -> tuple[str, ...]:
    unit = text.worst_unit(score.delta)
    if unit is None:
        return (text.NOT_AVAILABLE,) if math.isnan(score.delta.worst) else (text.number(score.delta.worst),)
    return f"{unit}", f"({text.number(score.delta.worst)})"


def _pvalue(score: LayerScore) -> str:
    test = text.primary(score)
    return _NO_PVALUE if test is None or test.pvalue is None else text.pvalue(test.pvalue)


def _rejected(score: LayerScore) -> str:
    test = text.primary(score)
    none = test is None or test.rejected_fraction is None
    return _NO_PVALUE if test is None or none else text.percent(test.rejected_fraction)


def _provenance(run: Run) -> str:
    metadata = run.metadata
    words = glossary.VIEW_WORDS[metadata.view]
    size = f"{metadata.max_samples:,}"
    sizes = {"unit": f"at most {size} samples per unit", "init": f"{size} initializations"}
    parts = [
        metadata.model,
        f"view {metadata.view}",
        f"{metadata.mode} mode",
        f"seed {metadata.seed}",
        sizes.get(metadata.view, f"at most {size} examples"),
        *([f"p: Simes over units of {text.PRIMARY_TEST}, - where withheld"] if words.has_pvalues else []),
        f"gaussprobe {metadata.gaussprobe}",
    ]
    return "; ".join(parts)

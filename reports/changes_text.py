"""What changed between two runs, as a table in a terminal, largest changes first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.text import Text

from gaussprobe.changes import Change, Changes, SiteChange
from gaussprobe.reports import text
from gaussprobe.reports.columns import (
    INDENT,
    Column,
    Layout,
    Trimmed,
    say,
    show_first,
    show_list,
    some_sites,
)
from gaussprobe.reports.watched import STYLE
from gaussprobe.types import LayerScore, Metadata, Source, Summary

_SAME = "same"
_MODE = {"eval": "evaluation mode", "train": "training mode"}
_LEGEND = (
    "Change: the second less the first, with its 95% interval from those of both; a site differs where that "
    "leaves out 0. Each stands by itself: where nothing changed, one site in 20 may seem to. This speaks of "
    "these two models and the inputs they saw, not of another training: for that, gaussprobe compare."
)


def show(found: Changes, console: Console, *, names: tuple[str, str] | None = None) -> None:
    """Print changes: headline, sites by falling change of delta, outputs of nonlinearities, gaps, warnings.

    Where there is room a row has the intervals of both deltas, negentropy and further numbers too; below some
    60 columns each site is a short paragraph. A site's name is folded, never cut.

    Args:
        found: the changes.
        console: where to print; it decides width and whether there is colour.
        names: what the user calls the runs; None for their models.
    """
    layers = [site for site in found.sites if site.headline]
    others = [site for site in found.sites if not site.headline]
    called = names or (found.first.model, found.second.model)
    say(console, f"First: {_run(called[0], found.first, found.step_first, found.source_first)}")
    say(console, f"Second: {_run(called[1], found.second, found.step_second, found.source_second)}")
    say(console, headline(found), "bold")
    console.print()
    if layers:
        _sites(layers, console)
    if others:
        say(console, "Outputs of nonlinearities, not counted above", "bold")
        _sites(others, console)
    say(console, _LEGEND, "dim")
    say(console, text.name_legend(site.site for site in found.sites), "dim")
    console.print()
    show_list(console, "In the first only", found.only_first)
    show_list(console, "In the second only", found.only_second)
    notes = text.gathered_notes(layers + others)
    show_list(console, "Notes", [f"{some_sites(sites)}: {note}" for note, sites in notes])
    show_list(console, "Warnings", found.warnings)


def headline(found: Changes) -> str:
    """The sentences to take away, over the layers that count: where delta differs, and which verdicts.

    Args:
        found: the changes.

    Returns:
        Text such as "delta differs in 2 of 5 layers, most in `net.3`: .0012 -> .0412, change +.0400
        [+.0352, +.0449]. The verdict is another in 1: `net.3` (gaussian -> non-gaussian)."
    """
    layers = [site for site in found.sites if site.headline]
    if not layers:
        return "No layer that counts is in both."
    one = text.noun([site.first for site in layers])
    differ = [site for site in layers if site.delta.excludes_zero]
    total = f"{len(layers)} {one}s" if len(layers) > 1 else f"1 {one}"
    if differ:
        most = differ[0]
        first, second = (text.number(value) for value in (most.delta.first, most.delta.second))
        said = (
            f"delta differs in {len(differ)} of {total}, most in `{text.plain(most.site)}`: "
            f"{first} -> {second}, change {' '.join(signed(most.delta))}."
        )
    else:
        said = f"delta is not shown to differ in any of {total}."
    if turned := [site for site in layers if site.verdict_changed]:
        which = [f"`{text.plain(s.site)}` ({s.first.verdict} -> {s.second.verdict})" for s in turned]
        said += f" The verdict is another in {len(turned)}: {some_sites(which)}."
    if lost := [site for site in layers if math.isnan(site.delta.low)]:
        which = [f"`{text.plain(s.site)}`" for s in lost]
        said += f" No interval in {len(lost)}: {some_sites(which)}."
    return said


def signed(change: Change) -> tuple[str, str]:
    """A change and its interval with their signs: `("+.0400", "[+.0352, +.0449]")`.

    Args:
        change: the change.

    Returns:
        Both in `text.interval`'s digits; `("n/a", "")` where there is no change.
    """
    estimate, limits = text.interval(change.change, change.low, change.high)
    low, _, high = limits.strip("[]").partition(", ")
    pair = f"[{_plus(change.low, low)}, {_plus(change.high, high)}]" if limits else ""
    return _plus(change.change, estimate), pair


def _plus(value: float, said: str) -> str:
    return f"+{said}" if value > 0 else said


def _run(called: str, metadata: Metadata, step: int, source: Source) -> str:
    """A run in words: its name, and what decides its numbers."""
    mode = "a fixed batch in evaluation mode" if source == "probe" else _MODE[metadata.mode]
    parts = [
        *([] if called == metadata.model else [metadata.model]),
        f"step {step:,}",
        f"view {metadata.view}",
        mode,
        f"seed {metadata.seed}",
    ]
    return f"{called} ({', '.join(parts)})"


def _sites(sites: Sequence[SiteChange], console: Console) -> None:
    """Print the first layout in which names have room."""
    names = [text.plain(site.site, console.encoding) for site in sites]
    kinds = ["+".join(site.kind) or "no kind" for site in sites]
    verdicts, change = _verdicts(sites), _change("change", "of delta", "delta", sites)
    brief = [
        *verdicts,
        _pair(("delta", "first", "second"), sites, lambda s: text.number(s.delta.median)),
        _change("change", "[95%]", "delta", sites),
    ]
    wide = [
        *verdicts,
        _pair(("delta [95%]", "of both"), sites, lambda s: _with_limits(s.delta)),
        change,
    ]
    wider = [
        *wide,
        _pair(("J [nats]", "of both"), sites, lambda s: text.number(s.negentropy.median)),
        _change("change", "of J", "negentropy", sites),
        _pair(("n", "tested"), sites, lambda s: f"{s.n_tested:,}"),
    ]
    widest = [
        *wider,
        _pair(("R^2",), sites, lambda s: text.number(s.qq_r2)),
        _pair(("KS",), sites, lambda s: text.number(s.ks_distance)),
        _pair(("W2",), sites, lambda s: text.number(s.wasserstein)),
        _pair(("skew",), sites, lambda s: text.number(s.skewness)),
        _pair(("exc.", "kurt."), sites, lambda s: text.number(s.excess_kurtosis)),
    ]
    layouts = (Layout(columns=columns, room=24) for columns in (widest, wider, wide))
    if show_first((*layouts, Layout(columns=brief, room=12)), names, kinds, console):
        return
    for name, kind, site in zip(names, kinds, sites, strict=True):
        _paragraph(name, kind, site, console)


def _verdicts(sites: Sequence[SiteChange]) -> list[Column]:
    """Verdict and departure of the first, and of the second where they are others."""
    first = Column(
        header=("first", "run"),
        cells=tuple((s.first.verdict, text.departure(s.first)) for s in sites),
        styles=tuple("" if s.verdict_changed else STYLE[s.first.verdict] for s in sites),
        right=False,
    )
    second = Column(
        header=("second", "run"),
        cells=tuple(
            (
                _turn(s.first.verdict, s.second.verdict),
                _turn(text.departure(s.first), text.departure(s.second)),
            )
            for s in sites
        ),
        styles=tuple(STYLE[s.second.verdict] if s.verdict_changed else "dim" for s in sites),
        right=False,
    )
    return [first, second]


def _turn(first: str, second: str) -> str:
    return _SAME if first == second else f"-> {second}"


def _pair(header: tuple[str, ...], sites: Sequence[SiteChange], of: Callable[[LayerScore], str]) -> Column:
    """A number of the first above that of the second."""
    return Column(header=header, cells=tuple((of(s.first), of(s.second)) for s in sites), even=True)


def _change(title: str, below: str, measure: str, sites: Sequence[SiteChange]) -> Column:
    """A change, bold where its interval excludes 0, above the interval."""
    found = [site.differences[measure] for site in sites]
    return Column(
        header=(title, below),
        cells=tuple(tuple(part for part in signed(one) if part) for one in found),
        styles=tuple("bold" if one.excludes_zero else "" for one in found),
    )


def _with_limits(summary: Summary) -> str:
    return " ".join(text.interval(summary.median, summary.low, summary.high)).strip()


def _paragraph(name: str, kind: str, site: SiteChange, console: Console) -> None:
    first, second = site.first, site.second
    console.print(Trimmed(Text(f"{name} ({kind})", style="bold", overflow="fold")))
    style = STYLE[second.verdict] if site.verdict_changed else ""
    for a, b, shown in (
        (first.verdict, second.verdict, style),
        (text.departure(first), text.departure(second), ""),
    ):
        console.print(Trimmed(Text(INDENT + (a if a == b else f"{a} -> {b}"), style=shown)))
    delta = f"delta {text.number(first.delta.median)} -> {text.number(second.delta.median)}"
    console.print(Trimmed(Text(f"{INDENT}{delta}; change {' '.join(signed(site.delta)).strip()}")))
    console.print()

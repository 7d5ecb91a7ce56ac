"""A run as a table in a terminal, worst layer first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from gaussprobe.reports import glossary, series, text, trust, watched
from gaussprobe.reports.folding import fold
from gaussprobe.reports.glossary import ViewWords
from gaussprobe.types import LayerScore, Run

_GAP = 2
_INDENT = " "
_NO_PVALUE = "-"


@dataclass(frozen=True, kw_only=True)
class _Column:
    """One column: its header, and each site's lines: the first with a style, the others dim."""

    header: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    styles: tuple[str, ...] = ()
    right: bool = True

    @property
    def width(self) -> int:
        return max(len(line) for lines in (self.header, *self.cells) for line in lines)


@dataclass(frozen=True)
class Trimmed:
    """A renderable without the blanks that pad its lines, so that copied text is clean."""

    inner: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in console.render_lines(self.inner, options, pad=False):
            kept = list(line)
            while kept and not kept[-1].text.strip():
                kept.pop()
            yield from kept[:-1]
            if kept:
                yield kept[-1]._replace(text=kept[-1].text.rstrip())
            yield Segment.line()


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
    _say(console, text.synthetic_sentence(run), "bold reverse yellow")
    _say(console, text.headline(run), "bold")
    _say(console, text.step_sentence(run))
    if layers or activations:
        console.print()
    if layers:
        _sites(layers, console, words)
    if activations:
        _say(console, "Outputs of nonlinearities, not counted above", "bold")
        _sites(activations, console, words)
    if layers or activations:
        _say(console, text.verdict_legend(run.metadata.view), "dim")
        _legend(layers + activations, console)
    _list(console, "Data", text.data_notes(run))
    notes = [f"{_some_sites(sites)}: {note}" for note, sites in text.gathered_notes(layers + activations)]
    _list(console, "Notes", notes)
    _list(console, "Capture", trust.sentences(run))
    _list(console, "Not captured", [f"{item.site}: {item.reason}" for item in run.not_captured])
    _list(console, "Warnings", run.warnings)
    _say(console, _provenance(run), "dim")


def _watched(run: Run, console: Console) -> None:
    """Print a watched run: the headline of the last step, layers by drift, events, notes, warnings."""
    _say(console, text.headline(run), "bold")
    _say(console, text.step_sentence(run))
    console.print()
    view = watched.View(width=console.width, encoding=console.encoding)
    console.print(Trimmed(watched.summary(run, view)))
    console.print()
    _say(console, watched.legend(view), "dim")
    console.print()
    notes = text.gathered_notes(text.shown(run))
    _list(console, "Notes", [f"{_some_sites(sites)}: {note}" for note, sites in notes])
    _list(console, "Not captured", [f"{item.site}: {item.reason}" for item in run.not_captured])
    _list(console, "Warnings", run.warnings)
    _say(console, _provenance(run), "dim")


def _legend(scores: Sequence[LayerScore], console: Console) -> None:
    _say(console, text.name_legend(score.site for score in scores), "dim")
    console.print()


def _sites(scores: Sequence[LayerScore], console: Console, words: ViewWords) -> None:
    """Print the first layout in which names have room."""
    names = [text.plain(score.site, console.encoding) for score in scores]
    longest = max(map(len, names))
    kinds = [_kinds(score) for score in scores]
    wide, stacked = _wide_columns(scores, words), _stacked_columns(scores, words)
    kind = _Column(header=("kind",), cells=tuple((line,) for line in kinds), right=False)
    alone = max(longest, len("site"))
    with_kinds = max(alone, *(len(line) + len(_INDENT) for line in kinds))
    for columns, below, wanted, needed in (
        ([kind, *wide], None, alone, alone),
        (wide, kinds, with_kinds, min(with_kinds, 24)),
        (stacked, kinds, with_kinds, min(with_kinds, 15)),
    ):
        room = console.width - sum(column.width + _GAP for column in columns)
        if room >= needed:
            _table(names, below, columns, min(room, wanted), console)
            return
    for name, score in zip(names, scores, strict=True):
        _paragraph(name, score, console, words)


def _table(
    names: Sequence[str],
    kinds: Sequence[str] | None,
    columns: Sequence[_Column],
    room: int,
    console: Console,
) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("site", width=room, overflow="fold", vertical="top")
    for column in columns:
        header = Text("\n".join(column.header))
        justify: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(header, justify=justify, width=column.width, no_wrap=True, vertical="top")
    for row, name in enumerate(names):
        cell = Text(f"\n{_INDENT}".join(fold(name, room, len(_INDENT))))
        if kinds is not None:
            for line in fold(kinds[row], room - len(_INDENT)):
                cell.append(f"\n{_INDENT}{line}", style="dim")
        table.add_row(cell, *(_lines(column, row) for column in columns))
    console.print(Trimmed(table))
    console.print()


def _lines(column: _Column, row: int) -> Text:
    first, *others = column.cells[row]
    result = Text(first, style=column.styles[row] if column.styles else "")
    return Text.assemble(result, *((f"\n{line}", "dim") for line in others))


def _paragraph(name: str, score: LayerScore, console: Console, words: ViewWords) -> None:
    console.print(Trimmed(Text(f"{name} ({_kinds(score)})", style="bold", overflow="fold")))
    said = Text(f"{_INDENT}{score.verdict}", style=watched.STYLE[score.verdict])
    console.print(Trimmed(Text.assemble(said, f", {text.departure(score)}; {text.delta_text(score)}")))
    parts = [f"worst {words.one} {' '.join(_worst(score))}"] if words.has_worst else []
    parts += [f"p {_pvalue(score)}"] if words.has_pvalues else []
    parts.append(f"n tested {score.n_tested:,} of {score.n_seen:,}")
    console.print(Trimmed(Text(_INDENT + "; ".join(parts))))
    console.print()


def _kinds(score: LayerScore) -> str:
    return "+".join(score.kind) or "no kind"


def _verdicts(scores: Sequence[LayerScore]) -> tuple[str, ...]:
    return tuple(watched.STYLE[score.verdict] for score in scores)


def _intervals(scores: Sequence[LayerScore]) -> list[tuple[str, str]]:
    return [text.interval(s.delta.median, s.delta.low, s.delta.high) for s in scores]


def _column(*header: str, cells: Iterable[str]) -> _Column:
    return _Column(header=header, cells=tuple((cell,) for cell in cells))


def _wide_columns(scores: Sequence[LayerScore], words: ViewWords) -> list[_Column]:
    worst = _column(f"worst {words.one}", "(its delta)", cells=(" ".join(_worst(s)) for s in scores))
    tests = [
        _column("units", "reject.", cells=(_rejected(s) for s in scores)),
        _column("p", cells=(_pvalue(s) for s in scores)),
    ]
    return [
        _Column(
            header=("verdict",),
            cells=tuple((s.verdict,) for s in scores),
            styles=_verdicts(scores),
            right=False,
        ),
        _Column(header=("departure",), cells=tuple((text.departure(s),) for s in scores), right=False),
        _column("delta [95% interval]", cells=(" ".join(pair).strip() for pair in _intervals(scores))),
        _column("J", "(nats)", cells=(text.number(s.negentropy.median) for s in scores)),
        *([worst] if words.has_worst else []),
        *(tests if words.has_pvalues else []),
        _column("n", "tested", cells=(f"{s.n_tested:,}" for s in scores)),
        _column("of n", "seen", cells=(f"{s.n_seen:,}" for s in scores)),
    ]


def _stacked_columns(scores: Sequence[LayerScore], words: ViewWords) -> list[_Column]:
    worst = _Column(header=("worst", words.one), cells=tuple(_worst(s) for s in scores))
    test = _Column(header=("p", "rej."), cells=tuple((_pvalue(s), _rejected(s)) for s in scores))
    return [
        _Column(
            header=("verdict", "departure"),
            cells=tuple((s.verdict, text.departure(s)) for s in scores),
            styles=_verdicts(scores),
            right=False,
        ),
        _Column(header=("delta", "[95%]"), cells=tuple((first, rest) for first, rest in _intervals(scores))),
        *([worst] if words.has_worst else []),
        *([test] if words.has_pvalues else []),
        _Column(header=("n", "tested"), cells=tuple((f"{s.n_tested:,}", f"of {s.n_seen:,}") for s in scores)),
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


def _some_sites(sites: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(sites[:most])
    return shown if len(sites) <= most else f"{shown} and {len(sites) - most} more"


def _list(console: Console, title: str, items: Iterable[str]) -> None:
    lines = [text.plain(item, console.encoding) for item in items]
    if not lines:
        return
    console.print(Text(f"{title} ({len(lines)})", style="bold"))
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    for line in lines:
        grid.add_row("-", Text(line))
    console.print(Trimmed(grid))
    console.print()


def _say(console: Console, sentence: str | None, style: str = "") -> None:
    if sentence:
        console.print(Trimmed(Text(text.plain(sentence, console.encoding), style=style, overflow="fold")))


def _provenance(run: Run) -> str:
    metadata = run.metadata
    words = glossary.VIEW_WORDS[metadata.view]
    units = f"at most {metadata.max_samples:,} samples per unit"
    parts = [
        metadata.model,
        f"view {metadata.view}",
        f"{metadata.mode} mode",
        f"seed {metadata.seed}",
        units if metadata.view == "unit" else f"at most {metadata.max_samples:,} examples",
        *([f"p: Simes over units of {text.PRIMARY_TEST}, - where withheld"] if words.has_pvalues else []),
        f"gaussprobe {metadata.gaussprobe}",
    ]
    return "; ".join(parts)

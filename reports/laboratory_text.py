"""A laboratory on the terminal: what to take away, then layers in a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gaussprobe.laboratory import Laboratory
from gaussprobe.reports import laboratory_words as words
from gaussprobe.reports import text
from gaussprobe.reports.columns import Trimmed, say, show_list
from gaussprobe.reports.laboratory_rows import Row, rows


@dataclass(frozen=True, kw_only=True)
class _Column:
    """A column: its two lines of heading, and what it says of a layer.

    Args:
        over: the upper line of the heading.
        under: the lower.
        cell: text of a row.
        apart: blanks before it beyond one.
    """

    over: str
    under: str
    cell: Callable[[Row], str]
    apart: int = 0


def show(found: Laboratory, console: Console) -> None:
    """Print the headline sentences, layers in a table, notes and warnings.

    Of more than a dozen layers some are shown, and how many are not is said. The table has as many columns as
    there is room for.

    Args:
        found: the laboratory.
        console: where to; it decides the width.
    """
    say(console, words.title(found))
    console.print()
    for sentences, style in zip(words.sentences(found), ("bold", ""), strict=True):
        for sentence in sentences:
            say(console, sentence, style)
    console.print()
    say(console, words.level(found))
    console.print()
    _table(found, console)
    _left_out(found, console)
    show_list(console, "Not measured", [f"{which}: {why}" for which, why in words.unmeasured(found)])
    show_list(console, "Notes", found.notes)
    show_list(console, "Warnings", found.warnings)
    say(console, _provenance(found), "dim")


def _number(name: str) -> Callable[[Row], str]:
    return lambda row: text.number(getattr(row.law, name))


def _limits(estimate: float, low: float, high: float) -> str:
    return " ".join(text.interval(estimate, low, high)).strip()


def _distance(row: Row) -> str:
    return _limits(row.law.ks_distance, row.law.ks_low, row.law.ks_high)


def _correlation(row: Row, decimals: int = 4) -> str:
    if row.alike is None:
        return text.NOT_AVAILABLE
    limits = text.interval(row.alike.correlation, row.alike.low, row.alike.high, decimals=decimals)
    return " ".join(limits).strip()


def _pointed(name: str) -> Callable[[Row], str]:
    """Four decimals: of what is far below 1, where small differences do not matter."""

    def cell(row: Row) -> str:
        value = float(getattr(row.law, name))
        return text.pointed(value, 4) if math.isfinite(value) else text.number(value)

    return cell


def _pvalue(p: float) -> str:
    """Three decimals, or `<.001`."""
    if math.isnan(p):
        return text.NOT_AVAILABLE
    return "<.001" if p < 0.001 else text.pointed(p, 3)


def _correlation_in_short(row: Row) -> str:
    return _correlation(row, 2)


_LAYER = _Column(over="", under="layer", cell=lambda row: f"{row.law.layer}")
_WIDTH = _Column(over="", under="width", cell=lambda row: f"{row.law.width}")
_D = _Column(over="N(0,1)", under="D", cell=_pointed("ks_distance"), apart=1)
_D_WIDE = _Column(over="against N(0,1)", under="D [95 % interval]", cell=_distance, apart=1)
_P = _Column(over="adj.", under="p", cell=lambda row: _pvalue(row.adjusted))
_FITTED = _Column(over="fitted", under="D", cell=_pointed("fitted_ks_distance"), apart=1)
_FITTED_P = _Column(over="adj.", under="p", cell=lambda row: _pvalue(row.fitted_adjusted))
_SD = _Column(over="", under="sd", cell=_number("sd"), apart=1)
_SD_WIDE = _Column(over="wide", under="sd", cell=lambda row: text.number(row.predicted_sd))
_KURTOSIS = _Column(over="excess", under="kurt.", cell=lambda row: text.number(row.law.excess_kurtosis, 2))
_DELTA = _Column(over="", under="delta", cell=_pointed("delta"))
_ALIKE = _Column(over="correlation of", under="two inputs", cell=_correlation, apart=1)
_ALIKE_SHORT = _Column(over="correlation of", under="two inputs", cell=_correlation_in_short, apart=1)
_ALIKE_WIDE = _Column(over="", under="wide", cell=lambda row: text.number(row.predicted_correlation))
_COSINE = _Column(
    over="",
    under="cosine",
    cell=lambda row: text.number(math.nan if row.alike is None else row.alike.cosine),
)
_MEAN = _Column(over="", under="mean", cell=_number("mean"), apart=1)
_SKEWNESS = _Column(over="skew-", under="ness", cell=_number("skewness"))
_J = _Column(over="J", under="nats", cell=_number("negentropy"))

_WITHOUT_WIDTH = (_LAYER, _D, _P, _FITTED, _FITTED_P, _SD, _KURTOSIS, _DELTA, _ALIKE_SHORT, _ALIKE_WIDE)
# The first for which there is room; the last wherever there is none.
_LAYOUTS: tuple[tuple[_Column, ...], ...] = (
    (
        *(_LAYER, _WIDTH, _D_WIDE, _P, _FITTED, _FITTED_P, _MEAN, _SD, _SD_WIDE),
        *(_SKEWNESS, _KURTOSIS, _DELTA, _J, _ALIKE, _ALIKE_WIDE, _COSINE),
    ),
    (_LAYER, _WIDTH, _D, _P, _FITTED, _FITTED_P, _SD, _KURTOSIS, _DELTA, _ALIKE_SHORT, _ALIKE_WIDE),
    _WITHOUT_WIDTH,
    (_LAYER, _D, _P, _FITTED, _FITTED_P, _SD, _ALIKE_SHORT, _ALIKE_WIDE),
    (_LAYER, _D, _P, _FITTED, _FITTED_P, _SD),
    (_LAYER, _D, _P, _SD),
)


def _table(found: Laboratory, console: Console) -> None:
    shown = rows(found, words.selected(found))
    alike = len(set(found.propagation.widths)) == 1  # and then in the title
    layouts = [layout for layout in _LAYOUTS if alike or layout is not _WITHOUT_WIDTH]
    tables = [[_lines(column, shown) for column in layout] for layout in layouts]
    fitting = next((one for one in tables if _breadth(one) <= console.width), tables[-1])
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for over, under, *_ in fitting:
        table.add_column(Text(f"{over}\n{under}"), justify="right", overflow="fold")
    for row in zip(*(lines[2:] for lines in fitting), strict=True):
        table.add_row(*row)
    console.print(Trimmed(table))
    console.print()


def _lines(column: _Column, shown: Sequence[Row]) -> list[str]:
    """The heading and the cells of a column, with the blanks before it."""
    before = " " * column.apart
    return [before + line for line in (column.over, column.under, *(column.cell(row) for row in shown))]


def _breadth(columns: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, lines)) + 1 for lines in columns) - 1


def _left_out(found: Laboratory, console: Console) -> None:
    left = len(found.propagation) - len(words.selected(found))
    if left:
        say(console, f"{words.counted(left, 'more layer')} not shown; --json and --html have all.", "dim")
    say(
        console,
        "p is adjusted over layers (Benjamini-Hochberg). wide: infinitely wide layers. fitted: against a "
        "normal law of the sample's own mean and sd.",
        "dim",
    )
    console.print()


def _provenance(found: Laboratory) -> str:
    run = found.propagation
    return (
        f"sigma_w {text.number(run.sigma_w, 6)}; sigma_b {text.number(run.sigma_b, 6)}; {run.weight} weights "
        f"after the first layer; seed {run.seed}; {run.device}; gaussprobe {found.gaussprobe}"
    )

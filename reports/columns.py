"""What tables in a terminal are made of: columns, folded names, lists, lines without trailing blanks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from gaussprobe.reports import text
from gaussprobe.reports.folding import fold

GAP = 2
INDENT = " "


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table.

    Args:
        header: its lines.
        cells: the lines of each row.
        styles: of each row's first line; none for plain ones.
        right: whether it is set flush right.
        even: whether the other lines of a row count as much as the first; they are dim where they do not.
    """

    header: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    styles: tuple[str, ...] = ()
    right: bool = True
    even: bool = False

    @property
    def width(self) -> int:
        """Characters of the longest line."""
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


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way to lay out a table.

    Args:
        columns: all but the names.
        kinds_below: whether a site's kinds stand below its name.
        room: least characters for names, however long they are; None where they must not be folded.
    """

    columns: Sequence[Column]
    kinds_below: bool = True
    room: int | None = None


def column(*header: str, cells: Iterable[str]) -> Column:
    """A column of one line to a row."""
    return Column(header=header, cells=tuple((cell,) for cell in cells))


def show_first(
    layouts: Iterable[Layout], names: Sequence[str], kinds: Sequence[str], console: Console
) -> bool:
    """Print a table in the first layout in which names have room.

    Args:
        layouts: the widest first.
        names: of the sites, printable.
        kinds: of each site, in words.
        console: where to print; it decides the width.

    Returns:
        Whether there was one.
    """
    alone = max(max(map(len, names)), len("site"))
    with_kinds = max(alone, *(len(line) + len(INDENT) for line in kinds))
    for layout in layouts:
        wanted = with_kinds if layout.kinds_below else alone
        needed = wanted if layout.room is None else min(wanted, layout.room)
        room = console.width - sum(column.width + GAP for column in layout.columns)
        if room >= needed:
            _show(names, kinds if layout.kinds_below else None, layout.columns, min(room, wanted), console)
            return True
    return False


def _show(
    names: Sequence[str],
    kinds: Sequence[str] | None,
    columns: Sequence[Column],
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
        cell = Text(f"\n{INDENT}".join(fold(name, room, len(INDENT))))
        if kinds is not None:
            for line in fold(kinds[row], room - len(INDENT)):
                cell.append(f"\n{INDENT}{line}", style="dim")
        table.add_row(cell, *(_lines(column, row) for column in columns))
    console.print(Trimmed(table))
    console.print()


def _lines(column: Column, row: int) -> Text:
    first, *others = column.cells[row]
    result = Text(first, style=column.styles[row] if column.styles else "")
    return Text.assemble(result, *((f"\n{line}", "" if column.even else "dim") for line in others))


def some_sites(sites: Sequence[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(sites[:most])
    return shown if len(sites) <= most else f"{shown} and {len(sites) - most} more"


def show_list(console: Console, title: str, items: Iterable[str]) -> None:
    """Print a list under its title; nothing where it is empty."""
    lines = [text.plain(item, console.encoding) for item in items]
    if not lines:
        return
    console.print(Trimmed(Text(f"{title} ({len(lines)})", style="bold")))
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    for line in lines:
        grid.add_row("-", Text(line))
    console.print(Trimmed(grid))
    console.print()


def say(console: Console, sentence: str | None, style: str = "") -> None:
    """Print a sentence, if there is one, with what could steer the terminal escaped."""
    if sentence:
        console.print(Trimmed(Text(text.plain(sentence, console.encoding), style=style, overflow="fold")))

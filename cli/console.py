"""What the commands share: consoles, a progress bar, the option `--debug`, checks of output paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaussprobe.errors import StoreError

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class _Debugging:
    on: bool = False


debugging = _Debugging()


def _set_debugging(value: bool) -> None:
    debugging.on = debugging.on or value


Debug = Annotated[
    bool,
    typer.Option("--debug", callback=_set_debugging, is_eager=True, help="Show the traceback of an error."),
]


def stdout() -> Console:
    """Where results go."""
    from rich.console import Console

    return Console(highlight=False)


def stderr() -> Console:
    """Where progress, warnings and errors go."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@contextmanager
def progress(enabled: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress bar on stderr that leaves nothing behind; none when stderr is not a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = stderr()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    shown = enabled and console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task("starting", total=None)

        def report(what: str, done: int, total: int | None) -> None:
            bar.update(task, description=what[:48], completed=done, total=total)

        yield report


def check_writable(path: Path | None, option: str) -> None:
    """Refuse an output path that cannot be written, before the work begins.

    Args:
        path: where the output will go, None when there is none.
        option: the option that named it.

    Raises:
        StoreError: naming the option and what is wrong with the path.
    """
    if path is None:
        return
    if path.is_dir():
        raise StoreError(f"{option} {path}: is a folder; name a file in it")
    if not path.parent.is_dir():
        raise StoreError(f"{option} {path}: there is no folder {path.parent}; make it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise StoreError(f"{option} {path}: no permission to write there")

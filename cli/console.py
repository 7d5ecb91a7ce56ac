"""What the commands share: consoles, messages, a progress bar, `--debug`, checks of output paths."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaussprobe.errors import StoreError

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class Invocation:
    """The command line that is being run: its arguments, and whether tracebacks are wanted."""

    arguments: tuple[str, ...] = ()
    debug: bool = False


invocation = Invocation()


def _set_debugging(value: bool) -> None:
    invocation.debug = invocation.debug or value


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


def say(kind: str, message: str) -> None:
    """One line on stderr, without control characters and of bounded length: messages quote files.

    Args:
        kind: `"error"`, `"warning"` or `"note"`.
        message: the first two of its lines are shown.
    """
    lines = [_printable(line) for line in message.splitlines() if line.strip()][:2]
    with contextlib.suppress(OSError):  # nobody can be told that nobody can be told
        typer.echo(f"gaussprobe: {kind}: " + "\n  ".join(lines), err=True)


def _printable(line: str, most: int = 400) -> str:
    clean = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line[: 4 * most])
    return clean if len(clean) <= most else clean[:most] + " ..."


@contextmanager
def results_alone_on_stdout() -> Iterator[None]:
    """What a model, its data or libraries print goes to stderr inside, down to the file descriptor."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # stdout is closed
        kept = None
    if kept is not None:
        os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def abandon_stdout() -> None:
    """Keep Python from complaining when it flushes a stdout that nobody reads."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def check_outputs(outputs: Mapping[str, Path | None], inputs: Sequence[str | None]) -> None:
    """Refuse outputs that would overwrite an input or each other.

    Args:
        outputs: option to path, None where none is wanted.
        inputs: the files that are read.

    Raises:
        StoreError: naming the option.
    """
    taken = {os.path.realpath(name): name for name in inputs if name is not None}
    for option, path in outputs.items():
        if path is None:
            continue
        real = os.path.realpath(path)
        if real in taken:
            raise StoreError(f"{option} {path}: would overwrite {taken[real]}; name another file")
        taken[real] = f"{option} {path}"

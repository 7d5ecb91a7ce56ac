"""`gaussprobe live`: a run in progress, read again whenever its file changes; imports no torch.

Each time the whole run is read: 5,000 records of 25 sites take about 7 seconds of a core. A run is therefore
read again only when its file has changed, and never sooner than four times what the last reading took.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from gaussprobe.cli.console import Debug, stdout
from gaussprobe.errors import StoreError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from gaussprobe.types import Run

_Stamp: TypeAlias = tuple[tuple[int, int] | None, ...]

_LOGS = ("", "-wal", "-journal")
_REST = 4.0  # times what reading took, until it is read again
_PATIENCE = 30.0  # seconds that a run which nobody writes may fail to be read
_TICK = 0.25  # seconds between looks at the clock, the file and the keyboard


def live(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The store of a watched training.")],
    once: Annotated[bool, typer.Option("--once", help="Print one frame and exit.")] = False,
    interval: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Between looks at the file.")
    ] = 2.0,
    _debug: Debug = False,
) -> int:
    """Follow a run in progress: layers by drift, events, metrics. Leave it with q."""
    console = stdout()
    seen = _read(run)
    if once or not console.is_terminal:
        _print(seen, run, console)
        return 0
    with contextlib.suppress(KeyboardInterrupt):
        seen = _follow(seen, run, console, interval)
    _print(seen, run, console)
    return 0


@dataclass(frozen=True, eq=False)
class _Seen:
    """A run as it was last read."""

    run: Run
    stamp: _Stamp
    seconds: float  # that reading took


def _read(path: Path) -> _Seen:
    from gaussprobe import store, writerlock

    stamp, began = _stamp(path), time.monotonic()
    run = store.load(path)
    if not run.series and not writerlock.is_held(path):
        raise StoreError(
            f"{path}: holds no run over training.\nlive follows what gaussprobe.watch writes; "
            "try: gaussprobe report"
        )
    return _Seen(run, stamp, time.monotonic() - began)


def _follow(seen: _Seen, path: Path, console: Console, interval: float) -> _Seen:
    """Show the run until its writer has closed it, or q is pressed; what was read last."""
    from rich.console import Group
    from rich.live import Live

    from gaussprobe import writerlock

    looked = read = time.monotonic()
    failing = ""
    body, of = _body(seen, console, console.height), (seen, console.size)
    live = Live(console=console, screen=True, auto_refresh=False)
    with _interrupts() as interrupted, _keys() as pressed, live as view:
        while True:
            now = time.monotonic()
            # Asked first: what is written before the lock is given back is then seen.
            written = writerlock.is_held(path)
            due = now - looked >= interval and now - read >= _REST * seen.seconds
            if (due or not written) and (failing or _stamp(path) != seen.stamp):
                looked = now
                try:
                    seen, failing = _read(path), ""
                except StoreError as error:
                    failing = str(error).partition("\n")[0]
                    if not written and now - read > _PATIENCE:
                        raise
                else:
                    read = time.monotonic()
            if of != (seen, console.size):
                body, of = _body(seen, console, console.height), (seen, console.size)
            said = failing or f"q leaves; looked at every {max(interval, _REST * seen.seconds):.2g} s"
            foot = _line(f"\n{said[: console.width]}", "dim")
            view.update(Group(_head(seen, path, console), body, foot), refresh=True)
            if not written and not failing:
                return seen
            if interrupted() or pressed(_TICK):
                return seen


def _print(seen: _Seen, path: Path, console: Console) -> None:
    """A frame with all layers, and what its words mean."""
    from gaussprobe.reports import watched
    from gaussprobe.reports.columns import Trimmed

    console.print(Trimmed(_head(seen, path, console)))
    if seen.run.series:
        console.print(Trimmed(_body(seen, console, None)))
        view = watched.View(width=console.width, encoding=console.encoding)
        console.print(Trimmed(_line(f"\n{watched.legend(view)}", "dim")))


def _body(seen: _Seen, console: Console, lines: int | None) -> RenderableType:
    """All but the head and the foot, in what they leave of so many lines."""
    from gaussprobe.reports import watched

    if not seen.run.series:
        return _line("waiting for the first record", "")
    left = None if lines is None else lines - 5  # a head of two lines, a blank, the foot, one to spare
    return watched.summary(seen.run, watched.View(width=console.width, encoding=console.encoding, lines=left))


def _line(said: str, style: str) -> RenderableType:
    from rich.text import Text

    return Text(said, style=style, overflow="fold")


def _head(seen: _Seen, path: Path, console: Console) -> RenderableType:
    """What is shown, how far it is, and since when it is silent."""
    from gaussprobe import writerlock
    from gaussprobe.reports import series, text

    steps = {record.step for record in seen.run.series}
    model = seen.run.metadata.model
    if not steps:
        said = f"{path.name}: {model}, no record yet"
    else:
        count = f"{len(steps):,} record{'' if len(steps) == 1 else 's'}"
        said = f"{path.name}: {model}, step {max(steps):,}, {count}"
    since = _since(time.time() - max((stamp[0] for stamp in seen.stamp if stamp), default=0) / 1e9)
    state = f"the last {since} ago" if writerlock.is_held(path) else f"no writer, the last {since} ago"
    if series.shown_source(seen.run) == "probe":
        state += "; of the fixed batch in evaluation mode"
    return _line(text.plain(f"{said}, {state}", console.encoding), "bold")


def _since(seconds: float) -> str:
    """A span of time to its largest unit, or two."""
    seconds = max(seconds, 0.0)
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def _stamp(path: Path) -> _Stamp:
    """Time of change in ns and size of the run and of the logs beside it; None where there is none."""
    real = os.path.realpath(path)

    def one(name: str) -> tuple[int, int] | None:
        try:
            found = Path(name).stat()
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size) if found.st_size else None

    return tuple(one(real + suffix) for suffix in _LOGS)


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Whether the first interrupt has come; the second is a KeyboardInterrupt again.

    An exception that a signal raises is lost where it happens to strike a finalizer.
    """
    came: list[int] = []

    def take(number: int, _: object) -> None:
        came.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, take) or signal.SIG_DFL
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """A function that waits so many seconds and says whether q was pressed meanwhile."""
    try:
        import termios
        import tty

        descriptor = sys.stdin.fileno()
        if not os.isatty(descriptor):
            raise OSError("no terminal to type at")
        before = termios.tcgetattr(descriptor)
    except (ImportError, OSError, ValueError, AttributeError):

        def nothing(seconds: float) -> bool:
            time.sleep(seconds)
            return False

        yield nothing
        return

    def pressed(seconds: float) -> bool:
        ready, _, _ = select.select([descriptor], [], [], seconds)
        typed = os.read(descriptor, 64) if ready else b""
        if ready and not typed:  # nobody can type any more
            time.sleep(seconds)
        return b"q" in typed.lower()

    try:
        tty.setcbreak(descriptor)
        yield pressed
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

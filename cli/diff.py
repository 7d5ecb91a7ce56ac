"""`gaussprobe diff`: what changed between two stored runs, or two checkpoints that are scanned first."""

from __future__ import annotations

import contextlib
import shlex
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from gaussprobe.cli import options
from gaussprobe.cli.console import (
    Debug,
    abandon_stdout,
    invocation,
    progress,
    results_alone_on_stdout,
    say,
    stdout,
)
from gaussprobe.cli.scan import ViewName
from gaussprobe.errors import ModelFileError, StoreError

if TYPE_CHECKING:
    from gaussprobe.changes import Changes
    from gaussprobe.types import Run

_SQLITE = b"SQLite format 3\0"
_SUFFIXES = (".sqlite", ".sqlite3", ".db")
# Options that say how a model is scanned.
_SCANNING = (
    "data", "factory", "trust_pickle", "batch_size", "device", "max_samples", "view", "seed",
)  # fmt: skip
_ORDINALS = ("first", "second")
_Report: TypeAlias = Callable[[str, int, int | None], None]
_HELP = "A stored run, or whatever scan takes as MODEL, which is then scanned."


def diff(
    context: typer.Context,
    first: Annotated[str, typer.Argument(metavar="FIRST", help=_HELP)],
    second: Annotated[str, typer.Argument(metavar="SECOND", help=_HELP)],
    step: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="A B", help="Recorded steps of runs over training (else the last)."),
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only sites named so (may be given again).")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="No sites named so (may be given again).")
    ] = None,
    data: options.Data = None,
    factory: options.Factory = None,
    trust_pickle: options.TrustPickle = False,
    view: Annotated[
        ViewName, typer.Option(help="What counts as one sample (init: models are pkg.mod:fn).")
    ] = ViewName.unit,
    max_samples: options.MaxSamples = 2048,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No table, no progress bar.")] = False,
    _debug: Debug = False,
) -> int:
    """Say what changed from FIRST to SECOND, site by site, largest changes first.

    Options from --data to --seed are of the scan of a model; both are scanned alike.
    """
    from gaussprobe.changes import changes

    names = (first, second)
    models = [which for which in (0, 1) if not _is_run(names[which])]
    if not models:
        _refuse(context)
    given = {
        "view": view.value,
        "max_samples": max_samples,
        "include": include,
        "exclude": exclude,
        "seed": seed,
        "batch_size": batch_size,
        "device": device,
        "factory": factory,
        "trust_pickle": trust_pickle,
    }
    steps = step or (None, None)
    with progress(not quiet) as report, results_alone_on_stdout():
        # Stored ones first: what is wrong with them is said before a long scan.
        runs = {
            which: _loaded(names[which], steps[which], _ORDINALS[which], report)
            for which in (0, 1)
            if which not in models
        }
        for which in models:
            _require_first_step(names[which], steps[which])
        for which in models:
            runs[which] = _scanned(names[which], data, report, **given)
        found = changes(
            runs[0],
            runs[1],
            step_first=steps[0],
            step_second=steps[1],
            include=include,
            exclude=exclude,
        )
    _show(found, names, json=json, quiet=quiet)
    return 0


def _is_run(name: str) -> bool:
    """Whether an argument is a stored run, by its content; else it is a model for `scan` to judge.

    Raises:
        StoreError: for the folder of a comparison.
        ModelFileError: if there is nothing of that name.
    """
    path = Path(name)
    if path.is_dir() and _is_comparison(path):
        kept = sorted(path.glob("*/seed-*.measured.sqlite")) or sorted(path.glob("*/seed-*.sqlite"))
        such = f", such as {kept[0]}" if kept else ""
        raise StoreError(f"{name}: is the folder of a comparison\ngive one of its seed-*.sqlite files{such}")
    if not path.exists() and ":" not in name:
        raise ModelFileError(f"{name}: there is no such file\nname a stored run, a model file or pkg.mod:fn")
    if path.suffix in _SUFFIXES and path.exists():
        return True
    try:
        if not path.is_file():  # a folder, or a function; opening a pipe would wait for its writer
            return False
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:  # `scan` says what is wrong with it
        return False


def _refuse(context: typer.Context) -> None:
    """Options of a scan are not for stored runs: nothing given is ignored."""
    given = []
    for name in _SCANNING:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            given.append("--" + name.replace("_", "-"))
    if given:
        which = f"{', '.join(given)} {'is' if len(given) == 1 else 'are'}"
        raise typer.BadParameter(f"{which} for scanning a model; both runs are stored ones")


def _is_comparison(folder: Path) -> bool:
    from gaussprobe.trials.folder import PLAN  # some packages behind it, none of them torch

    return (folder / PLAN).is_file()


def _loaded(name: str, step: int | None, ordinal: str, report: _Report) -> Run:
    from gaussprobe import store
    from gaussprobe.changes import check_step

    report(f"reading {name}", 0, None)
    run = store.load(name)
    check_step(run, step, name=ordinal)
    return run


def _require_first_step(name: str, step: int | None) -> None:
    if step not in (None, 0):
        raise typer.BadParameter(f"--step: {name} is scanned, which is step 0; got {step}")


def _scanned(model: str, data: str | None, report: _Report, **given: Any) -> Run:
    """A model's run; what its program warns of is its own text, and goes through `say`."""
    report("importing torch", 0, None)
    from gaussprobe.errors import SyntheticInputWarning
    from gaussprobe.scan import scan

    # A model may change the current directory, and the other's name may be relative.
    with warnings.catch_warnings(), contextlib.chdir(Path.cwd()):
        warnings.simplefilter("ignore", SyntheticInputWarning)  # the run says so itself
        warnings.showwarning = lambda message, *_where, **_how: say("warning", str(message))
        command = shlex.join(["gaussprobe", *invocation.arguments])
        return scan(model, data, command=command, progress=report, **given)


def _show(found: Changes, names: tuple[str, str], *, json: bool, quiet: bool) -> None:
    try:
        if json:
            from gaussprobe.reports import changes_json

            typer.echo(changes_json.dumps(found))
        elif not quiet:
            from gaussprobe.reports import changes_text

            changes_text.show(found, stdout(), names=names)
    except (BrokenPipeError, SystemExit):
        # Whoever read our output has gone (rich exits then).
        abandon_stdout()
    if json or quiet:
        for warning in found.warnings:
            say("warning", warning)

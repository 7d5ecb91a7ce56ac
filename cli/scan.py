"""`gaussprobe scan`: from a model file to a table, JSON, a stored run and a report."""

from __future__ import annotations

import contextlib
import shlex
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaussprobe.cli.console import Debug, check_writable, progress, stderr, stdout

if TYPE_CHECKING:
    from gaussprobe.types import Run


class ViewName(StrEnum):
    """What counts as one sample."""

    unit = "unit"
    layer = "layer"
    example = "example"
    init = "init"


class KindName(StrEnum):
    """What a site is."""

    affine = "affine"
    preactivation = "preactivation"
    norm = "norm"
    activation = "activation"


class ModeName(StrEnum):
    """How the model runs."""

    eval = "eval"
    train = "train"


class FailOn(StrEnum):
    """The verdict at or past which a layer makes the exit code 1."""

    near_gaussian = "near-gaussian"
    undetermined = "undetermined"
    non_gaussian = "non-gaussian"


# An undetermined layer is at none of the other bands: it fails only where asked for by name.
_FAILS: dict[FailOn, frozenset[str]] = {
    FailOn.near_gaussian: frozenset({"near-gaussian", "non-gaussian"}),
    FailOn.undetermined: frozenset({"undetermined", "non-gaussian"}),
    FailOn.non_gaussian: frozenset({"non-gaussian"}),
}


def scan(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model file, or pkg.mod:fn that returns a module.")
    ],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|pkg.mod:fn",
            help="Inputs: .pt, .npy, .npz, numeric CSV, or a function yielding batches. Without it, made up.",
        ),
    ] = None,
    factory: Annotated[
        str | None,
        typer.Option(metavar="pkg.mod:fn", help="Builds the model that a state_dict or checkpoint is for."),
    ] = None,
    trust_pickle: Annotated[
        bool,
        typer.Option("--trust-pickle", help="Open a file that can run code when opened. Only your own."),
    ] = False,
    html: Annotated[Path | None, typer.Option(metavar="OUT", help="Write an HTML report.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="Store the run (one SQLite file).")] = None,
    view: Annotated[ViewName, typer.Option(help="What counts as one sample.")] = ViewName.unit,
    kind: Annotated[
        list[KindName] | None, typer.Option(help="Only sites of this kind (may be given again).")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only sites named so (may be given again).")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="No sites named so (may be given again).")
    ] = None,
    mode: Annotated[ModeName, typer.Option(help="How the model runs.")] = ModeName.eval,
    max_samples: Annotated[int, typer.Option(min=8, help="Samples per unit that are tested.")] = 2048,
    max_units: Annotated[int, typer.Option(min=1, help="Random units per site that are scored.")] = 4096,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Of data that has to be cut.")] = None,
    device: Annotated[str | None, typer.Option(help="Where to run, such as cpu or cuda.")] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Look inside attention, LSTM and GRU.")] = False,
    fail_on: Annotated[
        FailOn | None, typer.Option(help="Exit with 1 when a layer is at or past this verdict.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampling.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No table, no progress bar.")] = False,
    _debug: Debug = False,
) -> int:
    """Score how Gaussian each layer of MODEL is on real inputs."""
    check_writable(html, "--html")
    check_writable(out, "--out")
    with progress(not quiet) as report:
        report("importing torch", 0, None)
        from gaussprobe.errors import SyntheticInputWarning
        from gaussprobe.scan import scan as scan_model

        # What the model or the data print must not get among our results on stdout.
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            # The run says so itself, in every form of output.
            warnings.simplefilter("ignore", SyntheticInputWarning)
            run = scan_model(
                model,
                data,
                view=view.value,
                max_samples=max_samples,
                include=include,
                exclude=exclude,
                deep=deep,
                seed=seed,
                kind=[k.value for k in kind] if kind else None,
                mode=mode.value,
                max_units=max_units,
                batch_size=batch_size,
                device=device,
                factory=factory,
                trust_pickle=trust_pickle,
                command=shlex.join(["gaussprobe", *sys.argv[1:]]),
                progress=report,
            )
        if out is not None:
            report("storing the run", 0, None)
            run.save(out)
        if html is not None:
            report("drawing the report", 0, None)
            run.report(html)
    _show(run, json=json, quiet=quiet, written=[p for p in (out, html) if p is not None])
    return int(fail_on is not None and fails(run, fail_on))


def _show(run: Run, *, json: bool, quiet: bool, written: list[Path]) -> None:
    if json:
        from gaussprobe.reports import json_form

        typer.echo(json_form.dumps(run))
    elif not quiet:
        from gaussprobe.reports import terminal

        terminal.render(run, stdout())
    if json or quiet:
        for warning in run.warnings:
            typer.echo(f"gaussprobe: warning: {warning}", err=True)
    if not quiet:
        for path in written:
            stderr().print(f"written: {path}", markup=False, soft_wrap=True)


def fails(run: Run, fail_on: FailOn) -> bool:
    """Whether a layer that counts is at or past a verdict, or holds non-finite values.

    Args:
        run: the finished run.
        fail_on: the verdict; `near-gaussian` is passed by `non-gaussian`, `undetermined` likewise.

    Returns:
        True when one does.
    """
    return any(
        score.departure == "non-finite" or (score.headline and score.verdict in _FAILS[fail_on])
        for score in run.scores
    )

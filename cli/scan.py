"""`gaussprobe scan`: from a model file to a table, JSON, a stored run and a report."""

from __future__ import annotations

import os
import shlex
import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaussprobe.cli import options
from gaussprobe.cli.console import (
    Debug,
    abandon_stdout,
    check_outputs,
    invocation,
    progress,
    results_alone_on_stdout,
    say,
    stdout,
)

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


_NAMED = 8  # failing sites named in the message

# An undetermined layer is at none of the other bands: it fails only where asked for by name.
_FAILS: dict[FailOn, frozenset[str]] = {
    FailOn.near_gaussian: frozenset({"near-gaussian", "non-gaussian"}),
    FailOn.undetermined: frozenset({"undetermined", "non-gaussian"}),
    FailOn.non_gaussian: frozenset({"non-gaussian"}),
}


def scan(
    model: options.Model,
    data: options.Data = None,
    factory: options.Factory = None,
    trust_pickle: options.TrustPickle = False,
    html: Annotated[Path | None, typer.Option(metavar="OUT", help="Write an HTML report.")] = None,
    json: options.Json = False,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="Store the run (one SQLite file).")] = None,
    view: Annotated[
        ViewName, typer.Option(help="What counts as one sample (init: MODEL is pkg.mod:fn).")
    ] = ViewName.unit,
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
    max_samples: Annotated[
        int, typer.Option(min=8, help="Samples per unit that are tested (init: initializations).")
    ] = 2048,
    max_units: Annotated[int, typer.Option(min=1, help="Random units per site that are scored.")] = 4096,
    batch_size: options.BatchSize = None,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Side of a folder's images, in pixels (else the model's, 224).")
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(metavar="M|M,M,M", help="Of pixels in [0, 1] (else the model's, ImageNet's)."),
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="S|S,S,S", help="Of pixels in [0, 1] (else as --mean).")
    ] = None,
    device: options.Device = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Look inside attention (q, k, v), LSTM and GRU (gates).")
    ] = False,
    logits: Annotated[bool, typer.Option("--logits", help="With --deep, attention logits too.")] = False,
    fail_on: Annotated[
        FailOn | None, typer.Option(help="Exit with 1 when a layer is at or past this verdict.")
    ] = None,
    seed: options.Seed = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No table, no progress bar.")] = False,
    _debug: Debug = False,
) -> int:
    """Score how Gaussian each layer of MODEL is on real inputs."""
    from gaussprobe import store
    from gaussprobe.reports import html as html_report

    channels = {title: _numbers(title, text) for title, text in (("mean", mean), ("std", std))}
    # Absolute at once: a model may change the current directory.
    out, html = (None if path is None else path.absolute() for path in (out, html))
    check_outputs({"--out": out, "--html": html}, [model, data])
    if out is not None:
        store.check_replaceable(out)
    if html is not None:
        html_report.check_replaceable(html)
    with progress(not quiet) as report, results_alone_on_stdout():
        report("importing torch", 0, None)
        from gaussprobe.errors import SyntheticInputWarning
        from gaussprobe.scan import scan as scan_model

        with warnings.catch_warnings():
            # The run says so itself, in every form of output.
            warnings.simplefilter("ignore", SyntheticInputWarning)
            # What a program warns of is its own text: escape sequences in it must not reach the terminal.
            warnings.showwarning = _say_warning  # type: ignore[assignment]
            run = scan_model(
                model,
                data,
                view=view.value,
                max_samples=max_samples,
                include=include,
                exclude=exclude,
                deep="logits" if logits else deep,
                seed=seed,
                kind=[k.value for k in kind] if kind else None,
                mode=mode.value,
                max_units=max_units,
                batch_size=batch_size,
                device=device,
                factory=factory,
                trust_pickle=trust_pickle,
                image_size=image_size,
                mean=channels["mean"],
                std=channels["std"],
                command=shlex.join(["gaussprobe", *invocation.arguments]),
                progress=report,
            )
        if out is not None:
            report("storing the run", 0, None)
            run.save(out)
        if html is not None:
            report("drawing the report", 0, None)
            run.report(html)
    _show(run, json=json, quiet=quiet, written=[p for p in (out, html) if p is not None])
    failed = [] if fail_on is None else failing(run, fail_on)
    if failed:
        names = ", ".join(failed[:_NAMED]) + (", ..." if len(failed) > _NAMED else "")
        say("failed", f"{len(failed)} of {len(run.scores)} sites, --fail-on {fail_on}: {names}")
    return int(bool(failed))


def _numbers(title: str, text: str | None) -> list[float] | None:
    """One or three numbers out of an option such as `.5` or `.485,.456,.406`."""
    if text is None:
        return None
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) not in (1, 3) or not all(abs(each) < float("inf") for each in found):
        raise typer.BadParameter(f"--{title} must be one or three numbers with commas between; got {text!r}")
    if title == "std" and min(found) <= 0:
        raise typer.BadParameter(f"--std must be positive; got {text!r}")
    return found


def _say_warning(message: Warning | str, *_where: object) -> None:
    """A warning of a library or of the model's own program, as one line."""
    say("warning", str(message))


def _show(run: Run, *, json: bool, quiet: bool, written: list[Path]) -> None:
    try:
        if json:
            from gaussprobe.reports import json_form

            typer.echo(json_form.dumps(run))
        elif not quiet:
            from gaussprobe.reports import terminal

            terminal.render(run, stdout())
    except (BrokenPipeError, SystemExit):
        # Whoever read our output has gone (rich exits then); the verdict still makes the exit code.
        abandon_stdout()
    if json or quiet:
        for warning in run.warnings:
            say("warning", warning)
        for note in run.metadata.data.get("notes", ()):
            say("note", note)
    if not quiet:
        for path in written:
            say("written", os.path.relpath(path))


def failing(run: Run, fail_on: FailOn) -> list[str]:
    """Sites that make `--fail-on` fail: those that count and are at or past it, and any that is non-finite.

    Args:
        run: the finished run.
        fail_on: the verdict; `near-gaussian` is passed by `non-gaussian`, `undetermined` likewise.

    Returns:
        Their names, in execution order.
    """
    return [
        score.site
        for score in run.scores
        if score.departure == "non-finite" or (score.headline and score.verdict in _FAILS[fail_on])
    ]

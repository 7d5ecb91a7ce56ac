"""`gaussprobe init`: whether pre-activations are normal at initialization, layer by layer."""

from __future__ import annotations

import os
import re
import shlex
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from gaussprobe.laboratory import Laboratory

_MOST_LAYERS = 100_000
_WIDTHS = re.compile(r"([1-9]\d{0,8})(?:x([1-9]\d{0,8}))?")


def init(
    activation: Annotated[
        str,
        typer.Option(
            metavar="NAME|phi:THETA|pkg.mod:fn",
            help="relu, tanh, gelu, ..; phi:THETA or phi+:THETA, which keep layers normal with Weibull "
            "weights; or a function of a tensor, element by element.",
        ),
    ] = "relu",
    widths: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WIDTHxLAYERS,..",
            help="Of the layers, such as 10x100 or 64,32x10,1 (given again, it goes on); 10x20 without.",
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=8, help="Networks, each with weights of its own.")] = 10_000,
    sigma_w: Annotated[
        float | None, typer.Option(min=0, help="Sd of weights times the root of fan-in (else on the edge).")
    ] = None,
    sigma_b: Annotated[
        float | None, typer.Option(min=0, help="Sd of biases (else 0; of tanh .114, as in the paper).")
    ] = None,
    weight: Annotated[
        str | None,
        typer.Option(
            metavar="normal|uniform|weibull:THETA",
            help="Law of the weights after the first layer (else normal; of phi, weibull).",
        ),
    ] = None,
    correlation: Annotated[float, typer.Option(min=-1, max=1, help="Of the two inputs.")] = 0.5,
    seed: options.Seed = 0,
    level: Annotated[float, typer.Option(help="Below which an adjusted p rejects a layer.")] = 0.05,
    device: options.Device = None,
    no_diagram: Annotated[
        bool, typer.Option("--no-diagram", help="No phase diagram, which takes some seconds.")
    ] = False,
    html: Annotated[Path | None, typer.Option(metavar="OUT", help="Write an HTML report.")] = None,
    json: options.Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table, no progress bar.")] = False,
    _debug: Debug = False,
) -> int:
    """Say whether each layer's pre-activation is normal over random draws of the weights."""
    layers = parsed_widths(widths or ["10x20"])
    law = parsed_weight(weight)
    # Absolute at once: a module may change the current directory.
    html = None if html is None else html.absolute()
    if html is not None:
        from gaussprobe.reports import page

        page.check_replaceable(html)
    with progress(not quiet) as report, results_alone_on_stdout():
        report("importing torch", 0, None)
        from gaussprobe.models.factory import importable_cwd
        from gaussprobe.signal import study

        # All along: a function of one's own may import late.
        with importable_cwd(), _warned_once(), _refused():
            found = study(
                activation,
                widths=layers,
                draws=draws,
                sigma_w=sigma_w,
                sigma_b=sigma_b,
                weight=law,
                correlation=correlation,
                seed=seed,
                diagram=not no_diagram,
                device=device,
                level=level,
                command=shlex.join(["gaussprobe", *invocation.arguments]),
                progress=report,
            )
        if html is not None:
            report("drawing the report", 0, None)
            found.report(html)
    _show(found, json=json, quiet=quiet)
    if html is not None and not quiet:
        say("written", os.path.relpath(html))
    return 0


def parsed_widths(given: Sequence[str]) -> list[int]:
    """Widths of layers from `10x100` or `64,32x10,1`.

    Args:
        given: one after the other.

    Returns:
        One to each layer.

    Raises:
        typer.BadParameter: if they are not such, or too many.
    """
    found: list[int] = []
    for text in ",".join(given).split(","):
        part = _WIDTHS.fullmatch(text.strip())
        if part is None:
            raise typer.BadParameter(
                "--widths must be widths, or WIDTHxLAYERS, of at least 1 with commas between, such as 10x100 "
                f"or 64,32x10,1; got {','.join(given)!r}"
            )
        count = int(part[2] or 1)
        if len(found) + count > _MOST_LAYERS:
            raise typer.BadParameter(f"--widths must be of at most {_MOST_LAYERS:,} layers; got {text!r}")
        found += [int(part[1])] * count
    return found


def parsed_weight(given: str | None) -> str | tuple[str, float] | None:
    """A law of weights from its name, with its parameter after a colon.

    Raises:
        typer.BadParameter: if the parameter is missing or is no number.
    """
    name, colon, parameter = (given or "").partition(":")
    if name != "weibull" and not colon:
        return given
    try:
        theta = float(parameter)
    except ValueError:
        theta = float("nan")
    if name != "weibull" or not 0 < theta < float("inf"):
        raise typer.BadParameter(
            f"--weight must be normal, uniform, or weibull:THETA with THETA above 0, such as weibull:3; "
            f"got {given!r}"
        )
    return name, theta


@contextmanager
def _warned_once() -> Iterator[None]:
    """Warnings of ours are in what is found; those of others become one line each."""
    from gaussprobe.errors import GaussprobeWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GaussprobeWarning)
        # Its own text: escape sequences in it must not reach the terminal.
        warnings.showwarning = _say_warning  # type: ignore[assignment]
        yield


def _say_warning(message: Warning | str, *_where: object) -> None:
    say("warning", str(message))


@contextmanager
def _refused() -> Iterator[None]:
    """An argument that the library refuses is a mistake in the command line."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _show(found: Laboratory, *, json: bool, quiet: bool) -> None:
    """On stdout, as was asked; what would be said there goes to stderr where it is not shown."""
    from gaussprobe.reports import laboratory_json, laboratory_text

    try:
        if json:
            typer.echo(laboratory_json.dumps(found))
        elif not quiet:
            laboratory_text.show(found, stdout())
    except (BrokenPipeError, SystemExit):
        # Whoever read our output has gone (rich exits then).
        abandon_stdout()
    if json or quiet:
        for kind, messages in (("warning", found.warnings), ("note", found.notes)):
            for message in messages:
                say(kind, message)

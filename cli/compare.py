"""`gaussprobe compare`: settings trained on the same seeds, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaussprobe.cli import options
from gaussprobe.cli.console import (
    Debug,
    abandon_stdout,
    progress,
    results_alone_on_stdout,
    say,
    stdout,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EXIT_FAILED = 1


def compare(
    module: Annotated[
        str | None,
        typer.Argument(
            metavar="[pkg.mod]", help="A module with build(), train(model, probe, seed) and perhaps settings."
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="A built-in experiment instead of a module.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds: 0, 1, ..")] = 6,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training data, where train takes `epochs`.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Steps from one record of the layers to the next.")] = 50,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings to run at once, each in a process.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="DIR", help="Folder to keep trials in; goes on with what it has."
        ),
    ] = None,
    json: options.Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table.")] = False,
    _debug: Debug = False,
) -> int:
    """Train settings on the same seeds and say what differs, and how sure that is."""
    with progress(not quiet) as report, results_alone_on_stdout():
        report("importing torch", 0, None)
        import gaussprobe as gp

        build, train, settings, about = _experiment(module, recipe, epochs)
        found = gp.compare(
            build,
            train,
            settings=settings,
            seeds=range(seeds),
            store=out,
            every=every,
            jobs=jobs,
            options=about,
            progress=report,
        )
    from gaussprobe.reports import comparison_json, comparison_text

    try:
        if json:
            typer.echo(comparison_json.dumps(found))
        elif not quiet:
            comparison_text.show(found, stdout())
    except (BrokenPipeError, SystemExit):
        abandon_stdout()
    for warning in found.warnings:
        say("warning", warning)
    if out is not None:
        say("kept", str(out))
    return EXIT_FAILED if found.failed else 0


def _experiment(
    module: str | None, recipe: str | None, epochs: int | None
) -> tuple[Callable[..., Any], Callable[..., Any], Mapping[str, Any], dict[str, str]]:
    """What to build, how to train it, in which settings, and what to call that."""
    from functools import partial

    from gaussprobe.errors import FactoryError

    if (module is None) == (recipe is None):
        raise typer.BadParameter("give a module, or --recipe NAME")
    if recipe is not None:
        from gaussprobe.recipes import RECIPES

        if recipe not in RECIPES:
            known = ", ".join(RECIPES)
            raise typer.BadParameter(f"there is no recipe {recipe!r}; there are {known}")
        one = RECIPES[recipe]
        passes = epochs or one.epochs
        return (
            one.build,
            partial(one.train, epochs=passes),
            one.settings,
            {"recipe": recipe, "epochs": str(passes)},
        )
    from gaussprobe.models.factory import load_object
    from gaussprobe.nn import gaussianize

    assert module is not None
    build, train = (load_object(f"{module}:{name}") for name in ("build", "train"))
    try:
        settings = load_object(f"{module}:settings")
    except FactoryError:
        settings = {"as built": None, "gaussianized": gaussianize}
    about = {"module": module}
    if epochs is not None:
        _check_takes_epochs(train, module)
        train = partial(train, epochs=epochs)
        about["epochs"] = str(epochs)
    return build, train, settings, about


def _check_takes_epochs(train: Callable[..., Any], module: str) -> None:
    import inspect

    from gaussprobe.errors import FactoryError

    if "epochs" not in inspect.signature(train).parameters:
        raise FactoryError(f"{module}:train takes no `epochs`\nleave --epochs out, or give it that parameter")

"""`gaussprobe compare`: settings trained on the same seeds, side by side."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from gaussprobe.comparison import Comparison
    from gaussprobe.sweep import Sweep

EXIT_FAILED = 1


class SweepName(StrEnum):
    """What a recipe is swept over."""

    width = "width"
    depth = "depth"
    batch = "batch"
    strength = "strength"
    noise = "noise"


# One comparison to each value; the others are more settings of one comparison.
_SIZES = (SweepName.width, SweepName.depth, SweepName.batch)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What to build, how to train it, in which settings, and what to call that."""

    build: Callable[..., Any]
    train: Callable[..., Any]
    settings: Mapping[str, Any]
    about: Mapping[str, str]


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
    ablate: Annotated[
        bool,
        typer.Option("--ablate", help="Recipes: plain, normality normalization without noise, and with it."),
    ] = False,
    sweep: Annotated[
        SweepName | None,
        typer.Option(help="Recipes: at several widths, depths, minibatch sizes, strengths, kinds of noise."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds: 0, 1, ..")] = 6,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training data, where train takes `epochs`.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Steps from one record of the layers to the next.")] = 50,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Trainings to run at once, each in a process; 1, and one to each core for recipes."
        ),
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="OUT", help="Write an HTML report.")] = None,
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
    _check(module, recipe, ablate=ablate, sweep=sweep, html=html)
    # Absolute at once: a module may change the current directory.
    out, html = (None if path is None else path.absolute() for path in (out, html))
    check_outputs({"--out": out, "--html": html}, [])
    if html is not None:
        from gaussprobe.reports import page

        page.check_replaceable(html)
    rank = _rank()
    more: dict[str, Any] = {
        "seeds": range(seeds),
        "store": out,
        "every": every,
        "jobs": jobs or (_cores() if recipe is not None and rank is None else 1),
        "command": shlex.join(["gaussprobe", *invocation.arguments]),
    }
    found: Comparison | Sweep
    with progress(not quiet and not rank) as report, results_alone_on_stdout():
        report("importing torch", 0, None)
        if sweep in _SIZES:
            from gaussprobe.recipes.sweeps import sweep as run_sweep

            assert recipe is not None
            assert sweep is not None
            _recipe(recipe)
            found = run_sweep(recipe, sweep.value, epochs=epochs, progress=report, **more)
        else:
            import gaussprobe as gp
            from gaussprobe.models.factory import importable_cwd

            # All along: processes of --jobs import the module anew, and `train` may import late.
            with importable_cwd():
                one = _experiment(module, recipe, epochs)
                if recipe is not None and (ablate or sweep is not None):
                    one = _varied(one, recipe, "ablation" if sweep is None else sweep.value)
                if module is not None:
                    _check_experiment(one, module, more["seeds"], more["jobs"])
                with _told_what_is_kept(out):
                    found = gp.compare(
                        one.build,
                        one.train,
                        settings=one.settings,
                        options=one.about,
                        progress=report,
                        **more,
                    )
        if rank:  # the first process speaks for all
            return 0
        if html is not None:
            from gaussprobe.comparison import Comparison as One

            assert isinstance(found, One)  # `_check` refuses a page of several
            report("drawing the report", 0, None)
            found.report(html)
    try:
        _show(found, json=json, quiet=quiet, ablate=ablate, in_a_row=sweep is not None)
    except (BrokenPipeError, SystemExit):
        abandon_stdout()
    for warning in found.warnings:
        say("warning", warning)
    for kind, path in (("report", html), ("kept", out)):
        if path is not None:
            say(kind, os.path.relpath(path))
    return EXIT_FAILED if found.failed else 0


def _check(
    module: str | None, recipe: str | None, *, ablate: bool, sweep: SweepName | None, html: Path | None
) -> None:
    """Refuse options that do not go together.

    Raises:
        typer.BadParameter: naming them.
    """
    if (module is None) == (recipe is None):
        raise typer.BadParameter("give a module, or --recipe NAME")
    name = re.sub(r"\.py$|:.*", "", module or "").replace("/", ".")
    if module not in (None, name):
        raise typer.BadParameter(f"{module!r} is not a module's name, such as {name or 'pkg.mod'}")
    asked = "--ablate" if ablate else "--sweep" if sweep is not None else ""
    if asked and recipe is None:
        raise typer.BadParameter(f"{asked} needs --recipe NAME: a module has the settings that it has")
    if ablate and sweep is not None:
        raise typer.BadParameter("--ablate and --sweep do not go together; give one of them")
    if html is not None and sweep in _SIZES:
        raise typer.BadParameter(
            f"--html draws one comparison, and --sweep {sweep} makes several; use --json or the table"
        )


@contextmanager
def _told_what_is_kept(out: Path | None) -> Iterator[None]:
    """Where an interrupted comparison is, and that it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        if out is not None:
            say("kept", f"{os.path.relpath(out)}: the same command goes on with what has ended")
        raise


def _show(found: Comparison | Sweep, *, json: bool, quiet: bool, ablate: bool, in_a_row: bool) -> None:
    """On stdout, as was asked."""
    from gaussprobe.reports import comparison_json, comparison_text, sweep_json, sweep_text
    from gaussprobe.sweep import Sweep

    if json:
        typer.echo(sweep_json.dumps(found) if isinstance(found, Sweep) else comparison_json.dumps(found))
    elif quiet:
        return
    elif isinstance(found, Sweep):
        sweep_text.show(found, stdout())
    elif ablate or in_a_row:
        sweep_text.show_settings(found, stdout(), steps=ablate)
    else:
        comparison_text.show(found, stdout())


def _rank() -> int | None:
    """Which of the processes of `torchrun` this is; None where there are none."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else None


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _experiment(module: str | None, recipe: str | None, epochs: int | None) -> Experiment:
    """That of a recipe, or of a module of one's own."""
    from functools import partial

    from gaussprobe.errors import FactoryError

    if recipe is not None:
        one = _recipe(recipe)
        passes = epochs or one.epochs
        return Experiment(
            build=one.build,
            train=partial(one.train, epochs=passes),
            settings=one.settings,
            about={"recipe": recipe, "epochs": str(passes)},
        )
    from gaussprobe.models.factory import load_object
    from gaussprobe.nn import gaussianize

    build, train = (load_object(f"{module}:{name}") for name in ("build", "train"))
    try:
        settings = load_object(f"{module}:settings")
    except FactoryError:
        settings = {"as built": None, "gaussianized": gaussianize}
    about = {"module": str(module)}
    if epochs is not None:
        _check_takes_epochs(train, str(module))
        train = partial(train, epochs=epochs)
        about["epochs"] = str(epochs)
    return Experiment(build=build, train=train, settings=settings, about=about)


def _recipe(name: str) -> Any:
    """A built-in experiment.

    Raises:
        typer.BadParameter: for a name that none has.
    """
    from gaussprobe.recipes import RECIPES

    if name not in RECIPES:
        raise typer.BadParameter(f"there is no recipe {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def _varied(one: Experiment, recipe: str, name: str) -> Experiment:
    """The same training in other settings.

    Raises:
        typer.BadParameter: for a recipe that has none of them.
    """
    from gaussprobe.recipes.variations import variation

    found = _recipe(recipe)
    if not found.normalizes:
        asked = "--ablate" if name == "ablation" else f"--sweep {name}"
        raise typer.BadParameter(f"{asked} varies normalization layers, and {recipe} has none")
    return replace(one, settings=variation(found, name), about={**one.about, "variation": name})


def _check_experiment(one: Experiment, module: str, seeds: Sequence[int], jobs: int) -> None:
    """Refuse what a module brings, as a mistake in it and not in this program.

    Raises:
        FactoryError: naming it.
    """
    from gaussprobe.compare import check
    from gaussprobe.errors import FactoryError

    try:
        check(one.build, one.train, one.settings, seeds, jobs)
    except ValueError as error:
        raise FactoryError(f"{module}: {error}") from error


def _check_takes_epochs(train: Callable[..., Any], module: str) -> None:
    import inspect

    from gaussprobe.errors import FactoryError

    if "epochs" not in inspect.signature(train).parameters:
        raise FactoryError(f"{module}:train takes no `epochs`\nleave --epochs out, or give it that parameter")

"""`gaussprobe selftest`: is what scan says of this model to be believed?"""

from __future__ import annotations

from typing import Annotated

import typer

from gaussprobe.cli.console import (
    Debug,
    abandon_stdout,
    progress,
    results_alone_on_stdout,
    stdout,
)


def selftest(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="As scan takes it.")],
    data: Annotated[
        str | None,
        typer.Option(metavar="FILE|DIR|pkg.mod:fn", help="Inputs, as scan takes them. Without it, made up."),
    ] = None,
    factory: Annotated[
        str | None,
        typer.Option(metavar="pkg.mod:fn", help="Builds the model that a state_dict or checkpoint is for."),
    ] = None,
    trust_pickle: Annotated[
        bool,
        typer.Option("--trust-pickle", help="Open a file that can run code when opened. Only your own."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
    max_samples: Annotated[int, typer.Option(min=8, help="Samples per unit that are tested.")] = 2048,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Examples in a batch, where a whole data set is given.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Where to run, such as cpu or cuda.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the planting and the sampling.")] = 0,
    _debug: Debug = False,
) -> int:
    """Plant known laws around MODEL and its data, and count how they are called."""
    with progress(True) as report, results_alone_on_stdout():
        report("importing torch", 0, None)
        from gaussprobe.selftest import selftest as plant

        result = plant(
            model,
            data,
            max_samples=max_samples,
            seed=seed,
            batch_size=batch_size,
            device=device,
            factory=factory,
            trust_pickle=trust_pickle,
            progress=report,
        )
    from gaussprobe.reports import selftest as shown

    try:
        if json:
            typer.echo(shown.dumps(result))
        else:
            shown.render(result, stdout())
    except (BrokenPipeError, SystemExit):
        abandon_stdout()
    return int(not result.passed)

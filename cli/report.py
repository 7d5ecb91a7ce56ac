"""`gaussprobe report`: an HTML report from a stored run or comparison; imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gaussprobe.cli.console import Debug, check_outputs, say


def report(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A run of scan or watch; a folder of compare --out."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Where the HTML goes.")],
    _debug: Debug = False,
) -> None:
    """Draw the HTML report of a stored run, or of a comparison as far as it got."""
    check_outputs({"-o": out}, [str(run)])
    if run.is_dir():
        from gaussprobe.trials import kept

        kept.read(run).report(out)
    else:
        from gaussprobe import store

        store.load(run).report(out)
    say("written", str(out))

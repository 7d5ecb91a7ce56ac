"""`gaussprobe report`: an HTML report from a stored run; imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gaussprobe.cli.console import Debug, check_outputs, say


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run of scan --out or of watch.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Where the HTML goes.")],
    _debug: Debug = False,
) -> None:
    """Draw the HTML report of a stored run."""
    from gaussprobe import store

    check_outputs({"-o": out}, [str(run)])
    store.load(run).report(out)
    say("written", str(out))

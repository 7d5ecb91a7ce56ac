"""`gaussprobe gaussianize`: normality normalization put into the model of a file."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaussprobe.cli import options
from gaussprobe.cli.console import (
    Debug,
    abandon_stdout,
    check_outputs,
    progress,
    results_alone_on_stdout,
    say,
    stdout,
)

if TYPE_CHECKING:
    from torch import nn

    from gaussprobe.nn import Description


def gaussianize(
    model: options.Model,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Where the changed model goes.")],
    noise: Annotated[
        float | None, typer.Option(min=0, help="xi of the noise in training (else .4, LayerNorm 1).")
    ] = None,
    strength: Annotated[float, typer.Option(min=0, max=1, help="alpha, the share of the Newton step.")] = 1.0,
    include: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only layers named so (may be given again).")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="No layers named so (may be given again).")
    ] = None,
    factory: options.Factory = None,
    trust_pickle: options.TrustPickle = False,
    json: options.Json = False,
    _debug: Debug = False,
) -> None:
    """Change every BatchNorm, InstanceNorm, LayerNorm and GroupNorm of MODEL to normality normalization."""
    check_outputs({"-o": out}, [model])
    from gaussprobe import files

    files.check_replaceable(out)
    with progress(True) as report, results_alone_on_stdout():
        report("importing torch", 0, None)
        from gaussprobe import models
        from gaussprobe.errors import GaussprobeWarning, ModelFileError
        from gaussprobe.nn import describe
        from gaussprobe.nn import gaussianize as change

        opened = models.open_model(model, factory=factory, trust_pickle=trust_pickle)
        for note in opened.notes:
            say("note", note)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GaussprobeWarning)  # said below, as an error
            change(opened.module, noise, strength, include or None, exclude or None)
        found = describe(opened.module)
        if not found.changed:
            reasons = sorted({one.reason for one in found.unchanged}) or ["it has no normalization layer"]
            raise ModelFileError(f"{model}: nothing to change: {reasons[0]}\nNothing was written.")
        content = _saved(opened.module)
    files.replace_file(out, content)
    try:
        if json:
            typer.echo(_dumps(model, out, noise, strength, found))
        else:
            _show(found)
    except (BrokenPipeError, SystemExit):
        abandon_stdout()
    say("written", str(out))
    if not _is_stock(opened.module):
        say("note", f"{out} holds classes that are not torch's: it opens with --trust-pickle")


def _saved(module: nn.Module) -> bytes:
    """The whole module as `torch.save` writes it."""
    import torch

    from gaussprobe.errors import ModelFileError

    file = io.BytesIO()
    try:
        torch.save(module, file)
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        raise ModelFileError(
            f"the changed model cannot be saved: {type(error).__name__}: {first[:160]}\n"
            "In Python, gaussprobe.nn.gaussianize(model) changes it in place."
        ) from error
    return file.getvalue()


def _is_stock(module: nn.Module) -> bool:
    from gaussprobe.models.stock import stock_classes

    known = set(stock_classes().values())
    return all(type(each) in known for each in module.modules())


def _dumps(model: str, out: Path, noise: float | None, strength: float, found: Description) -> str:
    import json
    from dataclasses import asdict

    document: dict[str, Any] = {
        "model": model,
        "out": str(out),
        "noise": noise,
        "strength": strength,
        "changed": [asdict(one) for one in found.changed],
        "unchanged": [asdict(one) for one in found.unchanged],
    }
    return json.dumps(document, indent=2)


def _show(found: Description) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("layer", "was", "is"):
        table.add_column(title, overflow="fold")
    for one in (*found.changed, *found.unchanged):
        now = f"not changed: {one.reason}" if one.reason else one.after
        table.add_row(*(Text(each) for each in (one.name or "(model)", one.before, now)))
    console = stdout()
    console.print(table)
    console.print(f"\n{len(found.changed)} changed, {len(found.unchanged)} not", highlight=False)

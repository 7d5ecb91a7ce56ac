"""`gaussprobe export`: the numbers of a stored run as CSV, Parquet or JSON; imports no torch."""

from __future__ import annotations

import enum
import io
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaussprobe.cli.console import Debug, check_outputs, say
from gaussprobe.errors import MissingExtraError

if TYPE_CHECKING:
    import pandas as pd


class Format(enum.StrEnum):
    """What a run can be exported as."""

    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"


class What(enum.StrEnum):
    """Which of a run's records are exported."""

    SCORES = "scores"
    SERIES = "series"
    METRICS = "metrics"
    EVENTS = "events"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run stored by scan --out or by watch.")],
    format_: Annotated[Format, typer.Option("--format", help="What it is written as.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="OUT", help="Where it goes; stdout without it.")
    ] = None,
    what: Annotated[
        What, typer.Option(help="Scores, what is followed over training, metrics, or events.")
    ] = What.SCORES,
    _debug: Debug = False,
) -> None:
    """Write the numbers of a stored run, one row per step and site."""
    check_outputs({"-o": out}, [str(run)])
    if format_ is Format.PARQUET:
        _require_parquet()
        if out is None and sys.stdout.isatty():
            raise typer.BadParameter("--format parquet is binary: name a file with -o")
    from gaussprobe import files, store
    from gaussprobe.reports import frame

    if out is not None:
        files.check_replaceable(out)
    loaded = store.load(run)
    content = _WRITERS[format_](frame.table(loaded, what.value))
    for warning in loaded.warnings:
        say("warning", warning)
    if out is None:
        typer.echo(content, nl=False)
    else:
        files.replace_file(out, content)
        say("written", str(out))


def to_csv(frame: pd.DataFrame) -> bytes:
    """A table as CSV in UTF-8, with names of columns; every double comes back as it was.

    NaN, which in a table is also what was withheld or missing, is `NaN`; infinities are `inf` and `-inf`.
    """
    return _text(_plain(frame).to_csv(index=False, na_rep="NaN", lineterminator="\n"))


def to_json(frame: pd.DataFrame) -> bytes:
    """A table as a list of objects in strict JSON, one a line, ASCII.

    NaN, which in a table is also what was withheld or missing, is null; infinities are `"Infinity"` and
    `"-Infinity"`.
    """
    names = list(frame.columns)
    lists = [[_strict(value) for value in frame[name].tolist()] for name in names]
    lines = (
        json.dumps(dict(zip(names, row, strict=True)), allow_nan=False) for row in zip(*lists, strict=True)
    )
    return _text("[" + ",".join(f"\n{line}" for line in lines) + "\n]\n")


def to_parquet(frame: pd.DataFrame) -> bytes:
    """A table as Parquet."""
    content = io.BytesIO()
    _plain(frame).to_parquet(content, engine="pyarrow", index=False)
    return content.getvalue()


_WRITERS: dict[Format, Callable[[pd.DataFrame], bytes]] = {
    Format.CSV: to_csv,
    Format.PARQUET: to_parquet,
    Format.JSON: to_json,
}


def _require_parquet() -> None:
    """Say at once, before a long run is read, that pyarrow is missing."""
    import importlib.util

    if importlib.util.find_spec("pyarrow") is None:
        raise MissingExtraError(
            '--format parquet needs the package pyarrow, which comes with the extra "parquet"\n'
            "pip install 'gaussprobe[parquet]'"
        )


def _strict(value: Any) -> Any:
    """A cell as JSON has it; `<NA>` and NaN are null."""
    if isinstance(value, str | int):
        return value
    if not isinstance(value, float) or math.isnan(value):
        return None
    return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with what UTF-8 cannot hold in its texts escaped: names of files need not be text."""
    text = [name for name in frame.columns if frame[name].dtype.kind == "O"]
    return frame.assign(**{name: [_escaped(value) for value in frame[name]] for name in text})


def _escaped(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _text(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")

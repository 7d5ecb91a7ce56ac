"""What every page of ours has in common: its templates, how names and numbers are set, how it is replaced."""

from __future__ import annotations

import math
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from gaussprobe import files
from gaussprobe.errors import StoreError
from gaussprobe.reports import text

_TEMPLATES = Path(__file__).parent / "templates"
_GENERATOR = b'<meta name="generator" content="gaussprobe '
_HEAD = 2_048  # bytes of a page in which it says what made it


def check_replaceable(path: str | Path) -> None:
    """Refuse a path that a report cannot be written to, without writing: to be asked before long work.

    Args:
        path: where a report is to be written.

    Raises:
        StoreError: if it holds something other than a report of ours, is a folder or a device, its folder is
            missing, or permission is.
    """
    files.check_replaceable(path)
    path = Path(path)
    if path.exists() and not _is_ours(path):
        raise StoreError(
            f"{files.printable(str(path))} exists and is not a gaussprobe report: left as it is.\n"
            "Choose another name, or delete it first."
        )


def _is_ours(path: Path) -> bool:
    """Whether a file is empty or begins as a report of ours does; one that cannot be read is not."""
    try:
        with path.open("rb") as file:
            start = file.read(_HEAD)
    except OSError:
        return False
    return not start or (start.lstrip().startswith(b"<!doctype html>") and _GENERATOR in start)


def environment() -> Environment:
    """A new environment of templates, in which whatever is not `Markup` is text."""
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Names and notes may come from a file that nobody vouches for, and UTF-8 cannot hold every string.
        finalize=lambda value: (
            text.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value
        ),
    )
    made.filters |= {
        "breakable": breakable,
        "num": lambda value: typeset(text.number(value)),
        "percent": text.percent,
        "pvalue": lambda value: typeset(text.pvalue(value)),
        "short": lambda value: typeset(text.number(value, 2)),
        "sortable": lambda value: "" if value is None or math.isnan(value) else repr(float(value)),
    }
    made.globals |= {"css": asset("report.css")}
    return made


def asset(name: str) -> Markup:
    """A style sheet or a script, to stand in the page."""
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704  our own file


def typeset(number: str) -> str:
    """A number with a minus sign and an infinity sign in place of ASCII."""
    return "∞" if number == "inf" else number.replace("inf", "∞").replace("-", "−")


def coded(sentence: str) -> Markup:
    """A sentence with what stands between backticks set as code."""
    parts = sentence.split("`")
    if len(parts) % 2 == 0:
        return escape(sentence)
    codes = (Markup("<code>{}</code>").format(breakable(part)) for part in parts[1::2])
    return Markup("").join(part for pair in zip(parts[::2], [*codes, ""], strict=True) for part in pair)


def breakable(name: str) -> Markup:
    """A site's name that a narrow column may break after its separators."""
    parts = re.findall(r"[^.:_/]*[.:_/]|[^.:_/]+", text.plain(name))
    return Markup("<wbr>").join(parts)

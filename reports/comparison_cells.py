"""Cells of tables in a terminal that hold settings side by side: numbers, intervals, p-values."""

from __future__ import annotations

import math
import re

from rich.table import Table
from rich.text import Text

from gaussprobe.comparison import Comparison, MetricSummary
from gaussprobe.paired import Difference
from gaussprobe.reports import text

_MOST_HEAD = 12  # letters in a line


def table(*titles: str) -> Table:
    """An empty table; all columns but the first are set flush right."""
    made = Table(box=None, pad_edge=False, header_style="dim")
    for index, title in enumerate(titles):
        made.add_column(
            headed(title),
            justify="right" if index else "left",
            overflow="fold",
            min_width=None if index else 8,
        )
    return made


def headed(title: str) -> Text:
    """The head of a column, long names on several lines: `Layer`, `NormalNorm`."""
    lines = [""]
    for part in re.split(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[ ,._/-])", text.plain(title)):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > _MOST_HEAD:
            lines.append("")
        lines[-1] += part
    return Text("\n".join(line.strip() for line in lines))


def plain(name: str) -> Text:
    """A name that someone else gave: neither markup nor what could steer the terminal."""
    return Text(text.plain(name))


def number(value: float, *, sign: bool = False) -> str:
    """Four significant digits, and no more than four decimals: the numbers of a column line up."""
    if not math.isfinite(value):
        return str(value)
    digits = 4 if value == 0 else max(0, min(4, 3 - math.floor(math.log10(abs(value)))))
    return f"{value:{'+' if sign else ''}.{digits}f}"


def summary(one: MetricSummary | None) -> str:
    """Mean and standard error; empty for no numbers."""
    if one is None or math.isnan(one.mean):
        return ""
    return number(one.mean) + ("" if math.isnan(one.se) else f" ({number(one.se)})")


def difference(one: Difference | None) -> tuple[str, str, str]:
    """A difference, its interval and p, adjusted where several were compared together."""
    if one is None:
        return "", "none", ""
    return number(one.mean, sign=True), interval(one.low, one.high, sign=True), pvalue(one.corrected_pvalue)


def interval(low: float, high: float, *, sign: bool = False) -> str:
    """`-0.0100..+0.0200`; `none` where there is none."""
    return "none" if math.isnan(low) else f"{number(low, sign=sign)}..{number(high, sign=sign)}"


def pvalue(p: float) -> str:
    """Four decimals, or `< .0001`; empty where there is none."""
    if math.isnan(p):
        return ""
    return "< .0001" if p < 1e-4 else f"{p:.4f}".removeprefix("0")


def seeds(found: Comparison) -> str:
    """`1 seed`, `6 seeds`."""
    n = len(found.seeds)
    return "1 seed" if n == 1 else f"{n} seeds"

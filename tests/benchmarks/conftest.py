"""The page of benchmarks: rows that the tests measure, written when all are done."""

from __future__ import annotations

import datetime
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.calibration.pages import machine, versions


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--page PATH`: write the rows there, in the part of the page that is the device's."""
    parser.addoption("--page", type=Path, default=None, help="write the measured tables to this file")


HEAD = """# Benchmarks

Ratios, each the median over rounds of two timings taken back to back in one process. Made by `make bench`
and, on a machine with a CUDA device, `make bench-gpu`; every number below is measured.
"""


@dataclass
class Page:
    """Rows of each table, and what stands above it."""

    tables: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    heads: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)

    def add(self, title: str, about: str, columns: tuple[str, ...], *row: str) -> None:
        """Append a row to the table of that title."""
        self.heads[title] = (about, columns)
        self.tables.setdefault(title, []).append(row)
        print(f"\n{title}: " + ", ".join(f"{c} {v}" for c, v in zip(columns, row, strict=True)))

    def text(self, device: str, seconds: float) -> str:
        """The part of one device as Markdown."""
        on = machine() if device == "CPU" else f"{torch.cuda.get_device_name()}, {machine()}"
        lines = [
            f"# {device}",
            "",
            f"- Made on {datetime.datetime.now(datetime.UTC):%Y-%m-%d} in {seconds:.0f} s.",
            f"- Machine: {on}; torch on {torch.get_num_threads()} threads.",
            f"- {versions()}.",
            "",
        ]
        for title, rows in self.tables.items():
            about, columns = self.heads[title]
            lines += [f"## {title}", "", about, "", "| " + " | ".join(columns) + " |"]
            lines += ["|---" * len(columns) + "|", *("| " + " | ".join(row) + " |" for row in rows), ""]
        return "\n".join(lines)


@pytest.fixture(scope="session")
def page(request: pytest.FixtureRequest) -> Iterator[Page]:
    """Collects rows; written to `--page` at the end."""
    start, found = time.monotonic(), Page()
    yield found
    path = request.config.getoption("--page", default=None)
    if path is not None and found.tables:
        device = "GPU" if any("GPU" in title for title in found.tables) else "CPU"
        before = path.read_text(encoding="utf-8") if path.exists() else HEAD
        opening, closing = f"<!-- {device} -->\n", f"<!-- end of {device} -->\n"
        if opening not in before:
            before += f"\n{opening}{closing}"
        head, _, rest = before.partition(opening)
        tail = rest.partition(closing)[2]
        text = found.text(device, time.monotonic() - start)
        path.write_text(f"{head}{opening}\n{text}\n{closing}{tail}", encoding="utf-8")


@dataclass(frozen=True)
class Ratio:
    """Median over rounds of theirs / ours, the quartiles of it, and the median of both in seconds."""

    times: float
    low: float
    high: float
    ours: float
    theirs: float

    def __str__(self) -> str:
        return f"{self.times:.3g} ({self.low:.3g}-{self.high:.3g})"


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def ratio(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> Ratio:
    """Time both in turn, as often as `rounds`; ours once before, so that tables and workers are there."""
    ours()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    found = [b / a for a, b in pairs]
    low, _, high = statistics.quantiles(found, n=4)
    return Ratio(
        times=statistics.median(found),
        low=low,
        high=high,
        ours=statistics.median(a for a, _ in pairs),
        theirs=statistics.median(b for _, b in pairs),
    )

"""What pages of trained networks are put together from."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

from gaussprobe.comparison import Comparison


def made(command: str, found: Iterable[Comparison]) -> list[str]:
    """How a page came about: the trainings may have had another machine than the page.

    Args:
        command: that writes the page.
        found: all that stands on it.
    """
    trials = [trial for each in found for trial in each.trials]
    threads = sorted({trial.threads for trial in trials})
    versions = (", ".join(f"{name} {version}" for name, version in t.versions.items()) for t in trials)
    hours, failed = sum(trial.seconds for trial in trials) / 3600, sum(bool(t.failure) for t in trials)
    return [
        *title("How it was made"),
        f"`{command}`",
        "",
        f"- Page written on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}.",
        f"- Machine: {_recorded(trial.machine for trial in trials)}; threads of a training: "
        f"{', '.join(map(str, threads)) or 'none was run'}.",
        f"- Versions: {_recorded(versions)}.",
        f"- {len(trials)} trainings, {hours:.1f} hours of them; {failed} failed.",
        "",
    ]


def _recorded(values: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(filter(None, values))) or "not recorded"


def title(text: str) -> list[str]:
    """A heading."""
    return [f"## {text}", ""]


def bullets(lines: Iterable[str]) -> list[str]:
    """A list."""
    return [*(f"- {line}" for line in lines), ""]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Nothing for no rows."""
    if not rows:
        return []
    return [*(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)), ""]

"""A self-test as a table in a terminal and as JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gaussprobe.reports import json_form, text
from gaussprobe.types import PlantedLaw, Selftest

_COUNTS = ("planted", "right", "false_alarms", "missed", "other_kind", "undecided")
_HEADERS = ("planted", "right", "false\nalarms", "missed", "other\nkind", "un-\ndecided")
_MOST_MISTAKES = 10


def headline(result: Selftest) -> str:
    """Whether every law was called right often enough, and which were not.

    Args:
        result: the self-test.

    Returns:
        One sentence, or two.
    """
    share = f"at least {result.level:.0%}"
    sites = f"{result.n_sites:,} site{'' if result.n_sites == 1 else 's'} of {text.plain(result.model)}"
    if result.passed:
        laws = f"each of {len(result.laws)} laws"
        return f"Passed: {laws} planted at {sites} was called right {share} of the time."
    short = [law for law in result.laws if law.right < result.level * law.planted]
    wrong = sum(law.planted - law.right - law.undecided for law in short)
    names = "; ".join(f"{law.law} {law.right} of {law.planted}" for law in short)
    said = f"planted at {sites}, not called right {share} of the time: {names}."
    if wrong:
        return f"Failed: {said}"
    return f"Undecided: {said} No call of these was wrong: they want more examples."


def render(result: Selftest, console: Console) -> None:
    """Print a self-test: the sentence to take away, counts law by law, wrong calls, notes.

    Args:
        result: the self-test.
        console: where to print.
    """
    _say(console, headline(result), "bold" if result.passed else "bold red")
    console.print()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("planted law", overflow="fold", vertical="bottom")
    table.add_column("to be called", overflow="fold")
    for header in _HEADERS:
        table.add_column(header, justify="right", no_wrap=True)
    for law in result.laws:
        table.add_row(Text(law.law), Text(_wanted(law)), *(_cell(law, name) for name in _COUNTS))
    console.print(table)
    console.print()
    shown = [*result.mistakes[:_MOST_MISTAKES]]
    left = len(result.mistakes) - len(shown)
    for line in shown + ([f"and {left} more, with --json"] if left else []):
        _say(console, f"wrong: {line}", "red")
    notes = result.data.get("notes") or ()
    for note in (*notes, *result.notes):
        _say(console, f"note: {note}")
    examples = f"{result.data.get('n_examples', 0):,} examples"
    _say(console, f"{examples}; seed {result.seed}; gaussprobe {result.gaussprobe}", "dim")


def _wanted(law: PlantedLaw) -> str:
    return "gaussian" if law.expected == "none" else law.expected


def _cell(law: PlantedLaw, name: str) -> Text:
    """A count; `-` where a law cannot have it: false alarms are of normal laws, the rest of the others."""
    value = int(getattr(law, name))
    if (name == "false_alarms" and law.expected != "none") or (
        name in ("missed", "other_kind") and law.expected == "none"
    ):
        return Text("-", style="dim")
    wrong = name in ("false_alarms", "missed", "other_kind") and value
    return Text(f"{value:,}", style="red" if wrong else "")


def _say(console: Console, sentence: str, style: str = "") -> None:
    console.print(Text(text.plain(sentence, console.encoding), style=style, overflow="fold"))


def to_json(result: Selftest) -> dict[str, Any]:
    """A self-test as an object that strict JSON can hold.

    Args:
        result: the self-test.

    Returns:
        The keys `gaussprobe, model, seed, data, passed, level, n_sites, laws, mistakes, notes`; `laws` is a
        list of the fields of `PlantedLaw`.
    """
    return {
        "gaussprobe": result.gaussprobe,
        "model": result.model,
        "seed": result.seed,
        "data": json_form.strict(result.data),
        "passed": result.passed,
        "level": result.level,
        "n_sites": result.n_sites,
        "laws": [dataclasses.asdict(law) for law in result.laws],
        "mistakes": list(result.mistakes),
        "notes": list(result.notes),
    }


def dumps(result: Selftest) -> str:
    """A self-test as the text of one JSON object, in ASCII."""
    return json.dumps(to_json(result), indent=2, allow_nan=False)

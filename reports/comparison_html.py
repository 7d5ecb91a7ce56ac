"""A comparison as one self-contained HTML page: no network, nothing to install, nothing beside it."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Template
from markupsafe import Markup, escape

from gaussprobe import files
from gaussprobe.comparison import Comparison, Trial
from gaussprobe.reports import comparison_glossary, comparison_tables, page, text
from gaussprobe.reports import comparison_words as words
from gaussprobe.reports.comparison_figures import MOST_LABELS
from gaussprobe.reports.comparison_glossary import MEASURED
from gaussprobe.reports.comparison_parts import R2_MEASURES, Part, part
from gaussprobe.reports.folding import shortened
from gaussprobe.reports.glossary import Method
from gaussprobe.version import __version__


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """A trial that raised: its last line, and all lines."""

    trial: Trial
    last: str
    lines: Markup


def write(found: Comparison, path: str | Path) -> None:
    """Write the report of a comparison, replacing an older report there whole or not at all.

    Args:
        found: the comparison.
        path: where to; its folder must exist.

    Raises:
        StoreError: if `path` cannot be written, or holds something other than a report of ours.
    """
    page.check_replaceable(path)
    files.replace_file(path, render(found).encode())


def render(found: Comparison) -> str:
    """The report of a comparison as the text of one HTML page; the same for the same comparison.

    Args:
        found: the comparison.

    Returns:
        The page.
    """
    from gaussprobe.reports import drawing

    with drawing.figure_style():
        parts = [part(found, pair, f"p{index}") for index, pair in enumerate(found.pairs, start=1)]
    rendered: str = _template().render(
        found=found,
        labels=words.labels(found.settings),
        parts=parts,
        facts=_facts(found),
        failures=[_failure(trial) for trial in found.failed],
        by_seed=comparison_tables.by_seed(found),
        methods=_methods(parts),
        provenance=_provenance(found),
    )
    return rendered


@functools.cache
def _template() -> Template:
    environment = page.environment()
    environment.filters |= {"headed": words.headed, "named": words.named}
    environment.globals |= {
        "compare_css": page.asset("compare.css"),
        "glossary": comparison_glossary,
        "script": page.asset("compare.js"),
        "version": __version__,
        "ratio_classes": _ratio_classes(),
        "counted": words.counted,
        "measure_titles": lambda names: [R2_MEASURES[name] for name in names],
        "most_labels": MOST_LABELS,
        "shortened": shortened,
    }
    return environment.get_template("compare.html.j2")


def _ratio_classes() -> list[str]:
    """What the colours of the grid stand for, the smallest ratio first."""
    return text.class_labels([f"{limit:g}".removeprefix("0") for limit in comparison_tables.RATIO_CLASSES])


def _facts(found: Comparison) -> str:
    """How much was run."""
    told = [words.counted(len(found.seeds), "seed"), words.counted(len(found.trials), "trial")]
    missing = len(found.seeds) * len(found.settings) - len(found.trials)
    if missing:
        told.append(f"{missing:,} not run yet")
    if found.failed:
        told.append(f"{len(found.failed):,} failed")
    steps = sorted({trial.steps for trial in found.trials if trial.steps})
    if steps:
        each = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
        told.append(f"{each} steps each")
    return ", ".join(told)


def _failure(trial: Trial) -> _Failure:
    lines = [text.plain(line) for line in trial.failure.strip().splitlines()]
    return _Failure(
        trial=trial,
        last=text.plain(trial.raised) or "no traceback",
        lines=Markup("\n").join(escape(line) for line in lines),
    )


def _methods(parts: Iterable[Part]) -> list[tuple[str, tuple[Method, ...]]]:
    """The methods behind what is shown, and no others."""
    names: dict[str, None] = {}
    r2 = False
    for one in parts:
        r2 = r2 or one.layers is not None
        names |= dict.fromkeys(() if one.layers is None else one.layers.measures[1:])
        for name in ("courses", "quantiles"):
            names |= {name: None} if getattr(one, name) else {}
        names |= {"robustness": None} if one.grid else {}
        names |= dict.fromkeys(each.name for each in one.measures)
        names |= {"cost": None} if one.costs else {}
    measured = (*((comparison_glossary.QQ_R2,) if r2 else ()), *(MEASURED[n] for n in MEASURED if n in names))
    groups = [("Differences on the same seeds", comparison_glossary.PAIRED), ("What was measured", measured)]
    return [(title, methods) for title, methods in groups if methods]


def _provenance(found: Comparison) -> list[tuple[str, str]]:
    ended = [trial for trial in found.trials if not trial.failure]
    seconds = []
    for name in found.settings:
        own = [trial.seconds for trial in ended if trial.setting == name]
        if own:
            seconds.append(f"{name} {text.number(sum(own) / len(own))} s")
    versions = (", ".join(f"{name} {version}" for name, version in t.versions.items()) for t in ended)
    created = sorted(trial.created for trial in ended if trial.created)
    rows = [
        ("Command", _distinct(trial.command for trial in ended)),
        ("Settings", ", ".join(found.settings)),
        ("Seeds", ", ".join(map(str, found.seeds))),
        *((str(name), str(value)) for name, value in found.description.items()),
        ("Numbers of the layers", _distinct(trial.measured for trial in ended)),
        ("Time of a trial", ", ".join(seconds)),
        ("Made", f"from {created[0]} to {created[-1]}, UTC, when the last training began" if created else ""),
        ("Machine", _distinct(trial.machine for trial in ended)),
        ("Threads", ", ".join(map(str, sorted({trial.threads for trial in ended})))),
        ("Versions", _distinct(versions)),
        ("gaussprobe", __version__),
    ]
    return [(name, value) for name, value in rows if value]


def _distinct(values: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(filter(None, values)))

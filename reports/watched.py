"""A watched run in a terminal: layers by drift with a sparkline each, events, metrics.

What is printed of a finished run and what `live` shows of one in progress are the same parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gaussprobe.records import Event
from gaussprobe.reports import glossary, series, text
from gaussprobe.reports.folding import fold
from gaussprobe.reports.series import SiteSeries, Training
from gaussprobe.types import VERDICTS, Run, Verdict

STYLE: dict[Verdict, str] = {
    "gaussian": "blue",
    "near-gaussian": "cyan",
    "non-gaussian": "bold red",
    "undetermined": "yellow",
}
_BLOCKS, _GAP = "▁▂▃▄▅▆▇█", "×"
_DIGITS, _PLAIN_GAP = "01234567", "x"
_CLASS_STYLE = ("blue",) * 2 + ("cyan",) * 2 + ("red",) * 4
_SHORT: dict[Verdict, str] = {
    "gaussian": "gaussian",
    "near-gaussian": "near-g.",
    "non-gaussian": "non-g.",
    "undetermined": "undet.",
}
_OTHERS, _OTHERS_SHORT = "outputs of nonlinearities", "not counted"
_WIDE = 100  # columns from which verdicts are written out
_NARROW = 64  # columns below which a layer takes two lines
_NAME = 0.35  # of the width, for names
_SPARK = 60
_MOST_METRICS = 6
_MOST_EVENTS = 12
_MARGIN = 5  # lines of a view that are not layers: counts, blanks, headers


@dataclass(frozen=True, kw_only=True)
class View:
    """Where a run is shown.

    Args:
        width: columns.
        encoding: of the stream; where it has no blocks, sparklines are digits.
        lines: how many there are, each for one thing, which is cut rather than folded; None for all it takes.
    """

    width: int
    encoding: str = "utf-8"
    lines: int | None = None

    @property
    def ramp(self) -> str:
        """Eight characters that rise."""
        try:
            (_BLOCKS + _GAP).encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return _DIGITS
        return _BLOCKS

    @property
    def gap(self) -> str:
        """What stands for a record that could not be measured."""
        return _GAP if self.ramp is _BLOCKS else _PLAIN_GAP

    def plain(self, name: str) -> str:
        """Text that the stream can hold."""
        return text.plain(name, self.encoding)


def summary(run: Run, view: View) -> Group:
    """Verdict counts, metrics, layers by drift and the latest events.

    Args:
        run: a watched run.
        view: where it is shown.

    Returns:
        What rich can print.
    """
    training = series.read(run)
    most_metrics, most_events = _MOST_METRICS, _MOST_EVENTS
    if view.lines is not None:  # layers take most of them
        most_metrics, most_events = (max(min(6, view.lines // part), 1) for part in (8, 6))
    shown = min(len(training.metrics), most_metrics) + min(len(training.events), most_events)
    parts: list[RenderableType] = [counts(run)]
    if training.metrics:
        parts.append(metrics(training, view, most_metrics))
    most = None if view.lines is None else max(view.lines - shown - _MARGIN - bool(training.events), 3)
    parts += [Text(), layers(training, view, most)]
    if training.events:
        parts += [Text(), *events(training, view, most_events)]
    return Group(*parts)


def counts(run: Run) -> Text:
    """How many of the layers that count have which verdict at the step shown, each in its colour."""
    tally = text.tally(text.split(text.shown(run))[0])
    said = [Text(f"{tally[one]} {one}", style=STYLE[one]) for one in VERDICTS if tally[one]]
    return Text(", ").join(said) if said else Text("no layer counted")


def metrics(training: Training, view: View, most: int = _MOST_METRICS) -> Table:
    """Each metric's last value and its course, scaled from its smallest to its largest."""
    table = _grid()
    names = list(training.metrics)[:most]
    room = max(min(view.width // 3, max((len(view.plain(name)) for name in names), default=1)), 6)
    table.add_column(no_wrap=True, width=room)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    course = max(min(view.width - room - 14, _SPARK), 4)
    for name in names:
        values = training.metrics[name][1]
        line = _scaled(values, course, view)
        table.add_row(Text(_cut(view.plain(name), room)), Text(text.number(values[-1])), Text(line))
    return table


def layers(training: Training, view: View, most: int | None = None) -> RenderableType:
    """A row for each layer, those that drifted most first: verdict, delta, drift, delta over the records.

    Args:
        training: the series.
        view: where they are shown; below 64 columns a layer takes two lines.
        most: rows there may be, None for all.

    Returns:
        What rich can print.
    """
    ranked = series.by_drift(training.sites[training.source])
    shown = ranked if most is None else ranked[: max(most - 1, 1)]
    left = len(ranked) - len(shown)
    more = [Text(f"and {left:,} more that drifted less", style="dim")] if left else []
    if view.width < _NARROW:
        return Group(*(line for site in shown for line in _stacked(site, view)), *more)
    wide = view.width >= _WIDE
    longest = max((len(view.plain(site.site)) for site in shown), default=4)
    room = max(min(longest, int(_NAME * view.width)), len(_OTHERS_SHORT))
    spark = max(min(view.width - room - (14 if wide else 8) - 7 - 8 - 6 - 10, _SPARK), 8)
    table = _grid()
    table.show_header, table.header_style = True, "dim"
    table.add_column("site", no_wrap=True, width=room)
    table.add_column("verdict", no_wrap=True)
    table.add_column("delta", justify="right", no_wrap=True)
    table.add_column("drift", justify="right", no_wrap=True)
    course = "delta, first record to last"
    table.add_column(course if len(course) <= spark else "course", no_wrap=True, width=spark)
    table.add_column("events" if wide else "ev.", justify="right", no_wrap=True)
    counted = True
    for site in shown:
        if counted and not site.counted:
            table.add_row(Text(_OTHERS if room >= len(_OTHERS) else _OTHERS_SHORT, style="dim"))
        counted = site.counted
        name = view.plain(site.site)
        folded = "\n ".join(fold(name, room, 1)) if most is None else _cut(name, room)
        table.add_row(
            Text(folded),
            _verdict(site, wide),
            Text(_delta(site)),
            Text(signed(site.drift)),
            sparkline(site.values("delta"), spark, view),
            Text(f"{len(site.events)}" if site.events else ""),
        )
    return Group(table, *more)


def _stacked(site: SiteSeries, view: View) -> list[Text]:
    name = Text(_cut(view.plain(site.site), view.width), style="bold")
    if view.lines is None:
        name = Text("\n".join(fold(view.plain(site.site), view.width)), style="bold")
    said = Text.assemble(" ", _verdict(site, False), f" {_delta(site)} ({signed(site.drift)}) ")
    room = max(view.width - len(said), 1)
    return [name, Text.assemble(said, sparkline(site.values("delta"), room, view))]


def _verdict(site: SiteSeries, wide: bool) -> Text:
    verdict: Verdict = "undetermined" if site.last is None else site.last.verdict
    said = verdict if wide else _SHORT[verdict]
    if site.last is not None and site.last.departure == "non-finite":
        said = "non-finite" if wide else "not fin."
    return Text(said, style=STYLE[verdict])


def _delta(site: SiteSeries) -> str:
    return text.number(site.values("delta")[-1], 2)


def events(training: Training, view: View, most: int = _MOST_EVENTS) -> list[Text]:
    """The latest events, the last one at the end; where there are two sources each is named by its own."""
    latest = training.events[-most:]
    count = len(training.events)
    title = f"Events ({count:,})" if len(latest) == count else f"Events ({count:,}, the last {len(latest)})"
    both = len(training.sources) > 1
    return [Text(title, style="bold"), *(_event(event, both, view) for event in latest)]


def _event(event: Event, both: bool, view: View) -> Text:
    where = f"{event.site} ({glossary.SOURCE_NAME[event.source]})" if both else event.site
    said = view.plain(f"step {event.step:,}  {where}: {event.text}")
    if view.lines is not None:
        said = said if len(said) <= view.width else f"{said[: view.width - 2]}.."
    return Text(said, style="red" if event.kind == "non-finite" else "", overflow="fold")


def legend(view: View) -> str:
    """What drift and the characters of a sparkline mean."""
    limits = ", ".join(f"{limit:g}".lstrip("0") for limit in series.CLASSES)
    return (
        f"Drift: median delta of the last {series.DRIFT_RECORDS} records less that of the first "
        f"{series.DRIFT_RECORDS}. The line of delta goes up a step at {limits} (bands {glossary.BANDS}); "
        f"{view.gap} not measurable."
    )


def sparkline(values: Sequence[float], room: int, view: View) -> Text:
    """Delta over the records, one character for each of its classes, in the colours of the verdict.

    Args:
        values: delta at each record; NaN is a cross.
        room: characters; neighbouring records share one where there are more, and the largest is shown.
        view: where it is shown.

    Returns:
        The line, one character for each bin.
    """
    line = Text()
    for part in series.binned(values, room):
        found = series.classed(series.largest(part))
        if found is None:
            line.append(view.gap, style="yellow")
        else:
            line.append(view.ramp[found], style=_CLASS_STYLE[found])
    return line


def signed(value: float) -> str:
    """A drift with its sign."""
    return ("+" if value > 0 else "") + text.number(value, 2)


def _scaled(values: Sequence[float], room: int, view: View) -> str:
    """A metric's course from its smallest value to its largest; of a bin the last is shown."""
    last = [part[-1] for part in series.binned(values, room)]
    finite = [value for value in last if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    span = high / 2 - low / 2  # which two large numbers of different signs have too
    line = ""
    for value in last:
        if math.isfinite(value):
            share = (value / 2 - low / 2) / span if span > 0 else 0.0
            line += view.ramp[min(int(8 * share), 7)]
        else:
            line += view.gap
    return line


def _cut(name: str, room: int) -> str:
    if len(name) <= room:
        return name
    kept = max(room - 2, 2)
    return f"{name[: kept // 2]}..{name[-(kept - kept // 2) :]}"[:room]


def _grid() -> Table:
    return Table.grid(padding=(0, 2, 0, 0))

"""What the page of a watched run says and draws over its steps: the section "Over training"."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from gaussprobe.errors import GaussprobeWarning
from gaussprobe.records import Association, Event
from gaussprobe.reports import glossary, series, text
from gaussprobe.reports.series import SiteSeries, Training
from gaussprobe.types import Run, Verdict

MOST_PANELS = 150  # sites that are drawn one by one, those that drifted most first
OPEN_PANELS = 3
_OPEN_HEATMAP = 40  # sites up to which the heatmap of the second source is open too
_MOST_EVENTS = 20
_MOST_ASSOCIATIONS = 8
_MOST_OTHERS = 100
_POINTS = 9_000  # of all sites' lines together: what keeps a page of 100 sites under 8 MB
_SPARK = 60
_CHANGES_PER_LAG = 12  # a little more than an association needs for each lag that it looks at


@dataclass(frozen=True, kw_only=True)
class Heatmap:
    """One source's heatmap and what stands over it."""

    svg: Markup
    caption: str
    open: bool


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One layer over training.

    Args:
        anchor: its id in the page.
        site: its name.
        verdict: of the last record; None without a score.
        first, last, drift: levels of delta, and how far it went.
        spark: path of delta over the steps in a box of 100 x 20, scaled as in the figures; empty without one.
        bands: heights of the verdict's bands in that box.
        figures: inline SVGs.
        events: those of this site, of all sources.
        link: anchor of the same site further down, empty where it is not shown there.
        counted: whether the site counts in the headline.
    """

    anchor: str
    site: str
    verdict: Verdict | None
    first: float
    last: float
    drift: float
    spark: str
    bands: tuple[float, float]
    figures: tuple[Markup, ...]
    events: tuple[Event, ...]
    link: str
    counted: bool


@dataclass(frozen=True, kw_only=True)
class Linked:
    """How the layers go with one metric.

    Args:
        metric: its name.
        first: the rows shown at once, smallest p first.
        others: those shown on request.
        left_out: how many more there are.
        clear: how many of those measured have an adjusted p below .05.
        measured, total: how many could be measured, of how many.
    """

    metric: str
    first: tuple[Association, ...]
    others: tuple[Association, ...]
    left_out: int
    clear: int
    measured: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Section:
    """Everything the template needs."""

    sentences: tuple[str, ...]
    notes: tuple[str, ...]
    heatmaps: tuple[Heatmap, ...]
    more_metrics: tuple[tuple[str, Markup], ...]
    both_sources: bool
    events: tuple[Event, ...]
    other_events: tuple[Event, ...]
    associations: tuple[Linked, ...]
    panels: tuple[Panel, ...]
    not_drawn: int


def section(run: Run, links: dict[str, str]) -> Section:
    """The section of a watched run, to be made inside `drawing.figure_style()`.

    Args:
        run: the run.
        links: anchor of each site that the rest of the page shows.

    Returns:
        Sentences, figures and tables.
    """
    from gaussprobe.reports import heatmap

    training = series.read(run)
    span = heatmap.span_of(training)
    above = list(training.metrics)[: heatmap.MOST_METRICS]
    ranked = series.by_drift(training.sites[training.source])
    drawn = ranked[:MOST_PANELS]
    points = max(min(_POINTS // max(len(drawn), 1), 160), 40)
    return Section(
        sentences=tuple(_sentences(training)),
        notes=tuple(_notes(training, points)),
        heatmaps=() if span is None else tuple(_heatmaps(training, above, span)),
        more_metrics=() if span is None else tuple(_more_metrics(training, above, span)),
        both_sources=len(training.sources) > 1,
        events=training.events[:_MOST_EVENTS],
        other_events=training.events[_MOST_EVENTS:],
        associations=tuple(_associations(run, training)),
        panels=tuple(_panels(training, drawn, span, points, links)),
        not_drawn=len(ranked) - len(drawn),
    )


def _sentences(training: Training) -> list[str]:
    steps = training.steps
    sites = training.sites[training.source]
    what = f"{len(steps):,} step{'' if len(steps) == 1 else 's'} recorded, {steps[0]:,} to {steps[-1]:,}"
    if len(steps) == 1:
        what = f"1 step recorded, {steps[0]:,}"
    seen = " and of ".join(glossary.SOURCE_MEANING[source] for source in training.sources)
    count = len(training.events)
    events = f"{count:,} event{'' if count == 1 else 's'}" if count else "No event"
    named = f"{len(sites):,} site{'' if len(sites) == 1 else 's'}"
    return [f"{what}, at {named}, of {seen}. {events}."]


def _notes(training: Training, points: int) -> list[str]:
    from gaussprobe.reports import heatmap

    count = len(training.steps)
    size = math.ceil(count / heatmap.MOST_COLUMNS)
    notes = []
    if size > 1:
        notes.append(
            f"Each column of the heatmap is up to {size} recorded steps: the largest delta of them is shown, "
            "and a cross where one of them could not be measured."
        )
    if count > points // 2:
        notes.append(
            "Lines of single layers are thinned: of neighbouring steps the smallest and the largest value "
            "are kept, of bands the outermost limits."
        )
    return notes


def _heatmaps(training: Training, above: Sequence[str], span: tuple[float, float]) -> list[Heatmap]:
    from gaussprobe.reports import heatmap

    found = []
    for index, source in enumerate(training.sources):
        metrics = above if index == 0 else ()
        what = f"Delta of each site over the steps, {glossary.SOURCE_MEANING[source]}"
        title = f"{what}, under {', '.join(metrics)}" if metrics else what
        svg = heatmap.draw(training, source, metrics, span, title, f"h{index}")
        found.append(
            Heatmap(
                svg=Markup(svg),  # noqa: S704  escaped where made
                caption=f"{what}.",
                open=index == 0 or len(training.sites[source]) <= _OPEN_HEATMAP,
            )
        )
    return found


def _more_metrics(
    training: Training, above: Sequence[str], span: tuple[float, float]
) -> list[tuple[str, Markup]]:
    from gaussprobe.reports import heatmap

    others = [name for name in training.metrics if name not in above]
    return [
        (name, Markup(heatmap.draw_alone(training, name, span, f"m{index}")))  # noqa: S704  escaped where made
        for index, name in enumerate(others)
    ]


def _panels(
    training: Training,
    drawn: Sequence[SiteSeries],
    span: tuple[float, float] | None,
    points: int,
    links: dict[str, str],
) -> list[Panel]:
    from gaussprobe.reports.site_figures import SiteFigures

    others = {site.site: site for source in training.sources[1:] for site in training.sites[source]}
    figures = None if span is None else SiteFigures(span, points)
    panels = []
    for position, site in enumerate(drawn, start=1):
        sources = [site, *([others[site.site]] if site.site in others else [])]
        anchor = f"over-{position}"
        svgs = [] if figures is None else figures.draw(sources, anchor)
        first, last = site.levels
        spark, bands = _spark(site)
        events = sorted((event for one in sources for event in one.events), key=lambda event: event.step)
        panels.append(
            Panel(
                anchor=anchor,
                site=site.site,
                verdict=None if site.last is None else site.last.verdict,
                first=first,
                last=last,
                drift=site.drift,
                spark=spark,
                bands=bands,
                figures=tuple(Markup(svg) for svg in svgs),  # noqa: S704  escaped where made
                events=tuple(events),
                link=links.get(site.site, ""),
                counted=site.counted,
            )
        )
    return panels


def _height(delta: float, top: float) -> float:
    """Where a delta stands in a box 20 high whose upper edge is `top`, on the scale of the figures."""
    return round(19 - 18 * max(glossary.spread(delta), 0.0) / glossary.spread(top), 1)


def _spark(site: SiteSeries) -> tuple[str, tuple[float, float]]:
    """Delta over the records as a path in which each gap ends a stroke, and the heights of the bands."""
    bins = [
        [value for value in values if math.isfinite(value)]
        for values in series.binned(site.values("delta"), _SPARK)
    ]
    top = max((max(values) for values in bins if values), default=0.0)
    top = max(top, 2 * glossary.BAND_HIGH)
    path, pen = "", "M"
    for index, values in enumerate(bins):
        if not values:
            pen = "M"
            continue
        x = 100 * index / max(len(bins) - 1, 1)
        path += f"{pen}{x:.0f} {_height(max(values), top):g}"
        path += "h.1" if pen == "M" else ""  # a record between two gaps is a dot
        pen = "L"
    return path, (_height(glossary.BAND_LOW, top), _height(glossary.BAND_HIGH, top))


def _associations(run: Run, training: Training) -> list[Linked]:
    """Of the source to look at first, and of the metrics that stand over its heatmap.

    The package's warnings name what could not be measured; here the page itself says how many were.
    """
    from gaussprobe.reports import heatmap

    source = training.source
    recorded = {step for site in training.sites[source] for step in site.steps}
    own = dataclasses.replace(
        run,
        series=tuple(record for record in run.series if record.source == source),
        scores=tuple(score for score in run.scores if score.source == source),
    )
    found = []
    for name, (steps, _) in list(training.metrics.items())[: heatmap.MOST_METRICS]:
        together = len(recorded.intersection(steps))
        if together < series.ASSOCIATION_RECORDS:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GaussprobeWarning)
            rows = own.association(name, max_lag=max(min(10, (together - 1) // _CHANGES_PER_LAG), 0))
        measured = sorted(
            (row for row in rows if math.isfinite(row.adjusted_pvalue)),
            key=lambda row: (row.adjusted_pvalue, row.pvalue, -abs(row.correlation)),
        )
        found.append(
            Linked(
                metric=name,
                first=tuple(measured[:_MOST_ASSOCIATIONS]),
                others=tuple(measured[_MOST_ASSOCIATIONS:][:_MOST_OTHERS]),
                left_out=max(len(measured) - _MOST_ASSOCIATIONS - _MOST_OTHERS, 0),
                clear=sum(row.adjusted_pvalue < 0.05 for row in measured),
                measured=len(measured),
                total=len(rows),
            )
        )
    return found


def lag_text(association: Association) -> str:
    """Which comes first, and by how many records."""
    lag = association.lag
    if lag == 0:
        return "together"
    who = "site leads" if lag > 0 else "metric leads"
    return f"{who} by {abs(lag)}"


def event_kind(kind: str) -> str:
    """An event's kind as a reader knows it: without the hyphen of the file."""
    return text.plain(kind).replace("-", " ").replace("gaussian", "Gaussian")

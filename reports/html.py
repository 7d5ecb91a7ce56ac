"""A run as one self-contained HTML page: no network, nothing to install, nothing beside it."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Template
from markupsafe import Markup

from gaussprobe import files
from gaussprobe.records import CHARTED_NAMES
from gaussprobe.reports import glossary, json_form, page, series, text, training, trust
from gaussprobe.reports.page import check_replaceable
from gaussprobe.types import VERDICTS, LayerScore, Metadata, Run, SitePicture, UnitPicture, Verdict

__all__ = ["check_replaceable", "render", "write"]

_GLYPH: dict[Verdict, str] = {
    "gaussian": "G",
    "near-gaussian": "≈",
    "non-gaussian": "×",
    "undetermined": "?",
}
_FOREST_WIDTH = 100
_QQ_CAPTION = "Q-Q plot; a normal sample follows the thin dashed line"


@dataclass(frozen=True, kw_only=True)
class _Figure:
    """An inline SVG and what stands under it."""

    svg: Markup
    caption: str


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """What the page says of one site."""

    anchor: str
    position: int
    score: LayerScore
    figures: tuple[_Figure, ...]


def write(run: Run, path: str | Path) -> None:
    """Write the report of a run, replacing an older report there whole or not at all.

    Args:
        run: the run; the last recorded step is shown.
        path: where to; its folder must exist.

    Raises:
        StoreError: if `path` cannot be written, or holds something other than a report of ours.
    """
    check_replaceable(path)
    files.replace_file(path, render(run).encode())


def render(run: Run) -> str:
    """The report of a run as the text of one HTML page; the same for the same run.

    Args:
        run: the run; the last recorded step is shown.

    Returns:
        The page.
    """
    from gaussprobe.reports import drawing  # matplotlib takes seconds, and checking a path needs none of it

    scores = text.shown(run)
    words = glossary.VIEW_WORDS[run.metadata.view]
    pictures = {(picture.step, picture.site): picture for picture in run.pictures}
    panels: dict[int, _Panel] = {}
    with drawing.figure_style():
        for position, score in enumerate(scores, start=1):
            picture = pictures.get((score.step, score.site))
            panels[id(score)] = _Panel(
                anchor=f"site-{position}",
                position=position,
                score=score,
                figures=_figures(score, picture, f"f{position}", words),
            )
        anchors = {panel.score.site: panel.anchor for panel in panels.values()}
        over = training.section(run, anchors) if series.is_watched(run) else None
    layers, activations = text.split(scores)
    rendered: str = _template().render(
        run=run,
        metadata=run.metadata,
        strip=[panels[id(score)] for score in scores],
        layers=[panels[id(score)] for score in layers],
        activations=[panels[id(score)] for score in activations],
        headline=page.coded(text.headline(run)),
        synthetic=text.synthetic_sentence(run),
        step_sentence=text.step_sentence(run),
        data_notes=text.data_notes(run),
        capture_sentences=trust.sentences(run),
        noun=text.noun(layers),
        verdict_legend=text.verdict_legend(run.metadata.view),
        words=words,
        name_legend=page.coded(text.name_legend(score.site for score in scores)),
        tally=text.tally(layers),
        tests=list(dict.fromkeys(name for score in scores for name in score.tests)),
        provenance=_provenance(run),
        over=over,
        over_sources=series.read(run).sources if over else (),
        heat_classes=_heat_classes(),
    )
    return rendered


@functools.cache
def _template() -> Template:
    environment = page.environment()
    environment.filters["interval"] = _interval
    environment.globals |= {
        "forest": _forest,
        "departure": text.departure,
        "departure_meaning": _departure_meaning,
        "is_empty": _is_empty,
        "worst_unit": text.worst_unit,
        "glossary": glossary,
        "glyphs": _GLYPH,
        "primary": text.PRIMARY_TEST,
        "primary_test": text.primary,
        "event_kind": training.event_kind,
        "lag_text": training.lag_text,
        "quantity_names": CHARTED_NAMES,
        "open_panels": training.OPEN_PANELS,
        "script": page.asset("report.js"),
        "series_css": page.asset("series.css"),
        "series_script": page.asset("series.js"),
        "verdicts": VERDICTS,
    }
    return environment.get_template("report.html.j2")


def _interval(summary: Any) -> tuple[str, str]:
    estimate, limits = text.interval(summary.median, summary.low, summary.high)
    return page.typeset(estimate), page.typeset(limits)


def _figures(
    score: LayerScore, picture: SitePicture | None, key: str, words: glossary.ViewWords
) -> tuple[_Figure, ...]:
    from gaussprobe.reports import figures

    units = () if picture is None else picture.units
    drawn = []
    for index, unit in enumerate(units):
        what = f"{words.one} {unit.unit} of {score.site}, the {unit.role} {words.one}"
        if not words.has_worst:
            what = f"the {words.one} of {score.site}"
        title = f"Histogram of {what}, against the normal law"
        svg = figures.histogram(unit, title, f"{key}h{index}")
        if svg:
            caption = _caption(unit, words)
            drawn.append(_Figure(svg=Markup(svg), caption=caption))  # noqa: S704  escaped where made
    those = " and ".join(f"the {unit.role} {words.one}" for unit in units if words.has_worst)
    title = f"Q-Q plot of {those or f'the {words.one}'} of {score.site}"
    svg = figures.qq_plot(units, title, f"{key}q")
    if svg:
        drawn.append(_Figure(svg=Markup(svg), caption=_QQ_CAPTION))  # noqa: S704  escaped where made
    return tuple(drawn)


def _caption(unit: UnitPicture, words: glossary.ViewWords) -> str:
    which = f"{unit.role} {words.one}, no. {unit.unit}" if words.has_worst else words.one
    caption = f"{which[0].upper()}{which[1:]}: delta {page.typeset(text.number(unit.delta))}"
    if words.has_worst:  # a pooled sample is standardised
        caption += f", mean {page.typeset(text.number(unit.mean))}, sd {text.number(unit.sd)}"
    outside = unit.below + unit.above
    if outside:
        caption += f"; {outside:,} of {outside + sum(unit.counts):,} samples lie beyond the range drawn"
    return caption


def _forest(score: LayerScore) -> dict[str, Any]:
    """Where delta, its interval, the worst unit and the bands stand on a cube-root scale from 0 to 1."""

    def place(value: float) -> float | None:
        if math.isnan(value):
            return None
        return round(_FOREST_WIDTH * math.cbrt(min(max(value, 0.0), 1.0)), 1)

    delta = score.delta
    return {
        "median": place(delta.median),
        "low": place(delta.low),
        "high": place(delta.high),
        "worst": place(delta.worst),
        "bands": (place(glossary.BAND_LOW), place(glossary.BAND_HIGH)),
    }


def _departure_meaning(score: LayerScore) -> str:
    if text.departure(score) == text.NOT_AVAILABLE:
        return "nothing was measured"
    return glossary.DEPARTURE_MEANING[score.departure]


def _heat_classes() -> list[str]:
    """What the colours of the heatmap stand for, smallest delta first."""
    return text.class_labels([f"{limit:g}".lstrip("0") for limit in series.CLASSES])


def _is_empty(score: LayerScore) -> bool:
    """Whether no number at all could be had of a site."""
    numbers = [score.delta.median, score.negentropy.median, score.qq_r2, score.ks_distance, score.wasserstein]
    numbers += [score.skewness, score.excess_kurtosis, *(test.statistic for test in score.tests.values())]
    return all(math.isnan(number) for number in numbers)


def _provenance(run: Run) -> list[tuple[str, str]]:
    metadata = run.metadata
    data: Mapping[str, Any] = metadata.data
    known = [f"{key}: {_value(value)}" for key, value in data.items() if value not in (None, "", [], {}, ())]
    return [
        ("Command", metadata.command or "run from Python"),
        ("Model", metadata.model),
        ("Data", "; ".join(known) or "not recorded"),
        _sizes(metadata),
        ("Seed", str(metadata.seed)),
        ("View", f"{metadata.view}: {glossary.VIEW_MEANING[metadata.view]}"),
        ("Mode and device", f"{metadata.mode}, {metadata.device}"),
        ("Made", f"{metadata.created or 'not recorded'}, in {text.number(metadata.seconds)} s"),
        ("gaussprobe", metadata.gaussprobe),
        ("Versions", ", ".join(f"{name} {version}" for name, version in metadata.versions.items())),
    ]


def _sizes(metadata: Metadata) -> tuple[str, str]:
    """How many there are of what makes a sample."""
    if metadata.view == "init":
        return "Initializations", f"{metadata.max_samples:,}"
    most = f"at most {metadata.max_samples:,}"
    if metadata.view == "unit":
        return "Samples per unit", f"{most}; the number tested stands with each site"
    return "Examples", most


def _value(value: Any) -> str:
    plain = json_form.strict(value)
    if isinstance(plain, bool):
        return "yes" if plain else "no"
    if isinstance(plain, list) and all(isinstance(item, str) for item in plain):
        return ", ".join(plain)
    if isinstance(plain, int) and plain >= 10_000:
        return f"{plain:,}"
    return str(plain)

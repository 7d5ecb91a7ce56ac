"""What the page of a comparison shows of one pair of settings: sentences, figures and tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from gaussprobe.comparison import Comparison, CourseSummary, Pair
from gaussprobe.measured import Quantiles
from gaussprobe.reports import comparison_figures as figures
from gaussprobe.reports import comparison_glossary, comparison_tables, text
from gaussprobe.reports import comparison_words as words
from gaussprobe.reports.comparison_tables import Grid, Table
from gaussprobe.reports.page import breakable, typeset

OPEN_FIGURES = 12  # of a section; the others are a click away
MOST_FIGURES = 150
R2_MEASURES = {"qq_r2": "over the examples", "minibatch_qq_r2": "by minibatch"}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """An inline SVG and what stands under it."""

    svg: Markup
    caption: Markup


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures of many layers: those seen at once, those a click away, and how many are left out."""

    first: tuple[Figure, ...]
    others: tuple[Figure, ...]
    left_out: int


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Q-Q R^2 of the layers.

    Args:
        measures: those of `R2_MEASURES` there are.
        slopes: a chart for each.
        table: rows with a cell for each.
        named: whether every line of the charts has its name.
    """

    measures: tuple[str, ...]
    slopes: tuple[Figure, ...]
    table: Table
    named: bool


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A measure of pairs of units: its name and title, one sentence, and the table."""

    name: str
    title: str
    sentence: str
    table: Table


@dataclass(frozen=True, kw_only=True)
class Part:
    """Everything the template needs of one pair.

    Args:
        key: begins the ids of the part.
        pair: the settings.
        labels: what they are called.
        n_seeds: that ended in both settings.
        sentences: to take away.
        measured: where the numbers of the layers come from.
        metrics .. costs: sections, None or empty where there is nothing.
        seed: whose Q-Q plots are shown.
    """

    key: str
    pair: Pair
    labels: tuple[str, str]
    n_seeds: int
    sentences: tuple[Markup, ...]
    measured: str
    metrics: Table
    layers: Layers | None
    courses: Figures | None
    quantiles: Figures | None
    seed: int | None
    grid: Grid | None
    measures: tuple[Measured, ...]
    costs: Table | None


def part(found: Comparison, pair: Pair, key: str) -> Part:
    """One pair, to be made inside `drawing.figure_style()`.

    Args:
        found: the comparison.
        pair: of its pairs.
        key: makes ids unique in the page.
    """
    labels = words.labels(found.settings)
    both = words.ended(found, pair)
    seed, units = _units(found, pair)
    return Part(
        key=key,
        pair=pair,
        labels=(labels[pair.first], labels[pair.second]),
        n_seeds=len(both),
        sentences=tuple(words.sentences(found, pair)),
        measured=next((trial.measured for two in both for trial in two if trial.sites), ""),
        metrics=comparison_tables.metrics(found, pair),
        layers=_layers(pair, (labels[pair.first], labels[pair.second]), key),
        courses=_courses(found, pair, key),
        quantiles=_gathered(_quantiles(units, pair, key), len(units)),
        seed=seed,
        grid=comparison_tables.grid(pair),
        measures=tuple(_measures(pair)),
        costs=comparison_tables.costs(pair),
    )


def _layers(pair: Pair, labels: tuple[str, str], key: str) -> Layers | None:
    measures = tuple(name for name in R2_MEASURES if any(name in site.differences for site in pair.sites))
    table = comparison_tables.sites(pair, measures)
    if table is None:
        return None
    one, sites = words.shown_sites(pair)
    drawn: list[Figure] = []
    for name in measures:
        lines = [
            figures.Slope(
                name=site.site or "(model)",
                first=site.means.get(name, {}).get(pair.first, math.nan),
                second=site.means.get(name, {}).get(pair.second, math.nan),
                clear=words.clear(site.differences.get(name)),
            )
            for site in sites
        ]
        title = f"Q-Q R² {R2_MEASURES[name]} of each {one}: {pair.first} left, {pair.second} right"
        svg = figures.slopes(lines, labels, title, f"{key}s{len(drawn)}")
        if svg:
            caption = Markup("Q-Q R² {}: {}.").format(R2_MEASURES[name], words.counted(len(sites), one))
            drawn.append(Figure(svg=Markup(svg), caption=caption))  # noqa: S704  escaped where made
    return Layers(
        measures=measures, slopes=tuple(drawn), table=table, named=len(sites) <= figures.MOST_LABELS
    )


def _gathered(drawn: Iterator[Figure], total: int) -> Figures | None:
    """The first `MOST_FIGURES` of all figures there would be; None where there is none."""
    kept = [figure for figure, _ in zip(drawn, range(MOST_FIGURES), strict=False)]
    if not kept:
        return None
    return Figures(
        first=tuple(kept[:OPEN_FIGURES]),
        others=tuple(kept[OPEN_FIGURES:]),
        left_out=max(total - MOST_FIGURES, 0),
    )


def _courses(found: Comparison, pair: Pair, key: str) -> Figures | None:
    """Layers over training: those of the headline first, then the others."""
    first, second = (
        {course.site: course for course in found.courses.get(name, ())} for name in (pair.first, pair.second)
    )
    every = [*first.values(), *second.values()]
    if not figures.can_draw(every):
        return None
    ranked = _ranked(pair, (course.site for course in every))
    return _gathered(_each_course(ranked, first, second, every, key), len(ranked))


def _ranked(pair: Pair, names: Iterable[str]) -> list[str]:
    """Names of sites, those of the headline first."""
    shown = {site.site for site in words.shown_sites(pair)[1]}
    return sorted(dict.fromkeys(names), key=lambda name: name not in shown)


def _each_course(
    names: Sequence[str],
    first: dict[str, CourseSummary],
    second: dict[str, CourseSummary],
    every: Sequence[CourseSummary],
    key: str,
) -> Iterator[Figure]:
    canvas = figures.Courses(every)
    for index, name in enumerate(names):
        title = f"Q-Q R² of {name} over training in both settings"
        svg = canvas.draw(first.get(name), second.get(name), title, f"{key}c{index}")
        yield Figure(svg=Markup(svg), caption=_code(name))  # noqa: S704  escaped where made


def _code(name: str) -> Markup:
    return Markup("<code>{}</code>").format(breakable(name or "(model)"))


def _units(found: Comparison, pair: Pair) -> tuple[int | None, list[tuple[Quantiles, Quantiles]]]:
    """A unit of each site, in both settings, on the first seed that has any.

    Of those kept in both it is the one whose R^2 in the first setting is the median, the lower of two.
    """
    for trials in words.ended(found, pair):
        first, second = ({(q.site, q.unit): q for q in trial.quantiles} for trial in trials)
        sites: dict[str, list[Quantiles]] = {}
        for place, one in first.items():
            if place in second and not math.isnan(one.qq_r2):
                sites.setdefault(one.site, []).append(one)
        ranked = [sorted(sites[name], key=lambda one: one.qq_r2) for name in _ranked(pair, sites)]
        chosen = [each[(len(each) - 1) // 2] for each in ranked]
        if chosen:
            return trials[0].seed, [(one, second[one.site, one.unit]) for one in chosen]
    return None, []


def _quantiles(units: Sequence[tuple[Quantiles, Quantiles]], pair: Pair, key: str) -> Iterator[Figure]:
    for index, (first, second) in enumerate(units):
        title = f"Q-Q plot of unit {first.unit} of {first.site}: {pair.first} dashed, {pair.second} solid"
        svg = figures.both_quantiles(first, second, title, f"{key}q{index}")
        if svg:
            texts = [typeset(text.number(one.qq_r2, 4)) for one in (first, second)]
            caption = Markup("{} unit {}, R² {} → {}").format(_code(first.site), first.unit, *texts)
            yield Figure(svg=Markup(svg), caption=caption)  # noqa: S704  escaped where made


def _measures(pair: Pair) -> Iterator[Measured]:
    """Measures of pairs of units, each with a sentence over the layers that count."""
    for name in comparison_glossary.PAIR_MEASURES:
        table = comparison_tables.sites(pair, (name,))
        if table is None:
            continue
        counted = [site for site in pair.sites if site.headline and name in site.differences]
        found = [words.clear(site.differences[name]) for site in counted]
        sentence = (
            f"{found.count(-1)} lower and {found.count(1)} higher of {words.counted(len(found), 'layer')}, "
            "with an adjusted p below .05"
        )
        title = comparison_glossary.MEASURED[name].title
        yield Measured(name=name, title=title, sentence=sentence, table=table)

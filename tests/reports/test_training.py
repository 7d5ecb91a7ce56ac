"""gaussprobe.reports.training: the section "Over training" of the page."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from gaussprobe import store
from gaussprobe.errors import TooFewSamplesWarning
from gaussprobe.records import Association, Metric
from gaussprobe.reports import drawing, html, series, training
from gaussprobe.types import Run
from tests.reports.pages import EVIL, Checker
from tests.reports.training_runs import associations, build_training, names
from tests.runs import build_run
from tests.without_torch import WITHOUT_TORCH

RUN = build_training()


@pytest.fixture(autouse=True)
def associated(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """`Run.association` gives constructed associations at once; what it was asked is kept."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def association(self: Run, metric: str, **options: Any) -> list[Association]:
        asked.append((metric, options))
        assert len({record.source for record in self.series}) == 1
        return associations(self)

    monkeypatch.setattr(Run, "association", association)
    return asked


def words(page: str) -> str:
    return " ".join("".join(Checker(page).text).split())


def test_page_nests_and_ids_are_unique() -> None:
    """The page of a watched run is well formed, and nothing comes from elsewhere."""
    page = html.render(RUN)
    checker = Checker(page)
    ids = [attributes["id"] for _, attributes in checker.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for name in ("href", "aria-labelledby", "for"):
        for _, attributes in checker.tags:
            target = (attributes.get(name) or "").removeprefix("#")
            if target and not target.startswith("data:"):
                assert target in ids
    assert "http" not in page.replace("http-equiv", "")
    assert not re.search(r"@import|url\((?!#)|\bon\w+=|javascript:", page)


def test_section_stands_above_the_table() -> None:
    """Over training comes first, then the strip and the table of the last step; which step is said."""
    page = html.render(RUN)
    order = [page.index(f'id="{name}"') for name in ("over", "overview", "sites", "panels")]
    assert order == sorted(order)
    said = words(page)
    assert (
        "Verdicts are those of step 2,950, the last of 60 recorded, of the fixed batch in evaluation" in said
    )
    assert "60 steps recorded, 0 to 2,950, at 8 sites" in said
    assert page.count('<details class="panel"') == 8
    assert page.count('<details class="course"') == 8


def test_a_scan_has_none_of_it() -> None:
    """Section, style and script of a watched run are not on the page of a scan."""
    page = html.render(build_run())
    for part in ("Over training", "--heat-0", "details.course", "drift"):
        assert part not in page


def test_both_sources_are_drawn_and_told_apart() -> None:
    """Each source has a heatmap and a line of its own, and is named in events; one alone is not named."""
    page = html.render(RUN)
    for part in ("var(--probe)", "var(--forward)", '<td class="whole">fixed batch</td>'):
        assert part in page
    assert page.count('<details class="heat"') == 2
    alone = html.render(build_training(probe=False))
    assert "stroke: var(--probe)" not in alone
    assert alone.count('<details class="heat"') == 1
    assert '<td class="whole">training forward</td>' not in alone
    assert "of the training forward" in words(alone)


def test_every_event_is_there() -> None:
    """The table has each event in step order; many are folded away, not dropped."""
    said = words(html.render(RUN))
    places = [said.index(event.text) for event in sorted(RUN.events, key=lambda event: event.step)]
    assert places == sorted(places)
    many = tuple(dataclasses.replace(RUN.events[0], step=step, text=f"number {step}.") for step in range(90))
    page = html.render(dataclasses.replace(RUN, events=many))
    assert "70 more events" in words(page)
    assert all(f"number {step}." in page for step in range(90))


def test_associations(associated: list[tuple[str, dict[str, Any]]]) -> None:
    """Each metric has its table, smallest p first, what could not be measured counted."""
    page = html.render(RUN)
    said = words(page)
    assert [metric for metric, _ in associated] == ["loss", "accuracy", "learning_rate"]
    assert "loss: 6 of 23 have an adjusted p below .05; 1 could not be measured" in said
    table = said[said.index("loss: 6 of 23") :]
    assert table.index("stem.conv") < table.index("stem.norm") < table.index("layers.0.attention.q_proj")
    assert "15 more, none with a smaller p" in table


@pytest.mark.parametrize(("steps", "lags"), [(29, None), (30, 2), (60, 4), (130, 10)])
def test_lags_fit_the_records(
    steps: int, lags: int | None, associated: list[tuple[str, dict[str, Any]]]
) -> None:
    """With fewer than 30 records nothing is asked; with few, fewer lags are, as many as can be measured."""
    html.render(build_training(steps=steps, sites=2))
    assert [options["max_lag"] for _, options in associated] == ([] if lags is None else [lags] * 3)


def test_warnings_of_associations_are_said_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the package warns of is not repeated to whoever draws the page; nothing is shown as measured."""

    def association(self: Run, metric: str, **options: Any) -> list[Association]:
        warnings.warn("too few", TooFewSamplesWarning, stacklevel=2)
        return associations(self)[-1:]

    monkeypatch.setattr(Run, "association", association)
    assert "Nothing could be measured" in words(html.render(RUN))


def test_metrics_beyond_those_above_the_heatmap() -> None:
    """Four metrics stand above the heatmap, all others are drawn apart."""
    more = tuple(Metric(step=step, name=f"m{index}", value=1.0) for index in range(6) for step in (0, 50))
    said = words(html.render(build_training(steps=3, sites=2, metrics=more)))
    assert "2 more metrics" in said


def test_names_cannot_become_markup() -> None:
    """Names of sites and metrics and the text of events are text wherever they stand."""
    old = names(2)[1][0]

    def swap(item: Any) -> Any:
        return dataclasses.replace(item, site=EVIL) if item.site == old else item

    run = dataclasses.replace(
        RUN,
        scores=tuple(map(swap, RUN.scores)),
        series=tuple(map(swap, RUN.series)),
        events=tuple(dataclasses.replace(swap(event), text=EVIL) for event in RUN.events),
        metrics=tuple(dataclasses.replace(metric, name=EVIL + metric.name) for metric in RUN.metrics),
    )
    page = html.render(run)
    checker = Checker(page)
    assert len(checker.attributes("script")) == 2
    assert not checker.attributes("img")
    assert not [a for _, a in checker.tags if any(name.startswith("on") for name in a)]


def test_lines_break_where_nothing_was_measured() -> None:
    """Delta of a layer that holds NaN for a while has a stroke before and a stroke after."""
    site = next(site for site in series.read(RUN).sites["probe"] if site.site == "heads.aux")
    path, (low, high) = training._spark(site)
    assert path.count("M") == 2
    assert 19 > low > high > 0


def test_most_drifted_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many sites those that drifted most are drawn, and how many are not is said."""
    monkeypatch.setattr(training, "MOST_PANELS", 3)
    page = html.render(build_training(steps=12))
    assert page.count('<details class="course"') == 3
    assert "5 sites that drifted less are in the heatmap only" in words(page)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_few_steps(steps: int) -> None:
    """A run that has just begun is drawn, its first step too."""
    page = html.render(build_training(steps=steps, sites=3))
    assert page.count("<svg") > 10
    Checker(page)


def test_series_without_scores_or_metrics() -> None:
    """Records alone are drawn, and their delta is said to be unmeasured."""
    page = html.render(build_training(steps=3, scores=(), metrics=(), events=()))
    Checker(page)
    assert "not measured" in page
    assert "No event." in words(page)


def test_a_hundred_sites_fit_eight_megabytes() -> None:
    """At 500 steps the figures of one of 100 sites take under 70 kB, so that the page stays below 8 MB."""
    run = build_training(steps=500, sites=4)
    sites = series.read(run)
    with drawing.figure_style():
        points = training._POINTS // 100
        from gaussprobe.reports import heatmap

        panels = training._panels(sites, sites.sites["probe"], heatmap.span_of(sites), points, {})
    assert max(sum(map(len, panel.figures)) for panel in panels) < 70_000


def test_deterministic() -> None:
    """Equal runs give equal pages."""
    run = build_training(steps=4, sites=3)
    assert html.render(run) == html.render(build_training(steps=4, sites=3))


def test_without_torch(tmp_path: Path) -> None:
    """A stored watched run becomes a page and a table on a machine that has no torch."""
    store.save(build_training(steps=120, sites=3), tmp_path / "run.sqlite")
    script = f"""{WITHOUT_TORCH}
import io
from rich.console import Console
import gaussprobe
from gaussprobe.reports import json_form, terminal
run = gaussprobe.load(sys.argv[1])
run.report(sys.argv[2])
json_form.dumps(run)
terminal.render(run, Console(file=io.StringIO()))
"""
    command = [sys.executable, "-W", "error", "-c", script, tmp_path / "run.sqlite", tmp_path / "report.html"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Over training" in page
    assert "How layers go with the metrics" in page

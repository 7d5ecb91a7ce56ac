"""gaussprobe.reports.laboratory_html: the page of a laboratory, and its figures."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gaussprobe.errors import StoreError
from gaussprobe.laboratory import Laboratory
from gaussprobe.reports import drawing, laboratory_figures, laboratory_html
from gaussprobe.reports import laboratory_words as words
from tests.reports.laboratories import build_laboratory, edge
from tests.reports.pages import EVIL, Checker
from tests.without_torch import WITHOUT_TORCH

BROKEN = {layer: 3 * layer for layer in range(9, 15)}
FOUND = build_laboratory(widths=[3] * 20)
PAGE = laboratory_html.render(FOUND)
BROKEN_FOUND = build_laboratory(nonfinite=BROKEN, diagram=False)
BROKEN_PAGE = laboratory_html.render(BROKEN_FOUND)
ONE_PAGE = laboratory_html.render(build_laboratory(widths=[5]))


def nothing() -> Laboratory:
    """No layer could be measured, the maps have no numbers, and names are hostile."""
    found = build_laboratory(widths=[3] * 4, nonfinite=dict.fromkeys(range(1, 5), 600))
    nan = (math.nan,) * 4
    assert found.diagram is not None
    grid = tuple(tuple(math.nan for _ in row) for row in found.diagram.chi1)
    return dataclasses.replace(
        found,
        propagation=dataclasses.replace(found.propagation, activation=EVIL, weight="weibull" + EVIL),
        predicted_variance=nan,
        predicted_correlation=nan,
        weight_sd=0.886,
        point=dataclasses.replace(
            found.point, phase="undetermined", chi1=math.nan, correlation_fixed_point=math.nan, reason=EVIL
        ),
        edge=dataclasses.replace(edge(), sigma_w=math.nan, reason=EVIL),
        diagram=dataclasses.replace(found.diagram, chi1=grid),
        command=EVIL,
        notes=(EVIL,),
        warnings=(EVIL, "caf\udce9\u202e\x00"),
        versions={EVIL: EVIL},
    )


NOTHING = laboratory_html.render(nothing())
PAGES = pytest.mark.parametrize(
    "page", [PAGE, BROKEN_PAGE, ONE_PAGE, NOTHING], ids=["all", "broken", "one", "nothing"]
)


def said(page: str) -> str:
    """The text of a page, blanks as one."""
    return " ".join("".join(Checker(page).text).split())


@PAGES
def test_elements_are_closed_and_ids_unique(page: str) -> None:
    """The page nests properly, no id is used twice and each reference has its target."""
    checker = Checker(page)
    ids = [attributes["id"] for _, attributes in checker.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for name in ("href", "aria-labelledby"):
        for _, attributes in checker.tags:
            target = (attributes.get(name) or "").removeprefix("#")
            if target and not target.startswith("data:"):
                assert target in ids


@PAGES
def test_headings_follow_each_other(page: str) -> None:
    """No level of heading is left out."""
    levels = [int(tag[1]) for tag, _ in Checker(page).tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@PAGES
def test_tables_have_heads_and_columns(page: str) -> None:
    """Rows are as wide as the last row of headers, and each has a header of its own."""
    tables = page.split("<table")[1:]
    assert tables
    for table in tables:
        head, body = table.split("</table>")[0].split("</thead>")
        wide = len(re.findall(r"<t[hd][ >]", head.split("<tr>")[-1]))
        for row in body.split("<tr>")[1:]:
            assert len(re.findall(r"<t[hd][ >]", row)) == wide
            assert row.count('scope="row"') == 1
        spans = [int(span) for span in re.findall(r'colspan="(\d+)"', head)]
        assert not spans or sum(spans) == wide


def test_nothing_comes_from_elsewhere() -> None:
    """The page names no address but its own parts."""
    assert "http" not in PAGE.replace("http-equiv", "")
    assert not re.search(r"@import|url\((?!#)|\bon\w+=|javascript:", PAGE)
    policy = [a["content"] for a in Checker(PAGE).attributes("meta") if a.get("http-equiv")]
    assert policy == [
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    ]


def test_hostile_text_is_text() -> None:
    """Names, notes, reasons and versions that nobody vouches for make no element and no character unseen."""
    assert "<img" not in NOTHING
    assert [a for tag, a in Checker(NOTHING).tags if tag == "script"] == [{}]
    assert "\u202e" not in NOTHING
    assert "49" not in re.findall(r"\d+", said(NOTHING.split("Warnings</h2>")[1].split("</section>")[0]))


def test_every_figure_is_there_and_named() -> None:
    """Distances, sd, correlation, Q-Q plots of selected layers and the phase diagram, each in words too."""
    labels = [a["aria-label"] or "" for a in Checker(PAGE).attributes("svg")]
    run = FOUND.propagation
    assert len(labels) == 3 + len(words.selected(FOUND)) + 1
    assert labels[0].startswith("KS distance by layer, logarithmic scale: ")
    assert f"{run.sd[0]:.2f} to " in labels[1]
    assert labels[2].startswith("Correlation of two inputs by layer: ")
    assert labels[3] == "Q-Q plot of layer 1"
    assert labels[-2] == "Q-Q plot of layer 20"
    assert labels[-1].startswith("Phase diagram: ")
    assert all(a["role"] == "img" for a in Checker(PAGE).attributes("svg"))


def test_what_is_missing_is_said() -> None:
    """Without a diagram, and where nothing could be measured, each section says so."""
    assert "No phase diagram was asked for." in said(BROKEN_PAGE)
    assert "No phase diagram was drawn: there is no chi_1 on its grid." in said(NOTHING)
    assert said(NOTHING).count("No layer could be measured.") == 3
    assert "Values are NaN or infinite from layer 9 on, there in 27 of 600 networks." in said(BROKEN_PAGE)
    assert said(BROKEN_PAGE).count("layers 9 to 14: 27 of 600 networks are NaN or infinite") == 1
    assert 'role="note"' not in PAGE


def test_numbers_of_the_record_stand_in_the_table() -> None:
    """A row for each layer, with D, its adjusted p, in bold where it is rejected."""
    rows = PAGE.split('<table class="layers">')[1].split("</table>")[0].split("<tr>")[3:]
    assert len(rows) == 20
    for law, p, row in zip(FOUND.propagation, FOUND.adjusted_pvalue, rows, strict=True):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", row)
        assert cells[1].split("<")[0] == f"{law.ks_distance:.3f}".removeprefix("0")
        assert ("<b>" in cells[2]) == (p < 0.05)


def test_symbols() -> None:
    """Greek letters and minus signs in sentences; what is no number keeps its hyphen."""
    assert str(laboratory_html.symbols("chi_1 -.5 at sigma_w 1e-05, <b> -inf two-layer")) == (
        "χ<sub>1</sub> −.5 at σ<sub>w</sub> 1e-05, &lt;b&gt; −∞ two-layer"
    )


def test_what_the_pair_guarantees_is_told_where_it_is_used() -> None:
    """The glossary speaks of phi_theta only where that or Weibull weights were used."""
    assert "Not guaranteed: deeper layers wider than 1" in said(NOTHING)
    assert "Not guaranteed" not in said(PAGE)
    assert "has sd .886 by itself" in said(NOTHING)


def test_the_glossary_says_what_the_false_discovery_rate_rests_on() -> None:
    """Layers share their networks: the bound holds under positive dependence, and sigma_w is that of maps."""
    for page in (PAGE, NOTHING):
        assert "if p-values are independent or positively dependent" in said(page)
        assert "σ_w stands for σ_w times the sd of the law of weights" in said(page)


def test_the_same_page_each_time(tmp_path: Path) -> None:
    """Rendering twice gives the same text; writing replaces a page of ours and nothing else."""
    assert laboratory_html.render(FOUND) == PAGE
    path = tmp_path / "init.html"
    FOUND.report(path)
    FOUND.report(path)
    assert path.read_text(encoding="utf-8") == PAGE
    foreign = tmp_path / "thesis.html"
    foreign.write_text("mine", encoding="utf-8")
    with pytest.raises(StoreError, match="not a gaussprobe report"):
        FOUND.report(foreign)
    assert foreign.read_text(encoding="utf-8") == "mine"


def test_without_torch() -> None:
    """The modules of the page, of the table and of the JSON import no torch."""
    code = WITHOUT_TORCH + (
        "from gaussprobe.reports import laboratory_html, laboratory_json, laboratory_text\nprint('fine')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "fine\n", done.stderr


def test_distances_stay_above_the_floor() -> None:
    """An interval that reaches 0, and a D of 0, break no logarithmic scale."""
    run = FOUND.propagation
    laws = [dataclasses.replace(law, ks_low=0.0, fitted_ks_distance=0.0) for law in run]
    found = dataclasses.replace(FOUND, propagation=dataclasses.replace(run, layers=tuple(laws)))
    with drawing.figure_style():
        svg = laboratory_figures.distances(found, "t", "k")
    assert svg.startswith("<svg")
    assert "nan" not in svg.lower()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_variances_that_die_or_explode(scale: float) -> None:
    """The axis becomes logarithmic, and what was measured is in the figure."""
    run = FOUND.propagation
    laws = [dataclasses.replace(law, sd=scale ** (law.layer / 20)) for law in run]
    found = dataclasses.replace(FOUND, propagation=dataclasses.replace(run, layers=tuple(laws)))
    with drawing.figure_style():
        svg = laboratory_figures.spreads(found, "t", "k")
    numbers = [float(n) for n in re.findall(r'<use [^>]*y="([-\d.]+)"', svg)]
    assert len(numbers) >= 20
    assert max(numbers) - min(numbers) > 100


def test_regions_of_the_diagram_are_named_where_they_are() -> None:
    """Ordered stands left of the edge and chaotic right of it; a region that is not there has no name."""
    assert FOUND.diagram is not None
    with drawing.figure_style():
        svg = laboratory_figures.phases(FOUND.diagram, FOUND.point, "t", "k")
        chaotic = dataclasses.replace(
            FOUND.diagram, chi1=tuple(tuple(2.0 for _ in row) for row in FOUND.diagram.chi1), edge=()
        )
        other = laboratory_figures.phases(chaotic, FOUND.point, "t", "k")
    places = {
        word: float(x) for x, word in re.findall(r'<text[^>]*?x="([\d.]+)"[^>]*>(ordered|chaotic)<', svg)
    }
    assert places["ordered"] < places["chaotic"]
    assert ">chaotic<" in other
    assert ">ordered<" not in other

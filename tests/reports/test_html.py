"""gaussprobe.reports.html: the page."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gaussprobe import store
from gaussprobe.errors import StoreError
from gaussprobe.reports import html
from tests.reports.pages import EVIL, Checker
from tests.runs import NOTED, build_run, many_sites, noted_run, renamed, short_run
from tests.without_torch import WITHOUT_TORCH

PAGE = html.render(build_run())


def test_elements_are_closed_and_ids_unique() -> None:
    """The page nests properly, no id is used twice and each local link has its target."""
    checker = Checker(PAGE)
    ids = [attributes["id"] for _, attributes in checker.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for name in ("href", "aria-labelledby", "for"):
        for _, attributes in checker.tags:
            target = (attributes.get(name) or "").removeprefix("#")
            if target and not target.startswith("data:"):
                assert target in ids


def test_nothing_comes_from_elsewhere() -> None:
    """The page names no address but its own parts, and forbids all others."""
    checker = Checker(PAGE)
    assert "http" not in PAGE.replace("http-equiv", "")
    assert not re.search(r"@import|url\((?!#)|\bon\w+=|javascript:", PAGE)
    for _, attributes in checker.tags:
        for name in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or value == "data:,"
    policy = [a["content"] for a in checker.attributes("meta") if a.get("http-equiv")]
    assert policy == [
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    ]


def test_names_cannot_become_markup() -> None:
    """A site's name, a note, a reason, a warning and the model's name are text wherever they stand."""
    run = renamed(build_run(), "layers.0.mlp.up[gate]", EVIL)
    run = renamed(run, "heads.aux", EVIL + "2")
    first = dataclasses.replace(run.scores[0], notes=(EVIL,), tests={EVIL: run.scores[0].tests["lilliefors"]})
    run = dataclasses.replace(
        run,
        metadata=dataclasses.replace(
            run.metadata, model=EVIL, command=EVIL, gaussprobe=EVIL, data={EVIL: EVIL, "synthetic": True}
        ),
        scores=(first, *run.scores[1:]),
        not_captured=(dataclasses.replace(run.not_captured[0], site=EVIL, reason=EVIL),),
        warnings=(EVIL,),
    )
    page = html.render(run)
    checker = Checker(page)
    assert len(checker.attributes("script")) == 1
    assert not checker.attributes("img")
    assert not [a for _, a in checker.tags if any(name.startswith("on") for name in a)]
    labels = [a["aria-label"] for a in checker.attributes("svg") if a.get("role") == "img"]
    assert any(EVIL in (label or "") for label in labels)
    assert "{{ 7 * 7 }}" in "".join(checker.text)


def test_lone_surrogates_and_controls_are_written_out(tmp_path: Path) -> None:
    """Characters that UTF-8 cannot hold or that turn text around are written as escapes."""
    run = renamed(build_run(), "heads.quantised", "caf\udce9\u202e\x00")
    html.write(run, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "caf\\udce9\\u202e\\x00" in page


def test_says_what_a_reader_must_know() -> None:
    """Headline, synthetic banner, gaps with reasons, warnings, notes, references, provenance are there."""
    said = " ".join("".join(Checker(PAGE).text).split())
    for needed in (
        "4 of 9 sites are non-gaussian",
        "SYNTHETIC INPUTS",
        "never called in the forward pass",
        "the last was taken as the target",
        "37 of 204,800 values are NaN",
        "gaussprobe scan models/classifier.pt --html report.html --seed 7",
        "torch 2.9.0",
        "notes: made up: N(0, 1); shape (3, 32, 32)",
        "Royston (1995)",
        "Lilliefors (1967)",
        "D’Agostino & Stephens (1986)",
        "D’Agostino & Pearson (1973)",
        "Blom (1958)",
        "Vasicek (1976)",
        "Hosking (1990)",
        "Benjamini & Hochberg (1995)",
        "Simes (1986)",
        "withheld",
        "∞",
    ):
        assert needed in said, needed
    assert "SYNTHETIC" not in html.render(build_run(synthetic=False))


def test_strip_is_in_execution_order_and_table_worst_first() -> None:
    """The strip follows the model; the table leads with the worst."""
    run = build_run()
    checker = Checker(PAGE)
    cells = [a["title"] for a in checker.attributes("a") if "cell" in (a.get("class") or "")]
    assert [(cell or "").split(": ")[0] for cell in cells] == [score.site for score in run.scores]
    rows = [a["data-panel"] for a in checker.attributes("tr") if "data-panel" in a]
    assert rows[:3] == ["site-10", "site-8", "site-5"]
    assert rows[-2:] == ["site-3", "site-7"]


def test_every_verdict_has_a_sign_besides_its_colour() -> None:
    """Badges and cells carry a letter, and the word stands beside it or is read out."""
    for verdict, sign in {
        "gaussian": "G",
        "near-gaussian": "≈",
        "non-gaussian": "×",
        "undetermined": "?",
    }.items():
        assert f'<span class="badge v-{verdict}"><b aria-hidden="true">{sign}</b> {verdict}</span>' in PAGE


def test_deterministic() -> None:
    """Equal runs give equal pages."""
    assert html.render(build_run()) == PAGE


def test_figures_are_small() -> None:
    """A site with its three figures and tables takes less than 25 kB."""
    few, many = (len(html.render(many_sites(count))) for count in (2, 6))
    assert (many - few) / 4 < 25_000


def test_empty_run() -> None:
    """A run in which nothing was captured still says why."""
    page = html.render(build_run(scores=(), pictures=()))
    Checker(page)
    assert "No layer could be measured" in page
    assert "never called in the forward pass" in page


def test_run_without_tests_pictures_or_versions() -> None:
    """A run with nothing but effect sizes is reported."""
    run = build_run(pictures=(), warnings=(), not_captured=())
    scores = tuple(dataclasses.replace(score, tests={}, kind=()) for score in run.scores)
    metadata = dataclasses.replace(run.metadata, versions={}, data={}, command="", created="")
    page = html.render(dataclasses.replace(run, scores=scores, metadata=metadata))
    Checker(page)
    assert "run from Python" in page
    assert "No unit of this site could be drawn" in page


def test_last_step_is_shown() -> None:
    """Of several steps the last is shown, with its own pictures, and that is said."""
    run = build_run()
    later = dataclasses.replace(run.scores[0], step=9)
    several = dataclasses.replace(run, scores=(*run.scores, later))
    page = html.render(several)
    assert "Shown: step 9, the last of 2 recorded." in page
    assert page.count('<details class="panel"') == 1
    assert "No unit of this site could be drawn" in page


def test_write_replaces_a_page(tmp_path: Path) -> None:
    """An older page is replaced whole, and nothing is left beside it."""
    path = tmp_path / "report.html"
    for _ in range(2):
        html.write(build_run(), path)
    assert path.read_text(encoding="utf-8") == PAGE
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    "content",
    [
        b"PK\3\4",
        b"<!doctype html><title>Mine</title>",
        b'<!doctype html><meta name="generator" content="Hugo 0.1">',
        b'<!doctype html><meta name="generator" content="gaussprobed">',
        b'# notes\n<meta name="generator" content="gaussprobe 1.0">',
    ],
)
def test_write_keeps_what_is_not_ours(tmp_path: Path, content: bytes) -> None:
    """A model, a run or another page named by mistake is left as it is, with the way out."""
    path = tmp_path / "index.html"
    path.write_bytes(content)
    for refuse in (lambda: html.write(build_run(), path), lambda: html.check_replaceable(path)):
        with pytest.raises(StoreError, match="is not a gaussprobe report: left as it is") as caught:
            refuse()
        assert str(caught.value).endswith("\nChoose another name, or delete it first.")
    assert path.read_bytes() == content


def test_check_replaceable_allows_what_write_does(tmp_path: Path) -> None:
    """A report, an empty file and a free name may be written to, and asking changes nothing."""
    for name, content in (("report.html", PAGE.encode()), ("empty.html", b""), ("free.html", None)):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        html.check_replaceable(path)
        assert (path.read_bytes() if path.exists() else None) == content
    odd = dataclasses.replace(build_run().metadata, gaussprobe=EVIL, model=EVIL)
    html.write(build_run(metadata=odd), tmp_path / "odd.html")
    html.check_replaceable(tmp_path / "odd.html")


def test_page_that_cannot_be_read_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page nobody may read cannot be known to be ours."""

    def deny(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "report.html").write_text(PAGE, encoding="utf-8")
    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(StoreError, match="left as it is"):
        html.check_replaceable(tmp_path / "report.html")


def test_write_needs_a_folder(tmp_path: Path) -> None:
    """A missing folder, and a folder or a device in the file's place, are errors that say what to do."""
    for path, advice in (
        (tmp_path / "no" / "report.html", "Make its folder first"),
        (tmp_path, "Name a file in that folder"),
        (Path("/dev/null"), "Choose a name that can be written"),
    ):
        for refuse in (html.check_replaceable, lambda target: html.write(build_run(), target)):
            with pytest.raises(StoreError, match=advice):
                refuse(path)


def test_asking_is_cheap() -> None:
    """To ask whether a page may be written imports none of what drawing it takes."""
    script = """
import sys
from gaussprobe.reports import html
html.check_replaceable("report.html")
heavy = ("torch", "pandas", "numpy", "scipy", "seaborn", "matplotlib")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_notes_on_the_data_stand_under_the_headline() -> None:
    """NaN in the inputs and casts are said before the first picture, not in the provenance alone."""
    page = html.render(noted_run())
    Checker(page)
    head = page[: page.index("</header>")]
    assert all(note in head for note in NOTED)
    assert '<div class="data">' not in PAGE


def test_nothing_measured_is_not_none_found() -> None:
    """With too few samples the departure is n/a wherever it stands."""
    page = html.render(short_run())
    said = " ".join("".join(Checker(page).text).split())
    assert "Nothing could be decided: 5 samples per unit; at least 8 are needed." in said
    assert "Departure: n/a (nothing was measured)." in said
    assert "undetermined, none" not in page
    assert "undetermined, n/a" in page
    assert "withheld" not in said[: said.index("Site by site")]


def test_words_under_the_table() -> None:
    """The table says what its verdict rests on, what p is for and how names are read."""
    said = " ".join("".join(Checker(PAGE).text).split())
    assert "p only says whether a departure is detectable" in said
    assert "a:input: what a receives." in said
    assert "Names:" not in html.render(many_sites(3))


def test_infinite_units_have_no_worst() -> None:
    """Where the negentropy of every unit is infinite, the infinity stands without a unit."""
    rows = re.findall(r"<th scope=.row.>negentropy J, nats</th>.*", PAGE)
    infinite = [row for row in rows if "∞" in row]
    assert len(infinite) == 2
    assert not any("no." in row for row in infinite)
    assert sum("no." in row for row in rows) == 7


def test_without_torch(tmp_path: Path) -> None:
    """A stored run becomes a page, a table, a frame and JSON on a machine that has no torch."""
    store.save(build_run(), tmp_path / "run.sqlite")
    script = f"""{WITHOUT_TORCH}
import io
from rich.console import Console
import gaussprobe
from gaussprobe.reports import json_form, terminal
run = gaussprobe.load(sys.argv[1])
run.report(sys.argv[2])
run.to_frame()
json_form.dumps(run)
terminal.render(run, Console(file=io.StringIO()))
"""
    command = [sys.executable, "-W", "error", "-c", script, tmp_path / "run.sqlite", tmp_path / "report.html"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == PAGE

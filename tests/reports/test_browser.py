"""The report in headless Chromium: what a reader's browser does with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gaussprobe.reports import html
from tests.reports.pages import CONTRAST
from tests.runs import build_run

pytestmark = pytest.mark.browser

CELL = "#table tbody:first-of-type tr[data-panel]"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    html.write(build_run(), path)
    return path.as_uri()


def column(page: Any, index: int) -> list[str]:
    """The sort values of a column, in the order shown."""
    return page.eval_on_selector_all(CELL, f"rows => rows.map(row => row.cells[{index}].dataset.v)")  # type: ignore[no-any-return]


def test_headers_sort(opened: Any) -> None:
    """A header sorts by number, up and then down, with what has no value last both times."""
    header = opened.get_by_role("columnheader", name="delta", exact=True)
    assert header.get_attribute("aria-sort") == "none"
    for direction in ("ascending", "descending"):
        header.get_by_role("button").click()
        assert header.get_attribute("aria-sort") == direction
        values = column(opened, 3)
        numbers = [float(value) for value in values if value]
        assert numbers == sorted(numbers, reverse=direction == "descending")
        assert values[len(numbers) :] == ["", ""]


def test_infinity_sorts_as_the_largest(opened: Any) -> None:
    """An infinite negentropy is larger than any number, not text."""
    button = opened.get_by_role("columnheader", name="J, nats").get_by_role("button")
    button.click()
    assert [value for value in column(opened, 5) if value][-1] == "inf"


def test_headers_sort_by_keyboard(opened: Any) -> None:
    """Enter on a focused header sorts, and only one header is marked as sorted."""
    opened.get_by_role("columnheader", name="delta", exact=True).get_by_role("button").click()
    opened.get_by_role("columnheader", name="#", exact=True).get_by_role("button").focus()
    opened.keyboard.press("Enter")
    assert column(opened, 0) == ["1", "2", "4", "5", "6", "8", "9", "10", "11"]
    assert opened.locator("th[aria-sort='ascending'], th[aria-sort='descending']").count() == 1


def test_groups_stay_apart(opened: Any) -> None:
    """Sorting never mixes outputs of nonlinearities with the layers that count."""
    opened.get_by_role("columnheader", name="site", exact=True).get_by_role("button").click()
    sites = opened.eval_on_selector_all(
        "#table tbody:last-of-type tr[data-panel]", "rows => rows.map(row => row.cells[1].dataset.v)"
    )
    assert sites == ["layers.0:gelu", "stem.relu"]


def test_filter(opened: Any) -> None:
    """The box keeps the sites that match each word, in the table and in the panels, and counts them."""
    opened.get_by_label("Filter").fill("layers multimodal")
    rows = opened.locator("#table tr[data-panel]:visible")
    assert rows.count() == 1
    assert "encoder.layers.11" in rows.first.inner_text()
    assert opened.locator("details.panel:visible").count() == 1
    assert opened.locator("#count").inner_text() == "1 of 11 sites"
    opened.get_by_label("Filter").fill("")
    assert opened.locator("#table tr[data-panel]:visible").count() == 11


def test_links_open_their_panel(opened: Any) -> None:
    """A link in the table opens a closed panel."""
    opened.get_by_role("button", name="Close all").click()
    assert opened.locator("details.panel[open]").count() == 0
    opened.locator("#table a[href='#site-8']").click()
    opened.wait_for_selector("#site-8[open]")


def test_dark(opened: Any) -> None:
    """A dark scheme gives a dark page with light text, in the figures too."""
    shade = """element => {
      const [r, g, b] = getComputedStyle(element).PROPERTY.match(/[0-9.]+/g).map(Number);
      return (r + g + b) / 3;
    }"""
    for scheme, dark in (("light", False), ("dark", True)):
        opened.emulate_media(color_scheme=scheme)
        paper = opened.locator("body").evaluate(shade.replace("PROPERTY", "backgroundColor"))
        text = opened.locator("figure svg text").first.evaluate(shade.replace("PROPERTY", "fill"))
        assert (paper < 60) == dark
        assert (text > 160) == dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(opened: Any, scheme: str) -> None:
    """Every text that is shown has a contrast of at least 4.5 with what is behind it."""
    opened.emulate_media(color_scheme=scheme)
    assert opened.evaluate(CONTRAST) == []


@pytest.mark.parametrize("width", [320, 390, 768])
def test_narrow_screens(opened: Any, width: int) -> None:
    """The page never scrolls sideways; wide tables scroll in their own boxes."""
    opened.set_viewport_size({"width": width, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_without_script(browser: Any, address: str) -> None:
    """With scripts off the table and the open panels are there, and the filter, of no use then, is not."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("#table tr[data-panel]:visible").count() == 11
    assert page.locator("figure svg:visible").count() > 20
    assert not page.locator("#filter").is_visible()
    context.close()


def test_prints(opened: Any, tmp_path: Path) -> None:
    """The page prints, on light paper also where the screen is dark."""
    opened.emulate_media(media="print", color_scheme="dark")
    paper = opened.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    assert opened.pdf().startswith(b"%PDF")


def test_two_panels_fit_a_printed_page(opened: Any) -> None:
    """On A4 with margins of a centimetre two panels fit a page, and none is broken across two."""
    width, height = round(19 / 2.54 * 96), 27.7 / 2.54 * 96
    opened.set_viewport_size({"width": width, "height": 1000})
    opened.emulate_media(media="print")
    panels = opened.locator("details.panel")
    tallest = panels.evaluate_all("all => Math.max(...all.map(one => one.getBoundingClientRect().height))")
    assert tallest < height / 2
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    breaks = panels.evaluate_all("all => all.map(one => getComputedStyle(one).breakInside)")
    assert set(breaks) == {"avoid"}

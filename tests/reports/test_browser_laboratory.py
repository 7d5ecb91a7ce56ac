"""The page of a laboratory in headless Chromium: what a reader's browser does with it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.reports.laboratories import build_laboratory
from tests.reports.pages import CONTRAST

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Layers that break, and a note with a long word."""
    path = tmp_path_factory.mktemp("report") / "init.html"
    build_laboratory(nonfinite={13: 5, 14: 6}, notes=("x" * 300,)).report(path)
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(opened: Any, scheme: str) -> None:
    """Every text that is shown has a contrast of at least 4.5 with what is behind it."""
    opened.emulate_media(color_scheme=scheme)
    opened.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert opened.evaluate(CONTRAST) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_of_the_regions_can_be_read(opened: Any, scheme: str) -> None:
    """Ink has a contrast of at least 4.5 with every colour of the phase diagram, which all differ."""
    opened.emulate_media(color_scheme=scheme)
    shades = opened.eval_on_selector_all(
        ".phases li", "all => all.map(one => getComputedStyle(one).backgroundColor)"
    )
    assert len(set(shades)) == 6
    assert opened.evaluate(CONTRAST) == []


@pytest.mark.parametrize("width", [320, 380, 768])
def test_narrow_screens(opened: Any, width: int) -> None:
    """The page never scrolls sideways; wide tables scroll in their own boxes."""
    opened.set_viewport_size({"width": width, "height": 800})
    opened.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_tables_scroll_by_keyboard(opened: Any) -> None:
    """Each box that a table scrolls in takes the focus and has a name."""
    boxes = opened.locator(".scroll")
    assert boxes.count() == 2
    for index in range(boxes.count()):
        box = boxes.nth(index)
        assert box.get_attribute("tabindex") == "0"
        assert box.get_attribute("role") == "region"
        assert box.get_attribute("aria-label") or box.get_attribute("aria-labelledby")


def test_without_script(browser: Any, address: str) -> None:
    """With scripts off the figures and the table are there."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("figure svg:visible").count() >= 3 + 5 + 1
    assert page.locator("table:visible").count() >= 1
    context.close()


def test_prints_what_is_folded(opened: Any) -> None:
    """Printed, every table is there, on light paper also where the screen is dark."""
    opened.emulate_media(media="print", color_scheme="dark")
    paper = opened.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    assert opened.locator("details.more:not([open])").count() == 1
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.locator("details.more:not([open])").count() == 0
    assert opened.pdf().startswith(b"%PDF")

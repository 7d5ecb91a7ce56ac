"""The page of a comparison in headless Chromium: what a reader's browser does with it."""

from __future__ import annotations

from typing import Any

import pytest

from gaussprobe.reports import comparison_html
from tests.reports.comparisons import build_comparison
from tests.reports.pages import CONTRAST

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three settings, one with a long name, and a trial that failed."""
    path = tmp_path_factory.mktemp("report") / "compare.html"
    settings = ("BatchNorm", "x" * 200, "BatchNormalNorm with noise")
    found = build_comparison(settings=settings, blocks=3, failed=[("BatchNorm", 2)])
    comparison_html.write(found, path)
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(opened: Any, scheme: str) -> None:
    """Every text that is shown has a contrast of at least 4.5 with what is behind it, in the grid too."""
    opened.emulate_media(color_scheme=scheme)
    opened.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert opened.evaluate(CONTRAST) == []


@pytest.mark.parametrize("width", [320, 390, 768])
def test_narrow_screens(opened: Any, width: int) -> None:
    """The page never scrolls sideways; wide tables scroll in their own boxes."""
    opened.set_viewport_size({"width": width, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_classes_of_the_grid_differ(opened: Any) -> None:
    """Each class of ratios has a colour of its own."""
    shades = opened.eval_on_selector_all(
        ".classes:first-of-type li", "all => all.map(one => getComputedStyle(one).backgroundColor)"
    )
    first = shades[:7]
    assert len(set(first)) == 7


def test_without_script(browser: Any, address: str) -> None:
    """With scripts off the figures and tables are there."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("figure svg:visible").count() >= 2 * (2 + 7 + 3)
    assert page.locator("table:visible").count() > 8
    context.close()


def test_prints_what_is_folded(opened: Any) -> None:
    """Printed, every table is there, on light paper also where the screen is dark."""
    opened.emulate_media(media="print", color_scheme="dark")
    paper = opened.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    assert opened.locator("details.more:not([open])").count() > 0
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.locator("details.more:not([open])").count() == 0
    assert opened.pdf().startswith(b"%PDF")

"""The report of a watched run in headless Chromium."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from gaussprobe.reports import html
from gaussprobe.types import Run
from tests.reports.pages import CONTRAST, quiet_page
from tests.reports.training_runs import associations, build_training

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    with mock.patch.object(Run, "association", lambda self, *_, **__: associations(self)):
        html.write(build_training(), path)
    return path.as_uri()


def test_layers_open_and_close(opened: Any) -> None:
    """The first layers are open; a summary opens one by keyboard, the button all, then none."""
    courses = opened.locator("details.course")
    assert courses.evaluate_all("all => all.map(one => one.open)") == [True] * 3 + [False] * 5
    opened.locator("#over-4 > summary").focus()
    opened.keyboard.press("Enter")
    assert opened.locator("#over-4[open] svg[role=img]:visible").count() == 4
    opened.get_by_role("button", name="Open all").first.click()
    assert opened.locator("details.course[open]").count() == 8
    opened.locator("#toggle-over").click()
    assert opened.locator("details.course[open]").count() == 0
    assert opened.locator("#toggle-over").inner_text() == "Open all"


def test_a_link_opens_a_layer(browser: Any, address: str) -> None:
    """An address that ends in a layer's anchor opens it, and a layer links to its site further down."""
    with quiet_page(browser, address) as page:
        page.evaluate("location.hash = 'over-7'")
        page.wait_for_selector("#over-7[open]")
        page.locator("#over-7 a").click()
        page.wait_for_selector("details.panel:target[open]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(opened: Any, scheme: str) -> None:
    """Every text has a contrast of at least 4.5 with what is behind it, also in what is folded at first."""
    opened.emulate_media(color_scheme=scheme)
    opened.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert opened.evaluate(CONTRAST) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_classes_can_be_told_apart(opened: Any, scheme: str) -> None:
    """Colours of neighbouring classes of delta differ from each other and from the page, in either scheme."""
    opened.emulate_media(color_scheme=scheme)
    colours = opened.locator(".classes .swatch-heat").evaluate_all(
        "all => all.map(one => getComputedStyle(one).backgroundColor.match(/[0-9.]+/g).map(Number))"
    )
    assert len(colours) == 9
    paper = opened.locator("body").evaluate(
        "body => getComputedStyle(body).backgroundColor.match(/[0-9.]+/g).map(Number)"
    )
    for one, other in zip([*colours, paper], [*colours[1:], paper, colours[3]], strict=True):
        assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 60
    filled = opened.locator(".heat svg path[style*='--heat-0']").first
    assert filled.evaluate("path => getComputedStyle(path).fill.match(/[0-9.]+/g).map(Number)") == colours[0]


@pytest.mark.parametrize("width", [320, 390, 768])
def test_narrow_screens(opened: Any, width: int) -> None:
    """The page never scrolls sideways; the heatmap and wide tables scroll in their own boxes."""
    opened.set_viewport_size({"width": width, "height": 800})
    opened.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_names_of_rows_stay_inside_the_heatmap(opened: Any) -> None:
    """No label of the heatmap begins left of its figure, and no two of a column lie on each other."""
    boxes = (
        opened.locator(".heat")
        .first.locator("svg text")
        .evaluate_all(
            "all => all.map(one => [one.getBoundingClientRect().left, one.getBoundingClientRect().right,"
            " one.getBoundingClientRect().top, one.getBoundingClientRect().bottom])"
        )
    )
    left = opened.locator(".heat svg").first.evaluate("svg => svg.getBoundingClientRect().left")
    assert min(box[0] for box in boxes) >= left - 2
    for index, one in enumerate(boxes):
        for other in boxes[index + 1 :]:
            across = min(one[1], other[1]) - max(one[0], other[0])
            down = min(one[3], other[3]) - max(one[2], other[2])
            assert not (across > 1 and down > 3), (one, other)


def test_without_script(browser: Any, address: str) -> None:
    """With scripts off the heatmaps and the open layers are there, and the button, of no use then, is not."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator(".heat svg:visible").count() == 2
    assert page.locator("details.course[open] svg[role=img]:visible").count() == 12
    assert not page.locator("#toggle-over").is_visible()
    context.close()


def test_prints(opened: Any) -> None:
    """On paper every layer is open, nothing is wider than the page, and the paper is white."""
    opened.set_viewport_size({"width": round(19 / 2.54 * 96), "height": 1000})
    opened.emulate_media(media="print", color_scheme="dark")
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.locator("details.course[open]").count() == 8
    assert opened.evaluate("document.documentElement.scrollWidth") <= round(19 / 2.54 * 96)
    paper = opened.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    assert opened.pdf().startswith(b"%PDF")

"""The `--overwrite` option, which writes golden files anew instead of comparing with them, and a browser."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import needs
from tests.reports.pages import quiet_page

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--overwrite`; give it as `python -m pytest tests/reports --overwrite`."""
    with contextlib.suppress(ValueError):  # another folder with golden files has added it
        parser.addoption("--overwrite", action="store_true", help="write golden files anew")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with a golden file by name, or write it with `--overwrite`."""

    def compare(name: str, found: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--overwrite", default=False):
            path.write_text(found, encoding="utf-8")
        assert found == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    executable = needs.program("chromium")
    sync_api = needs.package("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=executable,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield launched
        launched.close()


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Any]:
    """A module's page, at its `address`, 1280 px wide; a console message, an error or a request fails."""
    with quiet_page(browser, address) as page:
        yield page

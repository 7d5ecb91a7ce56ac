"""The `--overwrite` option: write golden files anew instead of comparing with them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

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

"""Skips where nothing may be missing."""

from __future__ import annotations

import pytest

from tests import conftest, needs


def skipped(reason: str) -> pytest.TestReport:
    """A test that was skipped."""
    where = ("tests/test_it.py", 1, f"Skipped: {reason}")
    return pytest.TestReport("it", (*where[:2], "it"), {}, "skipped", where, "call")


@pytest.mark.parametrize(
    ("reason", "strict", "outcome"),
    [
        (needs.CUDA.kwargs["reason"], "1", "skipped"),
        ("needs wandb, of the extra dev, which is not installed", "1", "failed"),
        ("needs wandb, of the extra dev, which is not installed", "", "skipped"),
        ("no reason", "1", "failed"),
        ("Skipping benchmark (--benchmark-skip active).", "1", "skipped"),
    ],
)
def test_only_the_machine_is_an_excuse(
    reason: str, strict: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing package or browser fails where nothing may be missing; a missing device does not."""
    monkeypatch.setenv("GAUSSPROBE_NOTHING_MISSING", strict)
    assert conftest.unforgiven(skipped(reason)).outcome == outcome


def test_a_missing_package_is_named() -> None:
    """With the extra that brings it."""
    with pytest.raises(pytest.skip.Exception, match="needs no_such_package, of the extra dev, which is not"):
        needs.package("no_such_package")

"""Fixtures of all tests."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch.utils.hooks import RemovableHandle

from gaussprobe import walfile
from tests import needs

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where nothing may be missing, a test that was skipped for want of something fails."""
    return unforgiven((yield))  # type: ignore[func-returns-value]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole file."""
    return unforgiven((yield))  # type: ignore[func-returns-value]


def unforgiven(report: Report) -> Report:
    """The report, failed where it tells of a skip that is not to be."""
    if report.skipped and os.environ.get("GAUSSPROBE_NOTHING_MISSING") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not hasattr(report, "wasxfail") and not needs.forgivable(reason):
            report.outcome, report.longrepr = "failed", f"GAUSSPROBE_NOTHING_MISSING=1, but {reason}"
    return report


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests leave the cache of whoever runs them alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAUSSPROBE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def no_hook_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves a hook on a module behind."""
    made: list[RemovableHandle] = []
    original = RemovableHandle.__init__

    def remember(self: RemovableHandle, *args: object, **kwargs: object) -> None:
        original(self, *args, **kwargs)  # type: ignore[arg-type]
        made.append(self)

    monkeypatch.setattr(RemovableHandle, "__init__", remember)
    yield
    left = [h for h in made if (hooks := h.hooks_dict_ref()) is not None and h.id in hooks]
    assert not left, f"{len(left)} hooks were left behind"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The global generator starts every test in one state."""
    torch.manual_seed(0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch on one thread: small tensors are no work for several, which would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a run is written."""
    return tmp_path / "run.sqlite"


@pytest.fixture(params=["log", "rollback journal"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of writing a run: as on a local disk, and as on a network file system."""
    monkeypatch.setattr(walfile, "is_on_network", lambda path: request.param != "log")
    return str(request.param)

"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch.utils.hooks import RemovableHandle


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

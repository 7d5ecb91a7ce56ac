"""Checkpoints with settings of foreign classes beside their weights."""

from __future__ import annotations

import argparse
import collections
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gaussprobe.errors import ModelFileError
from gaussprobe.models import open_model
from tests.models.conftest import Calls, Hostile

Saved = Callable[..., Path]


class Settings(dict[str, Any]):
    """A dict of a framework's own class."""


@pytest.fixture(autouse=True)
def _package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "gp_partial_models.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))\n"
    )
    monkeypatch.chdir(folder)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


@pytest.mark.parametrize(
    "settings",
    [
        {"args": argparse.Namespace(lr=0.1, path=Path("/data"))},
        {"hyper_parameters": Settings(width=8, optimizer=torch.optim.AdamW)},
        {"hyper_parameters": {"where": Path("/data")}, "pytorch-lightning_version": "2.4.0"},
        {"callbacks": collections.defaultdict(list, {"a": [1]})},
    ],
)
@pytest.mark.parametrize("prefix", ["", "model.", "module.", "_orig_mod."])
def test_weights_open_beside_foreign_settings(saved: Saved, settings: dict[str, Any], prefix: str) -> None:
    """The weights are those that were saved, the prefix is stripped, and what was left unread is named."""
    module = network()
    state = {prefix + name: value for name, value in module.state_dict().items()}
    path = saved({"state_dict": state, "epoch": 3, **settings}, name="last.ckpt")
    opened = open_model(path, factory="gp_partial_models:build")
    for name, value in opened.module.state_dict().items():
        assert torch.equal(value, module.state_dict()[name])
    assert any("was not read, as it needs" in note for note in opened.notes)


def test_views_parameters_and_shared_storages_are_kept(saved: Saved) -> None:
    """Transposed weights, Parameters and tensors that share memory come out as they went in."""
    module = network()
    state: dict[str, Any] = dict(module.state_dict())
    block = torch.randn(4, 8)
    state["0.weight"] = block.t()
    state["3.weight"] = nn.Parameter(block[:2])
    path = saved({"state_dict": state, "args": argparse.Namespace(a=1)})
    found = open_model(path, factory="gp_partial_models:build").module.state_dict()
    assert torch.equal(found["0.weight"], block.t())
    assert torch.equal(found["3.weight"], block[:2])


def test_without_factory_the_way_out_is_named(saved: Saved) -> None:
    """Such a checkpoint alone says that it needs an architecture."""
    path = saved({"state_dict": network().state_dict(), "args": argparse.Namespace(a=1)})
    with pytest.raises(ModelFileError, match="holds weights but no architecture"):
        open_model(path)


def test_calls_are_a_reason_to_refuse_everything(saved: Saved, marker: Path) -> None:
    """A checkpoint that would call anything but a few plain constructors is refused whole."""
    for hostile in (
        Hostile(marker),
        Calls(os.mkdir, (str(marker),)),
        Calls(functools.partial, (print,), (print, (), {}, {})),
        Settings(inner=Hostile(marker)),
    ):
        path = saved({"state_dict": network().state_dict(), "hyper_parameters": hostile})
        with pytest.raises(ModelFileError, match=r"holds more than weights|refused"):
            open_model(path, factory="gp_partial_models:build")


def test_damaged_checkpoints_open_or_are_refused(saved: Saved) -> None:
    """Bit flips in the pickle give the model or the one error."""
    path = saved({"state_dict": network().state_dict(), "args": argparse.Namespace(a=1)})
    whole = path.read_bytes()
    start = whole.index(b"state_dict")
    for place in range(start, start + 900, 4):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            open_model(path, factory="gp_partial_models:build")
        except ModelFileError as error:
            message = str(error)
        else:
            message = ""
        assert message.count("\n") <= 1

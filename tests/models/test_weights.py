"""Weights in safetensors files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from gaussprobe.errors import GaussprobeError, MissingExtraError, ModelFileError
from gaussprobe.models import Activations, open_any, open_model
from tests import needs

safetensors = needs.package("safetensors.torch")


@pytest.fixture(autouse=True)
def _package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "gp_weights_models.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))\n"
    )
    monkeypatch.chdir(folder)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.mark.parametrize("prefix", ["", "model.", "module._orig_mod."])
def test_safetensors_load_into_a_factory(folder: Path, prefix: str) -> None:
    """A state_dict in a safetensors file loads as one from torch.save does."""
    module = network()
    state = {prefix + name: value for name, value in module.state_dict().items()}
    safetensors.save_file(state, folder / "weights.safetensors")
    found = open_model(folder / "weights.safetensors", factory="gp_weights_models:build").module.state_dict()
    assert all(torch.equal(found[name], value) for name, value in module.state_dict().items())


def test_keys_that_do_not_match_are_named(folder: Path) -> None:
    """The first five missing and the first five unexpected names are in the message."""
    safetensors.save_file(
        {f"other.{index}.weight": torch.ones(1) for index in range(7)}, folder / "w.safetensors"
    )
    with pytest.raises(ModelFileError) as caught:
        open_model(folder / "w.safetensors", factory="gp_weights_models:build")
    assert "4 names missing (0.bias, 0.weight" in str(caught.value) or "0.weight, 0.bias" in str(caught.value)
    assert "7 unexpected (other.0.weight" in str(caught.value)
    assert "other.4.weight, ..)" in str(caught.value)


def test_safetensors_without_weights_are_activations(folder: Path) -> None:
    """Tensors not named as weights are saved activations; weights alone need an architecture."""
    safetensors.save_file({"relu1": torch.randn(9, 3)}, folder / "acts.safetensors")
    found = open_any(folder / "acts.safetensors")
    assert isinstance(found, Activations)
    assert list(found.tensors) == ["relu1"]
    safetensors.save_file(network().state_dict(), folder / "w.safetensors")
    with pytest.raises(ModelFileError, match=r"holds weights but no architecture.*--factory"):
        open_model(folder / "w.safetensors")


def test_damaged_safetensors_open_or_are_refused(folder: Path) -> None:
    """Truncations and bit flips of the header give the model or the one error."""
    path = folder / "w.safetensors"
    safetensors.save_file(network().state_dict(), path)
    whole = path.read_bytes()
    damaged = [whole[: len(whole) * part // 20] for part in range(1, 20)]
    for place in range(0, 8 + int.from_bytes(whole[:8], "little"), 3):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        damaged.append(bytes(flipped))
    for data in damaged:
        path.write_bytes(data)
        message = ""
        try:
            open_any(path, factory="gp_weights_models:build")
        except GaussprobeError as error:
            message = str(error)
        assert message.count("\n") <= 1


def test_without_safetensors_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where safetensors is not installed, the error names the extra."""
    safetensors.save_file(network().state_dict(), folder / "w.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gaussprobe\[safetensors\]'"):
        open_model(folder / "w.safetensors", factory="gp_weights_models:build")

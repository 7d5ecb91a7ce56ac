"""`gaussprobe gaussianize`: a file in, a changed file out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gaussprobe as gp
from gaussprobe.cli.main import main
from gaussprobe.errors import ModelFileError
from gaussprobe.models import open_model


def trained() -> nn.Sequential:
    """Two normalization layers, one with running averages."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6), nn.LayerNorm(6))
    for _ in range(4):
        model.train()(torch.randn(64, 8).exp())
    return model.eval()


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model in a file of the current folder."""
    monkeypatch.chdir(tmp_path)
    torch.save(trained(), tmp_path / "model.pt")
    return tmp_path / "model.pt"


def test_a_file_is_changed(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The output opens without trust, computes what `gaussianize` gives in Python, and can be restored."""
    assert main(["gaussianize", "model.pt", "-o", "out.pt", "--noise", "0.2", "--exclude", "9*"]) == 0
    shown = capsys.readouterr()
    assert "1      BatchNorm1d  BatchNormalNorm1d" in shown.out
    assert "2 changed, 0 not" in shown.out
    assert shown.err.strip() == "gaussprobe: written: out.pt"
    opened = open_model(saved.with_name("out.pt")).module
    assert [type(opened[i]) for i in (1, 4)] == [gp.nn.BatchNormalNorm1d, gp.nn.LayerNormalNorm]  # type: ignore[index]
    assert opened[1].noise == 0.2  # type: ignore[index]
    x = torch.randn(5, 8)
    assert torch.equal(opened(x), gp.nn.gaussianize(trained())(x))
    assert torch.equal(gp.nn.restore(opened)(x), trained()(x))
    assert type(opened[1]) is nn.BatchNorm1d  # type: ignore[index]


def test_the_output_can_be_scanned(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A changed file is a model like any other: its layers are sites of the kind `norm`."""
    assert main(["gaussianize", "model.pt", "-o", "out.pt"]) == 0
    torch.save(torch.randn(64, 8), "x.pt")
    capsys.readouterr()
    assert main(["scan", "out.pt", "--data", "x.pt", "--json", "--quiet"]) == 0
    sites = {site["site"]: site["kind"] for site in json.loads(capsys.readouterr().out)["sites"]}
    assert "norm" in sites["1"]
    assert "norm" in sites["4"]
    assert saved.exists()


def test_json(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was changed and what was not, alone on stdout."""
    assert main(["gaussianize", "model.pt", "-o", "out.pt", "--exclude", "4", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["model"], found["out"], found["noise"], found["strength"]) == (
        "model.pt",
        "out.pt",
        None,
        1.0,
    )
    assert [one["name"] for one in found["changed"]] == ["1"]
    assert [(one["name"], one["reason"]) for one in found["unchanged"]] == [("4", "not asked for")]
    assert saved.exists()


def test_a_model_without_a_layer(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Said in two lines, exit 2, nothing written."""
    torch.save(nn.Sequential(nn.Linear(2, 2)), "plain.pt")
    assert main(["gaussianize", "plain.pt", "-o", "out.pt"]) == 2
    error = capsys.readouterr().err
    assert "plain.pt: nothing to change: it has no normalization layer" in error
    assert len(error.strip().splitlines()) == 2
    assert not saved.with_name("out.pt").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["model.pt"],
        ["model.pt", "-o", "model.pt"],
        ["missing.pt", "-o", "out.pt"],
        ["model.pt", "-o", "out.pt", "--strength", "2"],
        ["model.pt", "-o", "out.pt", "--noise", "-1"],
        ["model.pt", "-o", "missing/out.pt"],
        ["model.pt", "-o", "out.pt", "--stregth", "1"],
    ],
)
def test_bad_arguments(saved: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 in a line or two; the model's file stays as it was, and no other is there."""
    before = saved.read_bytes()
    assert main(["gaussianize", *arguments]) == 2
    assert 1 <= len(capsys.readouterr().err.strip().splitlines()) <= 2
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["model.pt"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda layer: setattr(layer, "noise", "0.4"),
        lambda layer: setattr(layer, "noise", -1.0),
        lambda layer: setattr(layer, "strength", 7.0),
        lambda layer: setattr(layer, "noise_kind", "eval"),
        lambda layer: setattr(layer, "noise_kind", ["scaled"]),
        lambda layer: setattr(layer, "compiled", 1),
        lambda layer: setattr(layer, "begin", "shadow"),
        lambda layer: setattr(layer, "_before_gaussianize", nn.Linear),
        lambda layer: delattr(layer, "noise"),
        lambda layer: setattr(layer, "last_lambda_", torch.relu),
    ],
)
def test_altered_layers_are_refused(tmp_path: Path, spoil: Callable[[nn.Module], None]) -> None:
    """What our layers never save is refused as it is in torch's, in two lines."""
    model = gp.nn.gaussianize(trained())
    spoil(model[1])  # type: ignore[index]
    torch.save(model, tmp_path / "out.pt")
    with pytest.raises(ModelFileError) as caught:
        open_model(tmp_path / "out.pt")
    assert str(caught.value).count("\n") <= 1

"""`gaussprobe selftest`: its exit codes and what is on stdout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from gaussprobe.cli import main


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "model.pt"
    torch.save(nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 32)), path)
    return path


def data(tmp_path: Path, n: int) -> Path:
    path = tmp_path / "data.pt"
    torch.save(torch.randn(n, 6), path)
    return path


def test_a_sound_pipeline_passes(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0, one JSON object on stdout, every law right."""
    assert main.main(["selftest", str(model), "--data", str(data(tmp_path, 1200)), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is True
    assert found["data"]["n_examples"] == 1200
    assert all(law["right"] >= 0.95 * law["planted"] for law in found["laws"])


def test_too_few_examples_do_not_pass(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1, and the table says that examples are too few."""
    assert main.main(["selftest", str(model), "--data", str(data(tmp_path, 20))]) == 1
    assert "only 20 examples" in capsys.readouterr().out


def test_an_unusable_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 with a message, nothing on stdout."""
    assert main.main(["selftest", str(tmp_path / "nowhere.pt")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "nowhere.pt" in captured.err

"""`gaussprobe demo`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import gaussprobe as gp
from gaussprobe.cli.main import main
from gaussprobe.recipes import data


def test_demo_trains_scans_and_names_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One epoch on real digits: model, data, run and report are there, and every layer is scored."""
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--epochs", "1"]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["held_out.npz", "model.pt", "report.html", "run.sqlite"]
    said = capsys.readouterr()
    assert f"the report is at {out / 'report.html'}" in said.err.replace("\n", "")
    run = gp.load(out / "run.sqlite")
    assert [s.site for s in run.scores] == ["0", "1", "2", "4", "5", "6", "8", "9", "10", "12", "13", "14"]
    assert {s.n_tested for s in run.scores} == {1000}
    assert run.metadata.data["synthetic"] is False


def test_demo_without_its_extra_says_which(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the digits' package the extra `demo` is named, exit 2, and nothing is written."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(data, "find_spec", lambda name: None if name == "mlxtend" else find_spec(name))
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    assert "gaussprobe[demo]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

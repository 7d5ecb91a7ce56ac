"""`gaussprobe report` without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gaussprobe as gp
from gaussprobe.cli.main import main
from tests.networks import stock_mlp
from tests.settings import SETTINGS, build, train
from tests.without_torch import WITHOUT_TORCH


@pytest.mark.parametrize("what", ["run", "comparison"])
def test_report_does_not_import_torch(what: str, tmp_path: Path) -> None:
    """The whole command runs in a process where importing torch would fail; of a comparison too."""
    stored = tmp_path / "stored"
    if what == "run":
        gp.scan(stock_mlp(), torch.randn(100, 32)).save(stored)
    else:
        gp.compare(build, train, settings=SETTINGS, seeds=[0], store=stored, measures=["robustness"])
    code = (
        f"{WITHOUT_TORCH}\n"
        "from gaussprobe.cli.main import main\n"
        "code = main(['report', sys.argv[1], '-o', sys.argv[2]])\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(stored), str(tmp_path / "r.html")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "<html" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_folder_without_a_comparison_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By name, and nothing is written."""
    assert main(["report", str(tmp_path), "-o", str(tmp_path / "r.html")]) == 2
    assert f"{tmp_path} holds no comparison" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()

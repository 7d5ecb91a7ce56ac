"""`gaussprobe report` without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

import gaussprobe as gp
from tests.networks import stock_mlp
from tests.without_torch import WITHOUT_TORCH


def test_report_does_not_import_torch(tmp_path: Path) -> None:
    """The whole command runs in a process where importing torch would fail."""
    gp.scan(stock_mlp(), torch.randn(100, 32)).save(tmp_path / "run.sqlite")
    code = (
        f"{WITHOUT_TORCH}\n"
        "from gaussprobe.cli.main import main\n"
        "code = main(['report', sys.argv[1], '-o', sys.argv[2]])\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run.sqlite"), str(tmp_path / "r.html")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "<html" in (tmp_path / "r.html").read_text(encoding="utf-8")

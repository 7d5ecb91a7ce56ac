"""Programs are run in a process of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gaussprobe.cli import apart
from tests import needs
from tests.programs import save_export, save_script


class Plain(nn.Module):
    """A layer and its nonlinearity."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.linear(x))


class Endless(Plain):
    """A program that never comes to its end."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        while bool((y == y).all()):
            y = y + 1
        return y


class Crashes(Plain):
    """A program that calls an operator of torch as it must not be called."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        return torch.repeat_interleave(y, torch.tensor([-(2**40), 2**40, 5, -7]), dim=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with data."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32))
    return tmp_path


def command(*arguments: str) -> list[str]:
    """The command line as the shell starts it."""
    return [sys.executable, "-m", "gaussprobe", *arguments]


def test_which_files_are_programs(folder: Path) -> None:
    """TorchScript and torch.export files are; state_dicts, arrays, directories and options are not."""
    script = save_script(Plain(), folder / "a.pt")
    export = save_export(Plain(), folder / "b.pt2", torch.ones(2, 4))
    torch.save(Plain().state_dict(), folder / "state.pt")
    assert apart.program(["scan", str(script)]) == str(script)
    assert apart.program(["scan", "--json", str(export), "--data", "x.npy"]) == str(export)
    assert apart.program(["selftest", str(export)]) == str(export)
    for other in ("state.pt", "x.npy", "missing.pt", ""):
        assert apart.program(["scan", str(folder / other)]) is None
    assert apart.program(["report", str(script)]) is None
    assert apart.program([]) is None


def test_results_pass_through(folder: Path) -> None:
    """The scan of a program prints what any scan prints, and a folder called gaussprobe changes nothing."""
    save_script(Plain(), folder / "model.pt")
    (folder / "gaussprobe").mkdir()
    (folder / "gaussprobe" / "__init__.py").write_text("raise SystemExit('not ours')")
    script = "import sys; from gaussprobe.cli.main import run; sys.argv[0] = 'gaussprobe'; run()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, "scan", "model.pt", "--data", "x.npy", "--json"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [site["site"] for site in json.loads(done.stdout)["sites"]] == ["linear", ":relu"]


def test_a_crash_is_an_error(folder: Path) -> None:
    """A program that crashes torch ends in exit 2 and two lines, not in a signal."""
    save_script(Crashes(), folder / "model.pt")
    arguments = ("scan", str(folder / "model.pt"), "--data", str(folder / "x.npy"))
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "error" in done.stderr


@needs.PROCESS_GROUPS
def test_a_program_without_end_can_be_interrupted(folder: Path) -> None:
    """Ctrl-C ends a scan whose program never returns, with exit 130."""
    save_script(Endless(), folder / "model.pt")
    arguments = ("scan", str(folder / "model.pt"), "--data", str(folder / "x.npy"))
    # Where the tests run in the background of a shell, Ctrl-C is ignored, and that is inherited.
    started = subprocess.Popen(
        command(*arguments),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        time.sleep(6)
        assert started.poll() is None
        os.killpg(started.pid, signal.SIGINT)
        _, said = started.communicate(timeout=20)
        assert started.returncode == 130, said
        assert "interrupted" in said
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)

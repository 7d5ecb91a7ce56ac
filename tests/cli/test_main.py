"""Mistakes on the command line, and failures as exit codes."""

from __future__ import annotations

import json
import os
import pickle
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gaussprobe.cli.main import main
from tests.networks import stock_mlp


def complaint(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What went to stderr, which must be one or two lines without a traceback; nothing on stdout."""
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.strip().splitlines()
    assert 1 <= len(lines) <= 2
    assert lines[0].startswith("gaussprobe: error: ")
    assert "Traceback" not in said.err
    return lines


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["scna"], "Did you mean 'scan'"),
        (["scan"], "MODEL"),
        (["scan", "m.pt", "--jsn"], "--json"),
        (["scan", "m.pt", "--max-samples", "3"], "--max-samples"),
        (["scan", "m.pt", "--view", "pixel"], "pixel"),
        (["scan", "m.pt", "--fail-on", "bad"], "bad"),
        (["report", "nowhere.sqlite", "-o", "r.html"], "nowhere.sqlite"),
    ],
)
def test_mistyped_commands_and_options(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A typo is answered in one or two lines that name it or the nearest, exit 2."""
    assert main(arguments) == 2
    assert expected in " ".join(complaint(capsys))


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command the commands are listed."""
    assert main([]) == 0
    assert "scan" in capsys.readouterr().out


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--debug, before or after the command, adds the traceback."""
    missing = str(tmp_path / "missing.pt")
    for arguments in (["--debug", "scan", missing], ["scan", missing, "--debug"]):
        assert main(arguments) == 2
        assert "Traceback" in capsys.readouterr().err
    assert main(["scan", missing]) == 2
    complaint(capsys)


class Runs:
    """Unpickling an instance makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


class Custom(nn.Module):
    """A module class that is not torch's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def hostile_module(path: Path, marker: Path) -> None:
    model = stock_mlp()
    model.extra = Runs(marker)  # type: ignore[assignment]
    torch.save(model, path)


def hostile_checkpoint(path: Path, marker: Path) -> None:
    torch.save({"state_dict": stock_mlp().state_dict(), "epoch": Runs(marker)}, path)


def hostile_pickle(path: Path, marker: Path) -> None:
    path.write_bytes(pickle.dumps(Runs(marker)))


def plain_pickle(path: Path, marker: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": [1.0, 2.0]}))


def garbage(path: Path, marker: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def empty(path: Path, marker: Path) -> None:
    path.write_bytes(b"")


def missing(path: Path, marker: Path) -> None:
    """No file at all."""


def folder(path: Path, marker: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (hostile_module, "mkdir"),
        (hostile_checkpoint, "mkdir"),
        (hostile_pickle, "pickle"),
        (plain_pickle, "pickle"),
        (garbage, "model.pt"),
        (empty, "empty"),
        (missing, "no such file"),
        (folder, "directory"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_hostile_and_broken_files_are_refused(
    make: object, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, one or two lines naming what it is; nothing executed, nothing written."""
    path, marker = tmp_path / "model.pt", tmp_path / "marker"
    make(path, marker)  # type: ignore[operator]
    np.save(tmp_path / "x.npy", np.zeros((20, 32), dtype=np.float32))
    before = sorted(tmp_path.iterdir())
    arguments = ["scan", str(path), "--data", str(tmp_path / "x.npy")]
    outputs = ["--html", str(tmp_path / "r.html"), "--out", str(tmp_path / "run.sqlite")]
    assert main([*arguments, *outputs]) == 2
    assert named in " ".join(complaint(capsys)).lower()
    assert sorted(tmp_path.iterdir()) == before
    assert not marker.exists()


def test_forward_that_raises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The site reached last and the exception's first line, exit 2."""
    torch.save(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(5, 2)), tmp_path / "m.pt")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(20, 4)))
    assert main(["scan", str(tmp_path / "m.pt"), "--data", str(tmp_path / "x.npy")]) == 2
    lines = complaint(capsys)
    assert "after site '1'" in lines[0]
    assert "cannot be multiplied" in lines[1]


@pytest.mark.parametrize("option", ["--html", "--out"])
def test_outputs_that_cannot_be_written_are_refused_first(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder, a missing parent, and a file of another kind are refused before the model is opened."""
    foreign = tmp_path / "mine.txt"
    foreign.write_text("mine", encoding="utf-8")
    for output in (tmp_path, tmp_path / "no" / "r.out", foreign):
        assert main(["scan", str(tmp_path / "missing.pt"), option, str(output)]) == 2
        assert str(output) in " ".join(complaint(capsys))
    assert foreign.read_text(encoding="utf-8") == "mine"


def test_outputs_do_not_overwrite_inputs_or_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--html onto the model or the data, also through a link, and --out onto --html are refused."""
    model, data, link = tmp_path / "m.pt", tmp_path / "x.npy", tmp_path / "link"
    torch.save(stock_mlp(), model)
    np.save(data, np.zeros((20, 32), dtype=np.float32))
    link.symlink_to(model)
    before = model.read_bytes()
    both = str(tmp_path / "both")
    for outputs in (
        ["--html", str(model)],
        ["--out", str(data)],
        ["--html", str(link)],
        ["--out", both, "--html", both],
    ):
        assert main(["scan", str(model), "--data", str(data), *outputs]) == 2
        assert "would overwrite" in complaint(capsys)[0]
    assert model.read_bytes() == before


def test_messages_are_printable_and_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Escape codes and megabytes in a file's name or an exception do not reach the terminal."""
    assert main(["scan", str(tmp_path / "a\x1b[31mb\x07.pt")]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\\x1b[31mb\\x07" in said
    Path(tmp_path / "loud_for_main.py").write_text(
        "def build():\n    raise ValueError('x' * 5_000_000)\n", encoding="utf-8"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert main(["scan", "loud_for_main:build"]) == 2
    assert len(capsys.readouterr().err) < 1000


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command line with `gaussprobe` standing for this installation."""
    program = f"{shlex.quote(sys.executable)} -m gaussprobe"
    return subprocess.run(
        ["bash", "-c", command.replace("gaussprobe ", program + " ", 1)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_closed_pipe_is_no_failed_layer(tmp_path: Path) -> None:
    """A reader that goes away leaves the exit code what the verdicts make it, and no traceback."""
    torch.save(stock_mlp(), tmp_path / "m.pt")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_t(2, size=(300, 32)))
    for command, code in (
        ("gaussprobe scan m.pt --data x.npy --json | true; exit ${PIPESTATUS[0]}", 0),
        ("gaussprobe scan m.pt --data x.npy --fail-on undetermined | true; exit ${PIPESTATUS[0]}", 1),
        ("gaussprobe --help | true; exit ${PIPESTATUS[0]}", 0),
    ):
        done = shell(command, tmp_path)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr


def test_json_is_alone_on_stdout(tmp_path: Path) -> None:
    """What a model prints, by print or straight to the descriptor, goes to stderr."""
    (tmp_path / "noisy.py").write_text(
        "import os, sys\nfrom torch import nn\n"
        "class Noisy(nn.Linear):\n"
        "    def forward(self, x):\n"
        "        print('one'); os.write(1, b'two'); sys.__stdout__.write('three'); os.system('echo four')\n"
        "        return super().forward(x)\n"
        "def build():\n    return Noisy(4, 4)\n",
        encoding="utf-8",
    )
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(50, 4)))
    done = shell("gaussprobe scan noisy:build --data x.npy --json", tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sites"][0]["n_tested"] == 50
    assert all(word in done.stderr for word in ("one", "two", "three", "four"))


def test_exit_in_a_forward_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """sys.exit(0) in a model is exit 2 with a message, not success without one."""
    (tmp_path / "leaves_for_main.py").write_text(
        "import sys\nfrom torch import nn\n"
        "class Leaves(nn.Linear):\n"
        "    def forward(self, x):\n        sys.exit(0)\n"
        "def build():\n    return Leaves(4, 4)\n",
        encoding="utf-8",
    )
    np.save(tmp_path / "x.npy", np.zeros((50, 4)))
    monkeypatch.chdir(tmp_path)
    assert main(["scan", "leaves_for_main:build", "--data", "x.npy"]) == 2
    assert "SystemExit" in complaint(capsys)[1]


def test_unexpected_exceptions_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A defect of our own shows as one line and exit 2, not as a traceback."""
    from gaussprobe import store

    def broken(path: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(store, "load", broken)
    assert main(["report", "x", "-o", "r.html"]) == 2
    assert "unexpected ZeroDivisionError: a defect" in complaint(capsys)[0]

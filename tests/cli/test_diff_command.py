"""`gaussprobe diff` as a user types it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gaussprobe as gp
from gaussprobe.cli.main import main
from tests.networks import stock_mlp
from tests.programs import save_script
from tests.runs import build_run
from tests.settings import build
from tests.stored import of_steps
from tests.without_torch import WITHOUT_TORCH


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models that differ in one layer, their data, and their stored runs."""
    folder = tmp_path_factory.mktemp("kept")
    torch.manual_seed(0)
    x = torch.randn(400, 32)
    model = stock_mlp()
    for name in ("before", "after"):
        torch.save(model, folder / f"{name}.pt")
        gp.scan(model, x).save(folder / f"{name}.sqlite")
        with torch.no_grad():
            model[2].weight[:, 1:] = 0  # what is left of a ReLU: skewed, with an atom
    np.save(folder / "x.npy", x.numpy())
    of_steps(3).save(folder / "training.sqlite")
    return folder


@pytest.fixture
def files(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with all of those in it."""
    for path in kept.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def read(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The JSON of a diff, alone on stdout."""
    assert main(["diff", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def error(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """The lines of a refusal, exit 2."""
    assert main(["diff", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err.removeprefix("gaussprobe: error: ").splitlines()


def test_two_stored_runs(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The layer that was changed and the one it feeds come first, intervals without 0, verdicts beside."""
    assert main(["diff", "before.sqlite", "after.sqlite"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "First: before.sqlite (Sequential, step 0, view unit" in said.out
    assert max(map(len, said.out.splitlines())) <= 80
    assert "-> non-gaussian" in said.out
    found = read(capsys, "before.sqlite", "after.sqlite")
    assert {site["site"] for site in found["sites"][:2]} == {"2", "4"}
    first = next(site for site in found["sites"] if site["site"] == "2")
    assert first["verdict"]["second"] == "non-gaussian" != first["verdict"]["first"]
    assert 0 < first["delta"]["difference"]["low"] < first["delta"]["difference"]["change"]
    run = gp.load("after.sqlite")
    (score,) = (s for s in run.scores if s.site == "2")
    assert first["delta"]["second"]["median"] == score.delta.median
    unchanged = next(site for site in found["sites"] if site["site"] == "0")
    assert unchanged["delta"]["difference"]["change"] == 0
    assert [site["kind"] for site in found["sites"]][-2:] == [["activation"], ["activation"]]


def test_two_models_are_scanned_alike(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scanned by diff itself the numbers are those of the stored runs, with the same options."""
    options = ["--data", "x.npy", "--max-samples", "2048", "--seed", "0"]
    scanned = read(capsys, "before.pt", "after.pt", *options)
    stored = read(capsys, "before.sqlite", "after.sqlite")
    assert scanned["sites"] == stored["sites"]
    assert (scanned["first"]["model"], scanned["second"]["model"]) == ("before.pt", "after.pt")
    some = read(capsys, "before.pt", "after.pt", *options, "--include", "2", "--view", "layer")
    assert [site["site"] for site in some["sites"]] == ["2"]
    assert some["second"]["view"] == "layer"


def test_a_run_and_a_model(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of each: the model is scanned, and what the two differ in is warned of."""
    found = read(capsys, "before.sqlite", "after.pt", "--data", "x.npy", "--max-samples", "300")
    assert found["sites"][0]["n_tested"] == {"first": 400, "second": 300}
    assert [w.partition(" (")[0] for w in found["warnings"]] == ["max_samples differ", "data differ"]


def test_made_up_inputs_are_loud(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --data both models run on the same made-up inputs, and every output says so."""
    assert main(["diff", "before.pt", "after.pt", "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "warning: both: SYNTHETIC INPUTS" in said.err


def test_a_state_dict_and_a_function(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--factory` builds the model of weights, a relative name after a model that changes the folder too."""
    Path("mine_for_diff.py").write_text(
        "import os\nfrom tests.networks import stock_mlp\n"
        "def build():\n    os.chdir('/')\n    return stock_mlp()\n",
        encoding="utf-8",
    )
    for name in ("before", "after"):
        torch.save(torch.load(f"{name}.pt", weights_only=False).state_dict(), f"{name}.weights.pt")
    given = ["--factory", "mine_for_diff:build", "--data", str(files / "x.npy")]
    found = read(capsys, "before.weights.pt", "after.weights.pt", *given)
    assert found["sites"] == read(capsys, "before.sqlite", "after.sqlite")["sites"]


def test_the_same_file_twice(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing changed, and nothing is said to have."""
    found = read(capsys, "before.sqlite", "before.sqlite")
    assert {site["delta"]["difference"]["change"] for site in found["sites"]} == {0.0}
    assert found["warnings"] == []
    assert main(["diff", "before.sqlite", "before.sqlite"]) == 0
    assert "delta is not shown to differ in any of 3 layers." in capsys.readouterr().out


def test_patterns_hold_for_stored_runs(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--include and --exclude choose among the sites of files."""
    pair = ("before.sqlite", "after.sqlite")
    found = read(capsys, *pair, "--include", "[0-2]", "--exclude", "1")
    assert sorted(site["site"] for site in found["sites"]) == ["0", "2"]
    assert error(capsys, *pair, "--include", "fc*")[0] == "include 'fc*' matches none of the sites"


def test_steps_of_a_training(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The steps of a watched run that are asked for, else the last; unknown ones are refused by name."""
    found = read(capsys, "training.sqlite", "training.sqlite", "--step", "0", "1")
    assert (found["first"]["step"], found["second"]["step"]) == (0, 1)
    found = read(capsys, "training.sqlite", "training.sqlite")
    assert (found["first"]["step"], found["second"]["step"]) == (2, 2)
    assert error(capsys, "training.sqlite", "training.sqlite", "--step", "0", "7") == [
        "the second run has no step 7",
        "  nearest of its 3 recorded steps: 0, 1, 2",
    ]
    said = error(capsys, "before.sqlite", "after.pt", "--data", "x.npy", "--step", "0", "5")
    assert said[0] == "Invalid value: --step: after.pt is scanned, which is step 0; got 5"


def test_a_watched_run(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What watch wrote is read: from the untrained network to the last record."""
    torch.manual_seed(0)
    model = build()
    with gp.watch(model, every=1, store="watched.sqlite", max_samples=64) as probe:
        for _ in range(3):
            model(torch.randn(64, 64))
            with torch.no_grad():
                model[0].weight.mul_(2)
            probe.step()
    found = read(capsys, "watched.sqlite", "watched.sqlite", "--step", "0", "2")
    assert {site["site"] for site in found["sites"]} == {"0", "1", "2", "4"}
    assert found["warnings"] == []
    assert {site["n_tested"]["first"] for site in found["sites"]} == {64}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--data", "x.npy"),
        ("--factory", "mine:build"),
        ("--batch-size", "8"),
        ("--device", "cpu"),
        ("--max-samples", "2048"),
        ("--view", "unit"),
        ("--seed", "0"),
        ("--trust-pickle", None),
    ],
)
def test_options_of_a_scan_are_refused_for_files(
    files: Path, capsys: pytest.CaptureFixture[str], option: str, value: str | None
) -> None:
    """None is accepted and ignored, not even its default."""
    given = [option] if value is None else [option, value]
    said = error(capsys, "before.sqlite", "after.sqlite", *given)
    assert said[0] == f"Invalid value: {option} is for scanning a model; both runs are stored ones"


def test_bad_files(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing, a foreign, a damaged, a cut and an empty file are refused in two lines."""
    whole = Path("after.sqlite").read_bytes()
    Path("damaged.sqlite").write_bytes(whole[:4096] + b"\xff" * 4096 + whole[8192:])
    Path("cut").write_bytes(whole[:5000])
    Path("empty.sqlite").touch()
    with sqlite3.connect("foreign") as other:
        other.execute("CREATE TABLE photographs (name)")
    other.close()
    Path("notes.txt").write_text("no model")
    for name, message in (
        ("missing.sqlite", "missing.sqlite: there is no such file"),
        ("a\x1b[31m.pt", "a\\x1b[31m.pt: there is no such file"),
        ("foreign", "foreign is not a gaussprobe run."),
        ("damaged.sqlite", "damaged.sqlite is damaged and cannot be read"),
        ("cut", "cut is cut short: 5,000 bytes."),
        ("empty.sqlite", "empty.sqlite is empty, not a gaussprobe run."),
        ("notes.txt", "notes.txt: is a text file, not a model"),
        ("nowhere:build", "nowhere:build: there is no module 'nowhere'"),
        ("../", "../: is a directory without a config.json"),
    ):
        for pair in (("before.sqlite", name), (name, "before.sqlite")):
            lines = error(capsys, *pair)
            assert lines[0].startswith(message), lines
            assert len(lines) <= 2


def test_a_comparison(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder of a comparison is refused, with a run in it that can be given."""
    place = Path("kept/0-BatchNorm")
    place.mkdir(parents=True)
    Path("kept/comparison.json").write_text("{}")
    (place / "seed-3.measured.sqlite").write_bytes(Path("before.sqlite").read_bytes())
    assert error(capsys, "kept", "before.sqlite") == [
        "kept: is the folder of a comparison",
        "  give one of its seed-*.sqlite files, such as kept/0-BatchNorm/seed-3.measured.sqlite",
    ]
    assert main(["diff", str(place / "seed-3.measured.sqlite"), "before.sqlite"]) == 0


def test_no_site_in_common(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused with names of both."""
    build_run().save("other.sqlite")
    said = error(capsys, "before.sqlite", "other.sqlite")
    assert said[0] == "no site is in both runs"
    assert said[1].startswith("  the first has 0, 1, 2, 3, 4; the second stem.conv, stem.norm, stem.relu")


def test_a_pipe_is_not_waited_for(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A named pipe is refused at once."""
    import os

    os.mkfifo("pipe")
    assert error(capsys, "pipe", "before.sqlite")[0].startswith("pipe: is not a regular file")


def test_files_are_compared_without_torch(files: Path) -> None:
    """Two stored runs need no torch."""
    code = (
        f"{WITHOUT_TORCH}\nfrom gaussprobe.cli.main import main\n"
        "raise SystemExit(main(['diff', 'before.sqlite', 'after.sqlite', '--debug']))"
    )
    root = Path(gp.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "-> non-gaussian" in done.stdout


def test_a_program_runs_apart(files: Path) -> None:
    """A TorchScript file among the arguments has the command run in a process of its own."""
    from gaussprobe.cli import apart

    save_script(nn.Sequential(nn.Linear(32, 4), nn.ReLU()), Path("program.pt"))
    assert apart.program(["diff", "before.sqlite", "program.pt"]) == "program.pt"
    assert apart.program(["diff", "before.sqlite", "after.pt"]) is None

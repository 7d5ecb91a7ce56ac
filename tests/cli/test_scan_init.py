"""`gaussprobe scan --view init`: a function that makes a model, drawn again and again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gaussprobe as gp
from gaussprobe.cli.main import main
from gaussprobe.errors import FactoryError, ModelFileError, SyntheticInputWarning, UnsupportedError
from gaussprobe.reports import json_form

pytestmark = pytest.mark.usefixtures("one_thread")

SOURCE = """
import torch
from torch import nn

def build():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

def wider():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

def same():
    torch.manual_seed(1)
    return build()

def pairs():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(10, 6, generator=generator)
    yield x[:5], torch.zeros(5)
    raise RuntimeError("a second batch is not wanted")

one = build()
"""

INIT = ["--view", "init", "--max-samples", "40"]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with functions that make models, a saved one and data, the current directory."""
    monkeypatch.chdir(tmp_path)
    Path("initnets.py").write_text(SOURCE)
    torch.save(nn.Sequential(nn.Linear(6, 8), nn.ReLU()), "model.pt")
    np.save("x.npy", np.random.default_rng(0).normal(size=(30, 6)))
    monkeypatch.delitem(sys.modules, "initnets", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_it_is_the_ensemble_on_the_first_example(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command, `gp.scan` and `gp.signal.ensemble` on the first row give one JSON, but for its data."""
    assert main(["scan", "initnets:build", "--data", "x.npy", "--json", *INIT, "--seed", "5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["view"], found["model"], found["seed"]) == ("init", "initnets:build", 5)
    assert found["data"]["n_initializations"] == 40
    assert found["data"]["notes"][-1] == "the first of 30 examples is the input of every network"
    x = np.load("x.npy")
    scanned = gp.scan("initnets:build", x, view="init", max_samples=40, seed=5)
    first = torch.from_numpy(x[:1]).float()
    direct = gp.signal.ensemble("initnets:build", first, draws=40, seed=5)
    for run in (scanned, direct):
        other = json.loads(json_form.dumps(run))
        assert {**other, "data": None} == {**found, "data": None}
    assert [site["n_tested"] for site in found["sites"]] == [40] * 3


def test_only_the_first_batch_is_read(files: Path) -> None:
    """Of an iterable of batches with targets the first example of the first is taken, and nothing else."""
    run = gp.scan("initnets:build", "initnets:pairs", view="init", max_samples=12)
    x = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
    direct = gp.signal.ensemble("initnets:build", x[:1], draws=12)
    assert run.scores == direct.scores
    assert run.metadata.data["notes"] == [
        "the first example is the input of every network",
        "element 2 of each batch was taken as the target and dropped",
    ]


def test_without_data_it_is_synthetic_and_loud(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Made-up inputs are said to be so in the table, in JSON, among the warnings and from Python."""
    assert main(["scan", "initnets:build", *INIT]) == 0
    said = capsys.readouterr().out
    assert "SYNTHETIC" in said
    assert "40 initializations" in said
    assert main(["scan", "initnets:build", "--json", *INIT]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["synthetic"] is True
    with pytest.warns(SyntheticInputWarning):
        run = gp.scan("initnets:build", view="init", max_samples=8)
    assert run.warnings[0].startswith("SYNTHETIC INPUTS")


def test_outputs_are_written_and_reread(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--out and --html hold the run; report draws the same page from it, and two runs can be compared."""
    options = ["--data", "x.npy", "--quiet", *INIT]
    assert main(["scan", "initnets:build", *options, "--out", "a.sqlite", "--html", "a.html"]) == 0
    assert main(["scan", "initnets:wider", *options, "--out", "b.sqlite"]) == 0
    assert main(["report", "a.sqlite", "-o", "again.html"]) == 0
    page = Path("a.html").read_text(encoding="utf-8")
    assert page == Path("again.html").read_text(encoding="utf-8")
    assert "each unit across random initializations" in page
    assert main(["diff", "a.sqlite", "b.sqlite"]) == 0
    assert "view init" in capsys.readouterr().out
    diff = ["diff", "initnets:build", "initnets:wider", "--data", "x.npy", "--json", *INIT]
    assert main(diff) == 0


def test_options_of_a_scan_hold(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--kind, --include, --max-units, --mode and --fail-on do what they do in any scan."""
    base = ["scan", "initnets:build", "--data", "x.npy", "--json", *INIT]
    assert main([*base, "--include", "0", "--max-units", "3", "--mode", "train"]) == 0
    (site,) = json.loads(capsys.readouterr().out)["sites"]
    assert site["site"] == "0"
    assert any("3 of 8 units" in note for note in site["notes"])
    assert main([*base, "--kind", "activation"]) == 0
    assert [s["site"] for s in json.loads(capsys.readouterr().out)["sites"]] == ["1"]
    assert main([*base, "--fail-on", "undetermined"]) == 1


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("model.pt", 'model.pt: holds one initialization, and view "init" is of many: name the function'),
        ("initnets:one", "initnets:one: is one network; name the function that builds it"),
        ("initnets:same", "initnets:same: gave the same weights twice"),
        ("initnets:none", "has no 'none'"),
        ("nowhere.pt", "there is no such file"),
    ],
)
def test_what_has_one_initialization_is_refused(
    files: Path, capsys: pytest.CaptureFixture[str], model: str, said: str
) -> None:
    """A file, a module, a fixed seed: exit code 2, and one error that says what to name instead."""
    assert main(["scan", model, "--data", "x.npy", *INIT]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gaussprobe: error:")]
    assert len(errors) == 1
    assert said in errors[0]


@pytest.mark.parametrize(
    ("model", "options", "error", "match"),
    [
        (nn.Linear(6, 2), {}, UnsupportedError, r"Linear: holds one .*gp\.signal\.ensemble\(build, x\)"),
        (Path("model.pt"), {}, UnsupportedError, "model.pt: holds one initialization"),
        ("initnets:build", {"groups": [1]}, ValueError, 'groups must be None with view "init"'),
        ("initnets:build", {"factory": "initnets:build"}, FactoryError, "makes the model itself"),
        ("initnets:build", {"max_samples": 7}, ValueError, "max_samples must be at least 8"),
        ("no such thing", {}, ModelFileError, "there is no such file"),
    ],
)
def test_bad_arguments_are_named(
    files: Path, model: Any, options: dict[str, Any], error: type[Exception], match: str
) -> None:
    """From Python, what does not go with the view is refused by name."""
    with pytest.raises(error, match=match):
        gp.scan(model, torch.ones(2, 6), view="init", **options)

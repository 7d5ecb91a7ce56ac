"""`gaussprobe compare`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gaussprobe.cli.main import main
from gaussprobe.comparison import Comparison
from gaussprobe.recipes import RECIPES
from tests.smallrecipe import SMALL


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe called `small`."""
    monkeypatch.setitem(RECIPES, "small", SMALL)


EXPERIMENT = """
import torch
from torch import nn
from tests.settings import build

def train(model, probe, seed, epochs=1):
    if seed == {broken} and type(model[1]) is not nn.BatchNorm1d:
        raise ArithmeticError("loss is infinite")
    for _ in range(2 * epochs):
        model(torch.randn(32, 64))
        probe.step()
    return {{"score": float(model(torch.randn(32, 64)).detach().std()), "epochs": epochs}}
"""


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, for modules of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return tmp_path


def write(folder: Path, name: str, more: str = "", broken: int = -1) -> None:
    (folder / f"{name}.py").write_text(EXPERIMENT.format(broken=broken) + more)


def test_a_module_of_ones_own(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`build` and `train`, without settings as built against gaussianized; table, JSON and folder agree."""
    write(experiment, "mine")
    arguments = ["compare", "mine", "--seeds", "3", "--epochs", "2", "--out", "kept"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "gaussianized against as built, 3 seeds" in said.out
    assert "Q-Q R^2 of sites" in said.out
    assert "step 0, the last that was recorded, in training mode" in " ".join(said.out.split())
    assert "epochs: no interval, the difference is the same on every seed" in said.err
    assert "kept: kept" in said.err
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["settings"]) == ["as built", "gaussianized"]
    assert found["settings"]["gaussianized"]["metrics"]["epochs"]["values"] == [2.0, 2.0, 2.0]
    assert found["paired"]["epochs"]["mean"] == 0
    assert found["paired"]["epochs"]["low"] == "NaN"
    score = found["paired"]["score"]
    assert score["low"] < score["mean"] < score["high"]
    assert [site["site"] for site in found["sites"]] == ["0", "1", "2", "4"]
    first = found["sites"][1]
    assert first["kind"] == ["preactivation", "norm"]
    assert set(first["qq_r2"]) == {"as built", "gaussianized", "difference"}
    assert {"mean", "low", "high", "adjusted_pvalue"} <= set(first["negentropy"]["difference"])
    assert found["failed"] == []


def test_a_seed_that_fails(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1, the traceback in the JSON, the other seeds compared."""
    write(
        experiment,
        "failing",
        "settings = {'a': None, 'b': __import__('gaussprobe').nn.gaussianize}",
        broken=1,
    )
    assert main(["compare", "failing", "--seeds", "3", "--json"]) == 1
    said = capsys.readouterr()
    found = json.loads(said.out)
    (failed,) = found["failed"]
    assert (failed["setting"], failed["seed"]) == ("b", 1)
    assert "Traceback" in failed["traceback"]
    assert "b, seed 1: ArithmeticError: loss is infinite (failing.py, line 8)" in said.err
    assert found["paired"]["score"]["n_seeds"] == 2


LATE = """
def train(model, probe, seed):
    import beside
    if seed == beside.BROKEN:
        raise ValueError("first\\nsecond")
"""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_modules_of_the_current_directory(
    experiment: Path, capsys: pytest.CaptureFixture[str], jobs: str
) -> None:
    """Found by every process, and by imports within `train`; a failure is told with its place."""
    name = f"late{jobs}"
    (experiment / f"{name}.py").write_text("from tests.settings import build\n" + LATE)
    (experiment / "beside.py").write_text("BROKEN = 1")
    assert main(["compare", name, "--seeds", "2", "--jobs", jobs]) == 1
    said = capsys.readouterr()
    assert f"as built, seed 1: ValueError: first ({name}.py, line 6)" in said.err
    assert "seed 0:" not in said.err
    assert "gaussianized against as built, 2 seeds, 2 of 4 trials failed\n" in said.out
    assert "Metrics" not in said.out


def test_interrupted(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 130; where what has ended is kept, and how to go on."""
    write(experiment, "broken_off", "def build(): raise KeyboardInterrupt")
    assert main(["compare", "broken_off", "--out", "kept"]) == 130
    assert "kept: kept: the same command goes on" in " ".join(capsys.readouterr().err.split())


def test_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    """A built-in one, one epoch."""
    assert main(["compare", "--recipe", "digits-mlp", "--seeds", "2", "--epochs", "1"]) == 0
    said = capsys.readouterr()
    assert "BatchNormalNorm against BatchNorm, 2 seeds" in said.out
    assert "1000 examples in evaluation mode, after training" in " ".join(said.out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a module, or --recipe NAME"),
        (["mine", "--recipe", "digits-mlp"], "give a module, or --recipe NAME"),
        (
            ["--recipe", "minst"],
            "there is no recipe 'minst'; there are mnist5k-cnn, mnist5k-vit, digits-mlp",
        ),
        (["nowhere"], "there is no module 'nowhere'"),
        (["runs/plain.py"], "'runs/plain.py' is not a module's name, such as runs.plain"),
        (["plain:build"], "'plain:build' is not a module's name, such as plain"),
        (["alone"], "error: alone: settings must be at least two, by name; got ['only']"),
        (["plain", "--epochs", "3"], "plain:train takes no `epochs`"),
        (["--recipe", "digits-mlp", "--out", "thesis"], "thesis holds no comparison"),
    ],
)
def test_bad_input(
    experiment: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """Said in a line or two, exit 2, nothing lost."""
    plain = "def build(): ...\ndef train(model, probe, seed): ...\n"
    (experiment / "plain.py").write_text(plain)
    (experiment / "alone.py").write_text(plain + "settings = {'only': None}")
    (experiment / "thesis").mkdir()
    (experiment / "thesis" / "chapter.tex").write_text("mine")
    assert main(["compare", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert (experiment / "thesis" / "chapter.tex").read_text() == "mine"


def test_ablation(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Three settings, each less the plain one and less the one before; the JSON has both pairs."""
    arguments = ["compare", "--recipe", "small", "--ablate", "--seeds", "2", "--out", str(tmp_path / "kept")]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert said.out.startswith("plain, changed, no noise, changed, 2 seeds\n")
    assert "each less the one before it: plain -> changed, no noise -> changed" in said.out
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["settings"]) == ["plain", "changed, no noise", "changed"]
    assert list(found["others"]) == ["changed"]
    assert found["description"]["variation"] == "ablation"
    assert main(["compare", "--recipe", "small", "--seeds", "2", "--out", str(tmp_path / "kept")]) == 2
    assert "holds another comparison" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "count"), [("strength", 5), ("noise", 3)])
def test_settings_in_a_row(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, count: int) -> None:
    """One comparison, the others against the first."""
    arguments = ["compare", "--recipe", "small", "--sweep", name, "--seeds", "1", "--out", str(tmp_path)]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["settings"]) == 1 + 1 + len(found["others"]) == count
    assert main(arguments) == 0
    first = next(iter(found["settings"])).split()[0]  # the head of a column may go on in the next line
    assert f"less {first}" in capsys.readouterr().out


def test_sweep(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A comparison to each value, kept each in a folder of its own; the table and JSON have all."""
    arguments = ["compare", "--recipe", "small", "--sweep", "width", "--seeds", "2", "--out", str(tmp_path)]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert said.out.startswith("width of small: changed against plain, 2 seeds\n")
    assert "width 1: changed against plain, accuracy: no interval" in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["width-1", "width-2"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sweep"] == "width"
    assert [point["value"] for point in found["points"]] == [1, 2]
    assert {"settings", "paired", "sites", "failed"} <= set(found["points"][0])


def test_html(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison draws its report where it was asked to."""
    drawn: list[tuple[Comparison, Path]] = []
    monkeypatch.setattr(Comparison, "report", lambda *given: drawn.append(given))
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "--recipe", "small", "--seeds", "2", "--html", "page.html", "-q"]) == 0
    ((found, path),) = drawn
    assert found.settings == ("plain", "changed")
    assert path == tmp_path / "page.html"
    said = capsys.readouterr()
    assert "gaussprobe: report: page.html" in said.err
    assert said.out == ""


def test_a_page_that_is_not_ours_stays(
    experiment: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anything is trained, not after hours of it."""
    monkeypatch.setattr("gaussprobe.trials.trial.run", lambda *_: pytest.fail("a trial was run"))
    (experiment / "thesis.html").write_text("mine")
    assert main(["compare", "--recipe", "small", "--html", "thesis.html"]) == 2
    assert "thesis.html exists and is not a gaussprobe report" in capsys.readouterr().err
    assert (experiment / "thesis.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine", "--sweep", "width"], "--sweep needs --recipe NAME"),
        (["mine", "--ablate"], "--ablate needs --recipe NAME"),
        (
            ["--recipe", "small", "--sweep", "hue"],
            "'hue' is not one of 'width', 'depth', 'batch'",
        ),
        (["--recipe", "small", "--ablate", "--sweep", "width"], "--ablate and --sweep do not go together"),
        (["--recipe", "minst", "--sweep", "width"], "there is no recipe 'minst'"),
        (
            ["--recipe", "plain-cnn", "--ablate"],
            "--ablate varies normalization layers, and plain-cnn has none",
        ),
        (["--recipe", "narrow-mlp", "--sweep", "noise"], "--sweep noise varies normalization layers"),
        (["--recipe", "minst", "--ablate"], "there is no recipe 'minst'"),
        (["--recipe", "small", "--sweep", "width", "--html", "a"], "--html draws one comparison"),
        (["--recipe", "small", "--html", "nowhere/page.html"], "there is no folder"),
        (["--recipe", "small", "--html", "kept", "--out", "kept"], "--html kept: would overwrite --out kept"),
    ],
)
def test_what_does_not_go_together(
    experiment: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    """Said by name, exit 2, before anything is trained or written."""
    monkeypatch.setattr("gaussprobe.trials.trial.run", lambda *_: pytest.fail("a trial was run"))
    assert main(["compare", *arguments]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert message in said.replace(f"{experiment}/", "")
    assert list(experiment.iterdir()) == []

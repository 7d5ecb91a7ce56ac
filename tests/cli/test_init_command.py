"""`gaussprobe init`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaussprobe.cli.init import parsed_weight, parsed_widths
from gaussprobe.cli.main import main
from tests.cli.test_main import complaint

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = ["init", "--widths", "4x3", "--draws", "200", "--no-diagram"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with functions of one's own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_for_init.py").write_text(
        "import torch\n"
        "def cubed(x): return x**3\n"
        "def normed(x): return x / (x.norm() + 1)\n"
        "def loud(x):\n    print('noise')\n    return x.tanh()\n",
        encoding="utf-8",
    )
    return tmp_path


@pytest.fixture
def unworked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test in which networks are drawn fails."""
    monkeypatch.setattr("gaussprobe.signal.study", lambda *_, **__: pytest.fail("networks were drawn"))


def found(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The object that a small run prints."""
    assert main([*SMALL, "--json", *arguments]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_table_json_and_page_agree(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The three tell of the same layers; the page is written, the command kept, notes are told once."""
    arguments = [*SMALL, "--seed", "3", "--html", "init.html"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert said.out.startswith("relu, normal weights, 3 layers of width 4, 200 networks\n")
    assert "gaussprobe: written: init.html" in said.err
    assert "sigma_w is 1.41421, where chi_1 = sigma_w^2 / 2 is 1: none was given" in " ".join(
        said.out.split()
    )
    page = (folder / "init.html").read_text(encoding="utf-8")
    assert "gaussprobe init --widths 4x3 --draws 200 --no-diagram --seed 3 --html init.html" in page
    assert main([*arguments, "--json"]) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert (document["seed"], document["widths"], document["diagram"]) == (3, [4, 4, 4], None)
    assert (
        "gaussprobe: note: sigma_w is 1.41421, where chi_1 = sigma_w^2 / 2 is 1: none was given" in said.err
    )
    for layer in document["layers"]:
        assert f">{layer['ks_distance']:.3f}"[2:] in page


def test_quiet_says_nothing_on_stdout(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Notes still go to stderr: what was chosen by default is never silent."""
    assert main([*SMALL, "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "note: sigma_b is 0: none was given" in said.err


def test_options_arrive(capsys: pytest.CaptureFixture[str]) -> None:
    """Each option is in what is found."""
    document = found(
        capsys,
        *("--activation", "tanh", "--sigma-w", "1.5", "--sigma-b", ".2", "--weight", "weibull:3"),
        *("--correlation", ".25", "--level", ".01", "--device", "cpu"),
    )
    assert document["activation"] == "tanh"
    assert (document["sigma_w"], document["sigma_b"]) == (1.5, 0.2)
    assert "weibull" in document["weight"]
    assert "3" in document["weight"]
    assert (document["input_correlation"], document["level"], document["device"]) == (0.25, 0.01, "cpu")
    assert [note for note in document["notes"] if "none was given" in note] == []
    assert found(capsys, "--level", ".05")["critical_distance"] < document["critical_distance"]


def test_the_diagram_is_there_unless_it_is_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    """chi_1 on a grid around the setting, and the edge at each sd of biases."""
    assert main([*SMALL[:-1], "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    grid = document["diagram"]
    assert len(grid["chi1"]) == len(grid["sigma_b"]) == len(grid["edge"])
    assert min(grid["sigma_w"]) < document["sigma_w"] < max(grid["sigma_w"])


def test_a_function_of_ones_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Found in the current directory; what it prints goes to stderr."""
    assert main([*SMALL, "--json", "--activation", "own_for_init:loud", "--sigma-w", "1"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["activation"] == "own_for_init:loud"
    assert "noise" in said.err


@pytest.mark.parametrize("output", [["--json"], []])
def test_values_that_explode(folder: Path, capsys: pytest.CaptureFixture[str], output: list[str]) -> None:
    """Exit 0, the layer where NaN or infinity begins said as a warning, the layers above it measured."""
    arguments = ["--activation", "own_for_init:cubed", "--sigma-w", "1e9", "--widths", "2x5"]
    assert main([*SMALL, *arguments, *output]) == 0
    said = capsys.readouterr()
    text = " ".join((said.out + said.err).split())
    assert "\nWarnings (" in said.out or "gaussprobe: warning: " in said.err
    if not output:
        assert "Values are NaN or infinite from layer 3 on" in text
        return
    document = json.loads(said.out)
    layers = document["layers"]
    assert document["first_nonfinite"] == next(one["layer"] for one in layers if one["n_nonfinite"]) == 3
    assert f"layer {document['first_nonfinite']}" in document["warnings"][0]
    assert layers[-1]["ks_distance"] == "NaN"
    assert layers[0]["ks_distance"] != "NaN"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--activation", "rleu"], "got 'rleu': did you mean 'relu'?"),
        (["--activation", "own_for_init:cubde"], "own_for_init"),
        (["--activation", "nowhere_at_all:fn"], "nowhere_at_all"),
        (["--activation", "own_for_init:normed"], "activation must act on each element by itself"),
        (["--activation", "phi:2"], "theta must be"),
        (["--activation", "phi:2.01"], "theta must be"),
        (["--activation", "phi:x"], "phi:"),
        (["--weight", "wiebull:3"], "--weight must be normal, uniform, or weibull:THETA"),
        (["--weight", "weibull"], "--weight must be normal, uniform, or weibull:THETA"),
        (["--weight", "weibull:-1"], "--weight must be normal, uniform, or weibull:THETA"),
        (["--weight", "nromal"], "did you mean 'normal'?"),
        (["--weight", "wb"], "weight must be among normal, uniform, ('weibull', theta)"),
        (["--widths", "0"], "--widths must be"),
        (["--widths", "10x0"], "--widths must be"),
        (["--widths", "abc"], "--widths must be"),
        (["--widths", "10,,3"], "--widths must be"),
        (["--widths", "3x200000"], "at most 100,000 layers"),
        (["--draws", "3"], "--draws"),
        (["--sigma-w", "nan"], "--sigma-w"),
        (["--sigma-b", "inf", "--sigma-w", "1"], "sigma_b must be"),
        (["--sigma-w", "-1"], "--sigma-w"),
        (["--level", "0"], "level must be"),
        (["--correlation", "1.5"], "--correlation"),
        (["--correlation", "nan"], "--correlation"),
        (["--device", "tpu"], "device must be"),
    ],
)
def test_bad_input(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """Said in a line or two that names it, exit 2, nothing on stdout."""
    assert main([*SMALL, *arguments]) == 2
    assert message in " ".join(complaint(capsys))


@pytest.mark.usefixtures("unworked")
def test_pages_that_cannot_be_written_are_refused_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing folder, a folder, and a file of another kind, before a network is drawn."""
    foreign = folder / "thesis.html"
    foreign.write_text("mine", encoding="utf-8")
    for output, message in (
        ("no/init.html", "there is no folder"),
        (".", str(folder)),
        ("thesis.html", "not a gaussprobe report"),
    ):
        assert main([*SMALL, "--html", output]) == 2
        assert message in " ".join(complaint(capsys))
    assert foreign.read_text(encoding="utf-8") == "mine"


def test_interrupted(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 130, no page, no traceback."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gaussprobe.signal.study", interrupt)
    assert main([*SMALL, "--html", "init.html"]) == 130
    said = capsys.readouterr()
    assert "interrupted" in said.err
    assert "Traceback" not in said.err
    assert not (folder / "init.html").exists()


def test_plain_where_nobody_looks() -> None:
    """Where the output is no terminal there is no escape sequence and no progress bar."""
    done = subprocess.run(
        [sys.executable, "-m", "gaussprobe", *SMALL], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr == ""


def test_help_is_light() -> None:
    """`init --help` imports none of torch, pandas, scipy, statsmodels, seaborn."""
    code = (
        "from gaussprobe.cli.main import main\nassert main(['init', '--help']) == 0\nimport sys\n"
        "print([m for m in ('torch', 'pandas', 'scipy', 'statsmodels', 'seaborn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@given(st.lists(st.tuples(st.integers(1, 999), st.integers(1, 9)), min_size=1, max_size=6))
def test_widths_are_read_back(groups: list[tuple[int, int]]) -> None:
    """`WIDTHxLAYERS` and bare widths, in one option or in several, give one width to each layer."""
    texts = [f"{width}x{count}" if count > 1 else f"{width}" for width, count in groups]
    expected = [width for width, count in groups for _ in range(count)]
    assert parsed_widths([",".join(texts)]) == parsed_widths(texts) == expected


@pytest.mark.parametrize(
    ("text", "law"),
    [(None, None), ("normal", "normal"), ("weibull:2.5", ("weibull", 2.5)), ("odd", "odd")],
)
def test_laws_of_weights(text: str | None, law: object) -> None:
    """A name by itself is for the library to judge; weibull comes with its theta."""
    assert parsed_weight(text) == law

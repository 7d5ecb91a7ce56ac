"""`gaussprobe scan` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gaussprobe as gp
from gaussprobe.cli.main import main
from tests.networks import stock_mlp

KEYS = [
    "site", "kind", "n_seen", "n_tested", "num_features", "delta", "negentropy", "qq_r2", "ks_distance",
    "wasserstein", "skewness", "excess_kurtosis", "tests", "verdict", "departure", "notes",
]  # fmt: skip


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a saved model and its data, the current directory."""
    monkeypatch.chdir(tmp_path)
    torch.save(stock_mlp(), "model.pt")
    np.save("x.npy", torch.randn(600, 32).numpy())
    return tmp_path


def read_json(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_json_has_the_contract_form(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object on stdout with the keys of the contract, sites in execution order."""
    assert main(["scan", "model.pt", "--data", "x.npy", "--json"]) == 0
    found = read_json(capsys)
    assert list(found) == [
        "gaussprobe", "model", "view", "seed", "data", "sites", "not_captured", "warnings", "capture",
    ]  # fmt: skip
    sites = found["sites"]
    assert isinstance(sites, list)
    assert [site["site"] for site in sites] == ["0", "1", "2", "3", "4"]
    assert all(list(site) == KEYS for site in sites)
    assert list(sites[0]["delta"]) == ["median", "low", "high", "worst", "worst_unit"]
    assert list(sites[0]["tests"]["shapiro_wilk"]) == ["statistic", "pvalue", "rejected_fraction"]


def test_two_scans_with_one_seed_print_the_same_json(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON is the same to the letter for one seed, and differs for another where rows are drawn."""
    texts = []
    for seed in ("5", "5", "6"):
        assert (
            main(["scan", "model.pt", "--data", "x.npy", "--json", "--max-samples", "100", "--seed", seed])
            == 0
        )
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["sites"] != json.loads(texts[2])["sites"]


def test_synthetic_inputs_are_loud_in_every_output(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --data the table, the JSON, stderr with --quiet and the report say that inputs are made up."""
    assert main(["scan", "model.pt", "--html", "r.html"]) == 0
    assert "SYNTHETIC" in capsys.readouterr().out
    assert "SYNTHETIC" in Path("r.html").read_text(encoding="utf-8")
    assert main(["scan", "model.pt", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["data"]["synthetic"] is True
    assert "SYNTHETIC" in said.err
    assert main(["scan", "model.pt", "--quiet"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "SYNTHETIC" in said.err


def test_fail_on_makes_the_exit_code(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 only when a layer that counts is at or past the verdict: activations never do."""
    data = ["--data", "x.npy", "--quiet"]
    assert main(["scan", "model.pt", *data, "--fail-on", "non-gaussian", "--include", "0"]) == 0
    assert main(["scan", "model.pt", *data, "--fail-on", "near-gaussian", "--include", "1"]) == 0
    torch.save(nn.Sequential(nn.Linear(32, 4), nn.Tanh()), "wide.pt")
    np.save("heavy.npy", torch.distributions.StudentT(2.0).sample((2000, 32)).numpy())
    heavy = ["scan", "wide.pt", "--data", "heavy.npy", "--quiet"]
    assert main(heavy) == 0
    assert main([*heavy, "--fail-on", "non-gaussian"]) == 1
    assert "failed: 1 of 2 sites, --fail-on non-gaussian: 0" in capsys.readouterr().err
    assert main([*heavy, "--fail-on", "near-gaussian"]) == 1


def test_nonfinite_values_trip_any_fail_on(files: Path) -> None:
    """A NaN in the data fails the gate, and passes without one."""
    x = np.load("x.npy")
    x[3, 3] = np.nan
    np.save("nan.npy", x)
    assert main(["scan", "model.pt", "--data", "nan.npy", "--quiet"]) == 0
    assert main(["scan", "model.pt", "--data", "nan.npy", "--quiet", "--fail-on", "non-gaussian"]) == 1


def test_nonfinite_numbers_are_strings_or_null_in_json(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON with NaN among its numbers parses under a strict reader."""
    x = np.load("x.npy")
    x[3, 3] = np.nan
    np.save("nan.npy", x)
    assert main(["scan", "model.pt", "--data", "nan.npy", "--json"]) == 0

    def refuse(constant: str) -> float:
        raise AssertionError(f"bare {constant}")

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found["sites"][0]["departure"] == "non-finite"
    assert found["sites"][0]["delta"]["median"] == "NaN"


def test_outputs_are_written_and_reread(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--out holds the run that the table shows; report draws the same page from it."""
    assert main(["scan", "model.pt", "--data", "x.npy", "--out", "run.sqlite", "--html", "a.html"]) == 0
    said = capsys.readouterr()
    assert "written: run.sqlite" in said.err
    run = gp.load("run.sqlite")
    assert [s.site for s in run.scores] == ["0", "1", "2", "3", "4"]
    assert main(["report", "run.sqlite", "-o", "b.html"]) == 0
    assert Path("a.html").read_text(encoding="utf-8") == Path("b.html").read_text(encoding="utf-8")


def test_table_names_worst_unit_and_n_tested(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has a row for each site, with verdict, worst unit and samples tested."""
    assert main(["scan", "model.pt", "--data", "x.npy", "--max-samples", "500"]) == 0
    out = capsys.readouterr().out
    assert "gaussian" in out
    assert "500" in out
    assert "\x1b[" not in out


def test_factory_and_module_function(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A state_dict with --factory, and pkg.mod:fn, give the numbers of the whole module."""
    Path("mine_for_scan.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Linear(32, 48), nn.ReLU(inplace=True), nn.Linear(48, 48), nn.Tanh(),\n"
        "                         nn.Linear(48, 8))\n"
        "def loaded():\n"
        "    print('loading')\n"
        "    model = build()\n"
        "    model.load_state_dict(torch.load('weights.pt'))\n"
        "    return model\n"
        "def batches():\n"
        "    import numpy as np\n"
        "    yield from torch.from_numpy(np.load('x.npy')).split(50)\n",
        encoding="utf-8",
    )
    torch.save(torch.load("model.pt", weights_only=False).state_dict(), "weights.pt")
    sites = []
    for arguments in (
        ["model.pt", "--data", "x.npy"],
        ["weights.pt", "--factory", "mine_for_scan:build", "--data", "x.npy"],
        ["mine_for_scan:loaded", "--data", "mine_for_scan:batches"],
    ):
        assert main(["scan", *arguments, "--json"]) == 0
        sites.append(read_json(capsys)["sites"])
    assert sites[0] == sites[1] == sites[2]

"""Files of tensors in place of a model: saved activations, scored as they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gaussprobe as gp
from gaussprobe.cli.main import main
from gaussprobe.errors import DataError, ForwardError, SelectionError


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_tensors_are_sites_named_by_their_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """Each tensor is a pre-activation with its examples first and its units where they are usually."""
    tensors = {
        "flat": torch.randn(500, 20),
        "image": torch.rand(400, 4, 6, 5),
        "sequence": torch.randn(300, 7, 3).exp(),
        "lone": torch.randn(500),
        "whole": torch.randint(0, 9, (500, 2)),
    }
    torch.save(tensors, "acts.pt")
    assert main(["scan", "acts.pt", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    sites = {site["site"]: site for site in found["sites"]}
    assert list(sites) == list(tensors)
    assert all(site["kind"] == ["preactivation"] for site in sites.values())
    assert [site["num_features"] for site in sites.values()] == [20, 4, 3, 1, 2]
    assert [site["n_seen"] for site in sites.values()] == [500, 400 * 30, 300 * 7, 500, 500]
    assert sites["flat"]["verdict"] in ("gaussian", "near-gaussian")
    assert sites["sequence"]["departure"] == "right-skewed"
    assert sites["whole"]["departure"] == "discrete"
    notes = found["data"]["notes"]
    assert any("SAVED ACTIVATIONS" in note for note in notes)
    assert "image: read as (n, channels, H, W)" in notes
    assert found["data"]["kind"] == "activations"
    assert found["data"]["synthetic"] is False


def test_saved_activations_score_as_they_did_in_the_model() -> None:
    """What a model's layer gives scores the same from a file as from the model, to the last digit."""
    model = nn.Sequential(nn.Linear(16, 12), nn.Tanh())
    x = torch.randn(700, 16)
    with torch.no_grad():
        np.save("acts.npy", model[0](x).numpy())
    live = gp.scan(model, x, max_samples=256, seed=3, include="0").scores[0]
    saved = gp.scan("acts.npy", max_samples=256, seed=3).scores[0]
    assert saved.site == "tensor"
    assert (saved.delta, saved.tests, saved.n_tested) == (live.delta, live.tests, live.n_tested)


def test_options_that_need_a_model_are_refused() -> None:
    """Data, devices, modes and a deep look make no sense without a model; patterns do."""
    np.savez("acts.npz", first=np.random.randn(60, 3), second=np.random.randn(60, 3))
    for options in ({"batches": torch.ones(3, 3)}, {"device": "cpu"}, {"mode": "train"}, {"deep": True}):
        with pytest.raises(DataError, match="holds saved activations"):
            gp.scan("acts.npz", **options)
    assert [score.site for score in gp.scan("acts.npz", include="sec*").scores] == ["second"]
    with pytest.raises(SelectionError, match="nearest: first"):
        gp.scan("acts.npz", include="frist")


def test_groups_of_examples_reach_the_sites() -> None:
    """Labels of groups are taken as for a model, and must fit every tensor."""
    torch.save({"a": torch.randn(60, 3), "b": torch.randn(60, 3)}, "acts.pt")
    grouped = gp.scan("acts.pt", groups=[n // 3 for n in range(60)])
    assert len(grouped.scores) == 2
    torch.save({"a": torch.randn(60, 3), "b": torch.randn(30, 3)}, "acts.pt")
    with pytest.raises(DataError, match="tensors of one length"):
        gp.scan("acts.pt", groups=list(range(60)))


def test_unscorable_tensors_are_listed() -> None:
    """Tensors that are no real numbers, or empty, are named with the reason."""
    torch.save(
        {"good": torch.randn(60, 3), "flags": torch.ones(60, 3).bool(), "none": torch.ones(0, 3)}, "a.pt"
    )
    run = gp.scan("a.pt")
    assert [score.site for score in run.scores] == ["good"]
    assert {missing.site for missing in run.not_captured} == {"flags", "none"}


def test_inputs_that_do_not_fit_show_what_the_first_layer_takes() -> None:
    """A wrong shape or dtype is shown beside what the first layer takes."""

    class Own(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)

    for layer, x, match in (
        (
            nn.Linear(8, 2),
            torch.ones(4, 7),
            r"\(4, 7\) float32; the first layer, layer \(Linear\), takes \(\.\., 8\)",
        ),
        (nn.Linear(8, 2), torch.ones(4, 8).double(), r"\(4, 8\) float64; .* takes \(\.\., 8\) float32"),
        (nn.Conv2d(3, 2, 3), torch.ones(4, 1, 9, 9), r"takes \(N, 3, H, W\) float32"),
        (nn.Embedding(5, 2), torch.ones(4, 3), "takes whole numbers below 5"),
    ):
        with pytest.raises(ForwardError, match=match) as caught:
            gp.scan(Own(layer), [x])
        assert str(caught.value).count("\n") == 1

"""The pages of networks at initialization, and of phi_theta in training."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

import gaussprobe as gp
from docs.examples import preactivations, preactivations_page, preserving
from gaussprobe.comparison import Comparison
from gaussprobe.propagated import LayerLaw
from gaussprobe.trials.analysis import compared
from tests.sweeps import comparison

SETTINGS = ("ReLU", "tanh", "phi odd 4")


@pytest.mark.parametrize(("theta", "kind"), [(2.05, "odd"), (10.0, "positive")])
def test_the_law_is_exact(theta: float, kind: str) -> None:
    """`sup |F - Phi|` by the page's own quadrature is at most 1e-8, as was asked."""
    assert preactivations.law_error(theta, kind) < 1e-8


def test_the_quadrature_sees_an_inexact_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of weights of theta 3.01 with phi of theta 3 it is far above 1e-8."""
    made = preactivations.gp.nn.GaussianPreserving
    monkeypatch.setattr(preactivations.gp.nn, "GaussianPreserving", lambda theta, kind: made(3.0, kind))
    assert preactivations.law_error(3.01, "odd") > 1e-5


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few widths, few layers, and nothing in processes of its own."""
    for module in (preactivations, preactivations_page):
        monkeypatch.setattr(module, "WIDTHS", (1, 2))
        monkeypatch.setattr(module, "DEEP_WIDTHS", (1, 2))
        monkeypatch.setattr(module, "THETAS", (3.0,))
    monkeypatch.setattr(preactivations, "FINITE_WIDTHS", (3,))
    monkeypatch.setattr(preactivations, "deep", preactivations._deep)


@pytest.mark.usefixtures("_few", "one_thread")
def test_page(tmp_path: Path) -> None:
    """Tables hold what was measured, distances below the critical one are in italics, figures are drawn."""
    found = preactivations.measure(draws=400, deep_draws=60, seeds=3)
    preactivations_page.write(found, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    distance = found.two_layers["relu", "[1, n, 1]", 2]
    assert distance > found.critical
    assert f"| {distance:.4f} |" in text
    low = [value for value in found.two_layers.values() if value < found.critical]
    assert len(re.findall(r"\*0\.\d{4}\*", text)) == len(low)
    law: LayerLaw = found.known["relu", (1, 1)][-1]
    assert f"| 0.2512 | {law.ks_distance:.4f} ({law.ks_low:.4f} to {law.ks_high:.4f}) |" in text
    assert f"{found.finite[3].points[0].correlation[-1]:.4f} (" in text
    for name in ("two_layers", "depth"):
        assert "<svg" in (tmp_path / "figures" / f"{name}.svg").read_text()
        assert f"(figures/{name}.svg)" in text


def test_directions_that_are_not_had_are_left_out() -> None:
    """Where the direction changes more than once or is never told, no number is printed for it."""
    found = gp.signal.finite_phase("tanh", width=2, depth=2, sigma_w=[1.0], draws=8)
    assert math.isnan(found.edge)
    for low, said in ((1.0, "all go together up to 1.0000"), (math.nan, "no direction is told")):
        changed = replace(found, edge_low=low, edge_high=math.nan)
        assert preactivations_page._turned(2, changed) == f"Width 2: {said}."


def trained(gains: tuple[float, ...]) -> Comparison:
    """Three settings on six seeds; a layer is constant on every digit in one trial."""
    made = comparison(gains, seeds=6)
    names = dict(zip(made.settings, SETTINGS, strict=True))
    trials = []
    for one in made.trials:
        sites = [replace(site, kind=("affine", "preactivation")) for site in one.sites]
        if (one.setting, one.seed) == ("s2", 0):
            sites[0] = replace(sites[0], qq_r2=math.nan)
        trials.append(replace(one, setting=names[one.setting], sites=tuple(sites)))
    return compared(SETTINGS, made.seeds, trials, made.description)


def test_page_of_trainings() -> None:
    """Every setting against ReLU and against tanh: sure where p says so, else what can be missed."""
    text = preserving.page(dict.fromkeys(preserving.NAMES, trained((0.0, 0.0, 0.03))))
    section = text.split("\n## narrow-mlp")[1]
    assert "phi odd 4 is surely more accurate than ReLU" in section
    assert "phi odd 4 is surely more accurate than tanh" in section
    assert "tanh against ReLU" in section
    assert "surely less" not in section
    assert "| 1 of 18 |" in section
    assert section.count("| 0 of 18 |") == 2


def test_losses_are_told() -> None:
    """A setting that is worse is called so."""
    text = preserving.page({"plain-cnn": trained((0.0, 0.0, -0.03))})
    assert "phi odd 4 is surely less accurate than ReLU: " in text

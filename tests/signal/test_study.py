"""gaussprobe.signal.study: everything about one activation and one law of weights."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, special

import gaussprobe as gp
from gaussprobe.errors import GaussprobeWarning, NonFiniteSampleWarning
from gaussprobe.laboratory import Laboratory
from gaussprobe.phases import Edge
from gaussprobe.signal.activations import activation
from gaussprobe.signal.edge import edge_of_chaos
from gaussprobe.signal.phase import phase
from gaussprobe.signal.setting import settled
from gaussprobe.signal.weights import weibull_sd, weight_law
from gaussprobe.stats.multiplicity import benjamini_hochberg

pytestmark = pytest.mark.usefixtures("one_thread")
DRAWS = 400


def study(given: Any, **options: Any) -> Laboratory:
    """A small one, without a diagram."""
    asked = {"widths": [4, 4, 4], "draws": DRAWS, "diagram": False, **options}
    return gp.signal.study(given, **asked)


def chosen(given: Any, **options: Any) -> Any:
    """What is settled without any network."""
    return settled(
        activation(given), **{"sigma_w": None, "sigma_b": None, "weight": None, "seed": 0, **options}
    )


def relu_correlation(c: float) -> float:
    """Cho & Saul (2009), the arc-cosine kernel of degree 1, normalised: ReLU on its edge of chaos."""
    return (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi


@pytest.mark.parametrize(
    ("given", "sigma_w", "sigma_b", "weight"),
    [
        ("relu", math.sqrt(2), 0.0, "normal"),
        # The edge at sigma_b^2 = .013 by adaptive quadrature, to 5 decimals of sigma_w^2.
        ("tanh", math.sqrt(1.46596), math.sqrt(0.013), "normal"),
        ("linear", 1.0, 0.0, "normal"),
        ("phi:3", 1.0, 0.0, "weibull(3)"),
        ("phi+:5", 1.0, 0.0, "weibull(5)"),
    ],
)
def test_defaults(given: str, sigma_w: float, sigma_b: float, weight: str) -> None:
    """What was not given is what the construction or the edge of chaos asks for, each with a note."""
    found = chosen(given)
    assert found.sigma_w == pytest.approx(sigma_w, rel=1e-5)
    assert found.sigma_b == sigma_b
    assert found.law.name == weight
    told = [note.split(" is ")[0] for note in found.notes]
    assert told == (["weight"] if "phi" in given else []) + ["sigma_b", "sigma_w"]
    assert all(note.endswith("none was given") for note in found.notes)


def test_what_is_given_stays() -> None:
    """Nothing is changed and nothing noted; the edge is that at the sd of biases given."""
    found = chosen("tanh", sigma_w=1.3, sigma_b=0.3, weight="uniform")
    assert (found.sigma_w, found.sigma_b, found.law.name, found.notes) == (1.3, 0.3, "uniform", ())
    edge = edge_of_chaos("tanh", sigma_b=0.3)
    assert chosen("tanh", sigma_b=0.3).sigma_w == pytest.approx(edge.sigma_w)
    assert chosen("tanh", sigma_b=0.3).sigma_w > chosen("tanh").sigma_w


def test_an_edge_that_is_special_is_said_to_be() -> None:
    """That of tanh without biases is at variance 0: the note tells."""
    (note,) = [note for note in chosen("tanh", sigma_b=0.0).notes if note.startswith("sigma_w")]
    assert "the fixed point is 0" in note


@pytest.mark.parametrize("sigma_b", [0.0, 0.2])
def test_where_the_edge_explodes_variance_1_is_kept(sigma_b: float) -> None:
    """Of GELU: its mean square under N(0, 1) by scipy's quadrature gives sigma_w, and the note says why."""
    square, _ = integrate.quad(lambda z: (z * special.ndtr(z)) ** 2 * math.exp(-z * z / 2), -40, 40)
    found = chosen("gelu", sigma_b=sigma_b)
    assert found.sigma_w == pytest.approx(math.sqrt((1 - sigma_b**2) * math.sqrt(2 * math.pi) / square))
    assert any("keeps a variance of 1" in note for note in found.notes)
    kept = phase("gelu", sigma_w=found.sigma_w, sigma_b=sigma_b)
    assert kept.fixed_point == pytest.approx(1, abs=1e-6)


def test_weights_of_another_sd_reach_the_edge() -> None:
    """For relu with Weibull weights sigma_w times their sd is sqrt 2."""
    found = chosen("relu", weight=("weibull", 3.0))
    assert found.sigma_w * weibull_sd(3.0) == pytest.approx(math.sqrt(2))
    assert found.weight_sd == weibull_sd(3.0)


def test_the_sd_of_weibull_laws() -> None:
    """That of a million draws, to four standard errors."""
    law = weight_law(("weibull", 2.5))
    squares = law.draw((2**20,), torch.Generator().manual_seed(1)).double().square()
    error = 4 * float(squares.std()) / 2**10
    assert float(squares.mean()) == pytest.approx(weibull_sd(2.5) ** 2, abs=error)


def test_a_law_of_ones_own() -> None:
    """Its sd is estimated, and a note says so."""

    def halved(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        return 0.5 * torch.randn(shape, generator=generator)

    found = chosen("relu", weight=halved, sigma_w=1.0)
    assert found.weight_sd == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(2 * 2**20))
    assert any(note.startswith("the sd of halved, ") for note in found.notes)


def test_no_edge_asks_for_sigma_w(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no edge the reason is told; with sigma_w there is nothing to ask."""
    nowhere = Edge(
        activation="tanh",
        sigma_w=math.nan,
        sigma_b=0.0,
        fixed_point=math.nan,
        chi1=math.nan,
        reason="chi1 is never 1",
    )
    monkeypatch.setattr("gaussprobe.signal.setting.edge_of_chaos", lambda *_, **__: nowhere)
    with pytest.raises(ValueError, match=r"sigma_w must be given: tanh has no edge .* chi1 is never 1"):
        chosen("tanh", sigma_b=0.0)
    assert chosen("tanh", sigma_w=1.0).sigma_w == 1.0


def test_predictions_for_relu() -> None:
    """On the edge the variance stays 2, and correlations follow the arc-cosine kernel."""
    found = study("relu", widths=[3] * 6, correlation=0.3)
    assert found.predicted_variance == pytest.approx([2.0] * 6, rel=1e-6)
    expected = [0.3]
    for _ in range(5):
        expected.append(relu_correlation(expected[-1]))
    assert found.predicted_correlation == pytest.approx(expected, abs=1e-6)
    assert found.point.phase == "edge"


def test_predictions_with_biases_and_weibull_weights() -> None:
    """Linear layers by hand: weights after the first have another sd, biases are shared by both inputs."""
    w, b, s = 0.9, 0.4, weibull_sd(4.0)
    found = study("linear", sigma_w=w, sigma_b=b, weight=("weibull", 4.0), correlation=-0.2)
    variance, covariance = [w**2 + b**2], [-0.2 * w**2 + b**2]
    for _ in range(2):
        variance.append((w * s) ** 2 * variance[-1] + b**2)
        covariance.append((w * s) ** 2 * covariance[-1] + b**2)
    assert found.predicted_variance == pytest.approx(variance, rel=1e-6)
    assert found.predicted_correlation == pytest.approx(np.divide(covariance, variance), abs=1e-6)
    assert found.point.sigma_w == pytest.approx(w * s)
    assert found.weight_sd == s


def test_phi_keeps_the_variance() -> None:
    """`E[W^2] E[phi_theta(X)^2] = 1`: infinitely wide layers have variance 1, all the way down."""
    assert study("phi:3").predicted_variance == pytest.approx([1.0] * 3, abs=1e-5)


def test_wide_layers_do_as_predicted() -> None:
    """Sd and correlation at width 200, to four standard errors: sd / sqrt(2 n), and the jackknife's."""
    found = study("tanh", widths=[200] * 3, draws=300)
    for law, variance in zip(found.propagation, found.predicted_variance, strict=True):
        assert law.sd == pytest.approx(math.sqrt(variance), rel=4 / math.sqrt(2 * 300))
    for one, predicted in zip(found.propagation.correlations, found.predicted_correlation, strict=True):
        error = (one.high - one.low) / (2 * 1.96)
        assert one.correlation == pytest.approx(predicted, abs=4 * error)


def test_the_first_layer_is_that_of_the_scalar_input() -> None:
    """N(0, sigma_w^2 + sigma_b^2): the sd to four standard errors, normal at 1e-4; and it is told."""
    found = study("tanh", sigma_w=1.2, sigma_b=0.5, draws=2000, widths=[3])
    sd = math.sqrt(1.2**2 + 0.5**2)
    assert found.propagation[0].sd == pytest.approx(sd, rel=4 / math.sqrt(2 * 2000))
    assert found.propagation[0].fitted_pvalue > 1e-4
    assert f"layer 1 of each is N(0, {sd**2:.4g}), as for the scalar input 1" in found.notes[0]


def test_pvalues_are_adjusted_over_layers() -> None:
    """By Benjamini and Hochberg's procedure, each null hypothesis by itself; what is NaN stays NaN."""
    found = study("relu", widths=[3] * 8)
    run = found.propagation
    assert found.adjusted_pvalue == tuple(benjamini_hochberg(run.pvalue))
    assert found.fitted_adjusted_pvalue == tuple(benjamini_hochberg(run.fitted_pvalue))
    assert (np.array(found.adjusted_pvalue) >= run.pvalue).all()


def test_values_that_explode() -> None:
    """Layers that are not finite have no adjusted p; the others do; a warning names the first."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        found = study(lambda x: x**3, sigma_w=1e9, widths=[2] * 5)
    assert np.isnan(found.adjusted_pvalue).tolist() == [False, False, True, True, True]
    assert found.propagation.first_nonfinite == 3
    assert {one.category for one in heard} <= {NonFiniteSampleWarning, GaussprobeWarning}
    assert {str(one.message) for one in heard} == set(found.warnings)
    assert "layer 3" in found.warnings[0]
    assert len(found.predicted_variance) == len(found.predicted_correlation) == 5


def test_diagram_is_around_the_setting() -> None:
    """The setting and the edge lie inside the grid; without one there is none."""
    found = study("relu", diagram=True, sigma_b=0.3)
    grid = found.diagram
    assert grid is not None
    assert grid.sigma_w[0] < found.point.sigma_w < grid.sigma_w[-1]
    assert grid.sigma_b[0] <= 0.3 < grid.sigma_b[-1]
    edges = [edge.sigma_w for edge in grid.edge if not math.isnan(edge.sigma_w)]
    assert all(grid.sigma_w[0] < sigma_w < grid.sigma_w[-1] for sigma_w in edges)
    assert edges
    assert study("relu").diagram is None


def test_the_same_each_time() -> None:
    """The same seed gives the same numbers, another others; the command is kept."""
    first, again = (study("relu", command="gaussprobe init") for _ in range(2))
    blank = {"created": "", "seconds": 0.0}
    assert repr(dataclasses.replace(first, **blank)) == repr(dataclasses.replace(again, **blank))
    assert first.propagation.ks_distance.tolist() == again.propagation.ks_distance.tolist()
    assert first.propagation.ks_distance.tolist() != study("relu", seed=1).propagation.ks_distance.tolist()
    assert first.command == "gaussprobe init"
    assert {"python", "torch", "numpy"} <= set(first.versions)


def test_progress_is_told() -> None:
    """Each part of the work is named once it begins; what is done never exceeds what there is."""
    told: list[tuple[str, int, int | None]] = []
    study("relu", diagram=True, progress=lambda *one: told.append(one))
    names = list(dict.fromkeys(name for name, _, _ in told))
    assert names == [
        "finding the edge of chaos",
        "propagating",
        "finding the phase",
        "predicting infinitely wide layers",
        "computing the phase diagram",
    ]
    assert all(total is None or done <= total for _, done, total in told)


@pytest.mark.parametrize("correlation", [1.5, -2, math.nan, "half", True, None])
def test_correlations_that_are_none(correlation: Any) -> None:
    """Refused by name."""
    with pytest.raises(ValueError, match="correlation must be a number from -1 to 1; got"):
        study("relu", correlation=correlation)


@pytest.mark.parametrize("name", ["sigma_w", "sigma_b"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "one", True])
def test_scales_that_are_none(name: str, value: Any) -> None:
    """Refused by name, whichever was given."""
    with pytest.raises(ValueError, match=f"{name} must be a finite number of at least 0; got"):
        study("tanh", **{name: value})


@pytest.mark.parametrize("correlation", [-1.0, 0.0, 1.0])
def test_inputs_that_are_opposite_or_alike(correlation: float) -> None:
    """At both ends the first layer has exactly the correlation asked for."""
    found = study("tanh", sigma_w=1.0, sigma_b=0.0, correlation=correlation)
    assert found.predicted_correlation[0] == correlation
    one = found.propagation.correlations[0]
    assert one.low - 1e-6 <= correlation <= one.high + 1e-6

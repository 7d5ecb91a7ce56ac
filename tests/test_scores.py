"""Verdict, departure and what is said of a layer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gaussprobe import scores
from gaussprobe.types import Departure, NonFinite, Samples, Sampling, Site, Summary
from tests.planted import CALLED, planted

NAN = float("nan")


def samples_of(values: torch.Tensor, *, independent: bool = True, **more: object) -> Samples:
    n, width = values.shape
    return Samples(
        site=Site(path="layer", kinds=("affine",)),
        step=0,
        values=values,
        examples=np.arange(n),
        n_seen=n,
        sampling=Sampling(n_examples=n, positions_available=1, positions_per_example=1, num_features=width),
        independent=independent,
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.001, 0.0024, "gaussian"),
        (-0.001, 0.0025, "near-gaussian"),
        (0.003, 0.0149, "near-gaussian"),
        (0.003, 0.015, "undetermined"),
        (-0.1, 0.2, "undetermined"),
        (0.0149, 0.02, "undetermined"),
        (0.015, 0.02, "non-gaussian"),
        (NAN, NAN, "undetermined"),
        (NAN, 0.001, "undetermined"),
    ],
)
def test_verdict_follows_the_bands(low: float, high: float, expected: str) -> None:
    """upper < .0025 gaussian, lower >= .015 non-gaussian, upper < .015 near-gaussian, else undetermined."""
    assert scores.verdict(low, high) == expected


def summary(median: float, low: float) -> Summary:
    return Summary(median=median, low=low, high=2 * median, worst=median, worst_unit=0)


@pytest.mark.parametrize(
    ("kinds", "delta", "expected"),
    [
        (["constant", "constant"], summary(NAN, NAN), "constant"),
        (["atoms", "atoms", "none"], summary(0.1, 0.09), "atoms"),
        (["discrete", "discrete", "none"], summary(0.001, 0.0), "discrete"),
        (["atoms", "none", "none"], summary(0.001, 0.0005), "none"),
        (["right-skewed", "heavy-tailed", "right-skewed"], summary(0.02, 0.01), "right-skewed"),
        (["right-skewed", "right-skewed"], summary(0.0024, 0.001), "none"),
        (["right-skewed", "right-skewed"], summary(0.01, -0.001), "none"),
        (["right-skewed", "multimodal"], summary(0.02, 0.01), "multimodal"),
        (["constant", "left-skewed"], summary(0.02, 0.01), "left-skewed"),
    ],
)
def test_layer_departure_is_that_of_its_units(kinds: list[Departure], delta: Summary, expected: str) -> None:
    """Atoms by majority whatever delta is; none below the band or at 0; else the commonest kind."""
    assert scores.layer_departure(kinds, delta) == expected


@pytest.mark.parametrize(("law", "verdict", "departure"), CALLED)
@pytest.mark.parametrize("seed", range(5))
def test_planted_laws_are_called_right(law: str, verdict: str, departure: str, seed: int) -> None:
    """A 64-unit layer of each planted law gets its verdict and departure, for five seeds."""
    torch.manual_seed(seed)
    score = scores.score(samples_of(planted(law))).score
    assert (score.verdict, score.departure) == (verdict, departure)


def test_constant_units_are_left_out_and_named() -> None:
    """A constant unit changes no median of the others and is listed."""
    values = planted("normal")
    with_constant = values.clone()
    with_constant[:, 7] = 0.1
    alone = scores.score(samples_of(values[:, torch.arange(64) != 7])).score
    score = scores.score(samples_of(with_constant)).score
    assert score.delta.median == pytest.approx(alone.delta.median, abs=1e-12)
    assert score.tests["shapiro_wilk"].pvalue == pytest.approx(alone.tests["shapiro_wilk"].pvalue)
    assert score.notes == ("1 of 64 units constant, left out: 7",)
    assert score.verdict == "gaussian"


def test_constant_layer_is_undetermined() -> None:
    """A layer of constant units only has departure `constant` and no numbers."""
    score = scores.score(samples_of(torch.full((100, 3), 0.1))).score
    assert (score.verdict, score.departure) == ("undetermined", "constant")
    assert math.isnan(score.delta.median)
    assert "3 of 3 units constant" in score.notes[0]


def test_nonfinite_layer_is_reported_with_counts() -> None:
    """Non-finite values seen anywhere make the layer `non-finite`, with counts and no numbers."""
    bad = NonFinite(nan=3, inf=1, total=6400, units=2)
    score = scores.score(samples_of(planted("normal", 100), nonfinite=bad)).score
    assert (score.verdict, score.departure) == ("undetermined", "non-finite")
    assert score.notes == ("3 NaN and 1 infinite of 6,400 values, in 2 of 64 units",)


def test_fewer_than_eight_samples_are_undetermined_with_the_reason() -> None:
    """Seven samples per unit give no verdict and say why."""
    score = scores.score(samples_of(torch.randn(7, 4))).score
    assert (score.verdict, score.departure, score.n_tested) == ("undetermined", "none", 7)
    assert score.notes == ("7 samples per unit; at least 8 are needed",)


def test_dependent_rows_have_no_pvalue() -> None:
    """Where rows are dependent, statistics and intervals stay and p-values are withheld."""
    score = scores.score(samples_of(planted("t(3)"), independent=False)).score
    assert all(t.pvalue is None and t.rejected_fraction is None for t in score.tests.values())
    assert all(math.isfinite(t.statistic) for t in score.tests.values())
    assert score.verdict == "non-gaussian"


def test_one_bad_unit_in_a_gaussian_layer_is_called_out() -> None:
    """A lognormal unit does not change the layer's verdict but is the worst unit and named in a note."""
    values = planted("normal")
    values[:, 11] = values[:, 11].exp()
    scored = scores.score(samples_of(values))
    assert scored.score.verdict == "gaussian"
    assert scored.score.delta.worst_unit == 11
    assert scored.score.notes == ("delta measured above .015 in 1 of 64 units: 11",)
    assert [(p.role, p.unit) for p in scored.picture.units][1] == ("worst", 11)


def test_units_of_a_subset_keep_their_own_numbers() -> None:
    """With a random subset of units, the worst unit and the pictures are named by the model's numbering."""
    values = planted("normal", width=3)
    values[:, 1] = values[:, 1].exp()
    sampling = Sampling(
        n_examples=2048, positions_available=1, positions_per_example=1, num_features=100, units=(5, 50, 95)
    )
    samples = samples_of(values)
    samples = Samples(**{**vars(samples), "sampling": sampling})
    scored = scores.score(samples)
    assert scored.score.delta.worst_unit == 50
    assert scored.score.num_features == 100
    assert {p.unit for p in scored.picture.units} <= {5, 50, 95}


def test_undetermined_at_small_n_says_that_more_examples_would_decide() -> None:
    """With 40 examples the interval spans bands, and the note says so."""
    score = scores.score(samples_of(torch.randn(40, 3))).score
    assert score.verdict == "undetermined"
    assert "more examples would decide" in score.notes[0]


def test_a_mild_verdict_from_few_examples_says_what_it_cannot_see() -> None:
    """Below 200 examples a gaussian or near-gaussian verdict carries its limit; from 200 on it does not."""
    few, enough = (scores.score(samples_of(torch.randn(n, 256))).score for n in (150, 250))
    assert few.verdict in ("gaussian", "near-gaussian")
    assert "with 150 examples the tails are hardly seen" in few.notes[0]
    assert enough.notes == ()


def test_exactly_eight_examples_have_numbers_and_no_interval() -> None:
    """Eight samples are measured; leaving one out leaves too few, and the note says so."""
    score = scores.score(samples_of(torch.randn(8, 16))).score
    assert math.isfinite(score.delta.median)
    assert math.isnan(score.delta.low)
    assert score.verdict == "undetermined"
    assert score.notes == ("8 examples give no interval; at least 9 are needed",)


def test_rows_of_unknown_origin_have_no_interval_and_no_verdict() -> None:
    """Where which rows belong to one example is unknown, lognormal rows are measured and not judged."""
    score = scores.score(samples_of(planted("lognormal"), independent=False, grouped=False)).score
    assert score.delta.median > 0.1
    assert math.isnan(score.delta.low)
    assert score.verdict == "undetermined"


def test_verdicts_are_not_wrong_under_a_common_factor() -> None:
    """Strongly correlated Gaussian units are never called non-gaussian or near-gaussian at n = 2,000."""
    wrong = 0
    for seed in range(40):
        torch.manual_seed(seed)
        values = 0.9 * torch.randn(2000, 1) + 0.44 * torch.randn(2000, 32)
        wrong += scores.score(samples_of(values)).score.verdict != "gaussian"
    assert wrong <= 1

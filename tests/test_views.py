"""Views `layer` and `example`: what they call Gaussian, what not, and what they say of themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import gaussprobe
from gaussprobe import views
from gaussprobe.errors import UnsupportedError
from gaussprobe.reports import html
from gaussprobe.stats import jackknife
from gaussprobe.types import LayerScore, NonFinite, Samples, Sampling, Site, View
from tests.planted import CALLED, planted


def samples_of(values: torch.Tensor, *, blocks: int = 1, **more: object) -> Samples:
    n, width = values.shape
    return Samples(
        site=Site(path="layer", kinds=("affine",)),
        step=0,
        values=values,
        examples=np.tile(np.arange(n // blocks), blocks),
        n_seen=10 * n,
        sampling=Sampling(
            n_examples=n // blocks,
            positions_available=blocks,
            positions_per_example=blocks,
            num_features=width,
        ),
        **more,  # type: ignore[arg-type]
    )


def scored(values: torch.Tensor, view: View, **more: object) -> LayerScore:
    return views.score(samples_of(values, **more), view=view).score  # type: ignore[arg-type]


def unequal(values: torch.Tensor) -> torch.Tensor:
    """Each unit with a mean and a scale of its own."""
    width = values.shape[1]
    return values * torch.exp(1.5 * torch.randn(width)) + 5 * torch.randn(width)


def correlated(n: int, width: int, rho: float) -> torch.Tensor:
    return math.sqrt(rho) * torch.randn(n, 1) + math.sqrt(1 - rho) * torch.randn(n, width)


@pytest.mark.parametrize(("law", "verdict", "departure"), CALLED)
@pytest.mark.parametrize("view", ["layer", "example"])
def test_planted_laws_are_called_right(view: View, law: str, verdict: str, departure: str) -> None:
    """512 examples of 128 units get the verdict and departure of their law under both views."""
    torch.manual_seed(0)
    values = planted(law, 512, 128)
    score = scored(unequal(values) if view == "layer" else values, view)
    assert (score.verdict, score.departure) == (verdict, departure)
    assert math.isinf(score.negentropy.median) == (departure in ("atoms", "discrete"))


def test_units_of_unequal_variance_are_gaussian_under_layer() -> None:
    """Pooled as they stand, normal units of unequal variance are heavy-tailed; standardised, they are not."""
    torch.manual_seed(0)
    values = unequal(torch.randn(512, 64))
    assert scored(values.reshape(-1, 1)[:8192], "layer").departure == "heavy-tailed"
    assert scored(values, "layer").verdict == "gaussian"


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("n", "width"), [(50, 64), (200, 8), (200, 64), (2048, 16)])
def test_pooled_delta_of_normal_units_scatters_around_0(n: int, width: int, rho: float) -> None:
    """The mean pooled delta of 20 normal layers is 0 to well below the band, however units correlate."""
    torch.manual_seed(0)
    found = [
        views.pooled_delta(unequal(correlated(n, width, rho)), np.arange(n), groups=2) for _ in range(20)
    ]
    values = torch.cat([one.values for one in found])
    error = float(values.std()) / math.sqrt(20)
    assert abs(float(values.mean())) < 0.0008 + 3 * error
    assert error < 0.0025


def test_effective_size_lies_between_n_and_all_values() -> None:
    """Units that are all alike are worth N values, independent ones nearly N C."""
    torch.manual_seed(0)
    alike = torch.randn(400, 1).expand(400, 32)
    z = (alike - alike.mean(0)) / alike.std(0, correction=0)
    assert views.effective_size(z) == 400
    z = torch.randn(400, 32)
    assert 0.95 * 400 * 32 < views.effective_size((z - z.mean(0)) / z.std(0, correction=0)) <= 400 * 32


def test_thompson_loss_is_that_of_studentised_normals() -> None:
    """1 - R^2 of many samples of 10 normal values, each standardised: 1,000 x 1,000 of them."""
    torch.manual_seed(0)
    z = torch.randn(10, 20_000)
    z = ((z - z.mean(0)) / z.std(0, correction=0)).flatten().sort().values.double()
    levels = (torch.arange(len(z), dtype=torch.float64) + 0.5) / len(z)
    normal = torch.special.ndtri(levels)
    r = torch.corrcoef(torch.stack([z, normal]))[0, 1]
    assert views.thompson_loss(10) == pytest.approx(1 - float(r) ** 2, rel=0.05)


@pytest.mark.parametrize("view", ["layer", "example"])
def test_no_pvalues_and_said_so(view: View) -> None:
    """Neither view has p-values, and a note says that there are none, and why."""
    torch.manual_seed(0)
    score = scored(torch.randn(100, 60), view)
    assert all(test.pvalue is None and test.rejected_fraction is None for test in score.tests.values())
    assert any(note.startswith(f"view {view}: ") and "no p-value" in note for note in score.notes)


def test_counts_are_of_one_tested_sample() -> None:
    """n_tested and n_seen count samples per unit, pooled values under `layer`, units under `example`."""
    values = torch.randn(100, 60)
    counts = {view: scored(values, view) for view in ("unit", "layer", "example")}  # type: ignore[arg-type]
    assert {view: (score.n_tested, score.n_seen) for view, score in counts.items()} == {
        "unit": (100, 1000),
        "layer": (6000, 60_000),
        "example": (60, 60),
    }
    assert counts["layer"].delta.worst_unit is None
    assert math.isnan(counts["layer"].delta.worst)


def test_constant_units_are_left_out_of_the_pool() -> None:
    """A constant unit changes nothing of a layer's pooled sample, and is named."""
    torch.manual_seed(0)
    values = torch.randn(200, 16)
    alone = scored(values[:, torch.arange(16) != 3], "layer")
    values[:, 3] = 2.5
    score = scored(values, "layer")
    assert score.delta == alone.delta
    assert "1 of 16 units constant, left out: 3" in score.notes
    assert scored(torch.ones(50, 4), "layer").departure == "constant"


def test_many_values_are_pooled_of_random_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wide layer is pooled from random units, as many as fit, and says how many."""
    monkeypatch.setattr(views, "MOST_POOLED", 1000)
    torch.manual_seed(0)
    score = scored(torch.randn(100, 60), "layer")
    assert score.n_tested == 1000
    assert "10 units were drawn at random and pooled" in score.notes


def test_positions_of_few_examples_are_averaged_under_layer() -> None:
    """Several positions of each example are pooled apart: copies of one position change no estimate."""
    torch.manual_seed(0)
    values = torch.randn(60, 20)
    once = scored(values, "layer")
    twice = scored(values.repeat(2, 1), "layer", blocks=2, independent=False)
    assert twice.delta.median == pytest.approx(once.delta.median)
    assert (twice.delta.low, twice.delta.high) == pytest.approx((once.delta.low, once.delta.high))
    assert scored(values.repeat(2, 1), "example", blocks=2, independent=False).n_tested == 20


@pytest.mark.parametrize("view", ["layer", "example"])
def test_non_finite_values_are_named(view: View) -> None:
    """A site with NaN is `non-finite` under every view, and has no delta."""
    values = torch.randn(50, 20)
    score = scored(values, view, nonfinite=NonFinite(nan=1, inf=0, total=1000, units=1))
    assert (score.verdict, score.departure) == ("undetermined", "non-finite")
    assert math.isnan(score.delta.median)


def test_too_few_units_are_undetermined_under_example() -> None:
    """7 units make no sample; with 16 a normal vector cannot be told from a heavy-tailed one."""
    torch.manual_seed(0)
    score = scored(torch.randn(300, 7), "example")
    assert (score.verdict, score.delta.worst_unit) == ("undetermined", None)
    assert "7 units make no sample of view example; at least 8 are needed" in score.notes
    score = scored(torch.randn(300, 16), "example")
    assert score.verdict == "undetermined"
    assert "16 units hide the tails: at least 50 are needed to decide" in score.notes
    assert scored(torch.randn(5, 300), "example").verdict == "undetermined"


def test_no_wrong_definite_verdict_for_heavy_tails_of_few_values() -> None:
    """t(5), whose delta is .033, is never called gaussian or near-gaussian, at 50 units or 50 examples."""
    torch.manual_seed(0)
    law = torch.distributions.StudentT(5.0)
    for _ in range(10):
        assert scored(law.sample((200, 50)), "example").verdict in ("undetermined", "non-gaussian")
        assert scored(law.sample((50, 50)), "layer").verdict in ("undetermined", "non-gaussian")


def test_vectors_with_a_part_in_common_keep_a_wide_interval() -> None:
    """Where examples share most of their vector, the interval covers 0 in four of five normal layers or more.

    Leaving out examples alone, the median hardly moves: that interval covers it in fewer than one of two.
    """
    torch.manual_seed(0)
    both = alone = 0
    for _ in range(40):
        x = correlated(64, 256, 0.9)  # (units, examples): each unit has its value, alike in all examples
        found = jackknife.leave_out(x, np.arange(64), ("delta",))["delta"]
        one = views.two_way("delta", found, np.arange(256))
        both += one.low <= 0 <= one.high
        fixed = views.LeftOut(values=found.values, left_out=found.values.expand(20, -1), n_samples=64)
        one = views.two_way("delta", fixed, np.arange(256))
        alone += one.low <= 0 <= one.high
    assert both >= 32
    assert alone < 20


def test_example_intervals_follow_groups() -> None:
    """Examples of a group are left out together: 20 copies of 60 vectors are known no better than the 60."""
    torch.manual_seed(0)
    vectors = torch.distributions.StudentT(4.0).sample((100, 60))
    found = jackknife.leave_out(vectors.repeat(1, 20), np.arange(100), ("delta",))["delta"]
    fixed = views.LeftOut(values=found.values, left_out=found.values.expand(20, -1), n_samples=100)
    alone = views.two_way("delta", fixed, np.arange(1200))
    grouped = views.two_way("delta", fixed, np.tile(np.arange(60), 20))
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize("view", ["layer", "example"])
def test_scan_takes_the_view(view: View) -> None:
    """scan scores under the view asked for, with kinds filtered, and the report does not speak of units."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64))
    run = gaussprobe.scan(model, [torch.randn(128, 16)], view=view, kind="affine")
    assert run.metadata.view == view
    assert [score.site for score in run.scores] == ["0", "2"]
    assert all(test.pvalue is None for score in run.scores for test in score.tests.values())
    page = html.render(run)
    for phrase in ("worst unit", "median unit", "over units", "samples per unit", "Simes"):
        assert phrase not in page
    assert ("worst example" in page) == (view == "example")


def test_init_of_one_network_is_refused_plainly() -> None:
    """View `init` belongs to no single model: the refusal says why and what to call."""
    with pytest.raises(UnsupportedError, match=r"one initialization.*gp\.signal\.ensemble\(build, x\)"):
        gaussprobe.scan(nn.Linear(2, 2), [torch.randn(16, 2)], view="init")


def test_init_scores_as_unit_and_speaks_of_initializations() -> None:
    """The numbers of view `init` are those of `unit`; only the notes call rows by what they are."""
    few = samples_of(torch.randn(8, 4))
    one, other = views.score(few, view="init").score, views.score(few, view="unit").score
    assert (one.delta.median, one.tests) == (other.delta.median, other.tests)
    assert one.notes == ("8 initializations give no interval; at least 9 are needed",)
    assert other.notes == ("8 examples give no interval; at least 9 are needed",)


def test_another_view_is_refused() -> None:
    """score names the views it knows."""
    with pytest.raises(ValueError, match="view must be unit, layer, example or init; got 'pixel'"):
        views.score(samples_of(torch.randn(20, 4)), view="pixel")  # type: ignore[arg-type]

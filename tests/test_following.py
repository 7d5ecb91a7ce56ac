"""All sites of a step, measured together."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

from gaussprobe import scores, views
from gaussprobe.following import PARTS, Followed, follow
from gaussprobe.records import LEVELS
from gaussprobe.stats import l_moments
from gaussprobe.types import NonFinite, Samples, Sampling, Site, Summary

NAN = math.nan


def samples(
    values: torch.Tensor, name: str = "s", *, blocks: int = 1, nonfinite: int = 0, independent: bool = True
) -> Samples:
    """Samples of a site, `(n, C)`."""
    rows = len(values) // blocks
    return Samples(
        site=Site(path=name, kinds=("affine",)),
        step=30,
        values=values,
        examples=np.tile(np.arange(rows), blocks),
        n_seen=len(values),
        sampling=Sampling(
            n_examples=rows,
            positions_available=blocks,
            positions_per_example=blocks,
            num_features=values.shape[1],
        ),
        nonfinite=NonFinite(nan=nonfinite, total=values.numel(), units=nonfinite),
        independent=independent and blocks == 1,
    )


def agree(ours: Any, theirs: Any) -> None:
    """Two records hold the same numbers, to rounding; negentropy has no interval in a record."""
    for field in dataclasses.fields(theirs):
        a, b = getattr(ours, field.name), getattr(theirs, field.name)
        if isinstance(b, Summary):
            agree(a, dataclasses.replace(b, low=NAN, high=NAN) if field.name == "negentropy" else b)
        elif isinstance(b, float):
            assert a == pytest.approx(b, rel=1e-9, abs=1e-12, nan_ok=True), field.name
        elif field.name == "tests":
            assert a.keys() == b.keys()
            for name in b:
                agree(a[name], b[name])
        else:
            assert a == b, field.name


def mixed(n: int, blocks: int = 1) -> list[Samples]:
    """Layers of several laws and widths; a constant unit, a constant layer, one with NaN."""
    normal = torch.randn(n, 12)
    normal[:, 3] = 2.0
    return [
        samples(normal, "normal", blocks=blocks),
        samples(torch.randn(n, 5).exp(), "skewed", blocks=blocks),
        samples(torch.rand(n, 30), "uniform", blocks=blocks),
        samples(torch.zeros(n, 4), "constant", blocks=blocks),
        samples(torch.randn(n, 4), "broken", blocks=blocks, nonfinite=1),
        samples(torch.randn(n, 7).relu(), "atoms", blocks=blocks),
        samples(torch.randn(n // 2, 7), "half"),
    ]


@pytest.mark.parametrize(("n", "blocks"), [(256, 1), (256, 4), (40, 1), (600, 1)])
def test_scores_are_those_of_each_site_by_itself(n: int, blocks: int) -> None:
    """Side by side, every number and note of a score is the one `scores.score` gives."""
    layers = mixed(n, blocks)
    for one, found in zip(layers, follow(layers), strict=True):
        agree(found.score, scores.score(one).score)


@pytest.mark.parametrize("view", ["layer", "example"])
def test_other_views_score_as_they_do_by_themselves(view: Any) -> None:
    """The score is the view's; moments stay those of units."""
    layers = mixed(128)
    for one, found in zip(layers, follow(layers, view=view), strict=True):
        assert repr(found.score) == repr(views.score(one, view=view).score)
    assert follow(layers, view=view)[1].record.l_skewness > 0.3


def test_wide_layers_have_an_interval_from_some_of_their_units() -> None:
    """The interval of 200 units holds the median, and is about as wide as that of all of them."""
    wide = samples(torch.randn(256, 200) + 0.3 * torch.randn(256, 200) ** 2)
    delta = follow([wide])[0].score.delta
    assert delta.low < delta.median < delta.high
    full = scores.score(wide).score.delta
    assert 0.5 < (delta.high - delta.low) / (full.high - full.low) < 2


def test_moments_are_medians_of_the_units() -> None:
    """Mean, sd and L-moments against numpy and gaussprobe's own functions, unit by unit."""
    x = torch.randn(300, 9, dtype=torch.float64) * torch.arange(1, 10) + 5
    record = follow([samples(x)])[0].record
    values = x.numpy()
    assert record.mean == pytest.approx(np.median(values.mean(0)))
    assert record.sd == pytest.approx(np.median(values.std(0)))
    assert record.log_sd == pytest.approx(np.median(np.log(values.std(0))))
    assert record.relative_mean == pytest.approx(np.median(values.mean(0) / values.std(0)))
    shape = l_moments(x)
    assert record.l_scale == pytest.approx(float(np.median(shape.l2)))
    assert record.l_skewness == pytest.approx(float(np.median(shape.tau3)))
    assert record.l_kurtosis == pytest.approx(float(np.median(shape.tau4)))


def test_quantiles_are_those_of_a_standardised_unit() -> None:
    """Median over units of the standardised quantiles: close to the normal's for normal units."""
    record = follow([samples(torch.randn(2_000, 64) * 7 + 3)])[0].record
    expected = scipy.stats.norm.ppf(LEVELS)
    assert np.abs(np.array(record.quantiles) - expected)[3:-3].max() < 0.06
    assert np.all(np.diff(record.quantiles) > 0)


def spread(make: Any, name: str, runs: int = 400) -> tuple[float, float]:
    """Standard deviation of a layer's median over runs, and the root mean square of its standard errors."""
    found = [follow([samples(make())], tests=(), intervals=False)[0] for _ in range(runs)]
    values = [f.score.delta.median if name == "delta" else getattr(f.record, name) for f in found]
    errors = np.array([f.record.errors[name] for f in found])
    return float(np.std(values)), float(np.sqrt((errors**2).mean()))


@pytest.mark.parametrize("name", ["l_skewness", "l_kurtosis", "log_sd", "relative_mean"])
def test_standard_errors_are_those_over_examples(name: str) -> None:
    """They match the scatter over runs, also where all units are alike and share their examples."""
    for common in (0.0, 0.95):

        def make(common: float = common) -> torch.Tensor:
            shared = torch.randn(256, 1) * math.sqrt(common)
            return shared + torch.randn(256, 10) * math.sqrt(1 - common)

        scatter, error = spread(make, name, 150)
        assert 0.75 < error / scatter < 1.4


def test_units_are_counted_for_events() -> None:
    """Constant units, and values above zero of each, as they are."""
    x = torch.randn(100, 4)
    x[:, 1], x[:, 2] = -1.0, -x[:, 2].abs()
    found = follow([samples(x)])[0]
    assert found.units is not None
    assert found.units.constant.tolist() == [False, True, False, False]
    assert found.units.positive.tolist() == (x > 0).sum(0).tolist()
    assert (found.record.constant_units, found.record.silent_units) == (1, 2)


def test_without_intervals_no_verdict_is_definite() -> None:
    """Effect sizes alone: no tests, no interval, no note of one missing."""
    found = follow([samples(torch.randn(256, 6))], tests=(), intervals=False)[0]
    assert found.score.verdict == "undetermined"
    assert not found.score.tests
    assert not found.score.notes
    assert math.isnan(found.score.delta.low)
    assert math.isfinite(found.score.delta.median)


def test_what_cannot_be_measured_says_why() -> None:
    """Too few examples, NaN and constant layers keep their place, with numbers that are NaN."""
    layers = [samples(torch.randn(5, 3)), *mixed(64)]
    found: list[Followed] = follow(layers)
    assert [f.score.site for f in found] == [one.site.name for one in layers]
    assert "at least 8" in found[0].score.notes[0]
    assert math.isnan(found[0].record.sd)
    assert found[5].score.departure == "non-finite"
    assert found[4].score.departure == "constant"
    assert found[4].record.constant_units == 4


def test_parts_need_enough_examples() -> None:
    """Below 8 parts of 8 examples there are no standard errors, rather than wild ones."""
    assert not follow([samples(torch.randn(8 * PARTS - 1, 3))])[0].record.errors
    assert follow([samples(torch.randn(8 * PARTS, 3))])[0].record.errors

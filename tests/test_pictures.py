"""Histograms and Q-Q points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from gaussprobe import pictures
from gaussprobe.stats.ordered import order


@pytest.mark.parametrize("law", ["norm", "t", "uniform", "expon"])
@pytest.mark.parametrize("n", [8, 50, 2048])
def test_histogram_counts_every_sample_once(law: str, n: int) -> None:
    """Counts in the bins, below and above add up to n, for long tails too."""
    draw = {"norm": stats.norm, "t": stats.t(1.5), "uniform": stats.uniform, "expon": stats.expon}[law]
    x = torch.from_numpy(draw.rvs(size=(n, 1), random_state=1))
    z = order(x).z[0].numpy()
    counts, edges, below, above = pictures.histogram(z)
    assert counts.sum() + below + above == n
    assert len(edges) == len(counts) + 1 <= 41
    assert np.all(np.diff(edges) > 0)
    assert below + above <= 0.05 * n


def test_qq_points_are_order_statistics_at_blom_scores() -> None:
    """Each drawn point is an order statistic at Blom's score of its rank, the extremes included."""
    z = order(torch.randn(2048, 1)).z[0].numpy()
    scores, points = pictures.qq_points(z)
    assert len(points) <= 81
    assert points[0] == z[0]
    assert points[-1] == z[-1]
    ranks = np.searchsorted(z, points) + 1
    assert scores == pytest.approx(stats.norm.ppf((ranks - 0.375) / 2048.25))


def test_pictures_are_in_the_units_of_the_data() -> None:
    """Edges, mean and sd (ddof=1) are those of the activation; median and worst unit are drawn."""
    x = torch.randn(500, 5) * 10 + 100
    x[:, 3] = torch.rand(500)
    sample = order(x)
    delta = torch.tensor([0.0, 0.002, 0.001, 0.5, float("nan")])
    picture = pictures.draw("s", 4, sample, delta)
    assert [(p.role, p.unit, p.delta) for p in picture.units] == [
        ("median", 2, pytest.approx(0.001)),
        ("worst", 3, 0.5),
    ]
    median = picture.units[0]
    assert median.mean == pytest.approx(float(x[:, 2].mean()), rel=1e-6)
    assert median.sd == pytest.approx(float(x[:, 2].std()), rel=1e-6)
    assert median.edges[0] == pytest.approx(float(x[:, 2].min()), rel=1e-5)
    assert picture.step == 4


def test_nothing_is_drawn_where_nothing_was_measured() -> None:
    """Without a usable unit there are no pictures, and one usable unit is drawn once."""
    sample = order(torch.randn(50, 2))
    nan = float("nan")
    assert pictures.draw("s", 0, sample, torch.tensor([nan, nan])).units == ()
    assert [p.role for p in pictures.draw("s", 0, sample, torch.tensor([nan, 0.1])).units] == ["median"]

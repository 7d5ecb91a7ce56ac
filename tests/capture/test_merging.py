"""Samples of several processes, merged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gaussprobe.capture import Plan, merge
from gaussprobe.capture.accumulate import SiteAccumulator
from gaussprobe.capture.plan import Batch
from gaussprobe.types import Samples, Site


def sample(x: torch.Tensor, plan: Plan, *, cuts: int = 1) -> Samples:
    """What one process samples of `(examples, units, ...)`, in so many batches."""
    site, first = SiteAccumulator(site=Site(path="s"), plan=plan), 0
    for part in x.chunk(cuts):
        site.update(part, 1, Batch(first=first, n_examples=len(part)))
        first += len(part)
    found = site.compute()
    assert found is not None
    return found


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize(("n", "max_samples"), [(600, 256), (600, 4096), (240, 128), (48, 256)])
@pytest.mark.parametrize("draw", [0, 7])
def test_parts_give_what_the_whole_gives(ranks: int, n: int, max_samples: int, draw: int) -> None:
    """Every rank-th example on each rank: rows, positions and counts are those of one process."""
    x = torch.randn(n, 5, 4, 3)
    whole = sample(x, Plan(max_samples=max_samples, draw=draw), cuts=3)
    parts = [
        sample(x[rank::ranks], Plan(max_samples=max_samples, draw=draw, rank=rank, ranks=ranks), cuts=2)
        for rank in range(ranks)
    ]
    merged = merge(parts, Plan(max_samples=max_samples, draw=draw, ranks=ranks))
    assert torch.equal(merged.values, whole.values)
    assert np.array_equal(merged.examples, whole.examples)
    assert (merged.n_seen, merged.sampling, merged.nonfinite) == (
        whole.n_seen,
        whole.sampling,
        whole.nonfinite,
    )
    assert (merged.independent, merged.grouped) == (whole.independent, whole.grouped)


def test_parts_of_unequal_size_are_merged() -> None:
    """A rank with a short last batch: all its rows are there, and none is counted twice."""
    x = torch.randn(90, 3)
    parts = [
        sample(x[:60], Plan(ranks=2, rank=0)),
        sample(x[60:], Plan(ranks=2, rank=1)),
    ]
    merged = merge(parts, Plan(ranks=2))
    assert merged.n_samples == merged.n_seen == 90
    assert len(set(merged.examples.tolist())) == 90
    assert torch.equal(merged.values.sort(0).values, x.sort(0).values)


def test_non_finite_values_of_all_ranks_are_counted() -> None:
    """NaN on one rank and infinity on the other are both reported."""
    x = torch.randn(60, 3)
    x[0, 0], x[1, 2] = torch.nan, torch.inf
    parts = [sample(x[rank::2], Plan(ranks=2, rank=rank)) for rank in range(2)]
    merged = merge(parts, Plan(ranks=2))
    assert (merged.nonfinite.nan, merged.nonfinite.inf, merged.nonfinite.total) == (1, 1, 180)


def test_a_part_of_another_width_is_left_out_and_said() -> None:
    """Ranks whose layers differ cannot be one sample."""
    parts = [sample(torch.randn(30, 3), Plan(ranks=2)), sample(torch.randn(30, 4), Plan(ranks=2, rank=1))]
    merged = merge(parts, Plan(ranks=2))
    assert merged.values.shape == (30, 3)
    assert "differs between processes" in merged.sampling.caveats[-1]


def test_draws_have_rows_and_positions_of_their_own_and_the_same_units() -> None:
    """Two draws with one seed keep different rows of the same units."""
    x = torch.arange(400 * 50 * 6, dtype=torch.float32).reshape(400, 50, 6)
    first, again, other = (sample(x, Plan(max_samples=64, max_units=8, draw=d)) for d in (0, 0, 1))
    assert torch.equal(first.values, again.values)
    assert first.sampling.units == other.sampling.units
    assert set(first.examples.tolist()) != set(other.examples.tolist())

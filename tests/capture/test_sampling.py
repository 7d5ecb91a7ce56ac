"""Hashed keys and positions, and the reservoir of rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gaussprobe.capture import sampling
from gaussprobe.capture.accumulate import SiteAccumulator
from gaussprobe.capture.plan import Batch, Plan
from gaussprobe.types import Site


def test_hashed_words_are_uniform() -> None:
    """Keys of consecutive examples pass a Kolmogorov-Smirnov test against the uniform law for ten seeds."""
    pvalues = [
        stats.kstest(sampling.row_keys(seed, np.arange(20_000)) / 2.0**64, "uniform").pvalue
        for seed in range(10)
    ]
    assert min(pvalues) > 0.001


@given(
    grid=st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
    count=st.integers(1, 8),
    seed=st.integers(0, 2**40),
)
@settings(deadline=None)
def test_positions_of_an_example_never_repeat(grid: tuple[int, ...], count: int, seed: int) -> None:
    """The positions drawn for one example are distinct and inside the grid."""
    count = min(count, math.prod(grid))
    where = sampling.positions(seed, np.arange(40), grid, count)
    flat = np.ravel_multi_index(where, grid)
    assert all(len(set(row)) == count for row in flat.tolist())


def test_positions_of_many_examples_are_those_of_few() -> None:
    """The positions of 20,000 examples at once are those of 1,000 at a time, and uniform to the last."""
    examples = np.arange(20_000)
    at_once = sampling.positions(1, examples, (14, 14), 1)
    parts = [sampling.positions(1, part, (14, 14), 1) for part in np.split(examples, 20)]
    for dim in (0, 1):
        assert np.array_equal(at_once[dim], np.concatenate([part[dim] for part in parts]))
    flat = np.ravel_multi_index(at_once, (14, 14))[10_000:, 0]
    assert stats.chisquare(np.bincount(flat, minlength=196)).pvalue > 0.001


@pytest.mark.parametrize("rank", [0, 1, 5])
def test_each_position_is_equally_likely(rank: int) -> None:
    """Every rank of position is uniform over a 7 x 11 grid (chi-squared test, level .001)."""
    where = sampling.positions(3, np.arange(77_000), (7, 11), 6)
    flat = np.ravel_multi_index(where, (7, 11))[:, rank]
    assert stats.chisquare(np.bincount(flat, minlength=77)).pvalue > 0.001


def test_two_positions_of_an_example_are_no_fixed_stride_apart() -> None:
    """The distance between the first two positions takes most of the possible values."""
    rows, columns = sampling.positions(0, np.arange(5_000), (14, 14), 2)
    flat = np.ravel_multi_index((rows, columns), (14, 14))
    distances = (flat[:, 1] - flat[:, 0]) % 196
    assert len(np.unique(distances)) > 60  # 84 strides are coprime to 196


def accumulate(x: torch.Tensor, cuts: list[int], unit_dim: int = 1, **plan: int) -> SiteAccumulator:
    site = SiteAccumulator(site=Site(path="s"), plan=Plan(**plan))
    first = 0
    for size in cuts:
        site.update(x[first : first + size], unit_dim, Batch(first=first, n_examples=size))
        first += size
    return site


def test_sample_does_not_depend_on_batching() -> None:
    """The same rows are kept however 900 examples are cut into batches."""
    x = torch.randn(900, 4, 5, 5)
    results = [
        accumulate(x, cuts, max_samples=300).compute()
        for cuts in ([900], [300, 300, 300], [1, 250, 400, 249])
    ]
    ordered = []
    for samples in results:
        assert samples is not None
        by_example = np.argsort(samples.examples)
        ordered.append((samples.examples[by_example], samples.values[torch.from_numpy(by_example)]))
    for examples, values in ordered[1:]:
        assert np.array_equal(examples, ordered[0][0])
        assert torch.equal(values, ordered[0][1])


def test_reservoir_keeps_each_example_equally_often() -> None:
    """Over 400 seeds each of 60 examples is among the 20 kept a third of the time (chi-squared)."""
    counts = np.zeros(60)
    for seed in range(400):
        samples = accumulate(torch.randn(60, 2), [25, 35], max_samples=20, seed=seed).compute()
        assert samples is not None
        assert samples.n_samples == 20
        counts[samples.examples] += 1
    # Sampling without replacement: the variance of each count is 400 * (1/3)(2/3), of their sum 0.
    chi2 = ((counts - 400 / 3) ** 2 / (400 * 2 / 9)).sum() * 59 / 60
    assert stats.chi2.sf(chi2, 59) > 0.001


def test_one_position_per_example_where_examples_suffice() -> None:
    """From 200 examples on, each row is another example."""
    samples = accumulate(torch.randn(220, 3, 6, 6), [100, 120]).compute()
    assert samples is not None
    assert samples.independent
    assert samples.sampling.positions_per_example == 1
    assert sorted(samples.examples) == list(range(220))
    assert samples.n_seen == 220 * 36


def test_few_examples_give_several_positions_without_independence() -> None:
    """With 30 examples, 8 distinct positions of each are taken and p-values are withheld."""
    x = torch.arange(30 * 2 * 5 * 5, dtype=torch.float32).reshape(30, 2, 5, 5)
    samples = accumulate(x, [10, 20]).compute()
    assert samples is not None
    assert not samples.independent
    assert samples.sampling.positions_per_example == 8
    assert samples.values.shape == (240, 2)
    assert len(samples.values[:, 0].unique()) == 240
    owner = (samples.values[:, 0] // 50).long().numpy()
    assert np.array_equal(owner, samples.examples)
    assert np.array_equal(owner, np.tile(np.arange(30), 8))
    assert "dependent" in samples.sampling.caveats[0]


def test_examples_of_different_lengths_give_as_many_positions_as_the_shortest() -> None:
    """Batches of sequences of 12, 5 and 1 tokens: the fewest positions count for all, with no crash."""
    for lengths, expected in (((12, 5), 5), ((12, 1), 1), ((1, 12), 1)):
        site = SiteAccumulator(site=Site(path="s"), plan=Plan())
        for k, length in enumerate(lengths):
            site.update(torch.randn(20, length, 3), 2, Batch(first=20 * k, n_examples=20))
        samples = site.compute()
        assert samples is not None
        assert samples.sampling.positions_per_example == expected
        assert samples.values.shape == (40 * expected, 3)
        assert samples.independent is (expected == 1)


def test_rows_of_unknown_origin_are_not_taken_for_examples() -> None:
    """A first dimension that is no multiple of the batch's: no p-value, no grouping, and the reason."""
    site = SiteAccumulator(site=Site(path="s"), plan=Plan())
    site.update(torch.randn(371, 3), 1, Batch(first=0, n_examples=10))
    samples = site.compute()
    assert samples is not None
    assert not samples.independent
    assert not samples.grouped
    assert "unknown" in samples.sampling.caveats[0]


def test_example_dimension_of_the_first_batch_stays() -> None:
    """(time, batch, units) is read so also in a last batch that happens to be as large as time."""
    x = torch.randn(6, 10, 2)
    site = SiteAccumulator(site=Site(path="s"), plan=Plan())
    site.update(x, 2, Batch(first=0, n_examples=10))
    last = torch.arange(6.0)[None, :, None].expand(6, 6, 2)
    site.update(last, 2, Batch(first=10, n_examples=6))
    samples = site.compute()
    assert samples is not None
    rank0 = samples.values[: samples.sampling.n_examples, 0]
    assert rank0[10:].tolist() == [0, 1, 2, 3, 4, 5]


def test_wide_sites_keep_a_random_subset_of_units() -> None:
    """Ten of 100 units are kept, the same for every batch, and named."""
    x = torch.arange(100.0).repeat(40, 1)
    samples = accumulate(x, [20, 20], max_units=10).compute()
    assert samples is not None
    units = samples.sampling.units
    assert units is not None
    assert torch.equal(samples.values[0], torch.tensor(units, dtype=torch.float32))
    assert samples.sampling.num_features == 100
    assert any("10 of 100 units" in c for c in samples.sampling.caveats)


def test_a_change_of_width_is_reported() -> None:
    """A site whose number of units changes between batches is not scored, with the reason."""
    site = SiteAccumulator(site=Site(path="s"), plan=Plan())
    site.update(torch.randn(5, 3), 1, Batch(first=0, n_examples=5))
    site.update(torch.randn(5, 4), 1, Batch(first=5, n_examples=5))
    assert site.compute() is None
    assert site.failure == "its number of units changed from 3 to 4 between batches"


def test_nonfinite_units_are_the_union_over_batches() -> None:
    """Two units that fail in different batches count as two."""
    x = torch.zeros(20, 4)
    x[1, 0], x[15, 3] = float("nan"), float("inf")
    samples = accumulate(x, [10, 10]).compute()
    assert samples is not None
    assert (samples.nonfinite.nan, samples.nonfinite.inf, samples.nonfinite.units) == (1, 1, 2)

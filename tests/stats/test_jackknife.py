"""Intervals of a layer's median."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

import gaussprobe.stats as gs
from gaussprobe.stats import effects, ordered, tables, workers
from gaussprobe.stats.jackknife import LeftOut, assign_groups, leave_out, median_interval, median_intervals


def test_values_and_median() -> None:
    """The values are the public statistics and the median is theirs, within its interval."""
    x = torch.from_numpy(np.random.default_rng(0).standard_t(5, (600, 12)))
    found = median_intervals(x, np.arange(600))
    for name in ("delta", "negentropy"):
        expected = getattr(gs, name)(x)
        torch.testing.assert_close(found[name].values, expected, rtol=1e-9, atol=1e-12)
        assert found[name].median == pytest.approx(np.median(expected.numpy()), rel=1e-9)
        assert found[name].low < found[name].median < found[name].high


def test_the_formula_by_hand() -> None:
    """The interval is that of leaving out each group with a fresh sort, on a logarithmic scale."""
    x = torch.from_numpy(np.random.default_rng(1).exponential(size=(300, 5)))
    examples = np.repeat(np.arange(100), 3)
    group, n_groups, n_examples = assign_groups(examples, 20)
    assert (n_groups, n_examples) == (20, 100)
    medians = np.array(
        [
            float(np.median(effects.corrected_delta(ordered.order(x[torch.from_numpy(group != g)])).numpy()))
            for g in range(20)
        ]
    )
    deviations = medians - medians.mean()
    se = math.sqrt(19 / 20 * (deviations**2).sum())
    kurtosis = (deviations**4).mean() / (deviations**2).mean() ** 2
    df = 2 * 20 / (kurtosis - 1)
    assert 2 < df < 19
    found = median_intervals(x, examples, ["delta"])["delta"]
    u = found.median + 3 * tables.null_sd("delta", 300)
    reach = scipy.stats.t.ppf(0.975, df) * se / u
    assert found.high - found.median == pytest.approx(u * (math.exp(reach) - 1), rel=1e-6)
    assert found.median - found.low == pytest.approx(u * (1 - math.exp(-reach)), rel=1e-6)


def test_light_tailed_medians_have_19_degrees_of_freedom() -> None:
    """Where no group stands out q is that of t(19), 2.093 by any table."""
    medians = np.tile([0.01, 0.02], 10)
    values = torch.tensor([0.015], dtype=torch.float64)
    found = LeftOut(values=values, left_out=torch.from_numpy(medians)[:, None], n_samples=1000)
    interval = median_interval("delta", found)
    u = 0.015 + 3 * tables.null_sd("delta", 1000)
    se = math.sqrt(19 / 20 * 20 * 0.005**2)
    assert interval.high == pytest.approx(0.015 + u * math.expm1(2.093024 * se / u), rel=1e-6)


def test_layers_of_what_was_left_out_once() -> None:
    """Layers put together from units that were left out together are those of the units alone."""
    x = torch.from_numpy(np.random.default_rng(7).gamma(2.0, size=(120, 9)))
    found = leave_out(x, np.arange(120))
    for name, parts in found.items():
        for units in (slice(2, 5), torch.tensor([8, 0, 3])):
            expected = median_intervals(x[:, units], np.arange(120), [name])[name]
            got = median_interval(name, parts.of(units))
            assert (got.median, got.low, got.high) == pytest.approx(
                (expected.median, expected.low, expected.high), rel=1e-9
            )


def layer(rng: np.random.Generator, n: int, units: int, shared: float) -> torch.Tensor:
    """Units of one logistic-normal law that share part of their variance through the examples."""
    common = rng.normal(size=(n, 1))
    own = rng.normal(size=(n, units))
    y = math.sqrt(shared) * common + math.sqrt(1 - shared) * own
    return torch.from_numpy(np.sinh(0.5 * y))


@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_coverage(shared: float) -> None:
    """95 % intervals cover the large-sample median in 88 to 99 % of 200 layers, also when units correlate."""
    rng = np.random.default_rng(2)
    truth = float(effects.corrected_delta(ordered.order(layer(rng, 1_000_000, 1, 0.0))).median())
    covered = 0
    for _ in range(200):
        x = layer(rng, 600, 16, shared)
        interval = median_intervals(x, np.arange(600), ["delta"])["delta"]
        covered += interval.low <= truth <= interval.high
    assert 176 <= covered <= 199


def test_coverage_of_one_unit_under_heavy_tails() -> None:
    """Layers of one t(5) unit at n = 2,000: the law's own delta is covered in 82 to 95 % of 400.

    Measured .88, with a standard error of .016; limits that are symmetric in delta cover .81.
    """
    x = torch.from_numpy(np.random.default_rng(6).standard_t(5, (2_000, 400)))
    found = leave_out(x, np.arange(2_000), ["delta"])["delta"]
    intervals = [median_interval("delta", found.of(slice(i, i + 1))) for i in range(400)]
    # 1 - R^2 of t(5), integrated: docs/intervals.md.
    covered = sum(one.low <= 0.033019 <= one.high for one in intervals)
    assert 0.82 * 400 <= covered <= 0.95 * 400


def test_rows_of_one_example_stay_together() -> None:
    """Ten copies of each example do not narrow the interval as ten times the examples would."""
    rng = np.random.default_rng(3)
    x = torch.from_numpy(rng.exponential(size=(200, 8)))
    copies = x.repeat_interleave(10, dim=0) + 1e-6 * torch.randn(2000, 8)
    once = median_intervals(x, np.arange(200), ["delta"])["delta"]
    grouped = median_intervals(copies, np.repeat(np.arange(200), 10), ["delta"])["delta"]
    naive = median_intervals(copies, np.arange(2000), ["delta"])["delta"]
    width = once.high - once.low
    assert grouped.high - grouped.low > 0.7 * width
    assert naive.high - naive.low < 0.6 * width


def test_groups_are_balanced_and_deterministic() -> None:
    """Groups differ by at most one example, whatever the labels, and come out the same each time."""
    labels = np.random.default_rng(4).permutation(np.repeat(np.arange(0, 1030, 10), 2))
    group, n_groups, n_examples = assign_groups(labels, 20)
    again, *_ = assign_groups(labels, 20)
    np.testing.assert_array_equal(group, again)
    assert (n_groups, n_examples) == (20, 103)
    sizes = [len(set(labels[group == g])) for g in range(20)]
    assert max(sizes) - min(sizes) <= 1
    for example in set(labels):
        assert len(set(group[labels == example])) == 1


def test_few_examples() -> None:
    """With 8 examples there is a median and no interval; with 9 there is one."""
    x = torch.randn(160, 3)
    for count, known in ((8, False), (9, True)):
        found = median_intervals(x, np.arange(160) % count)["delta"]
        assert math.isfinite(found.median)
        assert math.isfinite(found.low) is known
        assert math.isfinite(found.high) is known


def test_unusable_units_are_left_out() -> None:
    """Constant and non-finite units have no value and change nothing else."""
    x = torch.randn(200, 6)
    clean = median_intervals(x, np.arange(200))
    spoilt = torch.cat([x, torch.ones(200, 1), torch.full((200, 1), torch.nan)], dim=1)
    found = median_intervals(spoilt, np.arange(200))
    for name in clean:
        assert found[name].values.isnan().tolist() == [False] * 6 + [True] * 2
        assert found[name].median == pytest.approx(clean[name].median, rel=1e-12)
        assert found[name].low == pytest.approx(clean[name].low, rel=1e-9)
    nothing = median_intervals(torch.ones(200, 2), np.arange(200))["delta"]
    assert all(math.isnan(value) for value in (nothing.median, nothing.low, nothing.high))


def test_infinite_median_has_no_interval() -> None:
    """Where most units have atoms the median negentropy is +inf and its interval NaN; delta keeps its own."""
    x = torch.randn(500, 5).clamp(min=0)
    found = median_intervals(x, np.arange(500))
    assert found["negentropy"].median == math.inf
    assert math.isnan(found["negentropy"].low)
    assert math.isfinite(found["delta"].low)


def test_infinite_where_a_group_is_left_out() -> None:
    """A median that is finite, but not without some of the examples, has no interval; nothing is warned."""
    values = torch.tensor([0.1, 0.2, math.inf], dtype=torch.float64)
    left_out = values.repeat(20, 1)
    assert math.isfinite(
        median_interval("negentropy", LeftOut(values=values, left_out=left_out, n_samples=300)).low
    )
    left_out[3, 1] = math.inf
    found = median_interval("negentropy", LeftOut(values=values, left_out=left_out, n_samples=300))
    assert found.median == 0.2
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worked out one unit at a time, the interval is the same."""
    x = torch.randn(100, 7)
    whole = median_intervals(x, np.arange(100))["negentropy"]
    monkeypatch.setattr(workers, "CHUNK_CPU", 1)
    pieces = median_intervals(x, np.arange(100))["negentropy"]
    assert pieces.low == pytest.approx(whole.low, rel=1e-9)
    torch.testing.assert_close(pieces.values, whole.values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"statistics": ["skewness"]}, "statistics must be among delta, negentropy; got 'skewness'"),
        ({"x": torch.zeros(10)}, r"x must be a tensor of shape \(n, C\), not empty; got \(10,\)"),
        ({"x": np.zeros((10, 2))}, r"x must be a tensor of shape \(n, C\), not empty; got ndarray"),
        ({"examples": np.arange(9)}, r"examples must have shape \(10,\), one per row of x; got \(9,\)"),
        ({"groups": 1}, "groups must be at least 2; got 1"),
        ({"level": 1.0}, "level must lie between 0 and 1; got 1.0"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    """ValueError names the argument, what it must be, and what came."""
    arguments: dict[str, object] = {"x": torch.zeros(10, 2), "examples": np.arange(10), **change}
    with pytest.raises(ValueError, match=message):
        median_intervals(**arguments)  # type: ignore[arg-type]


def test_replicates_are_averaged() -> None:
    """With two blocks of columns a unit has the mean of its two estimates; equal blocks change nothing."""
    x, y = torch.randn(300, 5), torch.randn(300, 5)
    examples = np.arange(300)
    one, other = (median_intervals(part, examples)["delta"] for part in (x, y))
    both = median_intervals(torch.cat([x, y], 1), examples, replicates=2)["delta"]
    assert torch.allclose(both.values, (one.values + other.values) / 2)
    assert median_intervals(torch.cat([x, x], 1), examples, replicates=2)["delta"].low == pytest.approx(
        one.low
    )
    with pytest.raises(ValueError, match="replicates must divide"):
        median_intervals(x, examples, replicates=2)

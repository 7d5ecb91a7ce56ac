"""The shipped tables and how they are read."""

from __future__ import annotations

import itertools
import math
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.special import chdtrc, ndtri

from gaussprobe.stats import build_tables, tables

both = pytest.mark.parametrize("name", get_args(tables.Tested))
four = pytest.mark.parametrize("name", get_args(tables.Effect))


def test_the_file_says_where_it_came_from() -> None:
    """Seed, versions and replicates are inside the file, and they are those of the script beside it."""
    content = tables.load()
    assert content["seed"] == build_tables.SEED
    assert set(content["versions"]) == {"python", "numpy", "scipy"}
    for table in (*content["quantiles"].values(), content["effects"], content["shapiro_wilk"]):
        assert len(table["replicates"]) == len(table["n"])
    assert content["effects"]["n"] == list(build_tables.SORTED_GRID)


@both
@pytest.mark.parametrize("n", [8, 13, 100, 3333, 10_000, 50_000, 10_000_000])
def test_pvalue_falls_with_the_statistic(name: tables.Tested, n: int) -> None:
    """From 1 at a statistic of 0 the p-value falls strictly, through the table and far beyond it."""
    scaled = np.linspace(0, 60 if name == "dagostino_pearson" else 5, 4000)
    statistic = torch.from_numpy(scaled / tables.scaling(name, n))
    p = tables.pvalue(name, statistic, n)
    assert p[0] == 1
    assert (p.diff() < 0).all()
    assert 0 < p[-1] < 1e-6


@both
@pytest.mark.parametrize("n", [8, 20, 777, 10_240, 40_000])
def test_quantiles_have_their_own_level(name: tables.Tested, n: int) -> None:
    """At a tabulated quantile the p-value is that quantile's level."""
    levels, scaled = tables.quantiles(name, n)
    p = tables.pvalue(name, torch.from_numpy(scaled / tables.scaling(name, n)), n)
    np.testing.assert_allclose(p, levels, rtol=1e-9)


def test_k2_tends_to_chi_squared() -> None:
    """K2's p-value is continuous where the table ends and chi-squared's in the limit."""
    k2 = torch.linspace(0.1, 18, 100, dtype=torch.float64)
    last = tables.load()["quantiles"]["dagostino_pearson"]["n"][-1]
    np.testing.assert_allclose(
        tables.pvalue("dagostino_pearson", k2, last),
        tables.pvalue("dagostino_pearson", k2, last + 1),
        rtol=1e-3,
    )
    np.testing.assert_allclose(
        tables.pvalue("dagostino_pearson", k2, 10**9), chdtrc(2, k2.numpy()), rtol=1e-2
    )


def test_lilliefors_critical_values() -> None:
    """To n = 100 the scaled 5 % and 1 % points are within 1 % of Stephens' (1974) .895 and 1.035."""
    for n in (20, 50, 100):
        levels, scaled = tables.quantiles("lilliefors", n)
        assert scaled[levels == 0.05] == pytest.approx(0.895, rel=0.01)
        assert scaled[levels == 0.01] == pytest.approx(1.035, rel=0.01)


@both
def test_nan_and_infinity(name: tables.Tested) -> None:
    """NaN stays NaN, an infinite statistic has p = 0, and too small an n gives NaN."""
    p = tables.pvalue(name, torch.tensor([math.nan, math.inf, 0.3], dtype=torch.float64), 50)
    assert p.isnan().tolist() == [True, False, False]
    assert p[1] == 0
    assert tables.pvalue(name, torch.ones(2), 7).isnan().all()


@four
def test_null_moments_fall_smoothly(name: tables.Effect) -> None:
    """Mean and sd under the null shrink with n, between the tabulated n and beyond the last."""
    grid = [8, 9, 15, 25, 37, 70, 140, 300, 900, 4000, 30_000, 200_000, 10**6, 10**7]
    sign = -1 if name == "negentropy" else 1
    for values in ([sign * tables.null_mean(name, n) for n in grid], [tables.null_sd(name, n) for n in grid]):
        assert all(a > b > 0 for a, b in itertools.pairwise(values))
    assert math.isnan(tables.null_mean(name, 7))


def test_building_is_deterministic() -> None:
    """The same seed gives the same simulation, another seed another."""
    one, two, other = (
        build_tables.simulate_moments(12, 1, np.random.SeedSequence(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one[24], two[24])
    assert (one[24][:100] != other[24][:100]).all()


def test_the_table_is_what_the_script_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small run of the script agrees with the shipped table within its sampling error."""
    monkeypatch.setattr(build_tables, "SORTED_MOST", 20_000)
    result = build_tables.simulate_sorted(20, np.random.SeedSequence(5))
    for name in get_args(tables.Effect):
        mean, sd = result[name]
        assert abs(mean - tables.null_mean(name, 20)) < 4 * sd / math.sqrt(result["replicates"])
    levels, scaled = tables.quantiles("lilliefors", 20)
    middle = (levels <= 0.9) & (levels >= 0.05)
    np.testing.assert_allclose(result["quantiles"][middle], scaled[middle], rtol=0.01)


def test_smoothing_recovers_a_polynomial() -> None:
    """Noise about a smooth function of n^-1/2 is taken off: the fit is nearer the truth than the data."""
    grid = list(build_tables.SORTED_GRID[:30])
    u = np.array(grid) ** -0.5
    truth = np.stack([1 + u + u**2, 2 - u], axis=1)
    noisy = truth + 0.01 * np.random.default_rng(0).normal(size=truth.shape)
    smoothed, _ = build_tables.smooth(grid, noisy, [1000] * len(grid), 3)
    assert ((smoothed - truth) ** 2).mean() < 0.4 * ((noisy - truth) ** 2).mean()


def test_the_constants_of_w_are_what_the_script_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another seed gives upper quantiles of ln(1 - W) within .1 sd of what the shipped constants say."""
    monkeypatch.setattr(build_tables, "SHAPIRO_VALUES", 20_000_000)
    quantiles, replicates = build_tables.simulate_shapiro(5000, np.random.SeedSequence(8))
    assert replicates == 4000
    mean, log_sd = (np.polynomial.polynomial.polyval(math.log(5000), c) for c in tables.shapiro_constants())
    z = (quantiles - mean) / math.exp(log_sd)
    np.testing.assert_allclose(z[:3], -ndtri(build_tables.SHAPIRO_LEVELS[:3]), atol=0.1)


def test_fit_recovers_known_constants() -> None:
    """From exact quantiles of normal laws the fit returns the parabolas they were made from."""
    mean, log_sd = (0.3, -0.9, -0.004), (-0.6, -0.05, 0.001)
    scores = -ndtri(np.array(build_tables.SHAPIRO_LEVELS))
    polyval = np.polynomial.polynomial.polyval
    results = [
        (polyval(x, mean) + scores * np.exp(polyval(x, log_sd)), 100)
        for x in np.log(build_tables.SHAPIRO_GRID)
    ]
    fitted = build_tables.fit_shapiro(results)
    np.testing.assert_allclose(fitted["mean"], mean, rtol=1e-3)
    np.testing.assert_allclose(fitted["log_sd"], log_sd, rtol=1e-3)

"""The shipped tables and how they are read."""

from __future__ import annotations

import itertools
import math
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.special import chdtri, ndtri

from gaussprobe.stats import build_tables, fit_tables, tables
from gaussprobe.stats.battery import TESTS

NAMES = get_args(tables.Tested)
every = pytest.mark.parametrize("name", NAMES)
four = pytest.mark.parametrize("name", get_args(tables.Effect))


def statistic_at(name: tables.Tested, scaled: np.ndarray, n: int) -> torch.Tensor:
    """The statistic whose scaled value is given: the way back from `tables.scaling` and `tables.monotone`."""
    factor, shift = tables.scaling(name, n)
    value = torch.from_numpy((np.asarray(scaled) - shift) / factor)
    if name in ("shapiro_wilk", "shapiro_francia"):
        return -torch.expm1(value)
    return torch.exp(-value) if name == "vasicek" else value


def critical(name: tables.Tested, level: float, n: int) -> float:
    """The scaled statistic at a tabulated level."""
    levels, scaled = tables.quantiles(name, n)
    return float(scaled[np.isclose(levels, level)][0])


def test_the_file_says_where_it_came_from() -> None:
    """Seed, versions and replicates are inside the file, and they are those of the script beside it."""
    content = tables.load()
    assert content["seed"] == build_tables.SEED
    assert set(content["versions"]) == {"python", "numpy", "scipy", "torch"}
    assert set(content["tests"]) == set(NAMES)
    for table in (*content["tests"].values(), content["effects"]):
        assert len(table["replicates"]) == len(table["n"])
    assert content["effects"]["n"] == list(build_tables.GRID)


@every
@pytest.mark.parametrize("n", [8, 13, 100, 3333, 10_000, 50_000, 1_000_000])
def test_pvalue_falls_with_the_statistic(name: tables.Tested, n: int) -> None:
    """The p-value falls strictly from nearly 1, through the table and far beyond it, and never to 0."""
    _, scaled = tables.quantiles(name, n)
    middle = np.linspace(scaled[0], scaled[-1], 2000)
    beyond = scaled[-1] + (scaled[-1] - scaled[0]) * np.linspace(0.001, 0.5, 200)
    p = tables.pvalue(name, statistic_at(name, np.concatenate([middle, beyond]), n), n)
    assert 0.998 < p[0] <= 1
    assert (p.diff() < 0).all()
    assert 0 < p[-1] < 1e-5


@every
@pytest.mark.parametrize("n", [8, 20, 777, 10_240, 40_000])
def test_quantiles_have_their_own_level(name: tables.Tested, n: int) -> None:
    """At a quantile the p-value is that quantile's level, down to 1e-5."""
    levels, scaled = tables.quantiles(name, n)
    assert levels[-1] == 1e-5
    np.testing.assert_allclose(tables.pvalue(name, statistic_at(name, scaled, n), n), levels, rtol=2e-4)


@every
def test_pvalue_goes_on_straight_where_the_table_ends(name: tables.Tested) -> None:
    """Just past the table ln p falls about as fast as just before."""
    levels, scaled = tables.quantiles(name, 50)
    step = 0.02 * (scaled[-1] - scaled[levels == 1e-4][0])
    p = tables.pvalue(name, statistic_at(name, scaled[-1] + step * np.array([-1.0, 0.0, 1.0]), 50), 50)
    before, after = p.log().diff().tolist()
    assert after / before == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", ["jarque_bera", "dagostino_pearson"])
def test_moment_tests_tend_to_chi_squared(name: tables.Tested) -> None:
    """Quantiles of JB and K2 at 10^9 samples are within 2 % of those of chi-squared with 2 degrees."""
    levels, scaled = tables.quantiles(name, 10**9)
    some = (levels <= 0.9) & (levels >= 0.001)
    np.testing.assert_allclose(scaled[some], chdtri(2, levels[some]), rtol=0.02)


@pytest.mark.parametrize(
    ("name", "five", "one"),
    [
        ("lilliefors", 0.895, 1.035),
        ("anderson_darling", 0.752, 1.035),
        ("cramer_von_mises", 0.126, 0.179),
        ("watson", 0.117, 0.164),
    ],
)
@pytest.mark.parametrize("n", [20, 50, 100])
def test_published_points_of_the_empirical_distribution(
    name: tables.Tested, five: float, one: float, n: int
) -> None:
    """Scaled 5 % and 1 % points are within 1 % of D'Agostino & Stephens (1986), table 4.7."""
    assert critical(name, 0.05, n) == pytest.approx(five, rel=0.01)
    assert critical(name, 0.01, n) == pytest.approx(one, rel=0.01)


@pytest.mark.parametrize(("n", "five", "one"), [(10, 0.842, 0.781), (20, 0.905, 0.868)])
def test_published_points_of_w(n: int, five: float, one: float) -> None:
    """Points of W are within .005 of Shapiro & Wilk (1965), table 6, whose weights differ a little."""
    for level, published in ((0.05, five), (0.01, one)):
        scaled = np.array([critical("shapiro_wilk", level, n)])
        assert float(statistic_at("shapiro_wilk", scaled, n)) == pytest.approx(published, abs=0.005)


@pytest.mark.parametrize("n", [8, 37, 150, 1000])
def test_mean_of_the_simple_epps_pulley_statistic(n: int) -> None:
    """With mean and sd known `E T = 1 - 3^(-1/2)` at every n: the area under the p-value, within .3 %."""
    t = torch.linspace(0, 40, 400_001, dtype=torch.float64)
    area = torch.trapezoid(tables.pvalue("epps_pulley_simple", t, n), t)
    assert area.item() == pytest.approx(1 - 3**-0.5, rel=0.003)


def test_mean_of_the_epps_pulley_statistic() -> None:
    """With both estimated the mean tends to `1 - 1.5 / sqrt(3)` (Henze & Wagner 1997, theorem 2.3)."""
    t = torch.linspace(0, 20, 200_001, dtype=torch.float64)
    area = torch.trapezoid(tables.pvalue("epps_pulley", t, 10**6), t)
    assert area.item() == pytest.approx(1 - 1.5 / math.sqrt(3), rel=0.01)


@every
def test_nan_and_the_ends(name: tables.Tested) -> None:
    """NaN stays NaN, no departure at all has p = 1, an infinite one p = 0, and too small an n gives NaN."""
    ends = [0.0, math.inf]
    if name in ("shapiro_wilk", "shapiro_francia"):
        ends = [1.0, -math.inf]
    elif name == "vasicek":
        ends = [math.inf, 0.0]
    p = tables.pvalue(name, torch.tensor([math.nan, *ends], dtype=torch.float32), 50)
    assert p.dtype == torch.float64
    assert p.isnan().tolist() == [True, False, False]
    assert p[1] > 0.999
    assert p[2] == 0
    assert tables.pvalue(name, torch.ones(2), 7).isnan().all()


@every
def test_shape_and_neighbours(name: tables.Tested) -> None:
    """The p-value has the statistic's shape, each of its value alone, and leaves the statistic as it was."""
    _, scaled = tables.quantiles(name, 30)
    statistic = statistic_at(name, scaled[:32], 30).reshape(4, 8)
    before = statistic.clone()
    p = tables.pvalue(name, statistic, 30)
    assert p.shape == (4, 8)
    assert torch.equal(statistic, before)
    assert torch.equal(p[2, 3], tables.pvalue(name, statistic[2, 3], 30))


def joined(w: torch.Tensor, n: int, off: float = 0.9) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A closed form that is off in the far tail, the table's p-value, and the two joined."""
    table = tables.pvalue("shapiro_wilk", w, n)
    closed = table**off
    return closed, table, tables.joined(closed, w, n)


@pytest.mark.parametrize("n", [8, 20, 30, 40, 59])
def test_joined_pvalues_of_few_samples(n: int) -> None:
    """Below 60 the closed form stands from .05 on; p falls with W to the table's, without a jump."""
    w = torch.linspace(0.999, 0.6, 20_000, dtype=torch.float64)
    closed, table, p = joined(w, n)
    assert torch.equal(p[closed >= 0.05], closed[closed >= 0.05])
    assert (p.diff() <= 0).all()
    assert (p.log().diff()[p[1:] > 1e-6] > -0.02).all()
    few = closed <= 0.01
    if n <= 30:
        torch.testing.assert_close(p[few], table[few], rtol=1e-12, atol=0)
    else:
        assert (p[few] > table[few]).all()
        assert (p[few] < closed[few]).all()


@pytest.mark.parametrize("n", [60, 500, 2000])
def test_joined_pvalues_where_royston_stands(n: int) -> None:
    """From 60 to 2,000 samples the closed form is given back as it is."""
    w = torch.linspace(0.9, 0.9999, 200, dtype=torch.float64)
    closed, _, p = joined(w, n)
    assert torch.equal(p, closed)


def test_joined_pvalues_of_many_samples() -> None:
    """Past 2,000 samples ln p goes over to the table's, reached at 4,000, also where the closed form is 0."""
    w = torch.linspace(0.99, 0.9999, 200, dtype=torch.float64)
    for n, share in ((2001, 7.2e-4), (2828, 0.5), (4000, 1.0), (10**6, 1.0)):
        closed, table, p = joined(w, n)
        torch.testing.assert_close(p.log(), closed.log().lerp(table.log(), share), rtol=1e-3, atol=1e-9)
    assert tables.joined(torch.zeros(1, dtype=torch.float64), torch.tensor([0.999]), 5000)[0] > 0


@four
def test_null_moments_fall_smoothly(name: tables.Effect) -> None:
    """Mean and sd under the null shrink with n, between the tabulated n and beyond the last."""
    grid = [8, 9, 15, 25, 37, 70, 140, 300, 900, 4000, 30_000, 200_000, 10**6, 10**7]
    sign = -1 if name == "negentropy" else 1
    for values in ([sign * tables.null_mean(name, n) for n in grid], [tables.null_sd(name, n) for n in grid]):
        assert all(a > b > 0 for a, b in itertools.pairwise(values))
    assert math.isnan(tables.null_mean(name, 7))


def test_null_moments_of_skewness_and_kurtosis() -> None:
    """The exact moments are those of simulated normal samples, within 4 standard errors."""
    z = np.random.default_rng(3).standard_normal((40_000, 12))
    z -= z.mean(axis=1, keepdims=True)
    z /= z.std(axis=1, keepdims=True)
    found: dict[tables.Moment, np.ndarray] = {
        "skewness": (z**3).mean(axis=1),
        "excess_kurtosis": (z**4).mean(axis=1) - 3,
    }
    for name, value in found.items():
        sd = tables.null_sd(name, 12)
        assert abs(value.mean() - tables.null_mean(name, 12)) < 4 * sd / 200
        assert value.std() == pytest.approx(sd, rel=0.03)


def test_building_is_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same seed gives the same simulation, another seed another."""
    monkeypatch.setattr(build_tables, "VALUES_CHAIN", 2_000_000)
    one, two, other = (build_tables.simulate_chain(12, 1, 0, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one["24"], two["24"])
    assert (one["24"][:, :100] != other["24"][:, :100]).all()


@pytest.mark.parametrize("n", [17, 74, 600])
def test_the_tables_are_what_the_script_makes(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small run with another seed, at n between the tabulated, agrees within its sampling error.

    20,000 replicates: the rejection rates at .5, .1 and .01 within 4 binomial standard errors.
    """
    monkeypatch.setattr(build_tables, "VALUES", ((10**6, 20_000 * n, 20_000 * n),))
    monkeypatch.setattr(build_tables, "MOST_EPPS_PULLEY", 20_000)
    result = build_tables.simulate_sorted(n, seed=5)
    for name in TESTS:
        assert result[f"r:{name}"] == 20_000
        factor, shift = tables.scaling(name, n)
        scaled = result[f"q:{name}"] * factor + shift
        for level in (0.5, 0.1, 0.01):
            p = tables.pvalue(name, statistic_at(name, scaled[[fit_tables.LEVELS.index(level)]], n), n)
            assert abs(p.item() - level) < 4 * math.sqrt(level * (1 - level) / 20_000), (name, level)
    for name in get_args(tables.Effect):
        mean, sd, count = result[f"e:{name}"]
        assert abs(mean - tables.null_mean(name, n)) < 4 * sd / math.sqrt(count)


def test_upper_quantiles_of_a_known_law() -> None:
    """Of evenly spread values the quantiles are the levels' complements; too few beyond give NaN."""
    quantiles = fit_tables.upper_quantiles(((np.arange(100_000) + 0.5) / 100_000).astype(np.float32))
    levels = np.array(fit_tables.LEVELS)
    known = levels * 100_000 >= fit_tables.LEAST_KEPT
    np.testing.assert_allclose(quantiles[known], 1 - levels[known], atol=1e-6)
    assert np.isnan(quantiles[~known]).all()


def test_fit_averages_noise_out() -> None:
    """From noisy normal quantiles that drift with n the fit's are nearer the truth to 1e-5 than a point's.

    The scaled statistic is `z + n^(-1/2)`, z standard normal, sampled at each n with the binomial error of
    100,000 replicates.
    """
    name: tables.Tested = "lilliefors"
    rng = np.random.default_rng(0)
    simulated = []
    for n in build_tables.GRID:
        factor, _ = tables.scaling(name, n)
        scaled = np.exp(0.2 * (rng.standard_normal(100_000) + n**-0.5))
        simulated.append((n, 100_000, fit_tables.upper_quantiles((scaled / factor).astype(np.float32))))
    table = fit_tables.fit(name, fit_tables.points_of(name, simulated))
    levels = np.array([0.5, 0.05, 0.005])
    at_n = (table["body"] @ tables.basis("root", 100, table["degrees"][0]))[
        [fit_tables.BODY.index(level) for level in levels]
    ]
    np.testing.assert_allclose(at_n, 0.2 * (-ndtri(levels) + 0.1), atol=0.002)
    terms = tables.tail_terms(np.array([1e-4, 1e-5]), 0.005, len(table["tail"]))
    far = at_n[2] + (at_n[2] - at_n[1]) * (
        terms @ table["tail"] @ tables.basis("root", 100, table["degrees"][1])
    )
    np.testing.assert_allclose(far, 0.2 * (-ndtri([1e-4, 1e-5]) + 0.1), atol=0.01)

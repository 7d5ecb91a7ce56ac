"""What the generated pages are measured against, and how their tables are written."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from tests.calibration import intervals, verdicts
from tests.calibration.laws import LAWS, MIXTURE, law


def test_effect_sizes_of_laws_with_closed_forms() -> None:
    """Integrated effect sizes are those of closed forms, to 1e-8."""
    normal_entropy = 0.5 * math.log(2 * math.pi * math.e)
    # Entropies from scipy.stats.<law>.entropy(); L-ratios from Hosking (1990), table 1.
    for name, skewed, peaked in (("exponential", 1 / 3, 1 / 6), ("logistic", 0, 1 / 6), ("uniform", 0, 0)):
        sizes, one = law(name).sizes, law(name).law
        expected = normal_entropy + math.log(one.std()) - one.entropy()
        assert sizes["negentropy"] == pytest.approx(expected, abs=1e-8)
        assert sizes["tau3"] == pytest.approx(skewed, abs=1e-8)
        assert sizes["tau4"] == pytest.approx(peaked, abs=1e-8)
    # int u Phi^-1(u) du = 1 / (2 sqrt pi), so that R^2 = 3 / pi.
    assert law("uniform").sizes["delta"] == pytest.approx(1 - 3 / math.pi, abs=1e-8)
    assert law("exponential").sizes["ks_distance"] == pytest.approx(stats.norm.cdf(-1), abs=1e-8)
    sizes = law("t(5)").sizes
    assert sizes["negentropy"] == pytest.approx(0.046848672673, abs=1e-8)  # by scipy.stats.t(5).entropy()
    assert sizes["wasserstein"] ** 2 == pytest.approx(2 - 2 * math.sqrt(sizes["qq_r2"]), abs=1e-12)


def test_mixture() -> None:
    """Quantiles undo the distribution function, and draws have the moments."""
    one = MIXTURE.law
    for p in (1e-9, 0.2, 0.5, 0.8):
        assert one.cdf(one.ppf(p)) == pytest.approx(p, rel=1e-9)
        assert one.isf(p) == pytest.approx(-one.ppf(p))
    x = MIXTURE.draw((100_000,), np.random.default_rng(0))
    assert stats.kurtosis(x) == pytest.approx(one.stats(moments="sk")[1], abs=0.02)


@pytest.mark.parametrize("name", ["normal", "logistic", "t(5)", "Laplace", "uniform", "exponential"])
def test_correlated_units_have_the_law(name: str) -> None:
    """Units that follow a common factor have the law each, and correlate."""
    x = intervals.correlated(law(name), 20_000, 4, 4, np.random.default_rng(1))
    assert stats.kstest(x[:, 2], law(name).law.cdf).pvalue > 1e-3
    assert np.corrcoef(x.T)[0, 1] > 0.8


@pytest.mark.parametrize(
    ("verdict", "delta", "wrong"),
    [
        ("gaussian", 0.0, False),
        ("gaussian", 0.0025, True),
        ("near-gaussian", 0.0, False),
        ("near-gaussian", 0.0149, False),
        ("near-gaussian", 0.015, True),
        ("non-gaussian", 0.0149, True),
        ("non-gaussian", 0.015, False),
        ("undetermined", 0.1, False),
    ],
)
def test_wrong_verdicts(verdict: verdicts.Verdict, delta: float, wrong: bool) -> None:
    """A verdict is wrong where the law's own delta lies outside of what it says."""
    assert verdicts.is_wrong(verdict, delta) is wrong


@pytest.mark.parametrize("name", ["t(10)", "skew-normal(2)", "gamma(10)", "t(5)"])
def test_no_wrong_verdict_in_a_few_layers(name: str) -> None:
    """Of 25 layers of 64 units at n = 500 none has a definite verdict that its law contradicts.

    docs/method.md has 500 layers of each law.
    """
    one, rng = law(name), np.random.default_rng(2)
    units = verdicts.pool(lambda shape: one.draw(shape, rng), 500, 25 * 64)
    called = verdicts.call(units, list(torch.arange(25 * 64).view(25, 64)), one.sizes["delta"])
    assert called.wrong == 0
    assert called.verdicts.total() == called.departures.total() == 25
    assert called.verdicts["undetermined"] < 25


def test_every_law_has_a_departure_to_be_named() -> None:
    """The table of departures has a right answer for each law."""
    assert set(verdicts.RIGHT) == {one.name for one in LAWS}


def test_tables_go_between_the_marks() -> None:
    """Only what is between the marks is replaced; a page without them is refused."""
    page = f"before\n\n{verdicts.BEGIN}\n\nold\n\n{verdicts.END}\n\nafter\n"
    once = verdicts.replaced(page, ["new"])
    assert once == page.replace("old", "new")
    assert verdicts.replaced(once, ["old"]) == page
    for broken in ("nothing", verdicts.BEGIN, f"{verdicts.END} {verdicts.BEGIN}"):
        with pytest.raises(ValueError, match=r"the page must have .* got one without"):
            verdicts.replaced(broken, [])


@pytest.mark.parametrize(
    ("count", "total", "text"),
    [(0, 10, ""), (1, 1000, "< 1 %"), (999, 1000, "> 99 %"), (1000, 1000, "100 %"), (1, 2, "50 %")],
)
def test_shares(count: int, total: int, text: str) -> None:
    """Percentages never round to none or to all."""
    assert verdicts.share(count, total) == text

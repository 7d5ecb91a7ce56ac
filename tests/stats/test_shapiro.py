"""Shapiro-Wilk beyond what scipy offers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

import gaussprobe.stats as gs
from gaussprobe.stats import shapiro


def test_published_example() -> None:
    """The weights of 11 men: W = .79 and p below .01, as Shapiro & Wilk (1965), example 3, give."""
    x = np.array([148.0, 154, 158, 160, 161, 162, 166, 170, 182, 195, 236])
    result = gs.shapiro_wilk(x)
    assert round(float(result.statistic), 2) == 0.79
    assert result.pvalue < 0.01


def test_the_refit_continues_royston() -> None:
    """At n = 2,000 the two forms of the p-value meet: within .015, and within a quarter of p from 1e-3 up."""
    below, above = 2000, 2001
    # At n = 2,000 ln(1 - W) has mean -7.08 and sd .39 under normality.
    w = -torch.expm1(torch.linspace(-8.3, -5.5, 50, dtype=torch.float64))
    p_below, p_above = shapiro.pvalue(w, below), shapiro.pvalue(w, above)
    assert p_below.min() < 1e-3
    assert p_below.max() > 0.9
    assert (p_below - p_above).abs().max() < 0.015
    felt = p_below > 1e-3
    assert (p_above[felt] / p_below[felt] - 1).abs().max() < 0.25


def test_weights_are_a_unit_antisymmetric_vector() -> None:
    """At every n the weights have norm 1, sum to 0 and rise."""
    for n in (3, 4, 5, 6, 7, 11, 12, 100, 3000):
        a = shapiro.weights(n, torch.device("cpu"))
        np.testing.assert_allclose(a @ a, 1, rtol=1e-12)
        np.testing.assert_array_equal(a, -a.flip(0))
        assert (a.diff() > 0).all()


@pytest.mark.parametrize("n", [100, 500, 2000])
def test_far_tail_is_scipys(n: int) -> None:
    """P-values far below the precision of 1 keep their digits (oracle: scipy.stats.shapiro)."""
    x = np.random.default_rng(1).exponential(size=n)
    expected = scipy.stats.shapiro(x)
    assert 0 < expected.pvalue < 1e-8
    found = gs.shapiro_wilk(x)
    assert float(found.pvalue) == pytest.approx(expected.pvalue, rel=1e-4)

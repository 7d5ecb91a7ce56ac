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


# Where Royston's p-value ends and begins to stand, and where the table has taken over.
@pytest.mark.parametrize(("n", "after"), [(29, 30), (59, 60), (60, 61), (2000, 2001), (3999, 4000)])
def test_no_jump_between_neighbouring_n(n: int, after: int) -> None:
    """One sample more changes the p-value of a given ln(1 - W) + ln n by a few per cent of itself at most."""
    scaled = torch.linspace(-0.7, 3.0, 200, dtype=torch.float64)
    p, q = (shapiro.pvalue(-torch.expm1(scaled - np.log(m)), m) for m in (n, after))
    felt = p > 1e-6
    assert int(felt.sum()) > 50
    assert (q[felt] / p[felt] - 1).abs().max() < (0.15 if n < 100 else 0.01)


@pytest.mark.parametrize("n", [8, 20, 45, 60, 700, 2500, 10_000, 1_000_000])
def test_pvalue_never_falls_with_w(n: int) -> None:
    """A larger W is never less likely, also where one form of the p-value goes over to the other."""
    w = -torch.expm1(torch.linspace(-0.01, -16, 100_000, dtype=torch.float64))
    assert (shapiro.pvalue(w, n).diff() >= 0).all()


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

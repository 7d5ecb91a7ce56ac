"""The Henze-Zirkler test; levels and bad input are with Mardia's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris

from gaussprobe.errors import GaussprobeWarning
from gaussprobe.stats import multivariate_null
from gaussprobe.stats.henze_zirkler import excess_of, henze_zirkler
from gaussprobe.stats.multivariate_null import moments, smoothing
from tests.stats.test_mardia import cloud, products


@pytest.mark.parametrize(("n", "d"), [(8, 1), (40, 2), (30, 5), (12, 7)])
def test_statistic_by_hand(n: int, d: int) -> None:
    """HZ is the sum over pairs, points and nothing of its definition."""
    x = cloud(n, d)
    m = products(x)
    lengths = np.diag(m)
    b2 = ((2 * d + 1) * n / 4) ** (2 / (d + 4)) / 2
    expected = n * (1 + 2 * b2) ** (-d / 2)
    for i in range(n):
        expected -= 2 * (1 + b2) ** (-d / 2) * math.exp(-b2 / (2 * (1 + b2)) * lengths[i])
        for j in range(n):
            expected += math.exp(-b2 / 2 * (lengths[i] + lengths[j] - 2 * m[i, j])) / n
    assert henze_zirkler(x).statistic == pytest.approx(expected, rel=1e-9)


def test_published_example() -> None:
    """Fisher's setosas: HZ .9488453 (Korkmaz, Goksuluk & Zararsiz 2014, R Journal 6/2, MVN).

    Their p-value from the lognormal law is .04995356; ours differs by what that law is off.
    """
    found = henze_zirkler(load_iris().data[:50])
    assert found.statistic == pytest.approx(0.9488453, abs=5e-8)
    assert found.pvalue == pytest.approx(0.04995356, rel=0.05)


@pytest.mark.parametrize("block", [1, 97, 2**22])
def test_blocks(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """The size of the blocks changes nothing."""
    monkeypatch.setitem(excess_of.__globals__, "BLOCK", block)
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 4)))
    b2 = smoothing(50, 4) ** 2
    distance = torch.cdist(z, z).square()
    expected = float(torch.exp(-b2 / 2 * distance).sum()) / 50 - 1
    expected -= 2 * (1 + b2) ** -2 * float(torch.exp(-b2 / (2 * (1 + b2)) * z.square().sum(dim=1)).sum())
    expected += 50 * (1 + 2 * b2) ** -2
    assert float(excess_of(z)) == pytest.approx(expected, rel=1e-10)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), d=st.integers(1, 6))
def test_affine_invariance(seed: int, d: int) -> None:
    """An invertible map of the points, and their order, change nothing."""
    rng = np.random.default_rng(seed)
    x = cloud(int(rng.integers(d + 8, 60)), d, seed)
    mapped = rng.permutation(x / x.std(axis=0) @ rng.normal(size=(d, d)) + rng.normal(size=d))
    here, there = henze_zirkler(x), henze_zirkler(mapped)
    assert there.statistic == pytest.approx(here.statistic, rel=1e-6)
    assert there.pvalue == pytest.approx(here.pvalue, rel=1e-3, abs=1e-9)
    assert 0 <= here.pvalue <= 1


@pytest.mark.parametrize(("n", "d"), [(20, 1), (20, 5), (60, 20), (400, 2)])
def test_mean_is_exact(n: int, d: int) -> None:
    """The mean of simulated samples is the reference law's, within 4 standard errors."""
    from gaussprobe.stats.build_multivariate import simulate

    values = simulate(n, d, 10_000 if n < 100 else 300, np.random.SeedSequence([5, n]))["henze_zirkler"]
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - moments("henze_zirkler", n, d).mean) < 4 * error


@pytest.mark.parametrize("d", [1, 2, 5])
def test_variance_and_skewness_of_the_limit(d: int) -> None:
    """The variance is Henze and Zirkler's formula (1990), the skewness a numerical integral's."""
    n = 150
    b2 = smoothing(n, d) ** 2
    w, a = (1 + b2) * (1 + 3 * b2), 1 + 2 * b2
    variance = 2 * (1 + 4 * b2) ** (-d / 2)
    variance += 2 * a**-d * (1 + 2 * d * b2**2 / a**2 + 3 * d * (d + 2) * b2**4 / (4 * a**4))
    variance -= 4 * w ** (-d / 2) * (1 + 3 * d * b2**2 / (2 * w) + d * (d + 2) * b2**4 / (2 * w**2))
    law = moments("henze_zirkler", n, d)
    assert law.sd**2 == pytest.approx(variance, rel=1e-9)
    if d == 1:
        # Gauss-Hermite nodes for a normal weight of variance b2; the third cumulant is 8 tr (K W)^3.
        node, weight = np.polynomial.hermite_e.hermegauss(120)
        t = node * math.sqrt(b2)
        s, u = np.meshgrid(t, t)
        kernel = np.exp(-((s - u) ** 2) / 2) - (1 + s * u + (s * u) ** 2 / 2) * np.exp(-(s**2 + u**2) / 2)
        step = kernel * weight / weight.sum()
        assert law.sd**2 == pytest.approx(2 * np.trace(step @ step), rel=1e-8)
        assert law.skewness == pytest.approx(8 * np.trace(step @ step @ step) / law.sd**3, rel=1e-8)


def test_many_features_keep_their_digits() -> None:
    """With 40 features HZ differs from 1 in the eighth digit only, and still has a p-value."""
    x = np.random.default_rng(1).normal(size=(400, 40))
    found = henze_zirkler(x)
    assert abs(found.statistic - 1) < 1e-3
    assert 1e-4 < found.pvalue < 1
    heavy = x / np.sqrt(np.random.default_rng(2).chisquare(4, size=(400, 1)) / 4)
    assert henze_zirkler(heavy).pvalue < 1e-6


def test_more_features_than_the_table_has() -> None:
    """With 51 features there is a statistic, no p-value, and a warning that says so."""
    with pytest.warns(GaussprobeWarning, match="p-values up to 50 features; got 51: the p-value is NaN"):
        found = henze_zirkler(np.random.default_rng(1).normal(size=(80, 51)))
    assert found.statistic == pytest.approx(1.0, abs=1e-6)
    assert np.isnan(found.pvalue)


def test_what_it_sees() -> None:
    """A ring of points, which no feature alone and neither of Mardia's tests need see, is far from normal."""
    rng = np.random.default_rng(3)
    angle = rng.uniform(0, 2 * np.pi, 200)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.2 * rng.normal(size=(200, 2))
    assert henze_zirkler(ring).pvalue < 1e-6


def test_table_has_its_provenance() -> None:
    """The shipped file says how it was made."""
    content = multivariate_null.load()
    assert content["made_by"] == "python -m gaussprobe.stats.build_multivariate"
    assert content["seed"] == 20_240_611
    assert np.min(content["null"]["replicates"]) > 5_000

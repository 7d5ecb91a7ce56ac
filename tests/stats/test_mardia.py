"""Mardia's tests: definitions, invariance, levels, and bad input for all tests of several features."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris

from gaussprobe.errors import ConstantSampleWarning, NonFiniteSampleWarning, TooFewSamplesWarning
from gaussprobe.stats import build_multivariate, multivariate_null
from gaussprobe.stats.henze_zirkler import henze_zirkler
from gaussprobe.stats.mardia import Mardia, _from_moments, _from_products, mardia
from gaussprobe.types import GofResult
from tests import needs


def cloud(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Skewed, heavy-tailed, correlated features in different units."""
    rng = np.random.default_rng(seed)
    x = rng.standard_t(5, (n, d)) + 0.3 * rng.gamma(1.0, size=(n, d))
    return (x @ rng.normal(size=(d, d)) + rng.normal(size=d)) * 10.0 ** rng.integers(-3, 4, size=d)


def products(x: np.ndarray) -> np.ndarray:
    """`m_ij`, pair by pair."""
    centred = x - x.mean(axis=0)
    inverse = np.linalg.inv(centred.T @ centred / len(x))
    m = np.empty((len(x), len(x)))
    for i, j in itertools.product(range(len(x)), repeat=2):
        m[i, j] = centred[i] @ inverse @ centred[j]
    return m


@pytest.mark.parametrize(("n", "d"), [(8, 1), (40, 2), (30, 5), (12, 7)])
def test_statistics_by_hand(n: int, d: int) -> None:
    """b1 and b2 are sums over pairs of the cube, and over points of the square, of `m_ij`."""
    x = cloud(n, d)
    m = products(x)
    found = mardia(x)
    assert found.skewness.statistic == pytest.approx((m**3).sum() / n**2, rel=1e-9)
    assert found.kurtosis.statistic == pytest.approx((np.diag(m) ** 2).sum() / n, rel=1e-9)
    assert found.skewness.n_samples == found.kurtosis.n_samples == n


def test_published_example() -> None:
    """Fisher's setosas: g1p 3.079721, g2p 26.53766 (Korkmaz, Goksuluk & Zararsiz 2014, R Journal 6/2)."""
    found = mardia(load_iris().data[:50])
    assert found.skewness.statistic == pytest.approx(3.079721, abs=5e-7)
    assert found.kurtosis.statistic == pytest.approx(26.53766, abs=5e-6)


def test_one_feature() -> None:
    """With one feature b1 is the square of scipy's skewness, b2 its kurtosis, and p-values agree below .5.

    D'Agostino's and Anscombe & Glynn's approximations are themselves a little off.
    """
    x = np.random.default_rng(1).normal(size=(60, 200))
    for column in x.T:
        found = mardia(column[:, None])
        assert found.skewness.statistic == pytest.approx(scipy.stats.skew(column) ** 2, rel=1e-10)
        assert found.kurtosis.statistic == pytest.approx(scipy.stats.kurtosis(column) + 3, rel=1e-12)
        for p, other in (
            (found.skewness.pvalue, scipy.stats.skewtest(column).pvalue),
            (found.kurtosis.pvalue, scipy.stats.kurtosistest(column).pvalue),
        ):
            assert min(p, 0.5) == pytest.approx(min(other, 0.5), abs=0.02)


@pytest.mark.parametrize("block", [1, 100, 2**22])
def test_both_routes_to_b1(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Through third moments or through dot products, in blocks of whatever size, b1 is the same."""
    monkeypatch.setattr("gaussprobe.stats.multivariate.BLOCK", block)
    # The functions hold the name themselves.
    monkeypatch.setitem(_from_moments.__globals__, "BLOCK", block)
    z = torch.from_numpy(cloud(60, 6))
    expected = float(((z @ z.T) ** 3).sum()) / 60**2
    assert float(_from_moments(z)) == pytest.approx(expected, rel=1e-10)
    assert float(_from_products(z)) == pytest.approx(expected, rel=1e-10)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), d=st.integers(1, 6), offset=st.floats(-1e3, 1e3))
def test_affine_invariance(seed: int, d: int, offset: float) -> None:
    """An invertible map of the points, and their order, change nothing."""
    rng = np.random.default_rng(seed)
    x = cloud(int(rng.integers(d + 8, 60)), d, seed)
    mapped = rng.permutation(x / x.std(axis=0) @ rng.normal(size=(d, d)) + offset)
    here, there = mardia(x), mardia(mapped)
    # A random matrix may be nearly singular, and the offset costs the digits it takes.
    for a, b in ((here.skewness, there.skewness), (here.kurtosis, there.kurtosis)):
        assert b.statistic == pytest.approx(a.statistic, rel=1e-5)
        assert b.pvalue == pytest.approx(a.pvalue, rel=1e-3, abs=1e-9)
        assert 0 <= a.pvalue <= 1


@pytest.mark.parametrize(("name", "low", "high"), [("skewness", 1e-12, 1), ("kurtosis", 1e-12, 1e-3)])
def test_what_they_see(name: str, low: float, high: float) -> None:
    """Exponential features are found by both; a heavy-tailed ball by kurtosis, its p-value ever smaller."""
    x = np.random.default_rng(2).exponential(size=(200, 3))
    assert getattr(mardia(x), name).pvalue < 1e-6
    rng = np.random.default_rng(3)
    ball = rng.normal(size=(400, 3)) / np.sqrt(rng.chisquare(8, size=(400, 1)) / 8)
    assert low < getattr(mardia(ball), name).pvalue < high


# Within the table (n = 30 and 64 lie between its cells) and past it on either side.
CASES = ((8, 1), (20, 2), (30, 5), (20, 10), (64, 16), (110, 60), (1200, 2))


@pytest.mark.parametrize(("n", "d"), CASES)
def test_false_positive_rates(n: int, d: int) -> None:
    """Each test rejects as many normal samples as its level says, within 3.5 sd and a tenth of it."""
    replicates = min(10_000, 30_000_000 // (n * n))
    found = build_multivariate.simulate(n, d, replicates, np.random.SeedSequence([3, n, d]))
    for name, values in found.items():
        if name == "henze_zirkler" and d > multivariate_null.most_features():
            continue
        p = multivariate_null.upper_tail(name, values, n, d)
        if name == "mardia_kurtosis":
            p = 2 * np.minimum(p, 1 - p)
        for level in (0.2, 0.05, 0.01):
            sd = np.sqrt(level * (1 - level) / replicates)
            assert abs((p <= level).mean() - level) <= 3.5 * sd + 0.1 * level, (name, level)


@pytest.mark.parametrize("name", multivariate_null.STATISTICS)
@pytest.mark.parametrize(("n", "d"), [(8, 1), (13, 8), (100, 3), (1000, 50), (300, 200), (10**6, 4)])
def test_upper_tail_falls(name: multivariate_null.Statistic, n: int, d: int) -> None:
    """The p-value falls steadily from 1 to 0 as the statistic rises, wherever the table is left."""
    law = multivariate_null.moments(name, n, d)
    p = multivariate_null.upper_tail(name, law.mean + np.linspace(-20, 60, 801) * law.sd, n, d)
    assert (np.diff(p) <= 0).all()
    assert p[0] > 0.999
    assert p[-1] < 1e-6
    assert 0.2 < multivariate_null.upper_tail(name, law.mean, n, d) < 0.7


# ---- input that all tests of several features share ----

Function = Callable[..., Any]
every = pytest.mark.parametrize("function", [mardia, henze_zirkler], ids=lambda f: f.__name__)


def fields(result: Mardia | GofResult) -> list[Any]:
    """Every number of a result."""
    parts = [result.skewness, result.kurtosis] if isinstance(result, Mardia) else [result]
    return [value for part in parts for value in (part.statistic, part.pvalue)]


@every
@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (torch.zeros(9, 2, dtype=torch.complex64), {}, "x must hold real numbers; got dtype torch.complex64"),
        (np.zeros((9, 2), dtype=bool), {}, "x must hold real numbers; got dtype bool"),
        (torch.zeros(0, 2), {}, r"x must not be empty; got shape \(0, 2\)"),
        (np.zeros((9, 0)), {}, r"x must not be empty; got shape \(9, 0\)"),
        (torch.zeros(9), {}, r"x must have two dimensions, samples and features; got shape \(9,\)"),
        (np.zeros((9, 2, 2)), {}, r"x must have two dimensions, .* got shape \(9, 2, 2\)"),
        (torch.zeros(9, 2), {"dim": 2}, r"dim must be from -2 to 1 for x of shape \(9, 2\); got 2"),
        (torch.zeros(9, 2), {"dim": 0.5}, "dim must be an integer; got 0.5"),
    ],
)
def test_bad_input(function: Function, x: Any, options: dict[str, Any], message: str) -> None:
    """An argument that cannot be used raises ValueError naming it, what it must be, and what came."""
    with pytest.raises(ValueError, match=message):
        function(x, **options)


def poor(kind: str) -> np.ndarray:
    """A sample that cannot be tested."""
    x = np.random.default_rng(0).normal(size=(40, 3))
    if kind == "nan":
        x[3, 1] = np.nan
    elif kind == "infinite":
        x[3, 1] = np.inf
    elif kind == "constant":
        x[:, 2] = 0.1
    elif kind == "twice the same":
        x[:, 2] = 5 * x[:, 0] - 1
    elif kind == "sum":
        x[:, 2] = 1e6 * x[:, 0] + x[:, 1]
    elif kind == "few":
        x = x[:7]
    elif kind == "n = d":
        x = np.random.default_rng(0).normal(size=(12, 12))
    return x


@every
@pytest.mark.parametrize(
    ("kind", "category", "message"),
    [
        ("nan", NonFiniteSampleWarning, "1 of 3 features have NaN or infinite values: the result is NaN"),
        ("infinite", NonFiniteSampleWarning, "1 of 3 features have NaN or infinite values"),
        ("constant", ConstantSampleWarning, "1 of 3 features have no variance: the result is NaN"),
        ("twice the same", ConstantSampleWarning, r"3 features are linearly dependent \(rank 2\)"),
        ("sum", ConstantSampleWarning, r"3 features are linearly dependent \(rank 2\)"),
        ("few", TooFewSamplesWarning, "needs at least 8 samples of 3 features; got 7: the result is NaN"),
        ("n = d", TooFewSamplesWarning, "needs at least 17 samples of 12 features; got 12"),
    ],
)
def test_samples_that_cannot_be_tested(
    function: Function, kind: str, category: type[Warning], message: str
) -> None:
    """They give NaN, and a warning that says why, at the caller's line."""
    with pytest.warns(category, match=f"{function.__name__}:? .*{message}") as caught:
        result = function(poor(kind))
    assert all(np.isnan(value) for value in fields(result))
    assert len(caught) == 1
    assert caught[0].filename == __file__


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int16])
def test_dtypes_and_arrays(function: Function, dtype: torch.dtype) -> None:
    """Every real dtype gives what its float64 copy gives; arrays give numpy scalars, tensors tensors."""
    x = (torch.randn(50, 3) * 20).to(dtype)
    expected = fields(function(x.double()))
    for found, reference in zip(fields(function(x)), expected, strict=True):
        assert found.dtype == torch.float64
        assert found.shape == ()
        assert torch.equal(found, reference)
    for found, reference in zip(fields(function(x.double().numpy())), expected, strict=True):
        assert isinstance(found, np.float64)
        assert found == reference


@every
def test_samples_along_the_other_dimension(function: Function) -> None:
    """dim says where the samples are; the input is left as it was."""
    x = cloud(30, 4)
    kept = x.copy()
    assert fields(function(np.ascontiguousarray(x.T), dim=1)) == pytest.approx(fields(function(x)))
    assert fields(function(x, dim=-2)) == fields(function(x))
    np.testing.assert_array_equal(x, kept)


@every
def test_extreme_units(function: Function) -> None:
    """Features of 1e300 and 1e-300, and means a million sd from zero, change nothing but digits."""
    x = np.random.default_rng(4).normal(size=(60, 3))
    expected = fields(function(x))
    assert fields(function(x * np.array([1e300, 1.0, 1e-300]))) == pytest.approx(expected, rel=1e-10)
    assert fields(function(x + 1e6)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.gpu
@needs.CUDA
@every
def test_cuda_equals_cpu(function: Function) -> None:
    """Results on a GPU stay there and equal those of the CPU."""
    x = torch.randn(300, 5)
    for there, here in zip(fields(function(x.cuda())), fields(function(x)), strict=True):
        assert there.is_cuda
        torch.testing.assert_close(there.cpu(), here, rtol=1e-9, atol=1e-12)

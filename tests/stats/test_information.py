"""Mutual information of two units."""

from __future__ import annotations

import math
import warnings

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_mutual_info_score

import gaussprobe as gp
from gaussprobe.errors import ConstantSampleWarning, NonFiniteSampleWarning, TooFewSamplesWarning
from gaussprobe.stats.information import adjusted_mutual_information, mutual_information

Pairs = npt.NDArray[np.float64]

N = 5_000


def normal(n: int, correlation: float, seed: int = 0) -> Pairs:
    """`(n, 2)` of a bivariate normal law."""
    covariance = [[1, correlation], [correlation, 1]]
    return np.random.default_rng(seed).multivariate_normal([0, 0], covariance, n)


def crossed(n: int, seed: int = 0) -> Pairs:
    """An equal mixture with correlations .9 and -.9: no correlation, normal margins, not independent."""
    pairs = normal(n, 0.9, seed)
    pairs[np.random.default_rng(seed + 1).random(n) < 0.5, 1] *= -1
    return pairs


def test_information_of_the_mixture() -> None:
    """.408 nats, by quadrature: what the next test relies on."""
    grid = np.linspace(-7, 7, 1401)
    points = np.stack(np.meshgrid(grid, grid), axis=-1)
    density = sum(multivariate_normal([0, 0], [[1, c], [c, 1]]).pdf(points) / 2 for c in (0.9, -0.9))
    apart = multivariate_normal([0, 0], np.eye(2)).pdf(points)
    found = np.sum(np.where(density > 0, density * np.log(density / apart), 0)) * (grid[1] - grid[0]) ** 2
    assert found == pytest.approx(0.408, abs=5e-4)


@pytest.mark.parametrize(
    ("law", "expected"),
    [("normal", -0.5 * math.log(1 - 0.6**2)), ("mixture", 0.408), ("exponential", 0.0)],
)
def test_known_values(law: str, expected: float) -> None:
    """Means of ten samples of 5,000: -log(1 - r^2) / 2 = .223, .408 without correlation, 0."""
    found = []
    for seed in range(10):
        pairs = {
            "normal": lambda s: normal(N, 0.6, s),
            "mixture": lambda s: crossed(N, s),
            "exponential": lambda s: np.random.default_rng(s).exponential(size=(N, 2)),
        }[law](seed)
        found.append(float(mutual_information(pairs[:, 0], pairs[:, 1])))
    assert np.mean(found) == pytest.approx(expected, abs=max(0.008, 4 * np.std(found) / math.sqrt(10)))
    assert np.std(found) < 0.02


def test_atoms() -> None:
    """Samples in one place: a uniform choice of four tells log 4 of itself, independent ReLUs nothing."""
    choice = np.random.default_rng(0).integers(0, 4, N)
    assert float(mutual_information(choice, choice)) == pytest.approx(math.log(4), abs=0.01)
    other = np.random.default_rng(1).integers(0, 4, N)
    assert float(mutual_information(choice, other)) == pytest.approx(0, abs=0.01)
    rectified = np.maximum(np.random.default_rng(2).normal(size=(N, 2)), 0)
    assert float(mutual_information(*rectified.T)) == pytest.approx(0, abs=0.03)


def test_no_bias_at_independence() -> None:
    """Means of 200 samples of 200: 0 within 4 standard errors, adjusted or not."""
    for function in (mutual_information, adjusted_mutual_information):
        found = [float(function(*np.random.default_rng(seed).normal(size=(2, 200)))) for seed in range(200)]
        assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(200), function.__name__


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("bins", [2, 7, 10])
def test_adjusted_is_scikit_learns(correlation: float, bins: int) -> None:
    """Of the same bins: sklearn.metrics.adjusted_mutual_info_score."""
    pairs = normal(503, correlation).round(1)  # with ties: bins of unequal counts
    ranks = [(np.searchsorted(np.sort(v), v, side="right") - 0.5) / len(v) for v in pairs.T]
    labels = [np.minimum((r * bins).astype(int), bins - 1) for r in ranks]
    found = adjusted_mutual_information(*pairs.T, bins=bins)
    assert float(found) == pytest.approx(adjusted_mutual_info_score(*labels), abs=1e-10)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(8, 300))
@example(seed=0, n=8)
def test_invariance(seed: int, n: int) -> None:
    """Increasing maps and the order of samples change nothing, nor which is named first."""
    rng = np.random.default_rng(seed)
    x, y = normal(n, 0.7, seed).T
    order = rng.permutation(n)
    for function in (mutual_information, adjusted_mutual_information):
        here = float(function(x, y))
        assert math.isfinite(here)
        assert float(function(np.exp(3 * x)[order], (y**3)[order])) == pytest.approx(here, abs=1e-9)
        assert float(function(y, x)) == pytest.approx(here, abs=1e-9)


def test_a_transform_of_units_cannot_change_it() -> None:
    """Normality normalization acts on each unit by itself: the information of a pair stays."""
    x = torch.from_numpy(normal(2000, 0.6)).exp()
    y = gp.nn.functional.normality_normalize(x, 0)
    assert float(mutual_information(*y.T)) == pytest.approx(float(mutual_information(*x.T)), abs=1e-9)


def test_kinds_of_input() -> None:
    """Tensors give tensors, arrays numpy scalars; any real type."""
    pairs = normal(100, 0.5)
    found = mutual_information(*pairs.T)
    assert isinstance(found, np.floating)
    tensors = torch.from_numpy(pairs)
    assert isinstance(gp.stats.mutual_information(*tensors.T), torch.Tensor)
    assert float(gp.stats.mutual_information(*tensors.T)) == pytest.approx(float(found), abs=1e-12)
    assert float(gp.stats.adjusted_mutual_information(*tensors.bfloat16().T)) > 0


@pytest.mark.parametrize("function", [mutual_information, adjusted_mutual_information])
def test_nothing_to_estimate(function: object) -> None:
    """NaN and why."""
    assert callable(function)
    x = np.arange(20.0)
    with pytest.warns(ConstantSampleWarning, match="a variable is constant"):
        assert math.isnan(function(x, np.zeros(20)))
    with pytest.warns(NonFiniteSampleWarning, match="not finite"):
        assert math.isnan(function(x, np.where(x == 3, np.nan, x)))
    with pytest.warns(TooFewSamplesWarning, match="needs at least 8 samples; got 5"):
        assert math.isnan(function(x[:5], x[:5]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        function(x, x)


def test_bad_arguments() -> None:
    """Named, with what came."""
    x = np.arange(20.0)
    with pytest.raises(ValueError, match="as many samples; got 20 and 19"):
        mutual_information(x, x[:-1])
    with pytest.raises(ValueError, match=r"y must have one dimension; got shape \(20, 2\)"):
        mutual_information(x, np.stack([x, x], axis=1))
    for wrong in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="neighbors must be a positive integer"):
            mutual_information(x, x, neighbors=wrong)  # type: ignore[arg-type]
    for wrong in (1, 2.5):
        with pytest.raises(ValueError, match="bins must be an integer of at least 2"):
            adjusted_mutual_information(x, x, bins=wrong)  # type: ignore[arg-type]

"""Properties that hold for every sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gaussprobe.stats as gs
from gaussprobe.stats import effects, ordered
from gaussprobe.stats.battery import TESTS, run


def all_of(x: np.ndarray) -> dict[str, np.ndarray]:
    """Every statistic, p-value and effect size of the columns of `x`."""
    sample = ordered.order(torch.from_numpy(x))
    found = {name: value.numpy() for name, value in effects.effect_sizes(sample).items()}
    for name, result in gs.battery(x).items():
        found[f"{name}.statistic"] = result.statistic
        found[f"{name}.pvalue"] = result.pvalue
    return found


@st.composite
def samples(draw: st.DrawFn) -> np.ndarray:
    """`(n, C)` without ties, from normal to very heavy-tailed and skewed."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, units = draw(st.integers(8, 300)), draw(st.integers(1, 4))
    power = draw(st.floats(0.3, 3.0))
    skew = draw(st.floats(-1.0, 1.0))
    x = rng.normal(size=(n, units))
    return np.sign(x) * np.abs(x) ** power + skew * x**2


@settings(max_examples=60, deadline=None)
@given(x=samples(), seed=st.integers(0, 1000))
def test_permutation_invariance(x: np.ndarray, seed: int) -> None:
    """The order of the samples changes nothing."""
    shuffled = np.random.default_rng(seed).permuted(x, axis=0)
    expected = all_of(x)
    for name, value in all_of(shuffled).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


@settings(max_examples=60, deadline=None)
@given(x=samples(), a=st.floats(-100, 100), b=st.floats(1e-3, 1e3), flip=st.booleans())
def test_affine_invariance(x: np.ndarray, a: float, b: float, flip: bool) -> None:
    """a + bx gives what x gives; with b < 0 skewness changes its sign and nothing else changes."""
    spread = x.std(axis=0)
    expected = all_of(x)
    for name, value in all_of(a * spread + (-b if flip else b) * x).items():
        sign = -1 if flip and name == "skewness" else 1
        # An offset of 100 sd / b costs the digits it takes.
        np.testing.assert_allclose(sign * value, expected[name], rtol=1e-6, atol=1e-8, err_msg=name)


@settings(max_examples=60, deadline=None)
@given(x=samples())
def test_ranges(x: np.ndarray) -> None:
    """P-values and R^2 lie in 0 .. 1, W too, distances and A2 are not negative."""
    found = all_of(x)
    for name in TESTS:
        assert ((found[f"{name}.pvalue"] >= 0) & (found[f"{name}.pvalue"] <= 1)).all()
    assert ((found["qq_r2"] > 0) & (found["qq_r2"] < 1)).all()
    assert ((found["shapiro_wilk.statistic"] > 0) & (found["shapiro_wilk.statistic"] < 1)).all()
    for name in ("ks_distance", "wasserstein", "anderson_darling.statistic"):
        assert (found[name] > 0).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(8, 60), levels=st.integers(2, 6))
def test_ties_and_coarse_values(seed: int, n: int, levels: int) -> None:
    """Samples of few distinct values give numbers or +inf, never NaN, and every p-value in 0 .. 1."""
    x = np.random.default_rng(seed).integers(0, levels, size=(n, 3)).astype(float)
    x[0], x[1] = 0, levels
    sample = ordered.order(torch.from_numpy(x))
    for name, value in effects.effect_sizes(sample).items():
        assert not value.isnan().any(), name
    for result in run(sample).values():
        p = result.pvalue
        assert ((p >= 0) & (p <= 1)).all()


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7])
def test_small_samples_of_w(n: int) -> None:
    """From 3 samples on W has a p-value in 0 .. 1."""
    p = gs.shapiro_wilk(torch.randn(n, 200)).pvalue
    assert ((p >= 0) & (p <= 1)).all()

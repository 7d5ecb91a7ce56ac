"""Anderson-Darling where others fail."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch

import gaussprobe.stats as gs
from gaussprobe.stats import anderson


def test_an_outlier_leaves_a2_finite_and_right() -> None:
    """With one value 60 sd out, A2 is what 60-digit arithmetic gives; statsmodels gives infinity."""
    x = np.concatenate([np.random.default_rng(0).normal(size=4000), [1e6], [-2e6]])
    z = np.sort((x - x.mean()) / x.std(ddof=1))
    n = len(z)
    with mpmath.workdps(60):
        total = mpmath.mpf(0)
        # Most of the sample sits at one point on this scale: the sum over it in float64 is exact enough.
        for i in (*range(1, 11), *range(n - 9, n + 1)):
            log_cdf = mpmath.log(mpmath.ncdf(z[i - 1]))
            log_sf = mpmath.log(mpmath.ncdf(-z[n - i]))
            total += (2 * i - 1) * (log_cdf + log_sf)
        rest = np.arange(11, n - 9)
        cdf = np.array([float(mpmath.ncdf(value)) for value in z])
        middle = ((2 * rest - 1) * (np.log(cdf[rest - 1]) + np.log1p(-cdf[n - rest]))).sum()
    expected = -n - (float(total) + middle) / n
    assert abs(z[0]) > 40
    np.testing.assert_allclose(gs.anderson_darling(x).statistic, expected, rtol=1e-10)


@pytest.mark.parametrize("n", [8, 50, 5000, 1_000_000])
def test_pvalue_never_rises_with_the_statistic(n: int) -> None:
    """A larger A2 is never likelier, to 10,000, where the published parabola has long turned upwards."""
    a2 = torch.cat([torch.linspace(0.01, 60, 200_000), torch.linspace(60, 10_000, 5000)]).to(torch.float64)
    p = anderson.pvalue(a2, n)
    assert (p.diff() <= 0).all()
    assert p[0] == 1
    assert 0 <= p[-1] < 1e-300

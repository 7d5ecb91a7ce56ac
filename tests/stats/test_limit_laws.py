"""The limits that the tables tend to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import chdtrc

from gaussprobe.stats import limit_laws


@pytest.mark.parametrize("degrees", [4, 7])
def test_equal_eigenvalues_give_chi_squared(degrees: int) -> None:
    """With k eigenvalues of 1 the sum is chi-squared with k degrees of freedom, to 1e-8."""
    x = np.linspace(0.1, 35, 20)
    np.testing.assert_allclose(
        limit_laws.exceedance(np.ones(degrees), x), chdtrc(degrees, x), rtol=0, atol=1e-8
    )


@pytest.mark.parametrize(
    ("name", "mean"), [("epps_pulley", 1 - 1.5 / math.sqrt(3)), ("epps_pulley_simple", 1 - 1 / math.sqrt(3))]
)
def test_means_of_the_characteristic_function(name: str, mean: float) -> None:
    """Eigenvalues add up to the mean of the limit (Henze & Wagner 1997, theorem 2.3, with d = beta = 1)."""
    spectrum = limit_laws.eigenvalues(name)
    assert spectrum is not None
    assert spectrum.sum() == pytest.approx(mean, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "five", "one"),
    [
        ("anderson_darling", 0.752, 1.035),
        ("cramer_von_mises", 0.126, 0.179),
        ("watson", 0.117, 0.164),
    ],
)
def test_published_points(name: str, five: float, one: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upper 5 % and 1 % points are those of D'Agostino & Stephens (1986), table 4.7, to three digits."""
    monkeypatch.setattr(limit_laws, "_POINTS", 700)
    found = limit_laws.upper_quantiles(name, np.array([0.05, 0.01]))
    assert found is not None
    np.testing.assert_allclose(found, np.array([five, one]), rtol=0, atol=6e-4)


def test_unknown_limits() -> None:
    """Statistics without such a limit have none."""
    assert limit_laws.upper_quantiles("lilliefors", np.array([0.05])) is None
    assert limit_laws.upper_quantiles("shapiro_wilk", np.array([0.05])) is None

"""Many p-values at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gaussprobe.stats import benjamini_hochberg, simes

# Benjamini & Hochberg (1995), section 4.1: fifteen ordered p-values; four are rejected at q = .05.
PAPER = [
    *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298),
    *(0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0),
]


def test_published_example() -> None:
    """The four smallest of the paper's fifteen p-values are rejected at .05."""
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(len(PAPER))
    adjusted = benjamini_hochberg(np.array(PAPER)[shuffled])
    assert (adjusted <= 0.05).tolist() == (shuffled < 4).tolist()
    np.testing.assert_allclose(sorted(adjusted)[0], 15 * 0.0001)


def test_nan_stays_and_does_not_count() -> None:
    """NaN is left where it was and the rest are adjusted as if it were not there."""
    p = np.array([0.01, np.nan, 0.04, 0.5])
    adjusted = benjamini_hochberg(torch.from_numpy(p))
    assert np.isnan(adjusted).tolist() == [False, True, False, False]
    np.testing.assert_allclose(adjusted[[0, 2, 3]], benjamini_hochberg(p[[0, 2, 3]]))
    assert np.isnan(benjamini_hochberg([np.nan, np.nan])).all()


def test_simes_is_its_formula() -> None:
    """min of m p_(i) / i, whatever the order, NaN aside."""
    p = np.random.default_rng(1).uniform(size=50)
    expected = (50 * np.sort(p) / np.arange(1, 51)).min()
    assert simes(np.append(p, np.nan)) == pytest.approx(expected, rel=1e-12)
    assert np.isnan(simes([np.nan]))


@pytest.mark.parametrize("function", [benjamini_hochberg, simes])
@pytest.mark.parametrize(
    ("p", "message"),
    [
        ([0.1, 1.5], "pvalues must lie between 0 and 1; got 1.5"),
        ([-0.1], "pvalues must lie between 0 and 1; got -0.1"),
        ([[0.1]], r"pvalues must be one-dimensional and not empty; got shape \(1, 1\)"),
        ([], r"pvalues must be one-dimensional and not empty; got shape \(0,\)"),
        (["a"], "pvalues must hold real numbers; got dtype <U1"),
    ],
)
def test_bad_input(function: object, p: object, message: str) -> None:
    """ValueError names the argument, what it must be, and what came."""
    with pytest.raises(ValueError, match=message):
        function(p)  # type: ignore[operator]


def test_half_precision() -> None:
    """P-values of half precision are taken, as what they are."""
    p = torch.tensor([0.125, 0.5], dtype=torch.bfloat16)
    assert benjamini_hochberg(p).tolist() == [0.25, 0.5]

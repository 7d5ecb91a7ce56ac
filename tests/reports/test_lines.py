"""gaussprobe.reports.lines: numbers made ready for drawing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaussprobe.reports import lines

anything = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=80)


@given(values=anything, most=st.integers(2, 30))
def test_thinning_keeps_the_extremes(values: list[float], most: int) -> None:
    """A thinned line has the smallest and the largest value of the whole, in order, and few points."""
    y = lines.clean(values)
    x = np.arange(len(y), dtype=float)
    found_x, found_y = lines.thinned(x, y, most)
    assert (np.diff(found_x) > 0).all()
    assert len(found_x) <= max(most, 2)
    np.testing.assert_array_equal(found_y, y[found_x.astype(int)])
    if np.isfinite(y).any():
        assert np.nanmin(found_y) == np.nanmin(y)
        assert np.nanmax(found_y) == np.nanmax(y)


def test_thinning_leaves_short_lines_alone() -> None:
    """A line with no more points than it may have is the same."""
    x = y = np.arange(10.0)
    assert lines.thinned(x, y, 10) == (x, y)


def test_enveloping_covers_the_band() -> None:
    """A thinned band is nowhere narrower than what it stands for; gaps stay gaps."""
    rng = np.random.default_rng(0)
    low = rng.standard_normal(1000)
    high = low + rng.random(1000)
    low[100:200] = high[100:200] = np.nan
    x, below, above = lines.enveloped(np.arange(1000.0), low, high, 50)
    assert len(x) == 50
    assert np.isnan(below[5:10]).all()
    parts = np.arange(1000).reshape(50, 20)
    kept = ~np.isnan(below)
    assert (below[kept] == np.nanmin(low[parts[kept]], axis=1)).all()
    assert (above[kept] == np.nanmax(high[parts[kept]], axis=1)).all()


@given(values=anything, least=st.floats(0, 10))
def test_limits_are_apart(values: list[float], least: float) -> None:
    """Limits are finite, apart, and hold everything that is finite."""
    y = lines.clean(values)
    low, high = lines.limits(y, least=least)
    assert math.isfinite(low)
    assert math.isfinite(high)
    assert low < high
    kept = y[np.isfinite(y)]
    assert ((kept >= low) & (kept <= high)).all()


@pytest.mark.parametrize(
    ("value", "label"), [(0.0025, ".0025"), (-0.5, "−.5"), (0, "0"), (12.5, "12.5"), (1e-5, "1e−05")]
)
def test_ticks(value: float, label: str) -> None:
    """Ticks are written as the rest of a report writes numbers."""
    assert lines.tick(value) == label


def test_steps_are_whole() -> None:
    """A tick between two steps has no label."""
    assert [lines.step_tick(value) for value in (0.0, -0.0, 0.5, 12_000.0)] == ["0", "0", "", "12,000"]

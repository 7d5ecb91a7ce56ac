"""Sorting rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gaussprobe.stats.sorting import IN_REGISTERS, sort_rows

# Around many numbers of blocks of both lengths, and past the last.
_BLOCK = IN_REGISTERS[torch.float64]
SIZES = [1, 2, *(k * _BLOCK + d for k in range(1, 9) for d in (-1, 0, 1)), 700, 1301, 1999, 5000, 20_000]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", SIZES)
def test_sorted_as_numpy_does(n: int, dtype: type) -> None:
    """Rows come out as numpy sorts them: with ties, with infinities, already in order, reversed."""
    rng = np.random.default_rng(n)
    rows = np.stack(
        [
            rng.normal(size=n),
            rng.integers(0, 5, size=n),
            np.where(rng.random(n) < 0.2, np.inf, -np.inf),
            np.arange(n),
            -np.arange(n),
            np.full(n, 3.0),
            np.where(rng.random(n) < 0.5, -0.0, 0.0),
        ]
    ).astype(dtype)
    given = torch.from_numpy(rows.copy())
    result = sort_rows(given)
    np.testing.assert_array_equal(result.numpy(), np.sort(rows, axis=1))
    assert result.data_ptr() == given.data_ptr()

"""The rows kept of one site."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gaussprobe.capture.rows import Rows
from gaussprobe.stats.streaming import Reservoir
from gaussprobe.stats.streaming.hashing import row_keys


def offer(rows: Rows, x: torch.Tensor, first: int, seed: int = 3) -> None:
    """Offer the rows of `x`, numbered from `first`."""
    examples = np.arange(first, first + len(x))
    change = rows.change(row_keys(seed, examples), examples)
    rows.apply(change)
    rows.put(change.slots, x[torch.from_numpy(change.taken)])


@pytest.mark.parametrize("max_samples", [1, 7, 50, 400])
@pytest.mark.parametrize("batch", [1, 13, 60, 300])
def test_the_rows_of_the_reservoir(max_samples: int, batch: int) -> None:
    """They are those that the public reservoir keeps, in the order of their examples, however cut."""
    x = torch.randn(300, 5)
    rows, expected = Rows(max_samples), Reservoir(max_samples, seed=3)
    for first in range(0, 300, batch):
        offer(rows, x[first : first + batch], first)
        expected.update(x[first : first + batch])
    values, examples = rows.in_order()
    found = expected.compute()
    assert examples.tolist() == found.ids.tolist()
    assert torch.equal(values, found.rows)


def test_rows_go_on_after_they_were_read() -> None:
    """Putting rows in order in the middle changes nothing of what is kept in the end."""
    x, rows, other = torch.randn(200, 600), Rows(20), Rows(20)
    for first in range(0, 200, 25):
        offer(rows, x[first : first + 25], first)
        offer(other, x[first : first + 25], first)
        rows.in_order()
    assert torch.equal(rows.in_order()[0], other.in_order()[0])


def test_large_reservoirs_grow_and_doubles_stay_doubles() -> None:
    """Beyond what is allocated at once memory grows, and float64 rows make all of them float64."""
    x, rows = torch.randn(10_000, 2), Rows(9_000)
    for first in range(0, 10_000, 1_000):
        offer(rows, x[first : first + 1_000].double() if first == 5_000 else x[first : first + 1_000], first)
    values, examples = rows.in_order()
    assert values.dtype == torch.float64
    assert len(examples) == 9_000
    assert torch.equal(values, x[torch.from_numpy(examples)].double())

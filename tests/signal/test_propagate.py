"""Laws of pre-activations over draws of the weights."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gaussprobe import signal

ROOT_2 = math.sqrt(2)


@pytest.mark.parametrize(("widths", "distance"), [([1, 1], 0.2512), ([1, 1, 1], 0.3764)])
def test_distances_of_narrow_relu_networks(widths: list[int], distance: float) -> None:
    """ReLU of width 1 has the distances that quadrature gives of Wolinski & Arbel's networks.

    The distance is taken at the atom at 0, where the error is that of a share: 4 standard errors.
    """
    draws = 200_000
    found = signal.propagate("relu", widths=widths, draws=draws, sigma_w=ROOT_2)
    assert found.ks_distance[-1] == pytest.approx(distance, abs=4 * math.sqrt(0.25 / draws))
    assert found[-1].ks_low < distance < found[-1].ks_high


def test_first_layer_is_normal() -> None:
    """Whatever the activation, the first layer of unit variance passes both nulls."""
    found = signal.propagate("relu", widths=[4, 4], draws=20_000, seed=1)
    assert found[0].pvalue > 1e-3
    assert found[0].fitted_pvalue > 1e-3
    assert all(result.pvalue > 1e-3 for result in found[0].tests.values())
    assert found[0].sd == pytest.approx(1, abs=4 / math.sqrt(2 * 20_000))
    assert np.all(found.ks_distance[1:] > found.critical_distance)

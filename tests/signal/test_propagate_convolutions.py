"""Laws of pre-activations in random convolutional networks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gaussprobe import signal
from gaussprobe.signal import walk
from gaussprobe.signal.networks import networks
from gaussprobe.signal.weights import NORMAL

SETTING: dict[str, Any] = {
    "sigma_w": 1.3,
    "sigma_b": 0.4,
    "weight": ("weibull", 3.0),
    "seed": 5,
    "device": None,
}


def image(*shape: int) -> torch.Tensor:
    """Of normal values."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(11))


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(3, 6, 7), (2, 3, 5, 4), (1, 1, 1)])
def test_networks_one_by_one(
    kernel_size: int, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every network is that which `conv2d` with zero padding makes of the same numbers, in float64."""
    monkeypatch.setattr(walk, "_CHUNK_CPU", 2**13)
    x, widths, draws = image(*shape), (4, 2, 3), 20
    found = networks("tanh", widths=widths, draws=draws, x=x, kernel_size=kernel_size, **SETTING)
    cut = walk.chunks(found, draws)
    got = torch.cat([one.firsts for one in walk.run(found, cut)], dim=1)
    inputs = (x if len(shape) == 4 else x[None]).double()
    rows, columns = shape[-2] // 2, shape[-1] // 2
    expected = []
    for chunk in cut:
        source, channels, drawn = walk.generator(found, chunk), shape[-3], []
        for layer, width in enumerate(widths):
            fan = channels * kernel_size**2
            w = (found.weight if layer else NORMAL).draw((chunk.count, width, fan), source).double()
            b = NORMAL.draw((chunk.count, width), source).double()
            drawn.append((w.view(chunk.count, width, channels, kernel_size, kernel_size), b, fan))
            channels = width
        for i in range(chunk.count):
            a, own = inputs, []
            for w, b, fan in drawn:
                z = F.conv2d(a, 1.3 * w[i] / math.sqrt(fan), 0.4 * b[i], padding=kernel_size // 2)
                own.append(float(z[0, 0, rows, columns]))
                a = torch.tanh(z)
            expected.append(own)
    assert got.t().numpy() == pytest.approx(np.array(expected), rel=1e-4, abs=1e-5)


def test_the_first_layer_is_normal() -> None:
    """Of the variance that the patch around the middle has, 0 beyond the edges."""
    x = image(3, 2, 2)
    variance = 1.5**2 * float(x.square().sum()) / 27
    found = signal.propagate("relu", widths=[4, 4], draws=20_000, sigma_w=1.5, x=x, kernel_size=3)
    assert found[0].fitted_pvalue > 1e-3
    assert all(result.pvalue > 1e-3 for result in found[0].tests.values())
    assert found[0].sd ** 2 == pytest.approx(variance, rel=4 * math.sqrt(2 / 20_000))
    scaled = x / math.sqrt(variance)
    assert (
        signal.propagate("relu", widths=[4], draws=20_000, sigma_w=1.5, x=scaled, kernel_size=3)[0].pvalue
        > 1e-3
    )


def test_kernels_of_one_are_dense() -> None:
    """A 1 x 1 kernel gives the middle position what a dense network gives its channels."""
    x = image(5, 3, 3)
    plain: dict[str, Any] = {"widths": [6, 6], "draws": 500, "sigma_w": 1.2, "sigma_b": 0.3}
    convolved = signal.propagate("tanh", x=x, kernel_size=1, **plain)
    dense = signal.propagate("tanh", x=x[:, 1, 1], **plain)
    assert convolved.kernel_size == 1
    assert dense.kernel_size is None
    assert convolved.input_shape == (5, 3, 3)
    assert convolved.sd == pytest.approx(dense.sd, rel=1e-5)
    assert convolved.ks_distance == pytest.approx(dense.ks_distance, abs=1e-5)


def test_variance_of_linear_networks() -> None:
    """It is sigma_w^2 times the mean over the kernel of the layer before, zeros around: a blurred image.

    Standard errors from the kurtosis of the sample; 4 of them.
    """
    draws, x = 10_000, image(2, 6, 6)
    found = signal.propagate("linear", widths=[8] * 4, draws=draws, sigma_w=1.4, x=x, kernel_size=3)
    variance = x.double().square().mean(dim=0)[None, None]
    for law in found:
        variance = 1.4**2 * F.avg_pool2d(variance, 3, stride=1, padding=1, count_include_pad=True)
        se = math.sqrt((law.excess_kurtosis + 2) / draws)
        assert law.sd**2 == pytest.approx(float(variance[0, 0, 3, 3]), rel=4 * se)


def test_positions_near_the_border_see_less() -> None:
    """One row of three pixels fills a third of the 3 x 3 kernel around its middle."""
    found = signal.propagate("linear", widths=[50], draws=20_000, x=torch.ones(1, 1, 3), kernel_size=3)
    assert found[0].sd ** 2 == pytest.approx(1 / 3, rel=4 * math.sqrt(2 / 20_000))


def test_two_images() -> None:
    """Layer 1 has the correlation of the two patches around the middle, over draws and channels."""
    x = image(2, 3, 5, 5)
    a, b = x[0, :, 1:4, 1:4].flatten(), x[1, :, 1:4, 1:4].flatten()
    expected = float(a @ b / a.norm() / b.norm())
    found = signal.propagate("relu", widths=[4, 4], draws=5_000, x=x, kernel_size=3)
    one = found.correlations[0]
    # The interval is 2.02 standard errors to either side.
    assert abs(one.correlation - expected) < 4 / 2.02 * (one.high - one.low) / 2
    assert one.high - one.low < 0.05
    assert found.input_shape == (2, 3, 5, 5)

"""The statistics on a CUDA device: against loops on the CPU, and against the device's own sort."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import scipy.stats
import torch
from pytest_benchmark.fixture import BenchmarkFixture

import gaussprobe.stats as gs
from tests import needs
from tests.benchmarks.conftest import Page, ratio

pytestmark = [
    pytest.mark.gpu,
    needs.CUDA,
]

SHAPES = [(512, 8192), (2048, 1024), (2048, 8192), (5000, 1024)]


def finished(function: Callable[[], Any]) -> Callable[[], None]:
    """`function`, waiting for the device."""

    def call() -> None:
        function()
        torch.cuda.synchronize()

    return call


@pytest.mark.parametrize(("n", "units"), SHAPES)
def test_on_the_device(page: Page, benchmark: BenchmarkFixture, n: int, units: int) -> None:
    """Shapiro-Wilk against a loop of scipy on the CPU, and the battery against torch.sort on the device."""
    x = torch.randn(n, units, device="cuda")
    array = x.cpu().numpy()
    loop = ratio(
        finished(lambda: gs.shapiro_wilk(x)),
        lambda: [scipy.stats.shapiro(array[:, j]) for j in range(units)],
        3,
    )
    rows = x.t().contiguous()
    sort = ratio(finished(lambda: gs.battery(x)), finished(lambda: torch.sort(rows, dim=1)), 15)
    benchmark.pedantic(finished(lambda: gs.battery(x)), rounds=5)
    page.add(
        "Statistics on the GPU",
        "`shapiro_wilk(x)` against a loop of `scipy.stats.shapiro` on the CPU, `battery(x)` of ten tests,\n"
        "and the share of the device's sort throughput that it reaches: the time of `torch.sort` of\n"
        "the same numbers, `(units, n)` float32, over its own.",
        ("n x units", "shapiro_wilk, times", "shapiro_wilk", "battery", "share of sort"),
        f"{n:,} x {units:,}",
        str(loop),
        f"{loop.ours * 1e3:.3g} ms",
        f"{sort.ours * 1e3:.3g} ms",
        f"{sort.times:.2f}",
    )

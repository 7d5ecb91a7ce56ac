"""How much faster than a Python loop over units: ratios, measured interleaved in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from statsmodels.stats.diagnostic import lilliefors, normal_ad

import gaussprobe.stats as gs
from gaussprobe.stats.jackknife import median_intervals

ROUNDS = 5


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def ratio(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float, float]:
    """Median over rounds of theirs / ours, and of both in seconds; each pair is measured back to back."""
    ours()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(ROUNDS)]
    ratios = [b / a for a, b in pairs]
    return (
        statistics.median(ratios),
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
    )


def record(benchmark: BenchmarkFixture, what: str, found: tuple[float, float, float]) -> None:
    """Keep a ratio with the benchmark and print it."""
    times, ours, theirs = found
    benchmark.extra_info.update(ratio=round(times, 1), ours_seconds=ours, loop_seconds=theirs)
    print(f"\n{what}: {times:.0f}x faster ({ours * 1e3:.1f} ms against {theirs * 1e3:.0f} ms)")


def layer(n: int, units: int) -> torch.Tensor:
    """`(n, units)` float32, normal."""
    return torch.from_numpy(np.random.default_rng(0).normal(size=(n, units)).astype(np.float32))


@pytest.mark.parametrize(("n", "units"), [(512, 1024), (2048, 1024)])
def test_shapiro_wilk(benchmark: BenchmarkFixture, n: int, units: int) -> None:
    """shapiro_wilk against a loop of scipy.stats.shapiro."""
    x = layer(n, units)
    columns = list(np.ascontiguousarray(x.numpy().T, dtype=np.float64))
    found = ratio(lambda: gs.shapiro_wilk(x), lambda: [scipy.stats.shapiro(c) for c in columns])
    benchmark(gs.shapiro_wilk, x)
    record(benchmark, f"shapiro_wilk, {n} x {units}", found)


@pytest.mark.parametrize(("n", "units"), [(512, 1024), (2048, 1024)])
def test_battery(benchmark: BenchmarkFixture, n: int, units: int) -> None:
    """The battery against four loops of scipy and statsmodels."""
    x = layer(n, units)
    columns = list(np.ascontiguousarray(x.numpy().T, dtype=np.float64))

    def loops() -> None:
        for function in (scipy.stats.shapiro, lilliefors, normal_ad, scipy.stats.normaltest):
            for column in columns:
                function(column)

    found = ratio(lambda: gs.battery(x), loops)
    benchmark(gs.battery, x)
    record(benchmark, f"battery of four, {n} x {units}", found)


def test_median_intervals(benchmark: BenchmarkFixture) -> None:
    """Jackknife intervals of delta and negentropy of a layer of 1,024 units and 2,048 rows."""
    x = layer(2048, 1024)
    benchmark.pedantic(median_intervals, args=(x, np.arange(2048)), rounds=3)

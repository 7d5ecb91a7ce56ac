"""How much faster than a Python loop over units, how near to a bare sort, and in how much memory."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from statsmodels.stats.diagnostic import lilliefors

import gaussprobe.stats as gs
from gaussprobe.stats.jackknife import median_intervals
from tests.benchmarks.conftest import Page, ratio

COLUMNS = ("n x units", "times (quartiles)", "ours", "theirs")

# What a user writes for each of the ten that scipy or statsmodels has.
EIGHT: tuple[Callable[[Any], Any], ...] = (
    scipy.stats.shapiro,
    scipy.stats.normaltest,
    scipy.stats.jarque_bera,
    scipy.stats.anderson,
    lambda c: scipy.stats.kstest(c, "norm", args=(c.mean(), c.std(ddof=1))),
    lambda c: scipy.stats.cramervonmises(c, "norm", args=(c.mean(), c.std(ddof=1))),
    lilliefors,
    lambda c: scipy.stats.differential_entropy(c, method="vasicek"),
)


def layer(n: int, units: int) -> torch.Tensor:
    """`(n, units)` float32, normal."""
    return torch.from_numpy(np.random.default_rng(0).normal(size=(n, units)).astype(np.float32))


def milliseconds(value: float) -> str:
    """For a cell."""
    return f"{value * 1e3:.3g} ms"


@pytest.mark.parametrize(("n", "units", "rounds"), [(512, 8192, 7), (2048, 1024, 15), (5000, 1024, 9)])
def test_shapiro_wilk(benchmark: BenchmarkFixture, page: Page, n: int, units: int, rounds: int) -> None:
    """shapiro_wilk with p-values against a loop of scipy.stats.shapiro."""
    x = layer(n, units)
    array = x.numpy()
    found = ratio(
        lambda: gs.shapiro_wilk(x),
        lambda: [scipy.stats.shapiro(array[:, j]) for j in range(units)],
        rounds,
    )
    of_tensor = ratio(
        lambda: gs.shapiro_wilk(x),
        lambda: [scipy.stats.shapiro(x[:, j]) for j in range(units)],
        rounds,
    )
    benchmark.extra_info.update(ratio=found.times)
    benchmark.pedantic(gs.shapiro_wilk, args=(x,), rounds=5)
    page.add(
        "Shapiro-Wilk",
        "`shapiro_wilk(x)` of a float32 tensor, p-values included, against\n"
        "`[scipy.stats.shapiro(x[:, j]) for j in range(units)]`, x an array of the same numbers or the\n"
        "tensor itself, whose columns scipy converts.",
        ("n x units", "times the array's loop (quartiles)", "the tensor's loop", "ours", "array", "tensor"),
        f"{n:,} x {units:,}",
        str(found),
        str(of_tensor),
        milliseconds(found.ours),
        milliseconds(found.theirs),
        milliseconds(of_tensor.theirs),
    )


@pytest.mark.parametrize(("n", "units", "rounds"), [(512, 1024, 5), (2048, 1024, 5), (5000, 1024, 3)])
def test_battery(benchmark: BenchmarkFixture, page: Page, n: int, units: int, rounds: int) -> None:
    """The battery of ten, with p-values, against the eight loops a user writes."""
    x = layer(n, units)
    array = x.numpy()

    def loops() -> None:
        for function in EIGHT:
            for j in range(units):
                function(array[:, j])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's anderson announces a change; lilliefors ends its table
        found = ratio(lambda: gs.battery(x), loops, rounds)
    benchmark.extra_info.update(ratio=found.times)
    benchmark.pedantic(gs.battery, args=(x,), rounds=5)
    page.add(
        "Battery of ten",
        "`battery(x)`, ten tests with p-values, against loops over units of the eight calls a user writes:\n"
        "`shapiro`, `normaltest`, `jarque_bera`, `anderson`, `kstest`, `cramervonmises` and\n"
        "`differential_entropy` of scipy.stats, `lilliefors` of statsmodels.",
        COLUMNS,
        f"{n:,} x {units:,}",
        str(found),
        milliseconds(found.ours),
        milliseconds(found.theirs),
    )


@pytest.mark.parametrize(("n", "units"), [(512, 8192), (2048, 1024), (2048, 8192), (5000, 1024)])
def test_battery_and_sort(page: Page, benchmark: BenchmarkFixture, n: int, units: int) -> None:
    """The battery of ten against nothing but sorting the same numbers with numpy."""
    x = layer(n, units)
    array = x.numpy()
    units_first = np.ascontiguousarray(array.T)
    dense = ratio(lambda: gs.battery(x), lambda: np.sort(units_first, axis=1), 15)
    as_given = ratio(lambda: gs.battery(x), lambda: np.sort(array, axis=0), 7)
    benchmark.pedantic(gs.battery, args=(x,), rounds=3)
    page.add(
        "Battery of ten and a bare sort",
        "How many times as long `battery(x)` takes as `numpy.sort` of the same float32 numbers, on one\n"
        "core: laid out unit by unit, `(units, n)`, and as given, `(n, units)`.",
        ("n x units", "battery / sort of (units, n)", "battery / sort of (n, units)", "battery"),
        f"{n:,} x {units:,}",
        f"{1 / dense.times:.2f} ({1 / dense.high:.2f}-{1 / dense.low:.2f})",
        f"{1 / as_given.times:.2f}",
        milliseconds(dense.ours),
    )


@pytest.mark.parametrize("call", ["shapiro_wilk", "battery"])
def test_memory(page: Page, benchmark: BenchmarkFixture, call: str) -> None:
    """Peak resident memory above what there was before, in a process of its own."""
    n, units = 2048, 1024
    script = textwrap.dedent(
        f"""
        import pathlib, torch
        import gaussprobe.stats as gs
        def status(key):
            text = pathlib.Path("/proc/self/status").read_text()
            return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(key))
        x = torch.randn({n}, {units})
        gs.{call}(x[:, :2])  # tables and libraries are loaded
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = status("VmRSS")
        gs.{call}(x)
        print((status("VmHWM") - before) * 1024 / x.nbytes)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    benchmark.pedantic(lambda: None, rounds=1)
    page.add(
        "Memory",
        "Peak resident memory above what there was before the first full call, as a multiple of the input;\n"
        "workers keep their share of it.",
        ("call", "n x units", "times the input"),
        f"`{call}`",
        f"{n:,} x {units:,}, float32",
        f"{float(done.stdout):.2f}",
    )


def test_median_intervals(benchmark: BenchmarkFixture, page: Page) -> None:
    """Jackknife intervals of delta and negentropy of a layer of 1,024 units and 2,048 rows."""
    x = layer(2048, 1024)
    found = ratio(lambda: gs.battery(x), lambda: median_intervals(x, np.arange(2048)), 3)
    benchmark.pedantic(median_intervals, args=(x, np.arange(2048)), rounds=1)
    page.add(
        "Jackknife",
        "`median_intervals(x, examples)`: delta and negentropy of 21 samples per unit, and one `battery(x)`.",
        ("n x units", "times the battery", "jackknife"),
        "2,048 x 1,024",
        f"{found.times:.1f}",
        milliseconds(found.theirs),
    )

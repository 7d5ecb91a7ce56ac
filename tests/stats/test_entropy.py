"""Negentropy against exact values, and what happens to ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import digamma

import gaussprobe.stats as gs
from gaussprobe.stats import contrasts, entropy, ordered, tables
from tests.stats.laws import bfloat16

# Exact J = ln(sd sqrt(2 pi e)) - H, H of each law from scipy.stats.<law>.entropy().
EXACT = {
    "normal": 0.0,
    "uniform": 0.5 * math.log(math.pi * math.e / 6),
    "exponential": 0.5 * math.log(2 * math.pi * math.e) - 1,
    "laplace": 0.5 * math.log(2 * math.pi * math.e * 2) - 1 - math.log(2),
    "logistic": 0.5 * math.log(2 * math.pi * math.e * math.pi**2 / 3) - 2,
    "t5": 0.046849,
}
DRAW = {
    "normal": lambda rng, size: rng.normal(size=size),
    "uniform": lambda rng, size: rng.uniform(size=size),
    "exponential": lambda rng, size: rng.exponential(size=size),
    "laplace": lambda rng, size: rng.laplace(size=size),
    "logistic": lambda rng, size: rng.logistic(size=size),
    "t5": lambda rng, size: rng.standard_t(5, size=size),
}


# Root mean square error of one estimate at n = 2,000, in nats, measured over 20,000 samples of each law.
ERROR = {
    "normal": 0.0029,
    "uniform": 0.0106,
    "exponential": 0.0214,
    "laplace": 0.0195,
    "logistic": 0.0055,
    "t5": 0.0168,
}


@pytest.mark.parametrize("law", EXACT)
def test_exact_values(law: str) -> None:
    """At n = 2,000 estimates average to the exact J within .005 nats and scatter no more than measured."""
    x = DRAW[law](np.random.default_rng(3), (2000, 400))
    error = gs.negentropy(x) - EXACT[law]
    assert abs(error.mean()) < 0.005
    assert np.sqrt((error**2).mean()) < 1.25 * ERROR[law]


def test_null_sd() -> None:
    """At n = 2,000 the sd under normality is .0029 nats and the mean 0, within their sampling error."""
    j = gs.negentropy(np.random.default_rng(4).normal(size=(2000, 400)))
    assert j.std() == pytest.approx(0.0029, rel=0.12)
    assert abs(j.mean()) < 4 * 0.0029 / 20


def test_the_formula_by_hand() -> None:
    """One sample of 30 worked out point by point as the docstring has it."""
    x = np.sort(np.random.default_rng(5).gamma(2.0, size=30))
    n = len(x)
    log_f = []
    for i in range(1, n + 1):
        m = max(1, min(math.ceil(min(i, n + 1 - i) / 4), 3))  # floor(30^(1/3)) = 3
        first, last = max(i - m, 1), min(i + m, n)
        log_f.append(digamma(last - first) - digamma(n + 1) - math.log(x[last - 1] - x[first - 1]))
    expected = math.log(x.std() * math.sqrt(2 * math.pi * math.e)) + np.mean(log_f)
    expected -= tables.null_mean("negentropy", n)
    assert gs.negentropy(x) == pytest.approx(expected, rel=1e-12)


def test_ties_by_hand() -> None:
    """Where values repeat, a window doubles until it has a width, and psi takes its true order."""
    x = np.sort(np.random.default_rng(6).normal(size=20_000).round(2))
    n = len(x)
    log_f, widened = [], 0
    for i in range(1, n + 1):
        m = max(1, min(math.ceil(min(i, n + 1 - i) / 4), 27))  # floor(20000^(1/3)) = 27
        first, last = max(i - m, 1), min(i + m, n)
        widened += x[last - 1] == x[first - 1]
        while x[last - 1] == x[first - 1]:
            m *= 2
            first, last = max(i - m, 1), min(i + m, n)
        log_f.append(digamma(last - first) - digamma(n + 1) - math.log(x[last - 1] - x[first - 1]))
    assert widened > 100
    expected = math.log(x.std() * math.sqrt(2 * math.pi * math.e)) + np.mean(log_f)
    expected -= tables.null_mean("negentropy", n)
    assert gs.negentropy(x) == pytest.approx(expected, rel=1e-9)


def test_an_atom_is_infinite() -> None:
    """A value that 3 % of the sample share gives +inf, in its own column only."""
    x = np.random.default_rng(7).normal(size=(1000, 3))
    x[:30, 1] = 0.5
    assert np.isinf(gs.negentropy(x)).tolist() == [False, True, False]
    assert gs.negentropy(x)[1] > 0


@pytest.mark.parametrize(("n", "bias"), [(2048, 0.001), (20_000, 0.016)])
def test_bfloat16_is_no_atom(n: int, bias: float) -> None:
    """Normal samples rounded to bfloat16 have a finite J near 0; ties raise it at large n."""
    x = bfloat16(np.random.default_rng(8).normal(size=(n, 20)))
    j = gs.negentropy(x)
    assert np.abs(j).max() < 5 * tables.null_sd("negentropy", n) + bias


def test_windows_at_a_cube() -> None:
    """n^(1/3) of a cube is its root, not the float just below it."""
    half, *_ = entropy._windows(64_000, torch.device("cpu"))
    assert half.max() == 40


@pytest.mark.parametrize("method", ["vasicek", "", None])
def test_unknown_method(method: object) -> None:
    """A method there is not raises ValueError."""
    with pytest.raises(ValueError, match="method must be one of spacing, logcosh, exp, cumulant; got"):
        gs.negentropy(np.zeros(20), method=method)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["logcosh", "exp", "cumulant"])
def test_contrasts_by_method(method: entropy.Method) -> None:
    """The method chooses the contrast, of arrays and tensors, along any dimension."""
    x = np.random.default_rng(3).exponential(size=(4, 500))
    expected = contrasts.negentropy_contrast(method, ordered.order(torch.from_numpy(x.T))).numpy()  # type: ignore[arg-type]
    found = gs.negentropy(x, dim=1, method=method)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert (np.abs(found - gs.negentropy(x, dim=1)) > 0.05).all()


def test_two_values() -> None:
    """A sample of two values only is infinitely far from normal at every n from 12 on, and never NaN."""
    for n in (12, 40, 1000):
        x = torch.arange(n).remainder(2).double()[:, None]
        assert entropy.corrected(ordered.order(x)).tolist() == [math.inf]

"""Intervals of effect sizes: coverage, what is estimated, and input that has none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import gaussprobe.stats as gs
from gaussprobe.errors import ConstantSampleWarning, NonFiniteSampleWarning, TooFewSamplesWarning
from gaussprobe.stats import tables
from gaussprobe.stats.interval import EFFECTS, Interval, interval
from tests.calibration.laws import LAWS, MIXTURE, Law
from tests.stats.laws import bfloat16

BY_NAME = {law.name: law for law in (*LAWS, MIXTURE)}
every = pytest.mark.parametrize("name", EFFECTS)


def covered(name: str, law: Law, n: int, samples: int, level: float = 0.95) -> float:
    """Share of samples whose interval covers the law's value."""
    x = law.draw((n, samples), np.random.default_rng(1))
    _, low, high = interval(name, x, level)
    return float(np.mean((low <= law.sizes[name] + 1e-12) & (law.sizes[name] - 1e-12 <= high)))


@pytest.mark.parametrize(
    ("law", "least"),
    [
        ("uniform", 0.92),
        ("exponential", 0.92),
        ("Laplace", 0.92),
        ("logistic", 0.92),
        (MIXTURE.name, 0.92),
        ("t(5)", 0.89),
    ],
)
def test_coverage_of_the_negentropy(law: str, least: float) -> None:
    """At n = 2,000 the 95 % interval covers the exact value in .92 to .98 of 1,500 samples, t(5)'s in .89.

    The standard error of a share of .95 is .006; docs/intervals.md has the shares of more samples.
    """
    assert least <= covered("negentropy", BY_NAME[law], 2_000, 1_500) <= 0.98


@pytest.mark.parametrize("law", ["uniform", "logistic"])
@pytest.mark.parametrize("name", [name for name in EFFECTS if name not in ("negentropy", "excess_kurtosis")])
def test_coverage(name: str, law: str) -> None:
    """At n = 1,000 the 95 % interval covers the law's value in .91 to .995 of 400 samples.

    The standard error of a share of .95 is .011.
    """
    assert 0.91 <= covered(name, BY_NAME[law], 1_000, 400) <= 0.995


@pytest.mark.parametrize(("law", "least"), [("normal", 0.89), ("uniform", 0.92), ("logistic", 0.82)])
def test_coverage_of_the_kurtosis(law: str, least: float) -> None:
    """It falls short as tails grow heavy, and is what the documentation says it is."""
    assert least <= covered("excess_kurtosis", BY_NAME[law], 1_000, 400) <= 0.985


@pytest.mark.parametrize("name", ["delta", "negentropy", "qq_r2", "ks_distance", "wasserstein"])
@pytest.mark.parametrize("n", [8, 50, 1_000])
def test_normal_samples_cover_no_departure(name: str, n: int) -> None:
    """Of 400 normal samples 95 % and more have an interval that reaches the normal law's value.

    It can miss on one side only; .95 less three standard errors is allowed, .917.
    """
    assert covered(name, BY_NAME["normal"], n, 400) >= 0.917


def test_level() -> None:
    """A 50 % interval of tau3 covers in half of 600 samples, within three standard errors of .02."""
    assert covered("tau3", BY_NAME["logistic"], 500, 600, 0.5) == pytest.approx(0.5, abs=0.062)


@every
def test_a_higher_level_is_wider(name: str) -> None:
    """The 99 % interval holds the 80 % interval, which holds the estimate."""
    x = np.random.default_rng(2).exponential(size=(300, 20))
    (estimate, low, high), (same, lower, higher) = interval(name, x, 0.8), interval(name, x, 0.99)
    np.testing.assert_array_equal(estimate, same)
    assert ((lower < low) & (low < estimate) & (estimate < high) & (high < higher)).all()


@pytest.mark.parametrize(
    "law", [*(n for n in ("uniform", "exponential", "Laplace", "logistic", "t(5)")), "mix"]
)
def test_mean_negentropy_of_large_samples(law: str) -> None:
    """At n = 100,000 the mean of 16 estimates is within 2 % or three standard errors of the exact value.

    docs/intervals.md has the mean of 200.
    """
    one = MIXTURE if law == "mix" else BY_NAME[law]
    x = one.draw((100_000, 16), np.random.default_rng(3))
    estimates = gs.negentropy(x)
    error = abs(estimates.mean() - one.sizes["negentropy"])
    assert error < max(0.02 * one.sizes["negentropy"], 3 * estimates.std(ddof=1) / 4)


def test_estimates_are_the_public_ones() -> None:
    """Estimates are those of the functions of the same name, where these are corrected or need not be."""
    x = np.random.default_rng(4).gamma(3.0, size=(200, 30))
    for name in ("delta", "negentropy", "skewness", "excess_kurtosis"):
        np.testing.assert_allclose(interval(name, x).estimate, getattr(gs, name)(x), rtol=1e-12)
    for name in ("tau3", "tau4"):
        np.testing.assert_allclose(interval(name, x).estimate, getattr(gs.l_moments(x), name), rtol=1e-12)


def test_estimates_corrected_here() -> None:
    """R^2 is 1 - delta; of the distances, the square is corrected; none leaves its range."""
    x = np.random.default_rng(5).normal(size=(200, 60)) ** 3
    x[:, :30] = np.random.default_rng(6).normal(size=(200, 30))
    np.testing.assert_allclose(interval("qq_r2", x).estimate, np.minimum(1 - gs.delta(x), 1), rtol=1e-12)
    for name in ("ks_distance", "wasserstein"):
        mean, sd = tables.null_mean(name, 200), tables.null_sd(name, 200)
        square = np.maximum(getattr(gs, name)(x) ** 2 - mean**2 - sd**2, 0)
        estimate, low, _ = interval(name, x)
        np.testing.assert_allclose(estimate, np.sqrt(square), rtol=1e-9)
        assert (estimate == 0).any()
        assert (low >= 0).all()


def standard_error(name: str, x: np.ndarray) -> np.ndarray:
    """What the limits say the standard error is, where q is that of many degrees of freedom."""
    n = len(x)
    estimate, _, high = interval(name, x)
    q = 1.959964  # normal, .975
    if name == "skewness":
        return (np.arcsinh(high) - np.arcsinh(estimate)) * np.sqrt(estimate**2 + 1) / q
    if name == "excess_kurtosis":
        return np.log((high + 2) / (estimate + 2)) * (estimate + 2) / q
    if name in ("tau3", "tau4"):
        return (high - estimate) / q
    sd = tables.null_sd(name, n)
    if name == "wasserstein":
        estimate, high = estimate**2, high**2
        sd = 2 * sd * tables.null_mean(name, n)
    u = np.maximum(estimate, 0) + 3 * sd
    return np.sqrt((np.log((high - estimate) / u + 1) * u / q) ** 2 - sd**2)


@pytest.mark.parametrize("name", ["delta", "wasserstein", "skewness", "excess_kurtosis", "tau3", "tau4"])
def test_influence_is_the_jackknife(name: str) -> None:
    """The standard error is that of leaving out each value in turn, to 3 %."""
    n = 800
    x = np.random.default_rng(7).beta(2.0, 5.0, size=n)
    left_out = np.stack([np.delete(x, i) for i in range(n)], axis=1)
    if name in ("tau3", "tau4"):
        values = getattr(gs.l_moments(left_out), name)
    else:
        values = getattr(gs, name)(left_out)
    if name == "wasserstein":
        values = values**2
    expected = math.sqrt((n - 1) / n * ((values - values.mean()) ** 2).sum())
    assert standard_error(name, x[:, None])[0] == pytest.approx(expected, rel=0.03)


@every
def test_affine_invariance(name: str) -> None:
    """a + bx has the interval of x; with b < 0 skewness and tau3 change their sign."""
    x = np.random.default_rng(8).gamma(4.0, size=(150, 5))
    expected, got, turned = (interval(name, y) for y in (x, 3 + 20 * x, 3 - 20 * x))
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
    if name in ("skewness", "tau3"):
        turned = Interval(-turned.estimate, -turned.high, -turned.low)
    np.testing.assert_allclose(turned, expected, rtol=1e-9, atol=1e-12)


@every
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_batch_is_a_loop(name: str, dim: int) -> None:
    """Samples lie along any dimension; each result is that of its sample alone, in the batch's place."""
    x = torch.randn(9, 10, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = interval(name, x, dim=dim)
    rows = x.movedim(dim, -1)
    for field, parts in zip(
        result, zip(*(interval(name, r) for r in rows.flatten(0, 1)), strict=True), strict=True
    ):
        assert field.shape == rows.shape[:-1]
        torch.testing.assert_close(field, torch.stack(parts).view(field.shape), rtol=1e-9, atol=1e-12)


@every
def test_arrays_and_float32(name: str) -> None:
    """An array gives arrays; float32 values give, to a thousandth of the width, what float64 values give."""
    x = np.random.default_rng(9).logistic(size=(500, 4))
    expected, got = interval(name, x), interval(name, x.astype(np.float32))
    for wide, short in zip(expected, got, strict=True):
        assert isinstance(short, np.ndarray)
        assert short.dtype == np.float64
        np.testing.assert_allclose(short, wide, atol=1e-3 * (expected.high - expected.low).min())


@every
def test_constant_and_nonfinite(name: str) -> None:
    """A constant and a NaN column have no interval, with warnings, and change no other."""
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    clean = interval(name, x[:, [0, 3]])
    x[:, 1] = 0.1
    x[5, 2] = torch.nan
    with (
        pytest.warns(ConstantSampleWarning, match="interval: 1 of 4 samples have no variance"),
        pytest.warns(NonFiniteSampleWarning, match="interval: 1 of 4 samples have NaN or infinite values"),
    ):
        spoilt = interval(name, x)
    for field, reference in zip(spoilt, clean, strict=True):
        assert field[1:3].isnan().all()
        torch.testing.assert_close(field[[0, 3]], reference, rtol=1e-9, atol=1e-12)


@every
def test_too_few(name: str) -> None:
    """Seven samples have no interval, eight have one."""
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(2))
    with pytest.warns(TooFewSamplesWarning, match="interval needs at least 8 samples; got 7"):
        fields = interval(name, x[:7])
    assert all(field.isnan().all() for field in fields)
    assert all(field.isfinite().all() for field in interval(name, x))


def test_an_atom_has_no_limits() -> None:
    """Infinite negentropy has an infinite estimate and NaN limits; delta of the same sample has limits."""
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(3))
    x[:, 1].clamp_(min=0)
    estimate, low, high = interval("negentropy", x)
    assert estimate.isinf().tolist() == [False, True, False]
    assert low.isnan().tolist() == high.isnan().tolist() == [False, True, False]
    assert all(field.isfinite().all() for field in interval("delta", x))


@every
def test_two_values(name: str) -> None:
    """A sample of two values, where every value has the same influence, has limits where it is finite."""
    x = torch.arange(40).remainder(2).double()
    estimate, low, high = interval(name, x)
    assert not estimate.isnan()
    if estimate.isfinite():
        assert low <= estimate <= high


def test_repeated_values() -> None:
    """Rounded to bfloat16, exponential samples have nearly the negentropy interval they had before."""
    x = np.random.default_rng(10).exponential(size=(2_000, 20))
    expected, got = interval("negentropy", x), interval("negentropy", bfloat16(x))
    width, coarse = expected.high - expected.low, got.high - got.low
    np.testing.assert_allclose(coarse, width, rtol=0.1)


def test_the_highest_level_has_limits() -> None:
    """Levels whose upper quantile rounds to probability 1 have finite limits, wider than those below."""
    x = np.random.default_rng(0).normal(size=100)
    below, above = interval("tau4", x, 1 - 1e-12), interval("tau4", x, 1 - 2**-53)
    assert np.isfinite(above.high)
    assert above.high > below.high


@pytest.mark.parametrize("name", ["tau3", "tau4", "delta"])
def test_subnormal_values(name: str) -> None:
    """Values of subnormal size have the interval of the same values in another unit, but for lost digits."""
    x = np.random.default_rng(0).normal(size=100)
    np.testing.assert_allclose(interval(name, x * 1e-310), interval(name, x), rtol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("negentrop", np.zeros(9)),
            "name must be among delta, .*; got 'negentrop': did you mean 'negentropy'",
        ),
        ((None, np.zeros(9)), "name must be among delta, .*; got None"),
        (("delta", np.zeros(9), 1.0), "level must lie between 0 and 1; got 1.0"),
        (("delta", np.zeros(9), "95"), "level must lie between 0 and 1; got '95'"),
        (("delta", np.zeros(9), True), "level must lie between 0 and 1; got True"),
        (("delta", np.zeros(9), 0.9, 1), r"dim must be from -1 to 0 for x of shape \(9,\); got 1"),
        (("delta", np.zeros(0)), r"x must not be empty; got shape \(0,\)"),
    ],
)
def test_bad_input(arguments: tuple[Any, ...], message: str) -> None:
    """ValueError names the argument, what it must be, and what came."""
    with pytest.raises(ValueError, match=message):
        interval(*arguments)

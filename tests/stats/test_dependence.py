"""Effective sample size: closed forms, definitions by loops, and what it mends."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

import gaussprobe.stats as gs
from gaussprobe.errors import ConstantSampleWarning, NonFiniteSampleWarning, TooFewSamplesWarning
from gaussprobe.stats.dependence import autocovariance, effective_sample_size
from tests import needs


def autoregressive(phi: float, n: int, units: int, seed: int = 0) -> np.ndarray:
    """`(units, n)` of a stationary AR(1) with correlations phi^|k|."""
    noise = np.random.default_rng(seed).normal(size=(units, n + 500))
    return np.asarray(lfilter([1.0], [1.0, -phi], noise)[:, 500:], dtype=np.float64)


def exact(phi: float, power: int, n: int) -> float:
    """n over the sum of (1 - |k| / n) phi^(|k| power) over all lags: geometric series."""
    a = phi**power
    return n / ((1 + a) / (1 - a) - 2 * a * (1 - a**n) / (n * (1 - a) ** 2))


def fields_of_length(scale: float, side: int, images: int, replicates: int, seed: int = 0) -> np.ndarray:
    """`(replicates, images, side, side)` Gaussian fields with correlation `exp(-r^2 / (2 scale^2))`."""
    lag = np.subtract.outer(np.arange(side), np.arange(side))
    values, vectors = np.linalg.eigh(np.exp(-(lag**2) / (2 * scale**2)))
    root = vectors * np.sqrt(values.clip(0))
    return root @ np.random.default_rng(seed).normal(size=(replicates, images, side, side)) @ root.T


@pytest.mark.parametrize("power", [1, 2, 3, 4])
@pytest.mark.parametrize("phi", [0.3, 0.5, 0.9, -0.5])
def test_autoregressive_sequences(phi: float, power: int) -> None:
    """At n = 2,000 the median over 100 sequences is within 10 % of the closed form (p = 1: 15 %).

    The standard error of the median is below 3 %; with p = 1 and rho_k = .9^k it lies 8 % too high.
    """
    found = effective_sample_size(autoregressive(phi, 2000, 100), dim=1, power=power)
    assert found.shape == (100,)
    assert np.median(found) == pytest.approx(exact(phi, power, 2000), rel=0.15 if power == 1 else 0.1)


@pytest.mark.parametrize("power", [1, 2, 3, 4])
def test_independent_samples(power: int) -> None:
    """Independent samples are worth their number: exactly so for most, within 10 % for nearly all.

    With p = 1 the lags of one sequence in six seem more than noise, and move n_eff by more.
    """
    found = effective_sample_size(np.random.default_rng(1).normal(size=(300, 1000)), dim=1, power=power)
    assert np.median(found) == 1000
    assert np.mean(np.abs(found / 1000 - 1) < 0.1) > (0.75 if power == 1 else 0.95)


def test_autocovariance_by_loops() -> None:
    """Lagged products summed over the pairs within each repeat, the common mean taken off."""
    x = np.random.default_rng(2).normal(size=(2, 3, 4, 5)) + 3
    found = autocovariance(torch.from_numpy(x)).numpy()
    assert found.shape == (2, 7, 9)
    for unit, (a, b) in itertools.product(range(2), itertools.product(range(-3, 4), range(-4, 5))):
        z = x[unit] - x[unit].mean()
        total = 0.0
        for r, i, j in itertools.product(range(3), range(4), range(5)):
            if 0 <= i + a < 4 and 0 <= j + b < 5:
                total += z[r, i, j] * z[r, i + a, j + b]
        assert found[unit, a, b] == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("power", [2, 3, 4])
def test_fields(power: int) -> None:
    """32 fields of 14 x 14 with correlation length 3: the median of 20 estimates is within 10 %."""
    lag = np.arange(-13, 14)
    shares = np.exp(-power * lag**2 / 18) * (1 - np.abs(lag) / 14)
    truth = 32 * 196 / shares.sum() ** 2
    found = effective_sample_size(fields_of_length(3, 14, 32, 20), dim=(2, 3), power=power, repeats=1)
    assert np.median(found) == pytest.approx(truth, rel=0.1)


def test_what_it_mends() -> None:
    """Flattened fields: tests of skewness and kurtosis as if independent reject over half of normal samples.

    With n_eff in their variances they keep 5 %, or fewer: of 400 replicates 1 to 8 % (4 standard errors).
    """
    x = fields_of_length(3, 14, 32, 400, seed=5)
    flat = x.reshape(400, -1)
    for value, constant, power in (
        (gs.skewness(flat, dim=1), 6, 3),
        (gs.excess_kurtosis(flat, dim=1), 24, 4),
    ):
        naive = np.abs(value) / np.sqrt(constant / flat.shape[1]) > 1.96
        assert naive.mean() > 0.5
        n_eff = effective_sample_size(x, dim=(2, 3), power=power, repeats=1)
        mended = np.abs(value) / np.sqrt(constant / n_eff) > 1.96
        assert 0.01 <= mended.mean() <= 0.08


def test_batch_is_a_loop() -> None:
    """Dimensions that are neither lattice nor repeats are batch, wherever they stand."""
    x = torch.randn(3, 9, 4, 10, dtype=torch.float64).cumsum(dim=1)
    found = effective_sample_size(x, dim=(1, -1), power=2)
    assert found.shape == (3, 4)
    for i, j in itertools.product(range(3), range(4)):
        alone = effective_sample_size(x[i, :, j], dim=(0, 1), power=2)
        torch.testing.assert_close(found[i, j], alone)
        assert alone.shape == ()
    pooled = effective_sample_size(x, dim=1, power=2, repeats=(0, 3))
    torch.testing.assert_close(pooled[1], effective_sample_size(x[:, :, 1], dim=1, power=2, repeats=(0, 2)))


def test_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of what is transformed at once changes nothing."""
    x = autoregressive(0.7, 300, 20)
    expected = effective_sample_size(x, dim=1, power=3)
    monkeypatch.setattr("gaussprobe.stats.dependence._BLOCK", 1)
    np.testing.assert_allclose(effective_sample_size(x, dim=1, power=3), expected, rtol=1e-12)


def test_unit_and_offset_do_not_matter() -> None:
    """a + b x gives what x gives, for b of any size and sign."""
    x = autoregressive(0.8, 400, 5)
    expected = effective_sample_size(x, dim=1, power=2)
    for a, b in ((0.0, 1e200), (0.0, -1e-200), (1e5, 1.0)):
        np.testing.assert_allclose(effective_sample_size(a + b * x, dim=1, power=2), expected, rtol=1e-6)


def test_samples_that_compensate_each_other() -> None:
    """A sequence of alternating signs has a mean far better known than independent samples would give."""
    x = np.tile([1.0, -1.0], 200) + 0.01 * np.random.default_rng(6).normal(size=400)
    assert effective_sample_size(x) > 2000
    assert effective_sample_size(x, power=2) < 10


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "complex": (torch.zeros(9, dtype=torch.complex64), {}, "x must hold real numbers; got dtype"),
    "empty": (np.zeros((0, 3)), {}, r"x must not be empty; got shape \(0, 3\)"),
    "dim": (np.zeros((9, 2)), {"dim": 2}, r"dim must be from -2 to 1 for x of shape \(9, 2\); got 2"),
    "one of dim": (np.zeros((9, 2)), {"dim": (0, -3)}, "dim must be from -2 to 1 .* got -3"),
    "dim a float": (np.zeros((9, 2)), {"dim": 1.0}, "dim must be an integer or a tuple of integers; got 1.0"),
    "no dim": (np.zeros((9, 2)), {"dim": ()}, r"dim must name at least one dimension; got \(\)"),
    "dim twice": (np.zeros((9, 2)), {"dim": (0, -2)}, "dim and repeats must name different dimensions"),
    "repeats": (np.zeros((9, 2)), {"repeats": 5}, "repeats must be from -2 to 1"),
    "repeats is dim": (np.zeros((9, 2)), {"repeats": 0}, "must name different dimensions; got 0 and 0"),
    "power 0": (np.zeros(9), {"power": 0}, "power must be a positive integer; got 0"),
    "power a float": (np.zeros(9), {"power": 2.0}, "power must be a positive integer; got 2.0"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input(bad: str) -> None:
    """An argument that cannot be used raises ValueError naming it, what it must be, and what came."""
    x, options, message = BAD[bad]
    with pytest.raises(ValueError, match=message):
        effective_sample_size(x, **options)


def test_samples_that_cannot_be_used() -> None:
    """Constant and non-finite ones are NaN, warned of, and leave the others as they are; so are too few."""
    x = autoregressive(0.5, 100, 4)
    clean = effective_sample_size(x[[0, 3]], dim=1)
    x[1] = 0.1
    x[2, 7] = np.inf
    with (
        pytest.warns(ConstantSampleWarning, match="1 of 4 samples have no variance") as caught,
        pytest.warns(NonFiniteSampleWarning, match="1 of 4 samples have NaN or infinite values"),
    ):
        found = effective_sample_size(x, dim=1)
    assert caught[0].filename == __file__
    assert np.isnan(found[1:3]).all()
    np.testing.assert_allclose(found[[0, 3]], clean, rtol=1e-12)
    with pytest.warns(TooFewSamplesWarning, match="effective_sample_size needs at least 8 samples; got 7"):
        assert np.isnan(effective_sample_size(np.arange(7.0)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.int32])
def test_dtypes_and_arrays(dtype: torch.dtype) -> None:
    """Every real dtype gives what its float64 copy gives; arrays give arrays, a single sequence a scalar."""
    x = (torch.from_numpy(autoregressive(0.5, 200, 3)) * 10).to(dtype)
    expected = effective_sample_size(x.double(), dim=1)
    found = effective_sample_size(x, dim=1)
    assert found.dtype == torch.float64
    assert torch.equal(found, expected)
    np.testing.assert_array_equal(effective_sample_size(x.double().numpy(), dim=1), expected.numpy())
    assert isinstance(effective_sample_size(x[0].double().numpy()), np.float64)


@pytest.mark.gpu
@needs.CUDA
def test_cuda_equals_cpu() -> None:
    """Results on a GPU stay there and equal those of the CPU."""
    x = torch.from_numpy(fields_of_length(2, 10, 4, 3))
    there = effective_sample_size(x.cuda(), dim=(2, 3), power=3, repeats=1)
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), effective_sample_size(x, dim=(2, 3), power=3, repeats=1))

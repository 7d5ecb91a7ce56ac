"""Sliced tests: their statistic, their p-value, gradients, directions, bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2

import gaussprobe.stats as gs
from gaussprobe.errors import ConstantSampleWarning, NonFiniteSampleWarning, TooFewSamplesWarning
from gaussprobe.stats import slices_null
from gaussprobe.stats.battery import TESTS
from gaussprobe.stats.sliced import DIFFERENTIABLE, SIMPLE, correlations, directions, sliced
from gaussprobe.stats.workers import one_thread
from tests import needs

composite = pytest.mark.parametrize("test", TESTS)


def univariate(test: str, x: Any, **options: Any) -> Any:
    """The public function of a test on the columns of `x`."""
    return getattr(gs, test)(x, **options)


@composite
def test_statistic_is_the_mean_over_slices(test: str) -> None:
    """`sliced` averages what the function of the test's name gives on the projections."""
    x = np.random.default_rng(0).gamma(2.0, size=(60, 4)) @ np.diag([1.0, 2.0, 3.0, 4.0])
    vectors = directions(4, 10, seed=3).numpy()
    expected = univariate(test, x @ vectors).statistic
    found = sliced(x, test, 10, seed=3)
    assert found.statistic == pytest.approx(expected.mean(), rel=1e-8)
    assert found.n_samples == 60


@composite
@pytest.mark.parametrize("slices", [1, 50])
def test_one_direction(test: str, slices: int) -> None:
    """With one feature every slice is the sample, and the p-value that of the univariate test."""
    x = np.random.default_rng(1).gamma(4.0, size=(40, 1))
    alone = univariate(test, x[:, 0])
    found = sliced(x, test, slices)
    assert found.statistic == pytest.approx(alone.statistic, rel=1e-8)
    assert found.pvalue == pytest.approx(alone.pvalue, rel=1e-5)


@pytest.mark.parametrize("test", SIMPLE)
def test_simple_null(test: str) -> None:
    """Under the simple null projections are taken as they stand: a shift or a scale is seen."""
    x = np.random.default_rng(2).normal(size=(100, 3))
    expected = univariate(test, x @ directions(3, 8, seed=0).numpy(), null="simple").statistic
    assert sliced(x, test, 8, null="simple").statistic == pytest.approx(expected.mean(), rel=1e-8)
    assert sliced(x, test, null="simple").pvalue > 0.01
    assert sliced(x + 0.6, test, null="simple").pvalue < 1e-3
    assert sliced(2 * x, test, null="simple").pvalue < 1e-3
    assert sliced(2 * x + 0.6, test).pvalue > 0.01


def test_correlations() -> None:
    """Those of the projections, through the features' covariance or through the projections themselves."""
    x = torch.randn(50, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    x = x - x.mean(dim=0)
    for slices in (4, 9):
        vectors = directions(6, slices, seed=0)
        torch.testing.assert_close(correlations(x, vectors), torch.corrcoef((x @ vectors).T))


def test_more_features_than_samples() -> None:
    """n may be smaller than d: exponential features are seen, normal ones are not."""
    rng = np.random.default_rng(3)
    mixing = rng.normal(size=(3, 200))
    assert sliced(rng.exponential(size=(60, 3)) @ mixing).pvalue < 1e-3
    assert sliced(rng.normal(size=(60, 3)) @ mixing).pvalue > 0.01


# ---- combining ----


def test_combining_the_same_evidence() -> None:
    """Slices that are all alike give their own p-value, at whatever size."""
    for p in (0.9, 0.3, 1e-3, 1e-12):
        found = slices_null.combine(
            torch.full((30,), p, dtype=torch.float64),
            torch.ones(30, 30, dtype=torch.float64),
            test="shapiro_wilk",
            null="composite",
            n_samples=100,
        )
        assert float(found) == pytest.approx(p, rel=1e-6)


def test_combining_independent_evidence() -> None:
    """Slices that know nothing of each other give Fisher's p-value: chi-squared, 2 K degrees of freedom."""
    p = torch.from_numpy(np.random.default_rng(4).uniform(size=40))
    rho = torch.eye(40, dtype=torch.float64)
    found = slices_null.combine(p, rho, test="epps_pulley", null="simple", n_samples=100)
    assert float(found) == pytest.approx(chi2.sf(float(-2 * torch.log(p).sum()), 80), rel=1e-6)


def test_combining_more_slices_than_pairs_are_looked_at() -> None:
    """From the first third of 600 exchangeable slices the p-value is nearly that from all pairs."""
    x = np.random.default_rng(5).normal(size=(100, 4))
    y = torch.from_numpy(x @ directions(4, 600, seed=0).numpy())
    result = gs.anderson_darling(y)
    rho = torch.corrcoef(y.T)
    kind = {"test": "anderson_darling", "null": "composite", "n_samples": 100}
    every = slices_null.combine(result.pvalue, rho, **kind)  # type: ignore[arg-type]
    some = slices_null.combine(result.pvalue, rho[:200, :200], **kind)  # type: ignore[arg-type]
    assert float(some) == pytest.approx(float(every), abs=0.02)


@pytest.mark.parametrize(
    ("test", "null"), [*((t, "composite") for t in TESTS), *((t, "simple") for t in SIMPLE)]
)
@pytest.mark.parametrize("n", [8, 20, 37, 5000])
def test_table_of_correlations(test: str, null: slices_null.Null, n: int) -> None:
    """h is 1 at 1, nearly 0 at 0, and rises towards 1; q is near 1/2."""
    law = slices_null.law(test, null, n)
    assert sum(law.weights) == pytest.approx(1, abs=1e-9)
    assert 0.35 < law.exponent < 0.65
    rho = torch.linspace(0, 1, 101, dtype=torch.float64)
    values = sum(
        w * p
        for w, p in zip(law.weights, slices_null.polynomials(rho, law.degrees, law.ambient), strict=True)
    )
    assert isinstance(values, torch.Tensor)
    assert abs(float(values[0])) < 0.03
    assert float(values[-1]) == pytest.approx(1, abs=1e-9)
    assert (values.diff()[80:] > 0).all()


@one_thread()
def null_pvalues(test: str, null: slices_null.Null, n: int, d: int, shrink: float) -> np.ndarray:
    """P-values of `sliced` on 1,500 normal samples with features of shrinking variance."""
    rng = np.random.default_rng(6)
    vectors = directions(d, 32, seed=1)
    x = torch.from_numpy(rng.normal(size=(n, 1500, d)) * shrink ** np.arange(d))
    y = x @ vectors  # (n, replicates, slices)
    result = univariate(test, y, **({"null": null} if null == "simple" else {}))
    z = y.transpose(0, 1) - y.mean(dim=0)[:, None]
    z = z / torch.linalg.vector_norm(z, dim=1, keepdim=True)
    rho = z.mT @ z if null == "composite" else vectors.T @ vectors
    return slices_null.combine(result.pvalue, rho, test=test, null=null, n_samples=n).numpy()


@pytest.mark.parametrize(
    ("test", "null", "n", "d", "shrink"),
    [
        ("epps_pulley", "composite", 40, 3, 1.0),
        ("shapiro_wilk", "composite", 40, 10, 0.5),
        ("dagostino_pearson", "composite", 30, 60, 0.9),
        ("epps_pulley", "simple", 30, 5, 1.0),
    ],
)
def test_false_positive_rate(test: str, null: slices_null.Null, n: int, d: int, shrink: float) -> None:
    """It keeps its level: within 4 standard errors (.022 at .05, .010 at .01) and a tenth of it.

    docs/multivariate.md measures it more closely.
    """
    p = null_pvalues(test, null, n, d, shrink)
    for level in (0.2, 0.05, 0.01):
        allowance = 4 * np.sqrt(level * (1 - level) / len(p)) + 0.1 * level
        assert abs((p <= level).mean() - level) < allowance


# ---- gradients ----


@pytest.mark.parametrize(
    ("test", "null"), [("epps_pulley", "composite"), ("epps_pulley", "simple"), ("jarque_bera", "composite")]
)
def test_gradient(test: str, null: slices_null.Null) -> None:
    """The statistic's gradient is that of finite differences, its value the one without gradient."""
    x = torch.randn(20, 3, dtype=torch.float64) ** 3 / 3
    tracked = x.clone().requires_grad_()
    result = sliced(tracked, test, 5, null=null)
    assert not result.pvalue.requires_grad
    torch.testing.assert_close(result.statistic.detach(), sliced(x, test, 5, null=null).statistic)
    (gradient,) = torch.autograd.grad(result.statistic, tracked)
    for i, j in ((0, 0), (7, 1), (19, 2)):
        step = torch.zeros_like(x)
        step[i, j] = 1e-5
        up, down = (sliced(x + s * step, test, 5, null=null).statistic for s in (1, -1))
        assert float(gradient[i, j]) == pytest.approx(float(up - down) / 2e-5, rel=1e-5, abs=1e-8)


def test_as_a_loss() -> None:
    """Some steps down the gradient, each with other directions, make exponential samples near normal."""
    x = torch.distributions.Exponential(1.0).sample((128, 4)).requires_grad_()
    before = sliced(x, null="simple").pvalue
    optimizer = torch.optim.Adam([x], lr=0.05)
    for step in range(60):
        optimizer.zero_grad()
        sliced(x, num_slices=16, null="simple", seed=step + 1).statistic.backward()
        optimizer.step()
    assert x.dtype == torch.float32
    assert before < 1e-6
    assert sliced(x, null="simple").pvalue > 0.05


def test_other_tests_carry_no_gradient() -> None:
    """Where the statistic has no gradient, a tensor that requires one is taken for its values."""
    x = torch.randn(20, 3, requires_grad=True)
    for test in set(TESTS) - set(DIFFERENTIABLE):
        assert not sliced(x, test, 4).statistic.requires_grad


# ---- directions ----


def test_directions() -> None:
    """Unit vectors, the same for the same seed, others for another; the global generator is untouched."""
    state = torch.get_rng_state()
    first = directions(5, 100, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, directions(5, 100, seed=0))
    assert not torch.equal(first, directions(5, 100, seed=1))
    torch.testing.assert_close(first.square().sum(dim=0), torch.ones(100, dtype=torch.float64))
    # Uniform: the second moments are those of the sphere, within 4 standard errors.
    many = directions(3, 20_000, seed=2)
    assert (many @ many.T / 20_000 - torch.eye(3) / 3).abs().max() < 4 * 0.3 / 20_000**0.5


def test_seed_decides() -> None:
    """The same seed gives the same result, another one another; neither moves the global generator."""
    x = torch.randn(50, 6)
    state = torch.get_rng_state()
    assert sliced(x, seed=4) == sliced(x, seed=4)
    assert sliced(x, seed=4).statistic != sliced(x, seed=5).statistic
    assert torch.equal(torch.get_rng_state(), state)


# ---- input ----


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (torch.zeros(9, 2, dtype=torch.complex64), {}, "x must hold real numbers; got dtype torch.complex64"),
        (torch.zeros(0, 2), {}, r"x must not be empty; got shape \(0, 2\)"),
        (torch.zeros(9), {}, r"x must have two dimensions, samples and features; got shape \(9,\)"),
        (np.zeros((9, 2)), {"dim": -3}, r"dim must be from -2 to 1 for x of shape \(9, 2\); got -3"),
        (
            np.zeros((9, 2)),
            {"test": "shapiro"},
            "test must be among .* got 'shapiro': did you mean 'shapiro_",
        ),
        (np.zeros((9, 2)), {"test": None}, "test must be among .* got None"),
        (np.zeros((9, 2)), {"null": "other"}, "null must be one of composite, simple; got 'other'"),
        (
            np.zeros((9, 2)),
            {"test": "shapiro_wilk", "null": "simple"},
            "test must be among .*epps_pulley.* if null is 'simple'; got 'shapiro_wilk'",
        ),
        (np.zeros((9, 2)), {"seed": 2**70}, r"seed must be below 2\^63"),
        (np.zeros((9, 2)), {"num_slices": 0}, "num_slices must be an integer from 1 on; got 0"),
        (np.zeros((9, 2)), {"num_slices": 2.0}, "num_slices must be an integer from 1 on; got 2.0"),
        (np.zeros((9, 2)), {"seed": -1}, "seed must be an integer from 0 on; got -1"),
    ],
)
def test_bad_input(x: Any, options: dict[str, Any], message: str) -> None:
    """An argument that cannot be used raises ValueError naming it, what it must be, and what came."""
    with pytest.raises(ValueError, match=message):
        sliced(x, **options)


@pytest.mark.parametrize(
    ("kind", "category", "message"),
    [
        (
            "nan",
            NonFiniteSampleWarning,
            "sliced: 1 of 3 features have NaN or infinite values: the result is NaN",
        ),
        ("constant", ConstantSampleWarning, "sliced: 3 of 3 features have no variance: the result is NaN"),
        ("few", TooFewSamplesWarning, "sliced needs at least 8 samples; got 7: the result is NaN"),
    ],
)
def test_samples_that_cannot_be_tested(kind: str, category: type[Warning], message: str) -> None:
    """They give NaN, and a warning that says why, at the caller's line."""
    x = np.random.default_rng(0).normal(size=(30, 3))
    if kind == "nan":
        x[4, 1] = np.nan
    elif kind == "constant":
        x[:] = [0.1, 0.2, 0.3]
    else:
        x = x[:7]
    with pytest.warns(category, match=message) as caught:
        result = sliced(x)
    assert np.isnan(result.statistic)
    assert np.isnan(result.pvalue)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_constant_features_beside_others() -> None:
    """A constant feature adds nothing to any slice."""
    x = np.random.default_rng(7).gamma(2.0, size=(50, 2))
    wide = np.concatenate([x, np.full((50, 1), 7.0)], axis=1)
    found = sliced(wide, "anderson_darling")
    assert 0 < found.pvalue < 1e-2


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.int32])
def test_dtypes_arrays_and_dim(dtype: torch.dtype) -> None:
    """Every real dtype gives what its float64 copy gives; arrays give scalars; dim says where samples are."""
    x = (torch.randn(50, 3) * 20).to(dtype)
    expected = sliced(x.double())
    found = sliced(x)
    assert found.statistic.dtype == found.pvalue.dtype == torch.float64
    assert found.statistic.shape == ()
    assert found == expected
    assert sliced(x.T, dim=1) == expected
    array = sliced(x.double().numpy())
    assert isinstance(array.statistic, np.float64)
    assert array.pvalue == pytest.approx(float(expected.pvalue), rel=1e-12)


def test_extreme_units_and_offsets() -> None:
    """Under the composite null one scale and one offset for all features change nothing."""
    x = np.random.default_rng(8).normal(size=(60, 3))
    expected = sliced(x)
    for mapped in (x * 1e200, x * 1e-200, x + 1e5):
        found = sliced(mapped)
        assert found.statistic == pytest.approx(expected.statistic, rel=1e-6)
        assert found.pvalue == pytest.approx(expected.pvalue, rel=1e-6)


@pytest.mark.gpu
@needs.CUDA
@composite
def test_cuda_equals_cpu(test: str) -> None:
    """Results on a GPU stay there and equal those of the CPU."""
    x = torch.randn(300, 5)
    there, here = sliced(x.cuda(), test), sliced(x, test)
    assert there.statistic.is_cuda
    torch.testing.assert_close(there.statistic.cpu(), here.statistic, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(there.pvalue.cpu(), here.pvalue, rtol=1e-6, atol=1e-12)

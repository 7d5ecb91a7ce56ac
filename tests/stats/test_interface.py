"""What every public statistic promises about its input and output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gaussprobe.stats as gs
from gaussprobe.errors import ConstantSampleWarning, NonFiniteSampleWarning, TooFewSamplesWarning
from gaussprobe.types import GofResult

TESTS = ("shapiro_wilk", "lilliefors", "anderson_darling", "dagostino_pearson")
SIZES = (
    *("skewness", "excess_kurtosis", "l_moments", "negentropy"),
    *("delta", "qq_r2", "ks_distance", "wasserstein"),
)
ALL = (*TESTS, *SIZES, "battery")

every = pytest.mark.parametrize("name", ALL)


def call(name: str) -> Callable[..., Any]:
    """The public function of that name."""
    return getattr(gs, name)  # type: ignore[no-any-return]


def fields(result: Any) -> list[Any]:
    """Every number of a result, whatever its form."""
    if isinstance(result, GofResult):
        return [result.statistic, result.pvalue]
    if isinstance(result, dict):
        return [value for part in result.values() for value in fields(part)]
    if isinstance(result, tuple):
        return list(result)
    return [result]


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "complex": (
        torch.zeros(10, dtype=torch.complex64),
        {},
        "x must hold real numbers; got dtype torch.complex64",
    ),
    "complex array": (np.zeros(10, dtype=complex), {}, "x must hold real numbers; got dtype complex128"),
    "bool": (torch.zeros(10, dtype=torch.bool), {}, "x must hold real numbers; got dtype torch.bool"),
    "bool array": (np.zeros(10, dtype=bool), {}, "x must hold real numbers; got dtype bool"),
    "strings": (np.array(["a"] * 10), {}, "x must hold real numbers; got dtype <U1"),
    "objects": (np.array([None] * 10), {}, "x must hold real numbers; got dtype object"),
    "masked": (np.ma.masked_array(np.arange(9.0)), {}, "x must not be a masked array"),
    "no samples": (torch.zeros(0, 3), {}, r"x must not be empty; got shape \(0, 3\)"),
    "no units": (np.zeros((10, 0)), {}, r"x must not be empty; got shape \(10, 0\)"),
    "a number": (torch.tensor(1.0), {}, "x must have at least one dimension; got a single number"),
    "sparse": (torch.eye(9).to_sparse(), {}, "x must be a dense tensor; got layout torch.sparse_coo"),
    "dim too high": (
        torch.zeros(9, 2),
        {"dim": 2},
        r"dim must be from -2 to 1 for x of shape \(9, 2\); got 2",
    ),
    "dim too low": (
        torch.zeros(9, 2),
        {"dim": -3},
        r"dim must be from -2 to 1 for x of shape \(9, 2\); got -3",
    ),
    "dim a float": (torch.zeros(9, 2), {"dim": 1.0}, "dim must be an integer; got 1.0"),
    "dim a bool": (torch.zeros(9, 2), {"dim": True}, "dim must be an integer; got True"),
}


@every
@pytest.mark.parametrize("bad", BAD)
def test_bad_input(name: str, bad: str) -> None:
    """An argument that cannot be used raises ValueError naming it, what it must be, and what came."""
    x, options, message = BAD[bad]
    with pytest.raises(ValueError, match=message):
        call(name)(x, **options)


@every
def test_too_few(name: str) -> None:
    """One sample gives NaN in the batch's shape, and a named warning."""
    with pytest.warns(
        TooFewSamplesWarning, match=f"{name} needs at least .* samples; got 1: the result is NaN"
    ):
        result = call(name)(torch.zeros(1, 2))
    for field in fields(result):
        assert field.shape == (2,)
        assert field.isnan().all()


@every
def test_constant_and_nonfinite(name: str) -> None:
    """A constant and a NaN column give NaN, with warnings, and leave the others bit-identical."""
    x = torch.randn(64, 4)
    clean = fields(call(name)(x[:, [0, 3]]))
    x[:, 1] = 0.1
    x[5, 2] = torch.nan
    with (
        pytest.warns(ConstantSampleWarning, match=f"{name}: 1 of 4 samples have no variance"),
        pytest.warns(NonFiniteSampleWarning, match=f"{name}: 1 of 4 samples have NaN or infinite values"),
    ):
        result = fields(call(name)(x))
    for field, reference in zip(result, clean, strict=True):
        assert field[1:3].isnan().all()
        torch.testing.assert_close(field[[0, 3]], reference, rtol=1e-12, atol=1e-15)
        assert reference.isfinite().all()


@every
def test_warnings_name_the_callers_line(name: str) -> None:
    """The warning points at the user's line, not into the package."""
    with pytest.warns(ConstantSampleWarning) as caught:
        call(name)(torch.ones(20, 1))
    assert caught[0].filename == __file__


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int8, torch.int64])
def test_dtypes(name: str, dtype: torch.dtype) -> None:
    """Every real dtype gives float64: what its exact float64 copy gives."""
    x = (torch.randn(200, 3) * 20).to(dtype)
    result, reference = fields(call(name)(x)), fields(call(name)(x.double()))
    for field, expected in zip(result, reference, strict=True):
        assert field.dtype == torch.float64
        assert torch.equal(field, expected)


@every
@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.int32, np.uint16, ">f8", np.longdouble]
)
def test_numpy_in_numpy_out(name: str, dtype: Any) -> None:
    """An array gives arrays, equal to those of a tensor."""
    x = (np.random.default_rng(0).normal(size=(200, 3)) * 20 + 100).astype(dtype)
    result = fields(call(name)(x))
    reference = fields(call(name)(torch.from_numpy(x.astype(np.float64))))
    for field, expected in zip(result, reference, strict=True):
        assert isinstance(field, np.ndarray)
        np.testing.assert_array_equal(field, expected.numpy())


@every
def test_read_only_and_reversed_arrays(name: str) -> None:
    """Memory that torch cannot share is copied, without a warning, and not written to."""
    x = np.random.default_rng(0).normal(size=(50, 2))
    expected = fields(call(name)(x))
    x.flags.writeable = False
    for given in (x, x[::-1]):
        for field, reference in zip(fields(call(name)(given)), expected, strict=True):
            np.testing.assert_array_equal(field, reference)


@every
def test_one_dimension(name: str) -> None:
    """A single sample gives single numbers: numpy scalars, or tensors without dimensions."""
    x = torch.randn(50)
    for field in fields(call(name)(x)):
        assert field.shape == ()
    for field in fields(call(name)(x.numpy())):
        assert isinstance(field, np.float64)


@every
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_batch_is_a_loop(name: str, dim: int) -> None:
    """Any dimension may hold the samples; each result is that of its sample alone, in the batch's place."""
    x = torch.randn(9, 10, 11).double()
    result = fields(call(name)(x, dim=dim))
    columns = x.movedim(dim, -1)
    for i in range(columns.shape[0]):
        for j in range(columns.shape[1]):
            for field, alone in zip(result, fields(call(name)(columns[i, j])), strict=True):
                assert field.shape == columns.shape[:2]
                torch.testing.assert_close(field[i, j], alone, rtol=1e-10, atol=1e-13)


@every
def test_gradients_are_not_followed(name: str) -> None:
    """A tensor that requires grad is taken for its values."""
    x = torch.randn(30, 2, requires_grad=True)
    for field in fields(call(name)(x)):
        assert not field.requires_grad


def test_n_samples() -> None:
    """A test's result says how many samples it rests on."""
    assert gs.shapiro_wilk(torch.randn(30, 2)).n_samples == 30


def test_public_names() -> None:
    """Every name in `__all__` exists, and this file checks all that take samples."""
    assert {name for name in gs.__all__ if hasattr(gs, name)} == set(gs.__all__)
    assert set(gs.__all__) - set(ALL) == {"LMoments", "benjamini_hochberg", "simes"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every
def test_cuda_equals_cpu(name: str) -> None:
    """Results on a GPU stay there and equal those of the CPU."""
    x = torch.randn(300, 5)
    for there, here in zip(fields(call(name)(x.cuda())), fields(call(name)(x)), strict=True):
        assert there.is_cuda
        torch.testing.assert_close(there.cpu(), here, rtol=1e-9, atol=1e-12)

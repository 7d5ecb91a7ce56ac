"""What every public statistic promises about its input and output."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import gaussprobe.stats as gs
from gaussprobe.errors import ConstantSampleWarning, NonFiniteSampleWarning, TooFewSamplesWarning
from gaussprobe.stats import ordered
from gaussprobe.stats.battery import TESTS as BATTERY
from gaussprobe.types import GofResult
from tests import needs

TESTS = tuple(BATTERY)
SIZES = (
    *("skewness", "excess_kurtosis", "l_moments", "negentropy"),
    *("delta", "qq_r2", "ks_distance", "wasserstein"),
)
ALL = (*TESTS, *SIZES, "battery", "kstest", "interval")
# One number for all features together, and one that takes samples in a lattice.
MULTIVARIATE = ("mardia", "henze_zirkler", "sliced", "effective_sample_size")
DIFFERENTIABLE = ("skewness", "excess_kurtosis", "epps_pulley", "jarque_bera")
NULLS = ("anderson_darling", "cramer_von_mises", "watson", "epps_pulley")

every = pytest.mark.parametrize("name", ALL)
fitted = pytest.mark.parametrize("name", sorted(set(ALL) - {"kstest"}))


def call(name: str) -> Callable[..., Any]:
    """The public function of that name; `interval` of delta."""
    function = getattr(gs, name)
    return functools.partial(function, "delta") if name == "interval" else function  # type: ignore[no-any-return]


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
    "ragged": ([[1.0, 2.0], [3.0]], {}, "x must be a tensor or an array; got what makes no array"),
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
    "dim a float": (
        torch.zeros(9, 2),
        {"dim": 1.0},
        "dim must be an integer( or a tuple of integers)?; got 1.0",
    ),
    "dim a bool": (
        torch.zeros(9, 2),
        {"dim": True},
        "dim must be an integer( or a tuple of integers)?; got True",
    ),
}


@pytest.mark.parametrize("name", [*ALL, *MULTIVARIATE])
@pytest.mark.parametrize("bad", BAD)
def test_bad_input(name: str, bad: str) -> None:
    """An argument that cannot be used raises ValueError naming it, what it must be, and what came."""
    x, options, message = BAD[bad]
    with pytest.raises(ValueError, match=message):
        call(name)(x, **options)


@pytest.mark.parametrize("name", NULLS)
def test_unknown_null(name: str) -> None:
    """A null hypothesis that is none raises ValueError."""
    with pytest.raises(ValueError, match="null must be one of composite, simple; got 'normal'"):
        call(name)(torch.randn(20), null="normal")


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


@fitted
def test_constant_and_nonfinite(name: str) -> None:
    """A constant and a NaN column give NaN, with warnings, and leave the others as they are."""
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
        torch.testing.assert_close(field[[0, 3]], reference, rtol=1e-5, atol=1e-7)
        assert reference.isfinite().all()


def test_a_constant_against_a_known_law() -> None:
    """Under the simple null a constant sample does not fit: it gives numbers, without a warning."""
    x = torch.full((50, 1), 0.3)
    results = [gs.kstest(x), *(call(name)(x, null="simple") for name in NULLS)]
    for result in results:
        assert result.statistic.isfinite().all()
        assert (result.pvalue < 1e-3).all()


@fitted
def test_warnings_name_the_callers_line(name: str) -> None:
    """The warning points at the user's line, not into the package."""
    with pytest.warns(ConstantSampleWarning) as caught:
        call(name)(torch.ones(20, 1))
    assert caught[0].filename == __file__


@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.int8, torch.int64])
def test_wide_dtypes(name: str, dtype: torch.dtype) -> None:
    """Integers give float64: what their exact float64 copy gives."""
    x = (torch.randn(200, 3) * 20).to(dtype)
    result, reference = fields(call(name)(x)), fields(call(name)(x.double()))
    for field, expected in zip(result, reference, strict=True):
        assert field.dtype == torch.float64
        assert torch.equal(field, expected)


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_short_dtypes(name: str, dtype: torch.dtype) -> None:
    """Floats of up to 32 bits give float64, within 1e-4 of what their exact float64 copy gives."""
    x = (torch.randn(200, 3) * 20).to(dtype)
    result, reference = fields(call(name)(x)), fields(call(name)(x.double()))
    for field, expected in zip(result, reference, strict=True):
        assert field.dtype == torch.float64
        torch.testing.assert_close(field, expected, rtol=1e-4, atol=1e-5)


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_upcast(name: str, dtype: torch.dtype) -> None:
    """Half precision gives bit for bit what its float32 copy gives."""
    x = torch.randn(200, 3).to(dtype)
    for field, expected in zip(fields(call(name)(x)), fields(call(name)(x.float())), strict=True):
        assert torch.equal(field, expected)


@every
@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.int32, np.uint16, ">f8", np.longdouble]
)
def test_numpy_in_numpy_out(name: str, dtype: Any) -> None:
    """An array gives arrays, equal to those of a tensor."""
    x = (np.random.default_rng(0).normal(size=(200, 3)) * 20 + 100).astype(dtype)
    result = fields(call(name)(x))
    same = x if dtype == np.float32 else x.astype(np.float64)
    reference = fields(call(name)(torch.from_numpy(same)))
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
            np.testing.assert_allclose(field, reference, rtol=1e-9, atol=1e-12)


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


@pytest.mark.parametrize("name", sorted(set(ALL) - set(DIFFERENTIABLE)))
def test_gradients_are_not_followed(name: str) -> None:
    """A tensor that requires grad is taken for its values where there is no gradient to speak of."""
    x = torch.randn(30, 2, requires_grad=True)
    for field in fields(call(name)(x)):
        assert not field.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients(name: str, dtype: torch.dtype) -> None:
    """The statistic carries a gradient that a difference quotient confirms, and has the same value."""
    x = torch.randn(40, 3, dtype=dtype)
    x[:, 1] = x[:, 1].exp()
    tracked = x.clone().requires_grad_()
    value = fields(call(name)(tracked))[0]
    torch.testing.assert_close(
        value.detach(), fields(call(name)(x))[0], rtol=1e-3 if dtype == torch.float32 else 1e-8, atol=1e-5
    )
    value.sum().backward()
    assert tracked.grad is not None
    step = torch.zeros_like(x, dtype=torch.float64)
    step[7, 1] = 1e-6
    wide = x.double()
    ahead, behind = (fields(call(name)(wide + sign * step))[0][1] for sign in (1, -1))
    assert tracked.grad[7, 1].item() == pytest.approx(((ahead - behind) / 2e-6).item(), rel=1e-3, abs=1e-5)
    # Nothing else depends on the other columns.
    tracked.grad = None
    fields(call(name)(tracked))[0][1].backward()
    assert (tracked.grad[:, [0, 2]] == 0).all()


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_a_step_against_the_gradient(name: str) -> None:
    """Descent on the squared statistic makes skewed samples more normal: it can serve as a loss."""
    torch.manual_seed(0)
    x = torch.randn(256, 4).exp().requires_grad_()
    before = fields(call(name)(x.detach()))[0].abs().mean()
    optimizer = torch.optim.Adam([x], lr=0.05)
    for _ in range(250):
        optimizer.zero_grad()
        fields(call(name)(x))[0].square().mean().backward()
        optimizer.step()
    assert fields(call(name)(x.detach()))[0].abs().mean() < 0.25 * before


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_no_graph_without_need(name: str) -> None:
    """Under no_grad nothing is tracked."""
    x = torch.randn(30, 2, requires_grad=True)
    with torch.no_grad():
        assert not fields(call(name)(x))[0].requires_grad


def test_workers_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many pieces on several threads give what one piece on one thread gives, row for row."""
    x = torch.randn(64, 301)
    whole = fields(gs.battery(x)) + [field for name in SIZES for field in fields(call(name)(x))]
    monkeypatch.setattr(ordered.workers, "CHUNK_CPU", 64 * 10)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        pieces = fields(gs.battery(x)) + [field for name in SIZES for field in fields(call(name)(x))]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    for one, many in zip(whole, pieces, strict=True):
        torch.testing.assert_close(many, one, rtol=1e-5, atol=1e-7)


def test_n_samples() -> None:
    """A test's result says how many samples it rests on."""
    assert gs.shapiro_wilk(torch.randn(30, 2)).n_samples == 30


def test_public_names() -> None:
    """Every name in `__all__` exists, and this file checks all that take samples."""
    assert {name for name in gs.__all__ if hasattr(gs, name)} == set(gs.__all__)
    assert set(gs.__all__) - set(ALL) == {
        *("LMoments", "Interval", "Mardia", "StreamingMoments", "Reservoir", "benjamini_hochberg", "simes"),
        *("mutual_information", "adjusted_mutual_information"),
        *MULTIVARIATE,
    }


@pytest.mark.gpu
@needs.CUDA
@every
def test_cuda_equals_cpu(name: str) -> None:
    """Results on a GPU stay there and equal those of the CPU."""
    x = torch.randn(300, 5)
    for there, here in zip(fields(call(name)(x.cuda())), fields(call(name)(x)), strict=True):
        assert there.is_cuda
        torch.testing.assert_close(there.cpu(), here, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["battery", "delta", "l_moments", "kstest", "epps_pulley"])
def test_the_callers_modes_change_nothing(name: str) -> None:
    """Inference mode, autocast and another default device leave results what they are without."""
    x = torch.randn(97, 5)
    expected = fields(call(name)(x))
    with torch.inference_mode():
        inferred = fields(call(name)(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = fields(call(name)(x))
    torch.set_default_device("meta")
    try:
        elsewhere = fields(call(name)(x))
    finally:
        torch.set_default_device(None)
    for found in (inferred, cast, elsewhere):
        for field, reference in zip(found, expected, strict=True):
            assert torch.equal(field, reference)


def test_a_loss_after_an_evaluation_in_inference_mode() -> None:
    """What a first call under inference mode left behind does not break a gradient later."""
    with torch.inference_mode():
        gs.epps_pulley(torch.randn(61, 3))
        gs.sliced(torch.randn(61, 3), null="simple")
    x = torch.randn(61, 3, requires_grad=True)
    (gs.epps_pulley(x).statistic.sum() + gs.sliced(x, null="simple").statistic).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_names_where_names_belong() -> None:
    """Arguments in the wrong order give ValueError with what was meant."""
    x = np.random.default_rng(0).normal(size=(30, 2))
    with pytest.raises(ValueError, match="tests must be a sequence of names; got 0: dim goes by its name"):
        gs.battery(x, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"name must be among delta, .*; got a ndarray"):
        gs.interval(x, "delta")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="x must have two dimensions"):
        gs.mardia([1.0, 2.0, 3.0] * 5)  # type: ignore[arg-type]

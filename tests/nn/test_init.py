"""Weights of a symmetric Weibull law."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from gaussprobe.nn import init

DRAWS = 200_000


@pytest.mark.parametrize("theta", [0.5, 1.0, 2.05, 3.0, 10.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_law(theta: float, dtype: torch.dtype) -> None:
    """D of 200,000 draws from scipy's dweibull is below what it exceeds once in 10,000, 2.23 / sqrt(n)."""
    w = init.symmetric_weibull_(torch.empty(DRAWS, dtype=dtype), theta, 1.5, generator=torch.manual_seed(5))
    found = stats.ks_1samp(w.double().numpy(), stats.dweibull(theta, scale=1.5).cdf)
    assert found.statistic < 2.23 / math.sqrt(DRAWS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types(dtype: torch.dtype) -> None:
    """Drawn in float32 and rounded: mean |W| within 4 standard errors and the rounding."""
    w = init.symmetric_weibull_(torch.empty(DRAWS, dtype=dtype), 3, generator=torch.manual_seed(6)).double()
    mean, second = math.gamma(1 + 1 / 3), math.gamma(1 + 2 / 3)
    error = math.sqrt((second - mean**2) / DRAWS)
    assert abs(float(w.abs().mean()) - mean) < 4 * error + mean * torch.finfo(dtype).eps / 10
    assert abs(float(w.sign().mean())) < 4 / math.sqrt(DRAWS)


def test_signs_are_independent_of_sizes() -> None:
    """Their correlation is within 4 standard errors of 0."""
    w = init.symmetric_weibull_(torch.empty(DRAWS, dtype=torch.float64), 3, generator=torch.manual_seed(7))
    assert abs(np.corrcoef(w.sign(), w.abs())[0, 1]) < 4 / math.sqrt(DRAWS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(("theta", "scale"), [(0.01, 1.0), (3, 1e-300), (3, 1e300), (1e-300, 1), (1e300, 1)])
def test_neither_zero_nor_infinite(dtype: torch.dtype, theta: float, scale: float) -> None:
    """However far the law reaches."""
    w = init.symmetric_weibull_(torch.empty(20_000, dtype=dtype), theta, scale)
    assert w.isfinite().all()
    assert (w != 0).all()


def test_in_place() -> None:
    """The tensor itself, strides and all, a parameter too; nothing of it gets a graph."""
    weight = torch.nn.Parameter(torch.full((40, 6), torch.nan))
    assert init.symmetric_weibull_(weight, 3) is weight
    assert weight.requires_grad
    assert weight.grad_fn is None
    assert weight.isfinite().all()
    whole = torch.zeros(6, 8)
    init.symmetric_weibull_(whole.t()[::2], 3)
    assert (whole[:, ::2] != 0).all()
    assert (whole[:, 1::2] == 0).all()
    for shape in ((), (0,), (3, 0)):
        assert init.symmetric_weibull_(torch.empty(shape), 3).shape == shape


def test_generator() -> None:
    """The same seed draws the same, and torch's own state is left where it was; without one it is used."""
    before = torch.get_rng_state()
    first, second = (
        init.symmetric_weibull_(torch.empty(9), 3, generator=torch.Generator().manual_seed(1)) for _ in "ab"
    )
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(init.symmetric_weibull_(torch.empty(9), 3), first)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "3", None])
@pytest.mark.parametrize("name", ["theta", "scale"])
def test_numbers_refused(name: str, value: Any) -> None:
    """By name."""
    with pytest.raises(ValueError, match=f"{name} must be a finite number above 0; got"):
        init.symmetric_weibull_(torch.empty(3), **{"theta": 3, name: value})


@pytest.mark.parametrize("tensor", [torch.ones(3, dtype=torch.int32), torch.ones(2) + 1j, [1.0], None])
def test_tensors_refused(tensor: Any) -> None:
    """What cannot hold draws."""
    with pytest.raises(ValueError, match="tensor must be a floating-point tensor; got"):
        init.symmetric_weibull_(tensor, 3)

"""Laws of weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from gaussprobe import stats
from gaussprobe.signal.weights import weibull_of, weight_law

N = 100_000


def drawn(given: Any, seed: int = 0) -> torch.Tensor:
    """N weights."""
    return weight_law(given).draw((N // 100, 10, 10), torch.Generator().manual_seed(seed)).flatten()


def test_normal() -> None:
    """N(0, 1), as the exact law of D has it."""
    assert stats.kstest(drawn("normal")).pvalue > 1e-3


def test_uniform() -> None:
    """Uniform on +-sqrt 3: its probability transform is normal again."""
    share = (drawn("uniform").double() / math.sqrt(3) + 1) / 2
    assert float(share.min()) >= 0
    assert float(share.max()) <= 1
    assert stats.kstest(torch.special.ndtri(share)).pvalue > 1e-3


@pytest.mark.parametrize("theta", [0.7, 2.05, 3.0, 10.0])
def test_weibull(theta: float) -> None:
    """`P(|W| > t) = exp(-t^theta)`, alike on either side; the variance is Gamma(1 + 2 / theta)."""
    w = drawn(("weibull", theta)).double()
    beyond = torch.exp(-(w.abs() ** theta))
    share = torch.where(w > 0, 1 - beyond / 2, beyond / 2)
    assert stats.kstest(torch.special.ndtri(share)).pvalue > 1e-3
    variance, fourth = math.gamma(1 + 2 / theta), math.gamma(1 + 4 / theta)
    se = math.sqrt((fourth - variance**2) / N)
    assert float(w.square().mean()) == pytest.approx(variance, abs=4 * se)


def test_ends_of_the_weibull_law_are_finite() -> None:
    """The uniform number -1, which does come, and its neighbours give finite weights; 0 gives 0."""
    u = torch.tensor([-1.0, -1 + 2**-24, 0.0, 1 - 2**-24])
    w = weibull_of(u, 2.0)
    assert w.tolist() == pytest.approx(
        [-math.sqrt(24 * math.log(2))] * 2 + [0.0, math.sqrt(24 * math.log(2))]
    )


def test_a_sampler_of_ones_own() -> None:
    """Is called with the shape and the generator, and its numbers are taken in float32 on any layout."""

    def two_point(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        return torch.randint(0, 2, shape[::-1], generator=generator).double().permute(2, 1, 0) * 2 - 1

    law = weight_law(two_point)
    w = law.draw((5, 3, 2), torch.Generator().manual_seed(0))
    assert (law.name, w.dtype, w.shape) == ("two_point", torch.float32, (5, 3, 2))
    assert set(w.flatten().tolist()) == {-1.0, 1.0}


def test_only_the_generator_draws() -> None:
    """The global state is left alone, and the same seed gives the same weights."""
    before = torch.get_rng_state()
    for given in ("normal", "uniform", ("weibull", 3)):
        assert torch.equal(drawn(given, 3), drawn(given, 3))
        assert not torch.equal(drawn(given, 3), drawn(given, 4))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nromal", "did you mean 'normal'"),
        ("weibull", "without a theta"),
        (("weibull", 0), "above 0; got 0"),
        (("weibull", -1.0), "above 0; got -1.0"),
        (("weibull", math.nan), "above 0; got nan"),
        (("weibull", math.inf), "above 0; got inf"),
        (("weibull", True), "above 0; got True"),
        (("weibull", 10**400), "above 0; got 1"),
        (("weibull", "3"), "above 0; got '3'"),
        (("weibull",), "a function of a shape"),
        (("normal", 3), "a function of a shape"),
        (3, "a function of a shape and a generator; got 3"),
        (None, "a function of a shape and a generator; got None"),
        ("wb", r"among normal, uniform, \('weibull', theta\); got 'wb'"),
        ("weibul", r"did you mean \"\('weibull', theta\)\""),
    ],
)
def test_what_is_no_law(given: Any, message: str) -> None:
    """Is refused by name."""
    with pytest.raises(ValueError, match=f"weight must.*{message}"):
        weight_law(given)


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (lambda shape, generator: 3.0, "gave float"),
        (lambda shape, generator: torch.zeros(shape[:2]), r"asked for, \(4, 3, 2\); <lambda> gave \(4, 3\)"),
        (
            lambda shape, generator: torch.ones(shape, dtype=torch.int64),
            "real numbers; <lambda> gave torch.int64",
        ),
        (lambda shape, generator: torch.full(shape, math.inf), "finite numbers"),
        (lambda shape, generator: torch.full(shape, math.nan), "finite numbers"),
        (lambda shape, generator: 1 / 0, "ZeroDivisionError"),
        (lambda shape: torch.zeros(shape), "TypeError"),
    ],
)
def test_what_a_sampler_may_not_give(sampler: Any, message: str) -> None:
    """Is refused when it is called, with what it gave."""
    with pytest.raises(ValueError, match=message):
        weight_law(sampler).draw((4, 3, 2), torch.Generator())

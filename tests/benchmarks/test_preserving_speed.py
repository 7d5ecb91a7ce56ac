"""What phi_theta costs over tanh."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

import gaussprobe as gp
from gaussprobe.nn.preserving_table import Kind
from tests.benchmarks.conftest import Page, ratio

TITLE = "Gaussian-preserving activation"
ABOUT = (
    "phi_3 over `torch.tanh` on a million standard normal numbers, eager, two threads. `asked` is the most\n"
    "that was allowed."
)
COUNT = 1_000_000
ASKED = 10.0

Function = Callable[[torch.Tensor], torch.Tensor]


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """As many as was asked for."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def forward(function: Function, x: torch.Tensor) -> Callable[[], None]:
    """Without a gradient."""

    def run() -> None:
        with torch.no_grad():
            function(x)

    return run


def both(function: Function, x: torch.Tensor) -> Callable[[], None]:
    """Forward and backward."""
    given, wanted = torch.randn_like(x), x.clone().requires_grad_()

    def run() -> None:
        wanted.grad = None
        function(wanted).backward(given)

    return run


CASES = [
    (kind, dtype, backward)
    for dtype in (torch.float32, torch.float64, torch.bfloat16)
    for kind in ("odd", "positive")
    for backward in (False, True)
]


@pytest.mark.parametrize(("kind", "dtype", "backward"), CASES)
def test_activation(
    benchmark: BenchmarkFixture, page: Page, kind: Kind, dtype: torch.dtype, backward: bool
) -> None:
    """Both kinds against tanh."""
    benchmark.pedantic(lambda: None, rounds=1)
    layer, x = gp.nn.GaussianPreserving(3, kind), torch.randn(COUNT).to(dtype)
    work = both if backward else forward
    ours = work(layer, x)
    ours()
    found = ratio(work(torch.tanh, x), ours, 25)
    page.add(
        TITLE,
        ABOUT,
        ("kind", "dtype", "backward", "times tanh (quartiles)", "asked", "tanh"),
        kind,
        str(dtype).removeprefix("torch."),
        "yes" if backward else "no",
        str(found),
        f"{ASKED:g}" if dtype is torch.float32 and not backward else "",
        f"{found.ours * 1e3:.3g} ms",
    )

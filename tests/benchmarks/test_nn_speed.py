"""What normality normalization costs over the plain layers of torch.nn."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn

import gaussprobe as gp
from gaussprobe import recipes
from gaussprobe.nn.layers import Normality
from tests import needs
from tests.benchmarks.conftest import Page, ratio

ABOUT = (
    "Forward and backward in training over the layer of torch.nn in its place, float32. `asked` is the most\n"
    "that was allowed."
)
BATCH, TOKENS = (64, 64, 32, 32), (64, 197, 384)
LAYERS: dict[str, tuple[Callable[..., nn.Module], Callable[[], nn.Module], tuple[int, ...]]] = {
    "BatchNorm2d": (lambda **how: gp.nn.BatchNormalNorm2d(64, **how), lambda: nn.BatchNorm2d(64), BATCH),
    "LayerNorm": (lambda **how: gp.nn.LayerNormalNorm(384, **how), lambda: nn.LayerNorm(384), TOKENS),
}
ASKED = {
    ("BatchNorm2d", False, True): 9.0,
    ("LayerNorm", False, True): 24.0,
    ("BatchNorm2d", True, True): 4.5,
    ("LayerNorm", True, True): 10.0,
    ("BatchNorm2d", True, False): 3.5,
    ("LayerNorm", True, False): 7.5,
}
_MMAP_MAX, _TRIM_THRESHOLD = -4, -1  # of mallopt, in malloc.h


@pytest.fixture(autouse=True, scope="module")
def pinned() -> Iterator[None]:
    """Memory that was freed is used again, not given back: as in a training that has run for a while."""
    mallopt = needs.library_function("mallopt")
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    yield
    mallopt(_MMAP_MAX, 65_536)
    mallopt(_TRIM_THRESHOLD, 128 * 1024)


def passing(layer: nn.Module, shape: tuple[int, ...]) -> Callable[[], None]:
    """Forward and backward."""
    x, given = torch.randn(shape).requires_grad_(), torch.randn(shape)

    def run() -> None:
        layer(x).backward(given)

    return run


CASES = [*ASKED, ("BatchNorm2d", False, False), ("LayerNorm", False, False)]


@pytest.mark.parametrize(("name", "compiled", "noise"), CASES)
def test_layer(benchmark: BenchmarkFixture, page: Page, name: str, compiled: bool, noise: bool) -> None:
    """A layer against its counterpart."""
    make, plain, shape = LAYERS[name]
    how = {} if noise else {"noise": 0.0}
    benchmark.pedantic(lambda: None, rounds=1)
    ours, theirs = passing(make(compile=compiled, **how), shape), passing(plain(), shape)
    ours()
    found = ratio(theirs, ours, 15)
    asked = ASKED.get((name, compiled, noise))
    page.add(
        "Normality normalization",
        ABOUT,
        ("layer", "compiled", "noise", "times the plain layer (quartiles)", "asked", "plain layer"),
        f"{name} {tuple(shape)}",
        "yes" if compiled else "no",
        "yes" if noise else "no",
        str(found),
        "" if asked is None else f"{asked:g}",
        f"{found.ours * 1e3:.3g} ms",
    )


def step(model: nn.Module) -> Callable[[], None]:
    """A training step on 64 digits."""
    images, labels = torch.randn(64, 1, 28, 28), torch.randint(10, (64,))
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.05, momentum=0.9)

    def run() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return run


@pytest.mark.parametrize("compiled", [False, True])
def test_training_step(benchmark: BenchmarkFixture, page: Page, compiled: bool) -> None:
    """The CNN of the MNIST recipe with normality normalization, against itself as it is."""
    benchmark.pedantic(lambda: None, rounds=1)
    changed = gp.nn.gaussianize(recipes.build_mnist5k_cnn())
    for layer in changed.modules():
        if isinstance(layer, Normality):
            layer.compiled = compiled
    ours = step(changed)
    ours()
    found = ratio(step(recipes.build_mnist5k_cnn()), ours, 25)
    page.add(
        "A training step with normality normalization",
        "The CNN of `gaussprobe.recipes` on 64 digits, three BatchNorms changed; asked at most 1.5.",
        ("compiled", "times the step (quartiles)", "bare step"),
        "yes" if compiled else "no",
        str(found),
        f"{found.ours * 1e3:.3g} ms",
    )

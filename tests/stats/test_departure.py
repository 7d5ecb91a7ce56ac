"""Planted departures are called by their name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from gaussprobe.stats import departure, ordered, workers
from tests.stats.laws import Floats, bfloat16

Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]


def two_peaks(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Halves at -2 and 2, each of sd .7."""
    return rng.choice([-2.0, 2.0], size) + rng.normal(0, 0.7, size)


def zero_inflated(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """A rectified normal: half the values are 0."""
    return np.maximum(rng.normal(size=size), 0)


def lightly_zero_inflated(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """A normal with 5 % zeros: delta is small, the atom is there all the same."""
    return np.where(rng.uniform(size=size) < 0.05, 0.0, rng.normal(size=size))


PLANTED: dict[str, tuple[str, Draw]] = {
    "normal": ("none", lambda rng, size: rng.normal(size=size)),
    "normal in bfloat16": ("none", lambda rng, size: bfloat16(rng.normal(size=size))),
    "normal in bfloat16, shifted": ("none", lambda rng, size: bfloat16(rng.normal(1.0, 1.0, size))),
    "lognormal": ("right-skewed", lambda rng, size: rng.lognormal(0, 0.7, size)),
    "exponential": ("right-skewed", lambda rng, size: rng.exponential(size=size)),
    "minus lognormal": ("left-skewed", lambda rng, size: -rng.lognormal(0, 0.7, size)),
    "t(3)": ("heavy-tailed", lambda rng, size: rng.standard_t(3, size)),
    "Laplace": ("heavy-tailed", lambda rng, size: rng.laplace(size=size)),
    "uniform": ("light-tailed", lambda rng, size: rng.uniform(size=size)),
    "two peaks": ("multimodal", two_peaks),
    "saturated tanh": ("multimodal", lambda rng, size: np.tanh(2.5 * rng.normal(size=size))),
    "rectified": ("atoms", zero_inflated),
    "some zeros": ("atoms", lightly_zero_inflated),
    "small integers": ("discrete", lambda rng, size: rng.poisson(2.0, size).astype(float)),
    "signs": ("discrete", lambda rng, size: rng.choice([-1.0, 1.0], size)),
    "constant": ("constant", lambda rng, size: np.full(size, 0.1)),
}


@pytest.mark.parametrize("n", [2048, 20_000])
@pytest.mark.parametrize("law", PLANTED)
def test_planted(law: str, n: int) -> None:
    """Every unit of a planted departure is called by its name."""
    expected, draw = PLANTED[law]
    units = 80_000 // n
    x = torch.from_numpy(draw(np.random.default_rng(1), (n, units)))
    assert departure.departures(x) == [expected] * units


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nonfinite(value: float) -> None:
    """One bad value makes a unit non-finite and no other."""
    x = np.random.default_rng(0).exponential(size=(500, 3))
    x[3, 1] = value
    assert departure.departures(torch.from_numpy(x)) == ["right-skewed", "non-finite", "right-skewed"]


def test_mixed_batch_is_a_loop() -> None:
    """Each unit of a batch of all kinds is called as it is alone."""
    rng = np.random.default_rng(2)
    x = torch.from_numpy(np.concatenate([draw(rng, (1024, 2)) for _, draw in PLANTED.values()], axis=1))
    alone = [departure.departures(x[:, [i]])[0] for i in range(x.shape[1])]
    assert departure.departures(x) == alone
    assert len(set(alone)) == 9


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worked out one unit at a time, the kinds are the same."""
    rng = np.random.default_rng(3)
    x = torch.from_numpy(np.concatenate([draw(rng, (512, 3)) for _, draw in PLANTED.values()], axis=1))
    whole = departure.departures(x)
    monkeypatch.setattr(workers, "CHUNK_CPU", 1)
    assert departure.departures(x) == whole


def test_rare_false_valleys() -> None:
    """Of 2,000 samples of 500 from laws with one peak at most 2 % are called multimodal."""
    rng = np.random.default_rng(4)
    for draw in (
        rng.exponential,
        rng.laplace,
        lambda size: rng.standard_t(3, size),
        lambda size: rng.uniform(size=size),
    ):
        kinds = departure.departures(torch.from_numpy(draw(size=(500, 500))))
        assert kinds.count("multimodal") <= 10


def test_delta_at_hand_is_used() -> None:
    """A given delta decides about `none`; so does a given bound."""
    sample = ordered.order(torch.rand(1000, 2))
    given = torch.tensor([0.0, 0.1], dtype=torch.float64)
    assert departure.kinds(sample, given) == ["none", "light-tailed"]
    assert departure.kinds(sample, given, negligible=0.2) == ["none", "none"]


@pytest.mark.parametrize("n", [1, 2, 7, 8, 15])
def test_small_samples(n: int) -> None:
    """Any number of samples gives a kind for each unit."""
    kinds = departure.departures(torch.randn(n, 5))
    assert len(kinds) == 5
    if n == 1:
        assert kinds == ["constant"] * 5
    else:
        assert not {"constant", "discrete", "atoms", "non-finite"} & set(kinds)


def test_density_integrates_to_one() -> None:
    """The kernel density of a sample sums to one over its grid and matches the direct sum of kernels."""
    z = ordered.order(torch.randn(2000, 2)).z
    h = torch.tensor([0.2, 0.3], dtype=torch.float64)
    origin = z[:, 0] - 6 * h
    spacing = (z[:, -1] - z[:, 0] + 12 * h) / (departure.GRID - 1)
    density, below = departure._density(z, origin, spacing, h)
    torch.testing.assert_close((density * spacing[:, None]).sum(dim=1), torch.ones(2, dtype=torch.float64))
    points = origin[:, None] + spacing[:, None] * torch.arange(departure.GRID)
    direct = torch.exp(-0.5 * ((points[:, :, None] - z[:, None, :]) / h[:, None, None]) ** 2).mean(dim=2)
    direct /= (2 * torch.pi) ** 0.5 * h[:, None]
    torch.testing.assert_close(density, direct, rtol=0, atol=2e-3)
    assert below[0, 0] == 0
    assert below[0, -1] == 2000

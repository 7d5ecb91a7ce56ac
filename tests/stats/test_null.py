"""Under the null: false-positive rates, and effect sizes that average to nothing."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from gaussprobe.stats import effects, ordered, tables
from gaussprobe.stats.battery import TESTS, run
from gaussprobe.stats.sorting import sort_rows

REPLICATES = 20_000


@functools.cache
def null_sample(n: int) -> ordered.OrderedSample:
    """Normal samples of n, the same in every test."""
    replicates = min(REPLICATES, 8_000_000 // n)
    rng = np.random.default_rng(20 + n)
    return ordered.standardise(sort_rows(torch.from_numpy(rng.normal(size=(replicates, n)))))


@functools.cache
def pvalues(n: int) -> dict[str, np.ndarray]:
    """P-values of the ten tests on `null_sample(n)`."""
    return {name: result.pvalue.numpy() for name, result in run(null_sample(n)).items()}


# n = 30 and 200 lie between the tabulated; 5,000 is past Royston's range.
@pytest.mark.parametrize("level", [0.2, 0.05, 0.01, 0.001])
@pytest.mark.parametrize("n", [8, 20, 30, 200, 1000, 5000])
@pytest.mark.parametrize("name", TESTS)
def test_false_positive_rate(name: str, n: int, level: float) -> None:
    """A test rejects as many normal samples as its level says, within 3.5 binomial sd and a tenth of it."""
    p = pvalues(n)[name]
    rate = (p <= level).mean()
    sd = np.sqrt(level * (1 - level) / len(p))
    allowance = 0.1 if level >= 0.01 else 0.25  # published closed forms are a little off in the far tail
    assert abs(rate - level) <= 3.5 * sd + allowance * level


@pytest.mark.parametrize("name", ["delta", "negentropy"])
@pytest.mark.parametrize("n", [8, 20, 30, 200, 740, 1000, 1530, 2048, 5000])
def test_corrected_effects_average_to_zero(name: str, n: int) -> None:
    """The null-corrected effect sizes have mean 0 under normality, also between the tabulated n."""
    sample = null_sample(n)
    value = effects.effect_sizes(sample)[name]
    error = value.std() / len(value) ** 0.5
    assert abs(value.mean()) < 4 * error + 0.002 * value.std()
    # The standard error of a standard deviation, from the fourth moment of what was simulated.
    z = (value - value.mean()) / value.std()
    relative = float(((z**4).mean() - 1) / (4 * len(value))) ** 0.5
    sd = tables.null_sd(name, n)  # type: ignore[arg-type]
    # Nothing rests on the sd of negentropy, which is interpolated where the others are smoothed.
    assert sd == pytest.approx(
        value.std().item(), rel=4 * relative + (0.05 if name == "negentropy" else 0.01)
    )


@pytest.mark.parametrize("n", [8, 20, 30, 200, 740, 1000, 1530, 2048, 5000])
def test_null_means_of_distances(n: int) -> None:
    """The tabulated null means of the distances are those of normal samples."""
    found = effects.effect_sizes(null_sample(n))
    for name in ("ks_distance", "wasserstein"):
        value = found[name]
        error = value.std() / len(value) ** 0.5
        expected = tables.null_mean(name, n)  # type: ignore[arg-type]
        assert abs(value.mean() - expected) < 4 * error + 0.002 * value.std()

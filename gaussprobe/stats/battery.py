"""Several tests from one shared sort."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from gaussprobe.stats import anderson, dagostino, kolmogorov, shapiro
from gaussprobe.stats.ordered import ArrayLike, OrderedSample, prepare
from gaussprobe.types import GofResult


@dataclass(frozen=True)
class Procedure:
    """A test as pure functions: its statistic of a sample, its p-value at n; the fewest samples it takes."""

    statistic: Callable[[OrderedSample], torch.Tensor]
    pvalue: Callable[[torch.Tensor, int], torch.Tensor]
    minimum: int


TESTS = {
    "shapiro_wilk": Procedure(shapiro.statistic, shapiro.pvalue, shapiro.MINIMUM),
    "lilliefors": Procedure(kolmogorov.statistic, kolmogorov.pvalue, kolmogorov.MINIMUM),
    "anderson_darling": Procedure(anderson.statistic, anderson.pvalue, anderson.MINIMUM),
    "dagostino_pearson": Procedure(dagostino.statistic, dagostino.pvalue, dagostino.MINIMUM),
}


def _known(tests: Iterable[str] | None) -> tuple[str, ...]:
    if tests is None:
        return tuple(TESTS)
    if isinstance(tests, str):
        raise ValueError(f"tests must be a sequence of names; got the string {tests!r}")
    names = tuple(tests)
    for name in names:
        if name not in TESTS:
            near = difflib.get_close_matches(str(name), TESTS, n=1, cutoff=0.0)[0]
            raise ValueError(f"tests must be among {', '.join(TESTS)}; got {name!r}: did you mean {near!r}?")
    return names


def run(sample: OrderedSample, tests: Iterable[str] | None = None) -> dict[str, GofResult]:
    """Results of `tests` by name, fields `(C,)`; NaN for units that cannot be tested, without a warning.

    Raises:
        ValueError: for an unknown name.
    """
    results = {}
    for name in _known(tests):
        value = TESTS[name].statistic(sample)
        p = TESTS[name].pvalue(value, sample.n_samples)
        results[name] = GofResult(statistic=value, pvalue=p, n_samples=sample.n_samples)
    return results


def battery(x: ArrayLike, tests: Iterable[str] | None = None, dim: int = 0) -> dict[str, GofResult]:
    """Several tests of normality from one sort.

    Each as the function of its name: `shapiro_wilk`, `lilliefors`, `anderson_darling`, `dagostino_pearson`.

    Null hypothesis: the samples are independent draws of one normal law of unknown mean and variance.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers, computed in float64.
        tests: names of tests; None for all four.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        Name to result, in the order asked for; fields in the batch's shape. NaN with a warning for samples
        that are constant, hold non-finite values, or are too few for one of the tests.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used, or an unknown name.

    Reference:
        See the functions.
    """
    names = _known(tests)
    minimum = max((TESTS[name].minimum for name in names), default=1)
    batch, sample = prepare(x, dim, name="battery", minimum=minimum)
    return {name: batch.gof(result.statistic, result.pvalue) for name, result in run(sample, names).items()}

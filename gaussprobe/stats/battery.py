"""Several tests from one shared sort."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from gaussprobe.stats import (
    anderson,
    cramer,
    dagostino,
    epps,
    francia,
    jarque,
    kolmogorov,
    shapiro,
    vasicek_k,
    watson_u2,
)
from gaussprobe.stats.batch import ArrayLike, known_name, measure
from gaussprobe.stats.ordered import OrderedSample, RowFunction
from gaussprobe.stats.pieces import measure_sample
from gaussprobe.types import GofResult


@dataclass(frozen=True)
class Procedure:
    """A test as pure functions: its statistic of a sample, its p-value at n; the fewest samples it takes."""

    statistic: Callable[[OrderedSample], torch.Tensor]
    pvalue: Callable[[torch.Tensor, int], torch.Tensor]
    minimum: int


TESTS = {
    "shapiro_wilk": Procedure(shapiro.statistic, shapiro.pvalue, shapiro.MINIMUM),
    "shapiro_francia": Procedure(francia.statistic, francia.pvalue, francia.MINIMUM),
    "lilliefors": Procedure(kolmogorov.statistic, kolmogorov.pvalue, kolmogorov.MINIMUM),
    "anderson_darling": Procedure(anderson.statistic, anderson.pvalue, anderson.MINIMUM),
    "cramer_von_mises": Procedure(cramer.statistic, cramer.pvalue, cramer.MINIMUM),
    "watson": Procedure(watson_u2.statistic, watson_u2.pvalue, watson_u2.MINIMUM),
    "jarque_bera": Procedure(jarque.statistic, jarque.pvalue, jarque.MINIMUM),
    "dagostino_pearson": Procedure(dagostino.statistic, dagostino.pvalue, dagostino.MINIMUM),
    "epps_pulley": Procedure(epps.statistic, epps.pvalue, epps.MINIMUM),
    "vasicek": Procedure(vasicek_k.statistic, vasicek_k.pvalue, vasicek_k.MINIMUM),
}


def known(tests: Iterable[str] | None) -> tuple[str, ...]:
    """Names of tests, all of them for None; ValueError for an unknown one."""
    if tests is None:
        return tuple(TESTS)
    if isinstance(tests, str):
        raise ValueError(f"tests must be a sequence of names; got the string {tests!r}")
    if not isinstance(tests, Iterable):
        raise ValueError(f"tests must be a sequence of names; got {tests!r}: dim goes by its name, dim=")
    names = tuple(tests)
    for name in names:
        known_name("tests", name, TESTS)
    return names


def run(sample: OrderedSample, tests: Iterable[str] | None = None) -> dict[str, GofResult]:
    """Results of `tests` by name, fields `(C,)`; NaN for units that cannot be tested, without a warning.

    Raises:
        ValueError: for an unknown name.
    """
    return results(measure_sample(sample, statistics(known(tests))), sample.n_samples)


def statistics(names: Iterable[str]) -> dict[str, RowFunction]:
    """Statistics of tests by name, each a function of an `OrderedSample`."""
    return {name: TESTS[name].statistic for name in names}


def results(values: Mapping[str, torch.Tensor], n_samples: int) -> dict[str, GofResult]:
    """Statistics by name, with their p-values; other values than those of tests are left aside."""
    return {
        name: GofResult(statistic=v, pvalue=TESTS[name].pvalue(v, n_samples), n_samples=n_samples)
        for name, v in values.items()
        if name in TESTS
    }


def battery(x: ArrayLike, tests: Iterable[str] | None = None, dim: int = 0) -> dict[str, GofResult]:
    """Several tests of normality from one sort.

    Each as the function of its name: `shapiro_wilk`, `shapiro_francia`, `lilliefors`, `anderson_darling`,
    `cramer_von_mises`, `watson`, `jarque_bera`, `dagostino_pearson`, `epps_pulley`, `vasicek`.

    Null hypothesis: the samples are independent draws of one normal law of unknown mean and variance.

    Args:
        x: samples along `dim`, any unit; tensor or array of real numbers.
        tests: names of tests; None for all ten.
        dim: dimension of the samples; every other dimension is batch.

    Returns:
        Name to result, in the order asked for; fields in the batch's shape. NaN with a warning for samples
        that are constant, hold non-finite values, or are too few for one of the tests.

    Raises:
        ValueError: for an `x` or a `dim` that cannot be used, or an unknown name.

    Reference:
        See the functions.
    """
    names = known(tests)
    minimum = max((TESTS[name].minimum for name in names), default=1)
    batch, values = measure(x, dim, statistics(names), name="battery", minimum=minimum)
    found = results(values, batch.n_samples)
    return {name: batch.gof(result.statistic, result.pvalue) for name, result in found.items()}

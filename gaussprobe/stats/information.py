"""How much two units tell of each other, beyond correlation."""

from __future__ import annotations

import math
import warnings
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import cKDTree
from scipy.special import digamma, gammaln, ndtri
from scipy.stats import rankdata

from gaussprobe.errors import ConstantSampleWarning, NonFiniteSampleWarning, TooFewSamplesWarning
from gaussprobe.stats.batch import ArrayLike, check

Floats: TypeAlias = "npt.NDArray[np.float64]"
Counts: TypeAlias = "npt.NDArray[np.int64]"

_FEWEST = 8


def mutual_information(x: ArrayLike, y: ArrayLike, *, neighbors: int = 3) -> Any:
    """Mutual information of two real variables, in nats.

    `I = psi(k) + psi(n) - mean(psi(n_x + 1) + psi(n_y + 1))`: k neighbours, and how many samples come as near
    as the k-th in x alone and in y alone, which estimates `E log p(x, y) / (p(x) p(y))`. Both variables are
    put in order of rank first, as normal scores: mutual information does not change under increasing maps,
    and the estimate then does not either. A sample with k others or more in its own place, as at the 0 of
    a ReLU, counts these instead. Of variables that nearly determine each other it says too little: n samples
    show no more than about psi(n).

    Null hypothesis: none is tested; independent variables have I = 0 and estimates on both sides of it.

    Args:
        x, y: `(n,)` each, sample by sample, any units; tensors or arrays of real numbers.
        neighbors: k. More of them vary less and blur more.

    Returns:
        A single number, a tensor if x is one; of independent variables it has a mean near 0 and at n = 1,000
        a standard deviation of about .02. NaN with a warning if a variable is constant, a value is not finite
        or there are fewer than 8 samples, or no more than k.

    Raises:
        ValueError: for samples of different or more than one dimension, or a k that is not positive.

    Reference:
        Kraskov, Stoegbauer & Grassberger (2004), Physical Review E 69, 066138, equation 8; Gao, Kannan, Oh &
        Viswanath (2017), NeurIPS, for samples in one place.
    """
    if isinstance(neighbors, bool) or not isinstance(neighbors, int | np.integer) or neighbors < 1:
        raise ValueError(f"neighbors must be a positive integer; got {neighbors!r}")
    give_back, a, b = _pair(x, y)
    if not _usable(a, b, fewest=max(_FEWEST, int(neighbors) + 1), name="mutual_information"):
        return give_back(math.nan)
    return give_back(_nearest(_scores(a), _scores(b), int(neighbors)))


def adjusted_mutual_information(x: ArrayLike, y: ArrayLike, *, bins: int = 10) -> Any:
    """Mutual information of two real variables in bins, adjusted for chance: 0 at independence, at most 1.

    `(I - E[I]) / ((H(x) + H(y)) / 2 - E[I])`: I and H of the table of counts, each variable cut at its
    quantiles; E[I] over all tables with the same margins.

    Null hypothesis: none is tested; independent variables have mean 0.

    Args:
        x, y: `(n,)` each, sample by sample, any units; tensors or arrays of real numbers.
        bins: of equal counts, as near as equal values allow; fewer where each would have less than two.

    Returns:
        A single number, a tensor if x is one. NaN with a warning if a variable is constant, a value is not
        finite or there are fewer than 8 samples.

    Raises:
        ValueError: for samples of different or more than one dimension, or fewer than 2 bins.

    Reference:
        Vinh, Epps & Bailey (2010), Journal of Machine Learning Research 11, 2837.
    """
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins < 2:
        raise ValueError(f"bins must be an integer of at least 2; got {bins!r}")
    give_back, a, b = _pair(x, y)
    if not _usable(a, b, fewest=_FEWEST, name="adjusted_mutual_information"):
        return give_back(math.nan)
    # With every sample in a bin of its own chance alone would explain all.
    cells = min(int(bins), len(a) // 2)
    return give_back(_adjusted(_binned(a, cells), _binned(b, cells)))


def _pair(x: ArrayLike, y: ArrayLike) -> tuple[Any, Floats, Floats]:
    """How to hand the result back, and both samples in float64."""
    first, second = check(x, 0), check(y, 0)
    for name, batch in (("x", first), ("y", second)):
        if batch.shape:
            raise ValueError(f"{name} must have one dimension; got shape {(batch.n_samples, *batch.shape)}")
    if first.n_samples != second.n_samples:
        raise ValueError(f"x and y must have as many samples; got {first.n_samples} and {second.n_samples}")

    def give_back(value: float) -> Any:
        return first.give_back(first.values.new_full((1,), value, dtype=torch.float64))

    a, b = (each.values[:, 0].double().cpu().numpy() for each in (first, second))
    return give_back, a, b


def _usable(a: Floats, b: Floats, *, fewest: int, name: str) -> bool:
    """Whether anything can be estimated; if not, why not is told."""
    if len(a) < fewest:
        message = f"{name} needs at least {fewest} samples; got {len(a)}: the result is NaN"
        warnings.warn(message, TooFewSamplesWarning, stacklevel=3)
        return False
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        message = f"{name}: a value is not finite: the result is NaN"
        warnings.warn(message, NonFiniteSampleWarning, stacklevel=3)
        return False
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        message = f"{name}: a variable is constant: the result is NaN"
        warnings.warn(message, ConstantSampleWarning, stacklevel=3)
        return False
    return True


def _scores(values: Floats) -> Floats:
    """Normal scores; equal values keep one place."""
    scores: Floats = ndtri((rankdata(values) - 0.5) / len(values))
    return scores


def _nearest(a: Floats, b: Floats, k: int) -> float:
    """The estimate from the k nearest neighbours in the larger of both distances."""
    n = len(a)
    both = np.column_stack([a, b])
    tree = cKDTree(both)
    reach: Floats = np.asarray(tree.query(both, k=[k + 1], p=np.inf)[0]).ravel()
    # Strictly nearer than the k-th: without this, rounding decides whether it counts itself.
    inside = reach * (1 - 1e-12)
    terms = digamma(k) - digamma(_within(a, inside)) - digamma(_within(b, inside))
    together = reach == 0
    if together.any():
        here = tree.query_ball_point(both[together], 0.0, p=np.inf, return_length=True)
        alone = digamma(_within(a, reach)[together]) + digamma(_within(b, reach)[together])
        terms[together] = digamma(here) - alone
    return float(digamma(n) + terms.mean())


def _within(values: Floats, reach: Floats) -> Counts:
    """How many samples lie within reach of each, itself included."""
    ordered = np.sort(values)
    last = np.searchsorted(ordered, values + reach, side="right")
    return last - np.searchsorted(ordered, values - reach, side="left")


def _binned(values: Floats, bins: int) -> Counts:
    """The bin of each sample, from 0; a value is in one bin however often it comes."""
    place = (rankdata(values, method="max") - 0.5) / len(values)
    return np.unique(np.minimum((place * bins).astype(np.int64), bins - 1), return_inverse=True)[1]


def _adjusted(a: Counts, b: Counts) -> float:
    n = len(a)
    table = np.zeros((a.max() + 1, b.max() + 1), dtype=np.int64)
    np.add.at(table, (a, b), 1)
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    joint = table[table > 0] / n
    independent = np.outer(rows, columns)[table > 0] / n**2
    found = float(np.sum(joint * np.log(joint / independent)))
    chance = _by_chance(rows, columns)
    mean = (_entropy(rows) + _entropy(columns)) / 2
    return (found - chance) / (mean - chance) if mean > chance else math.nan


def _entropy(counts: Counts) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-np.sum(shares * np.log(shares)))


def _by_chance(rows: Counts, columns: Counts) -> float:
    """Mean information of tables with these margins: a cell's count is hypergeometric."""
    n = int(rows.sum())
    of_rows, of_columns = (np.unique(each, return_counts=True) for each in (rows, columns))
    total = 0.0
    for r, times in zip(*of_rows, strict=True):
        for c, again in zip(*of_columns, strict=True):
            count = np.arange(max(1, r + c - n), min(r, c) + 1)
            log_chance = (
                _log_choose(c, count) + _log_choose(n - c, r - count) - _log_choose(n, np.asarray([r]))
            )
            total += times * again * np.sum(np.exp(log_chance) * count / n * np.log(n * count / (r * c)))
    return float(total)


def _log_choose(n: int, k: Counts) -> Floats:
    found: Floats = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return found

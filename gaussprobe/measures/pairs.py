"""What pairs of units of a layer have in common: joint normality, and mutual information."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from gaussprobe import capture as captures
from gaussprobe import models, passes, scores, stats
from gaussprobe.errors import (
    CaptureError,
    ConstantSampleWarning,
    GaussprobeWarning,
    NonFiniteSampleWarning,
    TooFewSamplesWarning,
)
from gaussprobe.measured import PairNumbers
from gaussprobe.measures import opened
from gaussprobe.stats import workers
from gaussprobe.stats.multivariate import BLOCK
from gaussprobe.stats.streaming.hashing import hash_words
from gaussprobe.types import Mode

Floats: TypeAlias = "npt.NDArray[np.float64]"
Pair: TypeAlias = tuple[int, int]

# Directions in the half-plane of two units. Random ones leave gaps there: of 64 the mean was off by a third.
NUM_SLICES = 32
# Fewest samples of every statistic of a pair.
MINIMUM = scores.MIN_SAMPLES
_LEVEL = 0.05


def channel_pairs(
    model: nn.Module | str | Path,
    batches: Any,
    *,
    pairs: int = 20,
    max_samples: int = 512,
    batch_size: int | None = None,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    mode: Mode = "eval",
    seed: int = 0,
) -> tuple[PairNumbers, ...]:
    """Joint normality and mutual information of pairs of units, for each site.

    Of each example one random position is a sample of the pair; `pair_numbers` says what is made of them.

    Null hypothesis: that of `gaussprobe.stats.henze_zirkler` for each pair, where there are p-values.

    Args:
        model: a module, or what else `gaussprobe.scan` opens; it is left as it was found.
        batches: as `gaussprobe.scan` takes them.
        pairs: of each site, random ones, all of them where there are no more; they depend on the seed and on
            the number of units alone, so that models of one architecture have the same. With units enough
            none is in two pairs.
        max_samples: examples at most, at least 8; which ones is random.
        batch_size: of data sets that have to be cut, None for 128.
        include, exclude: shell-style patterns of site names.
        mode: `"eval"`, or `"train"` to see training-mode normalization.
        seed: of the pairs, the examples, the positions, and of whatever the model draws while it runs.

    Returns:
        One record for each site, in execution order; of NaN, with a warning, for a site of one unit.
        `henze_zirkler_rejected` is NaN where examples are dependent: in training mode with batch statistics,
        where examples come in groups, and where a tensor does not say which rows are examples.

    Raises:
        ValueError: for an argument out of its range.
        ModelFileError, FactoryError, DataError: if the model or the data cannot be had.
        ForwardError: if the model's forward raises.
        SelectionError: if `include` and `exclude` leave nothing.
        CaptureError: if nothing was captured.

    Reference:
        Eftekhari & Papyan (2025), arXiv:2505.00685, figure 12.
    """
    opened.check(mode, seed, pairs=(pairs, 1), max_samples=(max_samples, MINIMUM))
    with opened.opened(model, batches, batch_size=batch_size, seed=seed) as subject:
        capture = captures.of(
            subject.module,
            plan=captures.Plan(seed=seed, max_samples=max_samples, max_units=2 * pairs),
            include=passes.patterns(include),
            exclude=passes.patterns(exclude),
        )
        groups = models.Groups(subject.inputs.groups)
        passes.run(capture, subject.module, subject.inputs, mode, passes.silent, groups)
    opened.say_unread(capture)
    samples = capture.samples()
    if not samples:
        raise CaptureError(passes.nothing_captured(subject.module, capture.not_captured()))
    alone = mode == "eval" or not passes.has_batch_statistics(subject.module)
    found = []
    for one in samples:
        # The first block holds one position of each example; further ones, of few examples, are dependent.
        rows = one.n_samples // one.sampling.positions_per_example
        values, labels = one.values[:rows], one.examples[:rows]
        numbers = pair_numbers(
            values,
            random_pairs(int(values.shape[1]), pairs, seed=seed),
            site=one.site.name,
            independent=alone and capture.sites[one.site.name].independent and len(set(labels)) == rows,
        )
        found.append(replace(numbers, pairs=_own(numbers.pairs, one.sampling.units)))
    return tuple(found)


def _own(pairs: Sequence[Pair], units: Sequence[int] | None) -> tuple[Pair, ...]:
    """Pairs of columns as pairs of the site's own units."""
    return tuple(pairs) if units is None else tuple((units[i], units[j]) for i, j in pairs)


def random_pairs(num_features: int, count: int, *, seed: int) -> list[Pair]:
    """Random pairs of distinct units, without repetition; none shares a unit where there are units enough.

    Args:
        num_features: units.
        count: pairs wanted; all there are where these are fewer.
        seed: decides with `num_features` alone.

    Returns:
        Pairs in ascending order, the smaller unit first.
    """
    if num_features >= 2 * count:
        order = np.argsort(hash_words(seed, 7, np.arange(num_features)), kind="stable")[: 2 * count]
        return sorted((int(min(pair)), int(max(pair))) for pair in order.reshape(count, 2))
    first, second = np.triu_indices(num_features, 1)
    if not len(first):
        return []
    kept = np.sort(np.argsort(hash_words(seed, 8, first, second), kind="stable")[:count])
    return list(zip(first[kept].tolist(), second[kept].tolist(), strict=True))


def pair_numbers(
    values: torch.Tensor | npt.NDArray[Any],
    pairs: Sequence[Pair],
    *,
    site: str = "pairs",
    independent: bool = True,
) -> PairNumbers:
    """Joint normality and mutual information of pairs of columns.

    Means over the pairs of `gaussprobe.stats.henze_zirkler`, of `sliced` (Epps-Pulley's statistic, each unit
    of variance 1, averaged over 32 directions evenly spaced, which in the plane is all of them), and of
    `mutual_information` and `adjusted_mutual_information`.

    Null hypothesis: the samples of a pair are independent draws of one bivariate normal law. The share of
    pairs rejected is that at .05 after Benjamini and Hochberg: of normal pairs that are independent of each
    other, any is rejected in one layer of twenty.

    Args:
        values: `(n, num_features)`, any units; tensor or array of real numbers.
        pairs: of distinct columns.
        site: what warnings name.
        independent: whether the rows are: p-values mean nothing otherwise.

    Returns:
        The means, unchanged when a unit is scaled or shifted. A pair with a unit that is constant or holds
        NaN or infinity is left out, with a warning that names the site; a pair in which one unit is a
        multiple of the other has a mutual information and no test. NaN where no pair is left, and with fewer
        than 8 rows.

    Raises:
        ValueError: for values that are no matrix of real numbers, or pairs that are not of its columns.

    Reference:
        Henze & Zirkler (1990); Epps & Pulley (1983); Kraskov, Stoegbauer & Grassberger (2004); Vinh, Epps &
        Bailey (2010): see the functions.
    """
    x = _matrix(values)
    n, units = x.shape
    for pair in pairs:
        if len(pair) != 2 or pair[0] == pair[1] or not all(0 <= unit < units for unit in pair):
            raise ValueError(f"pairs must be of distinct columns from 0 to {units - 1}; got {pair!r}")
    usable = _usable(x, pairs, site)
    with warnings.catch_warnings(), workers.one_thread():  # samples are too small for two
        warnings.simplefilter("ignore", GaussprobeWarning)  # said of the site, once
        both = [_standardised(x[:, list(pair)]) for pair in usable]
        tests = [stats.henze_zirkler(one) for one in both]
        slices = sliced(both)
        shared = [float(stats.mutual_information(*one.T)) for one in both]
        adjusted = [float(stats.adjusted_mutual_information(*one.T)) for one in both]
    statistics = [float(test.statistic) for test in tests]
    flat = sum(map(math.isnan, statistics))
    if flat:
        opened.say(
            site,
            f"in {flat} of {len(pairs)} pairs one unit is a multiple of the other: not tested",
            ConstantSampleWarning,
        )
    return PairNumbers(
        site=site,
        pairs=tuple((int(i), int(j)) for i, j in pairs),
        n_samples=n,
        henze_zirkler=_mean(statistics),
        henze_zirkler_rejected=_rejected([float(t.pvalue) for t in tests]) if independent else math.nan,
        sliced=_mean(slices),
        mutual_information=_mean(shared),
        adjusted_mutual_information=_mean(adjusted),
    )


def _matrix(values: torch.Tensor | npt.NDArray[Any]) -> Floats:
    if isinstance(values, torch.Tensor) and values.is_floating_point():
        values = values.detach().double().cpu().numpy()  # numpy has no bfloat16
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ValueError(
            f"values must be a matrix of real numbers; got shape {array.shape}, dtype {array.dtype}"
        )
    return array.astype(np.float64)


def _usable(x: Floats, pairs: Sequence[Pair], site: str) -> list[Pair]:
    """Pairs that have numbers; warns of the others."""
    if not pairs:
        opened.say(site, f"no pairs of units, of {x.shape[1]}: nothing is measured")
        return []
    if len(x) < MINIMUM:
        opened.say(
            site,
            f"pairs need at least {MINIMUM} samples; got {len(x)}: nothing is measured",
            TooFewSamplesWarning,
        )
        return []
    finite: npt.NDArray[np.bool_] = np.all(np.isfinite(x), axis=0)
    varies = np.ptp(x, axis=0) != 0
    broken = [pair for pair in pairs if not finite[list(pair)].all()]
    constant = [pair for pair in pairs if finite[list(pair)].all() and not varies[list(pair)].all()]
    for left, what, category in (
        (broken, "has NaN or infinite values", NonFiniteSampleWarning),
        (constant, "is constant", ConstantSampleWarning),
    ):
        if left:
            opened.say(site, f"in {len(left)} of {len(pairs)} pairs a unit {what}: left out", category)
    return [pair for pair in pairs if pair not in broken and pair not in constant]


def _standardised(x: Floats) -> Floats:
    """Columns with mean 0 and variance 1: slices would see little but the larger of two units."""
    x = x / np.abs(x).max(axis=0)  # squares stay in range
    x = x - x.mean(axis=0)
    scaled: Floats = x / x.std(axis=0)
    return scaled


def sliced(both: Sequence[Floats]) -> list[float]:
    """The mean over all directions of Epps-Pulley's statistic, of each of several samples `(n, 2)`.

    It has half a turn for its period, and no corners: the mean over even steps is exact to four digits, for
    units that are nearly multiples of each other to half a per cent.
    """
    angle = np.pi * (np.arange(NUM_SLICES) + 0.5) / NUM_SLICES
    vectors = np.stack([np.cos(angle), np.sin(angle)])
    found: list[float] = []
    step = max(1, BLOCK // (len(both[0]) * NUM_SLICES)) if both else 1
    for start in range(0, len(both), step):
        slices = np.concatenate([one @ vectors for one in both[start : start + step]], axis=1)
        statistic = stats.epps_pulley(slices).statistic
        found += statistic.reshape(-1, NUM_SLICES).mean(axis=1).tolist()
    return found


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _rejected(pvalues: Sequence[float]) -> float:
    known = np.asarray([p for p in pvalues if not math.isnan(p)])
    return float((stats.benjamini_hochberg(known) <= _LEVEL).mean()) if known.size else math.nan

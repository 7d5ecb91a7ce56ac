"""A comparison for the tests of reports: plausible, made of a seeded generator."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from gaussprobe.comparison import Comparison, SiteNumbers, Trial
from gaussprobe.measured import OUTPUT, Carried, Cost, Course, Quantiles
from gaussprobe.trials.analysis import compared
from gaussprobe.types import Kind

SETTINGS = ("BatchNorm", "BatchNormalNorm")
FAILURE = 'Traceback (most recent call last):\n  File "train.py", line 3, in train\nRuntimeError: loss is NaN'
_STEPS = tuple(range(0, 1000, 50))
_SCORES = tuple(NormalDist().inv_cdf((i + 0.5) / 33) for i in range(33))


def names(blocks: int) -> list[tuple[str, tuple[Kind, ...]]]:
    """A convolution, a normalization and a nonlinearity in each block, and a head."""
    found: list[tuple[str, tuple[Kind, ...]]] = []
    for block in range(blocks):
        path = f"layers.{block // 2}.{block % 2}"
        found += [
            (f"{path}.conv", ("affine",)),
            (f"{path}.norm", ("norm", "preactivation")),
            (f"{path}.relu", ("activation",)),
        ]
    return [*found, ("head", ("affine",))]


def _r2(kind: tuple[Kind, ...], depth: float, changed: float, rng: np.random.Generator) -> float:
    """Q-Q R^2 at a depth from 0 to 1, in a setting that is changed by so much, from 0 to 1."""
    if "activation" in kind:
        return 0.78 + 0.02 * float(rng.standard_normal())
    lost = 0.02 + 0.3 * depth**1.5
    kept = 0.93 * changed if "norm" in kind else 0.35 * changed
    return 1 - lost * (1 - kept) * math.exp(0.15 * float(rng.standard_normal()))


def _site(name: str, kind: tuple[Kind, ...], r2: float, rng: np.random.Generator) -> SiteNumbers:
    lost = 1 - r2
    return SiteNumbers(
        site=name,
        kind=kind,
        qq_r2=r2,
        negentropy=0.7 * lost,
        delta=lost - 0.002,
        ks_distance=0.3 * math.sqrt(lost),
        wasserstein=math.sqrt(2 * lost),
        skewness=2 * math.sqrt(lost),
        excess_kurtosis=15 * lost,
        minibatch_qq_r2=1 - 0.9 * lost * math.exp(0.05 * float(rng.standard_normal())),
        henze_zirkler=0.9 + 18 * lost * math.exp(0.2 * float(rng.standard_normal())),
        sliced=0.1 + 2 * lost * math.exp(0.2 * float(rng.standard_normal())),
        mutual_information=0.03 + 0.02 * float(rng.standard_normal()),
        adjusted_mutual_information=0.01 + 0.004 * float(rng.standard_normal()),
    )


def _quantiles(site: SiteNumbers, unit: int) -> Quantiles:
    skew = 1.3 * math.sqrt(1 - site.qq_r2)
    sample = tuple(z + skew * (z * z - 1) * (1 + 0.2 * unit) for z in _SCORES)
    r2 = float(np.corrcoef(_SCORES, sample)[0, 1] ** 2)
    return Quantiles(site=site.site, unit=unit, qq_r2=r2, normal=_SCORES, sample=sample)


def _course(site: SiteNumbers, rng: np.random.Generator) -> Course:
    values = []
    for step in _STEPS:
        lost = 0.012 + (1 - site.qq_r2 - 0.012) * (1 - math.exp(-step / 250))
        values.append(1 - lost * math.exp(0.08 * float(rng.standard_normal())))
    return Course(site=site.site, steps=_STEPS, qq_r2=tuple(values))


def _carried(
    sites: Sequence[tuple[str, tuple[Kind, ...]]], changed: float, rng: np.random.Generator
) -> tuple[Carried, ...]:
    counted = [(name, kind) for name, kind in sites if "activation" not in kind]
    found = []
    for place, (at, kind) in enumerate(counted):
        if "norm" not in kind:
            continue
        for far, (site, _) in enumerate([*counted[place + 1 :], (OUTPUT, ("affine",))], start=1):
            change = 0.3 * 0.97**far * math.exp(-0.9 * changed * far / (far + 3))
            found.append(Carried(at=at, site=site, change=change * math.exp(0.1 * rng.standard_normal())))
    return tuple(found)


def _cost(changed: float, rng: np.random.Generator) -> Cost:
    slow = (1 + 0.5 * changed) * math.exp(0.02 * float(rng.standard_normal()))
    return Cost(forward=0.012 * slow, backward=0.021 * slow, saved_bytes=3e7 * (1 + 0.4 * changed))


def build_trial(
    setting: str, seed: int, *, changed: float, sites: Sequence[tuple[str, tuple[Kind, ...]]]
) -> Trial:
    """One trial that ended, with everything that can be measured."""
    rng = np.random.default_rng([seed, round(1e3 * changed)])
    luck = float(np.random.default_rng(seed).standard_normal())  # of the seed, the same in every setting
    last = max(len(sites) - 1, 1)
    found = tuple(
        _site(name, kind, _r2(kind, place / last, changed, rng), rng)
        for place, (name, kind) in enumerate(sites)
    )
    norms = [site for site in found if "norm" in site.kind]
    return Trial(
        setting=setting,
        seed=seed,
        metrics={
            "accuracy": 0.9702 + 0.003 * luck + 0.008 * changed + 0.001 * float(rng.standard_normal()),
            "loss": 0.101 - 0.008 * luck - 0.004 * changed + 0.006 * float(rng.standard_normal()),
        },
        sites=found,
        measured="1000 examples in evaluation mode, after training",
        quantiles=tuple(_quantiles(site, unit) for site in norms for unit in range(3)),
        robustness=_carried(sites, changed, rng),
        courses=tuple(_course(site, rng) for site in found if site.kind != ("activation",)),
        cost=_cost(changed, rng),
        cost_of_first=_cost(0.0, rng) if changed else None,
        seconds=31.2 + 12 * changed + float(rng.random()),
        steps=1000,
        threads=2,
        versions={"python": "3.12.1", "torch": "2.9.0", "numpy": "2.1.0"},
    )


def build_comparison(
    *,
    settings: Sequence[str] = SETTINGS,
    blocks: int = 12,
    seeds: int = 6,
    failed: Sequence[tuple[str, int]] = (),
    **replaced: Any,
) -> Comparison:
    """Settings on the same seeds, the later ones more Gaussian.

    Args:
        settings: names.
        blocks: of the network, three sites each.
        seeds: how many, two at least.
        failed: settings and seeds of trials that raised.
        replaced: fields of `Comparison` to put in place of the built ones.

    Returns:
        The same comparison each time.
    """
    sites = names(blocks)
    trials = [
        Trial(setting=setting, seed=seed, failure=FAILURE)
        if (setting, seed) in failed
        else build_trial(setting, seed, changed=place / max(len(settings) - 1, 1), sites=sites)
        for place, setting in enumerate(settings)
        for seed in range(seeds)
    ]
    description = {"build": "gaussprobe.recipes:build_mnist5k_cnn", "every": "50", "machine": "2 cores"}
    found = compared(settings, range(seeds), trials, description)
    return dataclasses.replace(found, **replaced)

"""Comparisons with given numbers, in a row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gaussprobe.comparison import Comparison, SiteNumbers, Trial
from gaussprobe.sweep import Point, Sweep
from gaussprobe.trials.analysis import compared

MEASURED = dict.fromkeys(
    "qq_r2 negentropy delta ks_distance wasserstein skewness excess_kurtosis".split(), 0.5
)


def trial(setting: str, seed: int, accuracy: float, norms: Mapping[str, float], **more: Any) -> Trial:
    """With Q-Q R^2 of normalization layers, and of one layer that is none."""
    sites = [
        SiteNumbers(site=name, kind=("norm",), **MEASURED | {"qq_r2": value}) for name, value in norms.items()
    ]
    other = SiteNumbers(site="fc", kind=("affine",), **MEASURED | {"qq_r2": -9.0})
    return Trial(
        setting=setting,
        seed=seed,
        metrics={"accuracy": accuracy},
        sites=(*sites, other),
        measured="9 examples",
        **more,
    )


def comparison(gains: Sequence[float], *, seeds: int = 3, step: float = 0.01) -> Comparison:
    """Settings `s0`, `s1`, ..: accuracy is `.9 + step * seed` and a gain, which grows with the seed."""
    names = tuple(f"s{index}" for index in range(len(gains)))
    trials = [
        trial(
            name,
            seed,
            0.9 + step * seed + gain * (1 + 0.1 * seed),
            {"1": 0.8 + gain + 0.001 * seed, "4": 0.6 + gain},
        )
        for name, gain in zip(names, gains, strict=True)
        for seed in range(seeds)
    ]
    return compared(names, range(seeds), trials, {"recipe": "made"})


def made(gains: Sequence[float] = (0.02, 0.01, 0.0), *, seeds: int = 3) -> Sweep:
    """Over widths of .5, 1, 2, ..; the gain of the second setting at each."""
    points = tuple(
        Point(value=math.ldexp(1, index - 1), found=comparison([0.0, gain], seeds=seeds))
        for index, gain in enumerate(gains)
    )
    return Sweep(name="width", recipe="made", points=points)

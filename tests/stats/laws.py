"""Samples that tests of the statistics share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float64]

# What draws an array of a given shape.
LAWS = {
    "normal": lambda rng, size: rng.normal(3.0, 2.0, size),
    "t4": lambda rng, size: rng.standard_t(4, size),
    "lognormal": lambda rng, size: rng.lognormal(0.0, 1.0, size),
}


def draw(law: str, n: int, units: int = 3, seed: int = 0) -> Floats:
    """`(n, units)` of a named law."""
    return np.asarray(LAWS[law](np.random.default_rng(seed), (n, units)), dtype=np.float64)


def bfloat16(x: Floats) -> Floats:
    """`x` rounded to bfloat16."""
    return torch.from_numpy(x).to(torch.bfloat16).to(torch.float64).numpy()

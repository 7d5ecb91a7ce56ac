"""Randomness that depends on what a row is, not on when it came: hashes instead of a generator."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))

Keys: TypeAlias = "npt.NDArray[np.uint64]"
Indices: TypeAlias = "npt.NDArray[np.int64]"


def hash_words(*words: int | Keys | Indices) -> Keys:
    """Mix integers into uniform 64-bit words (the finaliser of splitmix64, applied word by word).

    Each step is a bijection of 64 bits, so arrays that differ only in their last word never collide.

    Args:
        words: integers or arrays that broadcast together.

    Returns:
        Words of the broadcast shape, at least one-dimensional.

    Reference:
        Steele, Lea & Flood (2014), OOPSLA, with the constants of Stafford's 13th variant.
    """
    state: Keys = np.zeros(1, dtype=np.uint64)
    with np.errstate(over="ignore"):  # wrapping is the algorithm
        for word in words:
            added = np.atleast_1d(np.asarray(word)).astype(np.uint64)
            state = (state ^ added) + _GOLDEN
            state = (state ^ (state >> np.uint64(30))) * _MIX[0]
            state = (state ^ (state >> np.uint64(27))) * _MIX[1]
            state = state ^ (state >> np.uint64(31))
    return state


def row_keys(seed: int, examples: Indices) -> Keys:
    """The random key by which an example is kept or not: the smallest keys stay."""
    return hash_words(seed, 1, examples)

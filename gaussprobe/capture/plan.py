"""How a capture samples, and the batch that is passing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from gaussprobe.stats.streaming.hashing import Indices, hash_words

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a capture samples.

    Args:
        seed: of everything random.
        max_samples: rows kept per site.
        max_units: units kept per site.
        draw: which draw this is of several with one seed, as the recorded steps of a training run are: each
            has rows and positions of its own, and all have the same units.
        middle: whether the middle position of each example is taken, in place of random ones.
        rank, ranks: where several processes see parts of one batch, which one this is: its i-th example is
            number `i * ranks + rank` of all, so that the rows kept of all parts are those of the whole.
    """

    seed: int = 0
    max_samples: int = 2048
    max_units: int = 4096
    draw: int = 0
    middle: bool = False
    rank: int = 0
    ranks: int = 1

    @property
    def row_seed(self) -> int:
        """Seed of the rows and positions."""
        return self.seed if not self.draw else int(hash_words(self.seed, 6, self.draw)[0])

    def numbers(self, examples: Indices) -> Indices:
        """Examples of this process by their number among those of all."""
        return examples * self.ranks + self.rank


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The batch that is passing.

    Args:
        first: number of its first example among all.
        n_examples: how many it has.
        dim: the dimension they run along in the model's input.
        mask: `(n_examples, positions)` bool, False where a position is padding; None where all are data.
        groups: `(n_examples,)` which examples belong together, as crops of one photograph do; None for none.
        memo: what is the same for all sites of the batch, by what it depends on.
    """

    first: int
    n_examples: int
    dim: int = 0
    mask: torch.Tensor | None = None
    groups: Indices | None = None
    memo: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """What `make` gives, made for the first site that asks."""
        if key not in self.memo:
            self.memo[key] = make()
        made: Made = self.memo[key]
        return made

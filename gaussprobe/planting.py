"""Samples of known laws in the shape of a site's tensor, for `gaussprobe selftest`.

The values of a unit are independent over examples. A random mean and scale for each unit, the same in all
batches, keeps units apart as a layer's are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from gaussprobe.capture.accumulate import SiteAccumulator
from gaussprobe.capture.layout import read_axes
from gaussprobe.capture.plan import Batch, Plan
from gaussprobe.types import Departure, Samples, Site

# Positions drawn along each dimension, by how many dimensions there are; a larger grid repeats them. A few
# positions of each example are sampled, and no two of one example are taken to be independent.
_MOST_POSITIONS = {1: 64, 2: 12}

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

Draw = Callable[[torch.Size, torch.Generator], torch.Tensor]


def _normal(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


def _uniform(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _field(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """A normal field: sums of 8 neighbours along each position dimension, cyclic and so stationary."""
    values = _normal(shape, generator)
    for dim in range(1, len(shape) - 1):
        for shift in (1, 2, 4):
            values = values + values.roll(shift, dims=dim)
    return values


def _lognormal(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    return _normal(shape, generator).exp_()


def _student(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Student's t with 3 degrees of freedom."""
    square = sum((_normal(shape, generator).square_() for _ in range(3)), torch.zeros(()))
    return _normal(shape, generator) / (square / 3).sqrt()


def _two_peaks(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    side = _uniform(shape, generator) < 0.5
    return _normal(shape, generator) + 5.0 * side


def _zero_inflated(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    return _normal(shape, generator) * (_uniform(shape, generator) < 0.7)


def _few_valued(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    return (_uniform(shape, generator) * 5).clamp_(max=4.5).floor_()


def _constant(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    return torch.ones(shape, device=generator.device)


def _with_nan(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """One value that is not a number in each example, wherever it stands."""
    values = _normal(shape, generator)
    values[..., 0] = torch.nan
    return values


@dataclass(frozen=True, kw_only=True)
class Law:
    """A law that is planted, and the departure it is to be called by.

    Args:
        name: for the reader.
        departure: `"none"` for a normal law.
        draw: a sample of shape (examples, positions..., units).
        needs_positions: whether it says something only where an example has several.
    """

    name: str
    departure: Departure
    draw: Draw
    needs_positions: bool = False


LAWS = (
    Law(name="normal", departure="none", draw=_normal),
    Law(name="normal, neighbours alike", departure="none", draw=_field, needs_positions=True),
    Law(name="lognormal", departure="right-skewed", draw=_lognormal),
    Law(name="negative lognormal", departure="left-skewed", draw=lambda *a: -_lognormal(*a)),
    Law(name="t, 3 df", departure="heavy-tailed", draw=_student),
    Law(name="uniform", departure="light-tailed", draw=_uniform),
    Law(name="two peaks", departure="multimodal", draw=_two_peaks),
    Law(name="30 % zeros", departure="atoms", draw=_zero_inflated),
    Law(name="five values", departure="discrete", draw=_few_valued),
    Law(name="constant", departure="constant", draw=_constant),
    Law(name="with NaN", departure="non-finite", draw=_with_nan),
)


@dataclass(kw_only=True)
class _Bed:
    """One law at one site: its generator, each unit's mean and scale, and what was sampled."""

    law: Law
    accumulator: SiteAccumulator
    generator: torch.Generator
    mean: torch.Tensor
    scale: torch.Tensor

    def plant(self, like: torch.Tensor, unit_dim: int, batch: Batch) -> None:
        planted = torch.empty(like.shape, dtype=like.dtype, device=like.device)
        axes = read_axes(planted.shape, unit_dim, batch.n_examples, batch.dim)
        view = axes.arrange(planted)  # no copy: writes into it
        grid = view.shape[1:-1]
        most = _MOST_POSITIONS.get(len(grid), 6)
        few = torch.Size([len(view), *(min(size, most) for size in grid), view.shape[-1]])
        values = self.law.draw(few, self.generator) * self.scale + self.mean
        for dim, size in enumerate(grid, start=1):
            if size > most:
                values = values.index_select(dim, torch.arange(size, device=values.device) % most)
        view.copy_(values)
        self.accumulator.update(planted, unit_dim, batch)


@dataclass(kw_only=True)
class Planter:
    """Plants laws at every site that passes; what the model computes, and its random state, stay as they are.

    A site gets the next laws in turn, so that all are planted equally often.

    Args:
        plan: how the planted values are sampled.
        copies: how many laws each site gets.
    """

    plan: Plan
    copies: int
    _beds: dict[str, list[_Bed]] = field(default_factory=dict)
    _turn: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})

    def __call__(self, site: Site, tensor: torch.Tensor, unit_dim: int, batch: Batch) -> torch.Tensor:
        """Plant for one batch; returns the tensor as it came."""
        if tensor.dtype in _FLOATS and tensor.layout == torch.strided and tensor.ndim and tensor.numel():
            if site.name not in self._beds:
                self._beds[site.name] = self._make(site, tensor, unit_dim, batch)
            for bed in self._beds[site.name]:
                bed.plant(tensor, unit_dim, batch)
        return tensor

    def _make(self, site: Site, tensor: torch.Tensor, unit_dim: int, batch: Batch) -> list[_Bed]:
        axes = read_axes(tensor.shape, unit_dim, batch.n_examples, batch.dim)
        has_positions = any(size > 1 for size in axes.grid)
        laws = [law for law in LAWS if has_positions or not law.needs_positions]
        beds = []
        for copy in range(self.copies):
            law = laws[self._turn[has_positions] % len(laws)]
            self._turn[has_positions] += 1
            words = f"{self.plan.seed}/{site.name}/{copy}".encode()
            word = int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "big")
            generator = torch.Generator(device=tensor.device).manual_seed(word % 2**63)
            scale = _normal(torch.Size([axes.arrange(tensor).shape[-1]]), generator).exp()
            mean = scale * _normal(scale.shape, generator)
            accumulator = SiteAccumulator(site=replace(site, kinds=()), plan=self.plan)
            beds.append(_Bed(law=law, accumulator=accumulator, generator=generator, mean=mean, scale=scale))
        return beds

    def samples(self) -> list[tuple[Law, Samples]]:
        """Each law that was planted, and what the sampling made of it, site by site."""
        found = [(bed.law, bed.accumulator.compute()) for beds in self._beds.values() for bed in beds]
        return [(law, samples) for law, samples in found if samples is not None]

"""The sites of a model as tensors pass them: which tensor is which site, and what was kept of each.

Whatever runs the model, hooks, a dispatch mode or an interpreter of a graph, tells the book what it sees.
The tensors of a forward pass are recognised by their storage and version: the output of a Linear that a ReLU
receives, also through a view, is one site with both kinds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef

from gaussprobe.capture.accumulate import SiteAccumulator
from gaussprobe.capture.layout import LayoutMemory
from gaussprobe.capture.plan import Batch, Plan
from gaussprobe.types import KINDS, CaptureRecord, Kind, NotCaptured, Samples, Site

# What a planted value of a site is made by, for `gaussprobe selftest`: the site, its tensor, the dimension of
# its units and the batch in, a tensor of the same shape out.
Plant = Callable[[Site, torch.Tensor, int, Batch], torch.Tensor]


class _Trace(NamedTuple):
    """A tensor of this forward pass that is a site: its storage (weakly), state, and the site's name."""

    storage: StorageWeakRef  # a weak reference keeps the address unique without keeping the data
    version: int
    numel: int
    site: str


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which sites are wanted, by shell-style patterns of their names.

    Args:
        include: None for all.
        exclude: what to leave out of those.
    """

    include: Sequence[str] | None = None
    exclude: Sequence[str] | None = None

    def __call__(self, name: str) -> bool:
        if self.include is not None and not any(fnmatchcase(name, p) for p in self.include):
            return False
        return not any(fnmatchcase(name, p) for p in self.exclude or ())


class SiteBook:
    """Sites and their samples over many forward passes.

    Args:
        plan: how to sample.
        selects: whether a site of that name is wanted.
        plant: replaces what is sampled, never what the model computes with; None to sample what passes.
    """

    def __init__(self, plan: Plan, selects: Callable[[str], bool], *, plant: Plant | None = None) -> None:
        self.plan = plan
        self.selects = selects
        self.plant = plant
        self.sites: dict[str, SiteAccumulator] = {}
        self.last_site: str | None = None
        self._calls: Counter[tuple[str, str | None]] = Counter()
        self._traces: dict[int, list[_Trace]] = {}
        self._memory = LayoutMemory()
        self._batch = Batch(first=0, n_examples=0)
        self._groups: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []

    def begin(self, batch: Batch) -> None:
        """A forward pass over a batch begins."""
        self._batch = batch
        if batch.groups is not None:
            self._groups.append(batch.groups)

    def end(self) -> None:
        """It is over, or has failed: its tensors are forgotten."""
        self._calls.clear()
        self._traces.clear()
        self._memory = LayoutMemory()

    def next_batch(
        self,
        n_examples: int,
        dim: int = 0,
        *,
        mask: torch.Tensor | None = None,
        groups: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None,
    ) -> Batch:
        """The batch that follows the one before, its examples numbered on."""
        first = self._batch.first + self._batch.n_examples
        return Batch(first=first, n_examples=n_examples, dim=dim, mask=mask, groups=groups)

    def samples(self, step: int = 0) -> list[Samples]:
        """Samples of every selected site, in execution order."""
        groups = np.concatenate(self._groups) if self._groups else None
        found = (site.compute(step, groups) for site in self.sites.values() if site.sampled)
        return [samples for samples in found if samples is not None]

    def records(self) -> list[CaptureRecord]:
        """What happened at every site that was seen, in execution order."""
        return [
            CaptureRecord(
                site=name,
                kind=tuple(k for k in KINDS if k in site.kinds),
                calls=site.calls,
                sampled=site.sampled and site.failure is None,
                positions_available=site.positions_available,
                positions_per_example=site.positions_per_example,
                overwritten=site.overwritten,
                recomputed=site.recomputed,
            )
            for name, site in self.sites.items()
        ]

    def failures(self) -> list[NotCaptured]:
        """Sites that were seen and could not be read, with the reason."""
        return [
            NotCaptured(site=name, reason=site.failure)
            for name, site in self.sites.items()
            if site.failure is not None
        ]

    def see_input(self, path: str, function: str | None, tensor: torch.Tensor | None) -> bool:
        """A nonlinearity receives a tensor: the site that made it, or a site of its own.

        Returns:
            Whether all its values are known to be finite.
        """
        if tensor is None:
            return False
        version = _version(tensor)
        for trace in reversed(self._traces.get(_address(tensor) or 0, [])):
            if trace.numel == tensor.numel() and trace.version == version:
                maker = self.sites[trace.site]
                maker.kinds.add("preactivation")
                return maker.last_finite
        call = self._calls[path, function] + 1
        site = Site(path=path, function=function, is_input=True, call=call)
        self._record(site, "preactivation", tensor, None)
        return self.sites[site.name].last_finite

    def see_output(
        self,
        path: str,
        function: str | None,
        kind: Kind,
        tensor: torch.Tensor,
        unit_dim: int | None,
        *,
        finite: bool = False,
    ) -> None:
        """A module or a function gives a tensor: its site, or that of its next call.

        Args:
            path: of the module.
            function: the function it calls, None for the module's own output.
            kind: of the site.
            tensor: what is given.
            unit_dim: dimension of its units, None where that is not known.
            finite: whether its values are known to be finite, and need not be looked at.
        """
        self._calls[path, function] += 1
        site = Site(path=path, function=function, call=self._calls[path, function])
        self._record(site, kind, tensor, unit_dim, finite=finite)

    def see_again(self, path: str, function: str | None = None) -> None:
        """A module runs a second time within a backward pass: what it gives is no further sample."""
        site = self.sites.get(Site(path=path, function=function).name)
        if site is not None:
            site.recomputed += 1

    def _record(
        self, site: Site, kind: Kind, tensor: torch.Tensor, unit_dim: int | None, *, finite: bool = False
    ) -> None:
        name = site.name
        accumulator = self.sites.get(name)
        if accumulator is None:
            accumulator = SiteAccumulator(site=site, plan=self.plan, sampled=self.selects(name))
            self.sites[name] = accumulator
        accumulator.kinds.add(kind)
        accumulator.calls += 1
        self.last_site = name
        try:
            self._sample(accumulator, tensor, unit_dim, finite=finite)
        except Exception as error:  # noqa: BLE001  (a tensor we cannot read must not break the user's forward)
            first = next(iter(str(error).splitlines()), "")
            accumulator.failure = f"its tensor could not be read: {type(error).__name__}: {first[:120]}"

    def _sample(
        self, accumulator: SiteAccumulator, tensor: torch.Tensor, unit_dim: int | None, *, finite: bool
    ) -> None:
        address = _address(tensor)
        if address is not None:
            if unit_dim is None:
                unit_dim = self._memory.recall(tensor.shape)
            elif tensor.ndim:
                self._memory.learn(tensor.shape, unit_dim)
            self._follow(address, tensor, accumulator.site.name)
        if self.plant is not None and accumulator.sampled:
            tensor, finite = self.plant(accumulator.site, tensor, unit_dim or 0, self._batch), False
        accumulator.update(tensor, unit_dim or 0, self._batch, finite=finite)

    def _follow(self, address: int, tensor: torch.Tensor, site: str) -> None:
        """Note a tensor as that of a site, and which sites' tensors are no longer what they were."""
        version, known = _version(tensor), self._traces.setdefault(address, [])
        for trace in known:
            if trace.version != version:
                self.sites[trace.site].overwritten += 1
        storage = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
        same = [trace for trace in known if trace.version == version]
        self._traces[address] = [*same, _Trace(storage, version, tensor.numel(), site)]


def first_tensor(values: Sequence[object]) -> torch.Tensor | None:
    """The first tensor among arguments, None when there is none."""
    return next((value for value in values if isinstance(value, torch.Tensor)), None)


def _address(tensor: torch.Tensor) -> int | None:
    """What tells one storage from another; None for tensors without one, as under vmap or sparse ones."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return None


def _version(tensor: torch.Tensor) -> int:
    # Tensors made in inference mode keep no version; in-place changes to them go unnoticed.
    return -1 if tensor.is_inference() else tensor._version

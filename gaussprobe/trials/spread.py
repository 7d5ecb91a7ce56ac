"""Trials shared out among the processes of one `torchrun`: each trains whole models of its own."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import torch.distributed as dist
from torch.distributed import distributed_c10d
from torch.distributed.rendezvous import rendezvous

# Comparisons are made in the same order on all ranks, so that their counts name them.
_COUNT = itertools.count()
_POLL = 0.1
_Item = TypeVar("_Item")


class Spread:
    """The processes that share out the trials of a comparison; one alone outside `torchrun`."""

    def __init__(self) -> None:
        self.rank, self.size, self._store = 0, 1, None
        if together():
            store, self.rank, self.size = _joined()
            self._store = distributed_c10d.PrefixStore(f"gaussprobe/compare/{next(_COUNT)}", store)

    def share(self, items: Sequence[_Item]) -> list[_Item]:
        """This process's part: as many as any other's, or one more."""
        return list(items[self.rank :: self.size])

    def agree(self, value: str) -> str:
        """The first's value, on all."""
        store = self._store
        if store is None:
            return value
        if self.rank == 0:
            store.set("agreed", value)
            return value
        _until(lambda: store.check(["agreed"]))
        return str(store.get("agreed").decode())

    def wait(self, name: str) -> None:
        """Until all have come here, however long that takes: `torchrun` ends all if one of them dies."""
        store = self._store
        if store is not None:
            store.add(name, 1)
            _until(lambda: store.add(name, 0) >= self.size)


def together() -> bool:
    """Whether this process is one of several that `torchrun` started."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size() > 1
    return dist.is_available() and dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1


@cache
def _joined() -> tuple[Any, int, int]:
    """The store all processes reach, this one's rank, and how many there are."""
    if dist.is_initialized():
        return distributed_c10d._get_default_store(), dist.get_rank(), dist.get_world_size()
    # No process group: training must not take these processes for ones that train one model together.
    store, rank, size = next(rendezvous("env://"))
    return store, rank, size


def _until(there: Callable[[], bool]) -> None:
    while not there():
        time.sleep(_POLL)

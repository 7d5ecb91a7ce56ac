"""Processes that train one model together: what each has sampled, brought to the first.

The samples go through the key-value store that the process group was made with, not through a collective: a
rank that skips a step is then missing from one record, and nobody waits for it for ever.
"""

from __future__ import annotations

import itertools
import pickle
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch.distributed as dist
from torch.distributed import distributed_c10d

# Watches are made in the same order on all ranks, so that their counts name them.
_COUNT = itertools.count()
_POLL = 0.005
# Records that a rank may be ahead of the first before what it left is taken away.
_AHEAD = 8


# Whether this process trains a model of its own, whatever group it is in.
_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Watches entered inside are of this process only."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


class Ranks:
    """The processes of the default group; one alone where there is none.

    Args:
        patience: seconds that the first waits for the others at a record; none for one that was missing
            before, until it has been seen again.
    """

    def __init__(self, patience: float = 10.0) -> None:
        together = dist.is_available() and dist.is_initialized() and not _ALONE.get()
        self.rank = dist.get_rank() if together else 0
        self.size = dist.get_world_size() if together else 1
        self.patience = patience
        self.absent: set[int] = set()
        self._left: deque[str] = deque()
        self._store: Any = None
        if self.size > 1:
            # The group's own store is the one thing all ranks can reach without a collective.
            store = distributed_c10d._get_default_store()
            self._store = distributed_c10d.PrefixStore(f"gaussprobe/{next(_COUNT)}", store)

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def agree(self, value: int) -> int:
        """The first's value, on all; they wait for it."""
        if self._store is None:
            return value
        if self.first:
            self._store.set("agreed", str(value))
            return value
        return int(self._store.get("agreed"))

    def gather(self, step: int, own: Any) -> list[Any]:
        """What the processes that are there have of a step.

        Args:
            step: the step.
            own: of this process; anything that pickles.

        Returns:
            On the first, its own and what came in time, in the order of ranks; nothing on the others.
        """
        if self._store is None:
            return [own]
        if not self.first:
            key = f"{step}/{self.rank}"
            self._store.set(key, pickle.dumps(own))
            self._left.append(key)
            if len(self._left) > _AHEAD:
                self._store.delete_key(self._left.popleft())  # in case nobody took it
            return []
        found: dict[int, Any] = {0: own}
        deadline = time.monotonic() + self.patience
        waiting = set(range(1, self.size))
        while waiting:
            for rank in sorted(waiting):
                key = f"{step}/{rank}"
                if self._store.check([key]):
                    # Written by a rank of this very job, which could run anything here anyway.
                    found[rank] = pickle.loads(self._store.get(key))  # noqa: S301
                    self._store.delete_key(key)
                    waiting.discard(rank)
            if waiting <= self.absent or time.monotonic() > deadline:
                break
            time.sleep(_POLL)
        self.absent = waiting
        return [found[rank] for rank in sorted(found)]

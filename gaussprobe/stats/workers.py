"""Work on pieces that fit the cache, a thread to each core.

torch's own threads split every operation and wait for each other at its end, which costs milliseconds
whenever another process has one of the cores. Whole pieces handed to single-threaded workers meet once.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")
Built = TypeVar("Built")

# By slot and type: the memory, and the last view given out of it.
_Kept: TypeAlias = "dict[tuple[str, torch.dtype], tuple[torch.Tensor, torch.Tensor]]"

# Values worked on at once. A few such temporaries stay in a core's caches, and the interpreter's share of the
# time is small; a GPU wants more.
CHUNK_CPU = 2**18
CHUNK_CUDA = 2**26

_lock = threading.Lock()
_pools: dict[int, concurrent.futures.ThreadPoolExecutor] = {}
_local = threading.local()


def _forget() -> None:
    """In a forked child the parent's threads do not exist."""
    global _lock
    _lock = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch's CPU operations on the calling thread, then put the number of threads back."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def constant(maxsize: int) -> Callable[[Callable[..., Built]], Callable[..., Built]]:
    """Remember what a function of hashable arguments builds, as it is outside any mode of the caller's.

    What is built within `torch.inference_mode` could never serve a gradient, under autocast it would be
    rounded, and with another default device it would lie there.
    """

    def decorate(function: Callable[..., Built]) -> Callable[..., Built]:
        @functools.lru_cache(maxsize=maxsize)
        @functools.wraps(function)
        def build(*args: Any) -> Built:
            modes = (torch.inference_mode(False), torch.no_grad(), torch.device("cpu"), one_thread())
            with contextlib.ExitStack() as stack:
                for mode in (*modes, torch.autocast("cpu", enabled=False)):
                    stack.enter_context(mode)
                return function(*args)

        return build

    return decorate


def each(
    function: Callable[[Piece], Result], pieces: Sequence[Piece], device: torch.device | None = None
) -> list[Result]:
    """`function` of every piece, in order, on as many threads as torch is set to use; on one for a GPU.

    The calling thread is one of them: it is awake, while an idle core takes milliseconds to come to speed.
    Without gradients. An exception in a worker is raised here.
    """
    kind = "cpu" if device is None else device.type
    before = torch.get_num_threads()
    threads = min(before, len(pieces)) if kind == "cpu" else 1
    results: dict[int, Result] = {}
    turns, lock = iter(range(len(pieces))), threading.Lock()

    def work() -> None:
        while True:
            with lock:
                turn = next(turns, None)
            if turn is None:
                return
            results[turn] = function(pieces[turn])

    try:
        others = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
        with one_thread(), torch.no_grad(), torch.autocast(kind, enabled=False), _keeping():
            work()
        for other in others:
            other.result()
    finally:
        # What a worker sets as it starts is also what other threads that start later find.
        if threads > 1:
            torch.set_num_threads(before)
    return [results[turn] for turn in range(len(pieces))]


def _pool(threads: int) -> concurrent.futures.ThreadPoolExecutor:
    """Workers that stay: starting them costs as much as a small batch."""
    with _lock:
        if threads not in _pools:
            _pools[threads] = concurrent.futures.ThreadPoolExecutor(
                threads, thread_name_prefix="gaussprobe", initializer=_begin
            )
        return _pools[threads]


def _begin() -> None:
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    _local.kept = {}


@contextlib.contextmanager
def _keeping() -> Iterator[None]:
    """Let the calling thread use its workspaces."""
    kept = getattr(_local, "idle", {})
    if hasattr(_local, "kept"):
        yield
        return
    _local.kept = kept
    try:
        yield
    finally:
        del _local.kept
        _local.idle = kept


def workspace(slot: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Memory that this thread uses again for its next piece: fresh pages cost more than the work on them.

    Only within `each`, and up to three times `CHUNK_CPU` values; else new memory. A thread keeps a few MB.
    """
    kept: _Kept | None = getattr(_local, "kept", None)
    if kept is None:
        return torch.empty(shape, dtype=dtype, device="cpu")
    known = kept.get((slot, dtype))
    if known is not None and known[1].shape == shape:
        return known[1]
    count = math.prod(shape)
    if count > 3 * CHUNK_CPU:
        return torch.empty(shape, dtype=dtype, device="cpu")
    # Memory made within the caller's inference mode could not be written to outside of it.
    with torch.inference_mode(False):
        if known is None or known[0].numel() < count:
            whole = torch.empty(count, dtype=dtype, device="cpu")
        else:
            whole = known[0]
        view = whole[:count].view(shape)
    kept[slot, dtype] = whole, view
    return view


def units_per_chunk(n_samples: int, device: torch.device, *, light: bool = False) -> int:
    """How many units of `n_samples` to work on at once; twice as many where few temporaries are needed."""
    chunk = CHUNK_CPU if device.type == "cpu" else CHUNK_CUDA
    return max(1, (2 * chunk if light else chunk) // n_samples)

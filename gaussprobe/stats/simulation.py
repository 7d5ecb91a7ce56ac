"""Tasks of a simulation on several processes, with a line of progress, for the scripts that make tables."""

from __future__ import annotations

import concurrent.futures
import sys
import time
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")


def pool(processes: int) -> ProcessPoolExecutor:
    """Processes with one thread of torch each."""
    return ProcessPoolExecutor(processes, initializer=torch.set_num_threads, initargs=(1,))


def finished(tasks: Collection[Future[Result]]) -> Iterator[Future[Result]]:
    """Each task as it is done, counted on stderr.

    Args:
        tasks: what was submitted to a pool.

    Returns:
        The same, in the order they are done; the result of one that failed raises what it raised.
    """
    started = time.monotonic()
    for done, task in enumerate(concurrent.futures.as_completed(tasks), start=1):
        sys.stderr.write(f"\r{done} of {len(tasks)} tasks, {time.monotonic() - started:.0f} s")
        sys.stderr.flush()
        yield task
    sys.stderr.write("\n")


def wait(*groups: Collection[Future[Any]]) -> None:
    """Wait until all tasks of all groups are done, counted on stderr."""
    for _ in finished([task for group in groups for task in group]):
        pass

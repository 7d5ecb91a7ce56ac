"""Pieces of work on threads."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from gaussprobe.stats import workers
from gaussprobe.stats.battery import battery
from tests import needs


@pytest.fixture
def three_threads() -> Iterator[None]:
    """torch set to three threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_results_are_in_order_and_threads_put_back() -> None:
    """Results come in the order of the pieces; inside torch has one thread and no gradients, then three."""

    def work(piece: int) -> tuple[int, int, bool]:
        return piece, torch.get_num_threads(), torch.is_grad_enabled()

    assert workers.each(work, range(20)) == [(i, 1, False) for i in range(20)]
    assert workers.each(work, range(1)) == [(0, 1, False)]
    assert torch.get_num_threads() == 3
    assert torch.is_grad_enabled()


@pytest.mark.usefixtures("three_threads")
def test_threads_that_start_later_are_not_held_to_one() -> None:
    """A thread that the user starts afterwards finds the user's number of threads, not the workers'."""
    workers.each(lambda piece: piece, range(8))
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [3]


@pytest.mark.usefixtures("three_threads")
def test_an_error_in_a_worker_is_raised() -> None:
    """An exception reaches the caller, and the number of threads is put back."""

    def fail(piece: int) -> None:
        raise ZeroDivisionError(piece)

    with pytest.raises(ZeroDivisionError):
        workers.each(fail, range(5))
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
@needs.FORK
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_workers_of_its_own() -> None:
    """After fork, as in a data loader's process, the child does not wait for threads it does not have."""
    workers.each(lambda piece: piece, range(8))
    child = os.fork()
    if child == 0:
        torch.set_num_threads(2)
        os._exit(0 if workers.each(lambda piece: piece + 1, range(4)) == [1, 2, 3, 4] else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.usefixtures("three_threads")
@needs.FORK
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_statistics_in_a_forked_child() -> None:
    """A child of a process whose torch has started its threads computes the battery and its p-values."""
    x = torch.randn(64, 4096)
    expected = battery(x)["anderson_darling"].pvalue
    torch.special.erfc(torch.randn(2**20))  # on all of torch's threads
    child = os.fork()
    if child == 0:
        same = torch.equal(battery(x)["anderson_darling"].pvalue, expected)
        os._exit(0 if same else 1)
    for _ in range(600):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0


def test_memory_is_used_again_within_a_call_only() -> None:
    """Two pieces of one call share a slot's memory; outside a call, and for large shapes, memory is new."""

    def where(piece: int) -> int:
        return workers.workspace("slot", (10, 10 + piece % 2), torch.float32).data_ptr()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # The slot grows once, for the second piece.
        assert len(set(workers.each(where, range(6))[1:])) == 1
    finally:
        torch.set_num_threads(threads)
    first = workers.workspace("slot", (10, 10), torch.float32)
    second = workers.workspace("slot", (10, 10), torch.float32)
    assert first.data_ptr() != second.data_ptr()
    large = (3, workers.CHUNK_CPU)
    kept = workers.each(lambda _: workers.workspace("slot", large, torch.float32), range(1))
    assert kept[0].shape == large


def test_constants_are_built_outside_of_any_mode() -> None:
    """Under inference mode, autocast and another default device a constant is built as without them."""

    @workers.constant(4)
    def build(n: int) -> torch.Tensor:
        return torch.arange(n, dtype=torch.float32) @ torch.ones(n, 2)

    torch.set_default_device("meta")
    try:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            built = build(5)
    finally:
        torch.set_default_device(None)
    assert built.device.type == "cpu"
    assert not built.is_inference()
    assert built.dtype == torch.float32
    assert build(5) is built

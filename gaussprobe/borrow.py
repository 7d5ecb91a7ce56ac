"""A borrowed model: whatever a pass does to it, and to the random state, is put back afterwards."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from gaussprobe.errors import DataError


def cuda_devices(model: Any, device: torch.device | None) -> list[int]:
    """CUDA devices whose random state the scan may touch."""
    if not torch.cuda.is_available():
        return []
    wanted = [] if device is None else [device]
    if isinstance(model, nn.Module):
        wanted += [p.device for p in model.parameters()]
    return sorted({d.index or 0 for d in wanted if d.type == "cuda"})


@contextmanager
def isolated_rng(seed: int, cuda_devices: Sequence[int] = ()) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's generators inside, and put all of them back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=list(cuda_devices)):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        for index in cuda_devices:
            torch.cuda.default_generators[index].manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextmanager
def as_found(module: nn.Module) -> Iterator[None]:
    """Put each module's own training flag and every buffer back, whatever the forward did to them."""
    flags = [(m, m.training) for m in module.modules()]
    buffers = [
        (m, name, buffer, None if buffer is None else buffer.detach().clone())
        for m in module.modules()
        for name, buffer in m._buffers.items()
    ]
    try:
        yield
    finally:
        for m, training in flags:
            m.training = training
        with torch.no_grad():
            for m, name, buffer, content in buffers:
                m._buffers[name] = buffer
                if buffer is not None and content is not None and not torch.equal(buffer, content):
                    buffer.copy_(content)


def open_device(name: str) -> torch.device:
    """A device by its name, tried once.

    Raises:
        DataError: if it cannot be used.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DataError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    if device.type == "meta":
        raise DataError("device 'meta' cannot be used: its tensors hold no values")
    return device


def device_of(module: nn.Module) -> torch.device:
    """Where a module's first parameter or buffer is, the CPU when it has none."""
    tensors: Iterable[torch.Tensor] = (*module.parameters(), *module.buffers())
    return next((t.device for t in tensors), torch.device("cpu"))


@contextmanager
def eagerly() -> Iterator[None]:
    """Compiled models run eagerly inside: hooks added after compilation are skipped in silence otherwise."""
    if "torch._dynamo" not in sys.modules:  # nothing was compiled; the import costs seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def moved(module: nn.Module, device: torch.device | None) -> Iterator[torch.device]:
    """The model on another device inside, and back where it was afterwards."""
    home = device_of(module)
    if device is None or device == home:
        yield home
        return
    if len({p.device for p in module.parameters()}) > 1:
        raise ValueError("device must be None for a model whose parameters lie on several devices")
    module.to(device)
    try:
        yield device_of(module)
    finally:
        module.to(home)

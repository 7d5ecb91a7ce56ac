"""Whether a model takes a batch, found out without leaving a trace on the model."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from gaussprobe.models.batches import call_arguments, leaves, map_tensors, unwrapped


def fits(module: nn.Module, batch: Any, *, real: bool = False) -> Exception | None:
    """Try a forward pass in evaluation mode without gradients.

    Args:
        module: the model; its training flags, buffers and the global random state are as before.
        batch: two examples.
        real: run the model itself instead of a copy whose tensors have shapes but no numbers. The copy does
            not see an index out of range, so a model with an Embedding is always run in the end.

    Returns:
        None if it fits, else what the forward pass raised.
    """
    try:
        arguments, keywords, _ = call_arguments(module, batch)
        if not real:
            problem = _fake(unwrapped(module), arguments, keywords)
            if problem is not None or not _looks_up(module):
                return problem
        return _real(unwrapped(module), arguments, keywords)
    except Exception as error:  # noqa: BLE001 (the model's own code may raise anything)
        return error


def _looks_up(module: nn.Module) -> bool:
    return any(isinstance(child, nn.Embedding | nn.EmbeddingBag) for child in module.modules())


def _fake(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Exception | None:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    device = next((each.device for each in module.parameters()), torch.device("cpu"))
    try:
        # Tensors come from the memo, so that only the structure is copied.
        memo: dict[int, Any] = {id(each): mode.from_tensor(each) for each in _tensors(module)}
        with _untouched(), mode:
            twin = copy.deepcopy(module, memo).eval()
            _drop_shared_hooks(twin)
            given = map_tensors(lambda tensor: mode.from_tensor(tensor).to(device), (arguments, keywords))
            twin(*given[0], **given[1])
    except Exception as error:  # noqa: BLE001 (the model's own code may raise anything)
        return error
    return None


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    """Parameters, buffers, and tensors kept as plain attributes."""
    yield from module.parameters()
    yield from module.buffers()
    for child in module.modules():
        for value in vars(child).values():
            yield from leaves(value)


def _drop_shared_hooks(twin: nn.Module) -> None:
    """Functions are shared by a copy and would act on what the original's owner keeps; objects are copied."""
    for child in twin.modules():
        for hooks in (child._forward_hooks, child._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if isinstance(hook, FunctionType | MethodType)]:
                del hooks[key]


def _real(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Exception | None:
    device = next((each.device for each in module.parameters()), torch.device("cpu"))
    training = [(child, child.training) for child in module.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    given = map_tensors(lambda tensor: tensor.to(device), (arguments, keywords))
    try:
        with _untouched():
            module.eval()
            module(*given[0], **given[1])
    except Exception as error:  # noqa: BLE001 (the model's own code may raise anything)
        return error
    finally:
        for child, flag in training:
            child.training = flag
        with torch.no_grad():
            for buffer, kept in buffers:
                if not torch.equal(buffer, kept):
                    buffer.copy_(kept)
    return None


@contextmanager
def _untouched() -> Iterator[None]:
    """No gradients, no warnings from trials, and the global random state as before."""
    # A failing trial is an answer: torch would write its traceback to stderr.
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    disabled, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.no_grad(), torch.random.fork_rng():
                yield
    finally:
        logger.disabled = disabled

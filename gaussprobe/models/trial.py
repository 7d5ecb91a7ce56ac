"""Whether a model takes a batch, found out without leaving a trace on the model."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from gaussprobe.models.batches import call_arguments, map_tensors, unwrapped
from gaussprobe.models.layers import looks_up


def fits(module: nn.Module, batch: Any, *, real: bool = False) -> BaseException | None:
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
            if problem is not None or not looks_up(module):
                return problem
        return _on_cpu(unwrapped(module), arguments, keywords)
    except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001 (the model's own code)
        return error


def _fake(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> BaseException | None:
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
    except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001 (the model's own code)
        return error
    return None


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    """Parameters, buffers, and tensors kept as plain attributes, in containers however nested or shared."""
    yield from module.parameters()
    yield from module.buffers()
    todo: list[Any] = [value for child in module.modules() for value in vars(child).values()]
    seen: set[int] = set()
    while todo:
        value = todo.pop()
        if torch.is_tensor(value):
            yield value
        elif isinstance(value, Mapping | tuple | list) and id(value) not in seen:
            seen.add(id(value))
            todo.extend(value.values() if isinstance(value, Mapping) else value)


def _drop_shared_hooks(twin: nn.Module) -> None:
    """Functions are shared by a copy and would act on what the original's owner keeps; objects are copied."""
    for child in twin.modules():
        for hooks in (child._forward_hooks, child._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if isinstance(hook, FunctionType | MethodType)]:
                del hooks[key]


def _on_cpu(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> BaseException | None:
    """A real trial; off the CPU first on a copy there, as an index out of range breaks a GPU for good."""
    device = next((each.device for each in module.parameters()), torch.device("cpu"))
    if device.type != "cpu" and looks_up(module):
        try:
            memo: dict[int, Any] = {id(each): _cpu_copy(each) for each in _tensors(module)}
            twin = copy.deepcopy(module, memo)
        except Exception:  # noqa: BLE001 (what cannot be copied is tried where it is)
            return _real(module, arguments, keywords)
        _drop_shared_hooks(twin)
        problem = _real(twin, arguments, keywords)
        # Anything else may come of a device that the model's code names.
        if problem is None or isinstance(problem, IndexError):
            return problem
    return _real(module, arguments, keywords)


def _cpu_copy(tensor: torch.Tensor) -> torch.Tensor:
    moved = tensor.detach().cpu()
    return nn.Parameter(moved, requires_grad=False) if isinstance(tensor, nn.Parameter) else moved


def _real(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> BaseException | None:
    device = next((each.device for each in module.parameters()), torch.device("cpu"))
    training = [(child, child.training) for child in module.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    given = map_tensors(lambda tensor: tensor.to(device), (arguments, keywords))
    try:
        with _untouched():
            module.eval()
            module(*given[0], **given[1])
    except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001 (the model's own code)
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

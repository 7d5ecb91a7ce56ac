"""What a training step of a model takes: time forward and backward, and the memory between the two."""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from gaussprobe import borrow, models, passes
from gaussprobe.errors import ForwardError, GaussprobeError, GaussprobeWarning, first_line
from gaussprobe.measured import Cost
from gaussprobe.measures import opened, places
from gaussprobe.models.batches import leaves


def step_cost(
    models: Mapping[str, nn.Module], batch: Any, *, repeats: int = 7, warmup: int = 2
) -> dict[str, Cost]:
    """Time and memory of a training step of several models, timed in turns.

    In each repetition the models take a step one after the other, so that whatever slows the machine for a
    while slows all of them: forward, and backward from `sum over outputs of mean(y^2)`, y the floating
    tensors that the model returns. Medians over repetitions are reported. Each model runs with the training
    flags it has; these, its gradients, buffers and the generators are as before afterwards.

    Args:
        models: by name.
        batch: one batch as `gaussprobe.scan` takes them.
        repeats: steps of each model that are timed.
        warmup: steps of each before those.

    Returns:
        The cost by name, with seconds forward and backward. `saved_bytes` counts storages of the tensors that
        autograd saves in the forward pass, the inputs too if they are among them, without parameters and
        buffers. `peak_bytes` is NaN for a model that is not on a CUDA device.

    Raises:
        ValueError: for an argument out of its range, or a model whose outputs no gradient can start from.
        DataError: if the batch does not fit.
        ForwardError: if a model's forward or backward raises.
    """
    _check(models, repeats, warmup)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))  # which lets gradients be taken, too
        stack.enter_context(_isolated(models))
        steppers = []
        for name, module in models.items():
            stack.enter_context(borrow.as_found(module))
            stack.enter_context(_gradients_as_found(module))
            steppers.append(_Stepper(name=name, module=module, call=_call(name, module, batch)))
        for repeat in range(warmup + repeats):
            for stepper in steppers:
                stepper.step(timed=repeat >= warmup)
        found = {}
        for stepper in steppers:
            found[stepper.name] = stepper.compute()
        return found


def _check(models: Any, repeats: Any, warmup: Any) -> None:
    if not isinstance(models, Mapping) or not models:
        raise ValueError(f"models must be one module at least, by name; got {type(models).__name__}")
    for name, module in models.items():
        if not isinstance(name, str) or not isinstance(module, nn.Module):
            raise ValueError(f"models must be modules by name; got {name!r}: {type(module).__name__}")
    opened.check_integers(repeats=(repeats, 1), warmup=(warmup, 0))


@contextmanager
def _isolated(models: Mapping[str, nn.Module]) -> Iterator[None]:
    devices = {index for module in models.values() for index in borrow.cuda_devices(module, None)}
    with borrow.isolated_rng(0, sorted(devices)):
        yield


@contextmanager
def _gradients_as_found(module: nn.Module) -> Iterator[None]:
    """Put each parameter's gradient back, the tensor and what it held."""
    found = [(parameter, parameter.grad) for parameter in module.parameters()]
    try:
        for parameter, _ in found:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in found:
            parameter.grad = gradient


def _call(name: str, module: nn.Module, batch: Any) -> places.Call:
    """What a model is called with, as it would be in a scan."""
    try:
        inputs = passes.open_inputs([batch], module, None, 0, None, models.image_options(None, None, None))
        return places.call_of(module, next(iter(inputs.batches)))
    except GaussprobeError as error:
        raise type(error)(f"model {name!r}: {error}") from error


@dataclass(kw_only=True)
class _Stepper:
    """Steps of one model: `step` many times, then `compute`."""

    name: str
    module: nn.Module
    call: places.Call
    forward: list[float] = field(default_factory=list)
    backward: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._devices = borrow.cuda_devices(self.module, None)

    def step(self, *, timed: bool) -> None:
        """One step."""
        forward, backward = self._run(*self._begin())
        if timed:
            self.forward.append(forward)
            self.backward.append(backward)

    def compute(self) -> Cost:
        """The cost; memory is measured in steps of its own."""
        return Cost(
            forward=statistics.median(self.forward),
            backward=statistics.median(self.backward),
            saved_bytes=self._saved_bytes(),
            peak_bytes=self._peak_bytes(),
        )

    def _begin(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """As after `zero_grad`, with arguments that may be overwritten."""
        for parameter in self.module.parameters():
            parameter.grad = None
        return places.copied(self.call)

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[float, float]:
        """Seconds forward and backward."""
        start = self._now()
        output = self._forward(args, kwargs)
        forward = self._now() - start
        loss = self._loss(output)
        start = self._now()
        self._backward(loss)
        return forward, self._now() - start

    def _now(self) -> float:
        for index in self._devices:
            torch.cuda.synchronize(index)
        return time.perf_counter()

    def _forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return self.module(*args, **kwargs)
        except Exception as error:
            raise self._failed("forward", error) from error

    def _loss(self, output: Any) -> torch.Tensor:
        terms = [y for y in leaves(output) if y.is_floating_point() and y.requires_grad]
        if not terms:
            raise ValueError(
                f"models must return floating tensors that depend on a parameter; {self.name!r} returns none"
            )
        # Half precision would overflow in the square.
        means = [y.float().square().mean() if y.dtype != torch.float64 else y.square().mean() for y in terms]
        return torch.stack([mean.to(means[0]) for mean in means]).sum()

    def _backward(self, loss: torch.Tensor) -> None:
        try:
            torch.autograd.backward(loss)
        except Exception as error:
            raise self._failed("backward", error) from error

    def _failed(self, what: str, error: Exception) -> ForwardError:
        said = f"{type(error).__name__}: {first_line(error)}"
        return ForwardError(f"model {self.name!r}: its {what} pass failed\n{said}")

    def _saved_bytes(self) -> int:
        """Of what a forward pass leaves for the backward pass, each storage once."""
        own = {_storage(t)[0] for t in (*self.module.parameters(), *self.module.buffers())}
        # Held on to, so that no storage gets the address of another.
        kept: dict[int, torch.UntypedStorage] = {}
        unknown: list[torch.layout] = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            address, storage = _storage(tensor)
            if storage is None:
                unknown.append(tensor.layout)
            elif address not in own:
                kept[address] = storage
            return tensor

        args, kwargs = self._begin()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            self._forward(args, kwargs)
        if unknown:
            what = ", ".join(sorted({str(layout).removeprefix("torch.") for layout in unknown}))
            warnings.warn(
                f"model {self.name!r}: {len(unknown)} saved tensors ({what}) are not counted in saved_bytes",
                GaussprobeWarning,
                stacklevel=4,
            )
        return sum(storage.nbytes() for storage in kept.values())

    def _peak_bytes(self) -> float:
        if not self._devices:
            return math.nan
        given = self._begin()
        for index in self._devices:
            torch.cuda.synchronize(index)
            torch.cuda.reset_peak_memory_stats(index)
        before = sum(map(torch.cuda.memory_allocated, self._devices))
        self._run(*given)
        return float(sum(map(torch.cuda.max_memory_allocated, self._devices)) - before)


def _storage(tensor: torch.Tensor) -> tuple[int, torch.UntypedStorage | None]:
    """The storage of a tensor and what tells it from others; none for a sparse tensor."""
    try:
        storage = tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return 0, None
    return int(storage._cdata), storage

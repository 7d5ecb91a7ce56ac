"""Forward hooks and a function mode: from a model that runs to `Samples` per site.

Hooks sit on every module, so that functional calls get the path of the module they stand in; they are removed
in `__exit__`, also after an error. The tensors of a forward pass are recognised by their storage and version:
the output of a Linear that a ReLU receives, also through a view, is one site with both kinds. Samples are
copied inside the hook, so that in-place activations overwrite nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from gaussprobe.capture import kinds as kinds_
from gaussprobe.capture import layout
from gaussprobe.capture.accumulate import Batch, Plan, SiteAccumulator
from gaussprobe.types import Kind, NotCaptured, Samples, Site


@dataclass(frozen=True)
class _Frame:
    """A module whose forward is running."""

    path: str
    module: nn.Module
    atomic: bool  # a stock layer: what it calls inside is its own business


@dataclass(frozen=True)
class _Trace:
    """A tensor of this forward pass that is a site: its storage (weakly), state, and the site's name."""

    storage: StorageWeakRef  # a weak reference keeps the address unique without keeping the data
    version: int
    numel: int
    site: str


class Capture:
    """Samples of every site of a model.

    ```
    with Capture(model) as capture:
        for batch in batches:
            with capture.forward(n_examples=len(batch)):
                model(batch)
    capture.samples()
    ```

    Args:
        model: an eager module; nothing is written onto it and its outputs stay bit-identical.
        plan: how to sample.
        include: shell-style patterns of site names, None for all.
        exclude: patterns of site names to leave out.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        plan: Plan | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
    ) -> None:
        self.model = model
        self.plan = plan or Plan()
        self.include, self.exclude = include, exclude
        self.sites: dict[str, SiteAccumulator] = {}
        self.last_site: str | None = None
        self._handles: list[RemovableHandle] = []
        self._stack: list[_Frame] = []
        self._calls: Counter[tuple[str, str | None]] = Counter()
        self._traces: dict[int, _Trace] = {}
        self._memory = layout.LayoutMemory()
        self._batch = Batch(first=0, n_examples=0)
        self._running = False

    def __enter__(self) -> Capture:
        for name, module in self.model.named_modules():
            path = _own_path(name)
            self._handles.append(
                module.register_forward_pre_hook(self._make_pre_hook(path), with_kwargs=True)
            )
            # always_call: the stack of running modules must unwind when a model catches an exception
            self._handles.append(
                module.register_forward_hook(self._make_hook(path), with_kwargs=True, always_call=True)
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @contextmanager
    def forward(self, n_examples: int, batch_dim: int = 0) -> Iterator[None]:
        """Record what runs inside as one forward pass over a batch of `n_examples` along `batch_dim`."""
        first = self._batch.first + self._batch.n_examples
        self._batch = Batch(first=first, n_examples=n_examples, dim=batch_dim)
        self._running = True
        try:
            with _FunctionMode(self):
                yield
        finally:
            self._running = False
            self._stack.clear()
            self._calls.clear()
            self._traces.clear()
            self._memory = layout.LayoutMemory()

    def samples(self, step: int = 0) -> list[Samples]:
        """Samples of every selected site, in execution order."""
        found = (site.compute(step) for site in self.sites.values() if site.sampled)
        return [samples for samples in found if samples is not None]

    def not_captured(self) -> list[NotCaptured]:
        """Sites that were expected, or seen, and have no samples, with the reason."""
        missing = [
            NotCaptured(site=name, reason=site.failure)
            for name, site in self.sites.items()
            if site.failure is not None
        ]
        fused: list[str] = []
        for name, module in self.model.named_modules():
            path = _own_path(name)
            reason = kinds_.fused_reason(module)
            if reason is not None:
                missing.append(NotCaptured(site=path, reason=reason))
                fused.append(path)
            elif isinstance(module, kinds_.ACROSS_UNITS):
                missing.append(NotCaptured(site=path, reason="acts across units, not on each by itself"))
            elif kinds_.module_kind(module) is not None and path not in self.sites:
                inside = any(not outer or path.startswith(outer + ".") for outer in fused)
                reason = "inside a fused layer" if inside else "never called in the forward pass"
                missing.append(NotCaptured(site=path, reason=reason))
        return [m for m in missing if self._selects(m.site)]

    def _selects(self, name: str) -> bool:
        if self.include is not None and not any(fnmatchcase(name, p) for p in self.include):
            return False
        return not any(fnmatchcase(name, p) for p in self.exclude or ())

    # -- module hooks

    def _make_pre_hook(self, path: str) -> Callable[..., None]:
        def pre_hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not self._active():
                return
            kind = kinds_.module_kind(module)
            if kind == "activation" and not self._inside_atomic():
                self._see_input(path, None, _first_tensor((*args, *kwargs.values())))
            self._stack.append(_Frame(path, module, kind is not None))

        return pre_hook

    def _make_hook(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, _args: tuple[Any, ...], _kwargs: dict[str, Any], output: Any) -> None:
            if not self._active():
                return
            while self._stack and self._stack.pop().module is not module:
                pass
            kind = kinds_.module_kind(module)
            if kind is not None and isinstance(output, torch.Tensor) and not self._inside_atomic():
                self._see_output(path, None, kind, output, layout.module_unit_dim(module, output))

        return hook

    def _active(self) -> bool:
        # Activation checkpointing runs the forward again inside backward; that is not another sample.
        return self._running and torch._C._current_graph_task_id() == -1

    def _inside_atomic(self) -> bool:
        return bool(self._stack) and self._stack[-1].atomic

    # -- functional calls

    def call(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Run a function of torch's API, recording it where it makes a site."""
        name, kind = kinds_.FUNCTIONS.get(func, (None, None))
        if name is None or kind is None or not self._active() or self._inside_atomic():
            return func(*args, **kwargs)
        if name in kinds_.PRODUCTS and not any(isinstance(a, nn.Parameter) for a in args):
            return func(*args, **kwargs)
        path = self._stack[-1].path if self._stack else ""
        if kind == "activation":
            self._see_input(path, name, _first_tensor((*args, *kwargs.values())))
        output = func(*args, **kwargs)
        if isinstance(output, torch.Tensor):
            unit_dim = None
            if kind != "activation":
                unit_dim = layout.function_unit_dim(name, output, args, kwargs)
            self._see_output(path, name, kind, output, unit_dim)
        return output

    # -- sites

    def _see_input(self, path: str, function: str | None, tensor: torch.Tensor | None) -> None:
        """A nonlinearity receives a tensor: the site that made it, or a site of its own."""
        if tensor is None:
            return
        address = _address(tensor)
        trace = None if address is None else self._traces.get(address)
        if trace is not None and trace.numel == tensor.numel() and trace.version == _version(tensor):
            self.sites[trace.site].kinds.add("preactivation")
            return
        call = self._calls[path, function] + 1
        site = Site(path=path, function=function, is_input=True, call=call)
        self._record(site, "preactivation", tensor, None)

    def _see_output(
        self, path: str, function: str | None, kind: Kind, tensor: torch.Tensor, unit_dim: int | None
    ) -> None:
        self._calls[path, function] += 1
        site = Site(path=path, function=function, call=self._calls[path, function])
        self._record(site, kind, tensor, unit_dim)

    def _record(self, site: Site, kind: Kind, tensor: torch.Tensor, unit_dim: int | None) -> None:
        name = site.name
        accumulator = self.sites.get(name)
        if accumulator is None:
            accumulator = SiteAccumulator(site=site, plan=self.plan, sampled=self._selects(name))
            self.sites[name] = accumulator
        accumulator.kinds.add(kind)
        self.last_site = name
        try:
            self._sample(accumulator, tensor, unit_dim)
        except Exception as error:  # noqa: BLE001  (a tensor we cannot read must not break the user's forward)
            first = next(iter(str(error).splitlines()), "")
            accumulator.failure = f"its tensor could not be read: {type(error).__name__}: {first[:120]}"

    def _sample(self, accumulator: SiteAccumulator, tensor: torch.Tensor, unit_dim: int | None) -> None:
        address = _address(tensor)
        if address is not None:
            if unit_dim is None:
                unit_dim = self._memory.recall(tensor.shape)
            elif tensor.ndim:
                self._memory.learn(tensor.shape, unit_dim)
            storage = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
            self._traces[address] = _Trace(storage, _version(tensor), tensor.numel(), accumulator.site.name)
        accumulator.update(tensor, unit_dim or 0, self._batch)


class _FunctionMode(TorchFunctionMode):
    """Sees calls of torch's public functions, in whatever spelling, before they run."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return self._capture.call(func, args, kwargs or {})


def _own_path(name: str) -> str:
    """A module's path without the wrapper that torch.compile puts around modules."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def _first_tensor(values: Sequence[Any]) -> torch.Tensor | None:
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

"""Forward hooks and a function mode: from an eager model that runs to `Samples` per site.

Hooks sit on every module, so that functional calls get the path of the module they stand in; they are removed
in `__exit__`, also after an error. Samples are copied inside the hook, so that in-place activations overwrite
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self, Unpack

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from gaussprobe.capture import deep as inner
from gaussprobe.capture import elementwise, layout
from gaussprobe.capture import kinds as kinds_
from gaussprobe.capture.base import FrontEnd, Options
from gaussprobe.capture.book import first_tensor
from gaussprobe.capture.paths import own_modules
from gaussprobe.types import Kind, NotCaptured


class _Frame(NamedTuple):
    """A module whose forward is running."""

    path: str
    module: nn.Module
    kind: Kind | None  # of a layer that is one site: what it calls inside is its own business
    finite: bool = False  # whether what it gives is finite because what it received is


class Capture(FrontEnd):
    """Samples of every site of an eager module, by hooks and a function mode.

    Args:
        model: an eager module.
        deep: whether to look inside fused layers, by computing their insides again.
        logits: whether that goes for attention logits too.
        options: as `FrontEnd`.
    """

    def __init__(
        self, model: nn.Module, *, deep: bool = False, logits: bool = False, **options: Unpack[Options]
    ) -> None:
        super().__init__(model, **options)
        self.deep, self.logits = deep, logits
        self._handles: list[RemovableHandle] = []
        self._hooked: dict[str, nn.Module] = {}
        self._stack: list[_Frame] = []
        self._kinds: dict[tuple[int, type], Kind | None] = {}  # a lazy module changes its class when called
        self._by_hand: dict[int, bool] = {}
        self._not_followed: dict[str, str] = {}
        self._running = False

    def __enter__(self) -> Self:
        self._hook_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._hooked.clear()

    def _hook_all(self) -> None:
        """Put hooks on every module that has none yet."""
        for path, module in own_modules(self.model):
            if self._hooked.get(path) is module:
                continue
            self._hooked[path] = module
            before, after = self._make_pre_hook(path), self._make_hook(path)
            self._handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            # always_call: the stack of running modules must unwind when a model catches an exception
            self._handles.append(module.register_forward_hook(after, with_kwargs=True, always_call=True))

    @contextmanager
    def _watching(self) -> Iterator[None]:
        self._running = True
        try:
            with _FunctionMode(self):
                yield
        finally:
            self._running = False
            self._stack.clear()

    def _missing(self) -> Iterator[NotCaptured]:
        fused: list[str] = []
        for path, module in own_modules(self.model):
            reason = kinds_.fused_reason(module)
            if reason is not None:
                fused.append(path)
                if not self.deep or path in self._not_followed:
                    yield NotCaptured(site=path, reason=self._not_followed.get(path, reason))
            elif isinstance(module, kinds_.ACROSS_UNITS):
                yield NotCaptured(site=path, reason="acts across units, not on each by itself")
            elif kinds_.module_kind(module) is not None and path not in self.sites:
                inside = any(not outer or path.startswith(outer + ".") for outer in fused)
                reason = "inside a fused layer" if inside else "never called in the forward pass"
                yield NotCaptured(site=path, reason=reason)

    # -- module hooks

    def _make_pre_hook(self, path: str) -> Callable[..., None]:
        def pre_hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not self._active():
                return
            received, finite = first_tensor((*args, *kwargs.values())), False
            kind = self._kind(path, module, received)
            if kind == "activation" and not self._inside_atomic():
                with _ours():
                    finite = self.book.see_input(path, None, received) and kinds_.keeps_finite(module)
            self._stack.append(_Frame(path, module, kind, finite))

        return pre_hook

    def _make_hook(self, path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if not self._active():
                if self._running:
                    self.book.see_again(path)
                return
            frame = None
            while self._stack:
                frame = self._stack.pop()
                if frame.module is module:
                    break
            if self._inside_atomic():
                return
            if frame is not None and frame.kind is not None and isinstance(output, torch.Tensor):
                with _ours():
                    unit_dim = layout.module_unit_dim(module, output)
                    self.book.see_output(path, None, frame.kind, output, unit_dim, finite=frame.finite)
            elif self.deep and kinds_.fused_reason(module) is not None and output is not None:
                self._look_inside(path, module, args, kwargs, output)

        return hook

    def _active(self) -> bool:
        # Activation checkpointing runs the forward again inside backward; that is not another sample.
        return self._running and torch._C._current_graph_task_id() == -1

    def _inside_atomic(self) -> bool:
        return bool(self._stack) and self._stack[-1].kind is not None

    def _kind(self, path: str, module: nn.Module, received: torch.Tensor | None) -> Kind | None:
        """Kind of a module's output; a hand-written activation is recognised when it is first called."""
        known = (id(module), type(module))
        if known not in self._kinds:
            self._kinds[known] = kinds_.module_kind(module)
        kind = self._kinds[known]
        is_part = path != ""  # a whole model is no activation, even where it consists of nothing else
        if kind is not None or received is None or not (is_part and elementwise.is_candidate(module)):
            return kind
        if id(module) not in self._by_hand:
            with self._pause():
                self._by_hand[id(module)] = elementwise.acts_elementwise(module, received)
        return "activation" if self._by_hand[id(module)] else None

    def _look_inside(
        self, path: str, module: nn.Module, args: Sequence[Any], kwargs: dict[str, Any], output: Any
    ) -> None:
        """Record what a fused layer computed on the way."""
        with self._pause():
            try:
                for name, tensor, unit_dim, is_pre in inner.inside(module, args, kwargs, logits=self.logits):
                    self.book.see_output(path, name, "affine", tensor, unit_dim)
                    if is_pre:
                        self.book.see_input(path, name, tensor)
            except Exception as error:  # noqa: BLE001  (the user's forward has succeeded, and goes on)
                self._not_followed[path] = f"its inside cannot be computed again: {error}"
                return
        if isinstance(module, nn.MultiheadAttention) and isinstance(output[0], torch.Tensor):
            name = f"{path}.out_proj" if path else "out_proj"
            self.book.see_output(name, None, "affine", output[0], output[0].ndim - 1)

    @contextmanager
    def _pause(self) -> Iterator[None]:
        """What runs inside is ours, not the model's."""
        self._running = False
        try:
            yield
        finally:
            self._running = True

    # -- functional calls

    def call(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Run a function of torch's API, recording it where it makes a site."""
        name, kind = kinds_.FUNCTIONS.get(func, (None, None))
        if name is None or kind is None or not self._active() or self._inside_atomic():
            return func(*args, **kwargs)
        if name in kinds_.PRODUCTS and not any(isinstance(a, nn.Parameter) for a in args):
            return func(*args, **kwargs)
        path, finite = self._stack[-1].path if self._stack else "", False
        if kind == "activation":
            with _ours():
                finite = self.book.see_input(path, name, first_tensor((*args, *kwargs.values())))
        output = func(*args, **kwargs)
        if isinstance(output, torch.Tensor):
            with _ours():
                unit_dim = None
                if kind != "activation":
                    unit_dim = layout.function_unit_dim(name, output, args, kwargs)
                finite = finite and name in kinds_.FINITE
                self.book.see_output(path, name, kind, output, unit_dim, finite=finite)
        return output


def _ours() -> AbstractContextManager[None]:
    """What runs inside passes by every function mode, ours and the user's."""
    guard: AbstractContextManager[None] = torch._C.DisableTorchFunction()
    return guard


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

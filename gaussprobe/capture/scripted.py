"""Capture of a TorchScript program: its operators are seen as they run, and named by the parameters they use.

A loaded program takes no hooks and does not say which of its modules runs. But a convolution takes its weight
from one module, and no other; and the activation that follows it stands in the module around it, or is a
module beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Unpack

import torch
from torch import nn
from torch.jit import optimized_execution  # type: ignore[attr-defined]
from torch.utils._python_dispatch import TorchDispatchMode

from gaussprobe.capture import aten
from gaussprobe.capture import kinds as kinds_
from gaussprobe.capture.base import FrontEnd, Options
from gaussprobe.capture.book import first_tensor
from gaussprobe.types import Kind, NotCaptured

_NOT_SEEN = "its call was not seen: it never ran, or ran inside one fused operator"
# What gives an output its shape again after a product of matrices.
_SHAPES = frozenset({"view", "_unsafe_view", "reshape"})
# How the names of classes of activations differ from those of functions.
_CLASSES = {"relu": "ReLU", "relu6": "ReLU6", "silu": "SiLU", "gelu": "GELU", "elu": "ELU", "celu": "CELU"}


def handles(model: nn.Module) -> bool:
    """Whether a model is a TorchScript program."""
    return isinstance(model, torch.jit.ScriptModule)


class ScriptCapture(FrontEnd):
    """Samples of every site of a TorchScript program; used as `recorder.Capture` is.

    Args:
        model: the program.
        options: as `FrontEnd`.
    """

    def __init__(self, model: nn.Module, **options: Unpack[Options]) -> None:
        super().__init__(model, **options)
        self._modules: dict[str, nn.Module] = dict(model.named_modules())
        self._owners = _owners(model)
        self._near = ""  # path of the module whose parameters were used last
        self._pending: _Pending | None = None

    def __enter__(self) -> ScriptCapture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pending = None

    @contextmanager
    def _watching(self) -> Iterator[None]:
        self._near = ""
        try:
            # Optimized, a program runs several operators as one from its second call on.
            with optimized_execution(False), _Mode(self):
                yield
                self._flush()
        finally:
            self._pending = None

    def _missing(self) -> Iterator[NotCaptured]:
        for path, module in self._modules.items():
            stock = _stock_class(module)
            if stock is None or path in self.sites:
                continue
            blank = stock.__new__(stock)
            reason = kinds_.fused_reason(blank)
            if reason is not None:
                yield NotCaptured(site=path, reason=reason)
            elif isinstance(blank, kinds_.ACROSS_UNITS):
                yield NotCaptured(site=path, reason="acts across units, not on each by itself")
            elif kinds_.module_kind(blank) is not None:
                yield NotCaptured(site=path, reason=_NOT_SEEN)

    # -- watching it run

    def call(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Run an operator, recording it where it makes a site."""
        operator = func.overloadpacket.__name__ if func.namespace == "aten" else ""
        if operator not in _SHAPES or self._pending is None:
            self._flush()
            found = aten.site_of(operator, args) if operator else None
            if found is None:
                return func(*args, **kwargs)
            function, kind = found
            if kind == "activation":
                return self._activation(func, function, args, kwargs)
            owner = self._owner(args)
            if owner is not None:
                self._near = owner[0]
            output = func(*args, **kwargs)
            result = output[0] if isinstance(output, tuple | list) else output
            if not isinstance(result, torch.Tensor) or (owner is None and not self._is_layer(function, args)):
                return output
            path, named = ("", True) if owner is None else owner
            if not self._is_fused(path):
                dim = aten.unit_dim(function, result, args)
                self._pending = _Pending(path, function if named else None, kind, result, dim)
                if function not in aten.PRODUCTS:
                    self._flush()
            return output
        output = func(*args, **kwargs)
        self._pending.reshaped(args[0], output)
        return output

    def _activation(self, func: Any, function: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        if self._is_gate(function):
            return func(*args, **kwargs)
        path = self._activation_module(function)
        named = path is None
        if path is None:
            owner = self._modules.get(self._near)
            path = self._near.rpartition(".")[0] if _stock_class(owner) is not None else self._near
        shown = function if named else None
        self.book.see_input(path, shown, first_tensor(args))
        output = func(*args, **kwargs)
        result = output[0] if isinstance(output, tuple | list) else output
        if isinstance(result, torch.Tensor):
            self.book.see_output(path, shown, "activation", result, None)
        return output

    def _flush(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            name = "linear" if pending.function in aten.PRODUCTS else pending.function
            self.book.see_output(pending.path, name, pending.kind, pending.tensor, pending.unit_dim)

    # -- whose operator it is

    def _owner(self, args: Sequence[Any]) -> tuple[str, bool] | None:
        """Path of the module whose parameter is among the arguments, and whether to name the function too."""
        for arg in args:
            if isinstance(arg, torch.Tensor):
                found = self._owners.get(_address(arg))
                if found is not None:
                    path, parameter = found
                    own = parameter in ("weight", "bias", "running_mean", "running_var")
                    return path, not own
        return None

    def _is_layer(self, function: str, args: Sequence[Any]) -> bool:
        """Whether an operator without known parameters is a layer all the same."""
        if function in {"linear", *aten.PRODUCTS}:
            return not self._owners  # a frozen program keeps its parameters as constants
        return not (
            function == "batch_norm" and int(args[0].shape[0]) == 1
        )  # how instance norms are computed

    def _is_fused(self, path: str) -> bool:
        """Whether a path is that of a recurrent or attention layer, or inside of one."""
        parts = path.split(".") if path else []
        around = (self._modules.get(".".join(parts[:depth])) for depth in range(len(parts) + 1))
        stocks = (_stock_class(module) for module in around)
        return any(s is not None and kinds_.fused_reason(s.__new__(s)) is not None for s in stocks)

    def _is_gate(self, function: str) -> bool:
        """Whether an activation is one of the recurrent layer's whose parameters were used last."""
        stock = _stock_class(self._modules.get(self._near))
        plain = stock is not None and issubclass(stock, nn.RNN | nn.RNNCell)
        return self._is_fused(self._near) and (function in {"sigmoid", "tanh"} or plain)

    def _activation_module(self, function: str) -> str | None:
        """Path of the module that an activation after the last layer most likely is.

        The nearest module around that layer which has an activation of that class as its own child decides:
        the first after the layer, or the only one.
        """
        parts = self._near.split(".") if self._near else []
        for depth in range(len(parts) - 1, -1, -1):
            outer = ".".join(parts[:depth])
            beside = [p for p in self._modules if _is_child(p, outer)]
            mine = ".".join(parts[: depth + 1])
            fitting = [p for p in beside if self._is_activation(p, function)]
            after = [p for p in fitting if mine in beside and beside.index(p) > beside.index(mine)]
            if after:
                return after[0]
            if len(fitting) == 1:
                return fitting[0]
        return self._next_activation(function) if self._is_fused(self._near) else None

    def _next_activation(self, function: str) -> str | None:
        """The activation that is defined after the last layer, before any other layer."""
        paths = list(self._modules)
        for path in paths[paths.index(self._near) + 1 :]:
            if self._is_activation(path, function):
                return path
            if next(self._modules[path].parameters(recurse=False), None) is not None:
                return None
        return None

    def _is_activation(self, path: str, function: str) -> bool:
        stock = _stock_class(self._modules[path])
        if stock is None or kinds_.module_kind(stock.__new__(stock)) != "activation":
            return False
        return stock.__name__ == _CLASSES.get(function) or stock.__name__.lower() == function.replace("_", "")


class _Pending:
    """The output of a layer that may still get its shape: a product of matrices is of flattened examples."""

    def __init__(
        self, path: str, function: str | None, kind: Kind, tensor: torch.Tensor, unit_dim: int | None
    ) -> None:
        self.path, self.function, self.kind = path, function, kind
        self.tensor, self.unit_dim = tensor, unit_dim

    def reshaped(self, source: Any, output: torch.Tensor) -> None:
        """The tensor was seen as another shape: if its units stay the last dimension, that is the output."""
        if source is self.tensor and output.ndim > 1 and output.shape[-1] == self.tensor.shape[-1]:
            self.tensor, self.unit_dim = output, output.ndim - 1


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees operators as they run, also inside of a program."""

    def __init__(self, capture: ScriptCapture) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._capture = capture

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self._capture.call(func, args, kwargs or {})


def _owners(model: nn.Module) -> dict[tuple[int, int], tuple[str, str]]:
    """Module path and name of each parameter and buffer, by where its numbers lie."""
    found: dict[tuple[int, int], tuple[str, str]] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        path, _, parameter = name.rpartition(".")
        if tensor.numel():
            found.setdefault(_address(tensor), (path, parameter))
    return found


def _address(tensor: torch.Tensor) -> tuple[int, int]:
    """Where a tensor's numbers begin; a transposed view of a parameter begins where the parameter does."""
    try:
        return tensor.untyped_storage().data_ptr(), int(tensor.storage_offset())
    except (NotImplementedError, RuntimeError):
        return -1, -1


def _is_child(path: str, outer: str) -> bool:
    prefix = f"{outer}." if outer else ""
    return path != outer and path.startswith(prefix) and "." not in path[len(prefix) :]


def _stock_class(module: nn.Module | None) -> type[nn.Module] | None:
    """The class of `torch.nn` that a module was compiled from, by its name; None for any other."""
    name = getattr(module, "original_name", None)
    found = getattr(nn, name, None) if isinstance(name, str) else None
    return found if isinstance(found, type) and issubclass(found, nn.Module) else None

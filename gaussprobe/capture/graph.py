"""Capture of a program of torch.export: its graph says which module each operator stands in.

The sites have the names they have in the model that was exported: the output of a stock layer is the site of
the layer, however many operators it was taken apart into; an operator outside of such a layer is a functional
call of the module around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Unpack

import torch
from torch import nn

from gaussprobe.capture import aten
from gaussprobe.capture import kinds as kinds_
from gaussprobe.capture.base import FrontEnd, Options
from gaussprobe.capture.book import first_tensor
from gaussprobe.types import Kind, NotCaptured


@dataclass(frozen=True)
class _Layer:
    """A run of operators that one call of a stock layer was taken apart into."""

    path: str
    kind: Kind
    first: int  # node number
    last: int
    takes: str | None  # the value it receives
    gives: str | None  # the value it gives
    main: int  # the node that determines where its units are


@dataclass(frozen=True)
class _Call:
    """A functional call of a module."""

    path: str
    function: str
    kind: Kind
    whole: bool = False  # the module is a layer, and this is what it gives


def handles(model: nn.Module) -> bool:
    """Whether a model is a program of torch.export, as `models.program.ExportedModel` runs it."""
    return hasattr(model, "program") and hasattr(type(model), "run") and hasattr(model, "observer")


class GraphCapture(FrontEnd):
    """Samples of every site of a program; used as `recorder.Capture` is.

    Args:
        model: what `handles` accepts.
        options: as `FrontEnd`.
    """

    def __init__(self, model: nn.Module, **options: Unpack[Options]) -> None:
        super().__init__(model, **options)
        self._fused: dict[str, str] = {}
        self._last_use = _last_use(self._program)
        self._sources = {each.name: each.source for each in self._program.inputs}
        self._layers = self._find_layers()
        inside = {i for layer in self._layers for i in range(layer.first, layer.last + 1)}
        self._starts = {layer.first: layer for layer in self._layers}
        self._ends = {layer.last: layer for layer in self._layers}
        self._free = [
            i not in inside and self._innermost(i)[0] not in self._fused for i in range(len(self._nodes))
        ]
        self._running = False

    def __enter__(self) -> GraphCapture:
        self.model.observer = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.model.observer = None

    @contextmanager
    def _watching(self) -> Iterator[None]:
        self._running = True
        try:
            yield
        finally:
            self._running = False

    def _missing(self) -> Iterator[NotCaptured]:
        for path, reason in self._fused.items():
            yield NotCaptured(site=path, reason=reason)
        for path in dict.fromkeys(self._across()):
            yield NotCaptured(site=path, reason="acts across units, not on each by itself")

    def _across(self) -> Iterator[str]:
        for node in self._nodes:
            path, kind, _ = node.stack[-1] if node.stack else ("", "", "")
            found = _stock_class(kind)
            if found is not None and issubclass(found, kinds_.ACROSS_UNITS):
                yield path

    # -- reading the graph

    @property
    def _nodes(self) -> Sequence[Any]:
        nodes: Sequence[Any] = self._program.nodes
        return nodes

    @property
    def _program(self) -> Any:
        return self.model.program

    def _innermost(self, index: int) -> tuple[str, str, str]:
        stack = self._nodes[index].stack
        found: tuple[str, str, str] = stack[-1] if stack else ("", "", "")
        return found

    def _find_layers(self) -> list[_Layer]:
        """Runs of consecutive operators that stand in one call of a stock layer."""
        layers: list[_Layer] = []
        nodes, index = self._nodes, 0
        while index < len(nodes):
            path, name, call = self._innermost(index)
            last = index
            while last + 1 < len(nodes) and call and self._innermost(last + 1)[2] == call:
                last += 1
            stock = _stock_class(name)
            for outer, outer_name, _ in nodes[index].stack:
                reason = _fused_reason(_stock_class(outer_name))
                if reason is not None:
                    self._fused[outer], stock = reason, None
            kind = None if stock is None else _kind(stock)
            if kind is not None:
                layers.append(self._layer(path, kind, index, last))
            index = last + 1
        return layers

    def _layer(self, path: str, kind: Kind, first: int, last: int) -> _Layer:
        own = [self._nodes[i] for i in range(first, last + 1)]
        made = [name for node in own for name in node.results]
        takes = next((name for node in own for name in node.reads if name not in made), None)
        # A norm gives its statistics too: of what its last operators give, the first that is used outside.
        outside = (n for node in reversed(own) for n in node.results if self._last_use.get(n, -1) > last)
        gives = next(outside, None)
        operators = {i: _plain(self._nodes[i].operator) for i in range(first, last + 1)}
        fitting = (i for i, name in operators.items() if name in aten.OPERATORS)
        main = next((i for i in fitting if aten.OPERATORS[operators[i]][1] == kind), first)
        return _Layer(path, kind, first, last, takes, gives, main)

    # -- watching it run

    def before(self, index: int, values: Mapping[str, Any]) -> None:
        """Node number `index` is about to run."""
        if not self._running:
            return
        layer = self._starts.get(index)
        if layer is not None:
            if layer.kind == "activation" and layer.takes is not None:
                self.book.see_input(layer.path, None, first_tensor([values[layer.takes]]))
        elif self._free[index]:
            call = self._call(index, values)
            if call is not None and call.kind == "activation":
                self.book.see_input(call.path, call.function, self._tensor(index, values))

    def after(self, index: int, values: Mapping[str, Any]) -> None:
        """It has run; its results are among the values."""
        if not self._running:
            return
        layer = self._ends.get(index)
        if layer is not None and layer.gives is not None:
            output = values[layer.gives]
            if isinstance(output, torch.Tensor):
                self.book.see_output(layer.path, None, layer.kind, output, self._unit_dim(layer, output))
        elif layer is None and self._free[index]:
            call = self._call(index, values)
            results = self._nodes[index].results
            output = values.get(results[0]) if results else None
            if call is not None and isinstance(output, torch.Tensor):
                dim = aten.unit_dim(call.function, output, self._args(index, values))
                self.book.see_output(call.path, None if call.whole else call.function, call.kind, output, dim)

    def _call(self, index: int, values: Mapping[str, Any]) -> _Call | None:
        node = self._nodes[index]
        if _plain(node.operator) not in aten.OPERATORS or (
            node.operator in aten.PRODUCTS and not node.affine
        ):
            return None
        found = aten.site_of(node.operator, self._args(index, values))
        if found is None:
            return None
        path = self._innermost(index)[0]
        return _Call(path, found[0], found[1], whole=self._is_layer(index, path, found[1]))

    def _is_layer(self, index: int, path: str, kind: Kind) -> bool:
        """Whether a module of the user's own class is a layer, as far as a program tells.

        A subclass of Conv2d that pads and a module that calls a function with its own parameter look the
        same in a graph; the first is common.
        """
        sources = {self._sources.get(name) for name in self._nodes[index].reads}
        return kind != "activation" and bool(path) and f"{path}.weight" in sources

    def _unit_dim(self, layer: _Layer, output: torch.Tensor) -> int | None:
        node = self._nodes[layer.main]
        function = aten.OPERATORS.get(_plain(node.operator), ("", layer.kind))[0]
        if layer.kind == "activation" or not function:
            return None
        if function.endswith("convolution"):
            function = f"conv{output.ndim - 2}d"
        return aten.unit_dim(function, output, node.args)

    def _args(self, index: int, values: Mapping[str, Any]) -> list[Any]:
        return [values.get(arg.name) if hasattr(arg, "name") else arg for arg in self._nodes[index].args]

    def _tensor(self, index: int, values: Mapping[str, Any]) -> torch.Tensor | None:
        return first_tensor(self._args(index, values))


def _last_use(program: Any) -> dict[str, int]:
    """The number of the last node that takes each value; results are taken after all."""
    found = {name: index for index, node in enumerate(program.nodes) for name in node.reads}
    results = (*program.outputs, *(ref for _, ref in program.mutated))
    return found | {ref.name: len(program.nodes) for ref in results if hasattr(ref, "name")}


def _plain(operator: str) -> str:
    return operator if operator in aten.OPERATORS else operator.removesuffix("_")


def _stock_class(name: str) -> type[nn.Module] | None:
    """The class of `torch.nn` that a program names, None for any other."""
    if not name.startswith("torch.nn.modules."):
        return None
    found = getattr(nn, name.rpartition(".")[2], None)
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        return None
    return found if f"{found.__module__}.{found.__qualname__}" == name else None


def _kind(stock: type[nn.Module]) -> Kind | None:
    return kinds_.module_kind(stock.__new__(stock))


def _fused_reason(stock: type[nn.Module] | None) -> str | None:
    return None if stock is None else kinds_.fused_reason(stock.__new__(stock))

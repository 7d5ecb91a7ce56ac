"""A program of torch.export as a module: its graph is walked operator by operator.

Nothing of torch.export's own reader is used. That reader unpickles, evaluates expressions and compiles
generated Python; this one calls operators of the allow-list on tensors and numbers.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Ref:
    """A value of the graph, by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class OwnDevice:
    """The device the program runs on, wherever it was exported."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One call of an operator.

    Args:
        operator: its name without namespace and overload, `conv2d`.
        function: what is called.
        args: positional arguments, values of the graph as `Ref`.
        kwargs: keyword arguments, likewise.
        writes: names of the results, nested as they are returned; None for a result nobody names.
        stack: path, class and call of each module it stands in, outermost first.
        affine: whether a factor of it is computed from parameters only.
    """

    operator: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    writes: Any
    stack: tuple[tuple[str, str, str], ...] = ()
    affine: bool = False

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the values it takes."""
        return tuple(ref.name for ref in refs((self.args, tuple(self.kwargs.values()))))

    @property
    def results(self) -> tuple[str, ...]:
        """Names of the values it gives."""
        return tuple(names(self.writes))


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input of the graph.

    Args:
        name: of the value.
        source: path of the parameter, buffer or constant it is; None for what the user gives.
        sizes: of a tensor the user gives, None where a size may vary; None for anything else.
    """

    name: str
    source: str | None = None
    sizes: tuple[int | None, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Spec:
    """How arguments nest: a leaf, a tuple or list of such, or a dict with its keys."""

    children: tuple[Spec, ...] | None = None
    keys: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Program:
    """A graph and how it is called.

    Args:
        nodes: in execution order.
        inputs: parameters, buffers and constants, then what the user gives, in order.
        outputs: the results, values as `Ref`.
        mutated: path of each buffer that gets a new value, and that value.
        positional: nesting of the positional arguments.
        keywords: nesting of the keyword arguments.
        names: of the positional parameters of `forward`.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[Any, ...]
    mutated: tuple[tuple[str, Ref], ...]
    positional: Spec
    keywords: Spec
    names: tuple[str, ...]

    def __deepcopy__(self, memo: dict[int, Any]) -> Program:
        return self  # it holds no tensors and never changes


class Observer(Protocol):
    """Told of every operator as the program runs."""

    def before(self, index: int, values: Mapping[str, Any]) -> None:
        """Node number `index` is about to run."""

    def after(self, index: int, values: Mapping[str, Any]) -> None:
        """It has run; its results are among the values."""


class ExportedModel(nn.Module):
    """Runs a program; its parameters and buffers have the paths they had in the model it was exported from.

    Args:
        program: the graph.
        tensors: parameters, buffers and constants by path; parameters are `nn.Parameter`.
        example_inputs: a batch the program was exported with, None when unknown.

    Raises:
        ValueError: if a path cannot be a parameter's.
    """

    def __init__(
        self, program: Program, tensors: Mapping[str, torch.Tensor], example_inputs: Any = None
    ) -> None:
        super().__init__()
        self.program = program
        self.example_inputs = example_inputs
        self.observer: Observer | None = None
        for path, tensor in tensors.items():
            _place(self, path, tensor)
        kept = {ref.name for ref in refs((program.outputs, tuple(ref for _, ref in program.mutated)))}
        last = {name: i for i, node in enumerate(program.nodes) for name in (*node.reads, *node.results)}
        self._done: dict[int, list[str]] = {}
        for name, index in last.items():
            if name not in kept:
                self._done.setdefault(index, []).append(name)

    def __new__(cls, program: Program, *_args: Any, **_kwargs: Any) -> ExportedModel:
        # A class of its own, so that `forward` has the signature of the model that was exported.
        made: ExportedModel = object.__new__(type("ExportedModel", (cls,), {"forward": _forward(program)}))
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Copies share the program, which holds no tensors.
        return _rebuilt, (self.program, dict(_tensors(self)), self.example_inputs)

    @property
    def fixed_batch(self) -> int | None:
        """The batch size it was exported for, None where any will do."""
        return next((each.sizes[0] for each in self.program.inputs if each.sizes), None)

    def run(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call the program; the observer, if there is one, sees every node.

        Raises:
            ValueError: if the inputs are not of the shapes the program was exported for.
            Exception: whatever an operator raises.
        """
        given = iter(self._given(args, kwargs))
        values: dict[str, Any] = {}
        held = dict(_tensors(self))
        for each in self.program.inputs:
            value = held[each.source] if each.source is not None else next(given)
            if each.sizes is not None:
                _check_sizes(each, value)
            values[each.name] = value
        device = next((tensor.device for tensor in held.values()), torch.device("cpu"))
        observer = self.observer
        for index, node in enumerate(self.program.nodes):
            if observer is not None:
                observer.before(index, values)
            kwargs_ = {name: _resolved(value, values, device) for name, value in node.kwargs.items()}
            result = node.function(*_resolved(node.args, values, device), **kwargs_)
            _bind(node.writes, result, values)
            if observer is not None:
                observer.after(index, values)
            for name in self._done.get(index, ()):
                values.pop(name, None)
        for path, ref in self.program.mutated:
            held[path].copy_(values[ref.name])
        outputs = _resolved(self.program.outputs, values, device)
        return outputs[0] if len(outputs) == 1 else outputs

    def _given(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        """What the user gives, flattened in the order of the graph's inputs."""
        program = self.program
        rest = dict(kwargs)
        positional = [*args, *(rest.pop(name) for name in program.names[len(args) :] if name in rest)]
        return [*_flat(tuple(positional), program.positional), *_flat(rest, program.keywords)]


def _rebuilt(program: Program, tensors: Mapping[str, torch.Tensor], example_inputs: Any) -> ExportedModel:
    return ExportedModel(program, tensors, example_inputs)


def _forward(program: Program) -> Callable[..., Any]:
    def forward(self: ExportedModel, *args: Any, **kwargs: Any) -> Any:
        return self.run(args, kwargs)

    kind = inspect.Parameter
    parameters = [kind("self", kind.POSITIONAL_ONLY)]
    count = len(program.positional.children or ())
    for name in program.names[:count] if len(program.names) >= count else [f"arg{i}" for i in range(count)]:
        parameters.append(kind(name, kind.POSITIONAL_OR_KEYWORD))
    for name in program.keywords.keys or ():
        parameters.append(kind(name, kind.KEYWORD_ONLY))
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return forward


def refs(value: Any) -> Iterator[Ref]:
    """The values of the graph in nested arguments."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from refs(each)


def names(writes: Any) -> Iterator[str]:
    """The names in nested results."""
    if isinstance(writes, str):
        yield writes
    elif isinstance(writes, tuple):
        for each in writes:
            yield from names(each)


def _resolved(value: Any, values: Mapping[str, Any], device: torch.device) -> Any:
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, OwnDevice):
        return device
    if isinstance(value, tuple):
        return tuple(_resolved(each, values, device) for each in value)
    if isinstance(value, list):
        return [_resolved(each, values, device) for each in value]
    return value


def _bind(writes: Any, result: Any, values: dict[str, Any]) -> None:
    if isinstance(writes, str):
        values[writes] = result
    elif isinstance(writes, tuple):
        for name, each in zip(writes, result, strict=False):
            _bind(name, each, values)


def _flat(value: Any, spec: Spec) -> Iterator[Any]:
    """The leaves of arguments nested as `spec` says.

    Raises:
        ValueError: if they are nested otherwise.
    """
    if spec.children is None:
        yield value
    elif spec.keys is not None:
        if not isinstance(value, Mapping) or set(value) != set(spec.keys):
            got = ", ".join(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
            raise ValueError(f"the program takes a dict of {', '.join(spec.keys) or 'nothing'}; got {got}")
        for key, child in zip(spec.keys, spec.children, strict=True):
            yield from _flat(value[key], child)
    else:
        if not isinstance(value, tuple | list) or len(value) != len(spec.children):
            got = str(len(value)) if isinstance(value, tuple | list) else type(value).__name__
            raise ValueError(f"the program takes {len(spec.children)} inputs here; got {got}")
        for each, child in zip(value, spec.children, strict=True):
            yield from _flat(each, child)


def _check_sizes(expected: Input, value: Any) -> None:
    """Refuse an input of another shape: a size built into a graph may give wrong numbers, not an error."""
    assert expected.sizes is not None
    got = tuple(value.shape) if isinstance(value, torch.Tensor) else None
    pairs = zip(expected.sizes, got or (), strict=False)
    if (
        got is None
        or len(got) != len(expected.sizes)
        or any(want not in (None, size) for want, size in pairs)
    ):
        wanted = ", ".join("any" if size is None else str(size) for size in expected.sizes)
        shown = type(value).__name__ if got is None else f"({', '.join(map(str, got))})"
        fixed = expected.sizes[:1] != (None,) and got is not None and got[1:] == expected.sizes[1:]
        hint = f"; give batches of {expected.sizes[0]}, or export it with a dynamic batch" if fixed else ""
        raise ValueError(f"input {expected.name} is {shown}, the program was exported for ({wanted}){hint}")


def _place(root: nn.Module, path: str, tensor: torch.Tensor) -> None:
    *parents, name = path.split(".")
    module = root
    for part in parents:
        child = module._modules.get(part)
        if child is None:
            child = nn.Module()
            try:
                module.add_module(part, child)
            except (KeyError, TypeError) as error:
                raise ValueError(f"{path} cannot be the path of a parameter") from error
        module = child
    try:
        if isinstance(tensor, nn.Parameter):
            module.register_parameter(name, tensor)
        else:
            module.register_buffer(name, tensor)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be the path of a parameter") from error


def _tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers by path, also where several names share one."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def spec_of(text: str) -> Spec:
    """How arguments nest, from what torch.export writes of it.

    Raises:
        ValueError: if it holds anything but tuples, lists and dicts.
    """
    content = json.loads(text)
    if not isinstance(content, list) or len(content) != 2 or content[0] != 1:
        raise ValueError("its inputs are nested in an unknown way")
    return _spec(content[1], 0)


def _spec(node: Any, depth: int) -> Spec:
    if depth > 32 or not isinstance(node, dict) or not isinstance(node.get("children_spec"), list):
        raise ValueError("its inputs are nested in an unknown way")
    kind, children = node.get("type"), tuple(_spec(each, depth + 1) for each in node["children_spec"])
    if kind is None and not children:
        return Spec()
    if kind in ("builtins.tuple", "builtins.list"):
        return Spec(children=children)
    if kind in ("builtins.dict", "collections.OrderedDict"):
        keys = json.loads(str(node.get("context")))
        if isinstance(keys, list) and len(keys) == len(children) and all(isinstance(k, str) for k in keys):
            return Spec(children=children, keys=tuple(keys))
    raise ValueError(f"its inputs are nested in {str(kind)[:60]!r}, not in tuples, lists and dicts")

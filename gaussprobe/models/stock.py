"""What a torch file may hold: tensors, plain data, and modules of stock `torch.nn` classes in a stock state.

Two looks at the same rules: `check_tree` judges the tree of `gaussprobe.models.pickles` before anything is
built, `check_module` the module that was built. Either alone would do for honest files.
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from math import prod
from typing import Any

import torch
from torch import nn

from gaussprobe.models.pickles import DictNode, Global, ListNode, Made, Storage, Tree

_MAX_DEPTH = 200
_MAX_CALLS = 1_000_000
_MAX_COUNT = 2**40
_MAX_LAYERS = 10_000
_MAX_NAME = 256
_VIEW_ALLOWANCE = 2**24  # numbers an expanded view may pretend to hold beyond its storage
_TENSOR_MAKERS = {
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
}
_PARAMETER_MAKERS = {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"}
_PLAIN_MAKERS = {
    "collections.OrderedDict",
    "builtins.set",
    "torch.Size",
    "torch.device",
    "collections.Counter",
}
_ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "torch.nn.functional.relu": torch.nn.functional.relu,
    "torch._C._nn.gelu": torch.nn.functional.gelu,
    "torch.nn.functional.gelu": torch.nn.functional.gelu,
}
_STORAGES = {
    f"torch.{kind}Storage": width
    for kind, width in {
        "Double": 8,
        "Float": 4,
        "Half": 2,
        "BFloat16": 2,
        "Long": 8,
        "Int": 4,
        "Short": 2,
        "Char": 1,
        "Byte": 1,
        "Bool": 1,
        "ComplexDouble": 16,
        "ComplexFloat": 8,
    }.items()
} | {"torch.storage.UntypedStorage": 1}


class UnsafeContentError(Exception):
    """A file would do more on loading than make tensors, plain data and stock modules; says what."""


class UnknownGlobalsError(UnsafeContentError):
    """A file names functions or classes that are not stock.

    Args:
        names: the names, sorted.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(sorted(names))
        super().__init__(", ".join(self.names))


@cache
def stock_classes() -> dict[str, type[nn.Module]]:
    """Module classes defined in `torch.nn`, by the name a pickle gives them; lazy ones are left out."""

    def subclasses(parent: type[nn.Module]) -> Iterator[type[nn.Module]]:
        for child in parent.__subclasses__():
            yield child
            yield from subclasses(child)

    lazy = torch.nn.modules.lazy.LazyModuleMixin
    found = {
        f"{each.__module__}.{each.__qualname__}": each
        for each in subclasses(nn.Module)
        if each.__module__.startswith("torch.nn.modules.") and not issubclass(each, lazy)
    }
    found["torch.nn.parallel.data_parallel.DataParallel"] = nn.DataParallel
    # A class that claims to live in torch.nn.modules but is not found there is not stock.
    return {name: each for name, each in found.items() if _resolves(name, each)}


def _resolves(name: str, expected: type) -> bool:
    module, _, attribute = name.rpartition(".")
    return getattr(sys.modules.get(module), attribute, None) is expected


def allowed_globals() -> list[Any]:
    """Classes and functions `torch.load(weights_only=True)` must be told of to build stock modules."""
    functions: list[Any] = [(function, name) for name, function in _ACTIVATIONS.items()]
    return [*stock_classes().values(), *functions]


def unknown(names: Iterable[str]) -> list[str]:
    """Those of `names` that are neither torch's own nor stock modules, sorted."""
    return sorted({name for name in names if not _is_known(name)})


def _is_known(name: str) -> bool:
    if name in _TENSOR_MAKERS | _PARAMETER_MAKERS | _PLAIN_MAKERS or name == "_codecs.encode":
        return True
    if name in _ACTIVATIONS or name in _STORAGES or name in stock_classes():
        return True
    return _dtype(name) is not None or name == "torch.serialization._get_layout"


def _dtype(name: str) -> torch.dtype | None:
    package, _, attribute = name.partition(".")
    found = getattr(torch, attribute, None) if package == "torch" and attribute.isidentifier() else None
    return found if isinstance(found, torch.dtype) else None


def check_tree(tree: Tree) -> None:
    """Refuse a pickle that would do more than make tensors, plain data and stock modules.

    Args:
        tree: what the pickle says.

    Raises:
        UnknownGlobalsError: if it names functions or classes that are not stock.
        UnsafeContentError: if it uses stock ones in a way `torch.save` never writes.
    """
    foreign = unknown(tree.globals)
    if foreign:
        raise UnknownGlobalsError(foreign)
    for storage in tree.storages:
        if storage.type not in _STORAGES:
            raise UnsafeContentError(f"a tensor of kind {storage.type} is not read")
    modules = [node for node in tree.made if _module_class(node) is not None]
    children: dict[int, list[int]] = {}
    for node in tree.made:
        if _module_class(node) is None:
            _check_made(node)
    for node in modules:
        children[id(node)] = [id(child) for child in _check_module_node(node)]
    _check_nesting(children)


def storage_bytes(storage: Storage) -> int:
    """Bytes a storage says it holds."""
    return storage.numel * _STORAGES[storage.type]


def _module_class(node: Any) -> type[nn.Module] | None:
    if not (isinstance(node, Made) and isinstance(node.func, Global)):
        return None
    return stock_classes().get(node.func.name)


def _name(node: Any) -> str:
    return node.func.name if isinstance(node, Made) and isinstance(node.func, Global) else ""


def _is_empty(value: Any) -> bool:
    """Whether a node is None, False, or a container with nothing in it."""
    if isinstance(value, ListNode | DictNode):
        return not value.items
    if isinstance(value, Made):
        plain = _name(value) in ("collections.OrderedDict", "builtins.set")
        return plain and not value.items and not value.states and _set_items(value) == []
    return value is None or value is False or value == ()


def _set_items(node: Made) -> list[Any] | None:
    """Items given to the constructor of a set or OrderedDict; None when they are not written plainly."""
    if node.args == ():
        return []
    if isinstance(node.args, tuple) and len(node.args) == 1 and isinstance(node.args[0], ListNode):
        return node.args[0].items
    return None


def _check_made(node: Made) -> None:
    name = _name(node)
    if node.new or not isinstance(node.args, tuple):
        raise UnsafeContentError(f"it makes {name or 'an object'} in a way torch.save never writes")
    if name in _TENSOR_MAKERS:
        _check_tensor(node, name)
    elif name in _PARAMETER_MAKERS:
        _check_parameter(node)
    elif name == "_codecs.encode":
        # How protocol 2 writes bytes.
        if len(node.args) != 2 or not isinstance(node.args[0], str) or node.args[1] != "latin1":
            raise UnsafeContentError("it calls _codecs.encode, as torch.save never does")
    elif name == "torch.serialization._get_layout":
        raise UnsafeContentError("it holds a sparse tensor, which is not read")
    elif name not in _PLAIN_MAKERS:
        raise UnsafeContentError(
            f"it calls {name or 'something that is no function'}, which torch.save never does"
        )
    if node.items and name not in ("collections.OrderedDict", "collections.Counter"):
        raise UnsafeContentError(f"it puts items into {name}, which torch.save never does")
    for state in node.states:
        # `state_dict()` keeps versions in an attribute of its OrderedDict; any other could shadow a method.
        keys = [key for key, _ in state.items] if isinstance(state, DictNode) else [None]
        if name != "collections.OrderedDict" or keys != ["_metadata"]:
            raise UnsafeContentError(f"it sets attributes on {name}, which torch.save never does")


def _check_tensor(node: Made, name: str) -> None:
    arguments = node.args
    if len(arguments) < 4 or not isinstance(arguments[0], Storage):
        raise UnsafeContentError("a tensor in it is damaged")
    storage, offset, size, stride = arguments[:4]
    sizes = (*size, *stride) if isinstance(size, tuple) and isinstance(stride, tuple) else (None,)
    if any(type(part) is not int or part < 0 or part > _MAX_COUNT for part in (offset, *sizes)):
        raise UnsafeContentError("a tensor in it has a damaged size")
    available = storage.numel
    if name.endswith("_v3"):
        dtype = _dtype(arguments[6].name) if len(arguments) > 6 and isinstance(arguments[6], Global) else None
        if dtype is None:
            raise UnsafeContentError("a tensor in it is damaged")
        available = storage.numel * _STORAGES.get(storage.type, 1) // dtype.itemsize
    numel = prod(size)
    reach = (
        offset + 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=False)) if numel else offset
    )
    if len(size) != len(stride) or reach > available or numel > available + _VIEW_ALLOWANCE:
        raise UnsafeContentError(f"a tensor in it claims {numel:,} numbers where {available:,} are stored")
    if len(arguments) > 5 and not _is_empty(arguments[5]):
        raise UnsafeContentError("a tensor in it carries a backward hook")


def _check_parameter(node: Made) -> None:
    arguments = node.args
    if len(arguments) < 3 or _name(arguments[0]) not in _TENSOR_MAKERS:
        raise UnsafeContentError("a parameter in it is damaged")
    if not _is_empty(arguments[2]):
        raise UnsafeContentError("a parameter in it carries a backward hook")
    for state in arguments[3:]:
        keys = [key for key, _ in state.items] if isinstance(state, DictNode) else [None]
        if any(not isinstance(key, str) or hasattr(nn.Parameter, key) for key in keys):
            raise UnsafeContentError("a parameter in it carries an attribute that shadows one of torch's")


def _check_module_node(node: Made) -> list[Made]:
    """Judge one module; returns its children."""
    kind = _module_class(node)
    assert kind is not None
    title = kind.__name__
    if not node.new or node.args != () or node.items:
        raise UnsafeContentError(f"it calls the constructor of {title}, which torch.save never does")
    if len(node.states) != 1 or not isinstance(node.states[0], DictNode):
        raise UnsafeContentError(f"a {title} in it has no state, or several")
    children: list[Made] = []
    for key, value in node.states[0].items:
        _check_attribute_name(kind, key)
        if "_hook" in key:
            if not (_is_empty(value) or value is True):
                raise UnsafeContentError(f"a {title} in it carries a hook ({key})")
        elif key == "_modules":
            children.extend(_child_nodes(value, title))
        elif key in ("_parameters", "_buffers"):
            for name, tensor in _named(value, title):
                _check_child_name(name, title)
                if tensor is not None and _name(tensor) not in _TENSOR_MAKERS | _PARAMETER_MAKERS:
                    raise UnsafeContentError(
                        f"a {title} in it keeps something other than a tensor as {name!r}"
                    )
        elif key == "activation" and isinstance(value, Global):
            if value.name not in _ACTIVATIONS:
                raise UnsafeContentError(f"a {title} in it has {value.name} as its activation")
        else:
            _check_plain(value, f"{title}.{key}")
            if key == "num_layers" and not (type(value) is int and 0 <= value <= _MAX_LAYERS):
                raise UnsafeContentError(f"a {title} in it claims {value!r:.40} layers")
    return children


def _check_attribute_name(kind: type[nn.Module], key: Any) -> None:
    """Refuse an instance attribute that would stand in front of a method, property or special name."""
    if not isinstance(key, str) or key.startswith("__") or key == "_compiled_call_impl":
        raise UnsafeContentError(f"a {kind.__name__} in it carries a forbidden attribute ({key!r:.60})")
    inherited = inspect.getattr_static(kind, key, None)
    if callable(inherited) or hasattr(inherited, "__get__"):
        raise UnsafeContentError(f"a {kind.__name__} in it has its {key!r} replaced")


def _check_child_name(name: Any, title: str) -> None:
    if not isinstance(name, str) or not name.isprintable() or "." in name or not 0 < len(name) <= _MAX_NAME:
        raise UnsafeContentError(f"a {title} in it has a member with a forbidden name ({name!r:.60})")


def _named(value: Any, title: str) -> list[tuple[Any, Any]]:
    if isinstance(value, DictNode) or _name(value) == "collections.OrderedDict":
        items: list[tuple[Any, Any]] = value.items
        if isinstance(value, DictNode) or value.args == ():
            return items
    raise UnsafeContentError(f"a {title} in it keeps its members in something that is no dict")


def _child_nodes(value: Any, title: str) -> list[Made]:
    children = []
    for name, child in _named(value, title):
        _check_child_name(name, title)
        if child is None:
            continue
        if _module_class(child) is None:
            raise UnsafeContentError(f"a {title} in it has {name!r}, which is no module, among its children")
        children.append(child)
    return children


def _check_plain(value: Any, where: str) -> None:
    """Refuse a module attribute that is not plain data or tensors."""
    todo, seen = [value], set()
    while todo:
        node = todo.pop()
        if isinstance(node, ListNode | DictNode | Made | tuple):
            if id(node) in seen:
                continue
            seen.add(id(node))
        if isinstance(node, tuple | ListNode):
            todo.extend(node if isinstance(node, tuple) else node.items)
        elif isinstance(node, DictNode):
            todo.extend(part for pair in node.items for part in pair)
        elif isinstance(node, Made) and _module_class(node) is None:
            # Judged by `_check_made`; what it was given still has to be plain.
            todo.extend(part for pair in node.items for part in pair)
            if _name(node) in _PLAIN_MAKERS:
                todo.append(node.args)
        elif isinstance(node, int | float | bool) or node is None:
            if abs(node or 0) > _MAX_COUNT and node not in (float("inf"), float("-inf")):
                raise UnsafeContentError(f"{where} in it has an absurd value")
        elif isinstance(node, Global):
            if _dtype(node.name) is None:
                raise UnsafeContentError(f"{where} in it is {node.name}, where plain data belongs")
        elif not isinstance(node, str | bytes):
            raise UnsafeContentError(f"{where} in it holds a module, where plain data belongs")


def _check_nesting(children: dict[int, list[int]]) -> None:
    """Refuse modules that contain themselves, are nested absurdly deep, or would be called without end."""
    parents = Counter(child for kids in children.values() for child in kids)
    ready = [node for node in children if not parents[node]]
    depth = dict.fromkeys(ready, 1)
    calls = dict.fromkeys(ready, 1)
    done = 0
    while ready:
        node = ready.pop()
        done += 1
        if depth[node] > _MAX_DEPTH or calls[node] > _MAX_CALLS:
            raise UnsafeContentError("its modules are nested absurdly deep")
        for child in children[node]:
            depth[child] = max(depth.get(child, 0), depth[node] + 1)
            calls[child] = calls.get(child, 0) + calls[node]
            parents[child] -= 1
            if not parents[child]:
                ready.append(child)
    if done < len(children):
        raise UnsafeContentError("a module in it contains itself")


def check_module(module: nn.Module) -> None:
    """Refuse a loaded module that is not made of stock classes in a stock state.

    Args:
        module: what was loaded; `check_tree` has passed its file, so it is neither cyclic nor deep.

    Raises:
        UnsafeContentError: naming the class and what is wrong with it.
    """
    allowed = set(stock_classes().values())
    for name, child in module.named_modules():
        title = f"{name or 'the model'} ({type(child).__name__})"
        if type(child) not in allowed:
            raise UnsafeContentError(f"{title} is not a torch.nn class")
        state = vars(child)
        for needed in ("_parameters", "_buffers", "_modules", "training"):
            if needed not in state:
                raise UnsafeContentError(f"{title} is damaged: it lacks {needed}")
        if not isinstance(state["training"], bool):
            raise UnsafeContentError(f"{title} is damaged: it has no training mode")
        for key, value in state.items():
            if "_hook" in key and not isinstance(value, bool | None) and len(value):
                raise UnsafeContentError(f"{title} carries a hook ({key})")
            # Weak references are callable; `RNNBase.__setstate__` keeps a list of them, none by itself.
            if callable(value) and not (key == "activation" and value in _ACTIVATIONS.values()):
                raise UnsafeContentError(f"{title} has its {key!r} replaced")

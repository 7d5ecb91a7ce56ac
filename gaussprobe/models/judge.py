"""Judging the tree of a pickle before anything in it is built: what `torch.save` never writes is refused."""

from __future__ import annotations

import inspect
from collections import Counter
from math import prod
from typing import Any

from torch import nn

from gaussprobe.models.pickles import DictNode, Global, ListNode, Made, Storage, Tree, is_scalar, kind_of
from gaussprobe.models.stock import (
    ACTIVATIONS,
    PARAMETER_MAKERS,
    PLAIN_MAKERS,
    STORAGES,
    TENSOR_MAKERS,
    UnknownGlobalsError,
    UnsafeContentError,
    dtype_of,
    stock_classes,
    unknown,
)
from gaussprobe.models.wording import printable

_MAX_DEPTH = 200
_MAX_CALLS = 1_000_000
_MAX_COUNT = 2**40
_MAX_LAYERS = 10_000
_MAX_NAME = 256
_MAX_DIMS = 64
_MAX_NESTED = 1_000
_MAX_EXPANDED = 1_000_000  # nodes when everything shared is written out as often as it is referred to
_MAX_PLAIN_NESTED = 32
_MAX_PLAIN_EXPANDED = 100_000
_VIEW_ALLOWANCE = 2**24  # numbers an expanded view may pretend to hold beyond its storage
# Sizes that kernels multiply, some without looking for an overflow.
_GEOMETRY = frozenset(
    "kernel_size stride padding dilation output_padding output_size size groups num_groups upscale_factor "
    "downscale_factor scale_factor _reversed_padding_repeated_twice".split()
)
_MAX_GEOMETRY = 2**20
_CONTAINERS = (tuple, ListNode, DictNode, Made)
_NEVER = "which torch.save never does"


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
        if storage.type not in STORAGES:
            raise UnsafeContentError(f"a tensor of kind {storage.type} is not read")
    sizes = _measured(tree)
    modules = [node for node in tree.made if _module_class(node) is not None]
    children: dict[int, list[int]] = {}
    for node in tree.made:
        if _module_class(node) is None:
            _check_made(node)
    for node in modules:
        children[id(node)] = [id(child) for child in _check_module_node(node, sizes)]
    _check_nesting(children)


def _measured(tree: Tree) -> dict[int, tuple[int, int]]:
    """Depth, and size with all sharing written out, of every container in a tree.

    Python's own hash, repr, copy and comparison of containers recurse, and walk what is shared again each
    time: sixty tuples of twice the one before take longer than a lifetime.

    Returns:
        `(depth, size)` by the node's id.

    Raises:
        UnsafeContentError: if something contains itself, is nested too deep or shared too often.
    """
    measured: dict[int, tuple[int, int]] = {}
    opened: set[int] = set()
    todo: list[Any] = [node for node in (*tree.made, tree.root) if isinstance(node, _CONTAINERS)]
    most = _MAX_EXPANDED
    while todo:
        node = todo[-1]
        key = id(node)
        if key in measured:
            todo.pop()
            continue
        parts = _parts(node)
        inner = [part for part in parts if isinstance(part, _CONTAINERS)]
        if key not in opened:
            opened.add(key)
            unmeasured = [part for part in inner if id(part) not in measured]
            for part in unmeasured:
                if id(part) in opened:
                    raise UnsafeContentError("something in it contains itself")
                if isinstance(part, tuple | ListNode) and not _parts(part):
                    measured[id(part)] = 1, 1
                else:
                    todo.append(part)
            if todo[-1] is not node:
                continue
        todo.pop()
        # A file that shares little may hold as much as it likes.
        most += 4 * (1 + len(parts))
        depth, size = 1, len(parts) + 1
        for part in inner:
            below, often = measured[id(part)]
            depth, size = max(depth, 1 + below), size + often
        if depth > _MAX_NESTED or size > most:
            raise UnsafeContentError("its contents are nested absurdly deep or often")
        measured[key] = depth, size
    return measured


def _parts(node: Any) -> list[Any] | tuple[Any, ...]:
    if isinstance(node, tuple):
        return node
    if isinstance(node, ListNode):
        return node.items
    pairs = [part for pair in node.items for part in pair]
    return [node.func, node.args, *node.states, *pairs] if isinstance(node, Made) else pairs


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


def _check_arguments(node: Made, name: str) -> None:
    """Refuse arguments of plain containers other than those `torch.save` writes."""
    arguments, good = node.args, node.args == ()
    only = arguments[0] if len(arguments) == 1 else None
    if name == "builtins.set":
        items = _set_items(node)
        good = items is not None and all(map(is_scalar, items))
    elif name == "collections.OrderedDict":
        # Python 2 wrote its items as a list of pairs.
        pairs = _set_items(node)
        good = pairs is not None and all(
            isinstance(pair, ListNode) and len(pair.items) == 2 and is_scalar(pair.items[0]) for pair in pairs
        )
    elif name == "torch.Size":
        good = isinstance(only, tuple) and len(only) <= _MAX_DIMS and all(type(each) is int for each in only)
    elif name == "torch.device":
        kinds = tuple(type(each) for each in arguments)
        good = kinds in ((str,), (str, int))
    elif name == "collections.Counter" and isinstance(only, DictNode):
        good = all(isinstance(count, int | float) for _, count in only.items)
    if not good:
        raise UnsafeContentError(f"it calls {name} with odd arguments, {_NEVER}")


def _check_made(node: Made) -> None:
    name = _name(node)
    if node.new or not isinstance(node.args, tuple):
        raise UnsafeContentError(f"it makes {name or 'an object'} in a way torch.save never writes")
    if name in TENSOR_MAKERS:
        _check_tensor(node, name)
    elif name in PARAMETER_MAKERS:
        _check_parameter(node)
    elif name == "_codecs.encode":
        # How protocol 2 writes bytes.
        if len(node.args) != 2 or not isinstance(node.args[0], str) or node.args[1:] != ("latin1",):
            raise UnsafeContentError("it calls _codecs.encode, as torch.save never does")
    elif name == "torch.serialization._get_layout":
        raise UnsafeContentError("it holds a sparse tensor, which is not read")
    elif name in PLAIN_MAKERS:
        _check_arguments(node, name)
    else:
        raise UnsafeContentError(
            f"it calls {name or 'something that is no function'}, which torch.save never does"
        )
    if node.items and name not in ("collections.OrderedDict", "collections.Counter"):
        raise UnsafeContentError(f"it puts items into {name}, which torch.save never does")
    for state in node.states:
        # `state_dict()` keeps versions in an attribute of its OrderedDict; any other could shadow a method.
        keys = [key for key, _ in state.items] if isinstance(state, DictNode) else [None]
        if name != "collections.OrderedDict" or keys != ["_metadata"] or len(node.states) > 1:
            raise UnsafeContentError(f"it sets attributes on {name}, which torch.save never does")


def _check_tensor(node: Made, name: str) -> None:
    arguments = node.args
    if len(arguments) < 4 or not isinstance(arguments[0], Storage):
        raise UnsafeContentError("a tensor in it is damaged")
    storage, offset, size, stride = arguments[:4]
    sizes = (*size, *stride) if isinstance(size, tuple) and isinstance(stride, tuple) else (None,)
    if len(sizes) > 2 * _MAX_DIMS:
        raise UnsafeContentError("a tensor in it has absurdly many dimensions")
    if any(type(part) is not int or part < 0 or part > _MAX_COUNT for part in (offset, *sizes)):
        raise UnsafeContentError("a tensor in it has a damaged size")
    available = storage.numel
    if name.endswith("_v3"):
        dtype = (
            dtype_of(arguments[6].name) if len(arguments) > 6 and isinstance(arguments[6], Global) else None
        )
        if dtype is None:
            raise UnsafeContentError("a tensor in it is damaged")
        available = storage.numel * STORAGES.get(storage.type, 1) // dtype.itemsize
    numel = prod(size)
    reach = (
        offset + 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=False)) if numel else offset
    )
    if len(size) != len(stride) or reach > available or numel > available + _VIEW_ALLOWANCE:
        raise UnsafeContentError(f"a tensor in it claims {numel:,} numbers where {available:,} are stored")
    if len(arguments) > 5 and not _is_empty(arguments[5]):
        raise UnsafeContentError("a tensor in it carries a backward hook")
    # Whether it needs gradients, its dtype, and whether it is a conjugate or negative view.
    for extra in (arguments[4:5], arguments[6:]):
        for each in extra:
            pairs = each.items if isinstance(each, DictNode) else [("", each)]
            if any(
                not isinstance(value, bool | Global | None) or key not in ("", "conj", "neg")
                for key, value in pairs
            ):
                raise UnsafeContentError("a tensor in it carries something torch.save never writes")


def _check_parameter(node: Made) -> None:
    arguments = node.args
    if len(arguments) < 3 or _name(arguments[0]) not in TENSOR_MAKERS:
        raise UnsafeContentError("a parameter in it is damaged")
    if not _is_empty(arguments[2]):
        raise UnsafeContentError("a parameter in it carries a backward hook")
    if not isinstance(arguments[1], bool):
        raise UnsafeContentError("a parameter in it is damaged")
    for state in arguments[3:]:
        keys = [key for key, _ in state.items] if isinstance(state, DictNode) else [None]
        if any(not isinstance(key, str) or hasattr(nn.Parameter, key) for key in keys):
            raise UnsafeContentError("a parameter in it carries an attribute that shadows one of torch's")
        _check_plain(state, "a parameter's attribute")


def _check_module_node(node: Made, sizes: dict[int, tuple[int, int]]) -> list[Made]:
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
            flag = key == "_is_full_backward_hook" and (value is None or isinstance(value, bool))
            if not (flag or (isinstance(value, DictNode | Made) and _is_empty(value))):
                raise UnsafeContentError(f"a {title} in it carries a hook ({printable(key)})")
        elif key == "_modules":
            children.extend(_child_nodes(value, title))
        elif key in ("_parameters", "_buffers"):
            for name, tensor in _named(value, title):
                _check_child_name(name, title)
                if tensor is not None and _name(tensor) not in TENSOR_MAKERS | PARAMETER_MAKERS:
                    raise UnsafeContentError(
                        f"a {title} in it keeps something other than a tensor as {printable(name)!r}"
                    )
        elif key == "activation" and isinstance(value, Global):
            if value.name not in ACTIVATIONS:
                raise UnsafeContentError(f"a {title} in it has {value.name} as its activation")
        else:
            depth, size = sizes.get(id(value), (0, 0)) if isinstance(value, _CONTAINERS) else (0, 0)
            if depth > _MAX_PLAIN_NESTED or size > _MAX_PLAIN_EXPANDED:
                raise UnsafeContentError(f"{title}.{printable(key)} in it is nested absurdly deep or often")
            most = _MAX_GEOMETRY if key in _GEOMETRY else _MAX_COUNT
            _check_plain(value, f"{title}.{printable(key)}", most=most)
            if key == "num_layers" and not (type(value) is int and 0 <= value <= _MAX_LAYERS):
                raise UnsafeContentError(f"a {title} in it claims an absurd number of layers")
    return children


def _check_attribute_name(kind: type[nn.Module], key: Any) -> None:
    """Refuse an instance attribute that would stand in front of a method, property or special name."""
    if not isinstance(key, str) or key.startswith("__") or key == "_compiled_call_impl":
        shown = printable(key) if isinstance(key, str) else kind_of(key)
        raise UnsafeContentError(f"a {kind.__name__} in it carries a forbidden attribute ({shown!r})")
    inherited = inspect.getattr_static(kind, key, None)
    if callable(inherited) or hasattr(inherited, "__get__"):
        raise UnsafeContentError(f"a {kind.__name__} in it has its {printable(key)!r} replaced")


def _check_child_name(name: Any, title: str) -> None:
    if not isinstance(name, str) or not name.isprintable() or "." in name or not 0 < len(name) <= _MAX_NAME:
        shown = printable(name) if isinstance(name, str) else kind_of(name)
        raise UnsafeContentError(f"a {title} in it has a member with a forbidden name ({shown!r})")


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
            raise UnsafeContentError(
                f"a {title} in it has {printable(name)!r}, which is no module, among its children"
            )
        children.append(child)
    return children


def _check_plain(value: Any, where: str, *, most: int = _MAX_COUNT) -> None:
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
            if _name(node) in PLAIN_MAKERS:
                todo.append(node.args)
        elif isinstance(node, int | float | bool) or node is None:
            if abs(node or 0) > most and node not in (float("inf"), float("-inf")):
                raise UnsafeContentError(f"{where} in it has an absurd value")
        elif isinstance(node, Global):
            if dtype_of(node.name) is None:
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

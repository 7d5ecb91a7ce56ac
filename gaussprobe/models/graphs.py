"""The graph of a torch.export file, from JSON to a `Program`: every call is looked up on the allow-list."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

from gaussprobe.models.operators import allows_target
from gaussprobe.models.program import Input, Node, OwnDevice, Program, Ref, Spec, refs, spec_of
from gaussprobe.models.stock import UnsafeContentError
from gaussprobe.models.wording import first_line, printable

_SCHEMA = 8
_MAX_NODES = 500_000
_MAX_NUMBER = 2**64
_MAX_POWER = 64
# Numbers that torch.export writes for dtypes, layouts and memory formats (its schema.py).
DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    9: torch.complex32,
    10: torch.complex64,
    11: torch.complex128,
    12: torch.bool,
    13: torch.bfloat16,
}
STRIDED = 7
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_LITERALS: dict[str, type | tuple[type, ...]] = {
    "as_int": int,
    "as_bool": bool,
    "as_string": str,
    "as_ints": int,
    "as_bools": bool,
    "as_strings": str,
}
# A parameter seen through these is a parameter still: a decomposed linear layer transposes its weight.
_VIEWS = frozenset(
    "t transpose permute view reshape expand alias detach to _to_copy unsqueeze squeeze".split()
)
_ENUMERATED = re.compile(r"\b(ScalarType|Layout|MemoryFormat)\b")
_CALL = re.compile(r"@\d+$")
_EMPTY_STACK = "_empty_nn_module_stack"


class MalformedGraphError(Exception):
    """The file is not as torch.export writes it; the message says how."""


def read_graph(content: Mapping[str, Any]) -> Program:
    """The program that the JSON of a torch.export file describes.

    Args:
        content: the whole `models/*.json`.

    Raises:
        MalformedGraphError: if it is damaged, of another version of the format, or uses what is not read.
        UnsafeContentError: if it calls what is not on the allow-list.
    """
    try:
        version = content["schema_version"]["major"]
        if version != _SCHEMA:
            raise MalformedGraphError(
                f"its format has version {version!r:.20}, not {_SCHEMA}: export it again"
            )
        return _program(content["graph_module"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise MalformedGraphError(f"its graph is damaged ({first_line(error, limit=80)})") from error


def _program(module: Mapping[str, Any]) -> Program:
    graph, signature = module["graph"], module["signature"]
    nodes = graph["nodes"]
    if not isinstance(nodes, list) or len(nodes) > _MAX_NODES:
        raise MalformedGraphError("its graph is absurdly large")
    inputs = tuple(_input(spec, graph["tensor_values"]) for spec in signature["input_specs"])
    known = {each.name for each in inputs}
    constant = {each.name for each in inputs if each.source is not None}
    built: list[Node] = []
    for entry in nodes:
        node = _node(entry, constant)
        unknown = [name for name in node.reads if name not in known]
        if unknown:
            raise MalformedGraphError(f"its graph uses {printable(unknown[0])} before it is made")
        known.update(node.results)
        if node.operator in _VIEWS and constant.issuperset(node.reads):
            constant.update(node.results)
        built.append(node)
    outputs, mutated = _outputs(signature["output_specs"])
    entry = next(each for each in module["module_call_graph"] if each["fqn"] == "")
    spec = spec_of(entry["signature"]["in_spec"])
    if spec.children is None or len(spec.children) != 2 or spec.children[1].keys is None:
        raise MalformedGraphError("its inputs are nested in an unknown way")
    positional, keywords = spec.children
    if any(ref.name not in known for ref in refs((outputs, tuple(ref for _, ref in mutated)))):
        raise MalformedGraphError("its graph gives a result that is never made")
    buffers = {each.source for each in inputs}
    if any(path not in buffers for path, _ in mutated):
        raise MalformedGraphError("its graph changes a buffer that it does not have")
    return Program(
        nodes=tuple(built),
        inputs=inputs,
        outputs=outputs,
        mutated=mutated,
        positional=positional,
        keywords=keywords,
        names=_argument_names(entry["signature"].get("forward_arg_names"), positional),
    )


def _argument_names(given: Any, positional: Spec) -> tuple[str, ...]:
    count = len(positional.children or ())
    good = isinstance(given, list) and all(isinstance(name, str) and name.isidentifier() for name in given)
    if not good or len(set(given)) != len(given) or len(given) < count or "self" in given:
        return tuple(f"arg{i}" for i in range(count))
    return tuple(given[:count])


# -- inputs and outputs


def _input(spec: Mapping[str, Any], tensors: Mapping[str, Any]) -> Input:
    (kind, value), *more = spec.items()
    if more:
        raise MalformedGraphError("an input of its graph is damaged")
    named = {
        "parameter": "parameter_name",
        "buffer": "buffer_name",
        "tensor_constant": "tensor_constant_name",
    }
    if kind in named:
        return Input(name=_name(value["arg"]["name"]), source=_name(value[named[kind]]))
    if kind == "constant_input":
        return Input(name=_name(value["name"]))
    if kind != "user_input":
        raise UnsafeContentError(f"it takes an input of kind {printable(kind)}, which is not read")
    (form, what), *_ = value["arg"].items()
    if form == "as_tensor":
        name = _name(what["name"])
        sizes = tuple(_size(each) for each in tensors[name]["sizes"])
        return Input(name=name, sizes=sizes)
    if form in ("as_sym_int", "as_sym_float", "as_sym_bool") and "as_name" in what:
        return Input(name=_name(what["as_name"]))
    return Input(name="")  # a constant of the program: given, and not looked at


def _size(entry: Mapping[str, Any]) -> int | None:
    return entry["as_int"] if type(entry.get("as_int")) is int else None


def _outputs(specs: Any) -> tuple[tuple[Any, ...], tuple[tuple[str, Ref], ...]]:
    outputs: list[Any] = []
    mutated: list[tuple[str, Ref]] = []
    for spec in specs:
        ((kind, value),) = spec.items()
        if kind == "user_output":
            outputs.append(_argument(value["arg"]))
        elif kind == "loss_output":
            outputs.append(Ref(_name(value["arg"]["name"])))
        elif kind == "buffer_mutation":
            mutated.append((_name(value["buffer_name"]), Ref(_name(value["arg"]["name"]))))
        elif kind not in ("user_input_mutation", "parameter_mutation"):
            raise UnsafeContentError(f"it gives an output of kind {printable(kind)}, which is not read")
    return tuple(outputs), tuple(mutated)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > 1_000 or not value.isprintable():
        raise MalformedGraphError("a name in its graph is damaged")
    return value


# -- nodes


def _node(entry: Mapping[str, Any], constant: set[str]) -> Node:
    target = entry["target"]
    if not isinstance(target, str) or not allows_target(target):
        raise UnsafeContentError(
            f"its graph calls {printable(str(target))}, which is not among the operators that only compute"
        )
    function = _function(target)
    given = [(str(each["name"]), _argument(each["arg"])) for each in entry["inputs"]]
    args, kwargs = _call(function, given)
    writes = tuple(_result(each) for each in entry["outputs"])
    metadata = entry.get("metadata") or {}
    factors = [ref.name for _, value in given for ref in refs(value)]
    return Node(
        operator=target.split(".")[-2] if target.startswith("torch.ops.") else target.split(".")[-1],
        function=function,
        args=args,
        kwargs=kwargs,
        writes=writes[0] if len(writes) == 1 else writes or None,
        stack=_stack(metadata.get("nn_module_stack")),
        affine=any(name in constant for name in factors),
    )


def _function(target: str) -> Callable[..., Any]:
    owner, *path = target.split(".")
    roots: dict[str, Any] = {"torch": torch, "math": math, "operator": operator, "_operator": operator}
    found = roots[owner]
    for part in path:
        found = getattr(found, part, None)
    if not callable(found):
        raise MalformedGraphError(f"torch {torch.__version__} has no operator {printable(target)}")
    return found if owner == "torch" else _on_numbers(found)


def _on_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of Python that takes sizes only: on text, lists and ever longer integers it has no bound.

    `"%9999999999d" % 1`, `[0] * 10**12` and `10**9 ** 10**9` are a few bytes of a file each.
    """

    def bounded(*values: Any) -> Any:
        for value in values:
            if not isinstance(value, int | float | torch.SymInt | torch.SymFloat | torch.SymBool):
                raise ValueError(f"{function.__name__} of {type(value).__name__}, where a size belongs")
            if isinstance(value, int) and abs(value) > _MAX_NUMBER:
                raise ValueError(f"{function.__name__} of an absurdly large number")
        if function is operator.pow and isinstance(values[-1], int) and abs(values[-1]) > _MAX_POWER:
            raise ValueError(f"an absurd power ({values[-1]:,})")
        return function(*values)

    return bounded


def _call(
    function: Callable[..., Any], given: list[tuple[str, Any]]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of an operator; a `self` can only be positional."""
    if not isinstance(function, torch._ops.OpOverload):
        return tuple(value for _, value in given), {}
    values = dict(given)
    schema = function._schema.arguments
    strange = values.keys() - {each.name for each in schema}
    if strange or len(values) != len(given):
        raise MalformedGraphError(f"{function} is called with arguments that it does not take")
    for each in schema:
        # To torch these are numbers too, and it looks up whatever number it is given.
        if each.name in values and _ENUMERATED.search(str(each.real_type)) and _is_number(values[each.name]):
            raise MalformedGraphError(f"{function} is given a number for its {each.name}")
    args: list[Any] = []
    for each in schema:
        if each.kwarg_only or each.name not in values:
            break
        args.append(values.pop(each.name))
    return tuple(args), values


def _is_number(value: Any) -> bool:
    parts = value if isinstance(value, list) else [value]
    return any(isinstance(each, int | float | Ref) for each in parts)


def _argument(entry: Mapping[str, Any]) -> Any:
    """A value of the graph, a number, or a list of such."""
    ((form, value),) = entry.items()
    if form == "as_none":
        return None
    if form == "as_tensor":
        return Ref(_name(value["name"]))
    if form == "as_tensors":
        return [Ref(_name(each["name"])) for each in value]
    if form == "as_nested_tensors":
        return [[Ref(_name(each["name"])) for each in part] for part in value]
    if form == "as_optional_tensor":
        return _argument(value)
    if form in ("as_optional_tensors", "as_sym_ints", "as_sym_bools", "as_sym_floats"):
        return [_argument(each) for each in value]
    if form in ("as_sym_int", "as_sym_bool", "as_sym_float"):
        return _argument(value)
    if form == "as_name":
        return Ref(_name(value))
    if form in ("as_float", "as_floats"):
        return _number(value) if form == "as_float" else [_number(each) for each in value]
    if form in _LITERALS:
        parts = value if form.endswith("s") else [value]
        if not isinstance(parts, list) or any(type(each) is not _LITERALS[form] for each in parts):
            raise MalformedGraphError("a number in its graph is damaged")
        return value
    if form == "as_int_lists":
        return [[_argument({"as_int": each}) for each in part] for part in value]
    if form == "as_complex":
        return complex(_number(value["real"]), _number(value["imag"]))
    if form == "as_scalar_type":
        return DTYPES[value]
    if form == "as_memory_format":
        return _MEMORY_FORMATS[value]
    if form == "as_layout" and value == STRIDED:
        return torch.strided
    if form == "as_device":
        return OwnDevice()
    raise UnsafeContentError(f"its graph holds {printable(form)}, which is not read")


def _number(value: Any) -> float:
    if value in ("Infinity", "-Infinity", "NaN"):
        return float(value)
    if type(value) not in (int, float):
        raise MalformedGraphError("a number in its graph is damaged")
    return float(value)


def _result(entry: Mapping[str, Any]) -> Any:
    """Names under which a result is known, nested as it is returned."""
    value = _argument(entry)
    if isinstance(value, Ref):
        return value.name
    return tuple(each.name for each in value) if isinstance(value, list) else None


def _stack(text: Any) -> tuple[tuple[str, str, str], ...]:
    """Path, class and call of each module around a node; `second@1` is the second call of `second`."""
    if not isinstance(text, str) or not text or text.startswith(_EMPTY_STACK):
        return ()
    stack = []
    for part in text.split(";"):
        call, path, *kind = part.split(",")
        stack.append((_CALL.sub("", path), ",".join(kind), call))
    return tuple(stack)
